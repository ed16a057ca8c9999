"""The evaluation classifiers: one set for some data, whichever run asks for it first.

Their settings are those of configs/classifier_*.yaml, or of configs/classifier_sequence_*.yaml for whole notes. A run
gives them nothing but what defines its data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from filelock import FileLock
from lightning.pytorch.utilities.seed import isolate_rng

from callbacks.checkpoints import read_checkpoint, write_checkpoint
from callbacks.generation_metrics import EVALUATORS, classifier_file
from datamodules.note_data import NoteData
from datamodules.note_sequences import NoteSequences
from experiments.config_files import layers, overlaid
from experiments.paths import CONFIGS
from experiments.run import Run
from lightning_modules.note_classifier import Evaluator, NoteClassifier
from lightning_modules.sequence_classifier import NoteSequenceClassifier

LABELS = EVALUATORS[:2]
OF_THE_DATA = (
    *("name", "source", "root", "corrections", "waveforms", "mel", "split"),
    *("pitch_range", "on_bad_file", "max_notes", "cache_dir"),
)
"""The settings of a run's data that its classifiers take; of its shifts, they take the range, which some notes are too
short for."""


class Kind(NamedTuple):
    """The classifiers of one kind of data.

    Attributes:
        configuration: how the names of their configurations begin.
        module: their class.
        names: of each the label, and the architecture where it is another.
    """

    configuration: str
    module: type[Evaluator]
    names: tuple[str, ...] = LABELS

    def file(self, name: str) -> Path:
        """The configuration of the one of a name."""
        return CONFIGS / f"{self.configuration}_{name}.yaml"


OF_FRAMES = Kind("classifier", NoteClassifier, EVALUATORS)
OF_WHOLE_NOTES = Kind("classifier_sequence", NoteSequenceClassifier)

ROWS = tuple(kind.file(name).stem for kind in (OF_FRAMES, OF_WHOLE_NOTES) for name in kind.names)
"""Classifiers that judge others; one of another name is a row of the table itself."""


def kind_of(data: NoteData) -> Kind:
    """The classifiers that judge a data module's notes."""
    return OF_WHOLE_NOTES if isinstance(data, NoteSequences) else OF_FRAMES


@cache
def settings_hash(kind: Kind = OF_FRAMES) -> str:
    """A hash of the classifiers' own settings, without those of files, loggers and data that are replaced."""
    found = []
    for each in kind.names:
        settings: dict[str, Any] = {}
        for layer in layers(kind.file(each)):
            settings = overlaid(settings, layer.content)
        for place in ("logger", "plugins", "default_root_dir"):
            settings["trainer"].pop(place)
        data = {name: value for name, value in settings["data"].items() if name not in OF_THE_DATA}
        found.append([settings["seed_everything"], settings["trainer"], settings["model"], data])
    return sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def folder_of(classifier_dir: Path, kind: Kind = OF_FRAMES) -> Path:
    """Where the classifiers of these settings are kept, by data hash."""
    return classifier_dir.expanduser() / settings_hash(kind)


def ensure(run: Run) -> Path:
    """Train the classifiers that a run's data lacks, once, and keep them.

    Returns:
        Where they are kept, by data hash.

    Raises:
        ValueError: a file is damaged, of the other label or of other data.
        OSError: one is lacking, and the folder cannot be written to.
    """
    data_hash, kind = run.datamodule.data_hash, kind_of(run.datamodule)
    folder = folder_of(run.settings.classifier_dir, kind)
    for name in kind.names:
        file = classifier_file(folder, data_hash, name)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(file.with_suffix(".lock")):
                if not file.exists():
                    print(f"training the {name} classifier of this data ({data_hash}), once", flush=True)
                    _train(run, name, file)
        kind.module.load(file, data_hash, name.partition("_")[0])
    return folder


def _train(run: Run, name: str, file: Path) -> None:
    """Train a classifier of a run's data and write it."""
    data_hash = run.datamodule.data_hash
    configuration = kind_of(run.datamodule).file(name)
    arguments = ["fit", "--config", str(configuration), "--config", _same_data(run, file)]
    with isolate_rng(), _own_process_settings():
        trained = type(run)(arguments)
    if trained.datamodule.data_hash != data_hash:
        raise ValueError(f"the notes changed while the {name} classifier was trained; run the command again")
    best = read_checkpoint(trained.best_checkpoint.best_model_path)
    trained.model.load_state_dict(best["state_dict"])
    write_checkpoint(trained.model.kept(data_hash), file)
    print(f"kept the {name} classifier: {file}", flush=True)


def _same_data(run: Run, file: Path) -> str:
    """Settings that give a classifier a run's data, with its files beside ``file``."""
    settings = run.plain_settings
    data, shifts = settings["data"], settings["data"]["shifts"]
    # The length of the segments that a row trains on is its own matter, and the evaluators have theirs.
    sequence = {name: value for name, value in data.get("sequence", {}).items() if name != "frames"}
    content = {
        "data": {
            **{name: data[name] for name in OF_THE_DATA},
            **({"sequence": sequence} if sequence else {}),
            "shifts": {"lowest": shifts["lowest"], "highest": shifts["highest"], "pairs": "none"},
        },
        "trainer": {} if run.trainer.loggers else {"logger": False},
        "run_dir": str(file.with_suffix("")),
    }
    return yaml.safe_dump(content)


@contextmanager
def _own_process_settings() -> Iterator[None]:
    """Give a classifier a process as it finds it in any run, and undo what it sets.

    One thread, and none of what a Trainer of another run set for the process.
    """
    environment, threads = dict(os.environ), torch.get_num_threads()
    deterministic, precision = torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_float32_matmul_precision(precision)
