"""The stage in which an axis of pitch is learned from pairs, before it is frozen and the rest of a model is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules import own_objectives
from lightning_modules.augmentation import SpectralAugmentation
from lightning_modules.networks import Dimensions
from lightning_modules.note_module import ObjectiveModule
from lightning_modules.pitch_axis import PitchAxis
from lightning_modules.schedules import ParameterGroup, WarmupCosine

MOST_RESTARTS = 100


@dataclass(frozen=True)
class AxisStage:
    """The first stage, which learns the pitch encoder from the terms of pairs (alignment, expected_shift, balance).

    With ``weights.supervised`` and no ``weights.alignment`` it learns from true labels: M7's strongest baseline.

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
        if not 1 <= self.restarts <= MOST_RESTARTS:
            raise ValueError(f"model.axis.restarts is {self.restarts}; it must lie in 1..{MOST_RESTARTS}")
        if not self.epochs and (self.subharmonic_share or self.restarts > 1):
            raise ValueError(
                f"model.axis.subharmonic_share is {self.subharmonic_share:g} and model.axis.restarts {self.restarts}: "
                "they need model.axis.epochs, which is 0"
            )


AXIS_SCHEDULE = WarmupCosine(final_share=0.02)


class LearnsAxis(ObjectiveModule):
    """A model whose first epochs may learn its axis of pitch and nothing else: a base beside that of all other epochs.

    A subclass calls :meth:`build_axis_stage` where it has built its other networks.
    """

    pitch_encoder: PitchAxis
    dimensions: Dimensions

    def build_axis_stage(self, axis: AxisStage, pitch_encoder: Callable[[Dimensions], PitchAxis]) -> None:
        """Build what the stage needs beside ``self.pitch_encoder``.

        Raises:
            ValueError: there is nothing to learn, or nothing to learn it from.
        """
        self.axis = axis
        own = self.pitch_encoder
        learned = any(True for _ in own.parameters())
        taught = self.weights.alignment or getattr(self.weights, "supervised", 0)
        if axis.epochs and not (taught and learned):
            none = f"{type(own).__name__} has no parameters"
            why = "weights.alignment and weights.supervised are 0" if learned else none
            raise ValueError(f"model.axis.epochs is {axis.epochs}, and {why}: they would learn nothing; set it to 0")
        if own.margin and learned and not axis.epochs:
            raise ValueError(
                f"model.pitch_encoder.margin is {own.margin}: it needs model.axis.epochs, after which categories are "
                "chosen"
            )
        self.rivals = nn.ModuleList(pitch_encoder(self.dimensions) for _ in range(axis.restarts - 1))
        if axis.epochs:
            self.candidate_mass: Tensor
            self.restart_agreement: Tensor
            self.augmentation = SpectralAugmentation(self.dimensions.mel_hz, axis.subharmonic_share)
            self.register_buffer("candidate_mass", torch.zeros(axis.restarts, own.n_candidates))
            self.register_buffer("restart_agreement", torch.zeros(axis.restarts))

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
        """The loss of a batch of pairs, or of one frame of each whole note while the axis is learned."""
        if self.learns_axis:
            return self._axis_step(getattr(batch, "frame_pairs", batch))
        return super().training_step(batch, batch_idx)

    def _axis_step(self, batch: Any) -> dict[str, Tensor]:
        frames = self.augmentation(batch.pitch_views)
        pairs = [restart.candidates(frames).split(len(batch.x)) for restart in self.restarts]
        restarts = zip(self.restarts, pairs, strict=True)
        terms = [self.restart_terms(restart, views[0], views[1], batch) for restart, views in restarts]
        loss = torch.stack([self.weighted_sum(each) for each in terms]).sum()
        self.terms_log.add("train", {f"loss/{name}": term for name, term in terms[0].items()}, len(batch.x))
        if self.current_epoch == self.axis.epochs - 1:
            self.candidate_mass += torch.stack([logits.detach().softmax(-1).sum(0) for logits, _ in pairs])
        return {"loss": loss, "category": self.pitch_encoder.categories(pairs[0][0]).argmax(-1)}

    def restart_terms(self, restart: PitchAxis, note: Tensor, shifted: Tensor, batch: Any) -> dict[str, Tensor]:
        """The terms that a restart is learned from; logits (B, A) of all candidates."""
        return own_objectives.axis_terms(note, shifted, batch.semitones)

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
