"""Pitch and timbre of isolated notes, told apart by a model that learned without labels."""

from pitch_timbre.analysis import Analysis
from pitch_timbre.audio import write
from pitch_timbre.model import Model, load

__all__ = ["Analysis", "Model", "load", "write"]
