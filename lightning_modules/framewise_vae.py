"""Row m7_frames: M7, which knows single frames, applied to each frame of a note."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_modules.note_networks import mean_over_frames
from lightning_modules.two_stage_vae import TwoStageVAE
from lightning_modules.whole_note_module import NoteLatents, WholeNoteModule, gaussian_draw


class FramewiseVAE(TwoStageVAE, WholeNoteModule):
    """M7, trained on one frame of each note in a step, offers what a model of whole notes does.

    The note's timbre is the mean over its frames of z and of its log variance; there is no course, and z holds the
    loudness, so that a loudness given to :meth:`decode_notes` changes nothing.

    Args:
        weights: how much each term counts, and all other arguments: as of :class:`TwoStageVAE`.
        m7: the arguments of :class:`TwoStageVAE`.
    """

    ELBO = TwoStageVAE.ELBO
    n_course = 0

    def __init__(self, **m7: Any) -> None:
        super().__init__(**m7)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], Any]:
        """M7's terms of one frame of each note."""
        return super().objective_terms(batch.frame_pairs)

    def encode_notes(
        self,
        x: Tensor,
        mask: Tensor,
        x_pitch: Tensor | None = None,
        other: Tensor | None = None,
        other_mask: Tensor | None = None,
    ) -> NoteLatents:
        """Notes of any length to their latents; see :meth:`WholeNoteModule.encode_notes`."""
        timbre, timbre_mask = (x, mask) if other is None or other_mask is None else (other, other_mask)
        mu, logvar = (mean_over_frames(each, timbre_mask) for each in self.timbre_encoder(timbre[timbre_mask]))
        logits = self.frame_logits(x if x_pitch is None else x_pitch, mask)
        return self.latents_without_course(mu, logvar, gaussian_draw(mu, logvar, self.training), x, mask, logits)

    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        """The frames (B, T, F) of a timbre and a pitch; see :meth:`WholeNoteModule.decode_notes`."""
        c = self.frame_pitch(pitch, loudness.shape[1])
        z = g.unsqueeze(1).expand(-1, loudness.shape[1], -1)
        return self.decode(z.flatten(0, 1), c.flatten(0, 1)).unflatten(0, loudness.shape)

    def validation_step(self, batch: Any, batch_idx: int) -> NoteLatents:  # type: ignore[override]
        """M7's loss without noise; returns the latents of the notes."""
        self._step(batch, "val")
        return self.test_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> NoteLatents:  # type: ignore[override]
        """The latents of the notes; the metrics are callbacks."""
        return WholeNoteModule.test_step(self, batch, batch_idx, dataloader_idx)
