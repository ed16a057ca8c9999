"""How much a linear classifier reads from the latents: the probes of the timbre space."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

MOST_ITERATIONS = 10_000


def linear_reader(inputs: ArrayLike, labels: ArrayLike) -> Pipeline:
    """Fit a logistic regression of standardised inputs until it converges.

    Its loss (cross-entropy plus half the squared weights) has one minimum: no seed and no epoch is chosen.

    Args:
        inputs: (N, D), such as posterior means of z.
        labels: (N,).

    Returns:
        a fitted pipeline; it reads the only class where there is one alone.
    """
    many = len(np.unique(np.asarray(labels))) > 1
    classifier = LogisticRegression(C=1.0, max_iter=MOST_ITERATIONS) if many else DummyClassifier()
    return make_pipeline(StandardScaler(), classifier).fit(np.asarray(inputs, np.float64), np.asarray(labels))


def linearly_read(latents: Tensor, labels: Tensor, fit_latents: Tensor, fit_labels: Tensor) -> NDArray[np.bool_]:
    """Which of the scored notes a converged logistic regression of the fit notes reads right.

    Args:
        latents: the scored notes' posterior means (N, L).
        labels: the scored notes' labels (N,), integers from 0.
        fit_latents: the posterior means (M, L) of the notes to fit on.
        fit_labels: their labels (M,), integers from 0.

    Returns:
        (N,) bool.

    Raises:
        ValueError: shapes or types that do not fit, or latents that are not finite.
    """
    x, y, fit_x, fit_y = _checked(latents, labels, fit_latents, fit_labels)
    return np.asarray(linear_reader(fit_x.numpy(), fit_y.numpy()).predict(x.numpy()) == y.numpy())


def probed_correctly(
    latents: Tensor,
    labels: Tensor,
    fit_latents: Tensor,
    fit_labels: Tensor,
    n_classes: int | None = None,
    *,
    seed: int = 0,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    max_epochs: int = 1000,
    patience: int = 30,
) -> Tensor:
    """Which of the scored notes the published linear probe reads right.

    The probe is one affine layer under softmax cross-entropy, trained by Adam on the fit notes. Training stops after
    ``patience`` epochs without a better accuracy on the scored notes, and the best epoch on these is reported:
    :func:`linearly_read` chooses nothing on them.

    Runs on the CPU in float32, with random numbers of its own: no global generator is read or changed, and gradients
    need not be enabled.

    Args:
        latents: the scored notes' posterior means (N, L).
        labels: the scored notes' labels (N,), integers from 0.
        fit_latents: the posterior means (M, L) of the notes to train on.
        fit_labels: their labels (M,), integers from 0.
        n_classes: how many labels there are; by default one more than the highest.
        seed: of the initial weights and the order of the notes.
        batch_size: notes a step.
        learning_rate: Adam's.
        max_epochs: when to stop at the latest.
        patience: epochs without improvement before stopping.

    Returns:
        (N,) bool; its mean is the probe's accuracy.

    Raises:
        ValueError: shapes, types or ranges that do not fit.

    Source:
        Luo et al., ISMIR 2020, with their code's settings; linear probes: Alain and Bengio, "Understanding
        intermediate layers using linear classifier probes", 2016.

    Example:
        >>> latents, labels = torch.tensor([[-1.0], [1.0]]).repeat(20, 1), torch.tensor([0, 1]).repeat(20)
        >>> float(probed_correctly(latents, labels, latents, labels).float().mean())
        1.0
    """
    x, y, fit_x, fit_y = _checked(latents, labels, fit_latents, fit_labels)
    x, fit_x = (torch.cat([each, each.new_ones(len(each), 1)], dim=1) for each in (x, fit_x))
    highest = int(max(y.max(), fit_y.max()))
    if n_classes is None:
        n_classes = highest + 1
    elif n_classes <= highest:
        raise ValueError(f"n_classes is {n_classes} but a label is {highest}; give at least {highest + 1}")
    for name, value in (("batch_size", batch_size), ("max_epochs", max_epochs), ("patience", patience)):
        if value < 1:
            raise ValueError(f"{name} is {value}; give at least 1")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate is {learning_rate}; give more than 0")

    generator = torch.Generator().manual_seed(seed)
    best, waited = -1.0, 0
    scored = torch.zeros_like(y, dtype=torch.bool)
    for weight in _epochs(fit_x, fit_y, n_classes, batch_size, learning_rate, max_epochs, generator):
        chosen = (x @ weight).argmax(-1) == y
        accuracy = float(chosen.double().mean())
        waited += 1
        if accuracy > best:
            best, waited, scored = accuracy, 0, chosen
        if waited == patience:
            break
    return scored


def _checked(latents: Tensor, labels: Tensor, fit_latents: Tensor, fit_labels: Tensor) -> tuple[Tensor, ...]:
    """The four as float32 latents and int64 labels, on the CPU."""
    x, y = _checked_pair("latents", latents, "labels", labels)
    fit_x, fit_y = _checked_pair("fit_latents", fit_latents, "fit_labels", fit_labels)
    if x.shape[1] != fit_x.shape[1]:
        widths = f"{x.shape[1]} and {fit_x.shape[1]}"
        raise ValueError(f"latents and fit_latents have {widths} columns; take both from the same encoder")
    return x, y, fit_x, fit_y


def _checked_pair(name_x: str, x: Tensor, name_y: str, y: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (N, L), float32, and labels (N,), int64, both on the CPU."""
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name_x} has shape {tuple(x.shape)}; give (N, L) with at least one note")
    if not x.isfinite().all():
        raise ValueError(f"{name_x} has {int((~x.isfinite()).sum())} values that are NaN or infinite; drop these notes")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{name_y} has type {y.dtype}; give integers")
    if y.shape != x.shape[:1]:
        raise ValueError(f"{name_y} has shape {tuple(y.shape)}; give ({len(x)},), one label for each row of {name_x}")
    if int(y.min()) < 0:
        raise ValueError(f"{name_y} has {int(y.min())}; give labels from 0")
    return x.detach().float().cpu(), y.cpu().long()


@torch.inference_mode()
def _epochs(
    x: Tensor,
    y: Tensor,
    n_classes: int,
    batch_size: int,
    learning_rate: float,
    max_epochs: int,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Train on (x, y) and yield the weights (L + 1, n_classes), bias in the last row, after each epoch.

    The gradient of the cross-entropy is written out, x^T (softmax(x w) - onehot(y)) / B: for a layer this small,
    autograd would cost more than the arithmetic, and it is not to be had in a test loop.
    """
    bound = (x.shape[1] - 1) ** -0.5  # torch.nn.Linear's, for weight and bias
    weight = torch.empty(x.shape[1], n_classes).uniform_(-bound, bound, generator=generator)
    optimizer = torch.optim.Adam([weight], lr=learning_rate, fused=True)
    one_hot = torch.nn.functional.one_hot(y, n_classes).float()
    for _ in range(max_epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch, target in zip(x[order].split(batch_size), one_hot[order].split(batch_size), strict=True):
            residual = torch.softmax(batch @ weight, dim=-1).sub_(target)
            weight.grad = (batch.T @ residual).div_(len(batch))
            optimizer.step()
        yield weight
