"""Row ts_dsae: the two-stage sequential auto-encoder, whose local latent holds the pitch and all that changes.

Source: Luo, Ewert and Dixon, "Towards Robust Unsupervised Disentanglement of Sequential Data - A Case Study Using Music
Audio", IJCAI 2022.

The weights, and what the summaries of the paper leave open, are this project's reading.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_modules import sequence_objectives
from lightning_modules.note_networks import CourseEncoder, frames_of
from lightning_modules.sequence_objectives import WholeNoteWeights
from lightning_modules.whole_note_module import NoteLatents
from lightning_modules.whole_note_vae import WholeNoteVAE


@dataclass(frozen=True)
class TwoStageSequenceWeights(WholeNoteWeights):
    """The weights of whole notes, and those of the swaps. A term of weight 0 is not computed.

    Attributes:
        swap_global: notes decoded with other notes' g are read with these.
        swap_local: and with the v that they were decoded with.
        prior_global: notes decoded with a v of the prior are read with their g.
        prior_local: and with that v.
    """

    swap_global: float = 1.0
    swap_local: float = 1.0
    prior_global: float = 1.0
    prior_local: float = 1.0


class TwoStageSequenceVAE(WholeNoteVAE):
    """The constrained stage learns g alone, the local modules frozen; its posterior is then each note's prior of g.

    As published, the decoder reads g and v only: v has to hold the pitch, and a pitch or loudness that is given to
    :meth:`decode_notes` changes nothing. The paper reads no pitch from v, so the pitch that is reported is that of the
    frozen axis of M8, the best that can be lent to it. Encoders, decoder and first-order prior are M8's in size; the
    encoder of v reads all of the frame, and not MFCCs, which do not tell the pitch.

    Args:
        weights: how much each term counts.
        more: the arguments of :class:`WholeNoteVAE`; ``epochs_without_course`` is the length of the constrained stage.
    """

    weights: TwoStageSequenceWeights

    def __init__(
        self,
        weights: TwoStageSequenceWeights = TwoStageSequenceWeights(),
        **more: Any,
    ) -> None:
        super().__init__(weights, **more)
        if not self.n_course or self.perturbation:
            raise ValueError("model.n_course is 0, or model.perturbation true: this model reads g and v of the note")
        channels = self.course_encoder.head.in_features
        self.course_encoder = CourseEncoder(self.n_mels, self.n_course, channels, static=True, n_mfcc=self.n_mels)
        self.prior_encoder = deepcopy(self.timbre_encoder).requires_grad_(False)

    def on_train_epoch_start(self) -> None:
        """When the constrained stage ends, keep its encoder: its posteriors are the notes' priors."""
        super().on_train_epoch_start()
        if self.current_epoch == self.axis.epochs + self.epochs_without_course:
            self.prior_encoder.load_state_dict(self.timbre_encoder.state_dict())
        self.prior_encoder.eval()

    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        """G (B, G) and v (B, T, V) to frames (B, T, F); the others are not read."""
        unread = torch.zeros(*v.shape[:2], 1 + self.n_categories, device=v.device)
        return super().decode_notes(g, unread[..., 1:], unread[..., 0], v)

    def _decode(self, g: Tensor, q: NoteLatents, chosen: Tensor) -> Tensor:
        v = q.v[chosen]
        unread = torch.zeros(len(v), 1 + self.n_categories, device=v.device)
        return self.decoder(torch.cat([frames_of(g, chosen), v, unread[:, :1]], -1), unread[:, 1:])

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], NoteLatents]:
        """The ELBO of the stage, and after the constrained one the four terms of the swaps."""
        terms, q = super().objective_terms(batch)
        if not self.course_open:
            return terms, q
        with torch.no_grad():
            prior = self.prior_encoder(*self.views(batch)[:2])
        terms["kl_g"] = sequence_objectives.kl_between(q.mu, q.logvar, *prior)
        swapped = q.g.roll(1, 0), q.v
        terms |= self._swap_terms("swap", *swapped, [each.roll(1, 0) for each in prior], (q.v_mu, q.v_logvar), batch)
        drawn = q.g, self._courses_of_the_prior(q.v)
        terms |= self._swap_terms("prior", *drawn, prior, None, batch)
        return terms, q

    def _swap_terms(
        self, name: str, g: Tensor, v: Tensor, g_prior: Any, v_prior: tuple[Tensor, Tensor] | None, batch: Any
    ) -> dict[str, Tensor]:
        """Decode g and v that no note joins, and ask both encoders for them."""
        decoded = self.decode_notes(g, batch.pitch, batch.x[..., 0], v)
        mu, logvar = self.timbre_encoder(decoded, batch.mask)
        v_mu, v_logvar = self.course_encoder(decoded, batch.mask)
        if v_prior is None:
            local = (v_mu - v)[batch.mask].square().sum(-1).mean()
        else:
            frames = [each[batch.mask] for each in (v_mu, v_logvar, *(each.detach() for each in v_prior))]
            local = sequence_objectives.kl_between(*frames)
        return {f"{name}_global": sequence_objectives.kl_between(mu, logvar, *g_prior), f"{name}_local": local}

    def _courses_of_the_prior(self, v: Tensor) -> Tensor:
        """Courses (B, T, V) drawn from the first-order prior; of fixed noise when evaluating."""
        source = None if self.training else torch.Generator(v.device).manual_seed(0)
        noise = torch.randn(v.shape, generator=source, device=v.device)
        rho = self.persistence.detach().tanh()
        drawn = [noise[:, 0]]
        for each in noise.unbind(1)[1:]:
            drawn.append(rho * drawn[-1] + (1 - rho.square()).sqrt() * each)
        return torch.stack(drawn, 1)
