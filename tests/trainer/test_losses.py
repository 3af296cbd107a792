"""Losses against values by hand, by scipy, and by the corpus-level metric."""

import math

import numpy as np
import pytest
import torch
from fixtures.present import present
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr, softmax
from scipy.stats import dirichlet_multinomial as scipy_dm
from serann.data.errors import OptionError
from serann.data.scores.metrics import ccc
from serann.trainer.network.losses import (
    CATEGORICAL,
    Target,
    class_weights,
    concordance,
    concordance_loss,
    dimensional_loss,
    likelihood_and_concordance,
)
from serann.trainer.targets import CURRICULA, annealed, at_epoch, expected_entropy, in_order, kept, stages, weights

NAN = float("nan")


def soft_label_kl(logits, targets):
    """The mean over the batch of the loss `kl`, of targets alone."""
    none = torch.zeros(len(targets), 0)
    return CATEGORICAL["kl"].of(logits, Target(targets, none, none, torch.ones(targets.shape[1]))).mean()


def test_kl_by_hand():
    # y = (1/2, 1/2, 0) against uniform q: ln(3/2); y = (1, 0, 0): ln 3
    logits, targets = torch.zeros(2, 3), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert float(soft_label_kl(logits, targets)) == pytest.approx((math.log(1.5) + math.log(3)) / 2)


def test_kl_equals_scipy_and_is_zero_at_the_target():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(5, 4)), rng.dirichlet(np.ones(4), size=5)
    expected = rel_entr(y, softmax(logits, axis=1)).sum(axis=1).mean()
    assert float(soft_label_kl(torch.tensor(logits), torch.tensor(y))) == pytest.approx(expected, rel=1e-5)
    assert float(soft_label_kl(torch.tensor(np.log(y)), torch.tensor(y))) == pytest.approx(0, abs=1e-6)


def test_kl_has_the_gradient_of_cross_entropy_even_at_zeros_of_the_target():
    logits = torch.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    targets = torch.tensor([[0.25, 0.75, 0.0]])
    soft_label_kl(logits, targets).backward()
    torch.testing.assert_close(logits.grad, torch.softmax(logits.detach(), -1) - targets)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_kl_does_not_depend_on_the_order_of_labels(order):
    rng = np.random.default_rng(1)
    logits, y = torch.tensor(rng.normal(size=(3, 4))), torch.tensor(rng.dirichlet(np.ones(4), size=3))
    permuted = soft_label_kl(logits[:, list(order)], y[:, list(order)])
    torch.testing.assert_close(permuted, soft_label_kl(logits, y))


def test_concordance_by_hand_and_as_the_metric():
    # x = 1, 2, 3; y = 1, 2, 4: cov 1, variances 2/3 and 14/9, means 2 and 7/3: 2 / (20/9 + 1/9) = 6/7
    assert float(concordance(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 2, 4]))) == pytest.approx(6 / 7)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=20), rng.normal(size=20)
    assert float(concordance(torch.tensor(x), torch.tensor(y))) == pytest.approx(ccc(x, y))


def test_concordance_loss_leaves_out_missing_ratings_and_dimensions_that_do_not_vary():
    predicted = torch.tensor([[1.0, 0.1, 0.3], [2.0, 0.2, 0.1], [3.0, 0.9, 0.2], [9.0, 0.0, 0.5]], requires_grad=True)
    rated = torch.tensor([[1.0, 0.5, NAN], [2.0, 0.5, NAN], [4.0, 0.5, NAN], [NAN, 0.5, 0.4]])
    loss = concordance_loss(predicted, rated)  # the second is constant, the third rated once: the first alone counts
    assert float(loss.detach()) == pytest.approx(1 - 6 / 7)
    loss.backward()
    assert torch.isfinite(present(predicted.grad)).all()
    assert present(predicted.grad)[:, 1:].abs().sum() == 0
    assert present(predicted.grad)[3].abs().sum() == 0


@pytest.mark.parametrize("rated", [torch.full((3, 2), NAN), torch.ones(3, 2), torch.ones(3, 0)])
def test_without_a_dimension_that_counts_the_loss_is_zero(rated):
    assert float(concordance_loss(torch.zeros(3, rated.shape[1]), rated)) == 0


def test_a_constant_prediction_has_a_finite_gradient():
    predicted = torch.zeros(4, 1, requires_grad=True)
    loss = concordance_loss(predicted, torch.tensor([[0.1], [0.4], [-0.3], [0.0]]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1)
    assert torch.isfinite(present(predicted.grad)).all()


def test_the_loss_on_ratings_follows_its_kind_and_is_0_without_a_head():
    mean, rated = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    one, s = torch.ones(1), torch.zeros(3, 1)
    assert float(dimensional_loss("ccc", mean, None, rated, one)) == pytest.approx(1 - 6 / 7)
    both = likelihood_and_concordance(mean, s, rated, one)
    assert float(dimensional_loss("nll-ccc", mean, s, rated, one)) == pytest.approx(float(both))
    assert float(dimensional_loss("ccc", None, None, rated, one)) == 0


def batch(rows=6, labels=4, seed=0):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(3, rng.dirichlet(np.ones(labels), 1)[0], size=rows).astype(float)
    p = rng.dirichlet(np.ones(labels), size=rows)
    w = rng.uniform(0.3, 2, labels)
    target = Target(*(torch.tensor(x) for x in (p, votes, np.zeros((rows, 0)), w)))
    return rng.normal(size=(rows, labels)), p, votes, w, target


def test_every_categorical_loss_equals_its_definition_by_other_means():
    logits, p, votes, w, target = batch()
    q = softmax(logits, axis=1)
    log_dm = [
        scipy_dm(np.exp(z), int(n.sum())).logpmf(n.astype(int)) - log_orders(n)
        for z, n in zip(logits, votes, strict=True)
    ]
    expected = {
        "ce": -(p * np.log(q)).sum(axis=1),
        "cb-ce": -(w * p * np.log(q)).sum(axis=1),
        "kl": rel_entr(p, q).sum(axis=1),
        "weighted-kl": (w * rel_entr(p, q)).sum(axis=1),
        "jsd": np.array([jensenshannon(a, b) ** 2 for a, b in zip(p, q, strict=True)]),
        "dirichlet-multinomial": -np.array(log_dm) / 3,
    }
    assert set(expected) == set(CATEGORICAL)
    for name, rows in expected.items():
        np.testing.assert_allclose(
            CATEGORICAL[name].of(torch.tensor(logits), target).numpy(), rows, rtol=2e-5, err_msg=name
        )


def log_orders(n: np.ndarray) -> float:
    """Log of the number of orders in which counts may have been cast."""
    return math.lgamma(n.sum() + 1) - sum(math.lgamma(x + 1) for x in n)


@pytest.mark.parametrize("name", CATEGORICAL)
def test_losses_are_finite_with_a_gradient_at_sure_targets_and_wild_logits(name):
    logits = torch.tensor([[90.0, -90.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    hard = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    target = Target(hard, torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), torch.zeros(2, 0), torch.ones(3))
    CATEGORICAL[name].of(logits, target).sum().backward()
    assert torch.isfinite(present(logits.grad)).all()


def test_the_evidential_loss_has_its_least_at_the_truth():
    """Votes from Dirichlet(a) are explained best by a, strength included, not only by its mean."""
    rng = np.random.default_rng(0)
    a = np.array([3.0, 1.0, 0.5])
    votes = torch.tensor(np.array([rng.multinomial(8, rng.dirichlet(a)) for _ in range(20_000)]).astype(float))
    target = Target(votes / 8, votes, torch.zeros(len(votes), 0), torch.ones(3))

    def loss(scale: float, tilt: float = 0.0) -> float:
        logits = torch.tensor(np.log(a * scale) + np.array([tilt, 0, 0])).expand(len(votes), 3)
        return float(CATEGORICAL["dirichlet-multinomial"].of(logits, target).mean())

    best = loss(1.0)
    assert all(best < other for other in (loss(1.4), loss(0.7), loss(1.0, 0.2), loss(1.0, -0.2)))


def test_class_weights_are_those_of_the_papers():
    counts = np.array([50708, 46711, 27936, 29170, 1199, 1876, 3989, 4772, 2829])
    effective = (1 - 0.9999) / (1 - 0.9999**counts)
    np.testing.assert_allclose(class_weights("cb-ce", counts), effective / effective.mean())
    inverse = (1 / counts) / (1 / counts).mean()
    np.testing.assert_allclose(class_weights("weighted-kl", counts), np.clip(inverse, 0.25, 5))
    assert class_weights("weighted-kl", counts).min() == 0.25
    np.testing.assert_array_equal(class_weights("kl", counts), np.ones(9))
    assert np.isfinite(class_weights("cb-ce", np.array([0, 10]))).all()


def test_a_label_without_votes_leaves_the_weights_of_the_others_alone():
    # 1 / n = .001, .01, .1, their mean .037: .027, .27, 2.7, clipped to .25 and 5
    wanted = np.array([0.25, 10 / 37, 100 / 37])
    np.testing.assert_allclose(class_weights("weighted-kl", np.array([1000, 100, 10])), wanted)
    for rest in (0, 0.02):  # nothing, or what a smoothing fusion gives it
        for loss in ("weighted-kl", "cb-ce"):
            found = class_weights(loss, np.array([1000, 100, 10, rest]))
            np.testing.assert_allclose(found[:3], class_weights(loss, np.array([1000, 100, 10])))
            assert np.isfinite(found[3])
    effective = (1 - 0.9999) / (1 - 0.9999 ** np.array([1000, 100, 10]))
    np.testing.assert_allclose(
        class_weights("cb-ce", np.array([1000, 0, 100, 10]))[[0, 2, 3]], effective / effective.mean()
    )
    np.testing.assert_array_equal(class_weights("cb-ce", np.array([0.5, 0.5, 0])), np.ones(3))


def test_the_loss_on_ratings_by_hand():
    mean, rated = torch.tensor([[1.0, 0.0], [2.0, 0.5], [3.0, 9.0]]), torch.tensor([[1.0, 0.5], [2.0, NAN], [4.0, NAN]])
    log_variance = torch.tensor([[0.0, 1.0], [1.0, 5.0], [0.0, 5.0]])
    first = (0 + 0.5 * 1 + 0.5 * 1) / 3  # errors 0, 0, 1; log-variances 0, 1, 0
    second = 0.5 * (math.exp(-1) * 0.25 + 1)  # rated once: no concordance
    expected = (1.4 * first + 1.0 * second) / 2 + 0.1 * (1 - 6 / 7)
    weights = torch.tensor([1.4, 1.0])
    assert float(likelihood_and_concordance(mean, log_variance, rated, weights)) == pytest.approx(expected, rel=1e-6)


def test_expected_entropy_is_the_mean_over_the_posterior():
    rng = np.random.default_rng(0)
    a = np.array([[3.0, 1.0, 0.4], [0.2, 0.2, 0.2]])
    for row, found in zip(a, expected_entropy(a), strict=True):
        p = rng.dirichlet(row, 200_000)
        drawn = -(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0)).sum(axis=1).mean() / np.log(3)
        assert found == pytest.approx(drawn, abs=3e-3)


def test_filters_keep_their_share_and_equals_by_lot():
    ambiguity = np.array([0.5, 0.1, 0.5, 0.5, 0.9, 0.5])
    ids = [f"u{i}" for i in range(6)]
    orders = [in_order(ambiguity, ids, seed=0, epoch=epoch) for epoch in range(1, 30)]
    assert all(order[1] == 0 and order[4] == 5 and sorted(order) == list(range(6)) for order in orders)
    assert len({tuple(order) for order in orders}) > 5  # the four equal ones change places
    turned = in_order(ambiguity[::-1], ids[::-1], seed=0, epoch=3)
    np.testing.assert_array_equal(turned[::-1], orders[2])
    chance = np.array([0.3, 0.9, 0.1, 0.5, 0.2, 0.8])
    for share, many in ((0.5, 3), (0.6, 4), (1.0, 6), (0.01, 1)):
        masks = {name: kept(name, orders[0], share, chance=chance) for name in CURRICULA[1:4]}
        assert {name: mask.sum() for name, mask in masks.items()} == dict.fromkeys(masks, many)
        assert masks["filter"][1]
        assert masks["reverse-filter"][4]
        assert masks["random-filter"][2]


def test_weights_are_the_papers_and_mean_one():
    h = np.array([0.0, 0.5, 1.0])
    np.testing.assert_allclose(weights("weight", h, 2.0, least=0.15), np.array([1, 0.25, 0.15]) / (1.4 / 3))
    np.testing.assert_allclose(weights("reverse-weight", h, 2.0, least=0.15), np.array([0.15, 0.25, 1]) / (1.4 / 3))
    np.testing.assert_allclose(weights("weight", h, 0.0, least=0.15), 1)
    # all of a batch equally ambiguous weigh evenly, also where nothing is and the least weight is 0
    for name, equal in (("reverse-weight", 0.0), ("reverse-weight", 0.3), ("weight", 1.0)):
        np.testing.assert_array_equal(weights(name, np.full(4, equal), 2.0, least=0.0), np.ones(4))
    assert kept("filter", np.arange(6), 1e-12, chance=np.zeros(6)).sum() == 1


def test_schedules_are_read_and_refused():
    found = stages("1:.5,2:.6,4:.8,8:.9,12:1", name="--quantiles")
    assert [at_epoch(found, epoch) for epoch in (1, 2, 3, 4, 11, 12, 20)] == [0.5, 0.6, 0.6, 0.8, 0.9, 1, 1]
    assert annealed(2.0, 0.0, 1, ramp=1) == 2.0
    for wrong in ("", "half", "2:.5", "1:.5,1:.6", "1:.5,4:.6,2:.7", "1:nan", "1:.5,2:inf"):
        with pytest.raises(OptionError, match="--quantiles is"):
            stages(wrong, name="--quantiles")
