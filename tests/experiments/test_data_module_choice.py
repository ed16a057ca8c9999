"""`data.class_path` chooses the data module; without it, notes are pairs of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from datamodules.note_pairs import NotePairs
from datamodules.note_sequences import NoteSequences
from experiments.__main__ import main
from experiments.cli import PitchTimbreCLI
from experiments.config_files import arranged
from experiments.known_settings import UnknownSettingError

CONFIGS = Path(__file__).parents[2] / "configs"
M6, WHOLE = (["--config", str(CONFIGS / f"{name}.yaml")] for name in ("m6", "whole_notes"))


def cli(*words: str) -> PitchTimbreCLI:
    return PitchTimbreCLI([*words, "--data.max_notes", "40", "--trainer.logger", "false"], run=False)


def test_a_row_without_a_class_has_pairs(tmp_path: Path) -> None:
    found = cli(*M6, "--data.batch_size", "64", "--data.split.kind", "grouped")
    assert type(found.datamodule) is NotePairs
    assert found.datamodule.batch_size == 64
    assert found.datamodule.split.kind == "grouped"
    assert "class_path" not in found.plain_settings["data"]
    assert found.model.dimensions.n_pitches == found.datamodule.n_pitches


def test_a_class_gets_its_own_and_the_shared_settings() -> None:
    found = cli(*WHOLE, "--data.batch_size", "8", "--data.sequence.frames", "5", "--seed_everything", "3")
    data = found.datamodule
    assert isinstance(data, NoteSequences)
    assert (data.batch_size, data.sequence.frames, data.seed) == (8, 5, 3)
    assert data.source.held_s == 1.25
    assert data.mel.n_mels == 256
    assert found.plain_settings["data"]["class_path"] == "NoteSequences"
    assert found.plain_settings["data"]["sequence"]["frames"] == 5


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_files_does_not_matter(order: int, tmp_path: Path) -> None:
    """Settings of the class may stand in a file before the one that names it, and below ``init_args``."""
    file = tmp_path / "data.yaml"
    file.write_text("data: {init_args: {sequence: {hop_s: 0.03}}}\n")
    found = cli(*[word for words in [WHOLE, ["--config", str(file)]][::order] for word in words])
    assert found.datamodule.sequence.hop_s == 0.03
    assert found.datamodule.waveform_settings.duration_s == 1.75


def test_a_class_is_chosen_by_an_argument() -> None:
    words = ["--data.class_path", "NoteSequences", "--data.init_args.sequence.length_s", "0.2"]
    assert cli(*M6, *words).datamodule.sequence.length_s == 0.2
    back = cli(*WHOLE, "--data.class_path", "NotePairs")
    assert type(back.datamodule) is NotePairs
    assert back.datamodule.source.held_s == 1.25


def test_what_is_printed_is_read_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed = []
    for words in (WHOLE, ["--config", str(tmp_path / "again.yaml")]):
        with pytest.raises(SystemExit):
            main(["fit", *words, "--print_config"])
        printed.append(capsys.readouterr().out)
        (tmp_path / "again.yaml").write_text(printed[0])
    assert yaml.safe_load(printed[0])["data"]["class_path"] == "NoteSequences"
    assert printed[0] == printed[1]


def test_arranged_arguments_can_be_arranged_again() -> None:
    once = arranged(WHOLE, keep=lambda name: name == "data")
    assert once[0] == "--data.class_path=NoteSequences"
    assert arranged(once) == once


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.class_path", "NoteSequence"], "did you mean NoteSequences"),
        (["--data.class_path", "EmbeddedNotes"], "NotePairs, NoteSequences"),
        (["--data.class_path", "os.system"], "not a class that a configuration may name"),
        (["--data.sequence.hop_s", "0.02"], "data.sequence"),
        (["--data.class_path", "NoteSequences", "--data.sequence.hop", "0.02"], "did you mean data.sequence.hop_s"),
    ],
)
def test_another_class_or_another_classs_setting_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UnknownSettingError, match=message):
        arranged([*M6, *words])
