"""Settings of Lightning's Trainer with which a run would have no scores, or fail late: refused before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

DEFAULTS: dict[str, Any] = {
    "accumulate_grad_batches": 1,
    "barebones": False,
    "check_val_every_n_epoch": 1,
    "devices": "auto",
    "enable_checkpointing": None,
    "fast_dev_run": False,
    "limit_test_batches": None,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "max_epochs": 1000,
    "num_nodes": 1,
    "overfit_batches": 0,
    "precision": "32-true",
    "strategy": "auto",
    "val_check_interval": None,
}
"""Of the Trainer, for what is checked here."""

PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")


def check_trainer(given: Mapping[str, Any]) -> None:
    """Refuse what a run of this project cannot be trained or scored with.

    Args:
        given: the Trainer's settings, as values or as texts of YAML.

    Raises:
        ValueError: it names the setting.
    """
    trainer = DEFAULTS | {name: yaml.safe_load(v) if isinstance(v, str) else v for name, v in given.items()}

    def refuse(name: str, instead: str) -> None:
        raise ValueError(f"trainer.{name} is {trainer[name]}; {instead}")

    def number(name: str) -> float:
        value = trainer[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(name, "it must be a number")
        return float(value)

    one_device = "a run takes one device; a grid trains many runs at a time"
    if str(trainer["devices"]) not in ("1", "auto", "[0]"):
        refuse("devices", one_device)
    if trainer["num_nodes"] != 1:
        refuse("num_nodes", one_device)
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
    if trainer["max_epochs"] is None or number("max_epochs") < 1:
        refuse("max_epochs", "it must be at least 1")
    if not 1 <= number("check_val_every_n_epoch") <= trainer["max_epochs"]:
        refuse("check_val_every_n_epoch", f"it must lie between 1 and trainer.max_epochs ({trainer['max_epochs']})")
    for name in ("limit_val_batches", "limit_test_batches"):
        if trainer[name] not in (None, 1.0) or trainer[name] is True:
            refuse(name, "all notes are scored: leave it out")
    if trainer["limit_train_batches"] is not None and number("limit_train_batches") <= 0:
        refuse("limit_train_batches", "it must be above 0")
    if trainer["val_check_interval"] not in (None, 1.0):
        refuse("val_check_interval", "a run is scored at the end of an epoch: use trainer.check_val_every_n_epoch")
    if number("accumulate_grad_batches") < 1:
        refuse("accumulate_grad_batches", "it must be at least 1")
