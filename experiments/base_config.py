"""`base:` in a configuration file: a row says only what differs from the file it builds on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile


class BaseConfigFile(ActionConfigFile):
    """Apply the file that a configuration's ``base`` key names, relative to it, before the configuration itself."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Apply the bases, the innermost first, then the file.

        Raises:
            TypeError: a file is missing or no mapping, or bases name each other in a circle (argparse prints it).
        """
        for content in with_bases(Path(values)) if "\n" not in str(values) else [str(values)]:
            super().__call__(parser, cfg, content, option_string)


def with_bases(file: Path, inner: tuple[Path, ...] = ()) -> list[str]:
    """The contents of a configuration and of its bases, the innermost first, without their ``base`` keys."""
    file = file.expanduser().resolve()
    if file in inner:
        raise TypeError(f"{file}: the base files name each other in a circle")
    if not file.is_file():
        named = f", the base of {inner[-1]}" if inner else ""
        raise TypeError(f"{file}{named}: there is no such configuration file")
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TypeError(f"{file}: not a YAML file: {error}") from error
    if not isinstance(content, dict):
        raise TypeError(f"{file}: a configuration is a mapping of settings, not {type(content).__name__}")
    base = content.pop("base", None)
    own = [yaml.safe_dump(content, sort_keys=False)]
    return own if base is None else with_bases(file.parent / str(base), (*inner, file)) + own
