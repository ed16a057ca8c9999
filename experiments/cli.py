"""The command line: `lightning fit|validate|test --config configs/m6.yaml` over the project's modules."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import lightning as L
import pandas as pd
import torch
import yaml
from filelock import FileLock
from jsonargparse import Namespace, set_parsing_settings
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.seed import isolate_rng

from callbacks.generation_metrics import classifier_file
from callbacks.latent_metrics import LatentMetrics
from callbacks.run_record import RunRecord, read_json, write_json
from datamodules.note_pairs import NotePairs
from experiments.base_config import BaseConfigFile
from experiments.grid import CONFIGS, EXIT_BAD_INPUT, GRID_KEY
from lightning_modules.note_classifier import NoteClassifier

CATEGORIES = "categories.csv"
"""In a run's folder: category and pitch (0 for the lowest of the data) of each training note at the best checkpoint."""

C = TypeVar("C", bound=L.Callback)


def quiet_libraries() -> None:
    """Drop two messages of Lightning that say nothing to the user: an advertisement, and a torch name that it uses."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda r: "litlogger" not in r.getMessage())
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Bad input ends the program with one line and exit status 2; PITCH_TIMBRE_TRACEBACK=1 shows where it arose."""
    try:
        yield
    except (ValueError, OSError) as error:
        if os.environ.get("PITCH_TIMBRE_TRACEBACK"):
            raise
        print(f"error: {one_line(str(error))}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT) from error


def one_line(message: str) -> str:
    """What went wrong, without the list of types that were tried."""
    noise = (
        "Does not validate",
        "Subtypes:",
        "Errors:",
        "Given value",
        "Expected a <class 'NoneType'>",
        "Problem with",
    )
    lines = [line.strip(" -") for line in message.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(noise))


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


class PitchTimbreCLI(LightningCLI):
    """LightningCLI with the project's few additions.

    ``row`` and ``run_dir`` name the run; K, F and the instruments come from the data; the evaluation classifiers are
    trained where this data has none; a fit ends with the table's metrics at the best checkpoint and the last epoch.
    """

    config: Any

    def __init__(self, args: list[str], run: bool = True) -> None:
        quiet_libraries()
        set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
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
        self.config = parser.parse_args(args)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own arguments, and what the models take from the data."""
        parser.add_argument("--row", type=str, default="run", help="The row of the table that the run belongs to.")
        parser.add_argument("--run_dir", type=Path, default="runs/run", help="The run's folder.")
        parser.add_argument("--classifier_dir", type=Path, default="~/.cache/pitch-timbre/classifiers")
        parser.link_arguments("seed_everything", "data.seed")
        for name in ("n_pitches", "n_instruments", "n_mels"):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    @property
    def settings(self) -> Any:
        """The parsed settings of the subcommand."""
        return self.config[self.subcommand] if self.subcommand else self.config

    def before_instantiate_classes(self) -> None:
        """Take what the machine and a checkpoint ask for.

        Float32 where the processor has no bf16 arithmetic (emulated, it is slower), and the pitch categories of the
        checkpoint that is tested, so that it can be tested on notes of another range.
        """
        data, tested = self.settings.data, self.subcommand in ("test", "validate") and self.settings.ckpt_path
        if tested and data.pitch_range is None:
            with one_line_errors():
                data.pitch_range = tuple(read_checkpoint(tested)["NotePairs"]["pitch_range"])
        trainer = self.settings.trainer
        if trainer.enable_progress_bar is False:
            trainer.callbacks = [c for c in trainer.callbacks if not c.class_path.endswith("EpochProgress")]
        on_cpu = trainer.accelerator == "cpu" or not torch.accelerator.is_available()
        if trainer.precision == "bf16-mixed" and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            print("this processor has no bf16 arithmetic: trainer.precision is 32-true")
            trainer.precision = "32-true"

    def instantiate_classes(self) -> None:
        """Read the note table and build the models; bad input ends here, before anything is trained."""
        with one_line_errors():
            super().instantiate_classes()

    def _parse_ckpt_path(self) -> None:
        """Leave the arguments as given: LightningCLI's own would silently replace them by a checkpoint's."""

    def before_test(self) -> None:
        """Prepare the data and, for a row, its evaluation classifiers."""
        with one_line_errors():
            self._check_checkpoint()
            self.datamodule.setup()
            if self.subcommand == "test" and self.settings.ckpt_path:
                self._take_mapping(Path(self.settings.ckpt_path).parents[1] / CATEGORIES)
        if not isinstance(self.model, NoteClassifier):
            self.ensure_classifiers()

    before_validate = before_test

    def before_fit(self) -> None:
        """Prepare as for a test; go on from the last checkpoint where the same run was stopped."""
        self.before_test()
        self._record.settings, self._record.config_hash = self._plain_settings(), self._config_hash()
        if self.settings.ckpt_path is None:
            self.config_init[self.subcommand]["ckpt_path"] = self._resume_point()

    def _check_checkpoint(self) -> None:
        """Refuse a checkpoint that is none, or of another model or other frames, before anything is trained."""
        file = self.settings.ckpt_path
        if file is None:
            return
        checkpoint = read_checkpoint(file)
        try:
            self.model.on_load_checkpoint(checkpoint)
            self.datamodule.load_state_dict(checkpoint["NotePairs"])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    def _take_mapping(self, file: Path) -> None:
        """Score a checkpoint on other notes by the mapping of its own training notes too."""
        if file.exists():
            notes = pd.read_csv(file)
            category, pitch = (torch.tensor(notes[name].to_list()) for name in ("category", "pitch"))
            self._callback(LatentMetrics).other_training_notes = (category, pitch)

    def _callback(self, kind: type[C]) -> C:
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return next(callback for callback in callbacks if isinstance(callback, kind))

    @property
    def _record(self) -> RunRecord:
        return self._callback(RunRecord)

    def _resume_point(self) -> Path | None:
        """The last checkpoint of this very run: the same settings on the same data. Those of another are removed."""
        last = self.settings.run_dir / "checkpoints" / "last.ckpt"
        if not last.exists():
            return None
        before = read_json(self.settings.run_dir / "run.json")
        now = {"config_hash": self._record.config_hash, "data_hash": self.datamodule.data_hash}
        if {name: before.get(name) for name in now} == now:
            print(f"going on from {last}", flush=True)
            return last
        print(f"{last} is of other settings or data: starting anew", flush=True)
        last.unlink()
        return None

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
                with isolate_rng(), _kept_environment():
                    PitchTimbreCLI(
                        ["fit", "--config", str(CONFIGS / f"classifier_{label}.yaml"), *self._same_data(file)]
                    )

    def _same_data(self, file: Path) -> list[str]:
        """Arguments that give a classifier this run's data, trainer and cache, with its files beside ``file``."""
        data = self.settings.data.clone().as_dict()
        data.pop("seed")
        data["shifts"] = {**data["shifts"], "pairs": "none", "continuous": False}
        trainer = {name: self.settings.trainer[name] for name in ("accelerator", "precision")}
        content = {
            "data": data,
            "trainer": {**trainer, "logger": False},
            "classifier_dir": self.settings.classifier_dir,
            "run_dir": file.with_suffix(""),
        }
        return ["--config", yaml.safe_dump(_plain(content))]

    def after_fit(self) -> None:
        """Keep a classifier; score a row at its best checkpoint and its last epoch, and write metrics.json."""
        if self.trainer.interrupted:
            return
        best = next(c for c in self.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor)
        if isinstance(self.model, NoteClassifier):
            state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
            self.model.load_state_dict(state)
            file = classifier_file(self.settings.classifier_dir, self.datamodule.data_hash, self.model.label)
            self.model.keep(file, self.datamodule.data_hash)
            print(f"kept the {self.model.label} classifier: {file}", flush=True)
            return
        epochs = self.trainer.current_epoch
        scores = {"last": {"epoch": epochs - 1, **self._scores(None)}}
        best_epoch = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["epoch"]
        scores["best"] = {"epoch": best_epoch, **self._scores(best.best_model_path)}
        self._keep_mapping(self.settings.run_dir / CATEGORIES)
        content = {
            **self._record.facts(self.trainer),
            "epochs": epochs,
            "grid_key": os.environ.get(GRID_KEY),
            **scores,
        }
        write_json(self.settings.run_dir / "metrics.json", content)

    def _keep_mapping(self, file: Path) -> None:
        """Write the categories of the training notes, for tests on other notes."""
        categories, pitches = self._callback(LatentMetrics).training_notes
        temporary = file.with_name(f".{file.name}.tmp")
        pd.DataFrame({"category": categories, "pitch": pitches}).to_csv(temporary, index=False)
        temporary.replace(file)

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


def read_checkpoint(file: str | Path) -> dict[str, Any]:
    """Read a run's checkpoint without running anything in it.

    Raises:
        ValueError: it is none of this project's.
        FileNotFoundError: there is no such file.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        if not checkpoint["NotePairs"]["pitch_range"]:
            raise ValueError("no pitch range")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{file}: not a checkpoint of this project ({type(error).__name__})") from error
    return dict(checkpoint)


@contextmanager
def _kept_environment() -> Iterator[None]:
    """Undo what a nested run sets in the environment (its seed)."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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


def train_classifiers(argv: list[str]) -> None:
    """Train the evaluation classifiers that the data of `--config ...` lacks (`python -m experiments classifiers`)."""
    cli = PitchTimbreCLI(["--config", str(CONFIGS / "base.yaml"), *argv], run=False)
    with one_line_errors():
        cli.datamodule.setup()
    cli.ensure_classifiers()
