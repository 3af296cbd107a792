"""Where a panel fails: differences and their p against naive loops, harm that is planted found, none found without."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import shuffled, simulated_corpus, simulated_run
from scipy import stats
from serann.annotator.audit import baselines, failures
from serann.annotator.audit.failures import against_the_rest, column_factor, factors_of, thirds_of
from serann.annotator.audit.result import plain
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.proxies import line_up
from serann.annotator.report.audit_sections import failures_section
from serann.annotator.report.audit_words import failures_in_words
from serann.annotator.report.blocks import Sound
from serann.annotator.run.run import open_run
from serann.data.scores.intervals import jackknife_of
from serann.data.scores.proper_scores import log_score, sq_unbiased
from serann.data.scores.scoring import strata_thirds

GOOD = {f"good-{i}": 0.0 for i in range(9)}


def with_columns(corpus, **columns):
    table = corpus.utterances
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, pa.array(values))
    return replace(corpus, utterances=table)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A panel that knows women's utterances and is shuffled for men's, and one that knows all."""
    place = tmp_path_factory.mktemp("w")
    corpus, truth = simulated_corpus(place / "c", utterances=600, speakers=20, raters=GOOD)
    rng = np.random.default_rng(0)
    corpus = with_columns(
        corpus,
        duration=rng.uniform(1, 5, 600),
        room=[None if i % 10 == 0 else ("large", "small", "van")[i % 3] for i in range(600)],
        session=[f"s{i % 50}" for i in range(600)],
        same=["x"] * 600,
        lists=[[i % 2] for i in range(600)],
        consensus_code=[("a", "b")[i % 2] for i in range(600)],
    )
    men = np.array([g == "male" for g in corpus.column("gender")])
    half = np.where(men[:, None], shuffled(truth), truth)
    known = {"half": half, "true": truth}
    runs = [open_run(simulated_run(place / name, corpus, p, spread=0.01)) for name, p in known.items()]
    ref = build_reference(corpus)
    scorer = Scorer([ref.redrawn(draw) for draw in range(3)], level=0.95)
    fitted = {
        "constant": scorer.each(baselines.constant),
        "thirds": scorer.each(lambda draw: strata_thirds(draw.other, draw.ids, draw.seed)),
    }
    return corpus, scorer, line_up(runs, corpus, "audit", ids=ref.ids, m=ref.m), fitted, men


@pytest.fixture(scope="module")
def found(world):
    corpus, scorer, panels, fitted, _ = world
    return [failures.section(scorer, panel, corpus, calibrated=panel.q, **fitted) for panel in panels]


def test_harm_in_a_subgroup_is_found_and_nothing_without_it(found):
    half, true = found
    row = next(row for row in half.parts if row.factor == "gender")
    assert (row.part, row.utterances, row.speakers) == ("male", 300, 10)
    assert row.difference.low > 0.2
    assert row.p_adjusted < 1e-6
    assert "gender male (+" in failures_in_words(half)
    unharmed = [row for row in half.parts if row.factor in ("room", "duration")]
    assert len(unharmed) == 6
    assert min(row.p_adjusted for row in unharmed) > 0.05
    assert min(row.p_adjusted for row in true.parts) > 0.05
    assert failures_in_words(true).startswith("In no part")
    assert true.speakers_worse == true.speakers_better == 0


def test_a_difference_and_its_p_are_those_of_a_naive_jackknife(world, found):
    corpus, scorer, panels, fitted, _ = world
    error = sq_unbiased(scorer.repeat(panels[0].q), scorer.scored)
    rooms, speakers = np.tile(corpus.column("room"), 3), np.tile(corpus.column("speaker"), 3)
    known = np.array([room is not None for room in rooms])

    def difference(kept):
        return error[kept & known & (rooms == "van")].mean() - error[kept & known & (rooms != "van")].mean()

    row = next(row for row in found[0].parts if (row.factor, row.part) == ("room", "van"))
    everyone = np.ones(len(error), dtype=bool)
    # the two speakers whose rooms are all unknown are no witnesses
    without = np.array([difference(everyone & (speakers != s)) for s in sorted(set(speakers[known]))])
    assert len(without) == row.difference.groups == 18
    se = np.sqrt(17 / 18 * ((without - without.mean()) ** 2).sum())
    value = difference(everyone)
    assert row.difference.value == pytest.approx(value, abs=1e-9)
    assert row.difference.low == pytest.approx(value - stats.t.ppf(0.975, 17) * se, abs=1e-9)
    assert row.p == pytest.approx(2 * stats.t.sf(abs(value) / se, 17), abs=1e-9)
    assert row.error == pytest.approx(error[rooms == "van"].mean(), abs=1e-9)
    plain = sq_unbiased(fitted["constant"], scorer.scored)
    expected = plain[rooms == "van"].mean() - plain[known & (rooms != "van")].mean()
    assert row.constant == pytest.approx(expected, abs=1e-9)


def test_which_columns_make_parts_and_why_others_do_not(found):
    names = [row.factor for row in found[0].parts]
    assert set(names) == {"label", "ambiguity", "duration", "gender", "room", "split"}
    assert names.count("room") == 3
    assert names.count("gender") == 1  # the two are each other's rest
    left = found[0].left_out
    assert left["session"] == "it has 50 values; parts are made of 2 to 20"
    assert left["same"] == "it has 1 value; parts are made of 2 to 20"
    assert left["lists"] == "its values are lists"
    assert left["consensus_code"] == left["consensus"] == "it is made of the votes that are scored"
    assert "speaker" not in left


def test_labels_and_thirds_are_cut_by_votes_that_are_not_scored(world, found):
    """A perfect panel is as good for each label; cut by the scored votes it would seem to fail at some."""
    scorer, true = world[1], found[1]
    assert {row.part for row in true.parts if row.factor == "ambiguity"} == {"low", "medium", "high"}
    labels = failures._labels(scorer)
    scored = scorer.scored.copy()
    scorer.scored[:] = np.roll(scored, 1, axis=1)
    np.testing.assert_array_equal(failures._labels(scorer).codes, labels.codes)
    scorer.scored[:] = scored
    other = scorer.draws[0].other
    top = other == other.max(axis=1, keepdims=True)
    expected = np.where(top.sum(axis=1) == 1, other.argmax(axis=1), -1)
    np.testing.assert_array_equal(labels.codes[:600], expected)


def test_duration_thirds_are_equal_and_known_only(world):
    corpus, scorer, *_ = world
    seconds = corpus.column("duration").astype(float)
    made = present(thirds_of(scorer.reference, corpus, "duration", unit=" s"))
    assert np.bincount(made.codes).tolist() == [200, 200, 200]
    assert seconds[made.codes == 0].max() <= seconds[made.codes == 1].min()
    assert made.parts[0] == f"up to {seconds[made.codes == 0].max():.2f} s"
    some = with_columns(corpus, duration=[None if i % 2 else float(i) for i in range(600)])
    known = present(thirds_of(scorer.reference, some, "duration"))
    assert np.bincount(known.codes + 1).tolist() == [300, 100, 100, 100]
    none = with_columns(corpus, duration=[1.5] * 600)
    assert "duration" in factors_of(scorer, none)[1]
    assert column_factor(scorer.reference, with_columns(corpus, empty=pa.nulls(600, pa.string())), "empty") == ""


def test_numbers_of_many_values_make_thirds_and_what_is_made_of_votes_none(world):
    corpus, scorer, *_ = world
    age = [20 + i % 40 for i in range(600)]
    more = with_columns(
        corpus, age=age, level_happy=[float(i) for i in range(600)], consensus_level=age, script=[f"s{i}" for i in age]
    )
    found, left_out = factors_of(scorer, more)
    # 600 speakers' ages 20 to 59, 15 of each: 14 ages in the first third, up to 33, and equal ages stay together
    assert found["age"].parts == ["up to 33", "up to 46", "above 46"]
    assert np.bincount(found["age"].codes[:600]).tolist() == [14 * 15, 13 * 15, 13 * 15]
    of = dict(zip(more.ids, age, strict=True))
    assert {of[u] for u, c in zip(scorer.reference.ids, found["age"].codes, strict=False) if c == 0} == set(
        range(20, 34)
    )
    assert left_out["level_happy"] == left_out["consensus_level"] == "it is made of the votes that are scored"
    assert left_out["script"] == "it has 40 values; parts are made of 2 to 20"


def test_a_speaker_against_the_rest_equals_a_naive_loop():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 7, 90)
    x = rng.normal(0, 1, 90) + 0.4 * codes
    test = against_the_rest(x, codes, 7)
    for g in range(7):
        own, rest = x[codes == g], x[codes != g]
        others = [x[codes == h] for h in range(7) if h != g]
        clustered = sum((len(o) * (o.mean() - rest.mean())) ** 2 for o in others) / len(rest) ** 2 * 6 / 5
        square = own.var(ddof=1) / len(own) + clustered
        df = square**2 / ((own.var(ddof=1) / len(own)) ** 2 / (len(own) - 1) + clustered**2 / 5)
        assert test.difference[g] == pytest.approx(own.mean() - rest.mean(), abs=1e-12)
        assert test.error[g] == pytest.approx(np.sqrt(square), abs=1e-12)
        assert test.df[g] == pytest.approx(df, abs=1e-9)
        p = 2 * stats.t.sf(abs(own.mean() - rest.mean()) / np.sqrt(square), df)
        assert test.p[g] == pytest.approx(p, abs=1e-12)
    assert np.isnan(against_the_rest(x[:6], np.array([0, 0, 0, 1, 1, 1]), 2).p).all()
    single = against_the_rest(x[:5], np.array([0, 0, 1, 1, 2]), 3)
    assert np.isnan(single.p).tolist() == [False, False, True]


def test_a_speaker_the_panel_does_not_hear_is_told_apart(world):
    corpus, scorer, panels, fitted, _ = world
    deaf = panels[1].q.copy()
    mine = corpus.column("speaker") == "sp07"
    deaf[mine] = np.roll(deaf[mine], 1, axis=1)
    found = failures.section(scorer, replace(panels[1], q=deaf), corpus, **fitted)
    assert (found.speakers[0].part, found.speakers_worse, found.speakers_tested) == ("sp07", 1, 20)
    assert found.speakers[0].difference.low > 0.1
    assert "1 worse, 0 better" in failures_in_words(found)


@pytest.mark.parametrize("inside", [3, 10])
def test_the_parts_p_is_right_where_nothing_is_wrong(inside):
    """2,000 simulated factors of 3 or 10 of 24 speakers, who differ: about 5 % of the p are below 5 %."""
    rng = np.random.default_rng(5)
    speaker, below = np.repeat(np.arange(24), 15), 0
    for _ in range(2000):
        x = rng.normal(0, 0.5, 24)[speaker] + rng.normal(0, 1, 360)
        columns = [(s, w) for s in (speaker < inside, speaker >= inside) for w in (x, np.ones(360))]
        totals = np.column_stack([np.bincount(speaker[s], weights=w[s], minlength=24) for s, w in columns])
        strata = (totals[:, 1] > 0) + 2 * (totals[:, 3] > 0)
        below += jackknife_of(totals, failures._difference, 0.95, strata=strata)[1] < 0.05
    assert 0.03 < below / 2000 < 0.065


def test_speakers_in_one_part_alone_are_compared_as_welch_does():
    """With one row per speaker it is Welch's t, but for the jackknife's (G - 1) / G and each side's n - 1."""
    rng = np.random.default_rng(6)
    x, n = rng.normal(0, 1, 400), (150, 250)
    first = np.arange(400) < n[0]
    totals = np.column_stack([x * first, first, x * ~first, ~first])
    p = jackknife_of(totals, failures._difference, 0.95, strata=first + 2 * ~first)[1]
    assert p == pytest.approx(stats.ttest_ind(x[first], x[~first], equal_var=False).pvalue, rel=0.01)  # pyright: ignore[reportAttributeAccessIssue]


def test_surprises_are_the_least_likely_votes(world, found):
    corpus, scorer, panels, _, _ = world
    ref = scorer.reference
    score = log_score(panels[0].q, ref.scored + ref.other)
    assert [s.log_score for s in found[0].surprises] == pytest.approx(np.sort(score)[:20], abs=1e-12)
    worst = int(np.argmin(score))
    first = found[0].surprises[0]
    assert (first.utterance_id, first.speaker) == (ref.ids[worst], corpus.column("speaker")[worst])
    assert first.votes == int((ref.scored + ref.other)[worst].sum())
    assert sum(first.human) == pytest.approx(1)


def test_one_speaker_is_told_of_and_not_tested(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=60, speakers=1, raters=GOOD)
    run = open_run(simulated_run(tmp_path / "r", corpus, truth))
    ref = build_reference(corpus)
    scorer = Scorer([ref], level=0.95)
    (panel,) = line_up([run], corpus, "audit", ids=ref.ids, m=ref.m)
    thirds = strata_thirds(ref.other, ref.ids, ref.seed)
    made = failures.section(scorer, panel, corpus, constant=baselines.constant(ref), thirds=thirds)
    assert failures_in_words(made) == "No part of the utterances can be tested against the rest."
    assert made.parts[0].difference.method == "none: one group"
    assert made.surprises == []
    json.dumps(plain(made), allow_nan=False)
    assert "No part" in html(failures_section(made))


def test_the_section_is_json_and_html(found):
    page = html(failures_section(found[0], sound=lambda name: Sound(name, "data:audio/ogg;base64,")))
    assert page.count("<table") == 3
    assert page.count("<audio") == 20
    assert "gender: male" in page
    json.dumps(plain(found[0]), allow_nan=False)
