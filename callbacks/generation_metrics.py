"""What the decoder generates, in the features of separately trained classifiers: FID_recon, FID_rand, CDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from callbacks.gathered_notes import NoteOutputs, gathered_notes
from lightning_modules.note_classifier import NoteClassifier
from metrics.category_mapping import commonest_pitches
from metrics.consistency_diversity import consistency_diversity_score
from metrics.frechet import frechet_distance, kernel_distance

EPOCH_TIMBRES = 4
"""Timbres that an epoch's CDS decodes with every pitch; a test takes those of all scored notes."""

PUBLISHED = ("fid_recon", "fid_rand", "cds")
"""The measures that the paper prints; a test logs the others as ``honest``."""

TIMBRES_AT_ONCE = 32
"""Timbres decoded together when all pitches of many are made; bounds the memory."""

SWAPS = 2000
"""Pairs of scored notes whose timbre and category are joined when testing."""


def classifier_file(classifier_dir: Path, data_hash: str, label: str) -> Path:
    """Where the evaluation classifier of this data and label is kept."""
    return classifier_dir.expanduser() / data_hash / f"{label}.ckpt"


class GenerationMetrics(L.Callback):
    """FID_recon, FID_rand and CDS each epoch, and on all notes when testing.

    The published FID is taken in the instrument classifier's features; the test puts the pitch classifier's beside it,
    and the distance of as many training notes from the scored ones, which is what perfect generation would have. It
    also joins the timbre of one note with the category of another, and asks the classifiers for both.
    CDS reads the pitch classifier's posterior. Random timbres come from a generator of the callback's own, so that
    measuring never changes the training.

    Args:
        classifier_dir: where the classifiers are kept, by data hash.
    """

    def __init__(self, classifier_dir: Path) -> None:
        self.classifier_dir = classifier_dir
        self._classifiers: dict[str, NoteClassifier] = {}
        self._real: dict[str, tuple[Tensor, Tensor]] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Load the classifiers of this data.

        Raises:
            ValueError: there is none, or it is of another data set.
        """
        self._real.clear()
        data_hash = trainer.datamodule.data_hash  # type: ignore[attr-defined]
        for label in ("pitch", "instrument"):
            file = classifier_file(self.classifier_dir, data_hash, label)
            if not file.exists():
                raise ValueError(
                    f"{file}: there is no {label} classifier for this data; train it by "
                    f"`lightning fit --config configs/classifier_{label}.yaml` with the same data"
                )
            self._classifiers[label] = NoteClassifier.load(file, data_hash, label)

    def fingerprints(self) -> dict[str, str]:
        """Label -> hash of the classifier that judges it."""
        return {label: classifier.fingerprint() for label, classifier in self._classifiers.items()}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the epoch's values, computed in the training's precision: a test's, for the table, are in float32."""
        with trainer.precision_plugin.forward_context():
            found = self._measure(pl_module, gathered_notes(trainer).scored)
        pl_module.log_dict({f"val/{name}": value for name, value in found.items()})

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log all values: the published ones, and beside them the pitch classifier's, KID and those of real notes."""
        scored, training = gathered_notes(trainer).scored, gathered_notes(trainer).training
        found = self._measure(pl_module, scored, training) | self._swaps(pl_module, scored, training)
        pl_module.log_dict(
            {f"{'published' if name in PUBLISHED else 'honest'}/{name}": value for name, value in found.items()}
        )

    @torch.no_grad()
    def _measure(self, module: Any, scored: NoteOutputs, training: NoteOutputs | None = None) -> dict[str, float]:
        """The values of an epoch, or with the training notes all those of a test."""
        x, mu, category = scored.x, scored.mu, scored.category
        c = F.one_hot(category, module.n_categories).to(mu)
        source = torch.Generator().manual_seed(0)
        random_z = torch.randn(mu.shape, generator=source).to(mu)
        generated = {"recon": module.decode(mu, c), "rand": module.decode(random_z, c)}
        found: dict[str, float] = {}
        for classifier in self._classifiers.values():
            classifier.to(x.device)  # the module has its device only after setup
        for label in ("pitch", "instrument") if training else ("instrument",):
            prefix = "" if label == "instrument" else "pitch_"
            real = self._real_features(label, x)
            for name, frames in generated.items():
                features = self._classifiers[label].features(frames)
                found[f"{prefix}fid_{name}"] = frechet_distance(real, features)
                if training:
                    found[f"{prefix}kid_{name}"] = kernel_distance(real, features)
            if training:
                half = torch.randperm(len(real), generator=source).to(real.device)
                first, second = real[half[: len(real) // 2]], real[half[len(real) // 2 :]]
                found[f"{prefix}fid_real_halves"] = frechet_distance(first, second)
                found[f"{prefix}fid_real"] = frechet_distance(
                    real, self._training_features(label, training.x, len(real))
                )
        chosen = mu if training else mu[torch.randperm(len(mu), generator=source)[:EPOCH_TIMBRES].to(mu.device)]
        score, marginal, conditional = consistency_diversity_score(self._pitch_posteriors(module, chosen))
        found["cds"] = float(score)
        if training:
            found |= {"cds_marginal_entropy": float(marginal), "cds_conditional_entropy": float(conditional)}
        return found

    def _training_features(self, label: str, x: Tensor, n: int) -> Tensor:
        """The features of n of the training notes' frames x (M, F)."""
        drawn = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:n]
        return self._classifiers[label].features(x[drawn.to(x.device)])

    @torch.no_grad()
    def _swaps(self, module: Any, scored: NoteOutputs, training: NoteOutputs) -> dict[str, float]:
        """How often D(z_i, c_j) is classified as the pitch of c_j and as the instrument of note i, in %.

        The pitch of a category is the commonest one of the training notes in it; a category without any counts as
        wrong.
        """
        mu, category = scored.mu, scored.category
        source = torch.Generator().manual_seed(0)
        i, j = (torch.randint(len(mu), (SWAPS,), generator=source).to(mu.device) for _ in range(2))
        swapped = module.decode(mu[i], F.one_hot(category[j], module.n_categories).to(mu))
        wanted = commonest_pitches(training.category, training.pitch, module.n_categories).to(mu.device)[category[j]]
        pitch, instrument = (
            self._classifiers[label].to(mu.device).posterior(swapped).argmax(-1) for label in ("pitch", "instrument")
        )
        return {
            "swap_pitch": 100 * float((pitch == wanted).float().mean()),
            "swap_instrument": 100 * float((instrument == scored.instrument[i]).float().mean()),
        }

    def _real_features(self, label: str, x: Tensor) -> Tensor:
        """The features of the scored notes x (N, F), computed again only when these change."""
        if label not in self._real or not torch.equal(x, self._real[label][0]):
            self._real[label] = (x, self._classifiers[label].features(x))
        return self._real[label][1]

    def _pitch_posteriors(self, module: Any, z: Tensor) -> Tensor:
        """The pitch classifier's mean posterior for each category, over the timbres z (T, L): (K, classes), float64."""
        total = torch.zeros((), dtype=torch.float64)  # on the CPU: not every accelerator has float64
        for part in z.split(TIMBRES_AT_ONCE):
            frames = module.decode_all_pitches(part)
            posterior = self._classifiers["pitch"].posterior(frames.flatten(0, 1))
            total = total + posterior.unflatten(0, frames.shape[:2]).sum(1).cpu().double()
        return total / len(z)
