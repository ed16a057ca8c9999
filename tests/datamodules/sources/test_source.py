"""Sources as settings."""

from __future__ import annotations

import pickle

import pytest

import datamodules.sources
from datamodules.sources.good_sounds import GoodSoundsSource
from datamodules.sources.nsynth import NSynthSource
from datamodules.sources.philharmonia import PhilharmoniaSource
from datamodules.sources.sol import SolSource
from datamodules.sources.table import TableSource
from datamodules.sources.tinysol import TinySolSource


@pytest.mark.parametrize("name", datamodules.sources.__all__)
def test_sources_are_found_by_their_short_names(name):
    assert issubclass(getattr(datamodules.sources, name), datamodules.sources.source.NoteSource)
    assert getattr(datamodules.sources, name).__name__ == name


@pytest.mark.parametrize(
    "source",
    [PhilharmoniaSource(), SolSource(), TinySolSource(), NSynthSource(), GoodSoundsSource(), TableSource("a.csv")],
)
def test_sources_are_picklable(source):
    assert vars(pickle.loads(pickle.dumps(source))) == vars(source)
