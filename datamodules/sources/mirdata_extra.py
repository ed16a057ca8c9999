"""Downloads by mirdata, an optional extra."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def download(name: str, root: Path | None, parts: list[str]) -> None:
    """Download a data set of mirdata into ``root``, once.

    mirdata unpacks an archive only if its checksum is the published one, so what is unpacked is what was published, and
    it stays in ``root``. A mark is left in ``root`` at the end; a download that was interrupted has none and is taken
    up again.

    Args:
        name: the data set's name in mirdata.
        root: the folder to download to; made if it is absent.
        parts: which of its archives.

    Raises:
        ValueError: mirdata is not installed, no root is given, or the download fails.
    """
    if root is None:
        raise ValueError(f"{name}: give the folder to download to by --data.root")
    root = Path(root).expanduser()
    mark = root / f".{name}-complete"
    if mark.exists():
        return
    try:
        import mirdata
    except ImportError as error:
        raise ValueError(
            f"{name}: downloading needs mirdata; install it by pip install 'pitch-timbre[mirdata]', or download "
            "the set by hand and give its folder by --data.root"
        ) from error
    try:
        with _archives_stay_inside():
            mirdata.initialize(name, data_home=str(root)).download(partial_download=list(parts))
        mark.touch()
    except (OSError, ValueError, tarfile.TarError) as error:
        raise ValueError(f"{name}: the download to {root} failed ({error}); try again") from error


@contextmanager
def _archives_stay_inside() -> Iterator[None]:
    """Refuse members of a tar archive that lead out of the folder, which Python does unasked from 3.14 on."""
    before = tarfile.TarFile.extraction_filter
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = before
