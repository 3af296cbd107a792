"""`human-mixture`: cross-fitted posterior means of the seen votes, by the mixture's own formula; no proxy in it."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated_fusion import simulated_evidence
from serann.annotator.fusion import blend_by
from serann.annotator.fusion.cross_fit import FOLDS
from serann.annotator.fusion.models import COMPONENTS, STARTS
from serann.data.errors import CorpusError, OptionError
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.seeds import seed_from
from serann.data.vote_models.dirichlet_mixture import fit_latent_mixture


def test_a_folds_distributions_are_those_of_a_mixture_fitted_to_the_other_folds():
    evidence, _ = simulated_evidence()
    blend = blend_by("human-mixture", evidence)
    fold = evidence.folds(folds=FOLDS)
    for f in range(FOLDS):
        there = fold == f
        rest = evidence.seen[evidence.train & ~there]
        seeds = [seed_from("latent class", evidence.seed, start) for start in range(STARTS)]
        fits = [fit_latent_mixture(rest, (), counts=(), power=0.0, components=COMPONENTS, seed=seed) for seed in seeds]
        means = [fit.people.posterior_mean(evidence.seen[there]) for fit in fits]
        np.testing.assert_allclose(blend.p[there], np.mean(means, axis=0), atol=1e-10)
    assert set(blend.source) == {"human-mixture"}
    assert (blend.effective_votes > evidence.seen.sum(axis=1)).all()


def test_it_smooths_better_than_raw_votes_and_ignores_runs():
    evidence, held = simulated_evidence()
    blend = blend_by("human-mixture", evidence)
    raw = blend_by("human", evidence)
    assert sq_unbiased(blend.p, held).mean() < 0.7 * sq_unbiased(raw.p, held).mean()
    alone = blend_by("human-mixture", replace(evidence, runs=()))
    np.testing.assert_array_equal(alone.p, blend.p)
    assert blend.warnings == ("runs that were given and not used: 1",)


def test_no_votes_no_distribution():
    evidence, _ = simulated_evidence()
    seen = evidence.seen.copy()
    seen[:5] = 0
    blend = blend_by("human-mixture", replace(evidence, seen=seen, runs=()))
    assert np.isnan(blend.p[:5]).all()
    assert blend.source[:5].tolist() == [None] * 5
    assert blend.warnings == ("train utterances without a seen human vote, and so without a distribution: 5",)


@pytest.mark.parametrize("strategy", ["human-mixture", "latent-class", "auto", "opinion-pool"])
def test_single_votes_and_no_votes_are_refused(strategy):
    evidence, _ = simulated_evidence()
    single = replace(evidence, seen=np.eye(evidence.seen.shape[1])[evidence.seen.argmax(axis=1)])
    with pytest.raises(OptionError, match="strength not identifiable from single votes: every utterance has at most"):
        blend_by(strategy, single)
    with pytest.raises(CorpusError, match=f"strategy '{strategy}' needs seen human votes"):
        blend_by(strategy, replace(evidence, seen=np.zeros_like(evidence.seen)))
