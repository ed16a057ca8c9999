"""Settings of Lightning's Trainer with which a run would have no scores, or fail late: refused before it starts."""

from __future__ import annotations

from typing import Any

LARGEST_SEED = 2**32 - 1
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")


def check_seed(seed: Any) -> None:
    """Refuse a seed that torch and numpy do not take.

    Raises:
        ValueError: it is not a whole number in the range.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"seed_everything is {seed}; it must be a whole number from 0 to {LARGEST_SEED}")


def check_trainer(trainer: dict[str, Any]) -> None:
    """Refuse what a run of this project cannot be trained or scored with.

    Args:
        trainer: the Trainer's settings as plain values.

    Raises:
        ValueError: it names the setting.
    """

    def refuse(name: str, instead: str) -> None:
        raise ValueError(f"trainer.{name} is {trainer[name]}; {instead}")

    if str(trainer["devices"]) not in ("1", "auto", "[0]") or trainer["num_nodes"] != 1:
        refuse(
            "devices" if trainer["num_nodes"] == 1 else "num_nodes",
            "a run takes one device; a grid trains many runs at a time",
        )
    if trainer["strategy"] != "auto":
        refuse("strategy", "a run takes one device: leave it at auto")
    if str(trainer["precision"]) not in PRECISIONS:
        refuse("precision", "it must be 32-true, bf16-mixed or, on a GPU, 16-mixed")
    if trainer["fast_dev_run"]:
        refuse("fast_dev_run", "it keeps no checkpoint to score; use configs/smoke.yaml, or trainer.max_epochs: 1")
    if trainer["barebones"]:
        refuse("barebones", "it keeps no checkpoint to score")
    if trainer["enable_checkpointing"] is False:
        refuse("enable_checkpointing", "a run is scored at its best checkpoint")
    if trainer["overfit_batches"]:
        refuse("overfit_batches", "use data.max_notes to train on few notes")
    if trainer["max_epochs"] is None or trainer["max_epochs"] < 1:
        refuse("max_epochs", "it must be at least 1")
    if (
        trainer["check_val_every_n_epoch"] is None
        or not 1 <= trainer["check_val_every_n_epoch"] <= trainer["max_epochs"]
    ):
        refuse("check_val_every_n_epoch", f"it must lie between 1 and trainer.max_epochs ({trainer['max_epochs']})")
    for name in ("limit_val_batches", "limit_test_batches"):
        if trainer[name] not in (None, 1.0) or trainer[name] is True:
            refuse(name, "all notes are scored: leave it out")
    if trainer["limit_train_batches"] is not None and trainer["limit_train_batches"] <= 0:
        refuse("limit_train_batches", "it must be above 0")
    if trainer["val_check_interval"] not in (None, 1.0):
        refuse("val_check_interval", "a run is scored at the end of an epoch: use trainer.check_val_every_n_epoch")
    if trainer["accumulate_grad_batches"] < 1:
        refuse("accumulate_grad_batches", "it must be at least 1")
