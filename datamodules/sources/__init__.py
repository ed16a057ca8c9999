"""Sources of notes: one file a source, each returns a note table and the sound of its rows.

A source is imported when its name is asked for, so that a name costs nothing until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "EmbeddedNotes": "embedded",
    "GoodSoundsSource": "good_sounds",
    "NSynthSource": "nsynth",
    "PhilharmoniaSource": "philharmonia",
    "SolSource": "sol",
    "SoundfontNotes": "soundfont",
    "TableSource": "table",
    "TinySolSource": "tinysol",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
