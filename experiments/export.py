"""`python -m experiments export`: a trained model as ONNX files and a card, which `pitch_timbre` and the page run.

The frames are computed inside the exported graph, so that no other program repeats that arithmetic: samples go in,
logits of the pitch and the timbre come out. The Fourier transforms are written as products with small matrices
(Cooley and Tukey's factors), which every ONNX runtime has, in a browser too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import librosa
import numpy as np
import onnx
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from callbacks.checkpoints import read_checkpoint
from datamodules.atomic_files import read_json
from datamodules.mel import FrameScale, LowBandSettings, MelSettings, log_mel, mel_centres_hz, mel_edges_hz
from datamodules.sources.embedded import EmbeddedNotes
from datamodules.waveforms import WaveformSettings, prepare_waveform
from experiments import exit_codes
from experiments.busy import busy
from experiments.paths import ROOT
from lightning_modules.load import load
from lightning_modules.networks import Decoder, MfccTimbreEncoder
from lightning_modules.pitch_axis import BINS_PER_SEMITONE, EquivariantPitchEncoder
from lightning_modules.pitch_timbre_vae import PitchTimbreVAE

FORMAT = 1
"""Of the card and of the graphs' inputs and outputs; `pitch_timbre.model` refuses others."""
OPSET = 18
QUIETEST = 1e-9
"""Least standard deviation that a segment is divided by: silence stays silence."""


class PowerSpectrum(nn.Module):
    """The first bins of the power spectrum of Hann windows, by two steps of small real products.

    With n = q i + j and k = a + p b (p q = ``n_fft``), the transform is a sum over i with p-th roots of one, a twiddle
    factor and a sum over j with q-th roots (Cooley and Tukey 1965).

    Args:
        n_fft: window length in samples, a power of two.
        n_bins: how many bins are wanted, from 0 Hz.
    """

    window: Tensor
    first_real: Tensor
    first_imag: Tensor
    twiddle_real: Tensor
    twiddle_imag: Tensor
    second_real: Tensor
    second_imag: Tensor

    def __init__(self, n_fft: int, n_bins: int) -> None:
        super().__init__()
        p = 2 ** (math.ceil(math.log2(n_fft)) // 2)
        q = n_fft // p
        if p * q != n_fft:
            raise ValueError(f"a window of {n_fft} samples cannot be exported; its length must be a power of two")
        self.p, self.q, self.n_bins = p, q, n_bins
        b = torch.arange(math.ceil(n_bins / p))
        ahead = min(p, n_bins)  # where only low bins are wanted, few of the first sums are needed
        n, i, j, a = (torch.arange(size, dtype=torch.float64) for size in (n_fft, p, q, ahead))
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / n_fft)
        self.register_buffer("window", window.view(p, q).float())
        self._roots("first", torch.outer(a, i) / p)
        self._roots("twiddle", torch.outer(a, j) / n_fft)
        self._roots("second", torch.outer(j, b.double()) / q)

    def _roots(self, name: str, turns: Tensor) -> None:
        """Keep exp(-2 pi i turns)."""
        self.register_buffer(f"{name}_real", torch.cos(2 * math.pi * turns).float())
        self.register_buffer(f"{name}_imag", -torch.sin(2 * math.pi * turns).float())

    def forward(self, x: Tensor) -> Tensor:
        """(N, n_fft) samples to (N, n_bins) power."""
        x = x.reshape(-1, self.p, self.q) * self.window
        real, imag = self.first_real @ x, self.first_imag @ x  # (N, a, q)
        real, imag = (
            real * self.twiddle_real - imag * self.twiddle_imag,
            real * self.twiddle_imag + imag * self.twiddle_real,
        )
        real, imag = (
            real @ self.second_real - imag @ self.second_imag,
            real @ self.second_imag + imag @ self.second_real,
        )  # (N, a, b)
        power = real * real + imag * imag
        return power.transpose(1, 2).flatten(1)[:, : self.n_bins]


class ExportedEncoder(nn.Module):
    """Segments of sound to what the model says of them.

    Args:
        pitch: the encoder of the pitch.
        timbre: the encoder of the timbre.
        mel: how the frame is made.
        low: the bands that the pitch is read from through a longer window, where there are any.
        scale: the bounds of the frame's scale.
        sample_rate: Hz.
        segment: samples of a segment; the frame's instant in it is ``mel.centre(sample_rate)``.
    """

    def __init__(
        self,
        pitch: EquivariantPitchEncoder,
        timbre: MfccTimbreEncoder,
        mel: MelSettings,
        low: LowBandSettings | None,
        scale: FrameScale,
        sample_rate: int,
        segment: int,
    ) -> None:
        super().__init__()
        self.pitch, self.timbre, self.mel, self.scale = pitch, timbre, mel, scale
        self.instant, self.segment = mel.centre(sample_rate), segment
        self.windows = [mel.n_fft] + ([low.n_fft] if low else [])
        self.n_low = sum(hz < low.below_hz for hz in mel_centres_hz(mel)) if low else 0
        for index, (n_fft, bands) in enumerate(zip(self.windows, (slice(None), slice(self.n_low)), strict=False)):
            bank = librosa.filters.mel(
                sr=sample_rate, n_fft=n_fft, n_mels=mel.n_mels, fmin=mel.fmin_hz, fmax=mel.fmax_hz
            )
            # One level for the bands of both windows: a band's power grows as the square of the window's length.
            filters = torch.from_numpy(bank[bands]).T * (mel.n_fft / n_fft) ** 2
            n_bins = int(filters.any(1).nonzero().max()) + 1
            self.register_buffer(f"filters_{index}", filters[:n_bins].contiguous())
            self.add_module(f"spectrum_{index}", PowerSpectrum(n_fft, n_bins))

    def _frames(self, x: Tensor, index: int) -> Tensor:
        half = self.windows[index] // 2
        window = x[:, self.instant - half : self.instant + half]
        power = self.get_submodule(f"spectrum_{index}")(window) @ self.get_buffer(f"filters_{index}")
        return self.scale.normalise(log_mel(power))

    def _candidates(self, x: Tensor) -> Tensor:
        """What ``pitch.candidates`` computes; its windows are a convolution here: a runtime gathers them slowly."""
        windows = self.pitch.windows
        hidden = F.conv1d(self.pitch.bins(x), windows.weight.unsqueeze(1), windows.bias, stride=BINS_PER_SEMITONE)
        return self.pitch.compare(self.pitch.score(hidden.transpose(1, 2)).transpose(1, 2)).squeeze(1)

    def forward(self, segments: Tensor) -> tuple[Tensor, ...]:
        """(N, segment) samples of any level, a row a frame that is asked for.

        Returns:
            candidates (N, A) and categories (N, K), logits of the pitch; timbre (N, L), the mean of q(z|x);
            timbre_logvar (N, L); frames (N, F) in [-1, 1]; level (N,), the standard deviation of each segment.
        """
        centred = segments - segments.mean(1, keepdim=True)
        level = centred.square().mean(1, keepdim=True).sqrt()
        x = centred / level.clamp(min=QUIETEST)
        frames = self._frames(x, 0)
        read = torch.cat([self._frames(x, 1), frames[:, self.n_low :]], 1) if self.n_low else frames
        candidates = self._candidates(read)
        mu, logvar = self.timbre(frames)
        return candidates, self.pitch.categories(candidates), mu, logvar, frames, level.squeeze(1)


ENCODER_OUTPUTS = ("candidates", "categories", "timbre", "timbre_logvar", "frames", "level")


@dataclass(frozen=True)
class Parts:
    """A trained model as it is exported: two graphs, and the card's facts that the checkpoint knows."""

    encoder: ExportedEncoder
    decoder: Decoder
    facts: dict[str, Any]


def parts_of(run: Path) -> Parts:
    """Read the best checkpoint of a run of the row m7 (or of another with an equivariant axis).

    Raises:
        ValueError: the run has another pitch encoder, or no checkpoint.
    """
    file = run / "checkpoints" / "best.ckpt"
    model = load(file)
    if not isinstance(model, PitchTimbreVAE) or not isinstance(model.pitch_encoder, EquivariantPitchEncoder):
        raise ValueError(f"{file}: its pitch encoder is not the equivariant one; export a run of the row m7")
    data, pitch, settings = model.data_settings, model.pitch_encoder, waveform_settings(run)
    mel, scale = MelSettings(**data["mel"]), FrameScale(**data["scale"])
    low = LowBandSettings(**data["pitch_low_bands"]) if data["pitch_low_bands"] else None
    timbre = cast(MfccTimbreEncoder, model.timbre_encoder)
    encoder = ExportedEncoder(pitch, timbre, mel, low, scale, settings.sample_rate, settings.length)
    facts = {
        "sample_rate": settings.sample_rate,
        "segment": settings.length,
        "instant": encoder.instant,
        "n_mels": mel.n_mels,
        "n_fft": mel.n_fft,
        "fmin_hz": mel.fmin_hz,
        "fmax_hz": mel.fmax_hz,
        "scale_low": scale.low,
        "scale_high": scale.high,
        "n_latent": model.n_latent,
        "n_categories": model.n_categories,
        "n_candidates": pitch.n_candidates,
        "first_category": int(pitch.first),
        "midi_of_category_0": int(model.midi_offset),
        "epoch": int(read_checkpoint(file)["epoch"]),
    }
    return Parts(encoder.eval(), model.decoder, facts)


def waveform_settings(run: Path) -> WaveformSettings:
    """How the run's notes were decoded."""
    return WaveformSettings(**yaml.safe_load((run / "config.yaml").read_text())["data"]["waveforms"])


def write_graph(module: nn.Module, example: tuple[Tensor, ...], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """A module as an ONNX graph whose first axis is free, checked."""
    count = torch.export.Dim("n", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names packages that are not needed
        program = torch.onnx.export(
            module,
            example,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamic_shapes=[{0: count} for _ in example],
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for node in graph.graph.node:  # where each node came from is of no use to who runs it, and differs by machine
        del node.metadata_props[:]
        node.doc_string = ""
    for values in (graph.graph.value_info, graph.graph.input, graph.graph.output, graph.graph.initializer):
        for value in values:
            del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.metadata_props[:]
    onnx.checker.check_model(graph)
    return graph.SerializeToString(deterministic=True)


# The card ---------------------------------------------------------------------------------------------------------


def embedded_timbres(encoder: ExportedEncoder, settings: WaveformSettings) -> tuple[list[str], np.ndarray, np.ndarray]:
    """What the model says of the embedded notes: instruments (N), MIDI pitches (N,) and timbres (N, L)."""
    source = EmbeddedNotes()
    notes = source.read_notes(None)
    timbres = []
    for first in range(0, len(notes), NOTES_AT_ONCE):
        segments = torch.zeros(len(notes[first : first + NOTES_AT_ONCE]), encoder.segment)
        for segment, note in zip(segments, notes[first : first + NOTES_AT_ONCE].itertuples(), strict=True):
            samples, rate = source.read_audio(None, note, settings.duration_s)
            sound = torch.from_numpy(prepare_waveform(samples, rate, settings))
            segment[: len(sound)] = sound
        with torch.no_grad():
            timbres.append(encoder(segments)[2].numpy())
    return list(notes.instrument), notes.midi.to_numpy(), np.concatenate(timbres)


NOTES_AT_ONCE = 128
EXAMPLE_EVERY = 6
"""Semitones between the notes of an instrument whose timbres the card lists."""


def known_timbres(instruments: list[str], midi: np.ndarray, timbres: np.ndarray) -> dict[str, Any]:
    """The embedded instruments' timbres, and the plane in which they differ most.

    Returns:
        instruments: name -> mean timbre (L); examples: some notes of each; plane: mean (L) and axes (2, L), with unit
        length, of a principal component analysis of all the notes.
    """
    mean = timbres.mean(0, dtype=np.float64)
    axes = np.linalg.svd(timbres.astype(np.float64) - mean, full_matrices=False)[2][:2]
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(1)])[:, None]  # an axis' sign is arbitrary: one is chosen
    names = np.array(instruments)
    examples = []
    for name in sorted(set(instruments)):
        own = names == name
        for pitch in sorted(set(midi[own].tolist()))[EXAMPLE_EVERY // 2 :: EXAMPLE_EVERY]:
            timbre = timbres[own & (midi == pitch)].mean(0)
            examples.append({"instrument": name, "midi": pitch, "timbre": _rounded(timbre)})
    return {
        "instruments": {name: _rounded(timbres[names == name].mean(0)) for name in sorted(set(instruments))},
        "examples": examples,
        "plane": {"mean": _rounded(mean), "axes": [_rounded(axis) for axis in axes]},
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


SCORES = ("acc", "acc_abs", "octave_error", "swap_pitch", "swap_instrument", "calibration_agreement")
"""What the card says of the run: in per cent, of held-out notes of the data that the model was trained on."""


def card_of(parts: Parts, run: Path, name: str, graphs: dict[str, bytes]) -> dict[str, Any]:
    """All that who runs the graphs must know, and where they are from."""
    record, scores = read_json(run / "run.json"), read_json(run / "metrics.json")["best"]["honest"]
    encoder, facts = parts.encoder, parts.facts
    return {
        "format": FORMAT,
        "name": name,
        "version": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "files": {
            part: {"name": f"{name}_{part}.onnx", "sha256": hashlib.sha256(graph).hexdigest()}
            for part, graph in graphs.items()
        },
        "trained": {
            "data": record["data"],
            "data_hash": record["data_hash"],
            "config_hash": record["config_hash"],
            "revision": record["git_revision"],
            "seed": record["seed"],
            "epoch": facts.pop("epoch"),
            "scores": {score: round(scores[score], 2) for score in SCORES},
        },
        "licence": "MIT (this project); trained on recordings of FluidR3_GM, (c) 2000-2002, 2008 Frank Wen, MIT",
        **facts,
        **known_timbres(*embedded_timbres(encoder, waveform_settings(run))),
        "mel_edges_hz": [round(hz, 4) for hz in mel_edges_hz(encoder.mel)],
    }


def export(run: Path, out: Path, name: str) -> Path:
    """Write a run's best model as ``NAME_encoder.onnx``, ``NAME_decoder.onnx`` and ``NAME.json``; return the last.

    The same checkpoint and the same libraries give the same bytes.
    """
    parts = parts_of(run)
    segments = torch.zeros(2, parts.encoder.segment)
    latents = torch.zeros(2, parts.facts["n_latent"]), torch.zeros(2, parts.facts["n_categories"])
    graphs = {
        "encoder": write_graph(parts.encoder, (segments,), ["segments"], ENCODER_OUTPUTS),
        "decoder": write_graph(parts.decoder, latents, ["timbre", "pitch"], ["frames"]),
    }
    card = card_of(parts, run, name, graphs)
    out.mkdir(parents=True, exist_ok=True)
    for part, graph in graphs.items():
        (out / card["files"][part]["name"]).write_bytes(graph)
    file = out / f"{name}.json"
    file.write_text(json.dumps(card, indent=1) + "\n")
    return file


def main(argv: list[str]) -> int:
    """Export a run."""
    parser = argparse.ArgumentParser(prog="python -m experiments export", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a run's folder, such as runs/m7/m7/seed_0")
    parser.add_argument("--out", type=Path, help="folder to write to; default: RUN/export")
    parser.add_argument("--name", default="model", help="of the files: NAME.json, NAME_encoder.onnx, NAME_decoder.onnx")
    arguments = parser.parse_args(argv)
    with exit_codes.one_line_errors(), busy(f"exporting {arguments.run}"):
        print(f"wrote {export(arguments.run, arguments.out or arguments.run / 'export', arguments.name)}")
    return 0
