from __future__ import annotations

from math import exp
from types import SimpleNamespace

import pytest
import torch

from callbacks.temperature import TemperatureAnnealing
from tests.callbacks.stand_ins import at_epoch


@pytest.mark.parametrize(("epoch", "expected"), [(0, 1.0), (100, exp(-0.346)), (1000, 0.5)])
def test_the_temperature_is_annealed(epoch: int, expected: float) -> None:
    module = SimpleNamespace(temperature=torch.tensor(7.0))
    TemperatureAnnealing().on_train_epoch_start(at_epoch(epoch), module)
    assert float(module.temperature) == pytest.approx(expected)
