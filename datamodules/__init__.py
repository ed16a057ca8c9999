"""Notes as pairs of log-mel frames: sources, waveforms, frames, batches."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path


def _give_numba_a_folder() -> None:
    """Let librosa be imported without a home in packages that are read-only.

    Numba keeps what it compiles beside the package or in the user's cache, and raises where it can write to neither.
    A folder of the process's own, removed at its end: numba runs what it finds there, so that it must be nobody else's.
    """
    package = next((Path(place) / "librosa" for place in sys.path if (Path(place) / "librosa").is_dir()), None)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    existing = next((folder for folder in (cache, *cache.parents) if folder.exists()), cache)
    if "NUMBA_CACHE_DIR" in os.environ or any(os.access(place, os.W_OK) for place in (existing, package or existing)):
        return
    os.environ["NUMBA_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


_give_numba_a_folder()
