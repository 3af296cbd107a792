"""What a panel is worth in human votes: crossings by hand, panels of known worth, real votes, what has none."""

import json
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from fixtures.present import present
from fixtures.real_panels import GOOD, as_corpus, crema
from fixtures.simulated import biased, shuffled, simulated_corpus, simulated_run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, isotonic_regression
from scipy.stats import t as student
from serann.annotator.audit import audit, baselines
from serann.annotator.audit.calibration import chosen, subgroups
from serann.annotator.audit.effective_votes import crossing, falling
from serann.annotator.audit.gate import check, parse_requirements
from serann.annotator.audit.panel_agreement import independent_listeners
from serann.annotator.audit.scorer import build_reference
from serann.annotator.report.audit_words import answers as in_words
from serann.annotator.report.figures import worth_figure
from serann.annotator.run.run import open_run
from serann.data.holdout import divide_votes, write_division
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models.dirichlet_mixture import DirichletMixture
from serann.data.vote_models.dirichlet_multinomial import distinct_places
from serann.data.votes import count_votes, split_counts


def at(level, curve, *, groups=12, confidence=0.95):
    """A crossing of groups that all have the same means."""
    curve = np.tile(np.asarray(curve, float), (groups, 1))
    return crossing(np.full(groups, float(level)), curve, np.ones(groups), confidence=confidence)


def test_points_of_the_curve_are_worth_their_number():
    for n, level in enumerate((0.9, 0.6, 0.5, 0.45)):
        assert at(level, (0.9, 0.6, 0.5, 0.45)).value == pytest.approx(n, abs=1e-9)


def test_between_two_points_of_a_line_it_is_the_share():
    # two points have one cubic, the line: .9 - .3 n = .75 at n = .5
    assert at(0.75, (0.9, 0.6)).value == pytest.approx(0.5, abs=1e-9)


def test_no_better_than_nothing_is_0_and_beyond_the_end_is_at_least():
    worse = at(1.0, (0.9, 0.6, 0.5))
    assert (worse.value, worse.low, worse.high, worse.at_least) == (0, 0, 0, False)
    better = at(0.4, (0.9, 0.6, 0.5))
    assert (better.value, better.low, better.high, better.at_least) == (2, 2, np.inf, True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
def test_the_falling_curve_is_scipys(values):
    curve = np.array(values, float)
    np.testing.assert_allclose(falling(curve) @ curve, isotonic_regression(curve, increasing=False).x, atol=1e-9)


def test_a_flat_curve_and_one_point_are_not_identifiable():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.5, 0.01, (20, 4))
    flat = crossing(noise[:, 0], noise, np.ones(20), confidence=0.95)
    assert "the curve is flat" in present(flat.reason)
    assert np.isnan(flat.value)
    assert "no human votes are left" in present(at(0.5, [0.6]).reason)


def test_one_speaker_has_a_value_and_no_interval():
    found = at(0.75, (0.9, 0.6), groups=1)
    assert found.value == pytest.approx(0.5)
    assert np.isnan(found.low)
    assert found.method == "none: one group"


def test_the_interval_is_the_naive_jackknifes_inverted():
    """The ends are where |D(n)| = t se(D(n)), D and its error computed by leaving each group out in a loop."""
    rng = np.random.default_rng(3)
    rows = rng.integers(5, 15, 15).astype(float)
    curve = np.array([0.9, 0.5]) + rng.normal(0, 0.04, (15, 2))
    level = 0.7 + rng.normal(0, 0.05, 15)
    found = crossing(level * rows, curve * rows[:, None], rows, confidence=0.9)

    def bounds(n):
        def d(kept):
            line = (1 - n) * curve[kept, 0] + n * curve[kept, 1]
            return ((level[kept] - line) * rows[kept]).sum() / rows[kept].sum()

        without = np.array([d(np.arange(15) != g) for g in range(15)])
        half = student.ppf(0.95, 14) * np.sqrt(14 / 15 * ((without - without.mean()) ** 2).sum())
        whole = d(np.arange(15))
        return whole - half, whole + half

    # between the grid's points the bounds are taken as lines
    assert found.low == pytest.approx(brentq(lambda n: bounds(n)[1], 0, 1), abs=1e-3)
    assert found.high == pytest.approx(brentq(lambda n: bounds(n)[0], 0, 1), abs=1e-3)
    assert found.value == pytest.approx(brentq(lambda n: sum(bounds(n)), 0, 1), abs=1e-9)


def coverage(groups, corpora):
    """How often the interval holds the true n, a panel at 1.5 on a curve known in expectation."""
    inside, true = 0, np.array([0.9, 0.6, 0.45, 0.4])
    target = at(0.52, true).value
    for c in range(corpora):
        rng = np.random.default_rng(c)
        shared = rng.normal(0, 0.1, (groups, 1))
        curve = true + shared + rng.normal(0, 0.08, (groups, 4))
        level = 0.52 + shared[:, 0] + rng.normal(0, 0.08, groups)
        found = crossing(level, curve, np.ones(groups), confidence=0.95)
        inside += found.low <= target <= found.high
    return inside / corpora


def test_intervals_cover_quickly():
    assert 0.91 <= coverage(20, 300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("groups", [10, 30, 90])
def test_intervals_cover(groups):
    assert 0.93 <= coverage(groups, 1000) <= 0.97


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Runs that know the truth, are biased, or deaf; and as a run, what two further votes make one believe."""
    place = tmp_path_factory.mktemp("worth")
    corpus, truth = simulated_corpus(place / "corpus", utterances=1200, speakers=24, raters=GOOD)
    runs = {
        name: open_run(simulated_run(place / name, corpus, q, listeners=2, spread=0.01, votes=2))
        for name, q in (("true", truth), ("biased", biased(truth, share=0.3)), ("deaf", shuffled(truth)))
    }
    panel, _ = simulated_corpus(
        place / "two", utterances=1200, speakers=24, truth=truth, raters=GOOD, seed=8, votes=2, seen=None
    )
    return corpus, truth, runs, panel, audit(corpus, [*runs.values(), panel], draws=4)


def worth(found, panel, score="log_score"):
    return found.panels[["true", "biased", "deaf", "two"].index(panel)].effective_votes.overall(score)


def test_two_votes_of_like_people_are_worth_two(world):
    for score in ("log_score", "sq_unbiased", "jsd_bits"):
        row = worth(world[4], "two", score)
        assert 1.6 < row.value < 2.5, score
        assert row.low < 2.1 < row.high + 0.2
        assert row.method == "jackknife-t"


def test_two_votes_are_worth_two_in_every_ambiguity_third(world):
    """Cut by the votes that the curve uses, the thirds would know beforehand how the first vote does."""
    rows = [row for row in world[4].panels[3].effective_votes.rows if row.where == "ambiguity"]
    assert len(rows) == 9
    assert all(row.utterances in (399, 400, 401) for row in rows)
    for row in rows:
        if not row.score.startswith("jsd"):  # no proper score: it wants more sharpness than there is
            assert 1.4 < row.value <= 2, row
            assert row.low < 2 < row.high, row


def test_the_truth_is_beyond_the_curve_a_deaf_run_is_worth_nothing_and_bias_is_no_loss(world):
    found = world[4]
    true, bent, deaf = worth(found, "true"), worth(found, "biased"), worth(found, "deaf")
    assert true.at_least
    assert true.open_above
    assert true.value == found.panels[0].effective_votes.most_votes
    assert deaf.value < 0.2
    assert deaf.high < 0.3
    # a known mistake is translated away, so most of the worth is kept
    assert bent.value > 2
    assert "at least" in worth_figure(true)


def test_every_part_is_there_with_its_utterances(world):
    rows = world[4].panels[1].effective_votes.rows
    kinds = {(row.where, row.part) for row in rows}
    assert {("overall", "all"), ("label", "angry"), ("ambiguity", "high"), ("subgroup", "gender=female")} <= kinds
    assert sum(row.where == "label" for row in rows) == 6
    assert all(row.score == "log_score" for row in rows if row.where == "label")
    halves = [r.utterances for r in rows if r.where == "subgroup" and r.score == "sq_unbiased"]
    assert halves == [600, 600]


def test_the_curve_is_what_the_table_says_and_falls(world):
    found = world[4]
    drawn = {(c.score, c.n): c.value.value for c in found.human_curve}
    table = {("sq_unbiased", p.n): p.scores[0].value for p in found.curve if p.kind == "smoothed"}
    assert len(table) == 5
    for key, value in table.items():
        assert drawn[key] == pytest.approx(value, abs=1e-9)
    logs = [drawn["log_score", n] for n in range(5)]
    assert logs == sorted(logs)


def test_the_json_says_null_where_it_is_open(world):
    plain = json.loads(json.dumps(world[4].to_json(), allow_nan=False))
    row = plain["panels"][0]["effective_votes"]["rows"][0]
    assert (row["at_least"], row["open_above"], row["high"]) == (True, True, None)
    assert plain["human_curve"][0]["n"] == 0
    assert plain["panels"][3]["independence"] is None


def test_the_answer_in_words(world):
    answers = in_words(world[4])
    assert "it is worth at least 4 [4.0, …] human votes" in answers[0]
    assert "the human curve ends at 4" in answers[0]
    assert "it is worth 0.0" in answers[2]
    assert "independent ones" in answers[0]


def test_nothing_is_fitted_on_an_utterances_own_speaker(world):
    """Other votes of a speaker change nothing in what is predicted for that speaker."""
    ref = build_reference(world[0])
    speaker = ref.groups[0]
    own = np.array([group == speaker for group in ref.groups])
    changed = replace(ref, scored=np.where(own[:, None], np.roll(ref.scored, 1, axis=1), ref.scored))
    votes = baselines.human_votes(ref, 2)
    was, now = (baselines.fit_people(r).predict(votes) for r in (ref, changed))
    np.testing.assert_array_equal(was[own], now[own])
    assert (was[~own] != now[~own]).any()


def test_the_human_model_predicts_each_row_as_it_would_alone(world):
    ref = build_reference(world[0])
    people = baselines.fit_people(ref)
    votes = baselines.human_votes(ref, 3)
    votes[5] = np.nan
    found = people.predict(votes)
    assert np.isnan(found[5]).all()
    for u in (0, 17, 900):
        fit = people.fits[int(ref.folds[u])]
        assert isinstance(fit, DirichletMixture)
        np.testing.assert_allclose(found[u], fit.posterior_mean(votes[u : u + 1])[0], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), max_size=20))
def test_distinct_votes_stand_for_all(rows):
    votes = np.array(rows, float).reshape(-1, 3)
    first, of = distinct_places(votes)
    np.testing.assert_array_equal(votes[first][of], votes)
    assert len(first) == len({tuple(row) for row in rows})


def test_many_labels_and_votes_do_not_overflow_the_code():
    votes = np.zeros((3, 40))
    votes[:, 0], votes[2, 39] = 9, 5
    first, of = distinct_places(votes)
    assert len(first) == 2
    np.testing.assert_array_equal(votes[first][of], votes)


def test_a_large_corpus_is_fitted_on_a_seeded_part(world, monkeypatch):
    ref = build_reference(world[0])
    assert baselines.fitted_part(ref).all()
    monkeypatch.setattr(baselines, "FITTED_ON", 500)
    part = baselines.fitted_part(ref)
    assert part.sum() == 500
    turned = replace(ref, ids=ref.ids[::-1])
    np.testing.assert_array_equal(baselines.fitted_part(turned), part[::-1])
    assert baselines.fit_people(ref).fitted_on == 500


def test_the_calibration_is_chosen_on_votes_that_are_not_scored(world):
    corpus, truth, _, _, _ = world
    ref = build_reference(corpus)
    flat = np.full(truth.shape, 1 / 6)
    good = {"latent mixture": flat, "calibrated prior": truth}
    assert chosen(good, ref) == "calibrated prior"
    assert chosen(good, replace(ref, scored=np.roll(ref.scored, 1, axis=1))) == "calibrated prior"
    # where speakers do not tell them apart, the curve's own model stays
    even = np.array([len(name) + int(name[1:]) for name in ref.ids]) % 2 == 0
    either = {"latent mixture": np.where(even[:, None], truth, flat)}
    either["calibrated prior"] = np.where(even[:, None], flat, truth)
    assert chosen(either, ref) == "latent mixture"
    assert chosen(good, replace(ref, other=np.zeros_like(ref.other))) == "latent mixture"
    assert chosen(good, replace(ref, groups=np.zeros_like(ref.groups))) == "latent mixture"


def test_what_is_a_subgroup(world):
    corpus = world[0]
    ref = build_reference(corpus)
    table = corpus.utterances.append_column("room", pa.array([i % 3 if i else None for i in range(1200)]))
    table = table.append_column("take", pa.array([f"t{i}" for i in range(1200)]))
    found = dict(subgroups(replace(corpus, utterances=table), ref))
    # splits, speakers and columns of many values, or of one, are none
    assert list(found) == ["gender=female", "gender=male", "room=0", "room=1", "room=2"]
    assert found["room=0"].sum() == 399


def test_a_part_of_one_speaker_tells_nothing_of_others(world):
    corpus, _, runs, _, _ = world
    room = ["attic" if name == "sp03" else "hall" for name in corpus.column("speaker")]
    table = corpus.utterances.append_column("room", pa.array(room))
    found = audit(replace(corpus, utterances=table), [runs["true"]], draws=1)
    rows = {row.part: row for row in found.panels[0].effective_votes.rows if row.score == "log_score"}
    attic, hall = rows["room=attic"], rows["room=hall"]
    assert (attic.utterances, attic.groups, attic.at_least) == (50, 1, False)
    assert attic.reason == "its utterances are of a single speaker"
    assert np.isnan(attic.value)
    assert (hall.groups, hall.reason) == (23, None)
    assert worth_figure(attic) == "–"


def test_without_votes_beside_the_scored_ones_it_cannot_be_said(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=120, votes=3, seen=1)
    # outside the train split all three votes are held out, and scored
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], m=3, draws=2)
    row = found.panels[0].effective_votes.overall()
    assert np.isnan(row.value)
    assert "no human votes are left beside the scored ones" in present(row.reason)
    assert "not identifiable: no human votes are left" in in_words(found)[0]
    assert "cannot be told: no human vote is left" in in_words(found)[0]


def naive_independence(p, votes):
    """Errors about people's distribution multiplied pair by pair, people's own product from pairs of votes."""
    single, cross = [], []
    for row, h in zip(p, votes, strict=True):
        m = h.sum()
        people = (h * (h - 1)).sum() / (m * (m - 1))
        dot = [[a @ b - a @ h / m - b @ h / m + people for b in row] for a in row]
        size = len(row)
        single.append(np.mean([dot[i][i] for i in range(size)]))
        cross.append(np.mean([dot[i][j] for i in range(size) for j in range(size) if i != j]))
    rho = np.mean(cross) / np.mean(single)
    return rho, len(p[0]) / (1 + (len(p[0]) - 1) * rho)


def test_independent_listeners_against_a_loop_over_pairs(world, tmp_path):
    corpus, truth, _, _, _ = world
    ref = build_reference(corpus)
    run = open_run(simulated_run(tmp_path / "r", corpus, truth, listeners=5, spread=0.8, votes=5))
    found = present(independent_listeners(run, ref))
    p = np.array(run.scores["p"].to_pylist()).reshape(1200, 5, 6)
    p /= p.sum(axis=2, keepdims=True)
    rho, effective = naive_independence(p, ref.scored + ref.other)
    assert found.correlation.value == pytest.approx(rho, abs=1e-9)
    assert found.independent_listeners.value == pytest.approx(effective, abs=1e-9)
    # the same as one listener's mean error over their mean's
    votes = ref.scored + ref.other
    one = np.mean([sq_unbiased(p[:, k], votes).mean() for k in range(5)])
    assert effective == pytest.approx(one / sq_unbiased(p.mean(axis=1), votes).mean(), abs=1e-9)


def test_listeners_that_say_the_same_are_one_and_blocks_do_not_matter(world, tmp_path, monkeypatch):
    corpus, truth, _, _, _ = world
    ref = build_reference(corpus)
    same = open_run(simulated_run(tmp_path / "same", corpus, biased(truth), listeners=4, spread=0.0, votes=4))
    assert present(independent_listeners(same, ref)).independent_listeners.value == pytest.approx(1, abs=1e-3)
    apart = open_run(simulated_run(tmp_path / "apart", corpus, truth, listeners=4, spread=1.0, votes=4))
    whole = independent_listeners(apart, ref)
    monkeypatch.setattr("serann.annotator.audit.panel_agreement.BLOCK", 7)
    assert independent_listeners(apart, ref) == whole
    place = apart.listeners.column_names.index("rater")
    one = apart.listeners.set_column(place, "rater", pa.array(["only"] * 4))
    assert independent_listeners(replace(apart, listeners=one), ref) is None


@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA does not name the real corpora")
def test_real_panels_are_worth_what_was_measured_apart(tmp_path):
    voice = crema(tmp_path, "1", "voice")
    counts = count_votes(voice.votes, voice.ids, voice.labels)
    both = crema(tmp_path, "3", "both")
    dealt = count_votes(both.votes, voice.ids, voice.labels)[np.random.default_rng(0).permutation(len(voice.ids))]
    panels = [both, crema(tmp_path, "2", "face"), as_corpus(tmp_path, voice, dealt, "shuffled")]
    found = audit(write_division(voice, divide_votes(voice, seen=3), None), panels)
    values = [
        [p.effective_votes.overall(s).value for s in ("log_score", "jsd_bits", "sq_unbiased")] for p in found.panels
    ]
    both, face, deaf = np.array(values)
    assert found.panels[0].effective_votes.utterances == 5903
    assert 2.6 < both.min() <= both.max() < 3.3
    assert 1.1 < face.min() <= face.max() < 1.6
    assert deaf.max() < 0.2
    assert np.ptp(both) < 0.3
    assert np.ptp(face) < 0.3
    gate = check(found, parse_requirements("effective_votes.low>=1"))
    assert [(c.panel, c.met) for c in gate] == [("both", True), ("face", True), ("shuffled", False)]
    # one voice vote more is worth one, in every ambiguity third
    one, rest = split_counts(counts, 1, voice.ids, "one more")
    fewer = as_corpus(tmp_path, voice, rest, "fewer")
    found = audit(
        write_division(fewer, divide_votes(fewer, seen=3), None), [as_corpus(tmp_path, voice, one, "one")], draws=8
    )
    for row in found.panels[0].effective_votes.rows:
        if row.where in ("overall", "ambiguity"):
            assert 0.85 < row.value < 1.25, row
