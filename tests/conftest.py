"""Small notes that every test may use, and caches that stay inside the test's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A process of the tests has a cache of its own: two that fill one at the same time may crash on it. Numba looks
# where it is as soon as librosa is imported.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "numba" / WORKER))

import torch  # noqa: E402

from datamodules.note_pairs import NotePairs  # noqa: E402
from datamodules.sources.embedded import EmbeddedNotes  # noqa: E402
from datamodules.splits import SplitSettings  # noqa: E402

torch.set_num_threads(1)
os.environ.setdefault("WANDB_MODE", "disabled")


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small_pairs(cache_dir: Path) -> NotePairs:
    """Two instruments' embedded notes, 64 of them, set up."""
    pairs = NotePairs(
        EmbeddedNotes(instruments=["oboe", "cello"]),
        split=SplitSettings(validation_share=0.25),
        max_notes=64,
        batch_size=16,
        cache_dir=cache_dir,
    )
    pairs.setup()
    return pairs
