from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.checkpoints import write_checkpoint
from lightning_modules.note_classifier import NoteClassifier


def test_features_and_posterior() -> None:
    classifier = NoteClassifier("pitch", n_pitches=20, n_mels=64, width=32).eval()
    x = torch.randn(5, 64)
    assert classifier.features(x).shape == (5, 32)
    torch.testing.assert_close(classifier.posterior(x).sum(-1), torch.ones(5))


def test_a_kept_classifier_is_the_same(tmp_path: Path) -> None:
    classifier = NoteClassifier("instrument", n_instruments=3, n_mels=64, width=32).eval()
    file = tmp_path / "hash" / "instrument.ckpt"
    write_checkpoint(classifier.kept("abc"), file)
    again = NoteClassifier.load(file, "abc", "instrument")
    x = torch.randn(5, 64)
    assert torch.equal(classifier.posterior(x), again.posterior(x))
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert [path.name for path in file.parent.iterdir()] == ["instrument.ckpt"]


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    file = tmp_path / "pitch.ckpt"
    write_checkpoint(NoteClassifier("pitch", n_pitches=20, n_mels=64, width=32).kept("abc"), file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="not a classifier checkpoint"):
        NoteClassifier.load(file, "abc", "pitch")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_corrupt_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "pitch.ckpt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"pitch\.ckpt: "):
        NoteClassifier.load(file, "abc", "pitch")


@pytest.mark.parametrize(("data_hash", "label"), [("xyz", "pitch"), ("abc", "instrument")])
def test_a_classifier_of_other_data_or_label_is_refused(tmp_path: Path, data_hash: str, label: str) -> None:
    file = tmp_path / "pitch.ckpt"
    write_checkpoint(NoteClassifier("pitch", n_pitches=20, n_mels=64, width=32).kept("abc"), file)
    with pytest.raises(ValueError, match=rf"pitch\.ckpt: .*{data_hash}.*{label}"):
        NoteClassifier.load(file, data_hash, label)


def test_a_pickled_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pitch.ckpt"
    torch.save({"arguments": {"label": "pitch"}, "state_dict": _Bomb(tmp_path / "exploded")}, file)
    with pytest.raises(ValueError, match="not a classifier checkpoint"):
        NoteClassifier.load(file, "abc", "pitch")
    assert not (tmp_path / "exploded").exists()


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.mark,))


def test_a_fingerprint_tells_classifiers_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one, other = (NoteClassifier("pitch", n_pitches=5, n_mels=16, width=8) for _ in range(2))
    write_checkpoint(one.kept("hash"), tmp_path / "one.ckpt")
    assert NoteClassifier.load(tmp_path / "one.ckpt", "hash", "pitch").fingerprint() == one.fingerprint()
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("architecture", ["published", "relu", "conv"])
@pytest.mark.parametrize("n_mels", [256, 57])
def test_every_architecture_is_kept_and_loaded(tmp_path: Path, architecture: Any, n_mels: int) -> None:
    torch.manual_seed(0)
    made = NoteClassifier("pitch", 5, 2, n_mels, width=16, architecture=architecture).eval()
    write_checkpoint(made.kept("hash"), tmp_path / "pitch.ckpt")
    x = torch.randn(4, n_mels)
    assert made.features(x).shape == (4, 16)
    torch.testing.assert_close(
        NoteClassifier.load(tmp_path / "pitch.ckpt", "hash", "pitch").posterior(x), made.posterior(x)
    )
