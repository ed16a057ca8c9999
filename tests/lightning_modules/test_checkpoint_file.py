"""A file of weights asks for no more memory than it has bytes, and runs nothing."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.checkpoint_file import read_file


def test_what_torch_wrote_is_read(tmp_path: Path) -> None:
    content = {"weights": {"w": torch.arange(4.0)}, "numbers": [1, 2.5, None, True]}
    torch.save(content, tmp_path / "a.ckpt")
    found = read_file(tmp_path / "a.ckpt")
    assert torch.equal(found["weights"]["w"], torch.arange(4.0))
    assert found["numbers"] == content["numbers"]


@pytest.mark.parametrize(
    "content",
    [
        {"w": torch.zeros(1).expand(1_000_000, 1_000_000)},
        {"a": [{"w": torch.zeros(1).expand(1_000_000)}]},
        {"w": torch.empty(1_000_000, device="meta")},
        {"w": torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.long), torch.ones(1), (1_000_000,))},
        [torch.zeros(1)],
    ],
    ids=["one number as a square of a million", "in a list", "without memory", "sparse", "a list"],
)
def test_tensors_larger_than_the_file_are_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt: not a checkpoint of this project, or damaged"):
        read_file(tmp_path / "a.ckpt")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.zeros(1_000_000)}, tmp_path / "whole.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "whole.ckpt") as whole,
        zipfile.ZipFile(tmp_path / "small.ckpt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for entry in whole.namelist():
            small.writestr(entry, whole.read(entry))
    assert (tmp_path / "small.ckpt").stat().st_size < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda self: pytest.fail("unpacked"))
    with pytest.raises(ValueError, match="damaged"):
        read_file(tmp_path / "small.ckpt")


def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ckpt")
    (tmp_path / "zero.ckpt").symlink_to("/dev/zero")
    for file in ("fifo.ckpt", "zero.ckpt", "."):
        with pytest.raises(ValueError, match="not a checkpoint"):
            read_file(tmp_path / file)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none.ckpt")


@pytest.mark.parametrize("change", ["cut", "flipped"])
def test_a_damaged_file_is_refused(change: str, tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    torch.save({"w": torch.ones(10_000)}, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content[: len(content) // 2] if change == "cut" else content)
    with pytest.raises(ValueError, match=r"a\.ckpt: .*damaged"):
        read_file(file)
