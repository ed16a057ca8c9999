"""A checkpoint says what it holds, and `load` needs nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.mel import MelSettings, mel_centres_hz
from experiments.cli import PitchTimbreCLI
from experiments.known_settings import ALLOW_CLASSES
from experiments.lightning_cli import allow_listed_classes
from lightning_modules.load import load
from lightning_modules.networks import Dimensions, PitchEncoder
from lightning_modules.note_classifier import Evaluator, NoteClassifier
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from lightning_modules.two_stage_vae import TwoStageVAE
from lightning_modules.whole_note_module import WholeNoteModule

CONFIGS = Path(__file__).parents[2] / "configs"
BASES = {"base", "classifier", "classifier_sequence", "whole_notes"}
MEL_HZ = mel_centres_hz(MelSettings())


def saved(model: Any, file: Path, /, **changes: Any) -> Path:
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "NotePairs": {"pitch_range": [24, 105]}}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint | changes, file)
    return file


@pytest.mark.parametrize("row", sorted({file.stem for file in CONFIGS.glob("*.yaml")} - BASES))
def test_every_row_is_loaded_from_its_file_alone(row: str, tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / f"{row}.yaml"), "--data.max_notes", "40", "--run_dir", str(tmp_path)]
    model: Any = PitchTimbreCLI([*words, "--trainer.logger", "false"], run=False).model
    model.origin = {"row": row}
    before = torch.get_rng_state()
    again: Any = load(saved(model, tmp_path / "best.ckpt"))
    assert torch.equal(before, torch.get_rng_state())
    assert type(again) is type(model)
    assert again.description() == model.description()
    assert again.data_settings == {"pitch_range": [24, 105]}
    assert not again.training
    x = torch.rand(5, 256) * 2 - 1
    model.eval()
    if isinstance(model, Evaluator):
        read = (x,) if isinstance(model, NoteClassifier) else (x.unsqueeze(1), torch.ones(5, 1, dtype=torch.bool))
        assert torch.equal(again.posterior(*read), model.posterior(*read))
        return
    if isinstance(model, WholeNoteModule):
        notes, mask = x.unsqueeze(1).expand(-1, 3, -1), torch.ones(5, 3, dtype=torch.bool)
        found, expected = again.encode_notes(notes, mask), model.encode_notes(notes, mask)
        assert all(torch.equal(value, vars(expected)[name]) for name, value in vars(found).items())
        decoded, again_decoded = (
            each.decode_notes(found.g, found.c, found.loudness, found.v) for each in (model, again)
        )
        assert torch.equal(decoded, again_decoded)
        return
    found, expected = again.encode(x), model.encode(x)
    assert all(torch.equal(value, vars(expected)[name]) for name, value in vars(found).items())
    assert torch.equal(again.decode(found.z, found.c), model.decode(expected.z, expected.c))


class LoudestBand(PitchEncoder):
    """An encoder of another module: a layer on every nth band."""

    def __init__(self, dimensions: Dimensions, every: int = 2) -> None:
        super().__init__()
        self.every = every
        self.layer = nn.Linear(len(range(0, dimensions.n_mels, every)), dimensions.n_categories)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, :: self.every]).float()


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Configurations may name the classes of this module."""
    with monkeypatch.context() as patch:
        patch.setenv(ALLOW_CLASSES, "tests")
        allow_listed_classes()
        yield
    allow_listed_classes()


@pytest.mark.usefixtures("allowed")
def test_a_configuration_chooses_an_encoder_of_another_module(tmp_path: Path) -> None:
    words = ["--config", str(CONFIGS / "m0.yaml"), "--data.max_notes", "40", "--trainer.logger", "false"]
    chosen = ["--model.pitch_encoder", f"{__name__}.LoudestBand", "--model.pitch_encoder.every", "4"]
    model: Any = PitchTimbreCLI([*words, *chosen, "--run_dir", str(tmp_path)], run=False).model
    assert model.pitch_encoder.every == 4
    assert model.pitch_encoder.layer.in_features == 64
    again: Any = load(saved(model, tmp_path / "best.ckpt"))
    assert again.pitch_encoder.every == 4


@pytest.mark.usefixtures("allowed")
def test_a_model_made_in_python_is_loaded_too(tmp_path: Path) -> None:
    model = PitchTimbreVAE(ObjectiveWeights(cycle=2), 20, 64, width=8, pitch_encoder=partial(LoudestBand, every=3))
    file = saved(model, tmp_path / "a.ckpt")
    again = PitchTimbreVAE.load_from_checkpoint(file)
    assert again.weights == model.weights
    assert again.pitch_encoder.every == 3
    with pytest.raises(ValueError, match="holds a PitchTimbreVAE, not a TwoStageVAE"):
        TwoStageVAE.load_from_checkpoint(file)


def small(**more: Any) -> PitchTimbreVAE:
    return PitchTimbreVAE(**({"n_pitches": 20, "n_mels": 64, "width": 8} | more))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (
            lambda: TwoStageVAE(n_pitches=20, n_mels=64, width=8),
            "holds a TwoStageVAE, and this",
        ),
        (lambda: small(weights=ObjectiveWeights(cycle=1)), r"model\.weights .*'cycle': 1"),
        (lambda: small(n_pitches=12), r"model\.n_pitches 12, it is 20"),
        (lambda: small(pitch_encoder=LoudestBand), r"model\.pitch_encoder .*LoudestBand"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(other: Callable[[], Any], named: str) -> None:
    model, checkpoint = other(), dict[str, Any]()
    model.on_save_checkpoint(checkpoint)
    with pytest.raises(ValueError, match=named):
        small().on_load_checkpoint(checkpoint | {"state_dict": model.state_dict()})


def test_a_checkpoint_of_another_row_is_refused() -> None:
    model, other, checkpoint = small(), small(), dict[str, Any]()
    model.origin, other.origin = {"row": "sharp"}, {"row": "m0"}
    model.on_save_checkpoint(checkpoint)
    with pytest.raises(ValueError, match=r"row sharp, .* row m0"):
        other.on_load_checkpoint(checkpoint | {"state_dict": model.state_dict()})


def test_a_checkpoint_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="does not say which model"):
        small().on_load_checkpoint({"state_dict": small().state_dict()})


def nan(state: dict) -> dict:
    return state | {"decoder.head.bias": torch.full_like(state["decoder.head.bias"], torch.nan)}


def argument(name: str, value: int) -> dict:
    """A description that asks for more memory than there is: it must be compared with the weights first."""
    arguments = {"n_pitches": 20, "n_mels": 64, "width": 8, name: value}
    return {"model": {"class": "PitchTimbreVAE", "arguments": arguments, "origin": {}}}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"state_dict": {}}, "weights are others"),
        ({"state_dict": nan(small().state_dict())}, r"decoder\.head\.bias is not finite"),
        ({"state_dict": small().state_dict() | {"temperature": "hot"}}, "temperature is not a tensor"),
        ({"state_dict": small(width=9).state_dict()}, "is not a tensor of shape"),
        ({"model": {"class": "os.system", "arguments": {}, "origin": {}}}, "os.system"),
        ({"model": {"class": "PitchTimbreVAE", "arguments": {"pitch_encoder": "os.abort"}, "origin": {}}}, "os.abort"),
        ({"model": {"class": "Nobody", "arguments": {}, "origin": {}}}, "Nobody"),
        ({"model": {"class": "PitchTimbreVAE", "arguments": {"width": "wide"}, "origin": {}}}, "width"),
        ({"model": {"class": "PitchTimbreVAE", "arguments": {"width": -3}, "origin": {}}}, r"model\.width is -3"),
        (argument("width", 10**7), "is not a tensor of shape"),
        (argument("n_mels", 10**9), "is not a tensor of shape"),
        (argument("n_latent", 10**12), "is not a tensor of shape"),
        (argument("n_categories", 10**9), "is not a tensor of shape"),
        (argument("width", 10**30), "not a checkpoint"),
        ({"model": 7}, "not a checkpoint"),
    ],
)
def test_a_file_that_holds_no_model_is_refused_by_name(changes: dict, named: str, tmp_path: Path) -> None:
    file = saved(small(), tmp_path / "odd.ckpt", **changes)
    with pytest.raises(ValueError, match=rf"odd\.ckpt: .*{named}"):
        load(file)


def test_no_pickle_runs(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "exploded",))

    file = tmp_path / "bomb.ckpt"
    torch.save({"model": Bomb()}, file)
    with pytest.raises(ValueError, match=r"bomb\.ckpt: not a checkpoint"):
        PitchTimbreVAE.load_from_checkpoint(file)
    assert not (tmp_path / "exploded").exists()
