"""Networks of whole notes: they read the frames that a note has, and no others."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_modules.networks import N_MFCC, mfcc_matrix, mlp


def frames_of(note: Tensor, mask: Tensor) -> Tensor:
    """One value a note (B, ...) at each of the masked frames, (N, ...), in the order of ``x[mask]``."""
    return note[mask.nonzero()[:, 0]]


def mean_over_frames(frames: Tensor, mask: Tensor) -> Tensor:
    """Frames (N, D) in the order of ``x[mask]`` to each note's mean, (B, D) float32."""
    sums = torch.zeros(len(mask), frames.shape[-1], device=frames.device)
    sums = sums.index_add(0, mask.nonzero()[:, 0], frames.float())
    return sums / mask.sum(1, keepdim=True).clamp(min=1)


def some_frames(mask: Tensor, n: Tensor | int) -> Tensor:
    """``n`` (or (B, 1)) random frames of each note's (B, T) mask, or all where it has fewer; (B, T) bool."""
    order = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, 2.0)
    return (order.argsort(-1).argsort(-1) < n) & mask


def few_or_all(mask: Tensor, share: float) -> Tensor:
    """For a ``share`` of the notes 1 to all of the masked frames, evenly in the logarithm; all for the others."""
    count = mask.sum(-1, keepdim=True)
    few = (torch.rand(count.shape, device=mask.device) * count.clamp(min=1).log()).exp().round().long()
    return some_frames(mask, torch.where(torch.rand(count.shape, device=mask.device) < share, few, count))


class NoteTimbreEncoder(nn.Module):
    """q(g | frames): the published timbre encoder of each frame's MFCCs, and the mean of its features over the note.

    Args:
        n_mels: F.
        n_latent: G, dimensions of g.
        width: features of each layer.
    """

    def __init__(self, n_mels: int, n_latent: int, width: int) -> None:
        super().__init__()
        self.dct: Tensor
        self.register_buffer("dct", mfcc_matrix(n_mels), persistent=False)
        self.body = mlp(N_MFCC, width)
        self.head = nn.Linear(width, 2 * n_latent)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, T, F), those of ``mask`` (B, T), to mu (B, G) and logvar (B, G), float32."""
        return self.of_frames(x[mask], mask)

    def of_frames(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same for frames (N, F) in the order of ``x[mask]``."""
        mu, logvar = self.head(mean_over_frames(self.body(frames @ self.dct), mask)).float().chunk(2, dim=-1)
        return mu, logvar


class CourseEncoder(nn.Module):
    """q(v_t | frames): convolutions over the MFCCs' course in time.

    Args:
        n_mels: F.
        n_course: V, dimensions of v.
        channels: of each layer.
        static: whether the MFCCs keep their mean over the note, which holds the static spectrum.
        n_mfcc: how many are read; F for all that the frames hold.
    """

    def __init__(self, n_mels: int, n_course: int, channels: int, static: bool = False, n_mfcc: int = N_MFCC) -> None:
        super().__init__()
        self.static = static
        self.dct: Tensor
        self.register_buffer("dct", mfcc_matrix(n_mels, n_mfcc), persistent=False)
        sizes = (n_mfcc, channels, channels, channels)
        self.layers = nn.ModuleList(nn.Conv1d(a, b, 5, padding=2) for a, b in pairwise(sizes))
        self.head = nn.Linear(channels, 2 * n_course)

    def forward(self, x: Tensor, mask: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames to the posteriors of their course.

        Args:
            x: (B, T, F).
            mask: (B, T) bool; what stands in other frames does not matter.
            mean: (B, F) mean frames of the whole notes, where x is a part of them.

        Returns:
            mu (B, T, V) and logvar (B, T, V), float32.
        """
        if not self.static:
            x = x - (mean_over_frames(x[mask], mask) if mean is None else mean).unsqueeze(1)
        held = mask.unsqueeze(1)
        hidden = (x @ self.dct).transpose(1, 2) * held
        for layer in self.layers:
            hidden = nn.functional.silu(layer(hidden)) * held
        mu, logvar = self.head(hidden.transpose(1, 2)).float().chunk(2, dim=-1)
        return mu, logvar
