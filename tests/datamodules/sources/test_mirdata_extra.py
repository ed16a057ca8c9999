"""Downloads by mirdata, which is replaced here."""

from __future__ import annotations

import io
import sys
import tarfile
import types
from pathlib import Path

import pytest

from datamodules.sources.good_sounds import GoodSoundsSource
from datamodules.sources.tinysol import TinySolSource
from tests.datamodules.sources.folders import column, write_tinysol


def test_downloads_without_mirdata_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mirdata", None)
    for source in (TinySolSource(download=True), GoodSoundsSource(download=True)):
        with pytest.raises(ValueError, match=r"pip install 'pitch-timbre\[mirdata\]'"):
            source.read_notes(tmp_path)


def test_downloads_are_made_once_and_taken_up_again_when_interrupted(tmp_path, monkeypatch):
    calls = []

    class FakeDataset:
        def __init__(self, name, data_home):
            self.root = Path(data_home)

        def download(self, partial_download):
            calls.append(partial_download)
            if len(calls) == 1:
                raise OSError("connection lost")
            (self.root / "annotation").mkdir(parents=True)
            rows = write_tinysol(self.root / "audio" / "TinySOL")
            (self.root / "annotation" / "TinySOL_metadata.csv").write_text("\n".join(rows))

    monkeypatch.setitem(sys.modules, "mirdata", types.SimpleNamespace(initialize=FakeDataset))
    source = TinySolSource(download=True)
    with pytest.raises(ValueError, match="connection lost"):
        source.read_notes(tmp_path / "new")
    for _ in range(2):
        assert column(source.read_notes(tmp_path / "new"), "fold") == ["0", "3"]
    assert calls == [["audio", "annotations"]] * 2


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    class EvilDataset:
        def __init__(self, name, data_home):
            self.root = Path(data_home)

        def download(self, partial_download):
            content, member = b"gotcha", tarfile.TarInfo("../outside")
            member.size = len(content)
            with tarfile.open(tmp_path / "evil.tar", "w") as archive:
                archive.addfile(member, io.BytesIO(content))
            with tarfile.open(tmp_path / "evil.tar") as archive:
                archive.extractall(self.root)  # as mirdata does

    monkeypatch.setitem(sys.modules, "mirdata", types.SimpleNamespace(initialize=EvilDataset))
    with pytest.raises(ValueError, match=r"tinysol: the download to .* failed"):
        TinySolSource(download=True).read_notes(tmp_path / "new")
    assert not (tmp_path / "outside").exists()


def test_the_archives_that_are_asked_of_mirdata_are_there():
    mirdata = pytest.importorskip("mirdata")
    assert {"audio", "annotations"} <= set(mirdata.initialize("tinysol").remotes)
    assert {"packs", "ratings", "sounds", "takes", "audios"} <= set(mirdata.initialize("good_sounds").remotes)
