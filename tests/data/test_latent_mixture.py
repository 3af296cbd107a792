"""The latent mixture: power 0 is the human mixture, good proxies help, deaf ones hardly harm; its steps by witness."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import psi
from scipy.stats import dirichlet
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import Answers, fit_latent_mixture, inverse_psi, log_share

KINDS = np.array([[20.0, 1, 1, 1], [1, 8, 8, 1], [1, 1, 1, 15]])


def drawn(seed, rows=3000):
    rng = np.random.default_rng(seed)
    p = np.array([rng.dirichlet(KINDS[z]) for z in rng.integers(0, 3, rows)])
    seen, held, proxy = (np.array([rng.multinomial(n, row) for row in p], dtype=float) for n in (2, 4, 8))
    said = np.array([rng.dirichlet(10 * row + 0.3) for row in p])
    return rng, seen, held, proxy, said


def test_a_proxy_with_power_zero_says_nothing():
    _, seen, _, proxy, _ = drawn(0)
    fit = fit_latent_mixture(seen, proxy, counts=True, power=0.0, components=4)
    np.testing.assert_allclose(fit.posterior_mean(seen, proxy), fit.people.posterior_mean(seen))


def test_good_proxies_help_and_shuffled_ones_hardly_harm():
    rng, seen, held, proxy, said = drawn(1)
    alone = fit_latent_mixture(seen, proxy, counts=True, power=0.0, components=6)
    human = sq_unbiased(alone.posterior_mean(seen, proxy), held).mean()
    for counts, power, answers in ((True, 1.0, proxy), (False, 0.5, said)):
        fit = fit_latent_mixture(seen, answers, counts=counts, power=power, components=6)
        assert sq_unbiased(fit.posterior_mean(seen, answers), held).mean() < 0.6 * human
        deaf = answers[rng.permutation(len(answers))]
        fit = fit_latent_mixture(seen, deaf, counts=counts, power=0.3, components=6)
        assert sq_unbiased(fit.posterior_mean(seen, deaf), held).mean() < 1.25 * human


def test_a_row_without_a_proxy_is_judged_by_its_votes():
    _, seen, _, _, said = drawn(2, rows=600)
    fit = fit_latent_mixture(seen, said, counts=False, components=4, steps=20)
    gone = said.copy()
    gone[:3] = np.nan
    found = fit.posterior_mean(seen, gone)
    np.testing.assert_allclose(found[:3], fit.people.posterior_mean(seen[:3]))
    np.testing.assert_allclose(found[3:], fit.posterior_mean(seen, said)[3:])
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_the_density_of_a_distribution_against_scipy():
    q = np.array([[0.5, 0.3, 0.2], [0.05, 0.9, 0.05]])
    beta = np.array([[1.0, 2.0, 3.0], [4.0, 0.5, 1.0]])
    witness = [[dirichlet.logpdf(row, b) for b in beta] for row in q]
    np.testing.assert_allclose(Answers(q, False).log_likelihood(beta), witness, atol=1e-9)
    np.testing.assert_allclose(np.exp(log_share(np.array([[1.0, 0.0]]))).sum(), 1)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-4, 1e4))
def test_inverse_psi(x):
    np.testing.assert_allclose(inverse_psi(psi(np.array([x]))), x, rtol=1e-6)
