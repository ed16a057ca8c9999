"""Reading a file of weights without running anything in it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def read_file(file: str | Path) -> dict[str, Any]:
    """The tensors and plain values of a file that torch wrote.

    Raises:
        ValueError: it is damaged, or holds anything else.
        FileNotFoundError: there is no such file.
    """
    try:
        with zipfile.ZipFile(file) as archive:  # torch does not compare the checksums that it writes
            damaged = archive.testzip()
        content = torch.load(file, map_location="cpu", weights_only=True)
        if damaged or not isinstance(content, dict):
            raise ValueError("damaged")
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{file}: damaged, or not a checkpoint ({type(error).__name__})") from error
    return content
