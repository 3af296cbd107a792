"""What is taught: every kind of target from seen votes alone, by hand and against the policies."""

from dataclasses import replace

import numpy as np
import pytest
from serann.annotator.fusion import fuse
from serann.data.dirichlet import fit_dirichlet_multinomial
from serann.data.errors import CorpusError
from serann.data.fused import open_fused
from serann.data.policies import distributions
from serann.data.votes import count_votes, frequencies
from serann.trainer.targets import training_examples
from serann.trainer.vote_targets import TARGETS, hard, marginal_prior, vote_targets
from simulated import simulated_corpus


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
