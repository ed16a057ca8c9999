"""What a training step costs inside the Trainer, and a fit against the way that Lightning's defaults suggest."""

from __future__ import annotations

import copy
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from callbacks.epoch_seed import EPOCHS_A_SEED
from callbacks.generation_metrics import EVALUATORS, classifier_file
from callbacks.pitch_calibration import PitchCalibration
from callbacks.temperature import TemperatureAnnealing
from datamodules.atomic_files import replacing
from datamodules.batch import NotePair
from datamodules.note_pairs import NotePairs
from experiments.bench.measure import DisagreementError, Figure, Goal, Measured, Spread, ratios
from experiments.paths import CONFIGS
from lightning_modules.latents import Latents
from lightning_modules.note_classifier import NoteClassifier
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

ROWS = ("m0", "m6")
STEP_GOAL, FIT_GOAL = 1.1, 3.0
FIT_EPOCHS = 12
"""Of fewer epochs, what is done once a fit, and not what is repeated, would be most of it."""
FITS: tuple[tuple[str, str, Literal["ours", "today", "limit"], str], ...] = (
    ("ours, all metrics each epoch", "ours", "ours", "same terms"),
    ("Lightning's defaults, no metrics", "defaults", "today", "same terms"),
    ("the bare loop's steps alone", "arithmetic", "limit", ""),
)


@contextmanager
def built(row: str, epochs: int, *settings: str, trained_classifiers: bool = True) -> Iterator[Any]:
    """A row's command line with its data set up, its classifiers there, and its trainer and model ready to fit.

    Args:
        row: whose configuration it is.
        epochs: how many to train.
        settings: further words of the command line.
        trained_classifiers: train the evaluation classifiers that are missing; or else use some that know nothing,
            whose use costs the same, in a folder of their own: runs that count must never find them.
    """
    from experiments.cli import PitchTimbreCLI  # the start-up that another part measures

    before = dict(os.environ)
    os.environ["WANDB_MODE"] = "offline"
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, open(os.devnull, "w") as nowhere:
            words = ["--run_dir", f"{folder}/{row}", "--trainer.max_epochs", str(epochs), *settings]
            if not trained_classifiers:
                words += ["--classifier_dir", f"{folder}/classifiers"]
            words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                cli = PitchTimbreCLI(["--config", str(CONFIGS / f"{row}.yaml"), *words], run=False)
                cli.datamodule.setup()
                if trained_classifiers:
                    cli.ensure_classifiers()
                else:
                    _write_classifiers(cli)
                yield cli
    finally:
        os.environ.clear()
        os.environ.update(before)


def _write_classifiers(cli: Any) -> None:
    data = cli.datamodule
    for name in EVALUATORS:
        label: Any = name.partition("_")[0]
        classifier = NoteClassifier(label, data.n_pitches, data.n_instruments, data.n_mels)
        file = classifier_file(cli.settings.classifier_dir, data.data_hash, name)
        with replacing(file) as temporary:
            torch.save(classifier.kept(data.data_hash), temporary)


class BareLoop(L.Callback):
    """Before each epoch of the Trainer, the same epoch in a bare loop on a twin of the module; the time of both.

    Counted of the Trainer: from the start of an epoch, with every callback's share in it, to the start of its
    validation. Counted of the bare loop: drawing and reading the batches, forward, backward and the optimiser.

    Args:
        twin: a copy of the module with the same weights.

    Attributes:
        bare_s: core-seconds of each epoch in the bare loop.
        steps_s: core-seconds of the same steps inside the Trainer.
        epochs_s: core-seconds of the Trainer's whole epochs, with validation, metrics, logs and checkpoints.
        precision: the Trainer's.
    """

    def __init__(self, twin: PitchTimbreVAE) -> None:
        self.twin, self.optimizer = twin.train(), twin.configure_optimizers()
        self.bare_s: list[float] = []
        self.steps_s: list[float] = []
        self.epochs_s: list[float] = []
        self.precision = ""
        self._began: float | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One epoch in the bare loop; then the Trainer's own begins."""
        self._end_epoch()
        began = time.process_time()
        self._epoch(trainer)
        self.bare_s.append(time.process_time() - began)
        self._began = time.process_time()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The Trainer's steps are done."""
        assert self._began is not None
        self.steps_s.append(time.process_time() - self._began)

    def on_train_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        """The last epoch is done; the Trainer has calibrated its module, so the twin is calibrated too."""
        self._end_epoch()
        calibration = next(c for c in trainer.callbacks if isinstance(c, PitchCalibration))
        self.twin.eval()  # the tones are read by the batch norm's running statistics, as a note is
        calibration.calibrate(trainer, self.twin)

    def _end_epoch(self) -> None:
        if self._began is not None:
            self.epochs_s.append(time.process_time() - self._began)

    def _epoch(self, trainer: Any) -> None:
        data, epoch = trainer.datamodule, trainer.current_epoch
        self.precision = str(trainer.precision)
        annealing = next(c for c in trainer.callbacks if isinstance(c, TemperatureAnnealing))
        annealing.on_train_epoch_start(trainer, self.twin)
        sampler = data.train_dataloader().sampler
        sampler.set_epoch(epoch)
        torch.manual_seed(data.seed * EPOCHS_A_SEED + epoch)
        for indices, semitones in sampler:
            batch = data.pairs(indices, semitones)
            mixed = self.precision == "bf16-mixed"
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed, cache_enabled=False):  # as Lightning has it
                terms, _ = self.twin.objective_terms(batch)
                loss = self.twin.weighted_sum(terms)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()


def steps_of(row: str, epochs: int, *settings: str) -> BareLoop:
    """Fit a row with the bare loop beside it.

    Raises:
        DisagreementError: the two do not end with the same weights, to the bit.
    """
    with built(row, epochs, *settings) as cli:
        loop = BareLoop(copy.deepcopy(cli.model))
        cli.trainer.callbacks.insert(0, loop)
        cli.trainer.fit(cli.model, cli.datamodule)
        found, expected = cli.model.state_dict(), loop.twin.state_dict()
    for name, value in expected.items():
        if not torch.equal(value, found[name]):
            raise DisagreementError(f"steps of {row}: {name} differs between the Trainer and the bare loop")
    return loop


class ItemByItem(Dataset):
    """The same pairs as the data module's, one note at a time, as most projects read theirs.

    Args:
        data: set up; its frames are read through its public door.
        notes: (M,) rows of the note table.
    """

    def __init__(self, data: NotePairs, notes: Tensor) -> None:
        self.lowest, self.highest = data.shifts.lowest, data.shifts.highest
        shifts = range(self.lowest, self.highest + 1)
        pairs = [data.pairs(notes, torch.full_like(notes, shift)) for shift in shifts]
        self.frames = torch.stack([pair.x_shifted for pair in pairs if pair.x_shifted is not None], 1).numpy()
        self.pitch, self.instrument = pairs[0].pitch.numpy(), pairs[0].instrument.numpy()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, note: int) -> tuple[Any, ...]:
        return self.pair(note, int(torch.randint(self.lowest, self.highest + 1, ())))

    def pair(self, note: int, semitones: int) -> tuple[Any, ...]:
        """One note, with one shift."""
        x, shifted = self.frames[note, -self.lowest], self.frames[note, semitones - self.lowest]
        return x, shifted, semitones, self.pitch[note], self.instrument[note]


class LoggingEachStep(PitchTimbreVAE):
    """The same model as most projects write it: terms logged one by one at each step, the default Adam loop."""

    def _logged(self, batch: Any, stage: str) -> tuple[Tensor, Latents]:
        terms, note = self.objective_terms(NotePair(*batch))
        loss = self.weighted_sum(terms)
        for name, term in {**terms, "total": loss}.items():
            self.log(f"{stage}/loss/{name}", term, on_step=True, on_epoch=True)
        return loss, note

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # type: ignore[override]
        """The loss."""
        return self._logged(batch, "train")[0]

    def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        """The same loss."""
        self._logged(batch, "val")

    def on_train_epoch_end(self) -> None:
        """Nothing is left to log."""

    def on_validation_epoch_end(self) -> None:
        """Nothing is left to log."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with amsgrad."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate, amsgrad=True)


def same_model(cls: type[PitchTimbreVAE], model: PitchTimbreVAE) -> PitchTimbreVAE:
    """Another class of the model with the same arguments and weights."""
    other = cls(model.weights, model.n_categories, model.n_mels, model.n_latent)
    other.load_state_dict(model.state_dict())
    return other


def check_same_terms(data: NotePairs, model: PitchTimbreVAE) -> None:
    """Both ways read the same pairs and compute the same terms.

    Raises:
        DisagreementError: they do not.
    """
    indices = torch.from_numpy(data.parts.training.nonzero()[0][:32])
    semitones = torch.arange(len(indices)) % (data.shifts.highest - data.shifts.lowest + 1) + data.shifts.lowest
    items = ItemByItem(data, indices)
    collated = torch.utils.data.default_collate([items.pair(i, int(s)) for i, s in enumerate(semitones)])
    losses = []
    for cls, batch in ((PitchTimbreVAE, data.pairs(indices, semitones)), (LoggingEachStep, NotePair(*collated))):
        torch.manual_seed(0)
        terms, _ = same_model(cls, model).objective_terms(batch)
        losses.append(torch.stack(list(terms.values())))
    if not torch.equal(*losses):
        raise DisagreementError(f"fit: the terms differ by item: {losses[0].tolist()} and {losses[1].tolist()}")


def _by_defaults(data: NotePairs, model: PitchTimbreVAE, epochs: int, folder: Path) -> Callable[[], None]:
    """A fit with Lightning's defaults: items read one by one by two workers, float32, CSVLogger, a checkpoint each."""
    train, val = (
        DataLoader(
            ItemByItem(data, torch.from_numpy(part.nonzero()[0])), data.batch_size, shuffle=shuffle, num_workers=2
        )
        for part, shuffle in ((data.parts.training, True), (data.scored, False))
    )
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=CSVLogger(folder), enable_progress_bar=False, log_every_n_steps=1
    )
    return lambda: trainer.fit(same_model(LoggingEachStep, model), train, val)


def _core_s(work: Callable[[], None]) -> float:
    """User and system seconds of this process and of the children that it has ended."""

    def spent() -> float:
        return sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )

    before = spent()
    work()
    return spent() - before


def fits_of(row: str, epochs: int, rounds: int) -> dict[str, list[float]]:
    """Core-seconds a whole fit takes here and by Lightning's defaults, in turns."""
    found: dict[str, list[float]] = {"ours": [], "defaults": []}
    for _ in range(rounds):
        with built(row, epochs) as cli:
            check_same_terms(cli.datamodule, cli.model)
            folder = Path(cli.trainer.default_root_dir)
            defaults = _by_defaults(cli.datamodule, cli.model, epochs, folder)
            found["ours"].append(_core_s(lambda: cli.trainer.fit(cli.model, cli.datamodule)))
            found["defaults"].append(_core_s(defaults))
    return found


def measure(quick: bool = False) -> Measured:
    """The step inside the Trainer against a bare loop, and the fit against Lightning's defaults, for M0 and M6."""
    figures: list[Figure] = []
    goals: list[Goal] = []
    details: dict[str, Any] = {}
    for row in ROWS:
        loop = steps_of(row, 3 if quick else 8)
        bare, steps, whole = (values[1:] for values in (loop.bare_s, loop.steps_s, loop.epochs_s))  # 0 warms up
        ratio, same = ratios(steps, bare), "same weights, to the bit"
        what = f"core-seconds of an epoch's steps, {row}, {loop.precision}"
        figures += [
            Figure("steps", what, "bare PyTorch loop", "limit", Spread.of(bare)),
            Figure("steps", what, "in the Trainer: callbacks, logs", "ours", Spread.of(steps), ratio, same),
            Figure("steps", what, "the whole epoch, with its metrics", "ours", Spread.of(whole), ratios(whole, bare)),
        ]
        wanted = f"a step of {row} in the Trainer, in times of the bare loop"
        goals.append(Goal("steps", wanted, ratio.median, STEP_GOAL, False))

        epochs = 3 if quick else FIT_EPOCHS
        fits = fits_of(row, epochs, 1 if quick else 2)
        fits["arithmetic"] = [epochs * Spread.of(bare).median] * len(fits["ours"])
        less = ratios(fits["defaults"], fits["ours"])
        what = f"core-seconds of a fit of {epochs} epochs, {row}, {loop.precision} and by the defaults 32-true"
        for way, key, role, check in FITS:
            ratio_to_ours = None if key == "ours" else ratios(fits[key], fits["ours"])
            figures.append(Figure("steps", what, way, role, Spread.of(fits[key]), ratio_to_ours, check))
        goals.append(Goal("steps", f"Lightning's defaults, in times of our fit, {row}", less.median, FIT_GOAL, True))
        details[row] = {"bare_s": bare, "steps_s": steps, "epochs_s": whole, "fits_s": fits}
    return Measured(figures, goals, details)
