"""`python -m experiments`, also installed as `lightning`: every command of the project."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run one command; modules are imported only for the command that needs them."""
    words = sys.argv[1:] if argv is None else argv
    command, rest = (words[0], words[1:]) if words else ("", [])
    if command == "grid":
        from experiments.grid import driver

        return driver.main(rest)
    if command == "table":
        from experiments.reporting import grid_files

        return grid_files.main(rest)
    if command == "capacity":
        from experiments.grid import capacity

        return capacity.main(rest)
    if command == "report":
        from experiments.reporting import wandb_report

        return wandb_report.main(rest)
    if command == "dashboard":
        from experiments import dashboard

        return dashboard.main(rest)
    if command == "doctor":
        from experiments.data_check import doctor

        return doctor.main(rest)
    if command == "bench":
        from experiments import bench

        return bench.main(rest)
    if command == "growth":
        from experiments.bench import growth

        return growth.main(rest)
    from experiments import cli, exit_codes

    with exit_codes.stopped_by_signals():
        if command == "classifiers":
            cli.train_classifiers(rest)
        else:
            cli.PitchTimbreCLI(words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
