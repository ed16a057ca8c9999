"""Each command that README and docs show is one that the project takes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from examples.minimal.__main__ import main as example
from experiments.__main__ import main
from experiments.grid.keys import check_rows
from experiments.grid.settings import check, parse
from experiments.known_settings import ALLOW_CLASSES
from experiments.reporting import columns
from pitch_timbre import cli as small_package

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
COMMANDS = [
    line.strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S)
    for line in block.splitlines()
    if line.strip()
]

READ_FINISHED_RUNS = ("report", "bench", "table", "baselines", "robustness", "timbre", "export")
OTHERS = ("grid", "doctor", "rejection-rates", *READ_FINISHED_RUNS)
SMALL_COMMANDS = re.findall(r"^(?:\$ )?(pitch-timbre [^\n#]+)", TEXT, re.M)


def commands(*beginnings: str) -> list[str]:
    return [command for command in COMMANDS if command.startswith(beginnings)]


def test_every_command_is_covered_here() -> None:
    rest = set(COMMANDS) - set(
        commands(
            "make ", "lightning ", "python -m examples.minimal ", *(f"python -m experiments {name} " for name in OTHERS)
        )
    )
    assert rest == {"source .venv/bin/activate"}


def test_the_two_commands_come_first() -> None:
    assert COMMANDS[:2] == ["make reproduce-table", "make test"]


@pytest.mark.parametrize("command", commands("make "))
def test_make_knows_its_targets_and_variables(command: str) -> None:
    words = shlex.split(command)
    plan = subprocess.run(
        ["make", "--dry-run", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for variable in re.findall(r"(?:SEEDS|EPOCHS|JOBS|OUT|DATA)=(\S+)", command):
        assert variable in plan


@pytest.mark.parametrize("command", commands("lightning "))
def test_lightning_takes_the_arguments(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    if not all((ROOT / word).exists() for word in words if word.startswith("configs/")):
        assert "configs/mine.yaml" in words  # the row that the recipe adds
        return
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main(words if "--settings" in words else [*words, "--print_config"])
    assert ended.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("command", commands("python -m experiments grid "))
def test_the_grid_takes_the_arguments(command: str, tmp_path: Path) -> None:
    settings = parse([*shlex.split(command)[4:], "--out", str(tmp_path)])
    check(settings)
    check_rows(settings)
    assert (settings.rows, settings.seeds, settings.index) == (("b", "m6"), 5, 3)


@pytest.mark.parametrize("command", commands("python -m experiments doctor "))
def test_the_doctor_takes_the_arguments(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All but the folder, which is the reader's own: the doctor names it."""
    monkeypatch.chdir(ROOT)
    words = [word.replace("~/", f"{tmp_path}/") for word in shlex.split(command)[3:]]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "samples" in capsys.readouterr().err


@pytest.mark.parametrize("command", commands(*(f"python -m experiments {name} " for name in READ_FINISHED_RUNS)))
def test_what_reads_finished_runs_takes_the_arguments(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All but the folder, which is not there yet: it is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = shlex.split(command)[3:]
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(words))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert any(word in told for word in words if word.startswith("runs/"))


@pytest.mark.parametrize("command", commands("python -m experiments rejection-rates "))
def test_rejection_rates_are_printed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    *words, trials = shlex.split(command)[3:]
    assert words == ["rejection-rates", "--trials"]
    assert int(trials) > 0
    assert main([*words, "2"]) == 0
    assert "one split, seeds alike" in capsys.readouterr().out


@pytest.mark.parametrize("command", commands("python -m examples.minimal fit "))
def test_the_example_takes_the_arguments(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(ALLOW_CLASSES, "")
    with pytest.raises(SystemExit) as ended:
        example([*shlex.split(command)[3:], "--print_config"])
    assert ended.value.code in (0, None), capsys.readouterr().err


@pytest.mark.parametrize("command", SMALL_COMMANDS)
def test_the_small_package_takes_the_arguments(command: str) -> None:
    words = shlex.split(command)[1:]
    assert small_package._parser().parse_args(words).command == words[0]


def test_a_row_of_a_package_of_ones_own_is_taken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The files that the page shows, and its command."""
    page = (ROOT / "docs" / "extend.md").read_text()
    for language, name in re.findall(r"```(python|yaml)\n# (\S+)\n", page):
        content = re.search(rf"```{language}\n# {name}\n(.*?)```", page, re.S)
        assert content is not None
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content[1].replace("/path/to/pitch-timbre", str(ROOT)))
    command = re.search(r"^lightning (.*my_rows.*)$", page, re.M)
    assert command is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [*shlex.split(command[1]), "--print_config"]
    for allowed, status in (("", 2), ("my_lab", 0)):
        monkeypatch.setenv(ALLOW_CLASSES, allowed)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert (ended.value.code or 0) == status
    assert "sparsity: 0.1" in capsys.readouterr().out


def test_every_column_of_the_tables_is_explained() -> None:
    glossary = (ROOT / "docs" / "metrics.md").read_text().split("## Timbre")[0]
    for metric in (*columns.PUBLISHED_METRICS, columns.NMI, *columns.HONEST_METRICS, *columns.HONEST_GENERATION):
        assert re.search(rf"^\|[^|]*\b{re.escape(metric.label)}(?!\w)", glossary, re.M), metric.label


def test_readme_is_read_in_a_minute() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_folder_and_file_that_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:configs|datamodules|lightning_modules|tests)/[\w./]*)`", TEXT):
        assert (ROOT / name).exists() or name == "configs/mine.yaml", name
