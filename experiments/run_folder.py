"""A run's folder: who may train in it, what identifies its settings, and where other commands write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from datamodules.atomic_files import read_json, remove_leftovers
from experiments.exit_codes import one_line_errors
from experiments.known_settings import short_name

WAIT_FOR_ANOTHER_S = 60.0
"""Seconds that a fit waits for another process in its folder, such as one that is being stopped, to end."""

PLACES = ("dirpath", "save_dir", "run_dir", "root_dir", "log_dir")
"""Arguments of callbacks, loggers and profilers that say where they write."""

NAMED_DIFFERENCES = 3


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """Have a run's folder to oneself; wait for a process in it that is ending."""
    lock = FileLock(run_dir / ".fit.lock")
    with one_line_errors():
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=WAIT_FOR_ANOTHER_S)
        except Timeout as error:
            raise ValueError(f"{run_dir}: another process is training in it; give another --run_dir") from error
        except OSError as error:
            raise ValueError(f"{run_dir}: cannot be written ({error.strerror}); give another --run_dir") from error
    try:
        for folder in (run_dir, run_dir / "checkpoints"):
            remove_leftovers(folder)
        yield
    finally:
        lock.release()


def plain_settings(value: Any) -> Any:
    """Settings as plain YAML values."""
    if isinstance(value, Mapping):
        return {key: plain_settings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_settings(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def portable(settings: dict[str, Any]) -> dict[str, Any]:
    """Plain settings with short class names, and interpolations where a value follows the run's folder, row or seed.

    What reads them with another seed, row or folder so writes into another folder, all of it, and has the same notes
    and split: the seeds of those are their own, whatever their values.
    """
    row, seed, run_dir = settings["row"], settings["seed_everything"], str(settings["run_dir"])
    follows = {"row": (row, "${row}"), "seed": (seed, "${seed_everything}")}

    def replaced(value: Any, part: str, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: replaced(item, part, name) for name, item in value.items()}
        if isinstance(value, list):
            return [replaced(item, part) for item in value]
        if isinstance(value, str) and (value == run_dir or value.startswith(f"{run_dir}/")):
            return "${run_dir}" + value.removeprefix(run_dir)
        if key == "classifier_dir" and value == settings.get("classifier_dir"):
            return "${classifier_dir}"
        if part == "trainer" and key in follows and value == follows[key][0]:
            return follows[key][1]
        return short_name(value) if key == "class_path" else value

    head = {"seed_everything": seed, "row": row}
    place = re.sub(rf"(^|/){re.escape(row)}/seed_{seed}$", r"\1${row}/seed_${seed_everything}", run_dir)
    head["run_dir"] = re.sub(rf"(^|/)seed_{seed}$", r"\1seed_${seed_everything}", place)
    places = {name: settings[name] for name in ("classifier_dir",) if name in settings}
    below = {name: replaced(value, name) for name, value in places.items()}
    rest = {name: replaced(item, name) for name, item in settings.items() if name not in (*head, *places)}
    return {**head, **below, **rest}


def config_hash(settings: dict[str, Any]) -> str:
    """A hash of the plain settings that a result depends on: not of the places of files, nor of where classes stand."""
    kept = portable(settings)
    for name in ("run_dir", "classifier_dir", "ckpt_path"):
        kept.pop(name, None)
    kept["data"] = {name: value for name, value in kept["data"].items() if name != "cache_dir"}
    return sha256(yaml.safe_dump(kept, sort_keys=True).encode()).hexdigest()[:16]


def refuse_finished(run_dir: Path, hashes: Mapping[str, str], settings: dict[str, Any]) -> None:
    """Refuse to train in the folder of a finished run of other settings or notes.

    Raises:
        ValueError: it names what differs.
    """
    kept = read_json(run_dir / "metrics.json")
    if not kept or all(kept.get(name) == value for name, value in hashes.items()):
        return
    try:
        old = _flat(yaml.safe_load((run_dir / "config.yaml").read_text()))
    except (OSError, yaml.YAMLError):
        old = {}
    new = _flat(portable(settings))
    both = [name for name in new if name in old and name != "run_dir"]
    changed = [f"{name} {old[name]} -> {new[name]}" for name in both if old[name] != new[name]]
    what = ", ".join(changed[:NAMED_DIFFERENCES]) or "other notes"
    raise ValueError(f"{run_dir} holds a finished run of other settings ({what}); give another --run_dir")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v for key, each in value.items() for k, v in _flat(each, f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value}


def refuse_other_places(trainer: dict[str, Any], run_dir: Path) -> None:
    """Refuse callbacks, loggers and profilers that would write outside the run's folder.

    Raises:
        ValueError: it names the setting.
    """
    for kind in ("callbacks", "logger", "plugins", "profiler"):
        specs = trainer.get(kind)
        for spec in filter(lambda each: isinstance(each, dict), specs if isinstance(specs, list) else [specs]):
            for name, value in (spec.get("init_args") or {}).items():
                text = str(value or "")
                if name in PLACES:
                    inside = value is None or Path(text).absolute().is_relative_to(run_dir.absolute())
                else:
                    inside = not isinstance(value, str) or name == "classifier_dir" or not text.startswith(("/", "~"))
                if not inside or ".." in Path(text).parts:
                    raise ValueError(
                        f"trainer.{kind}: {name} of {str(spec['class_path']).rpartition('.')[2]} is {text}, outside "
                        f"run_dir {run_dir}; write ${{run_dir}} there"
                    )


def results_file(run: Path, checkpoint: str, data: Any, suffix: str) -> Path:
    """Where the results of a checkpoint on some data are written: beside the run's folder, never in it."""
    name = re.sub(r"\W+", "_", data.name).strip("_") or "data"
    return run.parent / "tested" / f"{run.name}_{checkpoint}_on_{name}_{data.data_hash}{suffix}"
