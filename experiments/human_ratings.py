"""Published dissimilarity ratings of sounds, from a folder that the user has: the layout of tiianhk/timbremetrics.

``sounds/STUDY/*.aiff`` are a study's sounds, in the order of their names; its ratings are the upper triangle of
``true_dissim/STUDY_dissimilarity_matrix.txt``. The project ships none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.sources.files import AUDIO_SUFFIXES

SUFFIX = "_dissimilarity_matrix.txt"


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        name: of its folder.
        files: N sounds.
        ratings: (N, N) symmetric, 0 on the diagonal; larger is less alike.
    """

    name: str
    files: tuple[Path, ...]
    ratings: NDArray[np.float64]


def read_studies(folder: Path) -> list[Study]:
    """Read all studies of a folder: that of the repository, or the one in it that holds ``sounds``.

    Raises:
        ValueError: there are no ratings, sounds are missing, or a matrix is not one.
    """
    roots = [root for root in (folder, folder / "timbremetrics") if (root / "true_dissim").is_dir()]
    if not roots:
        raise ValueError(f"{folder}: has no true_dissim folder of ratings; give a copy of tiianhk/timbremetrics")
    matrices = sorted((roots[0] / "true_dissim").glob(f"*{SUFFIX}"))
    if not matrices:
        raise ValueError(f"{roots[0] / 'true_dissim'}: has no file *{SUFFIX}; give a copy of tiianhk/timbremetrics")
    return [_read_study(roots[0], file) for file in matrices]


def _read_study(root: Path, file: Path) -> Study:
    name = file.name.removesuffix(SUFFIX)
    try:
        upper = np.triu(np.loadtxt(file, ndmin=2), 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: is not a matrix of numbers ({error})") from error
    if upper.shape[0] != upper.shape[1] or len(upper) < 3 or not np.isfinite(upper).all():
        raise ValueError(f"{file}: has shape {upper.shape}; at least 3 x 3 finite numbers are needed, square")
    sounds = root / "sounds" / name
    found = sorted(sounds.iterdir()) if sounds.is_dir() else []
    files = tuple(path for path in found if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
    if len(files) != len(upper):
        raise ValueError(f"{sounds}: has {len(files)} sounds, the ratings are of {len(upper)}; copy the missing ones")
    return Study(name, files, upper + upper.T)
