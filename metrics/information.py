"""How much information categories and timbres hold of the pitch."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import entropy
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score
from torch import Tensor


def normalised_mutual_information(categories: Tensor, pitches: Tensor) -> float:
    """Mutual information of categories and pitches (N,) over the mean of their entropies, 0 to 1 (scikit-learn's).

    No mapping is fitted, but with many categories and few notes it is far from 0 for random ones.
    """
    return float(normalized_mutual_info_score(pitches.cpu().numpy(), categories.cpu().numpy()))


def pitch_information_gap(categories: Tensor, latents: Tensor, pitches: Tensor) -> float | None:
    """How much more of the pitch is in the category than in the best single dimension of z, over the pitch's entropy.

    The mutual information gap (MIG) for the factor that has a latent of its own. The instrument has none: it is spread
    over the dimensions of z, so that a gap between them, and SAP's or DCI's, would say nothing.

    Args:
        categories: (N,) integers.
        latents: (N, L) posterior means.
        pitches: (N,) integers.

    Returns:
        At most 1; negative where a dimension of z says more. ``None`` where no two notes share a pitch, or all do: the
        estimate looks for a note's nearest neighbours of its own pitch, among those of others.

    Source:
        Chen et al., "Isolating Sources of Disentanglement in Variational Autoencoders", NeurIPS 2018, eq. 6. Continuous
        dimensions by the nearest-neighbour estimate of Ross, "Mutual Information between Discrete and Continuous Data
        Sets", PLoS ONE 9(2), 2014 (scikit-learn's).
    """
    truth = pitches.cpu().numpy()
    _, counts = np.unique(truth, return_counts=True)
    if counts.max() < 2 or len(counts) < 2:
        return None
    in_category = mutual_info_score(truth, categories.cpu().numpy())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")  # few notes of a pitch
        in_dimensions = mutual_info_classif(latents.cpu().numpy(), truth, discrete_features=False, random_state=0)
    return float((in_category - in_dimensions.max()) / entropy(counts))
