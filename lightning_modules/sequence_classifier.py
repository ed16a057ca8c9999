"""The evaluators of whole notes: masked convolutions over time, and a mean over the frames that a note has."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.note_classifier import Evaluator
from lightning_modules.note_module import check_positive

HELD_OUT = 0.1
"""Share of the training notes that the best epoch is chosen on; the scored notes choose nothing."""

GOLDEN = (5**0.5 - 1) / 2


class NoteSequenceClassifier(Evaluator):
    """A whole note's pitch or instrument, from true labels.

    Args:
        label: which label is learned.
        n_pitches: K; the CLI takes it from the data.
        n_instruments: how many instruments; the CLI takes it from the data.
        n_mels: F; the CLI takes it from the data.
        width: features of each layer; the means over time of the last ones are those of the Frechet distance.
        reach: frames on each side of a frame that a convolution reads; there are two.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        label: Literal["pitch", "instrument"],
        n_pitches: int = 82,
        n_instruments: int = 12,
        n_mels: int = 256,
        width: int = 128,
        reach: int = 2,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.label, self.learning_rate = label, learning_rate
        check_positive(n_pitches=n_pitches, n_instruments=n_instruments, n_mels=n_mels, width=width, reach=reach)
        check_positive(learning_rate=learning_rate)
        sizes = ((n_mels, 0), (width, reach), (width, reach))
        self.convolutions = nn.ModuleList(nn.Conv1d(n, width, 2 * side + 1, padding=side) for n, side in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sizes)
        self.head = nn.Linear(width, n_pitches if label == "pitch" else n_instruments)
        self._held_out: int | None = None

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, T, F) of notes that have those of the mask (B, T) to (B, width); other frames change nothing."""
        counted = mask.unsqueeze(-1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution((x * counted).transpose(1, 2)).transpose(1, 2)
            x = F.relu(norm(x))
        return (x * counted).sum(1) / counted.sum(1)

    def posterior(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, T, F) and their mask (B, T) to class probabilities, (B, classes), float32."""
        return self.head(self.features(x, mask)).float().softmax(-1)

    def _step(self, batch: Any, stage: str, notes: Tensor) -> Tensor:
        """The cross-entropy of some notes (B,) bool of a batch."""
        truth = getattr(batch, self.label)[notes]
        logits = self.head(self.features(batch.x[notes], batch.mask[notes])).float()
        loss = F.cross_entropy(logits, truth)
        accuracy = 100 * (logits.argmax(-1) == truth).float().mean()
        self.terms_log.add(stage, {"loss/total": loss, "accuracy": accuracy}, len(truth))
        return loss

    def on_train_epoch_start(self) -> None:
        """Begin to count the notes that are held out."""
        self._held_out = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """Cross-entropy of the notes of a batch that are not held out; that of the others is logged."""
        held = is_held_out(batch.note)
        count = int(held.sum())
        self._held_out = (self._held_out or 0) + count
        if count:
            with torch.no_grad():
                self._step(batch, "selection", held)
        return self._step(batch, "train", ~held) if count < len(held) else None

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Cross-entropy and accuracy (%) of the scored notes, which choose nothing."""
        self._step(batch, "val", torch.ones_like(batch.note, dtype=torch.bool))

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's terms of the notes that are held out, and of the scored notes.

        Raises:
            ValueError: a training epoch held no note out.
        """
        super().on_validation_epoch_end()
        if self._held_out is None:  # `validate`: there was no training epoch
            return
        if not self._held_out:
            raise ValueError("no training note is held out to choose the classifier's epoch; give more notes")
        self.terms_log.flush("selection")


def is_held_out(notes: Tensor) -> Tensor:
    """Which rows (B,) of the note table are held out: one in ten, spread evenly whatever the order of the notes."""
    return (notes.double() * GOLDEN) % 1 < HELD_OUT
