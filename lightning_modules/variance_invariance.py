"""Row v3: content and style told apart by how they vary within and between samples.

Source: Wu et al., "Unsupervised Disentanglement of Content and Style via Variance-Invariance Constraints", ICLR 2025;
quantisation: van den Oord et al., "Neural Discrete Representation Learning", NeurIPS 2017.

The weights, and what the summaries of the paper leave open, are this project's reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules import objectives, pitch_course, sequence_objectives
from lightning_modules.networks import Decoder, Dimensions, PitchEncoder, mlp
from lightning_modules.note_module import check_positive
from lightning_modules.note_networks import NoteTimbreEncoder, frames_of, mean_over_frames, some_frames
from lightning_modules.objectives import check_weights
from lightning_modules.schedules import Schedule, WarmupCosine
from lightning_modules.whole_note_module import NoteLatents, WholeNoteModule


@dataclass(frozen=True)
class VarianceInvarianceWeights:
    """How much each term counts.

    Attributes:
        reconstruction: squared error of the frames, a mean over the frames.
        variance_invariance: the paper's four constraints.
        codebook: codes move to the contents that they stand for.
        commitment: contents move to their codes.
    """

    reconstruction: float = 10.0
    variance_invariance: float = 1.0
    codebook: float = 10.0
    commitment: float = 2.5

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not finite."""
        check_weights(vars(self))


class CodebookPitchEncoder(PitchEncoder):
    """The published pitch encoder's body, whose output is compared with a code for each category.

    Args:
        dimensions: of the model.
        n_content: D, dimensions of a code.
    """

    def __init__(self, dimensions: Dimensions, n_content: int) -> None:
        super().__init__()
        self.body = mlp(dimensions.n_mels, dimensions.width)
        self.head = nn.Linear(dimensions.width, n_content)
        self.codes = nn.Parameter(torch.randn(dimensions.n_categories, n_content))

    def content(self, x: Tensor) -> Tensor:
        """(B, F) frames to contents (B, D), float32."""
        return self.head(self.body(x)).float()

    def distances(self, content: Tensor) -> Tensor:
        """(B, D) contents to their squared distances from the codes, (B, K)."""
        return (content.unsqueeze(1) - self.codes).square().sum(-1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) frames to (B, K) logits, float32."""
        return -self.distances(self.content(x))


class VarianceInvarianceAE(WholeNoteModule):
    """A quantised content for the pitch and a style for the timbre of each segment of a note.

    In the paper a sample is a recording of one instrument that plays several notes, cut into fragments. Isolated notes
    without labels have no such samples: here the fragments of one are two segments of a note, and both of the note
    shifted, so that the content within a sample varies by the shift, and the contents of two samples differ as their
    notes do, whatever the constraint between samples asks. The pitch is its own: the nearest code, as many as there
    are pitches. There is no course; the computed loudness is given to the decoder as to that of M8.

    Args:
        weights: how much each term counts.
        n_pitches: the pitches of the data, and K, the codes; the CLI takes it from the data.
        n_mels: F, mel bands; the CLI takes it from the data.
        n_latent: G, dimensions of the style.
        n_content: D, dimensions of the codes.
        width: features of each layer.
        ratio: how much larger a variability must be than the other.
        learning_rate: of Adam, its peak.
        schedule: how the learning rate goes.
        decoded_frames: how many frames of each training note are read and decoded in a step.
        mel_hz: (F,) centre frequencies of the mel bands, Hz; the CLI takes them from the data.
        lowest_midi: the lowest MIDI pitch asked for; the CLI takes it from the data.
    """

    ELBO = ("reconstruction",)
    n_course = 0

    def __init__(
        self,
        weights: VarianceInvarianceWeights = VarianceInvarianceWeights(),
        n_pitches: int = 82,
        n_mels: int = 256,
        n_latent: int = 8,
        n_content: int = 8,
        width: int = 512,
        ratio: float = 10.0,
        learning_rate: float = 1e-3,
        schedule: Schedule = WarmupCosine(40),  # noqa: B008
        decoded_frames: int = 16,
        mel_hz: Sequence[float] = (),
        lowest_midi: int = 24,
    ) -> None:
        super().__init__()
        check_positive(n_latent=n_latent, n_content=n_content, width=width, ratio=ratio, decoded_frames=decoded_frames)
        check_positive(learning_rate=learning_rate)
        self.weights, self.learning_rate, self.schedule, self.ratio = weights, learning_rate, schedule, ratio
        self.n_mels, self.n_latent, self.n_categories, self.decoded_frames = n_mels, n_latent, n_pitches, decoded_frames
        self.dimensions = Dimensions(n_mels, n_latent, n_pitches, n_pitches, width, tuple(mel_hz), lowest_midi)
        self.timbre_encoder = NoteTimbreEncoder(n_mels, n_latent, width)
        self.pitch_encoder = CodebookPitchEncoder(self.dimensions, n_content)
        self.decoder = Decoder(Dimensions(n_mels, n_latent + 1, n_pitches, n_content, width))
        for name in ("midi_offset", "calibration_agreement"):
            self.register_buffer(name, torch.tensor(torch.nan))

    def encode_notes(
        self,
        x: Tensor,
        mask: Tensor,
        x_pitch: Tensor | None = None,
        other: Tensor | None = None,
        other_mask: Tensor | None = None,
    ) -> NoteLatents:
        """Notes of any length to their latents; see :meth:`WholeNoteModule.encode_notes`."""
        timbre, timbre_mask = (x, mask) if other is None or other_mask is None else (other, other_mask)
        mu, logvar = self.timbre_encoder(timbre, timbre_mask)
        logits = self.frame_logits(x if x_pitch is None else x_pitch, mask)
        found = self.latents_without_course(mu, logvar, mu, x, mask, logits)
        return replace(found, cents=torch.zeros_like(found.cents))  # neighbouring codes are not neighbouring pitches

    def decode_notes(self, g: Tensor, pitch: Tensor, loudness: Tensor, v: Tensor) -> Tensor:
        """Latents to frames (B, T, F); see :meth:`WholeNoteModule.decode_notes`."""
        frames = loudness.shape[1]
        codes = (self.frame_pitch(pitch, frames) @ self.pitch_encoder.codes).flatten(0, 1)
        style = torch.cat([g.unsqueeze(1).expand(-1, frames, -1), loudness.unsqueeze(-1)], -1).flatten(0, 1)
        return self.decoder(style, codes).unflatten(0, loudness.shape)

    def objective_terms(self, batch: Any) -> tuple[dict[str, Tensor], NoteLatents]:
        """The unweighted terms of a batch, and the latents of its notes."""
        fragments = [(batch.x, batch.mask), (batch.other, batch.other_mask)]
        if batch.x_shifted is not None:
            fragments += [(batch.x_shifted, batch.mask), (batch.other_shifted, batch.other_mask)]
        if self.training:
            fragments = [(x, some_frames(mask, self.decoded_frames)) for x, mask in fragments]
        decoded, frames, contents, styles, codes = [], [], [], [], []
        for x, mask in fragments:
            style, _ = self.timbre_encoder(x, mask)
            content = mean_over_frames(self.pitch_encoder.content(x[mask]), mask)
            code = self.pitch_encoder.codes[self.pitch_encoder.distances(content).argmin(-1)]
            passed = content + (code - content).detach()  # the gradient goes past the choice of a code
            timbre = torch.cat([frames_of(style, mask), pitch_course.loudness(x[mask]).unsqueeze(-1)], -1)
            decoded.append(self.decoder(timbre, frames_of(passed, mask)))
            frames.append(x[mask])
            contents.append(content)
            styles.append(style)
            codes.append(code)
        content, style, code = (torch.stack(parts, 1) for parts in (contents, styles, codes))
        terms = {
            "reconstruction": objectives.reconstruction(torch.cat(decoded), torch.cat(frames)),
            "variance_invariance": sequence_objectives.variance_invariance(content, style, self.ratio),
            "codebook": F.mse_loss(code, content.detach()),
            "commitment": F.mse_loss(content, code.detach()),
        }
        return terms, self.encode_notes(batch.x, fragments[0][1], batch.x_pitch, batch.other, batch.other_mask)
