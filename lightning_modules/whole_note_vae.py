"""Row M8: a variational auto-encoder of whole notes, each of whose latents is read from what holds no other.

The pitch of the frames is that of an axis learned from pairs and frozen (as M7's); the note's timbre g is read from
another segment of the note, shifted; its course v from the same segment, shifted and filtered, without its mean; its
loudness is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules import objectives, own_objectives, pitch_course, sequence_objectives
from lightning_modules.axis_stage import AxisStage, LearnsAxis
from lightning_modules.networks import Decoder, Dimensions
from lightning_modules.note_module import check_positive
from lightning_modules.note_networks import CourseEncoder, NoteTimbreEncoder, frames_of, some_frames
from lightning_modules.note_views import Views, perturbed_views
from lightning_modules.pitch_axis import EquivariantPitchEncoder, PitchAxis
from lightning_modules.schedules import Schedule, WarmupCosine
from lightning_modules.sequence_objectives import WholeNoteWeights
from lightning_modules.whole_note_module import NoteLatents, WholeNoteModule, gaussian_draw

PRIOR_SHARE = 0.3
"""Re-entry: share of the timbres drawn from N(0, I); the others are of other notes."""


class WholeNoteVAE(LearnsAxis, WholeNoteModule):
    """q(g | note) q(v_t | note) q(c_t | frame) and p(x_t | c_t, l_t, g, v_t), with a first-order prior of v.

    Args:
        weights: how much each term counts.
        n_pitches: the pitches of the data; the CLI takes it from there. K, the pitch categories, is as large.
        n_mels: F, mel bands; the CLI takes it from the data.
        n_latent: G, dimensions of g.
        n_course: V, dimensions of v; 0 for a model without a course.
        width: features of each layer of the timbre encoder and the decoder.
        channels: of each layer of the course encoder.
        learning_rate: of Adam, its peak.
        schedule: how the learning rate goes.
        axis: the stage that learns the pitch encoder, from one frame of each note and its shifted copy.
        pitch_encoder: makes q(c|x) for the model's dimensions.
        perturbation: whether g and v are read from views in which the other factors are destroyed; else both are read
            from the note itself.
        epochs_without_course: how many epochs after the axis stage learn without v, so that g learns all it can.
        decoded_frames: how many frames of each training note are decoded in a step.
        mel_hz: (F,) centre frequencies of the mel bands, Hz; the CLI takes them from the data.
        lowest_midi: the lowest MIDI pitch asked for; the CLI takes it from the data.
    """

    weights: WholeNoteWeights
    pitch_encoder: PitchAxis
    course_open: Tensor
    midi_offset: Tensor
    calibration_agreement: Tensor

    def __init__(
        self,
        weights: WholeNoteWeights = WholeNoteWeights(),  # noqa: B008 - frozen
        n_pitches: int = 82,
        n_mels: int = 256,
        n_latent: int = 8,
        n_course: int = 4,
        width: int = 512,
        channels: int = 128,
        learning_rate: float = 1e-3,
        schedule: Schedule = WarmupCosine(40),  # noqa: B008
        axis: AxisStage = AxisStage(),  # noqa: B008
        pitch_encoder: Callable[[Dimensions], PitchAxis] = EquivariantPitchEncoder,
        perturbation: bool = True,
        epochs_without_course: int = 0,
        decoded_frames: int = 16,
        mel_hz: Sequence[float] = (),
        lowest_midi: int = 24,
    ) -> None:
        super().__init__()
        check_positive(n_mels=n_mels, n_latent=n_latent, width=width, channels=channels, decoded_frames=decoded_frames)
        check_positive(learning_rate=learning_rate)
        if n_course < 0 or epochs_without_course < 0 or (epochs_without_course and not n_course):
            raise ValueError(
                f"model.n_course is {n_course} and model.epochs_without_course {epochs_without_course}; give 0 or "
                "more, and no such epochs where there is no course"
            )
        self.weights, self.learning_rate, self.schedule = weights, learning_rate, schedule
        self.n_mels, self.n_latent, self.n_course, self.n_categories = n_mels, n_latent, n_course, n_pitches
        self.perturbation, self.decoded_frames = perturbation, decoded_frames
        self.epochs_without_course = epochs_without_course
        self.dimensions = Dimensions(n_mels, n_latent, n_pitches, n_pitches, width, tuple(mel_hz), lowest_midi)
        self.timbre_encoder = NoteTimbreEncoder(n_mels, n_latent, width)
        self.pitch_encoder = pitch_encoder(self.dimensions)
        in_decoder = Dimensions(n_mels, n_latent + n_course + 1, n_pitches, n_pitches, width)
        self.decoder = Decoder(in_decoder)
        if n_course:
            self.course_encoder = CourseEncoder(n_mels, n_course, channels, static=not perturbation)
            self.persistence = nn.Parameter(torch.ones(n_course))
        self.register_buffer("course_open", torch.tensor(float(epochs_without_course == 0)))
        for name in ("midi_offset", "calibration_agreement"):
            self.register_buffer(name, torch.tensor(torch.nan))
        self.build_axis_stage(axis, pitch_encoder)

    # Encoding and decoding --------------------------------------------------------------------------------------------

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
        return self._latents(Views(timbre, timbre_mask, x), x, mask, x if x_pitch is None else x_pitch, mask)

    def _latents(self, views: Views, x: Tensor, mask: Tensor, x_pitch: Tensor, chosen: Tensor) -> NoteLatents:
        """The latents of the views; the pitch is read at the chosen (B, T) frames only, and is uniform elsewhere."""
        mu, logvar = self.timbre_encoder(views.timbre, views.timbre_mask)
        v_mu, v_logvar = self._course(views, mask)
        with torch.no_grad():
            logits = self.frame_logits(x_pitch, chosen)
        level = pitch_course.loudness(x)
        return NoteLatents(
            mu=mu,
            logvar=logvar,
            g=gaussian_draw(mu, logvar, self.training),
            logits=logits,
            cents=pitch_course.cents(logits),
            category=pitch_course.vote(logits, level, chosen),
            v=gaussian_draw(v_mu, v_logvar, self.training) * self.course_open,
            v_mu=v_mu,
            v_logvar=v_logvar,
            loudness=level,
        )

    def _course(self, views: Views, mask: Tensor) -> tuple[Tensor, Tensor]:
        if not self.n_course:
            none = torch.zeros(*mask.shape, 0, device=mask.device)
            return none, none
        return self.course_encoder(views.course, mask, views.course_mean)

    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        """Latents to frames (B, T, F); see :meth:`WholeNoteModule.decode_notes`."""
        frames = torch.cat([g.unsqueeze(1).expand(-1, v.shape[1], -1), v, loudness.unsqueeze(-1)], -1)
        c = self.frame_pitch(pitch, v.shape[1])
        return self.decoder(frames.flatten(0, 1), c.flatten(0, 1)).unflatten(0, v.shape[:2])

    def _decode(self, g: Tensor, q: NoteLatents, chosen: Tensor) -> Tensor:
        """The chosen frames (N, F) of notes with the timbres g (B, G) and all else of q."""
        timbre = torch.cat([frames_of(g, chosen), q.v[chosen], q.loudness[chosen].unsqueeze(-1)], -1)
        return self.decoder(timbre, pitch_course.course(q.logits[chosen], frames_of(q.category, chosen)))

    # Training ---------------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Freeze the axis after its stage, and open the course after the epochs without it."""
        super().on_train_epoch_start()
        self.course_open.fill_(float(self.current_epoch >= self.axis.epochs + self.epochs_without_course))

    def views(self, batch: Any) -> Views:
        """What the latents of a batch are read from."""
        if not self.training:
            return Views(batch.other, batch.other_mask, batch.x)
        return perturbed_views(batch) if self.perturbation else Views(batch.x, batch.mask, batch.x)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], NoteLatents]:
        """The unweighted terms of a batch, and the latents of its notes."""
        w = self.weights
        chosen = some_frames(batch.mask, self.decoded_frames) if self.training else batch.mask
        q = self._latents(
            self.views(batch), batch.x, batch.mask, batch.x if batch.x_pitch is None else batch.x_pitch, chosen
        )
        terms = {
            "reconstruction": objectives.reconstruction(self._decode(q.g, q, chosen), batch.x[chosen]),
            "kl_g": objectives.kl_z(q.mu, q.logvar),
        }
        if self.n_course:
            rho = self.persistence.tanh()
            terms["kl_v"] = self.course_open * sequence_objectives.kl_v(q.v_mu, q.v_logvar, rho, batch.mask)
        if w.aggregate:
            terms["aggregate"] = own_objectives.aggregate(q.g)
        if w.leakage:
            terms["leakage"] = own_objectives.leakage(q.mu, q.category.to(q.mu))
        if w.regression or w.contrast:
            mu, logvar = self.timbre_encoder(batch.x, chosen)  # of the other segment, as it is
            terms |= self._segment_terms(q, mu, gaussian_draw(mu, logvar, self.training))
        if w.reentry:
            terms["reentry"] = self._reentry(q, chosen)
        if w.prior_frames:
            terms["prior_frames"] = self._prior_frames(q, batch.x, chosen)
        return terms, q

    def _segment_terms(self, q: NoteLatents, mu: Tensor, g: Tensor) -> dict[str, Tensor]:
        """The terms of two segments of the notes: both have one timbre."""
        terms = {}
        if self.weights.regression:
            terms["regression"] = objectives.regression(q.g, g)
        if self.weights.contrast:
            terms["contrast"] = objectives.contrast(q.mu, mu)
        return terms

    def _reentry(self, q: NoteLatents, chosen: Tensor) -> Tensor:
        """Decode other notes' timbres, or some of the prior, with all else of half of the notes, and read them."""
        half = torch.arange(len(chosen), device=chosen.device) < (len(chosen) + 1) // 2
        part = chosen & half.unsqueeze(-1)
        g = q.g.detach().roll(1, 0)
        if self.training:
            g = torch.where(torch.rand(len(g), 1, device=g.device) < PRIOR_SHARE, torch.randn_like(g), g)
        mu, _ = self.timbre_encoder.of_frames(self._decode(g, q, part), part)
        return sequence_objectives.reentry(mu[half], g[half])

    def _prior_frames(self, q: NoteLatents, x: Tensor, chosen: Tensor) -> Tensor:
        """Decode a timbre drawn from the prior with all else of a frame of each note; compare the frames."""
        one = some_frames(chosen, 1) if self.training else chosen & (chosen.cumsum(-1) == 1)
        source = None if self.training else torch.Generator(x.device).manual_seed(0)
        g = torch.randn(q.g.shape, generator=source, device=x.device)
        return own_objectives.prior_frames(self._decode(g, q, one), x[one])
