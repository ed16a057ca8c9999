"""Run by `make setup`: the checkout's modules and the command `lightning` work from any directory in this environment.

What trains is no part of the installed package.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIGHTNING = """#!/bin/sh
# -P: a folder `experiments` where it is called is not what runs.
exec "{python}" -P -m experiments "$@"
"""


def main() -> None:
    """Write a path file, and the command beside the environment's python."""
    Path(sysconfig.get_path("purelib"), "pitch_timbre_checkout.pth").write_text(f"{ROOT}\n")
    command = Path(sys.executable).parent / "lightning"
    command.write_text(LIGHTNING.format(python=sys.executable))
    command.chmod(0o755)


if __name__ == "__main__":
    main()
