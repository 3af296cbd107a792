"""Agreement of two pools: cross-kappa against the paper's sums, one vote per rater, two halves of a crowd."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import shuffled, simulated_corpus, simulated_run, simulated_truth
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.audit import panel_agreement as agree
from serann.annotator.audit.result import plain
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.report.audit_sections import agreement_section
from serann.annotator.run.run import open_run
from serann.data.scores.agreement import fleiss_kappa, gwet_ac1, kappa_x, krippendorff_alpha, normalised_kappa_x

GOOD = {f"good-{i}": 0.0 for i in range(9)}


def ballots(row):
    return [c for c, n in enumerate(row) for _ in range(int(n))]


def naive_kappa_x(x, y):
    """The paper's double sums, vote by vote; items that a pool lacks are no replication."""
    pairs = [(ballots(a), ballots(b)) for a, b in zip(x, y, strict=True) if a.sum() and b.sum()]
    if not pairs:
        return float("nan")
    r, s = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    observed = 0.0
    for a, b in pairs:
        differ = sum(v != w for v in a for w in b)
        observed += (len(a) + len(b)) / (r + s) * differ / (len(a) * len(b))
    expected = sum(v != w for a, _ in pairs for _, b in pairs for v in a for w in b) / (r * s)
    return 1 - observed / expected if expected else float("nan")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 8))
def test_kappa_x_equals_the_papers_sums(seed, labels, items):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 3, (2, items, labels)).astype(float)
    assert kappa_x(x, y) == pytest.approx(naive_kappa_x(x, y), abs=1e-9, nan_ok=True)
    assert kappa_x(y, x) == pytest.approx(kappa_x(x, y), abs=1e-12, nan_ok=True)
    both = (x.sum(1) > 0) & (y.sum(1) > 0)
    alphas = krippendorff_alpha(x[both]), krippendorff_alpha(y[both])
    if min(alphas) > 0:
        expected = naive_kappa_x(x, y) / np.sqrt(alphas[0] * alphas[1])
        assert normalised_kappa_x(x, y) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    else:
        assert np.isnan(normalised_kappa_x(x, y))


def test_cross_kappa_by_hand():
    # with one vote each it is Cohen's kappa: agreement 2/3, chance 2/3 · 1/3 + 1/3 · 2/3 = 4/9
    assert kappa_x([[1, 0], [1, 0], [0, 1]], [[1, 0], [0, 1], [0, 1]]) == pytest.approx(0.4, abs=1e-12)
    assert kappa_x([[2, 0], [0, 2]], [[3, 0], [0, 1]]) == 1
    assert np.isnan(kappa_x([[1, 0]], [[0, 0]]))
    assert np.isnan(kappa_x([[2, 0]], [[1, 0]]))


def test_two_halves_of_one_crowd_are_interchangeable_and_shuffled_ones_are_not():
    truth = simulated_truth(4000, 20, 6, 0)
    rng = np.random.default_rng(1)
    x, y = rng.multinomial(3, truth), rng.multinomial(7, truth)
    assert normalised_kappa_x(x, y) == pytest.approx(1, abs=0.02)
    assert kappa_x(x, y) == pytest.approx(krippendorff_alpha(x), abs=0.02)
    assert kappa_x(x, y[::-1]) == pytest.approx(0, abs=0.02)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("w")
    corpus, truth = simulated_corpus(place / "c", utterances=400, speakers=16, raters=GOOD)
    runs = {
        name: open_run(simulated_run(place / name, corpus, p, listeners=6, votes=24, spread=0.01))
        for name, p in (("true", truth), ("deaf", shuffled(truth)))
    }
    ref = build_reference(corpus)
    return Scorer([ref.redrawn(draw) for draw in range(2)], level=0.95), runs, corpus


def test_agreement_within_and_between_the_pools(world):
    scorer, runs, _ = world
    human = scorer.reference.scored + scorer.reference.other
    true, deaf = (agree.section(scorer, run, name) for name, run in runs.items())
    counts, _ = agree.one_vote_a_rater(runs["true"], scorer.reference)
    for pool, votes in ((true.humans, human), (true.synthetic, counts)):
        found = {name: interval.value for name, interval in pool.coefficients.items()}
        expected = (krippendorff_alpha(votes), gwet_ac1(votes), fleiss_kappa(votes))
        assert tuple(found.values()) == pytest.approx(expected, abs=1e-9)
        assert list(found) == ["krippendorff_alpha", "gwet_ac1", "fleiss_kappa"]
    assert true.kappa_x.value == pytest.approx(kappa_x(human, counts), abs=1e-9)
    assert true.normalised_kappa_x.value == pytest.approx(normalised_kappa_x(human, counts), abs=1e-9)
    assert true.normalised_kappa_x.low < 1 < true.normalised_kappa_x.high
    # the deaf panel agrees with itself as much, and with people not at all
    assert deaf.synthetic.coefficients["krippendorff_alpha"].value > 0.2
    assert deaf.kappa_x.high < 0.1
    assert deaf.normalised_kappa_x.high < 0.2
    assert true.kappa_x.method == "jackknife-t"
    assert true.kappa_x.groups == 16


def test_each_rater_gives_one_vote_drawn_from_its_distribution(world):
    scorer, runs, _ = world
    counts, what = agree.one_vote_a_rater(runs["true"], scorer.reference)
    assert "exact" in what
    assert (counts.sum(axis=1) == 6).all()
    again, _ = agree.one_vote_a_rater(runs["true"], scorer.reference)
    np.testing.assert_array_equal(counts, again)


def test_listeners_that_differ_in_temperature_alone_are_one_rater(world):
    scorer, runs, _ = world
    run = runs["true"]
    raters = ["a", "a", "b", "b", "c", "c"]
    place = run.listeners.column_names.index("rater")
    merged = replace(run, listeners=run.listeners.set_column(place, "rater", pa.array(raters)))
    counts, _ = agree.one_vote_a_rater(merged, scorer.reference)
    assert (counts.sum(axis=1) == 3).all()
    texts = replace(merged, scores=merged.scores.slice(0, 0))
    counts, what = agree.one_vote_a_rater(texts, scorer.reference)
    assert what == "each rater's first readable answer"
    assert (counts.sum(axis=1) == 3).all()
    listeners = ("listener-0", "listener-2")
    first = [row for row in run.votes.to_pylist() if row["draw"] == 0 and row["rater_id"] in listeners]
    ids, labels = scorer.reference.ids, list(scorer.reference.labels)
    for row in first:
        assert counts[ids.index(row["utterance_id"]), labels.index(row["label"])] >= 1


def test_a_single_listener_cannot_disagree_and_it_is_said(world):
    scorer, runs, _ = world
    run = runs["true"]
    place = run.listeners.column_names.index("rater")
    alone = replace(run, listeners=run.listeners.set_column(place, "rater", pa.array(["a"] * 6)))
    found = agree.section(scorer, alone, "alone")
    assert np.isnan(found.synthetic.coefficients["krippendorff_alpha"].value)
    assert "no utterance has two votes of different raters (alone)" in present(found.synthetic.reason)
    assert found.reason == found.synthetic.reason
    assert found.kappa_x.value > 0.2  # one vote is enough to agree with people
    json.dumps(plain(found), allow_nan=False)
    assert "two votes of different raters" in html(agreement_section(found))


def test_constant_raters_are_a_sentence(world):
    scorer, _, corpus = world
    same = corpus.votes.set_column(
        corpus.votes.column_names.index("label"), "label", pa.array(["happy"] * corpus.votes.num_rows)
    )
    found = agree.section(scorer, replace(corpus, votes=same), "bored")
    assert found.synthetic.reason == "all votes are one label (bored), so nobody could disagree"
    assert found.kappa_x.value == pytest.approx(0, abs=1e-9)


def test_another_human_panel_and_the_page(world):
    scorer, _, corpus = world
    found = agree.section(scorer, corpus, "again")
    assert found.votes_from == "the panel's human votes"
    assert found.synthetic.coefficients == found.humans.coefficients
    page = html(agreement_section(found))
    assert "Krippendorff&#39;s" in page or "Krippendorff's" in page
    assert "between the two" in page
    json.dumps(plain(found), allow_nan=False)
