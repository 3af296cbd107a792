"""Fusion with several runs: one that nobody could learn to read, the same one twice, and a stated strength."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated_fusion import simulated_evidence, with_proxy
from serann.annotator.fusion import blend_by
from serann.annotator.fusion.cross_fit import FOLDS, CrossFit
from serann.annotator.fusion.models import fit_human_mixture
from serann.annotator.proxies import Panel
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.calibrated_prior import fit_empirical_bayes


def heard_in(run: Panel, rows: np.ndarray, order: tuple[int, ...]) -> Panel:
    """The run in some rows only, its labels in another order."""
    p = np.where(rows[:, None], run.q[:, order], np.nan)
    return replace(run, name="part", q=p, drawn=np.where(rows[:, None], run.drawn[:, order], 0))


@pytest.mark.parametrize("strategy", ["empirical-bayes", "latent-class", "auto"])
def test_a_run_that_spoke_in_one_fold_alone_has_no_say_there(strategy):
    """What its labels mean could be learnt from that fold's votes alone, which may not be used for it."""
    evidence, _ = simulated_evidence(rows=600)
    here = evidence.folds(folds=FOLDS) == 2
    run = evidence.runs[0]
    found = [
        blend_by(strategy, replace(evidence, runs=(run, heard_in(run, here, order))))
        for order in ((0, 1, 2, 3), (3, 2, 1, 0))
    ]
    np.testing.assert_allclose(found[0].p[here], found[1].p[here], rtol=1e-9)
    for blend in found:
        text = "\n".join(blend.warnings)
        assert (
            f"run part, of which nothing could be learnt outside a fold of speakers, is not used for {here.sum()}"
            in text
        )


def test_where_such_a_run_is_the_only_one_people_stand_alone():
    evidence, _ = simulated_evidence(rows=600)
    here = evidence.folds(folds=FOLDS) == 2
    run = evidence.runs[0]
    alone = replace(evidence, runs=(heard_in(run, ~here, (0, 1, 2, 3)), heard_in(run, here, (0, 1, 2, 3))))
    assert set(blend_by("empirical-bayes", alone).source[here]) == {"class-marginal"}
    assert set(blend_by("latent-class", alone).source[here]) == {"human-mixture"}
    found = blend_by("auto", alone)
    assert set(found.source[here]) == {"human-mixture"}
    assert np.isfinite(found.p).all()


def test_nothing_is_silenced_where_every_run_spoke_everywhere():
    evidence, _ = simulated_evidence(rows=100, runs=2)
    cross = CrossFit(evidence, {"human-mixture": fit_human_mixture})
    assert all(a is b for a, b in zip(cross.proxies.answers, evidence.proxies().answers, strict=True))


def test_a_proxy_that_nothing_was_learnt_of_has_no_strength():
    evidence, _ = simulated_evidence(rows=300)
    q, silent = evidence.runs[0].q, np.full_like(evidence.runs[0].q, np.nan)
    fit, alone = fit_empirical_bayes(evidence.seen, (silent, q)), fit_empirical_bayes(evidence.seen, q)
    assert fit.proxies[0].strength == 0
    assert fit.proxies[1].strength == alone.proxies[0].strength
    np.testing.assert_array_equal(fit.prior((silent, q)), alone.prior(q))
    assert np.isnan(fit.prior((q, silent))).all()
    stated = fit_empirical_bayes(evidence.seen, (silent, q), strength=3.0)
    assert [proxy.strength for proxy in stated.proxies] == pytest.approx([0, 3])


@pytest.mark.parametrize("strategy", ["empirical-bayes", "latent-class"])
def test_the_same_run_twice_is_worth_no_more_than_once(strategy):
    evidence, held = simulated_evidence()
    twice = replace(evidence, runs=evidence.runs * 2)
    once, both = (blend_by(strategy, e) for e in (evidence, twice))
    assert sq_unbiased(both.p, held).mean() == pytest.approx(sq_unbiased(once.p, held).mean(), abs=0.002)
    if strategy == "empirical-bayes":
        strength = [blend.parameters["all_train_speakers"]["strength"] for blend in (once, both)]
        assert strength[1] == pytest.approx(strength[0], rel=0.05)
        first, second = both.parameters["all_train_speakers"]["proxies"]
        assert first["strength"] == pytest.approx(second["strength"], rel=1e-3)


@pytest.mark.parametrize("strategy", ["empirical-bayes", "latent-class", "auto"])
def test_a_deaf_run_beside_a_good_one_takes_little_away(strategy):
    evidence, held = simulated_evidence()
    order = np.random.default_rng(2).permutation(len(held))
    deaf = replace(with_proxy(evidence, order), name="deaf")
    for runs in ((evidence.runs[0], deaf), (deaf, evidence.runs[0])):
        alone, both = (blend_by(strategy, replace(evidence, runs=some)) for some in (evidence.runs, runs))
        assert sq_unbiased(both.p, held).mean() < sq_unbiased(alone.p, held).mean() + 0.002
    if strategy == "latent-class":
        assert both.parameters["model"].startswith("latent-class of run 2, power ")
