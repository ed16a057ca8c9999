"""Row M7: an axis of pitch is learned from pairs first and frozen, then timbre and decoder are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules import objectives, own_objectives
from lightning_modules.axis_stage import AxisStage, LearnsAxis
from lightning_modules.latents import Latents
from lightning_modules.networks import Dimensions, mfcc_matrix
from lightning_modules.own_objectives import TwoStageWeights
from lightning_modules.pitch_axis import MelPitchAxis, PitchAxis
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

PRIOR_SHARE, EVEN_CATEGORIES_SHARE = 0.3, 0.5
"""Cross-swap: shares of the timbres drawn from N(0, I) and of the categories drawn evenly; the rest is of the batch."""


@dataclass(frozen=True)
class AxisLatents(Latents):
    """Latents whose pitch was read on an axis; where the shifted notes' pitch was not read, that is ``None``.

    Attributes:
        inside: (B,) bool, whether the most probable candidate of the axis is one of the K categories.
    """

    inside: Tensor


class TwoStageVAE(LearnsAxis, PitchTimbreVAE):
    """The poster's model with an axis of pitch that may be learned first, and objectives of its own.

    Args:
        weights: how much each term counts.
        axis: the stage that learns the pitch encoder.
        elbo_of: whose ELBO is maximised: of the ``pair``, as published, or of the ``note`` only. A shifted note's
            envelope is shifted with it, as no instrument's is: a decoder that learns those too generates them from the
            prior.
        pitch_encoder: makes q(c|x) for the model's dimensions.
        poster: the arguments of :class:`PitchTimbreVAE`. With ``amsgrad``, which never forgets the first steps' large
            gradients, an axis does not leave its plateau.
    """

    weights: TwoStageWeights
    pitch_encoder: PitchAxis
    dct: Tensor

    def __init__(
        self,
        weights: TwoStageWeights = TwoStageWeights(),  # noqa: B008 - frozen
        axis: AxisStage = AxisStage(),  # noqa: B008
        elbo_of: Literal["pair", "note"] = "pair",
        pitch_encoder: Callable[[Dimensions], PitchAxis] = MelPitchAxis,
        **poster: Any,
    ) -> None:
        super().__init__(weights, pitch_encoder=pitch_encoder, **poster)
        self.elbo_of = elbo_of
        self.register_buffer("dct", mfcc_matrix(self.n_mels), persistent=False)
        self.build_axis_stage(axis, pitch_encoder)

    def encode(self, x: Tensor, x_pitch: Tensor | None = None) -> AxisLatents:
        """(B, F) frames to their posteriors, as :meth:`PitchTimbreVAE.encode`.

        Args:
            x: the frames.
            x_pitch: what the pitch is read from, where that is not ``x``; it may be of the first ones only.
        """
        mu, logvar = self.timbre_encoder(x)
        candidates = self.pitch_encoder.candidates(x if x_pitch is None else x_pitch)
        logits = self.pitch_encoder.categories(candidates)
        inside = logits.amax(-1) >= candidates.amax(-1)
        return AxisLatents(mu, logvar, logits, *self.draw(mu, logvar, logits), inside)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], AxisLatents]:
        """The unweighted terms of a batch, as :meth:`PitchTimbreVAE.objective_terms`."""
        w, x, views = self.weights, batch.x, batch.views
        asks_pitch = self.elbo_of == "pair" or w.cycle or w.surrogate or (w.alignment and not self.axis.epochs)
        read = views if batch.x_pitch is None else batch.pitch_views
        both = self.encode(views, read[: None if asks_pitch else len(x)])
        note, *rest = both.split(len(x))
        elbo_latents, frames = (both, views) if self.elbo_of == "pair" else (note, x)
        # A note that was shifted out of the categories has none that it could be decoded from.
        counted = elbo_latents.inside if self.pitch_encoder.margin else None
        terms = self.elbo_terms(elbo_latents, frames, len(frames) // len(x), counted)
        if w.aggregate:
            terms["aggregate"] = own_objectives.aggregate(elbo_latents.z)
        terms |= self.note_terms(note, batch)
        for shifted in rest:
            terms |= self.pair_terms(note, shifted, batch)
        return terms, note

    def note_terms(self, note: Latents, batch: Any) -> dict[str, Tensor]:
        """The terms of the notes x."""
        w, terms = self.weights, {}
        if w.leakage:
            category = own_objectives.expected_category(note.logits.softmax(-1))
            terms["leakage"] = own_objectives.leakage(note.mu, category)
        if w.prior_frames:
            terms["prior_frames"] = self._prior_frames(note, batch.x)
        if w.cross_swap:
            terms["cross_swap"] = self._cross_swap(note)
        terms |= super().note_terms(note, batch)
        if w.pseudo_label:
            terms["pseudo_label"] = own_objectives.pseudo_label(note.logits, batch.pseudo_label)
        return terms

    def pair_terms(self, note: Latents, shifted: Latents, batch: Any) -> dict[str, Tensor]:
        """The poster's terms of pairs, and those of the axis where it has no stage of its own."""
        terms = super().pair_terms(note, shifted, batch)
        if self.weights.alignment and not self.axis.epochs:
            terms |= own_objectives.axis_terms(note.logits, shifted.logits, batch.semitones)
        return terms

    def _cross_swap(self, note: Latents) -> Tensor:
        """Decode timbres with categories of other notes, or of none, and encode them again; half of the batch."""
        n, device = len(note.mu) // 2, note.mu.device
        z, category = note.z.detach().roll(1, 0)[:n], note.category[:n]
        if self.training:
            z = torch.where(torch.rand(n, 1, device=device) < PRIOR_SHARE, torch.randn_like(z), z)
            drawn = torch.randint(self.n_categories, (n,), device=device)
            category = torch.where(torch.rand(n, device=device) < EVEN_CATEGORIES_SHARE, drawn, category)
        reencoded = self.encode(self.decode(z, F.one_hot(category, self.n_categories).to(z)))
        return own_objectives.cross_swap(reencoded.mu, z, reencoded.logits, category)

    def _prior_frames(self, note: Latents, x: Tensor) -> Tensor:
        """Decode the notes' categories with timbres drawn from the prior; compare the frames and their envelopes."""
        source = None if self.training else torch.Generator(note.mu.device).manual_seed(0)
        z = torch.randn(note.mu.shape, generator=source, device=note.mu.device)
        generated = self.decode(z, note.c)
        envelopes = own_objectives.prior_frames(generated @ self.dct, x @ self.dct)
        return envelopes + own_objectives.prior_frames(generated, x)

    def restart_terms(self, restart: PitchAxis, note: Tensor, shifted: Tensor, batch: Any) -> dict[str, Tensor]:
        """The terms that an axis is learned from: of pairs, or cross-entropy with the true pitch of both views."""
        if self.weights.alignment:
            return super().restart_terms(restart, note, shifted, batch)
        of_note = objectives.supervised(restart.categories(note), batch.pitch)
        of_shifted = objectives.surrogate(restart.categories(shifted), batch.pitch, batch.semitones)
        return {"supervised": (of_note + of_shifted) / 2}
