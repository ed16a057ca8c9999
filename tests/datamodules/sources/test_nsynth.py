"""NSynth on a folder laid out as it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.sources.nsynth import NSynthSource
from tests.datamodules.sources.folders import column, write_audio


def write_nsynth(folder: Path) -> None:
    """A folder laid out as a part of NSynth."""
    examples = {}
    for family, source, pitch, velocity in (
        ("flute", "acoustic", 68, 25), ("flute", "synthetic", 70, 127), ("brass", "acoustic", 40, 100),
    ):  # fmt: skip
        name = f"{family}_{source}_000-{pitch:03d}-{velocity:03d}"
        examples[name] = {
            "note_str": name, "pitch": pitch, "velocity": velocity, "sample_rate": 16_000,
            "instrument_str": f"{family}_{source}_000", "instrument_family_str": family,
            "instrument_source_str": source, "qualities": [0] * 10,
        }  # fmt: skip
        write_audio(folder, f"audio/{name}.wav", rate=16_000)
    (folder / "examples.json").write_text(json.dumps(examples))


def test_nsynth_one_part(tmp_path, capsys):
    write_nsynth(tmp_path / "nsynth-valid")
    source = NSynthSource(sources=["acoustic"])
    notes = source.read_notes(tmp_path / "nsynth-valid")
    assert column(notes, "instrument") == ["brass", "flute"]
    assert column(notes, "midi") == [40, 68]
    assert column(notes, "dynamic") == ["100", "25"]
    assert column(notes, "fold") == ["nsynth-valid"] * 2
    assert "nothing above 8,000 Hz" in capsys.readouterr().out
    assert source.read_audio(tmp_path / "nsynth-valid", next(notes.itertuples()), 0.1)[1] == 16_000


def test_nsynth_all_parts_and_settings(tmp_path):
    for part in ("nsynth-train", "nsynth-test"):
        write_nsynth(tmp_path / part)
    (tmp_path / "nsynth-test" / "examples.json").write_text(
        (tmp_path / "nsynth-test" / "examples.json").read_text().replace("_000", "_001")
    )
    notes = NSynthSource(families=["flute"], instrument="individual", velocities=[127]).read_notes(tmp_path)
    assert column(notes, "instrument") == ["flute_synthetic_000", "flute_synthetic_001"]
    assert column(notes, "fold") == ["nsynth-train", "nsynth-test"]
    assert notes.audio[0].startswith("nsynth-train/audio/")


def test_nsynth_without_or_with_a_wrong_table(tmp_path):
    with pytest.raises(ValueError, match=r"no examples\.json"):
        NSynthSource().read_notes(tmp_path)
    table = tmp_path / "examples.json"
    for content, message in (("{", "cannot be read as JSON"), ("[]", "holds no notes"), ('{"a": {}}', "1 notes lack")):
        table.write_text(content)
        with pytest.raises(ValueError, match=message):
            NSynthSource().read_notes(tmp_path)
    write_nsynth(tmp_path)
    with pytest.raises(ValueError, match="no instrument_family_str named lute"):
        NSynthSource(families=["lute"]).read_notes(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("pitch", "68"), ("pitch", True), ("pitch", 68.5), ("velocity", [1]), ("instrument_family_str", None)],
)
def test_nsynth_fields_of_other_types_are_refused(tmp_path, field, value):
    write_nsynth(tmp_path)
    examples = json.loads((tmp_path / "examples.json").read_text())
    name = next(iter(examples))
    examples[name][field] = value
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    with pytest.raises(ValueError, match=f"1 notes .*{name}"):
        NSynthSource().read_notes(tmp_path)
