"""Class-balanced scores against a resampled balanced world, and prior correction against Bayes by hand."""

import numpy as np
import pytest
from fixtures.present import present
from serann.data.scores.class_balance import class_balanced, estimated_prior, expected_shares, prior_corrected
from serann.trainer.scoring.measures import own_confusion, why_undetermined


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


def test_shares_are_read_off_answers_that_tell_the_labels_apart_and_off_no_others():
    rng = np.random.default_rng(4)
    label = rng.choice(3, 3000, p=[0.2, 0.3, 0.5])
    sharp = 0.7 * np.eye(3)[label] + 0.1
    naive = np.array([[(sharp[:, i] * sharp[:, j]).sum() / sharp[:, i].sum() for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(own_confusion(sharp), naive)
    assert why_undetermined(sharp) is None
    flat = np.array([0.5, 0.3, 0.2]) + rng.uniform(-0.01, 0.01, (300, 3))
    flat /= flat.sum(axis=1, keepdims=True)
    assert (flat.argmax(axis=1) == 0).all()
    assert "magnified about" in present(why_undetermined(flat))
    assert "magnified without bound" in present(why_undetermined(np.tile([0.5, 0.3, 0.2], (300, 1))))
    # a label that no answer has any mass on tells nothing about the others
    assert why_undetermined(np.column_stack([sharp, np.zeros(3000)])) is None
    assert why_undetermined(np.full((2, 3), np.nan)) is None


def test_what_is_read_off_a_determined_answer_is_as_far_off_as_the_mean_answer_over_the_least_singular_value():
    """Answers of a calibrated model of two labels, shifted by e: the shares move by no more than e / s."""
    rng = np.random.default_rng(5)
    right = np.array([0.9, 0.1])[(rng.random(20_000) < 0.4).astype(int)]
    q = np.column_stack([right, 1 - right])
    have = q.mean(axis=0)
    confusion = own_confusion(q)
    least = np.linalg.svd(confusion, compute_uv=False).min()
    moved = estimated_prior(q + np.array([0.02, -0.02]), have) - estimated_prior(q, have)
    assert 0.02 < abs(moved[0]) <= np.sqrt(2) * 0.02 / least
