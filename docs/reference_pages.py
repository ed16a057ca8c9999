"""The pages of `docs/reference/` that are made from the program: commands, settings, rows, Python.

They are made when the documentation is built, so that they are never older than the program.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name, walk_packages
from typing import Any
from unittest.mock import patch

from lightning import Callback, LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO

from datamodules.sources.source import NoteSource
from experiments.__main__ import COMMANDS, LIGHTNING, about
from experiments.__main__ import main as experiments_main
from experiments.known_settings import PACKAGES as BUILDABLE
from experiments.known_settings import known_classes
from experiments.paths import CONFIGS
from lightning_modules.networks import PitchEncoder, TimbreEncoder
from lightning_modules.schedules import Schedule
from pitch_timbre.cli import COMMANDS as SMALL_COMMANDS
from pitch_timbre.cli import main as small_main

NAMED_BY_CLASS_PATH = (
    *(Callback, CheckpointIO, LightningDataModule, LightningModule, Logger),
    *(NoteSource, PitchEncoder, Schedule, TimbreEncoder),
)
PACKAGES = ("pitch_timbre", "datamodules", "metrics", "lightning_modules", "callbacks", "experiments")
COLUMNS = {"COLUMNS": "100"}  # of the terminal that argparse thinks it prints to


def write(folder: Path) -> None:
    """Write all generated pages into a folder; a page that is the same already is left alone."""
    folder.mkdir(exist_ok=True)
    pages = {"commands.md": commands(), "settings.md": settings(), "rows.md": rows()}
    pages |= {f"api_{package}.md": api(package) for package in PACKAGES}
    for name, text in pages.items():
        file = folder / name
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def commands() -> str:
    """Every command with its own help."""
    lines = ["# Commands", "", "`python -m experiments COMMAND`, also installed as `lightning COMMAND`:", ""]
    for name, command in COMMANDS.items():
        shown = about(name) if name in LIGHTNING else _help(experiments_main, name)
        lines += [f"## {name}", "", f"{command.does[0].upper()}{command.does[1:]}.", "", *_block("text", shown)]
    lines += ["# The small package", "", "`pitch-timbre COMMAND`, installed by the wheel:", ""]
    for name in SMALL_COMMANDS:
        lines += [f"## pitch-timbre {name}", "", *_block("text", _help(small_main, name))]
    return "\n".join(lines)


def _help(function: Any, name: str) -> str:
    printed = io.StringIO()
    with patch.dict("os.environ", COLUMNS), redirect_stdout(printed), suppress(SystemExit):
        function([name, "--help"])
    return printed.getvalue()


def _block(language: str, text: str) -> list[str]:
    return [f"```{language}", text.rstrip(), "```", ""]


def settings() -> str:
    """Every setting of every class that a configuration may build, from its signature and its docstring."""
    lines = [
        "# Settings",
        "",
        "A setting has a dotted name on the command line: `--model.weights.contrast 0.5`, and the same place in a",
        "YAML file. Where a class is named by `class_path`, its settings stand under `init_args`. The defaults of",
        "a run are those of `configs/base.yaml`:",
        "",
        *_block("yaml", (CONFIGS / "base.yaml").read_text()),
    ]
    for name, kind in _configurable().items():
        if taken := list(_settings_of(kind)):
            summary = _inline(_docstring(kind).split("\n\n")[0])
            lines += [f"## {name}", "", f"`{kind.__module__}.{name}`. {summary}", "", *_table(taken), ""]
    return "\n".join(lines)


def _configurable() -> dict[str, Any]:
    """The classes that a configuration names, and the groups of settings that they take."""
    listed = {name: path for name, path in known_classes().items() if path.startswith(BUILDABLE)}
    kinds = {name: resolve_name(path) for name, path in sorted(listed.items(), key=lambda item: item[1])}
    named = {name for name, kind in kinds.items() if issubclass(kind, NAMED_BY_CLASS_PATH)}
    for name in tuple(named):
        annotations = " ".join(text for _, text, *_ in _settings_of(kinds[name]))
        named |= {word for word in re.findall(r"\w+", annotations) if word in kinds}
    return {name: kind for name, kind in kinds.items() if name in named}


def _table(taken: list[tuple[str, str, str, str]]) -> Iterator[str]:
    yield from ("| setting | type | default | what it is |", "|---|---|---|---|")
    for name, kind, default, text in taken:
        cells = (f"`{name}`", f"`{kind}`", f"`{default}`" if default else "required", text)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _settings_of(kind: Any) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of what a class takes."""
    described = _described(kind)
    own = {field.name for field in fields(kind)} if is_dataclass(kind) else None
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (own and name not in own):
            continue
        annotation = "" if parameter.annotation is parameter.empty else str(parameter.annotation)
        default = "" if parameter.default is parameter.empty else repr(parameter.default)
        yield name, annotation, re.sub(r"<(?:class|function) '?([\w.]+)'?.*>", r"\1", default), described.get(name, "")


def _described(kind: Any) -> dict[str, str]:
    """Argument -> its description in the docstrings of a class and of those that it inherits from."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        text = _docstring(each)
        for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, re.MULTILINE):
            for name, words in re.findall(r"^    (\w+): ((?:.*)(?:\n {8}.*)*)", section, re.MULTILINE):
                found[name] = _inline(words)
    return found


def _docstring(kind: Any) -> str:
    return inspect.cleandoc(kind.__doc__ or "") if kind is not object else ""


def _inline(text: str) -> str:
    """A docstring's text as Markdown in a line: roles and double backticks become code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split())).replace("``", "`")
    return text.replace("<", "&lt;").replace("*", "\\*")


def rows() -> str:
    """Every configuration of a row with what it is and what it changes."""
    lines = ["# Rows", "", "Each row is a file of `configs/` that says what differs from its base.", ""]
    for file in sorted(CONFIGS.glob("*.yaml")):
        text = file.read_text()
        comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
        content = "\n".join(line for line in text.splitlines() if not line.startswith("# "))
        if file.stem != "base":
            lines += [f"## {file.stem}", "", _inline(comment), "", *_block("yaml", content)]
    return "\n".join(lines)


def api(package: str) -> str:
    """The public names of a package and of its modules."""
    lines = [f"# {package}", ""]
    root = import_module(package)
    modules = [package, *(each.name for each in walk_packages(root.__path__, f"{package}."))]
    for name in modules:
        if name.rpartition(".")[2].startswith("_"):
            continue
        members = public_names(Path(inspect.getfile(import_module(name))))
        if not members and name != package:
            continue
        lines += [f"## {name.removeprefix(f'{package}.')}", "", "```{eval-rst}", f".. automodule:: {name}"]
        if members:
            lines += [f"   :members: {', '.join(members)}", "   :show-inheritance:"]
        lines += ["```", ""]
    return "\n".join(lines)


def public_names(file: Path) -> list[str]:
    """The public functions and classes that a module defines."""
    defined = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    return [node.name for node in defined if not node.name.startswith("_")]
