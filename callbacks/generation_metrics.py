"""What the decoder generates, in the features of separately trained classifiers: FID_recon, FID_rand, CDS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
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

JUDGES = {"pitch_relu": "cds_relu", "pitch_conv": "cds_conv"}
"""Pitch classifiers of other architectures, which are asked for nothing but a CDS of their own."""

EVALUATORS = ("pitch", "instrument", *JUDGES)
"""The names of the classifiers of some data: the label, and the architecture where it is not the published one."""

ALL_NOTES = 2000
"""At most so many of the scored and training notes make the FID of all notes."""

RANDOM_DRAWS = 10
"""Draws of random timbres whose FIDs are averaged."""

SWAPS = 2000
"""Pairs of scored notes whose timbre and category are joined when testing."""


def classifier_file(classifier_dir: Path, data_hash: str, name: str) -> Path:
    """Where an evaluation classifier of this data is kept, by its name of `EVALUATORS`."""
    return classifier_dir.expanduser() / data_hash / f"{name}.ckpt"


class GenerationMetrics(L.Callback):
    """FID_recon, FID_rand and CDS each epoch, and on all notes when testing.

    The published FID is taken in the instrument classifier's features; the test puts the pitch classifier's beside it,
    and the distance of as many training notes from the scored ones, which is what perfect generation would have. It
    also joins the timbre of one note with the category of another, and asks the classifiers for both. As FID grows
    where notes are few, it is also taken of all notes together, and averaged over ten draws of random timbres. CDS
    reads the pitch classifier's posterior, and in a test those of two classifiers of other architectures. Random
    timbres come from a generator of the callback's own, so that measuring never changes the training.

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
        for name in EVALUATORS:
            file = classifier_file(self.classifier_dir, data_hash, name)
            if not file.exists():
                raise ValueError(
                    f"{file}: there is no {name} classifier for this data; train it by "
                    f"`lightning fit --config configs/classifier_{name}.yaml` with the same data"
                )
            self._classifiers[name] = NoteClassifier.load(file, data_hash, name.partition("_")[0])

    def fingerprints(self) -> dict[str, str]:
        """Row of each evaluation classifier -> hash of its weights."""
        return {f"classifier_{name}": self._classifiers[name].fingerprint() for name in EVALUATORS}

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log the epoch's values, computed in the training's precision: a test's, for the table, are in float32."""
        with trainer.precision_plugin.forward_context():
            found = self._measure(pl_module, gathered_notes(trainer).scored)
        pl_module.log_dict({f"val/{name}": value for name, value in found.items()})

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Log all values: the published ones, and beside them the pitch classifier's, KID and those of real notes."""
        scored, training = gathered_notes(trainer).scored, gathered_notes(trainer).training
        found = self._measure(pl_module, scored, training) | self._swaps(pl_module, scored, training)
        found |= self._distances_of_many(pl_module, scored, training)
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
        posteriors = self._pitch_posteriors(module, chosen, ("pitch", *JUDGES) if training else ("pitch",))
        score, marginal, conditional = consistency_diversity_score(posteriors["pitch"])
        found["cds"] = float(score)
        if training:
            for name, measure in JUDGES.items():
                found[measure] = float(consistency_diversity_score(posteriors[name])[0])
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

    def _pitch_posteriors(self, module: Any, z: Tensor, judges: Sequence[str]) -> dict[str, Tensor]:
        """Each judge's mean posterior for each category, over the timbres z (T, L): (K, classes), float64."""
        totals = dict.fromkeys(judges, torch.zeros((), dtype=torch.float64))  # not every accelerator has float64
        for part in z.split(TIMBRES_AT_ONCE):
            frames = module.decode_all_pitches(part)
            for judge in judges:
                posterior = self._classifiers[judge].posterior(frames.flatten(0, 1))
                totals[judge] = totals[judge] + posterior.unflatten(0, frames.shape[:2]).sum(1).cpu().double()
        return {judge: total / len(z) for judge, total in totals.items()}

    @torch.no_grad()
    def _distances_of_many(self, module: Any, scored: NoteOutputs, training: NoteOutputs) -> dict[str, float]:
        """FID of all notes, that of their two halves, which is its floor, and FID_rand over several draws."""
        source = torch.Generator().manual_seed(1)
        features_of = self._classifiers["instrument"].features

        def random_frames(notes: NoteOutputs) -> Tensor:
            z = torch.randn(notes.mu.shape, generator=source).to(notes.mu)
            return module.decode(z, F.one_hot(notes.category, module.n_categories).to(z))

        everything = NoteOutputs.joined([scored, training])
        chosen = torch.randperm(len(everything.x), generator=source)[:ALL_NOTES].to(everything.x.device)
        notes = NoteOutputs(*(getattr(everything, each.name)[chosen] for each in fields(everything)))
        recon = module.decode(notes.mu, F.one_hot(notes.category, module.n_categories).to(notes.mu))
        real, half = features_of(notes.x), len(notes.x) // 2
        of_scored = self._real_features("instrument", scored.x)
        draws = [frechet_distance(of_scored, features_of(random_frames(scored))) for _ in range(RANDOM_DRAWS)]
        return {
            "fid_recon_all": frechet_distance(real, features_of(recon)),
            "fid_rand_all": frechet_distance(real, features_of(random_frames(notes))),
            "fid_real_all_halves": frechet_distance(real[:half], real[half:]),
            "fid_rand_mean": sum(draws) / len(draws),
        }
