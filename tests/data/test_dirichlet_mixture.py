"""The Dirichlet mixture: by hand with one class, against a naive sum, recovery, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import dirichlet_multinomial
from serann.data.errors import CorpusError
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import DirichletMixture, fit_dirichlet_mixture
from serann.data.vote_models.dirichlet_multinomial import CountTerms, fit_dirichlet_multinomial, posterior_mean

TWO = DirichletMixture(np.array([0.3, 0.7]), np.array([[2.0, 1.0, 0.5], [0.2, 3.0, 1.0]]), 0.0, 0)


def test_log_dirichlet_multinomial_against_scipy():
    counts = np.array([[2.0, 0, 1], [0, 0, 0], [1, 4, 2]])
    n = counts.sum(axis=1)
    orders = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)
    witness = [
        [dirichlet_multinomial.logpmf(row.astype(int), a, int(m)) - o if m else 0.0 for a in TWO.alpha]
        for row, m, o in zip(counts, n, orders, strict=True)
    ]
    np.testing.assert_allclose(CountTerms.of(counts).log_likelihood(TWO.alpha), witness, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_the_posterior_mean_equals_integration_by_draws_of_the_classes(row):
    counts = np.array([row], dtype=float)
    joint = [
        w * np.exp(CountTerms.of(counts).log_likelihood(a[None])[0, 0]) for w, a in zip(TWO.pi, TWO.alpha, strict=True)
    ]
    means = [(counts[0] + a) / (counts.sum() + a.sum()) for a in TWO.alpha]
    expected = sum(j * m for j, m in zip(joint, means, strict=True)) / sum(joint)
    np.testing.assert_allclose(TWO.posterior_mean(counts)[0], expected, atol=1e-12)


def test_one_class_is_the_dirichlet_multinomial():
    rng = np.random.default_rng(3)
    counts = np.array([rng.multinomial(4, rng.dirichlet([2.0, 1.0, 0.4])) for _ in range(3000)], dtype=float)
    one = fit_dirichlet_mixture(counts, components=1, steps=3000)
    np.testing.assert_allclose(one.alpha[0], fit_dirichlet_multinomial(counts), rtol=0.02)
    np.testing.assert_allclose(
        one.posterior_mean(counts[:5]), posterior_mean(counts[:5], fit_dirichlet_multinomial(counts)), atol=2e-3
    )


def test_kinds_of_utterances_are_found_and_help():
    rng = np.random.default_rng(0)
    kinds = np.array([[20.0, 1, 1, 1], [1, 8, 8, 1], [1, 1, 1, 15]])
    p = np.array([rng.dirichlet(kinds[z]) for z in rng.integers(0, 3, 6000)])
    seen = np.array([rng.multinomial(4, row) for row in p], dtype=float)
    held = np.array([rng.multinomial(4, row) for row in p], dtype=float)
    fitted = fit_dirichlet_mixture(seen, components=6)
    mixture = sq_unbiased(fitted.posterior_mean(seen), held).mean()
    single = sq_unbiased(posterior_mean(seen, fit_dirichlet_multinomial(seen)), held).mean()
    truth = DirichletMixture(np.full(3, 1 / 3), kinds, 0.0, 0)
    best = sq_unbiased(truth.posterior_mean(seen), held).mean()
    assert best - 0.002 < mixture < best + 0.4 * (single - best)


def test_em_never_goes_down():
    rng = np.random.default_rng(1)
    counts = rng.multinomial(3, rng.dirichlet(np.ones(4), 500)).astype(float)
    values = [fit_dirichlet_mixture(counts, components=4, steps=n).log_likelihood for n in range(1, 30)]
    assert (np.diff(values) > -1e-6).all()


def test_same_rows_in_any_order_and_number_give_the_same_fit():
    rng = np.random.default_rng(2)
    counts = rng.multinomial(3, rng.dirichlet(np.ones(3), 300)).astype(float)
    a, b = fit_dirichlet_mixture(counts), fit_dirichlet_mixture(counts[::-1])
    np.testing.assert_array_equal(a.alpha, b.alpha)
    empty = np.vstack([counts, np.zeros((3, 3)), np.full((2, 3), np.nan)])
    np.testing.assert_array_equal(fit_dirichlet_mixture(empty).alpha, a.alpha)


def test_single_votes_tell_nothing():
    with pytest.raises(CorpusError, match="one vote per utterance"):
        fit_dirichlet_mixture(np.eye(3))
