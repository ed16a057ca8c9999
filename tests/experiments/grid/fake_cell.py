"""Stands in for the command line in the tests of the grid: epochs of a moment each, with a checkpoint after each.

What an epoch makes depends on all epochs before, so that one that is lost, or run twice, shows in the scores.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from hashlib import sha256
from pathlib import Path

METRICS = ("pitch", "instrument", "combine", "acc", "pm", "fid_recon", "fid_rand", "cds")


def setting(name: str, default: str = "") -> str:
    return os.environ.get(f"FAKE_{name}", default)


def fit(words: list[str]) -> None:
    given = dict(zip(words[1::2], words[2::2], strict=True))
    row, seed, run_dir = Path(given["--config"]).stem, int(given["--seed_everything"]), Path(given["--run_dir"])
    with (run_dir / "fake").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(run_dir, "overlaps.txt", row, seed)
        work(row, seed, run_dir, int(given.get("--trainer.max_epochs", "2")))


def say(run_dir: Path, file: str, *what: object) -> None:
    with (run_dir.parents[1] / file).open("a") as told:
        told.write(" ".join(map(str, what)) + "\n")


def work(row: str, seed: int, run_dir: Path, epochs: int) -> None:
    say(run_dir, "ran.txt", row, seed, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), os.getppid())
    if setting("STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("".join(f"line {number} of {row}\n" for number in range(30)), flush=True)
    if setting("FAIL") == f"{row}:{seed}":
        sys.exit("it went wrong")
    lost = run_dir / "lost"
    if setting("LOSE") == f"{row}:{seed}" and not lost.exists():
        lost.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    done, state = 0, f"{row} {seed}"
    checkpoint = run_dir / "checkpoint.json"
    if checkpoint.exists():
        done, state = json.loads(checkpoint.read_text())
        print(f"going on from epoch {done}", flush=True)
    for epoch in range(done, epochs):
        time.sleep(float(setting("S", "0")))
        state = sha256(f"{state} {epoch}".encode()).hexdigest()
        replace(checkpoint, json.dumps([epoch + 1, state]))
        log = "".join(f"{past},{10 * past},\n" for past in range(epoch + 1))
        replace(run_dir / "metrics.csv", "epoch,val/acc,train/loss/kl_c\n" + log)
    score = 50.0 + seed if not setting("CHAINED") else int(state[:6], 16) / 1000
    scores = dict.fromkeys(METRICS, score)
    at = {"epoch": epochs - 1, "published": scores, "honest": scores}
    facts = {"row": row, "seed": seed, "grid_key": os.environ["PITCH_TIMBRE_GRID_KEY"], "epochs": epochs, "wall_s": 1.0}
    fold = run_dir.name.partition("_fold_")[2]
    facts |= {"fold": int(fold)} if fold else {}
    facts |= {"data": "notes", "data_hash": content(), "train_s": 0.5}
    replace(
        run_dir / "metrics.json",
        json.dumps({**facts, "threads": os.environ["OMP_NUM_THREADS"], "best": at, "last": at}),
    )
    say(run_dir, "ended.txt", row, seed)


def replace(file: Path, text: str) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(file)


def content() -> str:
    """What the notes hold."""
    notes = Path(setting("NOTES", "nowhere"))
    return notes.read_text() if notes.exists() else "no notes"


def prepare(words: list[str]) -> str:
    if setting("BROKEN"):
        sys.exit("no notes")
    if "--data.split.fold" not in words or setting("ONE_SPLIT"):
        return content()
    return content() + words[words.index("--data.split.fold") + 1]


def server(words: list[str]) -> dict[str, object]:
    """What the process is like that this one was forked from."""
    torch = sys.modules["torch"]
    return {
        "threads": len(os.listdir(f"/proc/{os.getppid()}/task")),
        "cuda": torch.cuda.is_initialized(),
        "torch_threads": torch.get_num_threads(),
        "preloaded": {"lightning", "callbacks.wandb_run", "metrics.frechet"} <= set(sys.modules),
        "wandb": "wandb" in sys.modules,
        "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
    }
