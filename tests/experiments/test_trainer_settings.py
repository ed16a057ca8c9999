"""Settings of the Trainer with which a run would have no scores are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.config_files import arranged
from experiments.paths import CONFIGS
from experiments.trainer_settings import check_trainer


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accumulate_grad_batches", 0),
        ("barebones", True),
        ("check_val_every_n_epoch", 9),
        ("check_val_every_n_epoch", None),
        ("devices", 2),
        ("enable_checkpointing", False),
        ("fast_dev_run", True),
        ("limit_test_batches", 0.5),
        ("limit_train_batches", 0),
        ("limit_val_batches", 0),
        ("max_epochs", 0),
        ("max_epochs", None),
        ("max_epochs", "x"),
        ("num_nodes", 2),
        ("overfit_batches", 1),
        ("precision", "bf16-true"),
        ("strategy", "ddp"),
        ("val_check_interval", 0.5),
    ],
)
def test_a_run_without_scores_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"trainer.{name} is {value}"):
        check_trainer({"max_epochs": 2, name: value})


@pytest.mark.parametrize("given", [{}, {"max_epochs": "3", "precision": "16-mixed", "devices": "1"}])
def test_what_a_run_can_use_is_taken(given: dict[str, Any]) -> None:
    check_trainer(given)


def test_files_and_arguments_are_checked_together() -> None:
    with pytest.raises(ValueError, match=r"trainer\.check_val_every_n_epoch is 3"):
        arranged(["--config", str(CONFIGS / "smoke.yaml"), "--trainer.check_val_every_n_epoch", "3"])
