"""Handwritten digits (scikit-learn's, 1,797 of 8 x 8 pixels) and two classifiers of them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from datamodules.run_data import RunData
from lightning_modules.note_module import NoteModule, check_positive
from lightning_modules.schedules import Constant, ParameterGroup


class Shuffled(Sampler[int]):
    """Another order each epoch, the same in a run that was resumed; Lightning tells the epoch."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        source = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        yield from torch.randperm(self.n, generator=source).tolist()


class Digits(RunData):
    """The digits, a share of them scored.

    Args:
        scored_share: how many are scored.
        batch_size: digits a batch.
        seed: of the order; the command line gives it the run's.
        name: what the data is called.
    """

    given_to_the_model = ("n_classes",)
    n_classes = 10

    def __init__(self, scored_share: float = 0.25, batch_size: int = 128, seed: int = 0, name: str = "digits") -> None:
        super().__init__()
        self.scored_share, self.batch_size, self.seed, self.name = scored_share, batch_size, seed, name
        digits = load_digits()
        self.x, self.y = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
        order = torch.randperm(len(self.y), generator=torch.Generator().manual_seed(0))
        self.scored, self.trained = order.tensor_split([round(scored_share * len(order))])

    @property
    def data_hash(self) -> str:
        """A hash of the pixels, the labels and the split."""
        return sha256(b"".join(part.numpy().tobytes() for part in (self.x, self.y, self.scored))).hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """The counts."""
        return {"n_digits": len(self.y), "n_scored": len(self.scored)}

    def train_dataloader(self) -> DataLoader:
        """The training digits."""
        return DataLoader(self._of(self.trained), self.batch_size, sampler=Shuffled(len(self.trained), self.seed))

    def val_dataloader(self) -> DataLoader:
        """The scored digits."""
        return DataLoader(self._of(self.scored), self.batch_size)

    test_dataloader = val_dataloader

    def _of(self, chosen: Tensor) -> TensorDataset:
        return TensorDataset(self.x[chosen], self.y[chosen])


class DigitClassifier(NoteModule):
    """A linear classifier, or one hidden layer.

    Args:
        n_classes: of the data; the command line takes it from there.
        hidden: width of the hidden layer; 0: none.
        learning_rate: of Adam.
    """

    def __init__(self, n_classes: int = 10, hidden: int = 0, learning_rate: float = 3e-3) -> None:
        super().__init__()
        check_positive(learning_rate=learning_rate)
        self.learning_rate = learning_rate
        hidden_layer = (nn.Linear(64, hidden), nn.ReLU()) if hidden else ()
        self.network = nn.Sequential(*hidden_layer, nn.Linear(hidden or 64, n_classes))
        self.right: list[Tensor] = []

    def _step(self, batch: Any, stage: str) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.network(x), y)
        self.terms_log.add(stage, {"loss/cross_entropy": loss, "loss/total": loss}, len(x))
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of the scored digits, by which the best checkpoint is chosen."""
        return self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Which digits are named right."""
        x, y = batch
        self.right.append(self.network(x).argmax(-1) == y)

    def on_test_epoch_end(self) -> None:
        """Log the score; what begins with ``honest/`` or ``published/`` goes into metrics.json."""
        self.log("honest/accuracy", 100 * torch.cat(self.right).float().mean())
        self.right.clear()

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters, at one learning rate."""
        return [ParameterGroup(list(self.parameters()), self.learning_rate, Constant())]
