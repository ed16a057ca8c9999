"""Configuration files and arguments, read and checked before anything heavy is imported.

`base:` names the file that a configuration builds on. All bases are laid first, then the files, then the arguments: so
the order of `--config data.yaml --config row.yaml` does not matter, and a base never undoes what a file asks for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from experiments.known_settings import DATA_MODULES, RENAMED_FILES, checked, data_module, nearest
from experiments.trainer_settings import check_trainer

LARGEST_CONFIG_BYTES = 1_000_000
ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
OF_EVERY_RUN = re.compile(
    r"seed_everything|row|run_dir|classifier_dir|ckpt_path|help|print_config"
    r"|trainer\.(logger|plugins|profiler|enable_progress_bar|default_root_dir)\b.*"
)
"""Arguments that do not make a run another than its row's file says."""


class ConfigError(ValueError):
    """A configuration file that cannot be used; the message is one line."""


class Layer(NamedTuple):
    """The settings of one file: where they come from, and what they are."""

    name: str
    content: dict[str, Any]


def check_row(row: str) -> None:
    """Refuse a row's name that could lead out of the folder of runs, or be read as an option or a number.

    Raises:
        ValueError: it is not a plain name.
    """
    if not ROW.fullmatch(row) or not isinstance(yaml.safe_load(row), str) or _is_number(row):
        raise ValueError(
            f"row {row!r}: a row's name is not a number, has at most 64 letters, digits and . _ + -, and begins with a "
            "letter or digit"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class PlainLoader(yaml.SafeLoader):
    """Plain values, written out: no tags of Python's, and no aliases, of which ten lines can make a billion values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.MarkedYAMLError(problem=f"alias *{alias.anchor}; write it out", problem_mark=alias.start_mark)
        return super().compose_node(parent, index)


def plain(text: str, name: str) -> Any:
    """The values of a YAML text.

    Raises:
        ConfigError: it is too long, or not YAML of plain values.
    """
    if len(text) > LARGEST_CONFIG_BYTES:
        raise ConfigError(f"{name}: too large for a configuration")
    try:
        return yaml.load(text, PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: not a YAML file: {error}") from error


def layers(file: Path, inner: tuple[Path, ...] = ()) -> list[Layer]:
    """The settings of a configuration file and of its bases, the innermost first, without their ``base`` keys.

    Raises:
        ConfigError: a file is missing or not a mapping, or bases name each other in a circle.
    """
    named = f", the base of {inner[-1]}" if inner else ""
    try:
        file = file.expanduser().resolve()
        size = file.stat().st_size if file.is_file() else None
    except (OSError, ValueError, RuntimeError) as error:  # a NUL, a name that is too long, a circle of links, no home
        raise ConfigError(f"{str(file)[:80]!r}{named}: not the name of a file ({error})"[:300]) from error
    if file in inner:
        raise ConfigError(f"{file}: the base files name each other in a circle")
    if size is None:
        new = RENAMED_FILES.get(file.name)
        like = f"; it is now {new}" if new else nearest(file.name, (each.name for each in file.parent.glob("*.yaml")))
        raise ConfigError(f"{file}{named}: there is no such configuration file{like}")
    if size > LARGEST_CONFIG_BYTES:
        raise ConfigError(f"{file}{named}: too large for a configuration file")
    try:
        content = plain(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: a configuration is a mapping of settings, not {type(content).__name__}")
    base = content.pop("base", None)
    own = [Layer(str(file), content)]
    return own if base is None else layers(file.parent / str(base), (*inner, file)) + own


def with_bases(file: Path) -> list[str]:
    """The contents of a configuration and of its bases as YAML, the innermost first; see `layers`."""
    return [yaml.safe_dump(layer.content, sort_keys=False) for layer in layers(file)]


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others laid over them; another class does not keep the arguments of the one before."""
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            same = value.get("class_path", old.get("class_path")) == old.get("class_path")
            found[key] = overlaid(old, value) if same else value
        else:
            found[key] = value
    return found


def split_arguments(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """The values of ``--config``, and the other arguments: name (as written, with ``--``) and value, if it has one."""
    files: list[str] = []
    others: list[tuple[str, str | None]] = []
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not name.startswith("-"):
            name, equals, value = name + equals + value, "", ""
        elif not equals and left and not left[0].startswith("--") and name not in ("-h", "--help", "--print_config"):
            equals, value = "=", left.pop(0)
        if name in ("-c", "--config") and equals:
            files.append(value)
        else:
            others.append((name, value if equals else None))
    return files, others


def overrides(words: Sequence[str]) -> dict[str, str]:
    """The settings among a run's arguments: name -> value, without those of `OF_EVERY_RUN`.

    Example:
        >>> overrides(["fit", "--config", "configs/m6.yaml", "--seed_everything=3", "--model.weights.cycle", "0.5"])
        {'model.weights.cycle': '0.5'}
    """
    given = ((name.removeprefix("--"), value) for name, value in split_arguments(words)[1] if name.startswith("--"))
    return {name: value for name, value in given if value is not None and not OF_EVERY_RUN.fullmatch(name)}


def _layers_of(value: str) -> list[Layer]:
    """The layers of a file, or of settings that are given in place of one."""
    if "\n" not in value and not value.startswith("{"):
        return layers(Path(value))
    content = plain(value, "--config")
    if not isinstance(content, dict):
        raise ConfigError(f"--config: a configuration is a mapping of settings, not {type(content).__name__}")
    return [Layer("--config", content)]


DATA_CLASS = "--data.class_path"


def _without_data_class(layer: Layer) -> tuple[Layer, str | None]:
    """A layer whose settings of the data stand below ``data`` itself, and the data module that it names, if any."""
    data = layer.content.get("data")
    if not isinstance(data, Mapping) or not data.keys() & {"class_path", "init_args"}:
        return layer, None
    arguments = data.get("init_args") or {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(f"{layer.name}: data.init_args is a mapping of settings")
    own = {name: value for name, value in data.items() if name not in ("class_path", "init_args")}
    name = data.get("class_path")
    return Layer(layer.name, layer.content | {"data": {**own, **arguments}}), None if name is None else str(name)


def arranged(words: Sequence[str], keep: Callable[[str], bool] = lambda name: True) -> list[str]:
    """Checked arguments for the parser: the settings of the bases, of the files, then those that stand as arguments.

    Where the data module is not the first of `DATA_MODULES`, the first argument is the one that names it.

    Args:
        words: the arguments, without the command.
        keep: whether a setting at the top (``data``, ``model``, ...) is passed on; all are checked.

    Raises:
        ConfigError: a file cannot be used.
        UnknownSettingError: a setting, a class or a value that there is not.
        ValueError: a run cannot be trained or scored with these settings of the Trainer.
    """
    files, others = split_arguments(words)
    chains = [_layers_of(value) for value in files]
    bases = {layer.name: layer for chain in chains for layer in chain[:-1]}
    parted = [_without_data_class(layer) for layer in (*bases.values(), *(chain[-1] for chain in chains))]
    named = [(name, f"{layer.name}: ") for layer, name in parted if name is not None]
    named += [(value, "") for name, value in others if name == DATA_CLASS and value is not None]
    data = data_module(*named[-1]) if named else DATA_MODULES[0]
    others = [(re.sub(r"^--data\.init_args\.", "--data.", name), value) for name, value in others if name != DATA_CLASS]
    merged: dict[str, Any] = {}
    found = [f"{DATA_CLASS}={data}"] if data != DATA_MODULES[0] and keep("data") else []
    for layer, _ in parted:
        content = checked(layer.content, merged, f"{layer.name}: ", data)
        merged = overlaid(merged, content)
        found += ["--config", yaml.safe_dump({k: v for k, v in content.items() if keep(k)}, sort_keys=False) + "\n"]
    for name, value in others:
        path = name.removeprefix("--").removesuffix("+").removesuffix(".help")
        if value is None or not name.startswith("--") or path.startswith("print_"):
            found += [name] if value is None else [name, value]
            continue
        given = plain(value, name) if value.lstrip()[:1] in tuple("[{&*!") else value
        nested: Any = given
        for key in reversed(path.split(".")):
            nested = {key: nested}
        nested = checked(nested, merged, "", data)
        merged = overlaid(merged, nested)
        for key in path.split("."):
            nested = nested[key]
        if keep(path.partition(".")[0]):
            found.append(
                f"{name}={value if nested == given else nested if isinstance(nested, str) else json.dumps(nested)}"
            )
    if "row" in merged:
        check_row(str(merged["row"]))
    check_trainer(merged.get("trainer") or {})
    return found
