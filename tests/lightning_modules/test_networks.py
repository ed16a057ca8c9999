from __future__ import annotations

import librosa
import numpy as np
import torch
from scipy.fft import dct

from datamodules.mel import MelSettings, mel_centres_hz
from datamodules.note_pairs import NotePairs
from datamodules.synthetic_tones import synthetic_tones
from lightning_modules.networks import Decoder, Dimensions, MelPitchEncoder, MfccTimbreEncoder, mlp
from lightning_modules.pitch_axis import (
    BINS_PER_SEMITONE,
    EquivariantPitchEncoder,
    HarmonicComb,
    MelPitchAxis,
    log_frequency_matrix,
)

MEL_HZ = mel_centres_hz(MelSettings())


def dimensions(n_pitches: int = 82, width: int = 32, n_mels: int = 256) -> Dimensions:
    return Dimensions(n_mels, 8, n_pitches, n_pitches, width, MEL_HZ)


def test_the_timbre_encoder_reads_orthonormal_mfccs() -> None:
    x = torch.randn(3, 256)
    found = x @ MfccTimbreEncoder(dimensions()).dct
    np.testing.assert_allclose(found, dct(x.numpy(), norm="ortho")[:, :30], atol=1e-4)
    np.testing.assert_allclose(found.T, librosa.feature.mfcc(S=x.numpy().T, n_mfcc=128)[:30], atol=1e-4)


def test_shapes() -> None:
    x = torch.randn(4, 256)
    mu, logvar = MfccTimbreEncoder(dimensions())(x)
    assert mu.shape == logvar.shape == (4, 8)
    assert MelPitchEncoder(dimensions())(x).shape == (4, 82)
    frames = Decoder(dimensions())(torch.randn(4, 8), torch.eye(82)[:4])
    assert frames.shape == (4, 256)
    assert frames.abs().max() <= 1


def test_three_layers_of_linear_tanh_batch_norm() -> None:
    kinds = [type(layer).__name__ for layer in mlp(10, 512)]
    assert kinds == ["Linear", "Tanh", "BatchNorm1d"] * 3


def test_all_pitches_is_each_pitch_decoded() -> None:
    decoder = Decoder(dimensions(20, n_mels=64))
    decoder(torch.randn(50, 8), torch.eye(20)[torch.arange(50) % 20])  # moves the running statistics
    decoder.eval()
    z = torch.randn(5, 8)
    together = decoder.all_pitches(z)
    assert together.shape == (20, 5, 64)
    for k in (0, 7, 19):
        torch.testing.assert_close(together[k], decoder(z, torch.eye(20)[k].expand(5, -1)))


def test_the_log_frequency_axis_is_linear_interpolation() -> None:
    matrix = log_frequency_matrix(MEL_HZ, 20, 400)
    hz = 440 * 2 ** ((np.arange(400) / BINS_PER_SEMITONE + 20 - 69) / 12)
    frame = np.random.default_rng(0).normal(size=256)
    expected = np.where(hz <= MEL_HZ[-1], np.interp(hz, MEL_HZ, frame), 0)
    np.testing.assert_allclose(torch.from_numpy(frame).float() @ matrix, expected, atol=1e-5)


def test_a_semitone_higher_is_a_candidate_higher() -> None:
    """Exactly so, on the log-frequency axis, for what neither leaves its ends."""
    torch.manual_seed(0)
    encoder = EquivariantPitchEncoder(dimensions(), margin=28)
    assert encoder.n_candidates == 138
    n_bins = encoder.log_frequency.shape[1]
    encoder.log_frequency = torch.eye(n_bins)
    low = torch.zeros(1, n_bins)
    low[0, 250:330] = torch.rand(80)
    high = low.roll(5 * BINS_PER_SEMITONE, 1)
    logits, shifted = encoder.candidates(low), encoder.candidates(high)
    torch.testing.assert_close(shifted[:, 25:125], logits[:, 20:120], atol=1e-5, rtol=1e-4)
    assert logits.std() > 100 * (shifted[:, 25:125] - logits[:, 20:120]).abs().max()


def test_a_comb_hears_synthetic_tones(small_pairs: NotePairs) -> None:
    midi = np.arange(36, 100)
    frames = small_pairs.pitch_frames_of(synthetic_tones(midi, 22050, 7717, np.random.default_rng(5)))
    comb = HarmonicComb(dimensions(), margin=28)
    heard = comb(frames).argmax(-1).numpy() + 24
    assert np.mean(heard == midi) > 0.95
    assert not list(comb.parameters())


def test_level_and_dynamic_range_do_not_move_an_equivariant_encoder() -> None:
    encoder, frame = EquivariantPitchEncoder(dimensions()), torch.rand(3, 256)
    torch.testing.assert_close(encoder(0.5 * frame - 0.3), encoder(frame), atol=1e-5, rtol=1e-4)


def test_the_categories_are_the_neighbours_that_hold_most_notes() -> None:
    encoder = MelPitchAxis(dimensions(4), margin=3)
    x = torch.randn(5, 256)
    assert encoder(x).shape == (5, 4)
    assert torch.equal(encoder(x), encoder.candidates(x)[:, 3:7])
    encoder.choose_categories(torch.tensor([0.0, 9, 1, 1, 5, 0, 0, 3, 3, 0]))
    assert torch.equal(encoder(x), encoder.candidates(x)[:, 1:5])
    other = MelPitchAxis(dimensions(4), margin=3)
    other.load_state_dict(encoder.state_dict())
    assert other.first == 1
    assert "first" not in MelPitchAxis(dimensions(4)).state_dict()
