"""What is taught: every kind of target from seen votes alone, by hand and against the policies."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.fusion import fuse
from serann.annotator.fusion.strategies import STRATEGIES, blends
from serann.annotator.run.run import open_run
from serann.data.errors import CorpusError
from serann.data.fused import open_fused
from serann.data.policies import distributions
from serann.data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial
from serann.data.votes import count_votes, frequencies
from serann.trainer.targets import (
    TARGETS,
    expected_entropy,
    hard,
    left_out,
    marginal_prior,
    training_examples,
    vote_targets,
)


@pytest.fixture(scope="module")
def fused(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets")
    corpus, _ = simulated_corpus(path / "corpus", utterances=200, speakers=10)
    fuse(corpus, [], strategy="human-mixture", out=path / "fused")
    return open_fused(path / "fused")


def made(fused, kind, **options):
    return vote_targets(fused, kind, **{"part": "seen", "merged_alpha": 0.9, "seed": 0, **options})


def test_every_kind_is_a_distribution_of_train_utterances_from_seen_votes(fused):
    corpus = fused.corpus
    seen = count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen")
    for kind in TARGETS:
        found = made(fused, kind)
        assert corpus.in_split("train")[found.rows].all()
        np.testing.assert_allclose(found.p.sum(axis=1), 1)
        assert (found.posterior > 0).all()
        if kind != "disaggregated":
            np.testing.assert_array_equal(found.votes, seen[found.rows])
    rows = made(fused, "primary").rows
    prior = fit_dirichlet_multinomial(seen[corpus.in_split("train")])
    np.testing.assert_allclose(made(fused, "primary").p, frequencies(seen[rows]))
    np.testing.assert_allclose(made(fused, "smoothed").p, (seen + prior)[rows] / (2 + prior.sum()))
    np.testing.assert_allclose(made(fused, "fused").p, fused.distributions[rows])
    strength = made(fused, "fused").posterior.sum(axis=1)
    np.testing.assert_allclose(strength, fused.effective_votes[rows])
    merged = distributions(corpus.votes, corpus.ids, corpus.labels, policy="merged", alpha=0.8, part="seen").p
    np.testing.assert_allclose(made(fused, "merged", merged_alpha=0.8).p, merged[rows])


def test_hard_targets_break_ties_by_lot_and_by_utterance(fused):
    p = np.array([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6], [np.nan] * 3])
    found = hard(np.repeat(p, 400, axis=0), [f"u{i}" for i in range(1200)], seed=0)
    assert 0.4 < found[:400, 0].mean() < 0.6
    np.testing.assert_array_equal(found[:400, :2].sum(axis=1), 1)
    assert (found[400:800, 2] == 1).all()
    assert np.isnan(found[800:]).all()
    one, two = (hard(p[:1], ["u7"], seed=seed) for seed in (0, 0))
    np.testing.assert_array_equal(one, two)
    assert (made(fused, "hard").p.max(axis=1) == 1).all()


def test_disaggregated_votes_add_up_to_the_votes(fused):
    found, primary = made(fused, "disaggregated"), made(fused, "primary")
    assert (found.p.max(axis=1) == 1).all()
    summed = np.zeros((len(fused.corpus.ids), found.p.shape[1]))
    np.add.at(summed, found.rows, found.p)
    np.testing.assert_array_equal(summed[primary.rows], primary.votes)


def test_ambiguity_is_known_for_few_votes_and_lies_between_nothing_and_all(fused):
    examples = training_examples(fused, [], targets="primary")
    assert ((examples.ambiguity > 0) & (examples.ambiguity < 1)).all()
    agreed = (examples.votes.max(axis=1) == 2) & (examples.votes[:, 0] == 2)
    split = (examples.votes.max(axis=1) == 1) & (examples.votes[:, 0] == 1)
    assert examples.ambiguity[agreed].max() < examples.ambiguity[split].min()


def test_without_what_targets_are_made_of_it_is_said(fused):
    single = np.eye(3)[[0, 1, 2, 0]]
    np.testing.assert_array_equal(marginal_prior(single), np.ones(3))
    votes = fused.corpus.votes
    bare = replace(fused, corpus=replace(fused.corpus, votes=votes.slice(0, 0)))
    with pytest.raises(CorpusError, match="no utterance of the train split has the seen votes that targets 'hard'"):
        made(bare, "hard")


@pytest.fixture(scope="module")
def fusions(tmp_path_factory):
    """One corpus fused by every strategy, those of proxies from a run of eight drawn votes per utterance."""
    path = tmp_path_factory.mktemp("fusions")
    corpus, truth = simulated_corpus(path / "corpus", utterances=120, speakers=10)
    run = open_run(simulated_run(path / "run", corpus, truth, votes=8))
    for name in blends():
        if name in ("dawid-skene", "mace", "glad"):
            pytest.importorskip("crowdkit")
        fuse(corpus, [] if name in ("human", "human-mixture") else [run], strategy=name, out=path / name)
    return {name: open_fused(path / name) for name in blends()}


def test_two_equal_votes_leave_a_doubt_after_every_fusion(fusions):
    """By hand: two of two votes, p = e_c, N = 2: of Dirichlet(2 e_c + a) no entropy is 0; of Dirichlet(2 e_c) it is."""
    corpus = fusions["human"].corpus
    prior = fit_dirichlet_multinomial(made(fusions["human"], "primary").votes)
    assert expected_entropy(np.array([[2.0, 0.0, 0.0]])) == pytest.approx(0)
    for name, fused in fusions.items():
        found = made(fused, "fused")
        strength, own = found.posterior.sum(axis=1), fused.effective_votes[found.rows]
        known = np.isfinite(own)
        np.testing.assert_allclose(
            strength[known], own[known] + (0 if STRATEGIES[name].smooths else prior.sum()), rtol=1e-6
        )
        np.testing.assert_allclose(found.posterior[~known], found.votes[~known] + prior, rtol=1e-6)
        assert training_examples(fused, []).ambiguity.min() > 0.01, name
    human = training_examples(fusions["human"], [])
    np.testing.assert_allclose(human.ambiguity, training_examples(fusions["human"], [], targets="primary").ambiguity)
    assert len(human) == corpus.in_split("train").sum()


def test_a_strategy_is_unsmoothed_where_its_effective_votes_are_votes_that_were_cast(fusions):
    corpus = fusions["human"].corpus
    cast = {name: count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen").sum(axis=1) for name in fusions}
    for name in set(fusions) - {"human", "human-mixture"}:
        cast[name] = cast[name] + 8  # the run's
    for name, fused in fusions.items():
        rows = corpus.in_split("train") & np.isfinite(fused.effective_votes)
        own = fused.effective_votes[rows]
        # nameless and named alike a ballot is at most a vote; a prior's votes are no whole number
        whole = len(own) and np.allclose(own, np.rint(own)) and (own <= cast[name][rows]).all()
        if np.isfinite(fused.effective_votes).any():
            assert bool(whole) == (not STRATEGIES[name].smooths), name


def test_utterances_that_nothing_teaches_are_counted(fused):
    corpus = fused.corpus
    voted = corpus.votes.to_pylist()
    bare = {name for name, inside in zip(corpus.ids, corpus.in_split("train"), strict=True) if inside}
    bare = set(sorted(bare)[:7])
    keep = [vote["utterance_id"] not in bare for vote in voted]
    fewer = replace(fused, corpus=replace(corpus, votes=corpus.votes.filter(keep)))
    examples = training_examples(fewer, [], targets="primary")
    assert (examples.votes.sum(axis=1) > 0).all()
    asked = int(corpus.in_split("train").sum())
    assert left_out(examples, "primary") == [
        f"7 of {asked} train utterances have no seen vote, which targets primary are made of, and are left out"
    ]
    assert left_out(training_examples(fewer, []), "fused") == []
    assert left_out(training_examples(fused, [], targets="disaggregated"), "disaggregated") == []
