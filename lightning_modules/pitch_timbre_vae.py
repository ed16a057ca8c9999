"""The poster's model: a variational auto-encoder of a note's frame with a discrete pitch and a continuous timbre.

Source: Luo et al., "Unsupervised Disentanglement of Pitch and Timbre for Isolated Musical Instrument Sounds", ISMIR
2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules import networks, objectives
from lightning_modules.latents import Latents
from lightning_modules.note_module import ObjectiveModule, check_positive
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.schedules import Constant, Schedule


class PitchTimbreVAE(ObjectiveModule):
    """q(z, c | x) = q(z|x) q(c|x) and p(x | z, c), trained by the ELBO less the weighted auxiliary losses.

    Args:
        weights: how much each term counts.
        n_pitches: the pitches of the data; the CLI takes it from there.
        n_mels: F, mel bands; the CLI takes it from the data.
        n_latent: L, dimensions of z.
        width: features of each hidden layer of the published networks.
        learning_rate: of Adam; the peak, where the schedule changes it.
        contrast_temperature: tau of NT-Xent.
        pitch_encoder: makes q(c|x) for the model's dimensions.
        timbre_encoder: makes q(z|x) for the model's dimensions.
        schedule: how the learning rate goes.
        amsgrad: whether Adam is AMSGrad, as published.
        mel_hz: (F,) centre frequencies of the mel bands, Hz; the CLI takes them from the data.
        lowest_midi: the lowest MIDI pitch asked for; the CLI takes it from the data.
        n_categories: K, pitch categories; as many as there are pitches if not given.
    """

    temperature: Tensor

    def __init__(
        self,
        weights: ObjectiveWeights = ObjectiveWeights(),  # noqa: B008 - frozen
        n_pitches: int = 82,
        n_mels: int = 256,
        n_latent: int = 8,
        width: int = 512,
        learning_rate: float = 1e-4,
        contrast_temperature: float = 0.5,
        pitch_encoder: Callable[[networks.Dimensions], networks.PitchEncoder] = networks.MelPitchEncoder,
        timbre_encoder: Callable[[networks.Dimensions], networks.TimbreEncoder] = networks.MfccTimbreEncoder,
        schedule: Schedule = Constant(),  # noqa: B008 - frozen
        amsgrad: bool = True,
        mel_hz: Sequence[float] = (),
        lowest_midi: int = 24,
        n_categories: int | None = None,
    ) -> None:
        super().__init__()
        check_positive(learning_rate=learning_rate, contrast_temperature=contrast_temperature)
        check_positive(n_mels=n_mels, n_latent=n_latent, width=width)
        k = n_pitches if n_categories is None else n_categories
        if k < 2 or (weights.supervised and k < n_pitches):
            raise ValueError(
                f"model.n_categories is {k} for {n_pitches} pitches; give at least 2, and one a pitch for labels"
            )
        self.weights, self.schedule, self.amsgrad = weights, schedule, amsgrad
        self.n_categories, self.n_mels, self.n_latent = k, n_mels, n_latent
        self.learning_rate, self.contrast_temperature = learning_rate, contrast_temperature
        lowest_midi -= (k - n_pitches) // 2  # the categories stay in the middle of the pitches
        self.dimensions = networks.Dimensions(n_mels, n_latent, n_pitches, k, width, tuple(mel_hz), lowest_midi)
        self.timbre_encoder = timbre_encoder(self.dimensions)
        self.pitch_encoder = pitch_encoder(self.dimensions)
        self.decoder = networks.Decoder(self.dimensions)
        for name, value in (("temperature", 1.0), ("midi_offset", torch.nan), ("calibration_agreement", torch.nan)):
            self.register_buffer(name, torch.tensor(value))

    def encode(self, x: Tensor, x_pitch: Tensor | None = None) -> Latents:
        """(B, F) frames to their posteriors; draws when training, the means and modes when evaluating.

        Args:
            x: the frames.
            x_pitch: (B, F) what the pitch is read from, where that is not ``x``.
        """
        mu, logvar = self.timbre_encoder(x)
        logits = self.pitch_encoder(x if x_pitch is None else x_pitch)
        return Latents(mu, logvar, logits, *self.draw(mu, logvar, logits))

    def draw(self, mu: Tensor, logvar: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Z (B, L) from N(mu, exp(logvar)) and hard c (B, K) by the Gumbel-softmax; mean and mode when evaluating."""
        if not self.training:
            return mu, F.one_hot(logits.argmax(-1), self.n_categories).to(mu)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        # The temperature stays a tensor: reading its value would wait for the device.
        return z, F.gumbel_softmax(logits, self.temperature, hard=True)  # type: ignore[arg-type]

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Z (B, L) and c (B, K) to frames (B, F)."""
        return self.decoder(z, c)

    def decode_all_pitches(self, z: Tensor) -> Tensor:
        """Z (T, L) to the frames of every category with every timbre, (K, T, F)."""
        return self.decoder.all_pitches(z)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], Latents]:
        """The unweighted terms of a batch, and the latents of its notes; terms of weight 0 are absent.

        Args:
            batch: x, x_shifted (or None), semitones, pitch, as :class:`datamodules.batch.NotePair` names them.
        """
        # x and x' in one pass: the only difference to two passes is whose statistics a batch is normalised by.
        views = batch.views
        both = self.encode(views, None if batch.x_pitch is None else batch.pitch_views)
        note, *rest = both.split(len(batch.x))
        terms = self.elbo_terms(both, views, n_views=1 + len(rest)) | self.note_terms(note, batch)
        for shifted in rest:
            terms |= self.pair_terms(note, shifted, batch)
        return terms, note

    def elbo_terms(self, q: Latents, x: Tensor, n_views: int, counted: Tensor | None = None) -> dict[str, Tensor]:
        """The negative ELBO's terms, a mean over the notes, a sum over each note's views (x, and x' in a pair)."""
        return {
            "reconstruction": n_views * objectives.reconstruction(self.decode(q.z, q.c), x, counted),
            "kl_z": n_views * objectives.kl_z(q.mu, q.logvar, counted),
            "kl_c": n_views * objectives.kl_c(q.logits),
        }

    def note_terms(self, note: Latents, batch: Any) -> dict[str, Tensor]:
        """Row b's term of the notes x."""
        return {"supervised": objectives.supervised(note.logits, batch.pitch)} if self.weights.supervised else {}

    def pair_terms(self, note: Latents, shifted: Latents, batch: Any) -> dict[str, Tensor]:
        """The auxiliary losses of the pairs (x, x')."""
        w, terms = self.weights, {}
        if w.regression:
            terms["regression"] = objectives.regression(note.z, shifted.z)
        if w.contrast:
            terms["contrast"] = objectives.contrast(note.mu, shifted.mu, self.contrast_temperature)
        if w.cycle:
            terms["cycle"] = self.swap_cycle(note, shifted)
        if w.surrogate:
            terms["surrogate"] = objectives.surrogate(shifted.logits, note.category, batch.semitones)
        return terms

    def swap_cycle(self, note: Latents, shifted: Latents) -> Tensor:
        """Decode the swaps D(z, c') and D(z', c), and encode them again."""
        z, c = torch.cat([note.z, shifted.z]), torch.cat([shifted.c, note.c])
        reencoded = self.encode(self.decode(z, c))
        # The mean over 2 B swaps stands for two sums over B.
        return 2 * objectives.cycle(reencoded.z, z, reencoded.logits, c.argmax(-1))

    def validation_step(self, batch: Any, batch_idx: int) -> Latents:  # type: ignore[override]
        """The same loss without noise, for model selection; returns the latents of the notes."""
        return self._step(batch, "val")[1]

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Latents:  # type: ignore[override]
        """The latents of the notes; the metrics are callbacks."""
        return self.encode(batch.x, batch.x_pitch)
