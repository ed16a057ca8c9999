"""The method: a variational auto-encoder of a note's frame with a discrete pitch and a continuous timbre."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules import objectives
from lightning_modules.networks import Decoder, PitchEncoder, TimbreEncoder
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.term_log import TermLog


class Latents(NamedTuple):
    """The posteriors of B frames and a draw from them.

    Attributes:
        mu: (B, L) mean of q(z|x).
        logvar: (B, L) log variance of q(z|x).
        logits: (B, K) logits of q(c|x).
        z: (B, L) the timbre drawn; the mean when evaluating.
        c: (B, K) the pitch drawn, one-hot; the most probable one when evaluating.
    """

    mu: Tensor
    logvar: Tensor
    logits: Tensor
    z: Tensor
    c: Tensor

    @property
    def category(self) -> Tensor:
        """(B,) the most probable category, without gradient."""
        return self.logits.argmax(-1)


class PitchTimbreVAE(L.LightningModule):
    """q(z, c | x) = q(z|x) q(c|x) and p(x | z, c), trained by the ELBO less the weighted auxiliary losses.

    Args:
        weights: how much each term counts.
        n_pitches: K, pitch categories; the CLI takes it from the data.
        n_mels: F, mel bands; the CLI takes it from the data.
        n_latent: L, dimensions of z.
        width: features of each hidden layer.
        learning_rate: of Adam.
        contrast_temperature: tau of NT-Xent.
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
    ) -> None:
        super().__init__()
        self.weights = weights
        self.n_pitches, self.n_mels, self.n_latent = n_pitches, n_mels, n_latent
        self.learning_rate, self.contrast_temperature = learning_rate, contrast_temperature
        self.timbre_encoder = TimbreEncoder(n_mels, n_latent, width)
        self.pitch_encoder = PitchEncoder(n_mels, n_pitches, width)
        self.decoder = Decoder(n_mels, n_latent, n_pitches, width)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(1.0))
        self.terms_log = TermLog(self)

    def encode(self, x: Tensor) -> Latents:
        """(B, F) frames to their posteriors; draws when training, the means and modes when evaluating."""
        mu, logvar = self.timbre_encoder(x)
        logits = self.pitch_encoder(x)
        if not self.training:
            return Latents(mu, logvar, logits, mu, F.one_hot(logits.argmax(-1), self.n_pitches).to(mu))
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        # The temperature stays a tensor: reading its value would wait for the device.
        c = F.gumbel_softmax(logits, self.temperature, hard=True)  # type: ignore[arg-type]
        return Latents(mu, logvar, logits, z, c)

    def decode(self, z: Tensor, c: Tensor) -> Tensor:
        """Z (B, L) and c (B, K) to frames (B, F)."""
        return self.decoder(z, c)

    def decode_all_pitches(self, z: Tensor) -> Tensor:
        """Z (T, L) to the frames of every category with every timbre, (K, T, F)."""
        return self.decoder.all_pitches(z)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], Latents]:
        """The unweighted terms of a batch, and the latents of its notes.

        Terms of weight 0 are absent, and so are those that need a pair where there is none.

        Args:
            batch: x, x_shifted (or None), semitones, pitch, as :class:`datamodules.note_pairs.NotePair` names them.
        """
        w, x, x_shifted = self.weights, batch.x, batch.x_shifted
        # One pass over both views: the only difference to two passes is whose statistics a batch is normalised by.
        views = x if x_shifted is None else torch.cat([x, x_shifted])
        n_views = len(views) // len(x)
        both = self.encode(views)
        note, *rest = (Latents(*parts) for parts in zip(*(part.split(len(x)) for part in both), strict=True))
        terms = {
            "reconstruction": n_views * objectives.reconstruction(self.decode(both.z, both.c), views),
            "kl_z": n_views * objectives.kl_z(both.mu, both.logvar),
            "kl_c": n_views * objectives.kl_c(both.logits),
        }
        if w.supervised:
            terms["supervised"] = objectives.supervised(note.logits, batch.pitch)
        for shifted in rest:
            if w.regression:
                terms["regression"] = objectives.regression(note.z, shifted.z)
            if w.contrast:
                terms["contrast"] = objectives.contrast(note.mu, shifted.mu, self.contrast_temperature)
            if w.cycle:
                terms["cycle"] = self._cycle(note, shifted)
            if w.surrogate:
                terms["surrogate"] = objectives.surrogate(shifted.logits, note.category, batch.semitones)
        return terms, note

    def _cycle(self, note: Latents, shifted: Latents) -> Tensor:
        """Decode D(z, c') and D(z', c), encode them again."""
        z = torch.cat([note.z, shifted.z])
        c = torch.cat([shifted.c, note.c])
        swapped = self.encode(self.decode(z, c))
        # The mean over 2 B swaps stands for two sums over B.
        return 2 * objectives.cycle(swapped.z, z, swapped.logits, c.argmax(-1))

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
        loss, note = self._step(batch, "train")
        return {"loss": loss, "category": note.category}

    def validation_step(self, batch: Any, batch_idx: int) -> Latents:  # type: ignore[override]
        """The same loss without noise, for model selection; returns the latents of the notes."""
        return self._step(batch, "val")[1]

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Latents:  # type: ignore[override]
        """The latents of the notes; the metrics are callbacks."""
        return self.encode(batch.x)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("train")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with amsgrad, as published."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, amsgrad=True, fused=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights' shapes stand for."""
        checkpoint["frames"] = {"n_pitches": self.n_pitches, "n_mels": self.n_mels}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other categories or bands in one line rather than by tensor shapes."""
        own = {"n_pitches": self.n_pitches, "n_mels": self.n_mels}
        if checkpoint.get("frames", own) != own:
            raise ValueError(f"the checkpoint was trained with {checkpoint['frames']}, this data and model have {own}")
