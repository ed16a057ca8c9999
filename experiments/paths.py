"""What all of `experiments` agrees on: the places of the project's own files, and a variable of the environment."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"

GRID_KEY = "PITCH_TIMBRE_GRID_KEY"
"""The environment variable by which a cell learns the key that it stores in its metrics.json as ``grid_key``."""
