"""What stands for a module and a trainer in the tests of callbacks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from callbacks.gathered_notes import NoteGatherer
from lightning_modules.latents import Latents

K, F_MELS, LATENT = 5, 16, 4


BF16 = MixedPrecision("bf16-mixed", "cpu")


class Recorder:
    """Stands for the module: remembers what is logged."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}
        self.device = torch.device("cpu")
        self.n_categories = K
        self.midi_offset = self.calibration_agreement = torch.tensor(torch.nan)
        torch.manual_seed(0)
        self.timbre, self.pitch = torch.randn(LATENT, F_MELS), torch.randn(K, F_MELS)

    def log_dict(self, values: dict[str, float]) -> None:
        self.logged |= values

    def decode(self, z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.tanh(z @ self.timbre + c @ self.pitch)

    def decode_all_pitches(self, z: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.decode(z, F.one_hot(torch.full((len(z),), k), K).float()) for k in range(K)])


def at_epoch(epoch: int, **more: Any) -> Any:
    usual = {"datamodule": SimpleNamespace(lowest_midi=60), "precision_plugin": Precision()}
    return SimpleNamespace(**{"current_epoch": epoch} | usual | more)


def latents(n: int, categories: torch.Tensor) -> Latents:
    mu = torch.randn(n, LATENT)
    logits = 9.0 * F.one_hot(categories, K)
    return Latents(mu, torch.zeros_like(mu), logits, mu, F.one_hot(categories, K).float())


def of_test(module: Any, *loaders: tuple[Latents, Any]) -> Any:
    """A trainer whose gatherer has the outputs of a test: of the scored notes, and of the training notes."""
    gatherer = NoteGatherer()
    trainer = at_epoch(0, callbacks=[gatherer])
    for loader, (encoded, batch) in enumerate(loaders):
        batch.x = getattr(batch, "x", encoded.mu)
        gatherer.on_test_batch_end(trainer, module, encoded, batch, 0, loader)
    return trainer
