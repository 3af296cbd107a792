"""`opinion-pool`: both forms by hand, a learnt weight that is the best one, and its options."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fixtures.simulated_fusion import simulated_evidence, with_proxy
from serann.annotator.fusion import blend_by
from serann.annotator.fusion.opinion_pool import against_others, best_weight, pooled
from serann.data.errors import OptionError
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean

POOL = partial(blend_by, "opinion-pool")


def test_both_forms_by_hand():
    h, q = np.log([[0.6, 0.4]]), np.log([[0.2, 0.8]])
    np.testing.assert_allclose(pooled(h, q, 0.25, "linear"), [[0.5, 0.5]])
    top = np.array([0.6**0.75 * 0.2**0.25, 0.4**0.75 * 0.8**0.25])
    np.testing.assert_allclose(pooled(h, q, 0.25, "logarithmic"), [top / top.sum()])


@pytest.mark.parametrize("form", ["linear", "logarithmic"])
def test_the_learnt_weight_is_the_best_of_a_grid(form):
    evidence, _ = simulated_evidence(rows=500)
    alpha = fit_dirichlet_multinomial(evidence.seen)
    everything, fold = np.ones(500, bool), np.zeros(500, int)
    others = against_others(evidence.seen, np.log(evidence.proxy() * 0.9 + 0.025), {0: alpha}, fold, everything)
    at = np.arange(len(others.row)), others.label

    def score(weight: float) -> float:
        return float(others.times @ np.log(pooled(others.log_h, others.log_q, weight, form)[at]))

    grid = np.linspace(0, 1, 201)
    assert best_weight(others, form) == pytest.approx(grid[np.argmax([score(w) for w in grid])], abs=0.006)


@pytest.mark.parametrize("form", ["linear", "logarithmic"])
def test_a_good_proxy_weighs_and_a_deaf_one_hardly(form):
    evidence, held = simulated_evidence()
    good = POOL(evidence, opinion=form)
    assert sq_unbiased(good.p, held).mean() < sq_unbiased(blend_by("human", evidence).p, held).mean()
    assert good.parameters["weight"] > 0.3
    order = np.random.default_rng(0).permutation(len(held))
    assert POOL(replace(evidence, runs=(with_proxy(evidence, order),)), opinion=form).parameters["weight"] < 0.1
    np.testing.assert_allclose(good.p.sum(axis=1), 1)
    assert np.isnan(good.effective_votes).all()


def test_a_weight_of_0_is_the_human_opinion_and_a_fixed_weight_is_kept():
    evidence, _ = simulated_evidence(rows=300)
    none = POOL(evidence, weight=0.0)
    fold = evidence.folds()
    for f in range(5):
        alpha = fit_dirichlet_multinomial(evidence.seen[fold != f])
        np.testing.assert_allclose(none.p[fold == f], posterior_mean(evidence.seen[fold == f], alpha))
    assert POOL(evidence, weight=0.3).parameters["weights_of_folds"] == [0.3] * 5


def test_options_out_of_range():
    evidence, _ = simulated_evidence(rows=100)
    with pytest.raises(OptionError, match="unknown form 'median' of opinion-pool; expected one of linear, logarithmic"):
        POOL(evidence, opinion="median")
    with pytest.raises(OptionError, match=r"the proxy's weight is 1\.5; expected a share from 0 to 1"):
        POOL(evidence, weight=1.5)
    with pytest.raises(OptionError, match="strategy 'opinion-pool' needs one or more runs"):
        POOL(replace(evidence, runs=()))


def test_who_has_only_one_side():
    evidence, _ = simulated_evidence(rows=300)
    run, seen = evidence.runs[0], evidence.seen.copy()
    p = run.q.copy()
    p[:2], seen[1:3] = np.nan, 0
    found = POOL(replace(evidence, seen=seen, runs=(replace(run, q=p),)))
    assert found.source[:4].tolist() == ["human", None, "synthetic", "opinion-pool"]
    np.testing.assert_array_equal(found.p[2], evidence.proxy()[2])
    assert np.isnan(found.p[1]).all()
