"""Losses against values by hand, by scipy, and by the corpus-level metric."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from serann.data.metrics import ccc
from serann.trainer.losses import concordance, concordance_loss, joint_loss, soft_label_kl

NAN = float("nan")


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
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad[:, 1:].abs().sum() == 0
    assert predicted.grad[3].abs().sum() == 0


@pytest.mark.parametrize("rated", [torch.full((3, 2), NAN), torch.ones(3, 2), torch.ones(3, 0)])
def test_without_a_dimension_that_counts_the_loss_is_zero(rated):
    assert float(concordance_loss(torch.zeros(3, rated.shape[1]), rated)) == 0


def test_a_constant_prediction_has_a_finite_gradient():
    predicted = torch.zeros(4, 1, requires_grad=True)
    loss = concordance_loss(predicted, torch.tensor([[0.1], [0.4], [-0.3], [0.0]]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1)
    assert torch.isfinite(predicted.grad).all()


def test_joint_loss_is_the_weighted_sum():
    logits, targets = torch.zeros(3, 2), torch.tensor([[1.0, 0.0]] * 3)
    predicted, rated = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [4.0]])
    loss = joint_loss(logits, targets, predicted, rated, weight=0.3)
    assert float(loss.categorical) == pytest.approx(math.log(2))
    assert float(loss.dimensional) == pytest.approx(1 / 7)
    assert float(loss.total) == pytest.approx(math.log(2) + 0.3 / 7)
    alone = joint_loss(logits, targets, None, rated, weight=0.3)
    assert float(alone.total) == pytest.approx(math.log(2))
