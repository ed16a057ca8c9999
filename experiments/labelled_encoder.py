"""The ceiling of the measures of timbre: a code of the size of z, learned with the instruments' labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

NAME = "with instrument labels (ceiling)"
HIDDEN = (512, 512)
MOST_EPOCHS = 300


@dataclass(frozen=True)
class LabelledEncoder:
    """A network that classifies instruments through a last hidden layer of L units, which are the code.

    Attributes:
        scaler: of the frames.
        network: scikit-learn's, fitted.
    """

    scaler: StandardScaler
    network: MLPClassifier

    @classmethod
    def fitted(cls, frames: ArrayLike, instruments: ArrayLike, n_latent: int = 8) -> LabelledEncoder:
        """Learn from training frames.

        Args:
            frames: (N, F).
            instruments: (N,) labels.
            n_latent: L, the size of the code.
        """
        scaler = StandardScaler().fit(np.asarray(frames, np.float64))
        network = MLPClassifier(
            (*HIDDEN, n_latent),
            activation="tanh",
            alpha=1e-2,
            max_iter=MOST_EPOCHS,
            tol=1e-3,
            random_state=0,
        )
        return cls(scaler, network.fit(scaler.transform(frames), instruments))

    def __call__(self, frames: ArrayLike) -> NDArray[np.float64]:
        """The codes (N, L) of frames (N, F)."""
        code = self.scaler.transform(np.asarray(frames, np.float64))
        for weight, bias in zip(self.network.coefs_[:-1], self.network.intercepts_[:-1], strict=True):
            code = np.tanh(code @ weight + bias)
        return np.asarray(code)
