"""What a configuration may say: `base:` names the file it builds on, and classes are those of this project."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, set_parsing_settings
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

OWN_CLASSES = (
    "callbacks",
    "datamodules",
    "lightning_modules",
    "lightning.fabric.plugins",
    "lightning.fabric.strategies",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
    "torch.optim",
)
"""What a ``class_path`` may name: these packages and modules, and what lies in them."""

ALLOW_CLASSES = "PITCH_TIMBRE_ALLOW_CLASSES"
"""The environment variable that names more packages for ``class_path``, separated by commas."""

LARGEST_CONFIG_BYTES = 1_000_000
ROW = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def trust_own_classes() -> None:
    """Let configurations and arguments name the project's and Lightning's classes alone, and import nothing else.

    Nor do they call a resolver of omegaconf: ``${row}`` is replaced, ``${oc.env:SECRET}`` refused.
    """
    more = [name.strip() for name in os.environ.get(ALLOW_CLASSES, "").split(",") if name.strip()]
    set_parsing_settings(
        omegaconf_absolute_to_relative_paths=True,
        instantiate_subclass_spec_in_any=False,
        import_path_denylist=["*"],
        import_path_allowlist=[*OWN_CLASSES, *more],
    )
    for name in list(BaseContainer._resolvers):
        OmegaConf.clear_resolver(name)


def check_row(row: str) -> None:
    """Refuse a row's name that could lead out of the folder of runs, or read as an option.

    Raises:
        ValueError: it is no plain name.
    """
    if not ROW.fullmatch(row):
        raise ValueError(
            f"row {row!r}: a row's name is of letters, digits and . _ + -, begins with a letter or digit, and has 64 "
            "characters at most"
        )


class BaseConfigFile(ActionConfigFile):
    """Apply the file that a configuration's ``base`` key names, relative to it, before the configuration itself."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Apply the bases, the innermost first, then the file.

        Raises:
            TypeError: a file is missing or no mapping, or bases name each other in a circle (argparse prints it).
        """
        for content in with_bases(Path(values)) if "\n" not in str(values) else [str(values)]:
            super().__call__(parser, cfg, content, option_string)


class PlainLoader(yaml.SafeLoader):
    """Plain values, written out: no tags of Python's, and no aliases, of which ten lines can make a billion values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias."""
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            raise yaml.MarkedYAMLError(problem=f"alias *{alias.anchor}; write it out", problem_mark=alias.start_mark)
        return super().compose_node(parent, index)


def with_bases(file: Path, inner: tuple[Path, ...] = ()) -> list[str]:
    """The contents of a configuration and of its bases, the innermost first, without their ``base`` keys."""
    file = file.expanduser().resolve()
    if file in inner:
        raise TypeError(f"{file}: the base files name each other in a circle")
    named = f", the base of {inner[-1]}" if inner else ""
    if not file.is_file():
        raise TypeError(f"{file}{named}: there is no such configuration file")
    if file.stat().st_size > LARGEST_CONFIG_BYTES:
        raise TypeError(f"{file}{named}: too large for a configuration file")
    try:
        content = yaml.load(file.read_text(), PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise TypeError(f"{file}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise TypeError(f"{file}: a configuration is a mapping of settings, not {type(content).__name__}")
    base = content.pop("base", None)
    own = [yaml.safe_dump(content, sort_keys=False)]
    return own if base is None else with_bases(file.parent / str(base), (*inner, file)) + own
