"""Accuracy of pitch categories that carry no names: after mapping each category to a pitch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

_Labels = NDArray[np.int64]


def matched_accuracy(
    categories: Tensor, pitches: Tensor, fit_categories: Tensor | None = None, fit_pitches: Tensor | None = None
) -> float:
    """Accuracy (ACC) after the best one-to-one matching of categories to pitches.

    Without the fit arguments the matching is fitted on the notes that it scores, as published; random categories of the
    table's 177 notes then score about 35 %. With them it is fitted on other notes, and a category left unmatched there
    counts as wrong.

    Args:
        categories: the scored notes' categories (N,), any integers.
        pitches: the scored notes' true pitches (N,), any integers.
        fit_categories: categories (M,) of the notes that the matching is fitted on.
        fit_pitches: true pitches (M,) of the notes that the matching is fitted on.

    Returns:
        The accuracy, a float in [0, 1].

    Raises:
        ValueError: a label is not an integer, lengths differ, there are no notes, or only one fit argument is given.

    Source:
        Luo et al., ISMIR 2020; Xie et al., "Unsupervised Deep Embedding for Clustering Analysis", ICML 2016,
        eq. 10. The matching is Kuhn's Hungarian method (1955).

    Example:
        >>> matched_accuracy(torch.tensor([7, 7, 3, 3]), torch.tensor([60, 60, 61, 60]))
        0.75
    """
    return float(matched_correctly(categories, pitches, fit_categories, fit_pitches).mean())


def matched_correctly(
    categories: Tensor, pitches: Tensor, fit_categories: Tensor | None = None, fit_pitches: Tensor | None = None
) -> NDArray[np.bool_]:
    """Which of the scored notes :func:`matched_accuracy` counts as right, (N,); its arguments and errors."""
    scored, fitted = _checked(categories, pitches, fit_categories, fit_pitches)
    return _correctly(*scored, *_matching(*fitted))


def best_matching(categories: Tensor, pitches: Tensor) -> dict[int, int]:
    """Category -> pitch by the one-to-one matching that :func:`matched_accuracy` fits; unmatched categories are absent.

    Example:
        >>> best_matching(torch.tensor([7, 7, 3, 3, 4]), torch.tensor([60, 60, 61, 60, 60]))
        {3: 61, 7: 60}
    """
    matching = _matching(*_pair("categories", categories, "pitches", pitches))
    return dict(zip(*(labels.tolist() for labels in matching), strict=True))


def _matching(categories: _Labels, pitches: _Labels) -> tuple[_Labels, _Labels]:
    """The matched categories, ascending, and their pitches."""
    table, known_categories, known_pitches = _contingency(categories, pitches)
    rows, columns = linear_sum_assignment(table, maximize=True)
    # The assignment fills its rows with pairs that no note supports: those are not matches.
    supported = table[rows, columns] > 0
    return known_categories[rows[supported]], known_pitches[columns[supported]]


def mapped_accuracy(
    categories: Tensor, pitches: Tensor, fit_categories: Tensor | None = None, fit_pitches: Tensor | None = None
) -> float:
    """Accuracy (PM) after mapping each category to the most frequent true pitch in it; many may map to one pitch.

    Without the fit arguments the mapping is fitted on the notes that it scores, as published; random categories of the
    table's 177 notes then score about 43 %. With them it is fitted on other notes, and a category unseen there counts
    as wrong. Of equally frequent pitches the lowest is taken.

    Args:
        categories: the scored notes' categories (N,), any integers.
        pitches: the scored notes' true pitches (N,), any integers.
        fit_categories: categories (M,) of the notes that the mapping is fitted on.
        fit_pitches: true pitches (M,) of the notes that the mapping is fitted on.

    Returns:
        The accuracy, a float in [0, 1]: fitted on the scored notes it is the clustering's purity.

    Raises:
        ValueError: a label is not an integer, lengths differ, there are no notes, or only one fit argument is given.

    Source:
        Luo et al., ISMIR 2020; purity in Manning et al., "Introduction to Information Retrieval", 2008,
        eq. 16.1.

    Example:
        >>> mapped_accuracy(torch.tensor([7, 7, 3, 3]), torch.tensor([60, 60, 61, 60]))  # 3 holds 60 and 61: takes 60
        0.75
    """
    return float(mapped_correctly(categories, pitches, fit_categories, fit_pitches).mean())


def mapped_correctly(
    categories: Tensor, pitches: Tensor, fit_categories: Tensor | None = None, fit_pitches: Tensor | None = None
) -> NDArray[np.bool_]:
    """Which of the scored notes :func:`mapped_accuracy` counts as right, (N,); its arguments and errors."""
    scored, fitted = _checked(categories, pitches, fit_categories, fit_pitches)
    table, known_categories, known_pitches = _contingency(*fitted)
    # Pitches ascend along the columns and argmax takes the first: the lowest of equally frequent ones.
    return _correctly(*scored, known_categories, known_pitches[table.argmax(1)])


def commonest_pitches(categories: Tensor, pitches: Tensor, n_categories: int) -> Tensor:
    """The most frequent pitch of each category, (n_categories,), as :func:`mapped_accuracy` maps them; -1 for none.

    Example:
        >>> commonest_pitches(torch.tensor([0, 0, 0, 2]), torch.tensor([5, 7, 7, 3]), 3).tolist()
        [7, -1, 3]
    """
    table, known_categories, known_pitches = _contingency(*_pair("categories", categories, "pitches", pitches))
    found = torch.full((n_categories,), -1)
    found[torch.from_numpy(known_categories)] = torch.from_numpy(known_pitches[table.argmax(1)])
    return found


def _checked(
    categories: Tensor, pitches: Tensor, fit_categories: Tensor | None, fit_pitches: Tensor | None
) -> tuple[tuple[_Labels, _Labels], tuple[_Labels, _Labels]]:
    """The scored labels, and the labels to fit on: the same ones if no others are given."""
    scored = _pair("categories", categories, "pitches", pitches)
    if fit_categories is None and fit_pitches is None:
        return scored, scored
    if fit_categories is None or fit_pitches is None:
        missing = "fit_categories" if fit_categories is None else "fit_pitches"
        raise ValueError(f"{missing} is None but the other is given; give both, or neither to fit on the scored notes")
    return scored, _pair("fit_categories", fit_categories, "fit_pitches", fit_pitches)


def _pair(name_a: str, a: Tensor, name_b: str, b: Tensor) -> tuple[_Labels, _Labels]:
    for name, labels in ((name_a, a), (name_b, b)):
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise ValueError(f"{name} has type {labels.dtype}; give integers")
        if labels.ndim != 1 or not len(labels):
            raise ValueError(f"{name} has shape {tuple(labels.shape)}; give (N,) with at least one note")
    if len(a) != len(b):
        raise ValueError(f"{name_a} and {name_b} have lengths {len(a)} and {len(b)}; give one of each for each note")
    return a.cpu().long().numpy(), b.cpu().long().numpy()


def _contingency(categories: _Labels, pitches: _Labels) -> tuple[_Labels, _Labels, _Labels]:
    """Counts (categories, pitches) and the labels of the rows and of the columns, ascending."""
    row_labels, row = np.unique(categories, return_inverse=True)
    column_labels, column = np.unique(pitches, return_inverse=True)
    table = np.zeros((len(row_labels), len(column_labels)), dtype=np.int64)
    np.add.at(table, (row, column), 1)
    return table, row_labels, column_labels


def _correctly(categories: _Labels, pitches: _Labels, known: _Labels, mapped: _Labels) -> NDArray[np.bool_]:
    """Which notes' category is known (ascending labels) and mapped to the note's pitch."""
    # A place past the end is a category above all known ones: the clip makes it compare unequal instead.
    place = np.searchsorted(known, categories).clip(max=len(known) - 1)
    found: NDArray[np.bool_] = (known[place] == categories) & (mapped[place] == pitches)
    return found
