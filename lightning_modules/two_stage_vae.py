"""Row M7: an axis of pitch is learned from pairs first and frozen, then timbre and decoder are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules import objectives, own_objectives
from lightning_modules.augmentation import SpectralAugmentation
from lightning_modules.latents import Latents
from lightning_modules.networks import Dimensions, mfcc_matrix
from lightning_modules.own_objectives import TwoStageWeights
from lightning_modules.pitch_axis import MelPitchAxis, PitchAxis
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from lightning_modules.schedules import ParameterGroup, WarmupCosine

PRIOR_SHARE, EVEN_CATEGORIES_SHARE = 0.3, 0.5
"""Cross-swap: shares of the timbres drawn from N(0, I) and of the categories drawn evenly; the rest is of the batch."""


@dataclass(frozen=True)
class AxisStage:
    """The first stage, which learns the pitch encoder from the terms of pairs (alignment, expected_shift, balance).

    With ``weights.supervised`` and no ``weights.alignment`` it learns from true labels instead: M7's strongest rival.

    Attributes:
        epochs: how long it is. Then the K neighbouring candidates that hold most of the training notes become the
            categories, the encoder is frozen, and the rest is learned. 0 learns all at once.
        learning_rate: its peak; it falls as a cosine.
        subharmonic_share: share of the frames that are given weak partials of a note an octave or a twelfth below, as
            overblown notes of winds have, so that the encoder learns to ignore them.
        restarts: how many pitch encoders are learned side by side, from different weights. The one that reads most of
            the synthetic tones right is kept, which needs no label: some never leave a poor axis.
    """

    epochs: int = 0
    learning_rate: float = 2e-3
    subharmonic_share: float = 0.0
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse settings out of range, and those that need epochs where there are none."""
        if self.epochs < 0:
            raise ValueError(f"model.axis.epochs is {self.epochs}; it must be 0 or more")
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"model.axis.learning_rate is {self.learning_rate}; it must be above 0, and finite")
        if not 0 <= self.subharmonic_share <= 1:
            raise ValueError(f"model.axis.subharmonic_share is {self.subharmonic_share:g}; it must be between 0 and 1")
        if self.restarts < 1:
            raise ValueError(f"model.axis.restarts is {self.restarts}; it must be 1 or more")
        if not self.epochs and (self.subharmonic_share or self.restarts > 1):
            raise ValueError(
                f"model.axis.subharmonic_share is {self.subharmonic_share:g} and model.axis.restarts {self.restarts}: "
                "they need model.axis.epochs, which is 0"
            )


AXIS_SCHEDULE = WarmupCosine(final_share=0.02)


@dataclass(frozen=True)
class AxisLatents(Latents):
    """Latents whose pitch was read on an axis; where the shifted notes' pitch was not read, that is ``None``.

    Attributes:
        inside: (B,) bool, whether the most probable candidate of the axis is one of the K categories.
    """

    inside: Tensor


class TwoStageVAE(PitchTimbreVAE):
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

    def __init__(
        self,
        weights: TwoStageWeights = TwoStageWeights(),  # noqa: B008 - frozen
        axis: AxisStage = AxisStage(),
        elbo_of: Literal["pair", "note"] = "pair",
        pitch_encoder: Callable[[Dimensions], PitchAxis] = MelPitchAxis,
        **poster: Any,
    ) -> None:
        super().__init__(weights, pitch_encoder=pitch_encoder, **poster)
        self.axis, self.elbo_of = axis, elbo_of
        learned = any(True for _ in self.pitch_encoder.parameters())
        if axis.epochs and not ((weights.alignment or weights.supervised) and learned):
            none = f"{type(self.pitch_encoder).__name__} has no parameters"
            why = "weights.alignment and weights.supervised are 0" if learned else none
            raise ValueError(f"model.axis.epochs is {axis.epochs}, and {why}: they would learn nothing; set it to 0")
        if self.pitch_encoder.margin and learned and not axis.epochs:
            raise ValueError(
                f"model.pitch_encoder.margin is {self.pitch_encoder.margin}: it needs model.axis.epochs, after which "
                "categories are chosen"
            )
        self.rivals = nn.ModuleList(pitch_encoder(self.dimensions) for _ in range(axis.restarts - 1))
        self.register_buffer("dct", mfcc_matrix(self.n_mels), persistent=False)
        if axis.epochs:
            self.augmentation = SpectralAugmentation(self.dimensions.mel_hz, axis.subharmonic_share)
            self.register_buffer("candidate_mass", torch.zeros(axis.restarts, self.pitch_encoder.n_candidates))
            self.register_buffer("restart_agreement", torch.zeros(axis.restarts))

    dct: Tensor
    candidate_mass: Tensor
    restart_agreement: Tensor

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
            terms |= self._axis_terms(note.logits, shifted.logits, batch.semitones)
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

    # The stage that learns the axis -----------------------------------------------------------------------------------

    @property
    def learns_axis(self) -> bool:
        """Whether this epoch is one of those that learn the pitch encoder and nothing else."""
        return self.current_epoch < self.axis.epochs

    @property
    def restarts(self) -> list[PitchAxis]:
        """The pitch encoders that are learned side by side; the first is the model's own."""
        return [self.pitch_encoder, *self.rivals]

    def on_train_epoch_start(self) -> None:
        """After the axis stage: keep the best of the restarts, choose its categories, and freeze it."""
        if not self.axis.epochs or self.learns_axis:
            return
        if self.current_epoch == self.axis.epochs:
            best = int(self.restart_agreement.argmax())
            # The values, not the module: an optimiser's state in a checkpoint is in the order of the parameters.
            self.pitch_encoder.load_state_dict(self.restarts[best].state_dict())
            self.pitch_encoder.choose_categories(self.candidate_mass[best])
        self.rivals.requires_grad_(False)
        self.pitch_encoder.requires_grad_(False).eval()

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """The loss of a batch of pairs, and the categories of its notes."""
        return self._axis_step(batch) if self.learns_axis else super().training_step(batch, batch_idx)

    def _axis_step(self, batch: Any) -> dict[str, Tensor]:
        frames = self.augmentation(batch.pitch_views)
        pairs = [restart.candidates(frames).split(len(batch.x)) for restart in self.restarts]
        if self.weights.alignment:
            terms = [self._axis_terms(logits, shifted, batch.semitones) for logits, shifted in pairs]
        else:
            labelled = zip(self.restarts, pairs, strict=True)
            terms = [self._labelled_terms(restart, views[0], views[1], batch) for restart, views in labelled]
        loss = torch.stack([self.weighted_sum(each) for each in terms]).sum()
        self.terms_log.add("train", {f"loss/{name}": term for name, term in terms[0].items()}, len(batch.x))
        if self.current_epoch == self.axis.epochs - 1:
            self.candidate_mass += torch.stack([logits.detach().softmax(-1).sum(0) for logits, _ in pairs])
        return {"loss": loss, "category": self.pitch_encoder.categories(pairs[0][0]).argmax(-1)}

    def _axis_terms(self, logits: Tensor, logits_shifted: Tensor, semitones: Tensor) -> dict[str, Tensor]:
        """The terms of pairs that an axis of pitch is learned from; logits (B, A) of all candidates."""
        log_p, log_p_shifted = logits.log_softmax(-1), logits_shifted.log_softmax(-1)
        p, p_shifted = log_p.exp(), log_p_shifted.exp()
        return {
            "alignment": own_objectives.alignment(log_p, log_p_shifted, semitones),
            "expected_shift": own_objectives.expected_shift(p, p_shifted, semitones),
            "balance": own_objectives.balance(torch.cat([p, p_shifted])),
        }

    def _labelled_terms(self, axis: PitchAxis, logits: Tensor, logits_shifted: Tensor, batch: Any) -> dict[str, Tensor]:
        """Cross-entropy with the true pitch of both views: a shifted note's is the note's plus the shift."""
        note, shifted = axis.categories(logits), axis.categories(logits_shifted)
        of_note = objectives.supervised(note, batch.pitch)
        return {"supervised": (of_note + objectives.surrogate(shifted, batch.pitch, batch.semitones)) / 2}

    @torch.no_grad()
    def calibrate(self, frames: Tensor, midi: Tensor) -> None:
        """Find the MIDI pitch of category 0, and which share of the tones each restart reads right."""
        super().calibrate(frames, midi)
        if self.learns_axis:
            agreements = [restart.calibration(frames, midi)[1] for restart in self.rivals]  # type: ignore[operator]
            self.restart_agreement.copy_(torch.stack([self.calibration_agreement, *agreements]))

    def parameter_groups(self) -> list[ParameterGroup]:
        """The axis in its stage, and the rest after it."""
        if not self.axis.epochs:
            return super().parameter_groups()
        axis = [p for restart in self.restarts for p in restart.parameters()]
        rest = [p for name, p in self.named_parameters() if not name.startswith(("pitch_encoder.", "rivals."))]
        return [
            ParameterGroup(rest, self.learning_rate, self.schedule, first_epoch=self.axis.epochs),
            ParameterGroup(axis, self.axis.learning_rate, AXIS_SCHEDULE, last_epoch=self.axis.epochs),
        ]
