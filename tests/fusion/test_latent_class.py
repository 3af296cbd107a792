"""`latent-class`: the power falls to 0 with a deaf proxy, evidence of runs adds, and each step by a witness."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated_fusion import simulated_evidence, with_proxy
from scipy.special import gammaln, psi
from serann.annotator.fusion import blend_by
from serann.annotator.fusion.evidence import Proxies
from serann.annotator.fusion.models import FittedPrior, fit_prior
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import Answers, fit_latent_mixture
from serann.data.vote_models.dirichlet_multinomial import CountTerms


@pytest.mark.parametrize("exact", [False, True])
def test_a_good_proxy_helps_and_a_deaf_one_is_given_no_power(exact):
    evidence, held = simulated_evidence(exact=exact)
    human = sq_unbiased(blend_by("human-mixture", evidence).p, held).mean()
    blend = blend_by("latent-class", evidence)
    assert sq_unbiased(blend.p, held).mean() < 0.6 * human
    assert blend.parameters["power"] >= 0.4
    assert set(blend.source) == {"latent-class"}
    order = np.random.default_rng(5).permutation(len(held))
    deaf = blend_by("latent-class", replace(evidence, runs=(with_proxy(evidence, order),)))
    assert sq_unbiased(deaf.p, held).mean() < human + 0.002


def test_two_runs_add_their_evidence():
    evidence, held = simulated_evidence(answers=3, runs=2)
    one = blend_by("latent-class", replace(evidence, runs=evidence.runs[:1]))
    both = blend_by("latent-class", evidence)
    assert sq_unbiased(both.p, held).mean() < sq_unbiased(one.p, held).mean() - 0.003
    assert both.parameters["runs"] == ["panel 1", "panel 2"]


def test_evidence_of_proxies_is_the_sum_of_theirs():
    evidence, _ = simulated_evidence(rows=400)
    drawn = evidence.runs[0].drawn
    fit = fit_latent_mixture(evidence.seen, (drawn, drawn[::-1]), counts=(True, True), power=0.5, components=3, steps=9)
    parts = [Answers(y, True).log_likelihood(b) for y, b in zip((drawn, drawn[::-1]), fit.beta, strict=True)]
    np.testing.assert_allclose(fit.proxy_evidence((drawn, drawn[::-1])), 0.5 * (parts[0] + parts[1]))


def test_utterances_without_a_proxy_or_without_votes():
    evidence, _ = simulated_evidence(rows=600)
    seen, run = evidence.seen.copy(), evidence.runs[0]
    drawn = run.drawn.copy()
    drawn[:3], seen[2:6] = 0, 0
    p = np.where(drawn.sum(axis=1, keepdims=True) > 0, run.q, np.nan)
    blend = blend_by("latent-class", replace(evidence, seen=seen, runs=(replace(run, q=p, drawn=drawn),)))
    assert blend.source[:7].tolist() == ["human-mixture"] * 2 + [None] + ["latent-class"] * 4
    np.testing.assert_array_equal(np.isnan(blend.p).any(axis=1), [i == 2 for i in range(600)])
    assert "utterances with human votes and no proxy, which are smoothed without one: 2" in blend.warnings


def test_a_vote_left_out_is_predicted_as_if_it_had_never_been_cast():
    evidence, _ = simulated_evidence(rows=300)
    drawn = evidence.runs[0].drawn
    fit = fit_latent_mixture(evidence.seen, drawn, counts=True, power=0.7, components=4, steps=20)
    row, label, q = fit.left_out(evidence.seen, drawn)
    for i in (0, 1, 17, 100):
        rest = evidence.seen[row[i]].copy()
        rest[label[i]] -= 1
        np.testing.assert_allclose(q[i], fit.posterior_mean(rest[None], drawn[row[i]][None])[0], atol=1e-12)


def test_the_same_for_the_calibrated_prior():
    evidence, _ = simulated_evidence(rows=300)
    q = evidence.runs[0].q
    proxies = Proxies((q,), (False,), (q,))
    fit: FittedPrior = fit_prior(evidence.seen, proxies, 0)
    prior = fit.fit.prior(q)
    n, a = evidence.seen, prior
    u, k = 3, int(evidence.seen[3].argmax())
    expected = np.log((n[u, k] - 1 + a[u, k]) / (n[u].sum() - 1 + a[u].sum()))
    assert fit.left_out(n, proxies).log[u, k] == pytest.approx(expected)
    assert np.isnan(fit.left_out(n, proxies).log[n == 0]).all()


def test_count_terms_are_the_dirichlet_multinomial_and_its_fixed_point():
    rng = np.random.default_rng(0)
    counts = np.array([rng.multinomial(n, [0.5, 0.3, 0.2]) for n in (0, 1, 2, 5, 9, 9)], float)
    counts[2, 0] += 0.5  # shares of votes are counts too
    alpha = rng.gamma(1.0, 2.0, (4, 3))
    terms = CountTerms.of(counts)
    n, total = counts.sum(axis=1), alpha.sum(axis=1)
    witness = gammaln(total) - gammaln(total + n[:, None])
    witness = witness + (gammaln(alpha + counts[:, None, :]) - gammaln(alpha)).sum(axis=2)
    np.testing.assert_allclose(terms.log_likelihood(alpha), witness, atol=1e-10)
    r = rng.dirichlet(np.ones(4), len(counts))
    marginal = np.array([0.5, 0.3, 0.2])
    expected = alpha.copy()
    for _ in range(3):  # Minka's fixed point, a class and a label at a time
        for z, a in enumerate(expected.copy()):
            below = sum(w * (psi(row.sum() + a.sum()) - psi(a.sum())) for w, row in zip(r[:, z], counts, strict=True))
            for k in range(3):
                above = sum(w * (psi(row[k] + a[k]) - psi(a[k])) for w, row in zip(r[:, z], counts, strict=True))
                # the pseudo-utterance of each label: half a vote per label, spread as the marginal
                above += 0.5 * 3 * marginal[k] * (psi(1 + a[k]) - psi(a[k]))
                expected[z, k] = a[k] * above / (below + 0.5 * 3 * (psi(1 + a.sum()) - psi(a.sum())))
    np.testing.assert_allclose(terms.improved(alpha, r, marginal, inner=3), expected, rtol=1e-8)
