from __future__ import annotations

import librosa
import numpy as np
import torch
from scipy.fft import dct

from lightning_modules.networks import Decoder, PitchEncoder, TimbreEncoder, mlp


def test_the_timbre_encoder_reads_orthonormal_mfccs() -> None:
    x = torch.randn(3, 256)
    found = x @ TimbreEncoder(256, 8).dct
    np.testing.assert_allclose(found, dct(x.numpy(), norm="ortho")[:, :30], atol=1e-4)
    np.testing.assert_allclose(found.T, librosa.feature.mfcc(S=x.numpy().T, n_mfcc=128)[:30], atol=1e-4)


def test_shapes() -> None:
    x = torch.randn(4, 256)
    mu, logvar = TimbreEncoder(256, 8)(x)
    assert mu.shape == logvar.shape == (4, 8)
    assert PitchEncoder(256, 82)(x).shape == (4, 82)
    frames = Decoder(256, 8, 82)(torch.randn(4, 8), torch.eye(82)[:4])
    assert frames.shape == (4, 256)
    assert frames.abs().max() <= 1


def test_three_layers_of_linear_tanh_batch_norm() -> None:
    kinds = [type(layer).__name__ for layer in mlp(10, 512)]
    assert kinds == ["Linear", "Tanh", "BatchNorm1d"] * 3


def test_all_pitches_is_each_pitch_decoded() -> None:
    decoder = Decoder(64, 8, 20, width=32)
    decoder(torch.randn(50, 8), torch.eye(20)[torch.arange(50) % 20])  # moves the running statistics
    decoder.eval()
    z = torch.randn(5, 8)
    together = decoder.all_pitches(z)
    assert together.shape == (20, 5, 64)
    for k in (0, 7, 19):
        torch.testing.assert_close(together[k], decoder(z, torch.eye(20)[k].expand(5, -1)))
