from __future__ import annotations

import random
import time

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from metrics.latent_probe import _epochs, linear_reader, linearly_read, probed_correctly

Notes = tuple[Tensor, Tensor]


def probe_accuracy(*arguments, **settings) -> float:  # type: ignore[no-untyped-def]
    return float(probed_correctly(*arguments, **settings).double().mean())


def clusters(n: int, n_classes: int, spread: float, seed: int, n_latents: int = 8) -> tuple[Notes, Notes]:
    """Scored and fit notes around class centres on the unit sphere; a spread of inf leaves no trace of the class."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(n_classes, n_latents, generator=generator), dim=-1)
    labels = torch.randint(n_classes, (n,), generator=generator)
    noise = torch.randn(n, n_latents, generator=generator)
    latents = noise if spread == float("inf") else centres[labels] + spread * noise
    return (latents[: n // 10], labels[: n // 10]), (latents[n // 10 :], labels[n // 10 :])


def test_a_separable_case_is_solved_as_by_logistic_regression() -> None:
    scored, fit = clusters(1000, 4, 0.05, 0)
    reference = LogisticRegression().fit(fit[0].numpy(), fit[1].numpy()).score(scored[0].numpy(), scored[1].numpy())
    assert reference == 1
    assert probe_accuracy(*scored, *fit) == linearly_read(*scored, *fit).mean() == 1


def test_the_honest_probe_is_a_converged_logistic_regression() -> None:
    """Of standardised latents with half the squared weights as penalty: scipy minimises the same loss."""
    scored, fit = clusters(3000, 6, 0.4, 1)
    x = np.c_[StandardScaler().fit_transform(fit[0].double().numpy()), np.ones(len(fit[0]))]

    def loss(flat):  # type: ignore[no-untyped-def]
        weight = flat.reshape(9, 6)
        logits = x @ weight
        error = np.exp(log_softmax(logits, axis=1)) - np.eye(6)[fit[1].numpy()]
        gradient = x.T @ error
        gradient[:-1] += weight[:-1]
        value = -log_softmax(logits, axis=1)[np.arange(len(x)), fit[1].numpy()].sum() + 0.5 * (weight[:-1] ** 2).sum()
        return value, gradient.ravel()

    weight = minimize(loss, np.zeros(54), jac=True, options={"gtol": 1e-8}).x.reshape(9, 6)
    reader = linear_reader(*fit)
    z = np.c_[reader[0].transform(scored[0].double().numpy()), np.ones(len(scored[0]))]
    expected = (z @ weight).argmax(1) == scored[1].numpy()
    assert 0.4 < expected.mean() < 0.95
    assert linearly_read(*scored, *fit) == pytest.approx(expected)
    assert probe_accuracy(*scored, *fit) == pytest.approx(expected.mean(), abs=0.04)


def test_latents_without_the_label_score_at_chance() -> None:
    scored, fit = clusters(4000, 5, float("inf"), 2)
    assert linearly_read(*scored, *fit).mean() == pytest.approx(0.2, abs=0.06)


def test_choosing_the_epoch_on_the_scored_notes_flatters() -> None:
    gains = []
    for seed in range(12):
        scored, fit = clusters(400, 5, float("inf"), seed)
        gains.append(probe_accuracy(*scored, *fit, seed=seed) - linearly_read(*scored, *fit).mean())
    assert np.mean(gains) > 0.02


def test_one_class_alone_is_read_as_itself() -> None:
    x, y = torch.randn(8, 2), torch.tensor([0, 0, 0, 1, 0, 0, 0, 0])
    assert linearly_read(x, y, x, torch.zeros(8).long()).tolist() == (y == 0).tolist()


def test_training_is_torchs_linear_layer_and_adam() -> None:
    """The written-out gradient and the flat weights give the weights that autograd gives."""
    (_, _), (x, y) = clusters(300, 5, 0.4, 3)
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    *_, found = _epochs(x, y, 5, 64, 3e-3, 20, torch.Generator().manual_seed(7))

    generator = torch.Generator().manual_seed(7)
    start = torch.empty(9, 5).uniform_(-(8**-0.5), 8**-0.5, generator=generator)
    layer = torch.nn.Linear(8, 5)
    with torch.no_grad():
        layer.weight.copy_(start[:-1].T)
        layer.bias.copy_(start[-1])
    optimizer = torch.optim.Adam(layer.parameters(), lr=3e-3)
    for _ in range(20):
        for batch in torch.randperm(len(x), generator=generator).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[batch, :-1]), y[batch]).backward()
            optimizer.step()
    torch.testing.assert_close(found[:-1].T, layer.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[-1], layer.bias, rtol=1e-4, atol=1e-5)


def test_the_probe_is_its_seeds_alone() -> None:
    scored, fit = clusters(600, 12, 0.6, 4)
    found = probe_accuracy(*scored, *fit, seed=1)
    torch.manual_seed(99)
    assert probe_accuracy(*scored, *fit, seed=1) == found
    assert len({probe_accuracy(*scored, *fit, seed=seed) for seed in range(8)}) > 1


def test_global_generators_and_the_inputs_are_left_alone() -> None:
    scored, fit = clusters(300, 3, 0.4, 5)
    before = [tensor.clone() for tensor in (*scored, *fit)]
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    probe_accuracy(*scored, *fit, max_epochs=3)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])  # noqa: NPY002
    assert random.getstate() == python_state
    assert all(torch.equal(tensor, copy) for tensor, copy in zip((*scored, *fit), before, strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_gradients_need_not_be_enabled(mode) -> None:  # type: ignore[no-untyped-def]
    scored, fit = clusters(300, 3, 0.1, 6)
    with mode():
        assert probe_accuracy(scored[0].clone(), scored[1].clone(), fit[0].clone(), fit[1].clone()) > 0.9
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)


def test_patience_ends_the_training() -> None:
    scored, fit = clusters(600, 82, 0.3, 7)
    eager, patient = (probe_accuracy(*scored, *fit, patience=patience, max_epochs=200) for patience in (1, 200))
    assert eager < patient


def test_an_epoch_of_the_table_takes_about_a_millisecond() -> None:
    scored, fit = clusters(1885, 82, 0.5, 8)
    probe_accuracy(*scored, *fit, 82, max_epochs=1)  # torch.optim loads parts of torch when it is first used
    taken = []
    for _ in range(4):
        start = time.process_time()
        probe_accuracy(*scored, *fit, 82, max_epochs=50, patience=50)
        taken.append((time.process_time() - start) / 50)
    assert min(taken) < 0.005  # 0.0013 s an epoch on an idle core


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": torch.zeros(5)}, r"latents has shape \(5,\)"),
        ({"latents": torch.zeros(5, 3)}, "3 and 2 columns"),
        ({"latents": torch.full((5, 2), float("nan"))}, "latents has 10 values"),
        ({"fit_latents": torch.zeros(0, 2)}, r"fit_latents has shape \(0, 2\)"),
        ({"labels": torch.zeros(5)}, "labels has type torch.float32"),
        ({"labels": torch.zeros(4).long()}, r"labels has shape \(4,\)"),
        ({"fit_labels": torch.full((20,), -1)}, "fit_labels has -1"),
        ({"n_classes": 2}, "n_classes is 2 but a label is 2"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
    ],
)
def test_unusable_arguments_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    arguments = {
        "latents": torch.zeros(5, 2),
        "labels": torch.full((5,), 2),
        "fit_latents": torch.zeros(20, 2),
        "fit_labels": torch.zeros(20).long(),
    }
    with pytest.raises(ValueError, match=message):
        probe_accuracy(**(arguments | change))
