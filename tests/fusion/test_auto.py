"""`auto`: takes a proxy where it helps, and nowhere else; it hears no vote that it may not hear."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.present import present
from fixtures.simulated_fusion import simulated_evidence, with_proxy
from serann.annotator.fusion import blend_by
from serann.annotator.fusion.auto import BASE, cut, decide, plurality, plurality_of_rest
from serann.annotator.fusion.cross_fit import FOLDS, CrossFit, subsample
from serann.annotator.fusion.empirical_bayes import NAME as PRIOR
from serann.annotator.fusion.latent_class import LATENT_CLASS, final_fits, power_fits
from serann.annotator.fusion.models import fit_prior
from serann.annotator.fusion.strategies import blends
from serann.data.errors import CorpusError, OptionError
from serann.data.scores.proper_scores import sq_unbiased


@pytest.fixture(scope="module")
def good():
    evidence, held = simulated_evidence()
    return evidence, held, blend_by("auto", evidence)


def test_a_good_proxy_is_taken(good):
    evidence, held, found = good
    base = blend_by(BASE, evidence)
    assert sq_unbiased(found.p, held).mean() < 0.65 * sq_unbiased(base.p, held).mean()
    gain = found.parameters["gain_in_log_score_per_seen_vote"]["all"]
    assert gain["low"] > 0
    assert gain["proxy_taken"] == sum(source != BASE for source in found.source)
    np.testing.assert_allclose(found.p.sum(axis=1), 1)


def test_a_shuffled_proxy_is_not_and_the_report_says_so(good):
    evidence, _, _ = good
    order = np.random.default_rng(3).permutation(len(evidence.ids))
    found = blend_by("auto", replace(evidence, runs=(with_proxy(evidence, order),)))
    np.testing.assert_array_equal(found.p, blend_by(BASE, evidence).p)
    assert set(found.source) == {BASE}
    assert "that fell back to the human mixture: 900 of 900 (the proxy is not shown to help in all" in found.warnings[0]


def test_a_proxy_for_women_only_is_taken_for_women_only(good):
    evidence, held, _ = good
    men = evidence.genders == "male"
    order = np.random.default_rng(4).permutation(len(evidence.ids))
    found = blend_by("auto", replace(evidence, runs=(with_proxy(evidence, order, men),)))
    base = blend_by(BASE, evidence)
    np.testing.assert_allclose(found.p[men], base.p[men], rtol=1e-12)
    assert sq_unbiased(found.p, held)[~men].mean() < sq_unbiased(base.p, held)[~men].mean() - 0.01
    assert "gender:male" in found.warnings[0]
    assert "gender:female" not in found.warnings[0]


def test_utterances_that_no_run_covers_are_smoothed_without_one(good):
    evidence, _, _ = good
    run = evidence.runs[0]
    p, drawn = run.q.copy(), run.drawn.copy()
    p[:40], drawn[:40] = np.nan, 0
    found = blend_by("auto", replace(evidence, runs=(replace(run, q=p, drawn=drawn),)))
    assert set(found.source[:40]) == {BASE}
    assert "utterances with human votes and no proxy, which are smoothed without one: 40" in found.warnings


def test_outside_train_votes_are_never_read_and_parameters_are_those_of_train(good):
    """The plant: votes of another split are changed wildly; nothing moves."""
    evidence, _, _ = good
    train = np.array([int(s[1:]) < 18 for s in evidence.speakers])
    seen = np.where(train[:, None], evidence.seen, 0)
    apart = replace(evidence, seen=seen, train=train)
    first = blend_by("auto", apart)
    outside = ~train & np.isfinite(first.p).all(axis=1)
    assert outside.any()
    assert set(first.source[outside]) <= {"latent-class", "empirical-bayes"}
    run = evidence.runs[0]
    p = np.where(train[:, None], run.q, run.q[::-1])
    moved = replace(apart, runs=(replace(run, q=p, drawn=np.where(train[:, None], run.drawn, run.drawn[::-1])),))
    np.testing.assert_array_equal(blend_by("auto", moved).p[train], first.p[train])


@pytest.mark.parametrize("strategy", [name for name in blends() if name != "synthetic"])
def test_a_planted_leak_is_refused(good, strategy):
    evidence, _, _ = good
    train = np.arange(len(evidence.ids)) >= 7
    with pytest.raises(CorpusError, match="7 utterances outside the train split come with seen votes"):
        blend_by(strategy, replace(evidence, train=train))


def test_strata_by_hand():
    evidence, _ = simulated_evidence(rows=60)
    seen = evidence.seen
    seen[0], seen[1] = [2, 1, 0, 0], [1, 1, 1, 0]
    np.testing.assert_array_equal(plurality(seen)[:2], [[True, False, False, False], [True, True, True, False]])
    rest = plurality_of_rest(seen)
    # one of two neutral votes away: neutral and happy tie; the happy one away: neutral alone
    np.testing.assert_array_equal(rest[0, :2], [[True, True, False, False], [True, False, False, False]])
    assert not rest[0, 2].any()
    strata = cut(evidence, evidence.proxy())
    assert strata.names[:3] == ("all", "gender:female", "gender:male")
    assert strata.names[-4:] == ("seen:neutral", "seen:happy", "seen:angry", "seen:sad")
    assert strata.of_row[:, 0].all()
    np.testing.assert_array_equal(strata.of_row[:, 3:6].sum(axis=1), 1)


def test_what_is_decided_for_a_fold_is_decided_on_the_others_votes(good):
    """Scores of one fold's votes are spoilt: the decision for that fold stands, those for the others do not."""
    evidence, _, _ = good
    cross = CrossFit(replace(evidence), power_fits() | final_fits() | {PRIOR: fit_prior})
    strata = cut(evidence, evidence.proxy())
    rest = np.moveaxis(plurality_of_rest(cross.sampled), 2, 0)
    latent = present(LATENT_CLASS.candidates)

    def decided(f: int):
        return decide(cross, strata, rest, f, [PRIOR, latent.best(cross, f)])

    before = {f: decided(f) for f in (2, 3, -1)}
    here = cross.fold[cross.rows] == 2
    for name in cross.fits:
        cross.scores(name).log[here] -= 100.0 * (name != BASE)
    after = {f: decided(f) for f in (2, 3, -1)}
    assert after[2] == before[2]
    assert "all" in before[3].won & before[-1].won
    assert "all" not in after[3].won | after[-1].won


def test_the_subsample_is_seeded_and_of_the_stated_size():
    evidence, _ = simulated_evidence(rows=500)
    mask = subsample(evidence, most=100)
    assert mask.sum() == 100
    np.testing.assert_array_equal(mask, subsample(evidence, most=100))
    assert (mask != subsample(replace(evidence, seed=1), most=100)).any()
    assert len(set(evidence.folds(folds=FOLDS)[mask])) == FOLDS


def test_blend_by_name(good):
    evidence, _, found = good
    np.testing.assert_array_equal(blend_by("auto", evidence).p, found.p)
    with pytest.raises(OptionError, match="unknown strategy 'best'; expected one of auto, empirical-bayes"):
        blend_by("best", evidence)
