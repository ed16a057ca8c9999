"""A fit's sounds have the pitches of their names, and reach W&B."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import torch

from callbacks.gathered_notes import NoteGatherer
from callbacks.run_sounds import RunSounds
from callbacks.wandb_run import WandbRun
from datamodules.note_pairs import NotePairs
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE


class Logger(WandbRun):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[tuple[dict[str, Path], int | None]] = []

    def log_sounds(self, files: Any, epoch: int | None = None) -> None:
        self.given.append((dict(files), epoch))


class Stage:
    """The hooks of a fit, with a tiny model."""

    def __init__(self, data: NotePairs, folder: Path, every_n_epochs: int) -> None:
        self.data, self.module = data, PitchTimbreVAE(n_pitches=data.n_pitches, width=16).eval()
        self.gatherer, self.logger = NoteGatherer(), Logger()
        self.callback = RunSounds(folder, every_n_epochs)
        self.trainer: Any = SimpleNamespace(
            ckpt_path=None, datamodule=data, loggers=[self.logger], callbacks=[self.gatherer], current_epoch=0
        )

    def validate(self, epoch: int) -> None:
        self.trainer.current_epoch = epoch
        self._pass(self.gatherer.on_validation_batch_end)
        self.callback.on_validation_epoch_end(self.trainer, self.module)
        self.gatherer.on_validation_end(self.trainer, self.module)

    def test(self, ckpt_path: str | None) -> None:
        self.trainer.ckpt_path = ckpt_path
        self._pass(self.gatherer.on_test_batch_end)
        self.callback.on_test_epoch_end(self.trainer, self.module)
        self.gatherer.on_test_end(self.trainer, self.module)

    def _pass(self, hook: Any) -> None:
        indices = torch.from_numpy(np.flatnonzero(self.data.scored))
        batch = self.data.pairs(indices, torch.zeros(len(indices), dtype=torch.long))
        with torch.inference_mode():
            hook(self.trainer, self.module, self.module.encode(batch.x), batch, 0)


def test_the_best_checkpoint_is_written_and_logged(small_pairs: NotePairs, tmp_path: Path) -> None:
    stage = Stage(small_pairs, tmp_path, 0)
    stage.validate(0)
    stage.test("best.ckpt")
    assert not stage.logger.given, "not before the fit has ended"
    stage.callback.on_fit_end(stage.trainer, stage.module)
    before = torch.get_rng_state()
    stage.test(None)
    assert not stage.logger.given, "not the last epoch"
    stage.test("best.ckpt")
    assert torch.equal(torch.get_rng_state(), before), "sounds take none of the training's random numbers"
    [(files, epoch)] = stage.logger.given
    assert epoch is None
    assert len(files) == 18
    assert {file.parent for file in files.values()} == {tmp_path / "sounds" / "best"}
    frames = [name for name in files if name.endswith("_frame")]
    for name in frames:  # what a note's own frame is rendered to has the note's pitch
        samples, rate = soundfile.read(files[name])
        assert len(samples) == rate
        assert 0.05 < np.abs(samples).max() < 1
        hz = np.median(librosa.yin(samples[rate // 5 : -rate // 5], fmin=27, fmax=4200, sr=rate, frame_length=4096))
        assert abs(12 * np.log2(hz / librosa.note_to_hz(name.split("_")[-2]))) < 0.5, name
    at = [name.rsplit("_at_")[1] for name in files if "_at_" in name]
    own = [name.split("_")[-2] for name in frames]
    assert at == [*own[1:], own[0]], "each timbre at the pitch of the next note"


def test_while_it_trains_every_few_epochs(small_pairs: NotePairs, tmp_path: Path) -> None:
    stage = Stage(small_pairs, tmp_path, 2)
    for epoch in range(5):
        stage.validate(epoch)
    assert [epoch for _, epoch in stage.logger.given] == [1, 3]
    assert sorted(folder.name for folder in (tmp_path / "sounds").iterdir()) == ["epoch_1", "epoch_3"]
    with pytest.raises(ValueError, match="every_n_epochs is -1"):
        RunSounds(tmp_path, -1)


def test_no_instrument_leads_out_of_the_folder(small_pairs: NotePairs, tmp_path: Path) -> None:
    small_pairs.instruments = ["../../../escape", f"Horn [/b] {'x' * 300}"]
    stage = Stage(small_pairs, tmp_path / "run", 1)
    stage.validate(0)
    [(files, _)] = stage.logger.given
    assert len(files) == 18
    assert {file.resolve().parent for file in files.values()} == {tmp_path / "run" / "sounds" / "epoch_0"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
