"""The method: a variational auto-encoder of a note's frame with a discrete pitch and a continuous timbre."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import cos, pi
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules import objectives
from lightning_modules.augmentation import SpectralAugmentation
from lightning_modules.networks import (
    Decoder,
    EquivariantPitchEncoder,
    HarmonicComb,
    PitchAxis,
    PitchEncoder,
    TimbreEncoder,
)
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.term_log import TermLog

AXIS_TERMS = ("alignment", "expected_shift", "balance")
"""What the axis of pitch is learned from: pairs alone, without a decoder."""

FROM_PRIOR, EVEN_CATEGORIES = 0.3, 0.5
"""Cross-swap: shares of the timbres drawn from N(0, I) and of the categories drawn evenly; the rest is of the batch."""


@dataclass(frozen=True)
class PitchAxisSettings:
    """How the pitch is read, and when that is learned.

    Attributes:
        encoder: ``published``; ``equivariant``: shifted by construction as its input is; or ``comb``: equivariant, and
            nothing is learned.
        margin: candidates on each side of the pitches asked for, from which the K categories are chosen when the axis
            has been learned: those K neighbours that hold most of the training notes. A comb's are where they are.
            Categories beyond the pitches take the margin's place: the longer an axis, the longer it is learned.
        epochs: so many epochs at the start learn the pitch encoder alone, from the terms of pairs (alignment,
            expected_shift, balance); then it is frozen and the rest is learned. 0 learns all at once.
        learning_rate: of these epochs; it falls as a cosine.
        subharmonic_share: in these epochs, share of the frames that are given weak partials of a note an octave or
            a twelfth below, as overblown notes of winds have: they are not to be heard there.
        restarts: so many pitch encoders are learned side by side in these epochs, from different weights; the one that
            hears most of the synthetic tones right is kept, which needs no label. Some never leave a poor axis.
    """

    encoder: Literal["published", "equivariant", "comb"] = "published"
    margin: int = 0
    epochs: int = 0
    learning_rate: float = 2e-3
    subharmonic_share: float = 0.0
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse negative numbers, and a margin or trials that nothing would choose from."""
        for name in ("margin", "epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"model.axis.{name} is {getattr(self, name)}; it must be 0 or more")
        if not 0 <= self.subharmonic_share <= 1:
            raise ValueError(
                f"model.axis.subharmonic_share is {self.subharmonic_share:g}; it is a share, between 0 and 1"
            )
        if self.subharmonic_share and not self.epochs:
            raise ValueError(
                f"model.axis.subharmonic_share is {self.subharmonic_share:g}, and model.axis.epochs, which it is for, 0"
            )
        if self.epochs and self.encoder == "comb":
            raise ValueError(f"model.axis.epochs is {self.epochs}: a comb has nothing to learn in them; set it to 0")
        if self.margin and not self.epochs and self.encoder != "comb":
            raise ValueError(
                f"model.axis.margin {self.margin} needs model.axis.epochs, after which categories are chosen"
            )
        if self.restarts < 1 or (self.restarts > 1 and not self.epochs):
            raise ValueError(
                f"model.axis.restarts is {self.restarts}; it must be 1, or more with model.axis.epochs, after which "
                "one of them is kept"
            )


@dataclass(frozen=True)
class LearningRateSchedule:
    """How the learning rate goes from its peak.

    Attributes:
        warmup_steps: it rises evenly over so many steps.
        final_share: then it falls as a cosine to this share of the peak at the last step; 1 keeps it, as published.
    """

    warmup_steps: int = 0
    final_share: float = 1.0

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if self.warmup_steps < 0 or not 0 <= self.final_share <= 1:
            raise ValueError(
                f"model.schedule: warmup_steps {self.warmup_steps} must be 0 or more and final_share "
                f"{self.final_share} must lie between 0 and 1"
            )

    def share(self, step: int, steps: int) -> float:
        """The share of the peak at a step of ``steps``."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        progress = min(1.0, (step - self.warmup_steps) / max(1, steps - self.warmup_steps))
        return self.final_share + (1 - self.final_share) * (1 + cos(pi * progress)) / 2


AXIS_SCHEDULE = LearningRateSchedule(final_share=0.02)


def _calibrated(axis: PitchAxis, frames: Tensor, midi: Tensor) -> tuple[Tensor, Tensor]:
    """The MIDI pitch of category 0 by most of the tones, and the share of the tones that say so, both 0-d."""
    distance = midi - (axis.candidates(frames).argmax(-1) - axis.first)
    offset = distance.mode().values
    return offset, (distance == offset).float().mean()


class Latents(NamedTuple):
    """The posteriors of B frames and a draw from them; what is read of the pitch may be of the first ones alone.

    Attributes:
        mu: (B, L) mean of q(z|x).
        logvar: (B, L) log variance of q(z|x).
        logits: (B, K) logits of q(c|x).
        z: (B, L) the timbre drawn; the mean when evaluating.
        c: (B, K) the pitch drawn, one-hot; the most probable one when evaluating.
        inside: (B,) bool, whether the most probable candidate of the axis is one of the K categories.
    """

    mu: Tensor
    logvar: Tensor
    logits: Tensor
    z: Tensor
    c: Tensor
    inside: Tensor

    @property
    def category(self) -> Tensor:
        """(B,) the most probable category, without gradient."""
        return self.logits.argmax(-1)


class PitchTimbreVAE(L.LightningModule):
    """q(z, c | x) = q(z|x) q(c|x) and p(x | z, c), trained by the ELBO less the weighted auxiliary losses.

    Args:
        weights: how much each term counts.
        n_pitches: the pitches of the data; the CLI takes it from there.
        n_mels: F, mel bands; the CLI takes it from the data.
        n_latent: L, dimensions of z.
        width: features of each hidden layer.
        learning_rate: of Adam; the peak, where the schedule changes it.
        contrast_temperature: tau of NT-Xent.
        axis: how the pitch is read.
        elbo_of: whose ELBO is maximised: of the ``pair``, as published, or of the ``note`` alone. A shifted note's
            envelope is shifted with it, as no instrument's is: a decoder that makes those too makes them from the
            prior.
        schedule: how the learning rate goes.
        amsgrad: whether Adam is AMSGrad, as published; it keeps the first steps' large gradients for ever, and an axis
            of pitch does not leave its plateau.
        mel_hz: (F,) centre frequencies of the mel bands, Hz; the CLI takes them from the data.
        lowest_midi: the lowest MIDI pitch asked for; the CLI takes it from the data.
        n_categories: K, pitch categories; as many as there are pitches if not given.
    """

    def __init__(
        self,
        weights: ObjectiveWeights = ObjectiveWeights(),  # noqa: B008 - frozen
        n_pitches: int = 82,
        n_mels: int = 256,
        n_latent: int = 8,
        width: int = 512,
        learning_rate: float = 1e-4,
        contrast_temperature: float = 0.5,
        axis: PitchAxisSettings = PitchAxisSettings(),
        elbo_of: Literal["pair", "note"] = "pair",
        schedule: LearningRateSchedule = LearningRateSchedule(),
        amsgrad: bool = True,
        mel_hz: Sequence[float] = (),
        lowest_midi: int = 24,
        n_categories: int | None = None,
    ) -> None:
        super().__init__()
        if axis.epochs and not weights.alignment:
            raise ValueError(f"model.axis.epochs is {axis.epochs}: they learn from weights.alignment, which is 0")
        margin = axis.margin
        if n_categories is not None:
            if n_categories < 2 or (weights.supervised and n_categories < n_pitches):
                raise ValueError(
                    f"model.n_categories is {n_categories}; give at least 2, and {n_pitches} (one a pitch) for labels"
                )
            spare = (n_categories - n_pitches) // 2  # the categories stay in the middle of the pitches
            lowest_midi -= spare
            margin = max(0, margin - spare) if margin else 0
            n_pitches = n_categories
        self.weights, self.axis, self.schedule, self.amsgrad = weights, axis, schedule, amsgrad
        self.elbo_of = elbo_of
        self.n_pitches, self.n_mels, self.n_latent = n_pitches, n_mels, n_latent
        self.learning_rate, self.contrast_temperature = learning_rate, contrast_temperature

        def pitch_encoder() -> PitchAxis:
            if axis.encoder == "published":
                return PitchEncoder(n_mels, n_pitches, width, margin)
            kind = EquivariantPitchEncoder if axis.encoder == "equivariant" else HarmonicComb
            return kind(mel_hz, lowest_midi, n_pitches, margin)

        self.timbre_encoder = TimbreEncoder(n_mels, n_latent, width)
        self.pitch_encoder = pitch_encoder()
        self.decoder = Decoder(n_mels, n_latent, n_pitches, width)
        self.rivals = torch.nn.ModuleList(pitch_encoder() for _ in range(axis.restarts - 1))
        if axis.epochs:
            self.augmentation = SpectralAugmentation(mel_hz, axis.subharmonic_share)
            self.candidate_mass: Tensor
            self.register_buffer("candidate_mass", torch.zeros(axis.restarts, self.pitch_encoder.n_candidates))
            self.trial_agreement: Tensor
            self.register_buffer("trial_agreement", torch.zeros(axis.restarts))
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(1.0))
        self.midi_offset: Tensor
        self.register_buffer("midi_offset", torch.tensor(torch.nan))
        self.calibration_agreement: Tensor
        self.register_buffer("calibration_agreement", torch.tensor(torch.nan))
        self.terms_log = TermLog(self)

    def encode(self, x: Tensor, x_pitch: Tensor | None = None) -> Latents:
        """(B, F) frames to their posteriors; draws when training, the means and modes when evaluating.

        Args:
            x: the frames.
            x_pitch: what the pitch is read from, where that is not ``x``; it may be of the first ones alone.
        """
        mu, logvar = self.timbre_encoder(x)
        candidates = self.pitch_encoder.candidates(x if x_pitch is None else x_pitch)
        logits = self.pitch_encoder.categories(candidates)
        inside = logits.amax(-1) >= candidates.amax(-1)
        if not self.training:
            return Latents(mu, logvar, logits, mu, F.one_hot(logits.argmax(-1), self.n_pitches).to(mu), inside)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        # The temperature stays a tensor: reading its value would wait for the device.
        c = F.gumbel_softmax(logits, self.temperature, hard=True)  # type: ignore[arg-type]
        return Latents(mu, logvar, logits, z, c, inside)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Z (B, L) and c (B, K) to frames (B, F)."""
        return self.decoder(z, c)

    def decode_all_pitches(self, z: Tensor) -> Tensor:
        """Z (T, L) to the frames of every category with every timbre, (K, T, F)."""
        return self.decoder.all_pitches(z)

    @torch.no_grad()
    def calibrate(self, frames: Tensor, midi: Tensor) -> None:
        """Find the MIDI pitch of category 0: the commonest distance of tones from the candidates they are heard as.

        Args:
            frames: (N, F) frames of tones whose pitch is known, such as synthetic ones.
            midi: (N,) their MIDI pitches.
        """
        heard = [_calibrated(each, frames, midi) for each in (self.trials if self.learns_axis else self.trials[:1])]
        offset, agreement = heard[0]
        self.midi_offset.copy_(offset)
        self.calibration_agreement.copy_(agreement)
        if self.learns_axis:
            self.trial_agreement.copy_(torch.stack([share for _, share in heard]))

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], Latents]:
        """The unweighted terms of a batch, and the latents of its notes.

        Terms of weight 0 are absent, and so are those that need a pair where there is none.

        Args:
            batch: x, x_shifted (or None), semitones, pitch, as :class:`datamodules.note_pairs.NotePair` names them.
        """
        w, x, views = self.weights, batch.x, batch.views
        # One pass over both views: the only difference to two passes is whose statistics a batch is normalised by.
        asks_pitch = self.elbo_of == "pair" or w.cycle or w.surrogate or (w.alignment and not self.axis.epochs)
        read = views if batch.x_pitch is None else batch.pitch_views
        both = self.encode(views, read[: None if asks_pitch else len(x)])
        note, *rest = (Latents(*parts) for parts in zip_longest(*(part.split(len(x)) for part in both)))
        made, frames = (both, views) if self.elbo_of == "pair" else (note, x)
        n_views = len(frames) // len(x)
        # A note that was shifted out of the categories has none that it could be decoded from.
        counted = made.inside if self.axis.margin else None
        terms = {
            "reconstruction": n_views * objectives.reconstruction(self.decode(made.z, made.c), frames, counted),
            "kl_z": n_views * objectives.kl_z(made.mu, made.logvar, counted),
            "kl_c": n_views * objectives.kl_c(made.logits),
        }
        if w.aggregate:
            terms["aggregate"] = objectives.aggregate(made.z)
        if w.leakage:
            terms["leakage"] = objectives.leakage(note.mu, objectives.expected_category(note.logits.softmax(-1)))
        if w.prior_frames:
            terms["prior_frames"] = self._prior_frames(note, x)
        if w.cross_swap:
            terms["cross_swap"] = self._cross_swap(note)
        if w.supervised:
            terms["supervised"] = objectives.supervised(note.logits, batch.pitch)
        if w.pseudo_label:
            terms["pseudo_label"] = objectives.pseudo_label(note.logits, batch.pseudo_label)
        for shifted in rest:
            if w.regression:
                terms["regression"] = objectives.regression(note.z, shifted.z)
            if w.contrast:
                terms["contrast"] = objectives.contrast(note.mu, shifted.mu, self.contrast_temperature)
            if w.cycle:
                terms["cycle"] = self._cycle(note, shifted)
            if w.surrogate:
                terms["surrogate"] = objectives.surrogate(shifted.logits, note.category, batch.semitones)
            if w.alignment and not self.axis.epochs:
                terms |= self._axis_terms(note.logits, shifted.logits, batch.semitones)
        return terms, note

    def _cycle(self, note: Latents, shifted: Latents) -> Tensor:
        """Decode D(z, c') and D(z', c), encode them again."""
        z = torch.cat([note.z, shifted.z])
        c = torch.cat([shifted.c, note.c])
        swapped = self.encode(self.decode(z, c))
        # The mean over 2 B swaps stands for two sums over B.
        return 2 * objectives.cycle(swapped.z, z, swapped.logits, c.argmax(-1))

    def _cross_swap(self, note: Latents) -> Tensor:
        """Decode timbres with categories of other notes, or of none, and encode them again; half of the batch."""
        n, device = len(note.mu) // 2, note.mu.device
        z, category = note.z.detach().roll(1, 0)[:n], note.category[:n]
        if self.training:
            z = torch.where(torch.rand(n, 1, device=device) < FROM_PRIOR, torch.randn_like(z), z)
            drawn = torch.randint(self.n_pitches, (n,), device=device)
            category = torch.where(torch.rand(n, device=device) < EVEN_CATEGORIES, drawn, category)
        made = self.encode(self.decode(z, F.one_hot(category, self.n_pitches).to(z)))
        return objectives.cross_swap(made.mu, z, made.logits, category)

    def _prior_frames(self, note: Latents, x: Tensor) -> Tensor:
        """Decode the notes' categories with timbres drawn from the prior, and compare the envelopes."""
        source = None if self.training else torch.Generator(note.mu.device).manual_seed(0)
        z = torch.randn(note.mu.shape, generator=source, device=note.mu.device)
        made, dct = self.decode(z, note.c), self.timbre_encoder.dct
        return objectives.prior_frames(made @ dct, x @ dct) + objectives.prior_frames(made, x)

    def _axis_terms(self, logits: Tensor, logits_shifted: Tensor, semitones: Tensor) -> dict[str, Tensor]:
        """The terms of pairs that an axis of pitch is learned from; logits (B, A) of all candidates."""
        log_p, log_p_shifted = logits.log_softmax(-1), logits_shifted.log_softmax(-1)
        p, p_shifted = log_p.exp(), log_p_shifted.exp()
        return {
            "alignment": objectives.alignment(log_p, log_p_shifted, semitones),
            "expected_shift": objectives.expected_shift(p, p_shifted, semitones),
            "balance": objectives.balance(torch.cat([p, p_shifted])),
        }

    # The epochs that learn the axis -----------------------------------------------------------------------------------

    @property
    def learns_axis(self) -> bool:
        """Whether this epoch is one of those that learn the pitch encoder alone."""
        return self.current_epoch < self.axis.epochs

    @property
    def trials(self) -> list[PitchAxis]:
        """The pitch encoders that are learned side by side; the first is the model's own."""
        return [self.pitch_encoder, *self.rivals]

    def on_train_epoch_start(self) -> None:
        """Keep the best of the trials, choose its categories, and freeze it, when the epochs of the axis are over."""
        if not self.axis.epochs or self.learns_axis:
            return
        if self.current_epoch == self.axis.epochs:
            best = int(self.trial_agreement.argmax())
            # The values, not the module: an optimiser's state in a checkpoint is in the order of the parameters.
            self.pitch_encoder.load_state_dict(self.trials[best].state_dict())
            self.pitch_encoder.choose_categories(self.candidate_mass[best])
        self.rivals.requires_grad_(False)
        self.pitch_encoder.requires_grad_(False).eval()

    def _axis_step(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The loss of a batch of pairs in the epochs of the axis, and the categories of its notes."""
        frames = self.augmentation(batch.pitch_views)
        pairs = [trial.candidates(frames).split(len(batch.x)) for trial in self.trials]
        terms = [self._axis_terms(logits, shifted, batch.semitones) for logits, shifted in pairs]
        loss = torch.stack([self.weighted_sum(each) for each in terms]).sum()
        self.terms_log.add("train", {f"loss/{name}": term for name, term in terms[0].items()}, len(batch.x))
        if self.current_epoch == self.axis.epochs - 1:
            self.candidate_mass += torch.stack([logits.detach().softmax(-1).sum(0) for logits, _ in pairs])
        return loss, self.pitch_encoder.categories(pairs[0][0]).argmax(-1)

    def weighted_sum(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss: each term times its weight, once."""
        return torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()

    def _step(self, batch: Any, stage: str) -> tuple[Tensor, Latents]:
        terms, note = self.objective_terms(batch)
        loss = self.weighted_sum(terms)
        # The same in every row, whatever else is in its loss: this compares rows and weights without labels.
        negative_elbo = self.weighted_sum({name: terms[name] for name in ("reconstruction", "kl_z", "kl_c")})
        named = {**terms, "negative_elbo": negative_elbo, "total": loss}
        logged = {f"loss/{name}": term for name, term in named.items()}
        self.terms_log.add(stage, logged, len(batch.x))
        return loss, note

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """The loss of a batch of pairs, and the categories of its notes."""
        if self.learns_axis:
            loss, category = self._axis_step(batch)
            return {"loss": loss, "category": category}
        loss, note = self._step(batch, "train")
        return {"loss": loss, "category": note.category}

    def validation_step(self, batch: Any, batch_idx: int) -> Latents:  # type: ignore[override]
        """The same loss without noise, for model selection; returns the latents of the notes."""
        return self._step(batch, "val")[1]

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Latents:  # type: ignore[override]
        """The latents of the notes; the metrics are callbacks."""
        return self.encode(batch.x, batch.x_pitch)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("train")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("val")

    def configure_optimizers(self) -> Any:
        """Adam, and the learning rates' schedules where there are any."""
        groups: list[dict[str, Any]] = [{"params": list(self.parameters())}]
        if self.axis.epochs:
            axis = [p for trial in self.trials for p in trial.parameters()]
            rest = [p for name, p in self.named_parameters() if not name.startswith(("pitch_encoder.", "rivals."))]
            groups = [{"params": rest}, {"params": axis, "lr": self.axis.learning_rate}]
        optimizer = torch.optim.Adam(groups, lr=self.learning_rate, amsgrad=self.amsgrad, fused=True)
        if self.schedule == LearningRateSchedule() and not self.axis.epochs:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        axis_steps = steps * self.axis.epochs // max(1, self.trainer.max_epochs or 1)

        def rest_share(step: int) -> float:
            return self.schedule.share(step - axis_steps, steps - axis_steps) if step >= axis_steps else 0.0

        def axis_share(step: int) -> float:
            return AXIS_SCHEDULE.share(step, axis_steps)

        shares: list[Callable[[int], float]] = [rest_share, axis_share]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, shares[: len(groups)])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights' shapes stand for."""
        checkpoint["frames"] = {"n_pitches": self.n_pitches, "n_mels": self.n_mels}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other categories or bands in one line rather than by tensor shapes."""
        own = {"n_pitches": self.n_pitches, "n_mels": self.n_mels}
        if checkpoint.get("frames", own) != own:
            raise ValueError(f"the checkpoint was trained with {checkpoint['frames']}, this data and model have {own}")
