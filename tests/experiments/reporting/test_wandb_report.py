from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.reporting import wandb_report
from experiments.reporting.cell_files import PUBLISHED_ROWS
from experiments.reporting.cells import published_scores, read_cells, selected, spreads
from experiments.reporting.columns import PUBLISHED_METRICS


def write_cells(out: Path) -> None:
    """Two seeds of each row, with the published scores of that row and seed."""
    scores = published_scores()
    for row in PUBLISHED_ROWS:
        for seed in range(2):
            found = scores[(scores["row"] == row) & (scores["seed"] == seed)].iloc[0]
            values = {metric.name: float(found[metric.name]) for metric in PUBLISHED_METRICS}
            scored = {"epoch": 7, "published": values, "honest": {"acc": values["acc"] - 5}}
            facts = {"row": row, "seed": seed, "data": "some notes", "data_hash": "abc", "git_revision": "f00"}
            facts |= {"machine": "one", "precision": "32", "epochs": 8, "wall_s": 3.0}
            folder = out / row / f"seed_{seed}"
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({**facts, "best": scored, "last": scored}))
            (folder / "metrics.csv").write_text("epoch,train/loss/kl_c,val/acc\n0,0.1,3\n1,2.5,9\n")


def leet(run: Path, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", *words, "--json", str(run)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_DATA_DIR", "")
    monkeypatch.delenv("WANDB_DATA_DIR")
    yield
    import wandb

    wandb.teardown()


def shown_table(run: Path, name: str) -> dict[str, Any]:
    [file] = (run / "files" / "media" / "table" / "table").glob(f"{name}_*.json")
    return json.loads(file.read_text())


def test_the_report_shows_what_the_table_shows(offline: None, tmp_path: Path) -> None:
    write_cells(tmp_path)
    assert wandb_report.main(["--out", str(tmp_path)]) == 0
    [run] = tmp_path.glob("wandb/offline-run-*")
    written = (tmp_path / "table.md").read_text()
    for name in ("published", "honest", "last_epoch"):
        content = shown_table(run, name)
        assert {line[0] for line in content["data"]} == set(PUBLISHED_ROWS.values())
        for _, source, *cells in content["data"]:
            assert source in ("here", "paper")
            assert any(
                [cell.strip() for cell in line.replace("**", "").split("|")[2:-1]] == [source, *cells]
                for line in written.splitlines()
            ), f"{source} {cells} is a line of table.md"
    assert len(shown_table(run, "published")["data"]) == 18
    assert len(shown_table(run, "claims")["data"]) == 9
    plain = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.replace("**", "").splitlines()]
    assert all(line in plain for line in shown_table(run, "claims")["data"])
    kept = json.loads(leet(run, "--summary"))
    means = spreads(selected(read_cells(tmp_path), "published", "best"), PUBLISHED_METRICS)
    for row, found in means.items():
        for name, spread in found.items():
            assert kept["summary"][f"{row}/published/{name}"] == spread.mean
    assert {"figures/table", "figures/curves", "table/values"} <= kept["summary"].keys()
    assert len(kept["config"]["cells"]) == 18
    assert kept["config"]["cells"][0]["git_revision"] == "f00"
    records = list(map(json.loads, leet(run).splitlines()))
    [about] = [record["run"] for record in records if record["type"] == "run"][:1]
    assert about["job_type"] == "report"
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    [whole] = [artifact for artifact in artifacts if artifact["type"] == "table"]
    assert {entry["path"] for entry in whole["manifest"]["contents"]} == set(wandb_report.FILES)
    # once more: the same run, and one of it
    wandb_report.publish(tmp_path)
    [again] = tmp_path.glob("wandb/offline-run-*")
    assert again != run
    assert again.name.rpartition("-")[2] == run.name.rpartition("-")[2]


def test_disabled_makes_pictures_and_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    write_cells(tmp_path)
    assert wandb_report.main(["--out", str(tmp_path)]) == 0
    assert not (tmp_path / "wandb").exists()
    assert all((tmp_path / name).exists() for name in wandb_report.FILES)


@pytest.mark.parametrize("mode", ["disabled", "onlin"])
def test_bad_input_is_one_line(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    if mode == "onlin":
        write_cells(tmp_path)
        shutil.rmtree(tmp_path / "m3")
    assert wandb_report.main(["--out", str(tmp_path)]) == 2
    said = "no finished cell" if mode == "disabled" else "WANDB_MODE is 'onlin'"
    assert said in capsys.readouterr().err
