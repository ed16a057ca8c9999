"""The order of files and arguments does not decide which setting is used."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config_files import arranged, overlaid
from experiments.paths import CONFIGS


def merged(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The settings of arranged files, laid over each other, and the arguments."""
    settings: dict[str, Any] = {}
    found = arranged(words)
    arguments = []
    while found:
        word = found.pop(0)
        if word == "--config":
            settings = overlaid(settings, yaml.safe_load(found.pop(0)))
        else:
            arguments.append(word)
    return settings, sorted(arguments)


@pytest.mark.parametrize("data", ["tinysol", "nsynth", "table", "good_sounds", "soundfont"])
def test_asked_for_data_is_used_wherever_its_file_stands(data: str) -> None:
    files = [["--config", str(CONFIGS / "data" / f"{data}.yaml")], ["--config", str(CONFIGS / "m0.yaml")]]
    parts = [*files, ["--trainer.max_epochs", "3"], ["--data.batch_size", "32"]]
    found = [merged([word for part in order for word in part]) for order in permutations(parts)]
    source = yaml.safe_load((CONFIGS / "data" / f"{data}.yaml").read_text())["data"]["source"]["class_path"]
    for settings, arguments in found:
        assert settings["data"]["source"]["class_path"].endswith(f".{source}")
        assert settings["row"] == "m0"
        assert (settings, arguments) == found[0]


def test_of_two_files_that_set_the_same_the_later_counts(tmp_path: Path) -> None:
    for name, size in (("a", 16), ("b", 32)):
        (tmp_path / f"{name}.yaml").write_text(f"base: {CONFIGS / 'm0.yaml'}\ndata: {{batch_size: {size}}}\n")
    for first, last, size in (("a", "b", 32), ("b", "a", 16)):
        words = ["--config", str(tmp_path / f"{first}.yaml"), "--config", str(tmp_path / f"{last}.yaml")]
        assert merged(words)[0]["data"]["batch_size"] == size
