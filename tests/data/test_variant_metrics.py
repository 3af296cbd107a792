"""The further variants of papers, each against scipy, scikit-learn, a naive loop, or a figure by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance
from serann.data.scores import calibration as ce
from serann.data.scores import divergences as d
from serann.data.scores import metrics as m
from serann.data.scores import proper_scores as s

P, Q = np.array([0.6, 0.2, 0.2, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])


def rows(utterances=400, labels=5, votes=4, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(labels, 0.5), utterances)
    q = 0.7 * p + 0.3 * rng.dirichlet(np.ones(labels), utterances)
    return q, rng.multinomial(votes, p).astype(float), p


def ballots(h):
    return [c for c, n in enumerate(h) for _ in range(int(n))]


def test_the_example_of_the_literature_under_every_name():
    found = {f.__name__: float(f(P, Q)) for f in (d.jsd_bits, d.jsd_nats, d.jsd_root, d.bhattacharyya)}
    expected = {"jsd_bits": 0.236453, "jsd_nats": 0.163897, "jsd_root": 0.404841, "bhattacharyya": 0.774597}
    assert found == pytest.approx(expected, abs=5e-7)
    # sqrt(1 - sqrt(.6)); |.6 - 1| + .2 + .2
    assert float(d.hellinger(P, Q)) == pytest.approx((1 - 0.6**0.5) ** 0.5, abs=1e-12)
    assert float(d.manhattan(P, Q)) == pytest.approx(0.8, abs=1e-12)


def test_hellinger_and_manhattan_equal_scipy():
    q, _, p = rows()
    by_hand = [distance.euclidean(np.sqrt(a), np.sqrt(b)) / np.sqrt(2) for a, b in zip(q, p, strict=True)]
    np.testing.assert_allclose(d.hellinger(q, p), by_hand, atol=1e-12)
    np.testing.assert_allclose(d.hellinger(q, p), np.sqrt(1 - d.bhattacharyya(q, p)), atol=1e-9)
    cityblock = [distance.cityblock(a, b) for a, b in zip(q, p, strict=True)]
    np.testing.assert_allclose(d.manhattan(q, p), cityblock, atol=1e-12)
    np.testing.assert_allclose(d.manhattan(q, p), 2 * d.total_variation(q, p), atol=1e-12)


def test_r2_by_class_equals_scikit_learn_also_below_zero_and_for_a_constant_label():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    q, counts, _ = rows()
    y = counts / 4
    assert m.r2_by_class(q, counts) == pytest.approx(sklearn_metrics.r2_score(y, q), abs=1e-9)
    assert m.r2_by_class(q[::-1], counts) == pytest.approx(sklearn_metrics.r2_score(y, q[::-1]), abs=1e-9)
    assert m.r2_by_class(q[::-1], counts) < 0
    never = np.column_stack([counts, np.zeros(len(counts))])
    for spare in (0.0, 0.1):
        wide = np.column_stack([q * (1 - spare), np.full(len(q), spare)])
        expected = sklearn_metrics.r2_score(never / 4, wide)
        assert m.r2_by_class(wide, never) == pytest.approx(expected, abs=1e-9)


def test_item_r2_equals_scipy_and_is_undefined_for_uniform_rows():
    q, counts, _ = rows()
    expected = [np.asarray(stats.pearsonr(a, b))[0] ** 2 for a, b in zip(q, counts, strict=True)]
    np.testing.assert_allclose(m.item_r2_rows(q, counts), expected, atol=1e-9)
    assert np.isnan(m.item_r2_rows([[0.25] * 4, [1, 0, 0, 0]], [[2, 1, 0, 0], [1, 1, 1, 1]])).all()
    # blind to sign, as the paper has it
    assert m.item_r2_rows([[0.6, 0.2, 0.2]], [[1, 2, 2]])[0] == pytest.approx(1, abs=1e-12)


def test_brier_equals_a_loop_over_votes_and_is_the_squared_error_plus_disagreement():
    q, counts, _ = rows()
    loop = [np.mean([np.sum((a - np.eye(5)[v]) ** 2) for v in ballots(h)]) for a, h in zip(q, counts, strict=True)]
    np.testing.assert_allclose(s.brier(q, counts), loop, atol=1e-12)
    np.testing.assert_allclose(s.brier(q, counts), s.sq_unbiased(q, counts) + s.unbiased_ambiguity(counts), atol=1e-12)
    assert np.isnan(s.brier([[0.5, 0.5], [np.nan, np.nan]], [[0, 0], [1, 0]])).all()


def test_squared_agreement_equals_a_loop_over_quadruples_and_is_unbiased():
    for h in ([3, 1, 0], [2, 2, 1], [6, 0, 0], [1, 1, 2]):
        votes = ballots(h)
        at = range(len(votes))
        chosen = [(a, b, c, e) for a in at for b in at for c in at for e in at if len({a, b, c, e}) == 4]
        agree = np.mean([votes[a] == votes[b] and votes[c] == votes[e] for a, b, c, e in chosen])
        assert s.squared_agreement([h])[0] == pytest.approx(agree, abs=1e-12)
    assert np.isnan(s.squared_agreement([[2, 1]])).all()
    p = np.tile([0.5, 0.3, 0.2], (40_000, 1))
    found = s.squared_agreement(np.random.default_rng(0).multinomial(4, p))
    assert found.mean() == pytest.approx(0.38**2, abs=4 * found.std() / 200)


def naive_ece(x, y, bins):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in pairwise(edges):
        inside = (x > low) & (x <= high) | ((low == 0) & (x == 0))
        if inside.any():
            total += inside.mean() * abs(x[inside].mean() - y[inside].mean())
    return total


@pytest.mark.parametrize("bins", [5, 10])
def test_calibration_errors_equal_naive_loops(bins):
    q, counts, _ = rows()
    q[:3], counts[3:5] = np.nan, 0
    there = slice(5, None)
    top = m.accuracy_rows(q, counts)[there]
    assert ce.ece(q, counts, bins=bins) == pytest.approx(naive_ece(q[there].max(1), top, bins), abs=1e-9)
    shares = counts[there] / 4
    by_label = [naive_ece(q[there, c], shares[:, c], bins) for c in range(5)]
    assert ce.distribution_ece(q, counts, bins=bins) == pytest.approx(sum(by_label) / 2, abs=1e-9)


def test_calibration_errors_by_hand():
    # confidences .8 .8 .6, right, wrong, right: bins (.7, .8] and (.5, .6]: 2/3 |.8 - .5| + 1/3 |.6 - 1|
    q, counts = [[0.8, 0.2], [0.8, 0.2], [0.6, 0.4]], [[3, 0], [0, 3], [2, 1]]
    assert ce.ece(q, counts) == pytest.approx(1 / 3, abs=1e-12)
    # label 0: 2/3 |.8 - .5| + 1/3 |.6 - 2/3|, label 1 the same in (.1, .2] and (.3, .4]; half of their sum
    assert ce.distribution_ece(q, counts) == pytest.approx(0.2 + 0.2 / 9, abs=1e-12)
    # an edge belongs to the bin below it, whatever the rounding of .1 + .2
    assert ce.distribution_ece([[0.1 + 0.2, 0.7], [0.3, 0.7]], [[1, 0], [0, 1]]) == pytest.approx(0.2, abs=1e-9)
    assert np.isnan(ce.ece([[np.nan, np.nan]], [[1, 1]]))


def test_the_class_marginal_is_calibrated_and_the_truth_all_but():
    _, counts, p = rows(20_000)
    marginal = np.tile(counts.mean(0), (len(p), 1))
    assert ce.distribution_ece(marginal, counts) == pytest.approx(0, abs=1e-12)
    assert ce.distribution_ece(p, counts) < 0.02
    assert ce.distribution_ece(p**3, counts) > 0.1


@given(st.integers(0, 2**31), st.permutations(range(5)))
def test_variants_do_not_depend_on_the_order_of_labels_or_rows(seed, order):
    q, counts, _ = rows(30, seed=seed)
    for f in (m.r2_by_class, ce.ece, ce.distribution_ece):
        assert f(q[:, order], counts[:, order]) == pytest.approx(f(q, counts), abs=1e-9)
        assert f(q[::-1], counts[::-1]) == pytest.approx(f(q, counts), abs=1e-9)
    assert ce.distribution_ece(q, counts) <= d.total_variation(q, counts).mean() + 1e-12
    np.testing.assert_allclose(m.item_r2_rows(q[:, order], counts[:, order]), m.item_r2_rows(q, counts), atol=1e-9)
