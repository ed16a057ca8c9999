"""What identifies a run's settings, and where a run and other commands may write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from experiments.run_folder import claimed, config_hash, portable, refuse_finished, refuse_other_places, results_file

RUN = Path("/runs/m6/seed_3")


def settings(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "seed_everything": 3,
        "row": "m6",
        "run_dir": str(RUN),
        "classifier_dir": "/kept",
        "trainer": {"callbacks": [{"class_path": "callbacks.epoch_seed.EpochSeed", "init_args": {"seed": 3}}]},
        "data": {"batch_size": 64, "cache_dir": "/cache"},
    }
    return usual | changes


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("callbacks", "dirpath", "/elsewhere"),
        ("callbacks", "dirpath", "/runs/m6/seed_30"),
        ("callbacks", "dirpath", f"{RUN}/../seed_4"),
        ("callbacks", "run_dir", "relative"),
        ("callbacks", "filename", "../../x"),
        ("callbacks", "filename", "/etc/x"),
        ("callbacks", "filename", "~/x"),
        ("logger", "save_dir", "/elsewhere"),
        ("logger", "root_dir", "/"),
        ("profiler", "dirpath", "/tmp"),
        ("plugins", "log_dir", "/tmp"),
    ],
)
def test_what_would_write_outside_the_run_is_refused(kind: str, name: str, value: str) -> None:
    spec = {"class_path": "a.Writer", "init_args": {name: value}}
    for specs in (spec, [spec], [True, spec]):
        with pytest.raises(ValueError, match=rf"trainer\.{kind}: {name} of Writer is ") as refused:
            refuse_other_places({kind: specs}, RUN)
        assert "${run_dir}" in str(refused.value)


@pytest.mark.parametrize("value", [None, f"{RUN}", f"{RUN}/checkpoints", f"{RUN}/a/b"])
def test_what_writes_into_the_run_is_taken(value: str | None) -> None:
    arguments = {"dirpath": value, "filename": "best", "every": 2}
    spec = {"class_path": "a.Writer", "init_args": arguments}
    settings = {"callbacks": [spec, {"class_path": "a.Other"}], "logger": False, "profiler": "simple"}
    refuse_other_places(settings, RUN)
    arguments["dirpath"] = f"{RUN.parent}/seed_4"  # the same in another run's folder
    with pytest.raises(ValueError, match=r"callbacks: dirpath of Writer"):
        refuse_other_places(settings, RUN)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as ended, claimed(tmp_path / "file" / "run"):
        pytest.fail("claimed")
    assert ended.value.code == 2
    assert f"{tmp_path / 'file' / 'run'}: cannot be written" in capsys.readouterr().err


def test_written_settings_follow_the_seed_the_row_and_the_folder() -> None:
    written = portable(settings())
    assert written["run_dir"] == "/runs/${row}/seed_${seed_everything}"
    assert written["trainer"]["callbacks"] == [{"class_path": "EpochSeed", "init_args": {"seed": "${seed_everything}"}}]
    assert written["data"] == {"batch_size": 64, "cache_dir": "/cache"}


def test_the_seeds_of_notes_and_split_are_written_as_they_are() -> None:
    """A run that reads them with another seed has the same notes in the same parts."""
    data = {"split": {"seed": 3}, "source": {"class_path": "EmbeddedNotes", "init_args": {"seed": 3}}}
    assert portable(settings(data=data))["data"] == data


def test_the_hash_is_of_what_a_result_depends_on() -> None:
    same = [settings(run_dir="/b/m6/seed_3"), settings(classifier_dir="/x"), settings(ckpt_path="/a.ckpt")]
    same.append(settings(data={"batch_size": 64, "cache_dir": "/another"}))
    assert {config_hash(each) for each in same} == {config_hash(settings())}
    other = [settings(seed_everything=4), settings(row="m5"), settings(data={"batch_size": 65, "cache_dir": "/cache"})]
    assert len({config_hash(each) for each in [settings(), *other]}) == 4


def test_a_finished_run_is_named_with_what_differs(tmp_path: Path) -> None:
    hashes = {"config_hash": "a", "data_hash": "b"}
    refuse_finished(tmp_path, hashes, settings())
    (tmp_path / "metrics.json").write_text(json.dumps(hashes))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(portable(settings())))
    refuse_finished(tmp_path, hashes, settings())
    changed = settings(data={"batch_size": 32, "cache_dir": "/cache"})
    with pytest.raises(ValueError, match=r"data\.batch_size 64 -> 32.*give another --run_dir"):
        refuse_finished(tmp_path, hashes | {"config_hash": "c"}, changed)
    with pytest.raises(ValueError, match="other notes"):
        refuse_finished(tmp_path, hashes | {"data_hash": "c"}, settings())
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="give another --run_dir"):
        refuse_finished(tmp_path, hashes | {"config_hash": "c"}, changed)


@pytest.mark.parametrize("name", ["../../escape", "a/b", "Guitar $20_{ vs", "[/b]|<b>", "", "\U0001f3bb"])
def test_results_lie_beside_the_run_whatever_the_data_is_called(name: str) -> None:
    file = results_file(RUN, "best", SimpleNamespace(name=name, data_hash="d0"), ".json")
    assert file.parent == RUN.parent / "tested"
    assert file.name.startswith("seed_3_best_on_")
    assert file.name.endswith("_d0.json")
