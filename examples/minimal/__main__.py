"""`python -m examples.minimal fit --config ...`, or `table FOLDER`: the commands, with this package allowed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from experiments.__main__ import main as project
from experiments.known_settings import ALLOW_CLASSES
from experiments.reporting.cells import read_cells, selected, spreads
from experiments.reporting.columns import PERCENT, Metric
from experiments.reporting.table import markdown

METRICS = (Metric("accuracy", "Accuracy", "max", PERCENT),)


def table(out: Path) -> str:
    """The table of the runs in a folder, <row>/seed_<n>, in Markdown."""
    return "\n".join(markdown(METRICS, {"here": spreads(selected(read_cells(out), "honest", "best"), METRICS)}))


def main(argv: list[str]) -> int:
    """Print the table, or run a command of the project."""
    if argv[:1] == ["table"]:
        print(table(Path(argv[1])))
        return 0
    os.environ[ALLOW_CLASSES] = ",".join(filter(None, [os.environ.get(ALLOW_CLASSES), "examples"]))
    return project(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
