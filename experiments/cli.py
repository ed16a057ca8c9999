"""The command line: `lightning fit|validate|test|predict --config configs/m6.yaml` over the project's modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from callbacks.checkpoints import read_checkpoint, resume_point
from callbacks.generation_metrics import GenerationMetrics
from callbacks.run_record import RunRecord
from callbacks.wandb_run import WandbRun, wandb_mode
from callbacks.whole_note_metrics import WholeNoteMetrics
from datamodules.note_data import NoteData
from experiments import classifiers, scoring
from experiments.config_files import arranged
from experiments.exit_codes import EXIT_FAILED, one_line_errors
from experiments.lightning_cli import CheckedCLI, check_restoring
from experiments.paths import CONFIGS
from experiments.run_folder import claimed, config_hash, refuse_finished, refuse_other_places
from lightning_modules.axis_stage import LearnsAxis
from lightning_modules.checkpoint_file import data_state
from lightning_modules.note_classifier import Evaluator
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

C = TypeVar("C", bound=L.Callback)


def has_bf16_arithmetic() -> bool:
    """Whether the processor multiplies in bf16; a torch that cannot tell (before 2.11) counts as one that does not."""
    flags: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's


def check_data_serves(weights: ObjectiveWeights, data: NoteData) -> None:
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


class PitchTimbreCLI(CheckedCLI):
    """LightningCLI with the project's few additions.

    ``row`` and ``run_dir`` name the run; K, F and the instruments come from the data; the evaluation classifiers are
    trained where this data has none; a fit ends with the table's metrics at the best checkpoint and the last epoch.
    """

    def __init__(self, args: list[str], run: bool = True) -> None:
        torch.backends.cudnn.deterministic = True  # else a GPU's convolutions may move the last bits between two runs
        super().__init__(args, run, subclass_mode_model=True, seed_everything_default=0)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's own arguments, and what the models take from the data."""
        parser.add_argument("--row", type=str, default="run", help="The row of the table that the run belongs to.")
        parser.add_argument("--run_dir", type=Path, default="runs/run", help="The run's folder.")
        parser.add_argument("--classifier_dir", type=Path, default="~/.cache/pitch-timbre/classifiers")
        parser.link_arguments("seed_everything", "data.seed")
        for name in getattr(self._data_module, "given_to_the_model", ()):
            parser.link_arguments(f"data.{name}", f"model.init_args.{name}", apply_on="instantiate")

    @property
    def tested(self) -> Path:
        """The checkpoint that `validate`, `test` and `predict` read."""
        return Path(self.settings.ckpt_path)

    @property
    def best_checkpoint(self) -> ModelCheckpoint:
        """What keeps the weights of the best epoch."""
        return next(c for c in self._callbacks(ModelCheckpoint) if c.monitor)

    @property
    def of_notes(self) -> bool:
        """Whether the data is of notes; a run of other data has no pitches, and no metrics of them."""
        return isinstance(self.datamodule, NoteData)

    @property
    def is_scored_by_classifiers(self) -> bool:
        """Whether the run is a row of notes."""
        return self.of_notes and not isinstance(self.model, Evaluator)

    def callback(self, kind: type[C]) -> C:
        """The run's callback of a kind.

        Raises:
            ValueError: there is none.
        """
        if not (found := self._callbacks(kind)):
            raise ValueError(f"trainer.callbacks lacks {kind.__name__}; build on configs/base.yaml, or use callbacks+")
        return found[0]

    def _callbacks(self, kind: type[C]) -> list[C]:
        callbacks: list[L.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        return [callback for callback in callbacks if isinstance(callback, kind)]

    def before_instantiate_classes(self) -> None:
        """Check the settings of the run and the Trainer, and take what the machine and a checkpoint ask for.

        Float32 where the processor has no bf16 arithmetic (emulated, it is slower), and the pitch categories of the
        checkpoint that is tested, so that it can be tested on notes of another range.
        """
        settings, trainer = self.settings, self.settings.trainer
        reads_only = self.subcommand in ("validate", "test", "predict")
        with one_line_errors():
            plain = self.plain_settings
            refuse_other_places(plain["trainer"], settings.run_dir)
            if reads_only and not settings.ckpt_path:
                raise ValueError(f"{self.subcommand} reads a checkpoint: give --ckpt_path RUN/checkpoints/best.ckpt")
            if reads_only and issubclass(self._data_module, NoteData):
                kept = data_state(read_checkpoint(self.tested)).get("pitch_range")
                if kept is None:
                    raise ValueError(f"{self.tested}: its data has no pitch range; give a checkpoint of notes")
                settings.data.pitch_range = settings.data.pitch_range or tuple(kept)
        if reads_only:
            trainer.logger = False  # a logger would write into the run's folder
        if trainer.enable_progress_bar is False:
            trainer.callbacks = [c for c in trainer.callbacks or [] if not c.class_path.endswith("EpochProgress")]
        on_cpu = trainer.accelerator == "cpu" or not torch.accelerator.is_available()
        if trainer.precision == "bf16-mixed" and on_cpu and not has_bf16_arithmetic():
            print("this processor has no bf16 arithmetic: trainer.precision is 32-true")
            trainer.precision = "32-true"

    def instantiate_classes(self) -> None:
        """Read the note table and build the models; bad input ends here, before anything is trained."""
        with one_line_errors((ValueError, OSError, MisconfigurationException, RuntimeError)):  # the last: no memory
            super().instantiate_classes()

    @contextmanager
    def around(self, subcommand: str) -> Iterator[None]:
        """A fit has its folder to itself; a full disk or a training that fails ends with one line."""
        resumes = "; the same command goes on from the last completed epoch"
        claim = claimed(self.settings.run_dir) if subcommand == "fit" else nullcontext()
        failed = one_line_errors((FloatingPointError, MisconfigurationException), EXIT_FAILED)
        with one_line_errors((OSError,), EXIT_FAILED, resumes), failed, claim:
            yield

    def before_test(self) -> None:
        """Prepare the data and, for a row, its evaluation classifiers."""
        with one_line_errors():
            if isinstance(self.model, PitchTimbreVAE):
                check_data_serves(self.model.weights, self.datamodule)
            if self.of_notes and self.datamodule.n_pitches < 2:
                raise ValueError("all notes have the same pitch: there are no categories to learn; add other notes")
            self._check_checkpoint()
            self.datamodule.setup()
            if self.subcommand == "test" and self.of_notes:
                scoring.reader_of(self).other_training_notes = scoring.own_mapping(self.tested)
            if self.subcommand == "fit":
                self._identify()
            if self.is_scored_by_classifiers:
                self.ensure_classifiers()

    before_validate = before_test

    def before_predict(self) -> None:
        """Prepare the data."""
        with one_line_errors():
            self._check_checkpoint()
            self.datamodule.setup()

    def predict(self, **arguments: Any) -> None:
        """Write what the checkpoint reads of each note."""
        scoring.write_predictions(self)

    def before_fit(self) -> None:
        """Prepare as for a test; go on from the last checkpoint where the same run was stopped."""
        run_dir = self.settings.run_dir
        epochs = self.trainer.max_epochs
        axis_epochs = self.model.axis.epochs if isinstance(self.model, LearnsAxis) else 0
        with one_line_errors():
            if epochs is not None and 0 < epochs <= axis_epochs:
                raise ValueError(
                    f"model.axis.epochs is {axis_epochs} and trainer.max_epochs {epochs}: nothing but the axis of "
                    "pitch would be learned; lower the first or raise the second"
                )
            if axis_epochs and self.datamodule.shifts.pairs == "none":
                raise ValueError(
                    f"model.axis.epochs is {axis_epochs}: an axis of pitch is learned from shifted notes, and "
                    "data.shifts.pairs is none; set it to table or on_the_fly"
                )
            if any(isinstance(logger, WandbRun) for logger in self.trainer.loggers):
                wandb_mode()  # refused before anything is trained
            if not any(c.monitor for c in self._callbacks(ModelCheckpoint)):
                raise ValueError("trainer.callbacks lacks a ModelCheckpoint with a monitor; build on configs/base.yaml")
            if self.is_scored_by_classifiers:
                scoring.reader_of(self), scoring.judge_of(self)
        self.before_test()
        resumed, record = self.settings.ckpt_path, self.callback(RunRecord)
        if resumed is not None:
            with one_line_errors():
                record.check_source(resumed, read_checkpoint(resumed), self.datamodule.data_hash)
        else:
            hashes = {"config_hash": record.config_hash, "data_hash": self.datamodule.data_hash}
            resumed = resume_point(run_dir / "checkpoints", hashes)
            self.take_checkpoint(resumed)
        check_restoring(self.trainer)
        where = f"on {self.trainer.strategy.root_device} ({self.settings.trainer.precision}) in {run_dir}"
        going_on = f", going on from {resumed}" if resumed else ""
        print(f"training {self.settings.row}, seed {self.settings.seed_everything}, {where}{going_on}", flush=True)

    def _identify(self) -> None:
        """Tell the record which settings these are; refuse the folder of a finished run of others."""
        record, settings = self.callback(RunRecord), self.plain_settings
        record.settings, record.config_hash, record.overrides = settings, config_hash(settings), self.overrides
        hashes = {"config_hash": record.config_hash, "data_hash": self.datamodule.data_hash}
        refuse_finished(self.settings.run_dir, hashes, settings)

    def _check_checkpoint(self) -> None:
        """Refuse a checkpoint that is none, or of another row, model or frames, before anything is trained."""
        file = self.settings.ckpt_path
        if file is None:
            return
        checkpoint = read_checkpoint(file)
        try:
            if (name := type(self.datamodule).__name__) not in checkpoint:
                raise ValueError(f"it was trained on notes of another data.class_path than {name}")
            self.datamodule.load_state_dict(checkpoint[name])
            self.model.origin = {"row": self.settings.row}  # a checkpoint of another row is refused
            self.model.on_load_checkpoint(checkpoint)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: {error}") from error
        if self.subcommand == "fit" and "optimizer_states" not in checkpoint:
            raise ValueError(f"{file}: holds weights and nothing else; a fit goes on from a last.ckpt")

    def ensure_classifiers(self) -> None:
        """Train the evaluation classifiers that this data lacks, and let the metrics use them."""
        folder = classifiers.ensure(self)
        for callback in self._callbacks(GenerationMetrics):
            callback.classifier_dir = folder
        for judge in self._callbacks(WholeNoteMetrics):
            judge.classifier_dir = folder

    def after_test(self) -> None:
        """Write the scores."""
        scoring.write_test(self)

    def after_fit(self) -> None:
        """Score a row at its best checkpoint and its last epoch, or a plain classifier, and write metrics.json."""
        scoring.report_early_stopping(self.trainer)
        with one_line_errors():
            if not isinstance(self.model, Evaluator):
                scoring.score_fit(self)
                return
            if self.settings.row not in classifiers.ROWS and self.model.label == "pitch":
                scoring.score_classifier(self)
                return
            best = read_checkpoint(self.best_checkpoint.best_model_path)
        self.model.load_state_dict(best["state_dict"])
        scoring.close_wandb(
            self,
            {
                **self.callback(RunRecord).facts(self.trainer),
                "epochs": self.trainer.current_epoch,
                "best": {"epoch": best["epoch"]},
                "evaluator_fingerprint": f"{self.settings.row}={self.model.fingerprint()}",
            },
        )


def train_classifiers(argv: list[str]) -> str:
    """Train the evaluation classifiers that the data of `--config ...` lacks (`python -m experiments classifiers`).

    Settings of the model and the Trainer do not matter: the classifiers have their own.

    Returns:
        The hashes of the data and of the classifiers' settings, for the keys of the grid's cells.
    """
    with one_line_errors():
        about_data = arranged(argv, keep=lambda name: name in ("data", "classifier_dir"))
    cli = PitchTimbreCLI(["--config", str(CONFIGS / "base.yaml"), *about_data], run=False)
    with one_line_errors():
        cli.datamodule.setup()
        cli.ensure_classifiers()
    return f"{cli.datamodule.data_hash}-{classifiers.settings_hash(classifiers.kind_of(cli.datamodule))}"
