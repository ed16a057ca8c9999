"""What all models of whole notes offer: a timbre of the note, a pitch of each frame, and the course between them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules import pitch_course
from lightning_modules.note_module import ObjectiveModule

FRAMES_AT_ONCE = 256
"""Frames whose pitch is read together: an axis reads 8 MiB of windows of so many, which stay in a core's cache."""


@dataclass(frozen=True)
class NoteLatents:
    """What is read of B notes of T frames.

    Attributes:
        mu: (B, G) mean of the timbre's posterior.
        logvar: (B, G) its log variance.
        g: (B, G) the timbre drawn; the mean when evaluating.
        logits: (B, T, K) of each frame's pitch category.
        cents: (B, T) deviation of each frame's pitch from its most probable category, by a soft-argmax, in cents.
        category: (B,) the note's category, by a vote of its frames weighted by their power.
        v: (B, T, V) the course drawn; the mean when evaluating.
        v_mu: (B, T, V) means of the course's posteriors.
        v_logvar: (B, T, V) their log variances.
        loudness: (B, T) log of the frames' mean power, on the scale of the frames.
    """

    mu: Tensor
    logvar: Tensor
    g: Tensor
    logits: Tensor
    cents: Tensor
    category: Tensor
    v: Tensor
    v_mu: Tensor
    v_logvar: Tensor
    loudness: Tensor

    @property
    def c(self) -> Tensor:
        """(B, T, K) the pitch that each frame is decoded from, see :func:`lightning_modules.pitch_course.course`."""
        return pitch_course.course(self.logits, self.category.unsqueeze(-1))


class WholeNoteModule(ObjectiveModule):
    """A model of whole notes.

    Attributes:
        n_latent: G, dimensions of the timbre g.
        n_course: V, dimensions of the course v.
        n_categories: K.
    """

    ELBO: tuple[str, ...] = ("reconstruction", "kl_g", "kl_v")
    n_latent: int
    n_course: int
    n_categories: int

    @abstractmethod
    def encode_notes(
        self,
        x: Tensor,
        mask: Tensor,
        x_pitch: Tensor | None = None,
        other: Tensor | None = None,
        other_mask: Tensor | None = None,
    ) -> NoteLatents:
        """Notes of any length to their latents.

        Args:
            x: (B, T, F) frames in [-1, 1].
            mask: (B, T) bool, the frames that each note has, at least one; they come first.
            x_pitch: (B, T, F) what the pitch is read from, where that is not ``x``.
            other: (B, T2, F) what the timbre is read from, where that is not ``x``; any number of frames.
            other_mask: (B, T2) bool.
        """

    @abstractmethod
    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        """Latents to frames (B, T, F).

        Args:
            g: (B, G) timbres.
            pitch: (B,) a category for the note, or (B, T, K) one for each frame, as :attr:`NoteLatents.c`.
            loudness: (B, T), see :func:`lightning_modules.pitch_course.loudness`.
            v: (B, T, V) courses.
        """

    def frame_logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """Frames (B, T, F) to the logits of their pitch categories, (B, T, K); 0 where the mask (B, T) has none."""
        logits = torch.zeros(*mask.shape, self.n_categories, device=x.device)
        logits[mask] = torch.cat([self.pitch_encoder(part) for part in x[mask].split(FRAMES_AT_ONCE)])
        return logits

    def latents_without_course(
        self, mu: Tensor, logvar: Tensor, g: Tensor, x: Tensor, mask: Tensor, logits: Tensor
    ) -> NoteLatents:
        """The latents of a model that has no course.

        Args:
            mu: (B, G) mean of the timbre's posterior.
            logvar: (B, G) its log variance.
            g: (B, G) the timbre drawn.
            x: (B, T, F) the frames, of which the loudness is taken.
            mask: (B, T) bool, the frames that each note has.
            logits: (B, T, K), see :meth:`frame_logits`.
        """
        level, none = pitch_course.loudness(x), torch.zeros(*mask.shape, 0, device=x.device)
        cents, category = pitch_course.cents(logits), pitch_course.vote(logits, level, mask)
        return NoteLatents(mu, logvar, g, logits, cents, category, v=none, v_mu=none, v_logvar=none, loudness=level)

    def frame_pitch(self, pitch: Tensor, n_frames: int) -> Tensor:
        """Categories (B,) as one-hot frames (B, T, K), float32; pitches of frames as they are."""
        if pitch.ndim > 1:
            return pitch
        return F.one_hot(pitch, self.n_categories).float().unsqueeze(1).expand(-1, n_frames, -1)

    def validation_step(self, batch: Any, batch_idx: int) -> NoteLatents:  # type: ignore[override]
        """The loss without noise, for model selection; returns the latents of the notes."""
        return self._step(batch, "val")[1]

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> NoteLatents:  # type: ignore[override]
        """The latents of the notes; the metrics are callbacks."""
        return self.encode_notes(batch.x, batch.mask, batch.x_pitch, batch.other, batch.other_mask)


def gaussian_draw(mu: Tensor, logvar: Tensor, training: bool) -> Tensor:
    """A draw from N(mu, exp(logvar)) when training, the mean when evaluating."""
    return mu + torch.randn_like(mu) * (0.5 * logvar).exp() if training else mu
