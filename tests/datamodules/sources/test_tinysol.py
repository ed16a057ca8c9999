"""TinySOL by its names and by its metadata."""

from __future__ import annotations

import pytest

from datamodules.sources.tinysol import TinySolSource
from tests.datamodules.sources.folders import column, write_tinysol


def test_tinysol_by_names_alone(tmp_path):
    write_tinysol(tmp_path)
    notes = TinySolSource().read_notes(tmp_path)
    assert column(notes, "midi") == [61, 60]
    assert column(notes, "fold") == ["", ""]
    assert column(notes, "group") == column(notes, "audio")
    assert column(TinySolSource(retuned=False).read_notes(tmp_path), "midi") == [61]


@pytest.mark.parametrize("place", ["TinySOL_metadata.csv", "annotation/TinySOL_metadata.csv"])
def test_tinysol_with_its_official_folds(tmp_path, place):
    rows = write_tinysol(tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("\n".join(rows))
    assert column(TinySolSource().read_notes(tmp_path), "fold") == ["0", "3"]


def test_tinysol_metadata_elsewhere_and_wrong(tmp_path):
    rows = write_tinysol(tmp_path / "audio")
    metadata = tmp_path / "m.csv"
    source = TinySolSource(metadata=metadata)
    metadata.write_text("\n".join(rows))
    assert column(source.read_notes(tmp_path / "audio"), "fold") == ["0", "3"]
    metadata.write_text("\n".join(rows[:2]))
    with pytest.raises(ValueError, match="does not list 1 of the notes"):
        source.read_notes(tmp_path / "audio")
    metadata.write_text("\n".join([*rows[:2], rows[2].replace(",61,", ",62,")]))
    with pytest.raises(ValueError, match="'Fl-ord-C#4-pp-N-N'"):
        source.read_notes(tmp_path / "audio")
    metadata.write_text("a,b\n1,2")
    with pytest.raises(ValueError, match="lacks the column"):
        source.read_notes(tmp_path / "audio")
