"""What a process costs before it does anything: the imports of the command line, and a parsed configuration."""

from __future__ import annotations

import resource
import subprocess
import sys

from experiments.bench.measure import Figure, Measured, Spread, Way, interleaved
from experiments.paths import CONFIGS

IMPORTS = {
    "limit: import torch, lightning.pytorch": ["-c", "import torch, lightning.pytorch"],
    "ours: import experiments.cli": ["-c", "import experiments.cli"],
    "ours: fit --print_config": ["-m", "experiments", "fit", "--config", str(CONFIGS / "m6.yaml"), "--print_config"],
}


def _process(words: list[str]) -> Way:
    def way(_round: int) -> tuple[int, float]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return way


def measure(quick: bool = False) -> Measured:
    """Core-seconds of new processes."""
    ways = {name: _process(words) for name, words in IMPORTS.items()}
    rates = interleaved(ways, 1 if quick else 3, "start-up")
    seconds = {name: [1 / rate for rate in found] for name, found in rates.items()}
    base = next(iter(seconds.values()))
    figures = [
        Figure(
            "startup",
            "core-seconds of a new process",
            name.partition(": ")[2],
            "limit" if name.startswith("limit") else "ours",
            Spread.of(found),
            None if found is base else Spread.of([a / b for a, b in zip(found, base, strict=True)]),
        )
        for name, found in seconds.items()
    ]
    return Measured(figures, [], {"seconds": seconds})
