from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from lightning_modules import pitch_course, sequence_objectives
from lightning_modules.pitch_course import NATS_PER_UNIT
from lightning_modules.sequence_objectives import WholeNoteWeights


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_the_kl_of_a_course_is_that_of_the_joint_distributions(frames: int) -> None:
    """The prior's joint covariance of frames s and t is rho^|s - t| (torch.distributions)."""
    torch.manual_seed(0)
    mu, logvar = torch.randn(3, 9, 2, dtype=torch.float64), torch.randn(3, 9, 2, dtype=torch.float64)
    rho = torch.tensor([0.9, -0.3], dtype=torch.float64)
    lag = (torch.arange(frames)[:, None] - torch.arange(frames)).abs()
    expected = torch.tensor(0.0, dtype=torch.float64)
    for note in range(3):
        for each in range(2):
            prior = MultivariateNormal(torch.zeros(frames, dtype=torch.float64), rho[each] ** lag)
            deviation = (0.5 * logvar[note, :frames, each]).exp()
            posterior = MultivariateNormal(mu[note, :frames, each], torch.diag(deviation.square()))
            expected += kl_divergence(posterior, prior)
    mask = (torch.arange(9) < frames).expand(3, -1)
    found = sequence_objectives.kl_v(mu, logvar, rho, mask)
    torch.testing.assert_close(found, expected / (3 * frames))


def test_without_memory_the_prior_is_standard() -> None:
    mu, logvar = torch.randn(4, 5, 3), torch.randn(4, 5, 3)
    standard = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    expected = kl_divergence(Independent(Normal(mu, (0.5 * logvar).exp()), 1), standard).mean()
    found = sequence_objectives.kl_v(mu, logvar, torch.zeros(3), torch.ones(4, 5, dtype=torch.bool))
    torch.testing.assert_close(found, expected)


def test_reentry_is_zero_for_the_timbre_that_was_decoded() -> None:
    g = torch.randn(4, 3)
    assert sequence_objectives.reentry(g, g) == 0
    torch.testing.assert_close(sequence_objectives.reentry(g + 1, g), torch.tensor(3.0))


def test_weights_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.weights\.kl_v is -1"):
        WholeNoteWeights(kl_v=-1)


def test_loudness_is_the_log_of_the_mean_power() -> None:
    x = torch.rand(3, 5, 16) * 2 - 1
    power = (NATS_PER_UNIT * x.double()).exp().mean(-1)
    torch.testing.assert_close(pitch_course.loudness(x).double(), power.log() / NATS_PER_UNIT, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pitch_course.loudness(torch.full((1, 8), 0.25)), torch.tensor([0.25]))


def test_loud_frames_outvote_quiet_and_absent_ones() -> None:
    logits = torch.full((1, 4, 6), -9.0)
    logits[0, torch.arange(4), torch.tensor([1, 1, 4, 5])] = 9.0
    level = torch.tensor([[-0.5, -0.5, 0.0, 0.9]])
    mask = torch.tensor([[True, True, True, False]])
    assert pitch_course.vote(logits, level, mask).tolist() == [4]
    assert pitch_course.vote(logits, torch.zeros(1, 4), mask).tolist() == [1]


def test_cents_lie_between_the_neighbours() -> None:
    p = torch.tensor([[0.0, 0.25, 0.75, 0, 0, 0], [0, 0, 0, 0, 0, 1.0], [0, 0.25, 0.5, 0.25, 0, 0]])
    found = pitch_course.cents((p + 1e-12).log())
    torch.testing.assert_close(found, torch.tensor([-25.0, 0.0, 0.0]), atol=1e-3, rtol=0)


def test_the_course_of_the_pitch_follows_frames_near_the_note_and_no_others() -> None:
    k = 20
    p = torch.zeros(1, 3, k)
    p[0, 0, 8], p[0, 0, 9] = 0.75, 0.25  # 25 cents above the note
    p[0, 1, 10] = 1.0  # a trill
    p[0, 2, 19] = 1.0  # an octave error
    found = pitch_course.course((p + 1e-12).log(), torch.tensor([[8]]))
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 3))
    torch.testing.assert_close(found @ torch.arange(float(k)), torch.tensor([[8.25, 10.0, 8.0]]), atol=1e-3, rtol=0)
    assert found[0, 0, [8, 9]].tolist() == pytest.approx([0.75, 0.25], abs=1e-3)


def test_the_kl_between_gaussians_is_that_of_torch() -> None:
    mu, logvar, other, other_logvar = torch.randn(4, 6, 5).unbind()
    first, second = (Normal(m, (0.5 * v).exp()) for m, v in ((mu, logvar), (other, other_logvar)))
    expected = kl_divergence(Independent(first, 1), Independent(second, 1)).mean()
    torch.testing.assert_close(sequence_objectives.kl_between(mu, logvar, other, other_logvar), expected)


def test_variance_and_invariance_are_mean_distances_of_pairs() -> None:
    content, style = torch.randn(5, 3, 4), torch.randn(5, 3, 2)

    def within(z: torch.Tensor) -> float:
        return float(torch.stack([torch.pdist(sample).mean() for sample in z]).mean())

    def between(z: torch.Tensor) -> float:
        return float(torch.pdist(z.mean(1)).mean())

    pairs = [(within(content), between(content)), (between(style), within(style))]
    pairs += [(within(content), within(style)), (between(style), between(content))]
    expected = sum(max(0.0, 10 - large / small) for large, small in pairs)
    assert float(sequence_objectives.variance_invariance(content, style, 10.0)) == pytest.approx(expected, rel=1e-4)
    content, style = torch.arange(3.0).expand(5, 3)[..., None], torch.arange(5.0)[:, None, None].expand(5, 3, 1)
    assert sequence_objectives.variance_invariance(content, style * 100, 10.0) == 0, "as the paper asks"
