"""What all models of this project share: an epoch's log, the optimiser, and checkpoints that say what they hold."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
from lightning.pytorch.utilities.parsing import collect_init_args
from torch import Tensor

from lightning_modules.checkpoint_file import build, data_state, read_file
from lightning_modules.schedules import Constant, ParameterGroup, Schedule
from lightning_modules.term_log import TermLog

MAY_BE_NAN = ("midi_offset", "calibration_agreement")
"""Buffers that are NaN until a model is calibrated."""


class NoteModule(L.LightningModule, ABC):
    """A model of notes whose terms are logged once an epoch, trained by Adam.

    Attributes:
        amsgrad: whether Adam is AMSGrad.
        terms_log: where a step adds its terms.
        arguments: of the constructor, as plain values.
        origin: where the weights come from, such as the row and the code's revision; the CLI sets it.
        data_settings: of a loaded model, what its frames were made with (:class:`datamodules.note_data.NoteData`).
    """

    amsgrad = False

    def __init__(self) -> None:
        super().__init__()
        frame = inspect.currentframe()
        assert frame is not None
        levels = collect_init_args(frame, [], classes=(NoteModule,))
        self.arguments = {name: plain(value) for level in levels for name, value in level.items()}
        self.origin: dict[str, Any] = {}
        self.data_settings: dict[str, Any] = {}
        self.terms_log = TermLog(self)

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """What is trained, and at which learning rates."""

    def on_train_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("train")

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's terms."""
        self.terms_log.flush("val")

    def configure_optimizers(self) -> Any:
        """Adam, with a scheduler where a learning rate changes."""
        groups = self.parameter_groups()
        try:
            clips = bool(self.trainer.gradient_clip_val)  # Lightning clips no gradients of a fused optimiser
        except RuntimeError:  # a bare loop has no trainer
            clips = False
        optimizer = torch.optim.Adam(
            [{"params": group.parameters, "lr": group.learning_rate} for group in groups],
            amsgrad=self.amsgrad,
            fused=not clips,
        )
        if all(isinstance(group.schedule, Constant) for group in groups):
            return optimizer
        steps, epochs = int(self.trainer.estimated_stepping_batches), max(1, self.trainer.max_epochs or 1)
        shares = [group.share_of(steps, epochs) for group in groups]
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, shares)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def description(self) -> dict[str, Any]:
        """The class, its arguments and where the weights come from, as plain values; `load` builds the model of it."""
        return {"class": type(self).__name__, "arguments": self.arguments, "origin": self.origin}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what the weights are of."""
        checkpoint["model"] = self.description()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another class, of other arguments or row, or whose weights do not fit.

        Raises:
            ValueError: it names what differs.
        """
        kept, own = checkpoint.get("model"), self.description()
        if not isinstance(kept, dict) or not isinstance(kept.get("arguments"), dict):
            raise ValueError("the checkpoint does not say which model it holds; train it again")
        if kept.get("class") != own["class"]:
            raise ValueError(f"the checkpoint holds a {kept.get('class')}, and this model is a {own['class']}")
        row, own_row = (of.get("origin", {}).get("row") for of in (kept, own))
        if row and own_row and row != own_row:
            raise ValueError(f"the checkpoint is of row {row}, and this run of row {own_row}")
        for name, value in own["arguments"].items():
            if (other := kept["arguments"].get(name)) != value:
                raise ValueError(f"the checkpoint was trained with model.{name} {_short(other)}, it is {_short(value)}")
        self.check_weights(checkpoint["state_dict"])

    def check_weights(self, state: dict[str, Any]) -> None:
        """Refuse weights of other names or shapes, or that are not finite.

        Raises:
            ValueError: it names the first.
        """
        expected = self.state_dict()
        if state.keys() != expected.keys():
            raise ValueError(f"the checkpoint's weights are others: {sorted(state.keys() ^ expected.keys())[0]}")
        for name, value in expected.items():
            found = state[name]
            if not isinstance(found, torch.Tensor) or found.shape != value.shape:
                raise ValueError(f"the checkpoint's {name} is not a tensor of shape {tuple(value.shape)}")
            if name not in MAY_BE_NAN and not found.isfinite().all():
                raise ValueError(f"the checkpoint's {name} is not finite")

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **_: Any) -> Self:  # type: ignore[override]
        """The model that a checkpoint holds, in evaluation mode, without gradients; no pickle of the file runs.

        Raises:
            ValueError: the file is damaged, is no checkpoint of this project, its weights are not those of its model,
                or the model is of another class.
            FileNotFoundError: there is no such file.
        """
        file, checkpoint = checkpoint_path, read_file(checkpoint_path)
        try:
            with torch.device("meta"):  # without memory: the arguments may ask for more than the machine has
                build(checkpoint["model"], NoteModule).check_weights(checkpoint["state_dict"])
            model = build(checkpoint["model"], NoteModule)
            model.load_state_dict(checkpoint["state_dict"])
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            raise ValueError(f"{file}: not a checkpoint of this project: {message}") from error
        if not isinstance(model, cls):
            raise ValueError(f"{file}: holds a {type(model).__name__}, not a {cls.__name__}")
        model.origin, model.data_settings = checkpoint["model"]["origin"], data_state(checkpoint)
        return model.eval().requires_grad_(False)


class ObjectiveModule(NoteModule):
    """A model of pitch and timbre whose loss is a weighted sum of named terms.

    Attributes:
        ELBO: the terms of the negative evidence lower bound.
        weights: how much each term counts; its fields have the terms' names.
        pitch_encoder: reads the pitch category of frames.
        learning_rate: of Adam, its peak.
        schedule: how the learning rate goes.
        midi_offset: 0-d, the MIDI pitch of category 0.
        calibration_agreement: 0-d, the share of the tones by which it was found that agree.
    """

    ELBO: tuple[str, ...] = ("reconstruction", "kl_z", "kl_c")
    weights: Any
    pitch_encoder: Any
    learning_rate: float
    schedule: Schedule
    midi_offset: Tensor
    calibration_agreement: Tensor

    @abstractmethod
    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], Any]:
        """The unweighted terms of a batch, and the latents of its notes; terms of weight 0 are absent."""

    def weighted_sum(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss: each term times its weight, once."""
        return torch.stack([getattr(self.weights, name) * term for name, term in terms.items()]).sum()

    def _step(self, batch: Any, stage: str) -> tuple[Tensor, Any]:
        terms, note = self.objective_terms(batch)
        loss = self.weighted_sum(terms)
        # The same in every row, whatever else is in its loss: this compares rows and weights without labels.
        negative_elbo = self.weighted_sum({name: terms[name] for name in self.ELBO if name in terms})
        logged = {
            f"loss/{name}": term for name, term in {**terms, "negative_elbo": negative_elbo, "total": loss}.items()
        }
        self.terms_log.add(stage, logged, len(batch.x))
        return loss, note

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """The loss of a batch, and the categories of its notes."""
        loss, note = self._step(batch, "train")
        return {"loss": loss, "category": note.category}

    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters, at the learning rate of the schedule."""
        return [ParameterGroup(list(self.parameters()), self.learning_rate, self.schedule)]

    @torch.no_grad()
    def calibrate(self, frames: Tensor, midi: Tensor) -> None:
        """Find the MIDI pitch of category 0: the commonest distance between tones and their most probable categories.

        Args:
            frames: (N, F) frames of tones whose pitch is known, such as synthetic ones.
            midi: (N,) their MIDI pitches.
        """
        offset, agreement = self.pitch_encoder.calibration(frames, midi)
        self.midi_offset.copy_(offset)
        self.calibration_agreement.copy_(agreement)


def plain(value: Any) -> Any:
    """An argument as the plain values that a configuration has for it: classes by name, with their arguments."""
    if isinstance(value, partial):
        cls = value.args[-1] if value.args else value.func  # jsonargparse's partial ends with the class
        return {"class_path": cls.__name__, "init_args": {name: plain(item) for name, item in value.keywords.items()}}
    if isinstance(value, type):
        return {"class_path": value.__name__, "init_args": {}}
    if isinstance(value, Schedule):
        return {"class_path": type(value).__name__, "init_args": dict(vars(value))}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, list | tuple) else value


def check_positive(**settings: float) -> None:
    """Refuse settings of a model that are not above 0, or not finite.

    Raises:
        ValueError: it names the setting.
    """
    for name, value in settings.items():
        if not 0 < value < inf:
            raise ValueError(f"model.{name} is {value}; it must be above 0, and finite")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
