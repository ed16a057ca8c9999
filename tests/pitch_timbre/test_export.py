"""The exported graphs compute what the training computes, and the package reads the card as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import numpy as np
import onnxruntime
import pytest
import torch

import pitch_timbre as pt
from datamodules.mel import FrameScale, LowBandSettings, MelSettings, log_mel, mel_centres_hz, mel_filters
from datamodules.pitch_shift import shifted_power
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.waveforms import WaveformSettings, prepare_waveform
from experiments import export
from lightning_modules.networks import Decoder, Dimensions, MfccTimbreEncoder
from lightning_modules.pitch_axis import EquivariantPitchEncoder
from pitch_timbre.model import SHIPPED

MEL, LOW, SCALE = MelSettings(), LowBandSettings(), FrameScale(-28.0, 11.0)
RATE, SEGMENT = 22050, 7717


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    """Embedded notes, noise and a quiet tone, (N, SEGMENT)."""
    source = EmbeddedNotes()
    notes = source.read_notes(None).iloc[::200]
    settings = WaveformSettings()
    rows = [prepare_waveform(*source.read_audio(None, note, 0.4), settings)[:SEGMENT] for note in notes.itertuples()]
    generator = np.random.default_rng(0)
    rows += [generator.standard_normal(SEGMENT).astype(np.float32)]
    rows += [(0.1 * np.sin(0.1 * np.arange(SEGMENT))).astype(np.float32)]
    # As any recording, they have a noise floor: where there is none, rounding is compared with rounding.
    return torch.from_numpy(np.stack(rows) + 1e-4 * generator.standard_normal((len(rows), SEGMENT)).astype(np.float32))


@pytest.fixture(scope="module")
def encoder() -> export.ExportedEncoder:
    torch.manual_seed(0)
    dimensions = Dimensions(MEL.n_mels, 8, 82, 82, 64, mel_centres_hz(MEL), 24)
    pitch, timbre = EquivariantPitchEncoder(dimensions, margin=28), MfccTimbreEncoder(dimensions)
    return export.ExportedEncoder(pitch, timbre, MEL, LOW, SCALE, RATE, SEGMENT).eval()


def test_frames_are_those_of_the_training(encoder: export.ExportedEncoder, sounds: torch.Tensor) -> None:
    x = (sounds - sounds.mean(1, keepdim=True)) / sounds.std(1, correction=0, keepdim=True)
    middle, none = MEL.centre(RATE), torch.zeros(len(x))
    for n_fft, index in ((2048, 0), (4096, 1)):
        filters = mel_filters(MelSettings(n_fft=n_fft), RATE)
        context = x[:, middle - n_fft // 2 : middle + n_fft // 2 + 1]
        power = shifted_power(context, none, n_fft, filters) * (2048 / n_fft) ** 2
        trained = SCALE.normalise(log_mel(power))[:, : encoder.n_low if index else None]
        with torch.no_grad():
            ours = encoder._frames(x, index)
        # The training's transform is right to 1e-6 of a frame's peak: what lies far below is compared by its mean.
        audible = trained > trained.amax(1, keepdim=True) - 2 * np.log(1e6) / (SCALE.high - SCALE.low)
        assert audible.float().mean() > 0.3
        assert ((ours - trained) * audible).abs().max() < 1e-3
        assert ((ours - trained) * audible).abs().mean() < 1e-5
        assert (ours - trained).abs().mean() < 1e-3


def test_windows_as_a_convolution_give_the_candidates(encoder: export.ExportedEncoder) -> None:
    x = torch.rand(5, MEL.n_mels, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(encoder._candidates(x), encoder.pitch.candidates(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n_fft", "n_bins"), [(2048, 1025), (2048, 1000), (4096, 59), (512, 3)])
def test_power_spectrum_by_factors(n_fft: int, n_bins: int) -> None:
    x = torch.randn(3, n_fft, generator=torch.Generator().manual_seed(0))
    expected = torch.fft.rfft(x * torch.hann_window(n_fft)).abs().square()[:, :n_bins]
    torch.testing.assert_close(export.PowerSpectrum(n_fft, n_bins)(x), expected, rtol=1e-3, atol=1e-3)


def test_window_length_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="1000"):
        export.PowerSpectrum(1000, 10)


@pytest.mark.slow
def test_graphs_compute_what_torch_computes(encoder: export.ExportedEncoder, sounds: torch.Tensor) -> None:
    graph = export.write_graph(encoder, (torch.zeros(2, SEGMENT),), ["segments"], export.ENCODER_OUTPUTS)
    session = onnxruntime.InferenceSession(graph)
    for x in (sounds, sounds[:1], sounds.repeat(9, 1)):
        with torch.no_grad():
            expected = encoder(x)
        for name, theirs, ours in zip(
            export.ENCODER_OUTPUTS, expected, session.run(None, {"segments": x.numpy()}), strict=True
        ):
            assert np.abs(ours - theirs.numpy()).max() < 1e-4, name
    assert graph == export.write_graph(encoder, (torch.zeros(2, SEGMENT),), ["segments"], export.ENCODER_OUTPUTS)
    decoder = Decoder(Dimensions(MEL.n_mels, 8, 82, 82, 64)).eval()
    z, c = torch.randn(7, 8), torch.eye(82)[:7]
    graph = export.write_graph(decoder, (z[:2], c[:2]), ["timbre", "pitch"], ["frames"])
    (ours,) = onnxruntime.InferenceSession(graph).run(None, {"timbre": z.numpy(), "pitch": c.numpy()})
    with torch.no_grad():
        assert np.abs(ours - decoder(z, c).numpy()).max() < 1e-4


def test_shipped_model_names_every_embedded_pitch(sounds: torch.Tensor) -> None:
    model = pt.load()
    notes = EmbeddedNotes().read_notes(None).iloc[::200]
    for row, midi in zip(sounds, notes.midi, strict=False):
        encoded = model.encode(pt.model.Sound(row.numpy(), RATE), np.array([model.card.instant]))
        assert encoded.logits.argmax() + model.card.midi_of_category_0 == midi


def test_shipped_card_agrees_with_the_frames() -> None:
    model, card = pt.load(), json.loads(SHIPPED.read_text())
    bank = librosa.filters.mel(
        sr=RATE, n_fft=card["n_fft"], n_mels=card["n_mels"], fmin=card["fmin_hz"], fmax=card["fmax_hz"]
    )
    np.testing.assert_allclose(model.bands.filters, bank, atol=1e-6)
    assert len(card["instruments"]) == 12
    assert np.shape(card["plane"]["axes"]) == (2, card["n_latent"])


def test_a_run_without_a_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        export.main(["--run", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
