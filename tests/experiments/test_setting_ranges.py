"""Numbers out of range are refused before torch is imported, and by the classes themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from datamodules.note_pairs import NotePairs
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.splits import SplitSettings
from datamodules.waveforms import WaveformSettings
from experiments.config_files import arranged
from experiments.paths import CONFIGS
from experiments.setting_ranges import RANGES
from lightning_modules.objectives import ObjectiveWeights
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE
from lightning_modules.schedules import WarmupCosine
from lightning_modules.two_stage_vae import AxisStage

M7 = ["--config", str(CONFIGS / "m7.yaml")]
COSINE = ["--model.schedule", "WarmupCosine"]


def out_of(name: str) -> list[float]:
    """The numbers next to a range's ends that are not in it."""
    least, most, is_open = RANGES[name]
    ends = [least, most] if is_open else [least - 1, most + 1]
    return [end for end in ends if abs(end) < float("inf")]


CASES = [(name, number) for name in RANGES for number in out_of(name)]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_number_out_of_range_is_refused_by_its_name(name: str, number: float) -> None:
    setting = f"{name}cycle" if name.endswith(".") else name
    with pytest.raises(ValueError, match=f"{setting} is {number:.10g};"):
        arranged([*M7, *COSINE, f"--{setting}={number:.12g}"])


@pytest.mark.parametrize("name", RANGES)
def test_the_ends_of_a_range_are_taken(name: str) -> None:
    least, most, is_open = RANGES[name]
    setting = f"{name}cycle" if name.endswith(".") else name
    good = (least + min(most, least + 2)) / 2 if is_open else least
    assert f"--{setting}={good:.12g}" in arranged([*M7, *COSINE, f"--{setting}={good:.12g}"])


def pairs(**settings: Any) -> NotePairs:
    return NotePairs(EmbeddedNotes(), **settings)


CLASSES: dict[str, Callable[[Any], object]] = {
    "data.batch_size": lambda number: pairs(batch_size=number),
    "data.max_notes": lambda number: pairs(max_notes=number),
    "data.split.validation_share": lambda number: SplitSettings(validation_share=number),
    "data.waveforms.sample_rate": lambda number: WaveformSettings(sample_rate=number),
    "data.waveforms.duration_s": lambda number: WaveformSettings(duration_s=number),
    "model.weights.": lambda number: ObjectiveWeights(cycle=number),
    "model.learning_rate": lambda number: PitchTimbreVAE(learning_rate=number),
    "model.contrast_temperature": lambda number: PitchTimbreVAE(contrast_temperature=number),
    "model.width": lambda number: PitchTimbreVAE(width=number),
    "model.n_latent": lambda number: PitchTimbreVAE(n_latent=number),
    "model.n_categories": lambda number: PitchTimbreVAE(n_categories=number),
    "model.axis.epochs": lambda number: AxisStage(epochs=number),
    "model.axis.learning_rate": lambda number: AxisStage(learning_rate=number),
    "model.axis.subharmonic_share": lambda number: AxisStage(epochs=9, subharmonic_share=number),
    "model.axis.restarts": lambda number: AxisStage(epochs=9, restarts=number),
    "model.schedule.warmup_steps": lambda number: WarmupCosine(warmup_steps=number),
    "model.schedule.final_share": lambda number: WarmupCosine(final_share=number),
}


@pytest.mark.parametrize(("name", "number"), [case for case in CASES if case[0] in CLASSES])
def test_the_class_refuses_the_same_number(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=name.removesuffix(".").rpartition(".")[2]):
        CLASSES[name](number)


@pytest.mark.parametrize(
    "words",
    [
        ["--model.weights.cycle", "-1"],
        ["--data.batch_size", "1"],
        ["--model.schedule", "WarmupCosne"],
        ["--trainer.precision", "64-true"],
        ["--trainer.max_epochs", "0"],
        ["--seed_everything", "-1"],
    ],
)
def test_a_refused_configuration_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys; from experiments.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('heavy' if {'torch', 'lightning', 'pandas'} & set(sys.modules) else 'light')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "fit", *M7, *words], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout.strip()) == (2, "light")
    assert words[0].removeprefix("--") in ended.stderr
