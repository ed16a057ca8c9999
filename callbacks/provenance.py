"""Where a result comes from: the revision of the code, versions, the machine, and how it computes."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RECORDED_VERSIONS = ("torch", "torchaudio", "lightning", "librosa", "numpy", "scipy", "scikit-learn", "pitch-timbre")


def git_revision() -> str:
    """The commit of the code that runs, with ``+`` where files differ from it; ``unknown`` outside a checkout.

    A repository that merely surrounds the code, or that the environment names (as in a git hook), is ignored.
    """
    root = Path(__file__).resolve().parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, env=environment
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def machine() -> str:
    """The processor (and accelerator) of this machine, in words."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = names[0] if names else name
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{name} x {os.cpu_count()}{gpu}"


def versions() -> dict[str, str]:
    """The versions of what decides a run's numbers; a checkout that runs without being installed has none."""
    found = {"python": platform.python_version()}
    for name in RECORDED_VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def arithmetic() -> dict[str, Any]:
    """What decides, beside the versions and the machine, whether two runs have the same bits."""
    return {
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def computed_by() -> dict[str, Any]:
    """All of the above: a number can be traced by it."""
    return {"git_revision": git_revision(), "versions": versions(), "machine": machine(), **arithmetic()}


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """In what two sessions of a run differ, in words; empty if in nothing.

    Example:
        >>> differences({"threads": 1, "versions": {"torch": "2.1"}}, {"threads": 2, "versions": {"torch": "2.1"}})
        'threads (2, before 1)'
    """
    flat = [{**session, **session.get("versions", {})} for session in (before, now)]
    names = [name for name in flat[1] if name not in ("versions", "from") and flat[0].get(name) != flat[1][name]]
    return ", ".join(f"{name} ({flat[1][name]}, before {flat[0].get(name)})" for name in names)
