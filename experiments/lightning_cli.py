"""What this project needs of LightningCLI and jsonargparse and they have no public way for, in one place.

Tried with lightning 2.5 to 2.6 and jsonargparse 4.53.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pkgutil import resolve_name
from typing import Any, NoReturn

import lightning as L
import yaml
from jsonargparse import set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from datamodules.atomic_files import replacing
from experiments.config_files import DATA_CLASS, arranged, overrides
from experiments.exit_codes import EXIT_BAD_INPUT, one_line, one_line_errors
from experiments.known_settings import DATA_MODULES, LIGHTNING, known_classes, more_packages, short_name
from experiments.run_folder import plain_settings, portable

LAUNCHERS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "JSM_NAMESPACE_RANK")
SLURM = ("NTASKS", "NTASKS_PER_NODE", "PROCID", "LOCALID", "NODEID")


def quiet_libraries() -> None:
    """Keep Lightning to its warnings: the run prints what it does."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # --trainer.profiler simple prints by it
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")  # a name of torch's that Lightning uses
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")  # a run that goes on
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # they would carry nothing but indices


def one_process() -> None:
    """Forget the numbers that launchers give to processes: a run is one process, and so it writes all of its files."""
    for name in (*LAUNCHERS, *(f"SLURM_{name}" for name in SLURM)):
        os.environ.pop(name, None)
    rank_zero_only.rank = 0  # type: ignore[attr-defined] # read from the environment when Lightning was imported


def allow_listed_classes() -> None:
    """Let configurations build the listed classes, and import nothing else.

    Nor do they call a resolver of omegaconf: ``${row}`` is replaced, ``${oc.env:SECRET}`` refused.
    """
    lightning = [getattr(resolve_name(path.rpartition(".")[0]), name, None) for name, path in LIGHTNING.items()]
    set_parsing_settings(
        omegaconf_absolute_to_relative_paths=True,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[
            *known_classes().values(),
            *(f"{each.__module__}.{each.__name__}" for each in lightning if each is not None),
            *("torch.optim", "lightning.pytorch.cli.ReduceLROnPlateau"),
            *more_packages(),
        ],
    )
    for name in list(BaseContainer._resolvers):
        OmegaConf.clear_resolver(name)


def data_module_of(words: list[str]) -> type[L.LightningDataModule]:
    """The data module that arranged arguments ask for.

    Raises:
        ValueError: it cannot be imported, or is none.
    """
    prefix = f"{DATA_CLASS}="
    name = next((word.removeprefix(prefix) for word in words if word.startswith(prefix)), DATA_MODULES[0])
    try:
        kind = resolve_name(known_classes().get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"data.class_path {name}: cannot be imported ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, L.LightningDataModule)):
        raise ValueError(f"data.class_path {name}: not a LightningDataModule")
    return kind


class StrictParser(LightningArgumentParser):
    """A parser that takes no abbreviated options and says in one line what it refuses.

    Attributes:
        data_module: the name of the data module, where it is not the usual one: it is part of what is written.
    """

    data_module: str | None = None

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as YAML; with the targets of links, it is jsonargparse that reads it again."""
        text = super().dump(*args, **kwargs)
        if self.data_module is None or not kwargs.get("skip_link_targets", True):
            return text
        return re.sub(r"^data:\n", f"data:\n  class_path: {self.data_module}\n", text, count=1, flags=re.MULTILINE)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Refuse."""
        if not self.exit_on_error:
            super().error(message, ex)
        print(f"error: {one_line(message)}", file=sys.stderr, flush=True)
        raise SystemExit(EXIT_BAD_INPUT)


class RunConfig(SaveConfigCallback):
    """Write ``config.yaml`` of a fit, with ``${run_dir}``, ``${row}`` and the seed where the settings follow them."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write it when a fit starts; other commands leave the folder as it is."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write it."""
        settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        file = self.config.run_dir / "config.yaml"
        with replacing(file) as temporary:
            temporary.write_text(yaml.safe_dump(portable(settings), sort_keys=False))


def check_restoring(trainer: Any) -> None:
    """Let a fit end with one line where its trainer cannot take what a checkpoint says of the training."""
    connector = trainer._checkpoint_connector

    def checked(restore: Callable[..., None]) -> Callable[..., None]:
        def restored(*arguments: Any, **named: Any) -> None:
            before = [callback.state_dict() for callback in trainer.callbacks]
            try:
                if trainer.training and trainer.optimizers and connector._loaded_checkpoint:
                    _check_training(trainer, connector._loaded_checkpoint)
                restore(*arguments, **named)
                for callback, own in zip(trainer.callbacks, before, strict=True):
                    _check_kinds(own, callback.state_dict())
                for optimizer in trainer.optimizers:
                    _check_shapes(optimizer.state)
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                with one_line_errors():
                    reason = " ".join(f"{type(error).__name__} {error}".split())[:300]
                    raise ValueError(f"{trainer.ckpt_path}: no fit goes on from it ({reason}); remove it") from error

        return restored

    for name in ("_restore_modules_and_callbacks", "restore_training_state"):
        setattr(connector, name, checked(getattr(connector, name)))


def _check_training(trainer: Any, checkpoint: dict[str, Any]) -> None:
    """Refuse what Lightning would pass over: optimisers too few, and loops that do not say where the training was."""
    for part, own in (("optimizer_states", trainer.optimizers), ("lr_schedulers", trainer.lr_scheduler_configs)):
        if len(checkpoint[part]) != len(own):
            raise ValueError(f"it has {len(checkpoint[part])} {part}, and this run {len(own)}")
    loop = trainer.fit_loop.state_dict()
    for name in ("epoch_progress", "epoch_loop.batch_progress"):
        for part in ("total", "current"):
            if missing := loop[name][part].keys() - checkpoint["loops"]["fit_loop"][name][part].keys():
                raise ValueError(f"its {name} has no {sorted(missing)[0]}")


def _check_kinds(own: dict[str, Any], restored: dict[str, Any]) -> None:
    """Refuse a callback's state whose values are of other types than the callback's own."""
    for name, value in own.items():
        kinds = (int, float) if isinstance(value, float) else type(value)
        if value is not None and restored[name] is not None and not isinstance(restored[name], kinds):
            raise ValueError(f"{name} is {restored[name]!r}")


def _check_shapes(states: Mapping[Tensor, dict[str, Any]]) -> None:
    """Refuse an optimiser's state of other weights: fused kernels do not compare the shapes."""
    for weight, state in states.items():
        for name, value in state.items():
            if not isinstance(value, Tensor) or (value.ndim and value.shape != weight.shape):
                raise ValueError(f"{name} of a weight is no tensor of shape {tuple(weight.shape)}")


class CheckedCLI(LightningCLI, ABC):
    """LightningCLI on arguments that were checked and arranged first; see `experiments.config_files`."""

    config: Any

    def __init__(self, args: list[str], run: bool, **kwargs: Any) -> None:
        quiet_libraries()
        one_process()
        with one_line_errors():
            allow_listed_classes()
            words = [*args[:1], *arranged(args[1:])] if run else arranged(args)
            self._data_module = data_module_of(words)
        self.overrides = overrides(args)
        super().__init__(
            args=[word for word in words if not word.startswith(f"{DATA_CLASS}=")],
            run=run,
            datamodule_class=self._data_module,
            parser_class=StrictParser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            save_config_callback=RunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            load_from_checkpoint_support=False,
            **kwargs,
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that knows which data module it reads the settings of."""
        parser = super().init_parser(**kwargs)
        assert isinstance(parser, StrictParser)
        parser.data_module = self._data_class_path
        return parser

    @property
    def _data_class_path(self) -> str | None:
        """What `data.class_path` has to name; nothing for the usual data module."""
        kind = self._data_module
        name = short_name(f"{kind.__module__}.{kind.__name__}")
        return None if name == DATA_MODULES[0] else name

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; LightningCLI's own warns that a nested run gets arguments of its own, which is meant here."""
        try:
            self.config = parser.parse_args(args)
        except OmegaConfBaseException as error:
            parser.error(f"{str(error).splitlines()[0]}; ${{...}} takes nothing but the name of another setting")

    @property
    def settings(self) -> Any:
        """The parsed settings of the subcommand."""
        return self.config[self.subcommand] if self.subcommand else self.config

    @property
    def plain_settings(self) -> dict[str, Any]:
        """All settings as plain YAML values."""
        found: dict[str, Any] = plain_settings(self.settings.clone().as_dict())
        found.pop("config", None)
        if self._data_class_path:
            found["data"] = {"class_path": self._data_class_path, **found["data"]}
        return found

    def take_checkpoint(self, file: Any) -> None:
        """Let the command read this checkpoint."""
        self.config_init[self.subcommand]["ckpt_path"] = file

    @abstractmethod
    def around(self, subcommand: str) -> AbstractContextManager[Any]:
        """What is held while the subcommand runs."""

    def _run_subcommand(self, subcommand: str) -> None:
        with self.around(subcommand):
            super()._run_subcommand(subcommand)

    def _parse_ckpt_path(self) -> None:
        """Leave the arguments as given: LightningCLI's own would silently replace them by a checkpoint's."""
