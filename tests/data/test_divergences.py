"""Each divergence against scipy, a naive loop, or the hand-derived example of the literature."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance
from scipy.stats import entropy
from serann.data.scores import divergences as d

P, Q = np.array([0.6, 0.2, 0.2, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
ALL = [d.jsd_bits, d.jsd_nats, d.jsd_root, d.bhattacharyya, d.total_variation, d.manhattan, d.hellinger]


def naive_jsd(p, q, log):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += (a * log(a / middle) if a else 0) / 2 + (b * log(b / middle) if b else 0) / 2
    return total


@pytest.fixture
def pairs():
    rng = np.random.default_rng(3)
    p, q = rng.dirichlet(np.full(5, 0.4), 200), rng.dirichlet(np.full(5, 0.4), 200)
    p[::7, 2] = 0
    return p / p.sum(1, keepdims=True), q


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [
        # .5 [.6 ln(.6/.8) + .4 ln 2 + ln(1/.8)] = .163897 nats; / ln 2; root; sqrt(.6); (.4 + .4) / 2
        (d.jsd_bits, 0.236453),
        (d.jsd_nats, 0.163897),
        (d.jsd_root, 0.404841),
        (d.bhattacharyya, 0.774597),
        (d.total_variation, 0.4),
    ],
)
def test_the_known_example(divergence, expected):
    assert divergence(P, Q) == pytest.approx(expected, abs=5e-7)


def test_every_divergence_equals_its_witness(pairs):
    p, q = pairs
    rows = list(zip(p, q, strict=True))
    witness = {
        d.jsd_root: [distance.jensenshannon(a, b) for a, b in rows],
        d.jsd_nats: [naive_jsd(a, b, math.log) for a, b in rows],
        d.jsd_bits: [naive_jsd(a, b, math.log2) for a, b in rows],
        d.bhattacharyya: [sum(math.sqrt(x * y) for x, y in zip(a, b, strict=True)) for a, b in rows],
        d.total_variation: [distance.cityblock(a, b) / 2 for a, b in rows],
    }
    for divergence, expected in witness.items():
        np.testing.assert_allclose(divergence(p, q), expected, atol=1e-12, err_msg=divergence.__name__)
    np.testing.assert_allclose(d.entropy_bits(p), entropy(p, base=2, axis=1), atol=1e-12)
    np.testing.assert_allclose(d.normalised_entropy(p), entropy(p, base=5, axis=1), atol=1e-12)


def test_rows_without_votes_are_undefined_not_uniform():
    p = np.array([[0.0, 0.0], [np.nan, 1.0], [0.5, 0.5]])
    q = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    for divergence in ALL:
        assert np.isnan(divergence(p, q)).tolist() == [True, True, False]
    assert np.isnan(d.entropy_bits(p)).tolist() == [True, True, False]


def test_counts_and_frequencies_give_the_same(pairs):
    counts = np.array([[3, 1, 0, 0, 2]])
    np.testing.assert_allclose(d.jsd_bits(counts, pairs[1]), d.jsd_bits(counts / 6, pairs[1]), atol=1e-15)


def test_a_negative_entry_is_an_error():
    with pytest.raises(ValueError, match="negative or an infinite entry"):
        d.jsd_bits([[1.2, -0.2]], [[0.5, 0.5]])


@given(st.permutations(range(5)), st.integers(0, 2**31))
def test_permuting_the_labels_changes_nothing(order, seed):
    p, q = np.random.default_rng(seed).dirichlet(np.ones(5), (2, 3))
    for divergence in ALL:
        np.testing.assert_allclose(divergence(p[:, order], q[:, order]), divergence(p, q), atol=1e-12)
        np.testing.assert_allclose(divergence(q, p), divergence(p, q), atol=1e-12)


def test_bounds(pairs):
    far = d.jsd_bits([[1, 0]], [[0, 1]]), d.total_variation([[1, 0]], [[0, 1]]), d.bhattacharyya([[1, 0]], [[0, 1]])
    assert [float(x[0]) for x in far] == pytest.approx([1, 1, 0])
    assert (d.jsd_bits(pairs[0], pairs[0]) == 0).all()
