"""The command line: `lightning fit|validate|test --config configs/m6.yaml` over the project's modules."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import lightning as L
import pandas as pd
import torch
import yaml
from filelock import FileLock, Timeout
from jsonargparse import Namespace
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.seed import isolate_rng
from omegaconf.errors import OmegaConfBaseException

from callbacks.checkpoints import read_checkpoint, resume_point, write_checkpoint
from callbacks.generation_metrics import GenerationMetrics, classifier_file
from callbacks.latent_metrics import LatentMetrics
from callbacks.run_record import RunRecord
from callbacks.wandb_run import WandbRun, wandb_mode
from datamodules.atomic_files import remove_leftovers, replacing, write_json
from datamodules.note_pairs import NotePairs
from experiments.config_files import BaseConfigFile, check_row, trust_own_classes
from experiments.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED, one_line, one_line_errors
from experiments.grid.processes import GRID_KEY
from experiments.paths import CONFIGS
from lightning_modules.note_classifier import NoteClassifier
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from lightning_modules.two_stage_vae import TwoStageVAE

CATEGORIES = "categories.csv"
"""In a run's folder: category and pitch (0 for the lowest of the data) of each training note at the best checkpoint."""

WAIT_FOR_ANOTHER_S = 60.0
"""Seconds that a fit waits for another process in its folder, such as one that is being stopped, to end."""

C = TypeVar("C", bound=L.Callback)


def quiet_libraries() -> None:
    """What Lightning says of itself is left to its warnings; the run says in its own words what it does."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # --trainer.profiler simple prints by it
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # a name of torch's that Lightning uses
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # a run that goes on
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # they would carry indices alone


def has_bf16_arithmetic() -> bool:
    """Whether the processor multiplies in bf16; a torch that cannot tell (before 2.11) counts as one that does not."""
    flags: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's


class StrictParser(LightningArgumentParser):
    """A parser that takes no abbreviated options and says in one line what it refuses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse."""
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT)


def check_data_serves(weights: ObjectiveWeights, data: NotePairs) -> None:
    """Refuse objectives that the data has nothing for.

    Raises:
        ValueError: it names the settings.
    """
    if getattr(weights, "pseudo_label", 0) and data.pitch_tracker == "none":
        raise ValueError(
            "weights.pseudo_label learns from an estimator, and data.pitch_tracker is none: give pesto or pyin"
        )
    if (weights.cycle or getattr(weights, "cross_swap", 0)) and data.pitch_low_bands:
        raise ValueError(
            "weights.cycle and weights.cross_swap read the pitch of decoded frames, and those have no longer window: "
            "set data.pitch_low_bands: null"
        )


class PitchTimbreCLI(LightningCLI):
    """LightningCLI with the project's few additions.

    ``row`` and ``run_dir`` name the run; K, F and the instruments come from the data; the evaluation classifiers are
    trained where this data has none; a fit ends with the table's metrics at the best checkpoint and the last epoch.
    """

    config: Any

    def __init__(self, args: list[str], run: bool = True) -> None:
        quiet_libraries()
        torch.backends.cudnn.deterministic = True  # else a GPU's convolutions may move the last bits between two runs
        with one_line_errors():
            trust_own_classes()
        super().__init__(
            datamodule_class=NotePairs,
            args=args,
            run=run,
            subclass_mode_model=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"parser_mode": "omegaconf+"},
            load_from_checkpoint_support=False,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser whose configuration files may name a base."""
        parser = StrictParser(**kwargs)
        parser.add_argument("-c", "--config", action=BaseConfigFile, help="A YAML file; it may name a `base:` file.")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; LightningCLI's own warns that a nested run gets arguments of its own, which is meant here."""
        try:
            self.config = parser.parse_args(args)
        except OmegaConfBaseException as error:
            parser.error(f"{str(error).splitlines()[0]}; ${{...}} takes the name of another setting alone")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own arguments, and what the models take from the data."""
        parser.add_argument("--row", type=str, default="run", help="The row of the table that the run belongs to.")
        parser.add_argument("--run_dir", type=Path, default="runs/run", help="The run's folder.")
        parser.add_argument("--classifier_dir", type=Path, default="~/.cache/pitch-timbre/classifiers")
        parser.link_arguments("seed_everything", "data.seed")
        for name in ("n_pitches", "n_instruments", "n_mels", "mel_hz", "lowest_midi"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    @property
    def settings(self) -> Any:
        """The parsed settings of the subcommand."""
        return self.config[self.subcommand] if self.subcommand else self.config

    def before_instantiate_classes(self) -> None:
        """Check the run's name, and take what the machine and a checkpoint ask for.

        Float32 where the processor has no bf16 arithmetic (emulated, it is slower), and the pitch categories of the
        checkpoint that is tested, so that it can be tested on notes of another range.
        """
        with one_line_errors():
            check_row(self.settings.row)
        data, tested = self.settings.data, self.subcommand in ("test", "validate") and self.settings.ckpt_path
        if tested and data.pitch_range is None:
            with one_line_errors():
                data.pitch_range = tuple(read_checkpoint(tested)["NotePairs"]["pitch_range"])
        trainer = self.settings.trainer
        if trainer.enable_progress_bar is False:
            trainer.callbacks = [c for c in trainer.callbacks if not c.class_path.endswith("EpochProgress")]
        on_cpu = trainer.accelerator == "cpu" or not torch.accelerator.is_available()
        if trainer.precision == "bf16-mixed" and on_cpu and not has_bf16_arithmetic():
            print("this processor has no bf16 arithmetic: trainer.precision is 32-true")
            trainer.precision = "32-true"

    def instantiate_classes(self) -> None:
        """Read the note table and build the models; bad input ends here, before anything is trained."""
        with one_line_errors((ValueError, OSError, MisconfigurationException)):
            super().instantiate_classes()

    def _parse_ckpt_path(self) -> None:
        """Leave the arguments as given: LightningCLI's own would silently replace them by a checkpoint's."""

    def before_test(self) -> None:
        """Prepare the data and, for a row, its evaluation classifiers."""
        with one_line_errors():
            if isinstance(self.model, PitchTimbreVAE):
                check_data_serves(self.model.weights, self.datamodule)
            self._check_checkpoint()
            self.datamodule.setup()
            if self.subcommand == "test" and self.settings.ckpt_path:
                self._take_mapping(Path(self.settings.ckpt_path).parents[1] / CATEGORIES)
        if not isinstance(self.model, NoteClassifier):
            self.ensure_classifiers()

    before_validate = before_test

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; a full disk or a training that fails ends it with one line."""
        mend = "; the same command goes on from the last completed epoch"
        claim = claimed(self.settings.run_dir) if subcommand == "fit" else nullcontext()
        with one_line_errors((OSError,), EXIT_FAILED, mend), one_line_errors((FloatingPointError,), EXIT_FAILED), claim:
            super()._run_subcommand(subcommand)

    def before_fit(self) -> None:
        """Prepare as for a test; go on from the last checkpoint where the same run was stopped."""
        run_dir = self.settings.run_dir
        if isinstance(self.model, NoteClassifier):
            # All runs on these notes are compared by it: its bits must not depend on which of them came first.
            torch.set_num_threads(1)
        epochs = self.trainer.max_epochs
        axis_epochs = self.model.axis.epochs if isinstance(self.model, TwoStageVAE) else 0
        with one_line_errors():
            if epochs is not None and 0 < epochs <= axis_epochs:
                raise ValueError(
                    f"model.axis.epochs is {axis_epochs} and trainer.max_epochs {epochs}: nothing but the axis of "
                    "pitch would be learned; lower the first or raise the second"
                )
        if self._wandb_runs:
            with one_line_errors():
                wandb_mode()  # refused before anything is trained
        self.before_test()
        record = self._callback(RunRecord)
        record.settings, record.config_hash = self._plain_settings(), self._config_hash()
        if self.settings.ckpt_path is not None:
            with one_line_errors():
                record.check_source(
                    self.settings.ckpt_path, read_checkpoint(self.settings.ckpt_path), self.datamodule.data_hash
                )
        if self.settings.ckpt_path is None:
            hashes = {"config_hash": record.config_hash, "data_hash": self.datamodule.data_hash}
            self.config_init[self.subcommand]["ckpt_path"] = resume_point(run_dir / "checkpoints", hashes)
        resumed = self.config_init[self.subcommand]["ckpt_path"]
        where = f"on {self.trainer.strategy.root_device} ({self.settings.trainer.precision}) in {run_dir}"
        going_on = f", going on from {resumed}" if resumed else ""
        print(f"training {self.settings.row}, seed {self.settings.seed_everything}, {where}{going_on}", flush=True)

    def _check_checkpoint(self) -> None:
        """Refuse a checkpoint that is none, or of another model or other frames, before anything is trained."""
        file = self.settings.ckpt_path
        if file is None:
            return
        checkpoint = read_checkpoint(file)
        try:
            self.datamodule.load_state_dict(checkpoint["NotePairs"])
            self.model.on_load_checkpoint(checkpoint)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        if self.subcommand == "fit" and "optimizer_states" not in checkpoint:
            raise ValueError(f"{file}: holds weights alone; a fit goes on from a last.ckpt")

    def _take_mapping(self, file: Path) -> None:
        """Score a checkpoint on other notes by the mapping of its own training notes too."""
        if file.exists():
            notes = pd.read_csv(file)
            category, pitch = (torch.tensor(notes[name].to_list()) for name in ("category", "pitch"))
            self._callback(LatentMetrics).other_training_notes = (category, pitch)

    def _callback(self, kind: type[C]) -> C:
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return next(callback for callback in callbacks if isinstance(callback, kind))

    def ensure_classifiers(self) -> None:
        """Train the evaluation classifiers that this data lacks, once, and keep them."""
        data_hash, classifier_dir = self.datamodule.data_hash, self.settings.classifier_dir.expanduser()
        for label in ("pitch", "instrument"):
            file = classifier_file(classifier_dir, data_hash, label)
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if file.exists():
                    continue
                print(f"no {label} classifier for this data ({data_hash}) yet: training it first", flush=True)
                with isolate_rng(), _kept_process():
                    PitchTimbreCLI(
                        ["fit", "--config", str(CONFIGS / f"classifier_{label}.yaml"), *self._same_data(file)]
                    )

    def _same_data(self, file: Path) -> list[str]:
        """Arguments that give a classifier this run's data, trainer and cache, with its files beside ``file``."""
        data = self.settings.data.clone().as_dict()
        data.pop("seed")
        data |= {"shifts": {**data["shifts"], "pairs": "none", "continuous": False}, "pitch_low_bands": None}
        trainer = {name: self.settings.trainer[name] for name in ("accelerator", "precision")}
        content = {
            "data": data,
            "trainer": {**trainer, **({} if self.trainer.loggers else {"logger": False})},
            "classifier_dir": self.settings.classifier_dir,
            "run_dir": file.with_suffix(""),
        }
        return ["--config", yaml.safe_dump(_plain(content))]

    def after_fit(self) -> None:
        """Keep a classifier; score a row at its best checkpoint and its last epoch, and write metrics.json."""
        self._say_why_it_stopped()
        best = next(c for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
        with one_line_errors():
            checkpoint = read_checkpoint(best.best_model_path)
        if isinstance(self.model, NoteClassifier):
            self.model.load_state_dict(checkpoint["state_dict"])
            file = classifier_file(self.settings.classifier_dir, self.datamodule.data_hash, self.model.label)
            write_checkpoint(self.model.kept(self.datamodule.data_hash), file)
            print(f"kept the {self.model.label} classifier: {file}", flush=True)
            for run in self._wandb_runs:
                run.close({"epochs": self.trainer.current_epoch, "best": {"epoch": checkpoint["epoch"]}})
            return
        run_dir = self.settings.run_dir
        with one_line_errors():
            last = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
        # From the file, so that a run that had only this to do finds what the one that trained would have found.
        self.model.load_state_dict(last["state_dict"])
        epochs = last["epoch"] + 1
        print(f"scoring the last epoch and the best one ({checkpoint['epoch']})", flush=True)
        scores = {"last": {"epoch": epochs - 1, **self._scores(None)}}
        scores["best"] = {"epoch": checkpoint["epoch"], **self._scores(best.best_model_path)}
        categories, pitches = self._callback(LatentMetrics).training_notes
        with replacing(run_dir / CATEGORIES) as temporary:
            pd.DataFrame({"category": categories, "pitch": pitches}).to_csv(temporary, index=False)
        scored = self.datamodule.notes.loc[self.datamodule.scored, ["note_id", "instrument", "midi"]]
        with replacing(run_dir / "notes.csv") as temporary:
            found = self._callback(LatentMetrics).notes
            pd.concat([scored.reset_index(drop=True), found], axis=1).to_csv(temporary, index=False)
        content = {
            **self._callback(RunRecord).facts(self.trainer),
            "epochs": epochs,
            "evaluator_fingerprint": " ".join(self._callback(GenerationMetrics).fingerprints().values()),
            "grid_key": os.environ.get(GRID_KEY),
            **scores,
        }
        write_json(run_dir / "metrics.json", content)
        for run in self._wandb_runs:
            run.close(content)
        print(f"scores: {run_dir / 'metrics.json'}", flush=True)

    @property
    def _wandb_runs(self) -> list[WandbRun]:
        return [logger for logger in self.trainer.loggers if isinstance(logger, WandbRun)]

    def _say_why_it_stopped(self) -> None:
        """Tell of early stopping.

        Raises:
            FloatingPointError: it was for a loss that is not finite.
        """
        for callback in self.trainer.early_stopping_callbacks:
            if isinstance(callback, EarlyStopping) and (reason := callback.stopping_reason_message):
                if callback.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
                    raise FloatingPointError(f"{reason} Lower model.learning_rate")
                print(f"stopped early: {reason}", flush=True)

    def _scores(self, ckpt_path: str | None) -> dict[str, dict[str, float]]:
        """The table's metrics of the model as it is, or of a checkpoint: {published: {...}, honest: {...}}."""
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=ckpt_path, verbose=False)
        scores: dict[str, dict[str, float]] = {"published": {}, "honest": {}}
        for name, value in self.trainer.callback_metrics.items():
            protocol, _, metric = name.partition("/")
            if protocol in scores:
                scores[protocol][metric] = float(value)
        return scores

    def _config_hash(self) -> str:
        """A hash of the settings that a result depends on."""
        settings = self._plain_settings()
        places = [settings.pop("run_dir"), settings.pop("classifier_dir"), settings["data"].pop("cache_dir")]
        settings.pop("ckpt_path", None)
        text = yaml.safe_dump(_without_places(settings, places), sort_keys=True)
        return sha256(text.encode()).hexdigest()[:16]

    def _plain_settings(self) -> dict[str, Any]:
        """All settings as plain YAML values."""
        settings: dict[str, Any] = _plain(self.settings)
        settings.pop("config", None)
        return settings


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Have a run's folder to oneself; wait for a process in it that is ending."""
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run_dir / ".fit.lock")
    with one_line_errors():
        try:
            lock.acquire(timeout=WAIT_FOR_ANOTHER_S)
        except Timeout as error:
            raise ValueError(f"{run_dir}: another process is training in it; give another --run_dir") from error
    try:
        for folder in (run_dir, run_dir / "checkpoints"):
            remove_leftovers(folder)
        yield
    finally:
        lock.release()


@contextmanager
def _kept_process() -> Iterator[None]:
    """Undo what a nested run sets in the process: its seed in the environment, and its threads."""
    before, threads = dict(os.environ), torch.get_num_threads()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        torch.set_num_threads(threads)


def _without_places(value: Any, places: list[str]) -> Any:
    """Settings without the paths at or below some folders: where files are kept changes no result."""
    if isinstance(value, dict):
        return {key: _without_places(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_places(item, places) for item in value]
    below = isinstance(value, str) and any(value == place or value.startswith(f"{place}/") for place in places)
    return None if below else value


def _plain(value: Any) -> Any:
    """Settings as plain YAML values."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Namespace):
        return _plain(value.clone().as_dict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def train_classifiers(argv: list[str]) -> str:
    """Train the evaluation classifiers that the data of `--config ...` lacks (`python -m experiments classifiers`).

    Returns:
        The data's hash, for the keys of the grid's cells.
    """
    cli = PitchTimbreCLI(["--config", str(CONFIGS / "base.yaml"), *argv], run=False)
    with one_line_errors():
        cli.datamodule.setup()
    cli.ensure_classifiers()
    return str(cli.datamodule.data_hash)
