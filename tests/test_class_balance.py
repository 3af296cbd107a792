"""Class-balanced scores against a resampled balanced world, and prior correction against Bayes by hand."""

import numpy as np
import pytest
from serann.data.class_balance import class_balanced, estimated_prior, expected_shares, prior_corrected


def value(rows, name):
    return next(row.value for row in rows if row.metric == name)


def test_by_hand():
    q = np.array([[0.8, 0.2], [0.5, 0.5], [0.6, 0.4]])
    counts = np.array([[2.0, 0.0], [1.0, 1.0], [4.0, 0.0]])
    rows = class_balanced(q, counts, groups=["s", "t", "u"])
    # label a: weights 1, .5, 1; label b: .5 of the second alone
    a = (np.log(0.8) + 0.5 * np.log(0.5) + np.log(0.6)) / 2.5
    assert value(rows, "log_score_balanced") == pytest.approx((a + np.log(0.5)) / 2)
    # |e_a - q|^2: .08, .5, .32
    assert value(rows, "quadratic_balanced") == pytest.approx(((0.08 + 0.25 + 0.32) / 2.5 + 0.5) / 2)
    np.testing.assert_allclose(expected_shares(counts), [2.5 / 3, 0.5 / 3])


def test_it_is_the_score_of_votes_drawn_with_labels_equally_common():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([2.0, 0.5, 0.3], 3000)
    counts = np.array([rng.multinomial(5, row) for row in p], dtype=float)
    q = 0.7 * p + 0.1
    votes = [np.repeat(np.arange(3000), counts[:, c].astype(int)) for c in range(3)]
    drawn = [np.log(q[rng.choice(rows, 40_000), c]).mean() for c, rows in enumerate(votes)]
    found = value(class_balanced(q, counts, groups=np.arange(3000)), "log_score_balanced")
    assert found == pytest.approx(np.mean(drawn), abs=0.01)


def test_nothing_scores_better_than_the_corrected_truth():
    rng = np.random.default_rng(1)
    p = rng.dirichlet([2.0, 0.5, 0.3], 20_000)
    counts = np.array([rng.multinomial(4, row) for row in p], dtype=float)
    groups = np.arange(len(p)) % 50
    right = prior_corrected(p, p.mean(axis=0), np.full(3, 1 / 3))
    best = class_balanced(right, counts, groups=groups)
    for other in (p, prior_corrected(p, p.mean(axis=0), np.array([0.2, 0.4, 0.4])), 0.8 * right + 0.2 / 3):
        scores = class_balanced(other, counts, groups=groups)
        assert value(scores, "log_score_balanced") < value(best, "log_score_balanced")
        assert value(scores, "quadratic_balanced") > value(best, "quadratic_balanced")


def test_prior_correction_is_bayes():
    # two sounds whose likelihoods under the labels are known; the posterior under either prior by hand
    likelihood = np.array([[0.9, 0.2, 0.1], [0.1, 0.8, 0.9]])
    old, new = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
    posterior = lambda prior: likelihood * prior / (likelihood * prior).sum(axis=1, keepdims=True)  # noqa: E731
    np.testing.assert_allclose(prior_corrected(posterior(old), old, new), posterior(new), atol=1e-12)
    assert np.isnan(prior_corrected(np.array([[np.nan] * 3]), old, new)).all()
    np.testing.assert_allclose(prior_corrected(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]), np.ones(2)), [[1, 0]])


def test_the_prior_of_the_answers_is_found():
    rng = np.random.default_rng(2)
    old, new = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    label = rng.choice(3, 20_000, p=new)
    x = rng.normal([-1.5, 0.0, 1.5], 1.0, (20_000, 3))[np.arange(20_000), label]
    density = np.exp(-((x[:, None] - np.array([-1.5, 0.0, 1.5])) ** 2) / 2)
    q = density * old / (density * old).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimated_prior(q, old), new, atol=0.02)
    q[5] = np.nan
    assert np.isfinite(estimated_prior(q, old)).all()
    assert np.isnan(estimated_prior(q[5:6], old)).all()


def test_rows_without_votes_or_prediction_are_skipped_and_absent_labels_have_no_weight():
    q = np.array([[0.5, 0.5, 0.0], [np.nan] * 3, [0.2, 0.8, 0.0], [0.1, 0.9, 0.0]])
    counts = np.array([[1.0, 1, 0], [2, 0, 0], [0, 0, 0], [0, 3, 0]])
    rows = class_balanced(q, counts, groups=list("abcd"))
    assert {(row.utterances, row.skipped) for row in rows} == {(2, 2)}
    # the third label has no vote, so its 0 costs nothing
    assert value(rows, "log_score_balanced") == pytest.approx(
        (np.log(0.5) + (0.5 * np.log(0.5) + np.log(0.9)) / 1.5) / 2
    )
