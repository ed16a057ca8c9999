"""The separately trained classifiers, whose features and posteriors the generation metrics are computed in."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.checkpoint_file import read_file
from lightning_modules.networks import mlp
from lightning_modules.note_module import NoteModule, check_positive
from lightning_modules.schedules import ParameterGroup


class Evaluator(NoteModule):
    """A classifier that measures are computed with: trained once for some data, from true labels, and kept.

    Attributes:
        label: which label it learns.
        learning_rate: of Adam.
    """

    label: Literal["pitch", "instrument"]
    learning_rate: float

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters, at one learning rate."""
        return [ParameterGroup(list(self.parameters()), self.learning_rate)]

    @classmethod
    def load(cls, file: Path, data_hash: str, label: str) -> Self:
        """Read a kept classifier of this data, in evaluation mode.

        Raises:
            ValueError: the file is no such checkpoint, or of other data, or of the other label.
        """
        try:
            kept = read_file(file)
            with torch.device("meta"):  # without memory: the arguments may ask for more than the machine has
                cls(**kept["arguments"]).check_weights(kept["state_dict"])
            classifier = cls(**kept["arguments"])
            classifier.load_state_dict(kept["state_dict"])
        except Exception as error:
            raise ValueError(
                f"{file}: not a classifier checkpoint ({type(error).__name__}); delete it to train a new one"
            ) from error
        if (found := (kept.get("data_hash"), classifier.label)) != (data_hash, label):
            raise ValueError(
                f"{file}: trained on other data or labels {found}, not {(data_hash, label)}; "
                "delete it to train a new one"
            )
        return classifier.eval().requires_grad_(False)

    def fingerprint(self) -> str:
        """A hash of all weights: whether two runs were judged by the same classifier."""
        digest = sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def kept(self, data_hash: str) -> dict[str, Any]:
        """What a file holds that :meth:`load` reads."""
        return {"arguments": self.arguments, "data_hash": data_hash, "state_dict": self.state_dict()}


def _relu_layers(n_mels: int, width: int) -> nn.Sequential:
    """Three layers of ReLU, without normalisation: (B, F) to (B, width)."""
    sizes = [(n_mels, width), (width, width), (width, width)]
    return nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())))


def _convolutions(n_mels: int, width: int) -> nn.Sequential:
    """Three convolutions along the bands, each of half as many places, and a layer: (B, F) to (B, width)."""
    channels, places = (1, 16, 32, 32), -(-n_mels // 8)
    convolved = [
        layer
        for before, after in pairwise(channels)
        for layer in (nn.Conv1d(before, after, kernel_size=9, stride=2, padding=4), nn.ReLU())
    ]
    end = (nn.Flatten(), nn.Linear(channels[-1] * places, width), nn.ReLU())
    return nn.Sequential(nn.Unflatten(1, (1, n_mels)), *convolved, *end)


_BODIES: dict[str, Callable[[int, int], nn.Sequential]] = {
    "published": mlp,
    "relu": _relu_layers,
    "conv": _convolutions,
}


class NoteClassifier(Evaluator):
    """A frame's pitch or instrument, from true labels.

    Args:
        label: which label is learned.
        architecture: ``published``: three layers of tanh and batch normalisation; ``relu``: three layers without
            normalisation; ``conv``: three convolutions along the bands.
        n_pitches: K; the CLI takes it from the data.
        n_instruments: how many instruments; the CLI takes it from the data.
        n_mels: F; the CLI takes it from the data.
        width: features of each layer; the last hidden layer's are the features of the Frechet distance.
        learning_rate: of Adam.
    """

    def __init__(
        self,
        label: Literal["pitch", "instrument"],
        n_pitches: int = 82,
        n_instruments: int = 12,
        n_mels: int = 256,
        width: int = 512,
        learning_rate: float = 1e-3,
        architecture: Literal["published", "relu", "conv"] = "published",
    ) -> None:
        super().__init__()
        self.label, self.learning_rate = label, learning_rate
        check_positive(n_pitches=n_pitches, n_instruments=n_instruments, n_mels=n_mels, width=width)
        check_positive(learning_rate=learning_rate)
        self.body = _BODIES[architecture](n_mels, width)
        self.head = nn.Linear(width, n_pitches if label == "pitch" else n_instruments)

    def features(self, x: Tensor) -> Tensor:
        """(B, F) frames to the last hidden layer, (B, width)."""
        return self.body(x)

    def posterior(self, x: Tensor) -> Tensor:
        """(B, F) frames to class probabilities, (B, classes), float32."""
        return self.head(self.body(x)).float().softmax(-1)

    def _step(self, batch: Any, stage: str) -> Tensor:
        logits = self.head(self.body(batch.x)).float()
        truth = getattr(batch, self.label)
        loss = F.cross_entropy(logits, truth)
        accuracy = 100 * (logits.argmax(-1) == truth).float().mean()
        self.terms_log.add(stage, {"loss/total": loss, "accuracy": accuracy}, len(batch.x))
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Cross-entropy and accuracy (%) of the scored notes."""
        self._step(batch, "val")
