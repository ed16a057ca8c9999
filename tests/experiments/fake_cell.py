"""Stands in for one `python -m experiments fit` in the tests of the grid: two epochs of a moment each."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

METRICS = ("pitch", "instrument", "combine", "acc", "pm", "fid_recon", "fid_rand", "cds")


def main() -> None:
    row, seed, run_dir = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    out = run_dir.parents[1]
    with (out / "ran.txt").open("a") as ran:
        ran.write(f"{row} {seed} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\n")
    if os.environ.get("FAKE_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("".join(f"line {number} of {row}\n" for number in range(30)), flush=True)
    if os.environ.get("FAKE_FAIL") == f"{row}:{seed}":
        sys.exit("it went wrong")
    log = "epoch,val/acc,train/loss/kl_c\n"
    for epoch in range(2):
        time.sleep(float(os.environ.get("FAKE_S", "0")))
        log += f"{epoch},{10 * epoch},\n"
        (run_dir / "metrics.csv").write_text(log)
    scores = dict.fromkeys(METRICS, 50.0 + seed)
    checkpoint = {"epoch": 1, "published": scores, "honest": scores}
    facts = {"row": row, "seed": seed, "grid_key": os.environ["PITCH_TIMBRE_GRID_KEY"], "epochs": 2, "wall_s": 1.0}
    content = {**facts, "threads": os.environ["OMP_NUM_THREADS"], "best": checkpoint, "last": checkpoint}
    (run_dir / "metrics.tmp").write_text(json.dumps(content))
    (run_dir / "metrics.tmp").replace(run_dir / "metrics.json")


if __name__ == "__main__":
    main()
