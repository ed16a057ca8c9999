from __future__ import annotations

import torch

from callbacks.epoch_seed import EpochSeed
from tests.callbacks.stand_ins import at_epoch


def test_noise_is_a_function_of_seed_and_epoch() -> None:
    def noise(seed: int, epoch: int) -> float:
        EpochSeed(seed).on_train_batch_start(at_epoch(epoch), None, None, 0)  # type: ignore[arg-type]
        return float(torch.rand(()))

    assert noise(0, 5) == noise(0, 5)
    assert len({noise(seed, epoch) for seed in range(3) for epoch in range(20)}) == 60
    EpochSeed(0).on_train_batch_start(at_epoch(5), None, None, 0)  # type: ignore[arg-type]
    first = float(torch.rand(()))
    EpochSeed(0).on_train_batch_start(at_epoch(5), None, None, 1)  # type: ignore[arg-type]
    assert float(torch.rand(())) != first, "steps of one epoch have different noise"
