"""The proper scores: their expectation by simulation, their values by naive loops over votes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serann.data.scores import proper_scores as s
from serann.data.scores.divergences import jsd_bits


def simulated(m, utterances=20_000, labels=5, seed=0):
    rng = np.random.default_rng([seed, m])
    p = rng.dirichlet(np.full(labels, 0.5), utterances)
    return p, rng.multinomial(m, p).astype(float)


@pytest.mark.parametrize("m", [2, 3, 5, 10])
def test_the_true_distribution_scores_zero_at_any_number_of_votes(m):
    p, counts = simulated(m)
    rows = s.sq_unbiased(p, counts)
    error = rows.std(ddof=1) / np.sqrt(len(rows))
    assert error < 0.004
    assert abs(rows.mean()) < 3 * error


@pytest.mark.parametrize("m", [2, 4])
def test_a_wrong_distribution_scores_its_squared_distance(m):
    p, counts = simulated(m)
    q = np.roll(p, 1, axis=1)
    rows = s.sq_unbiased(q, counts) - ((q - p) ** 2).sum(1)
    assert abs(rows.mean()) < 3 * rows.std(ddof=1) / np.sqrt(len(rows))


def test_jsd_at_few_votes_rewards_sharpening_and_the_proper_scores_do_not():
    p, counts = simulated(3)
    sharp = p**1.75 / (p**1.75).sum(1, keepdims=True)
    assert jsd_bits(sharp, counts).mean() < jsd_bits(p, counts).mean()
    assert s.sq_unbiased(sharp, counts).mean() > s.sq_unbiased(p, counts).mean()
    assert s.log_score(sharp, counts).mean() < s.log_score(p, counts).mean()


def test_sq_unbiased_by_hand():
    # q = (.5, .3, .2), votes (2, 1, 0): .38 - 2 (.5 2/3 + .3 1/3) + 2 1 / (3 2) = .38 - .866667 + .333333
    assert s.sq_unbiased([[0.5, 0.3, 0.2]], [[2, 1, 0]])[0] == pytest.approx(-0.1533333, abs=1e-7)


def test_scores_equal_naive_loops_over_votes():
    p, counts = simulated(6, utterances=50)
    for q, h, square, log, ambiguity in zip(
        p, counts, s.sq_unbiased(p, counts), s.log_score(p, counts), s.unbiased_ambiguity(counts), strict=True
    ):
        votes = np.repeat(np.arange(5), h.astype(int))
        pairs = [(a, b) for i, a in enumerate(votes) for j, b in enumerate(votes) if i != j]
        agreement = np.mean([a == b for a, b in pairs])
        assert ambiguity == pytest.approx(1 - agreement, abs=1e-9)
        assert square == pytest.approx((q**2).sum() - 2 * np.mean(q[votes]) + agreement, abs=1e-9)
        assert log == pytest.approx(np.mean(np.log(q[votes])), abs=1e-9)


def test_the_labels_share_of_the_squared_error_adds_up():
    p, counts = simulated(4, utterances=30)
    by_label = s.sq_unbiased_by_label(p, counts)
    np.testing.assert_allclose(by_label.sum(1), s.sq_unbiased(p, counts), atol=1e-12)
    # one label against the rest, as a two-label problem, has each label's error twice
    two, votes = np.c_[p[:, 1], 1 - p[:, 1]], np.c_[counts[:, 1], 4 - counts[:, 1]]
    np.testing.assert_allclose(s.sq_unbiased(two, votes), 2 * by_label[:, 1], atol=1e-12)


@given(st.permutations(range(5)), st.integers(2, 9))
def test_permuting_the_labels_changes_nothing(order, m):
    p, counts = simulated(m, utterances=4)
    for score in (s.sq_unbiased, s.log_score):
        np.testing.assert_allclose(score(p[:, order], counts[:, order]), score(p, counts), atol=1e-12)
    np.testing.assert_allclose(s.unbiased_ambiguity(counts[:, order]), s.unbiased_ambiguity(counts), atol=1e-12)


def test_undefined_rows():
    q = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, 0.5], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    votes = np.array([[1, 0], [2, 2], [0, 0], [1.5, 0.5], [1, 1], [0, 2]])
    assert np.isnan(s.sq_unbiased(q, votes)).tolist() == [True, True, True, True, False, False]
    log = s.log_score(q, votes)
    assert np.isnan(log).tolist() == [False, True, True, False, False, False]
    # an honest minus infinity where somebody voted for what q excludes; q = 0 costs nothing where nobody did
    assert log[4] == -np.inf
    assert log[5] == 0


def test_jsd_at_m_draws_exactly_m_votes_of_each_utterance():
    q = np.full((3, 2), 0.5)
    counts, ids = np.array([[6.0, 0.0], [2.0, 1.0], [9.0, 1.0]]), ["a", "b", "c"]
    rows = s.jsd_bits_at(q, counts, 4, ids, 0)
    assert rows[0] == pytest.approx(jsd_bits([0.5, 0.5], [1, 0]))
    assert np.isnan(rows[1])
    assert s.votes_at(counts, 4, ids, 0)[2].sum() == 4


def test_the_draw_depends_on_the_id_and_not_on_the_order_of_rows():
    _, counts = simulated(8, utterances=40)
    ids = [f"u{i}" for i in range(40)]
    there, back = s.votes_at(counts, 4, ids, 1), s.votes_at(counts[::-1], 4, ids[::-1], 1)[::-1]
    np.testing.assert_array_equal(there, back)
    assert (there != s.votes_at(counts, 4, ids, 2)).any()
