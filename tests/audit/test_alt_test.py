"""The alternative annotator test against the paper's procedure as a plain loop, scipy, and what must hold of any."""

import contextlib
import importlib.util
import json
import math
import os
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import shuffled, simulated_corpus, simulated_run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from serann.annotator.audit.alt_test import alt_test, alt_test_of, plurality
from serann.annotator.audit.alt_test_data import line_up_labels, read_alt_test
from serann.annotator.audit.alt_test_statistics import benjamini_yekutieli, human_votes, listed_votes, log_score
from serann.annotator.audit.result import plain
from serann.annotator.cli import app, main
from serann.annotator.report.audit_sections import alt_test_section
from serann.annotator.report.audit_words import notes_in_words
from serann.annotator.run.run import open_run
from serann.data.corpus import write_corpus
from serann.data.errors import CorpusError, LabelError, OptionError, SerannError, TableError
from serann.data.labels import LABEL_SETS
from serann.data.readers import Options, load_reader
from serann.data.scores.intervals import by_group
from serann.data.tables import VOTES, from_rows
from serann.data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial
from typer.testing import CliRunner

# --- the paper's procedure, one human and one item at a time ----------------------------------------------------------


def naive_scores(scorer, alpha=None):
    """S(x, others) of one answer."""
    if scorer == "accuracy":
        return lambda x, others: Fraction(sum(x == y for y in others), len(others))
    if scorer == "neg-rmse":  # squared, and exact: the root does not change the order
        return lambda x, others: -sum((Fraction(x) - Fraction(y)) ** 2 for y in others) / len(others)

    def one_vote_added(alpha, x):
        return [(a + (c == x)) / (alpha.sum() + 1) for c, a in enumerate(alpha)]

    def log_mean(x, others):
        q = x if isinstance(x, list) else one_vote_added(present(alpha), x)
        return round(sum(math.log(q[y]) if q[y] > 0 else -math.inf for y in others) / len(others), 10)

    return log_mean


def naive_differences(humans, model, score):
    """d of each rater, {rater: [d, ...]}, and the model's W, from {rater: {item: label}} and {item: label}."""
    heard = {}
    for rater, labels in humans.items():
        for item in labels:
            heard.setdefault(item, []).append(rater)
    kept = {item for item, raters in heard.items() if len(raters) >= 2 and item in model}
    d, won = {rater: [] for rater in humans}, {rater: [] for rater in humans}
    for j in humans:
        for item in humans[j]:
            if item in kept:
                others = [humans[k][item] for k in heard[item] if k != j]
                s_f, s_h = score(model[item], others), score(humans[j][item], others)
                w_f, w_h = int(s_f >= s_h), int(s_h >= s_f)
                d[j].append(w_h - w_f)
                won[j].append(w_f)
    return d, won


def naive_p(d, epsilon):
    x = np.array(d, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len(x) >= 30:
            return stats.ttest_1samp(x, epsilon, alternative="less").pvalue  # pyright: ignore[reportAttributeAccessIssue]
        return stats.wilcoxon(x - epsilon, alternative="less").pvalue if (x != epsilon).any() else 1.0  # pyright: ignore[reportAttributeAccessIssue]


def as_dicts(table, model) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    humans = {
        f"r{j}": {f"i{u}": table[u, j].item() for u in range(len(table)) if table[u, j] >= 0}
        for j in range(table.shape[1])
    }
    return humans, {f"i{u}": x for u, x in enumerate(model.tolist()) if isinstance(x, list) or x >= 0}


def simulated(seed, *, items=60, raters=5, labels=4, missing=0.3, kind=int):
    """Labels of raters around an item's own; negative where an item was not rated, or not by the model."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, items)
    table = np.where(rng.random((items, raters)) < 0.6, truth[:, None], rng.integers(0, labels, (items, raters)))
    model = np.where(rng.random(items) < 0.6, truth, rng.integers(0, labels, items))
    table[rng.random(table.shape) < missing] = -1
    model[rng.random(items) < missing / 3] = -1
    return table.astype(kind), model.astype(kind)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    items=st.integers(3, 90),
    raters=st.integers(2, 7),
    labels=st.integers(2, 9),
    missing=st.sampled_from([0.0, 0.2, 0.6]),
    epsilon=st.sampled_from([0.0, 0.1, 0.2]),
    scorer=st.sampled_from(["accuracy", "neg-rmse", "log-score"]),
)
def test_it_is_the_papers_procedure(seed, items, raters, labels, missing, epsilon, scorer):
    table, model = simulated(seed, items=items, raters=raters, labels=labels, missing=missing)
    counts = np.array([[(row == c).sum() for c in range(labels)] for row in table])
    if scorer == "log-score" and (counts.sum(axis=1) < 2).all():
        return
    size = int(max(table.max(), model.max())) + 1
    alpha = fit_dirichlet_multinomial(counts[:, :size]) if scorer == "log-score" else None
    d, won = naive_differences(*as_dicts(table, model), naive_scores(scorer, alpha))
    floats = scorer == "neg-rmse"
    found = alt_test(
        np.where(table < 0, np.nan, table) if floats else table,
        np.where(model < 0, np.nan, model) if floats else model,
        scorer=scorer,
        epsilon=epsilon,
        min_instances=2,
        raters=list(d),
    )
    tested = [row for row in found.raters if row.p is not None]
    assert [row.rater for row in tested] == [rater for rater in d if len(d[rater]) >= 2]
    for row in tested:
        assert row.n == len(d[row.rater])
        assert row.difference == pytest.approx(np.mean(d[row.rater]), abs=1e-12)
        assert row.advantage == pytest.approx(np.mean(won[row.rater]), abs=1e-12)
        if len(set(d[row.rater])) > 1:
            assert row.p == pytest.approx(naive_p(d[row.rater], epsilon), abs=1e-9)
    if tested:
        won_by_rater = [np.mean(won[row.rater]) for row in tested]
        assert found.advantage_probability == pytest.approx(np.mean(won_by_rater), abs=1e-9)
        adjusted = stats.false_discovery_control([row.p for row in tested], method="by")
        assert found.winning_rate == pytest.approx(np.mean(adjusted <= 0.05), abs=1e-9)
        assert found.passes == (found.winning_rate >= 0.5)


def test_the_false_discovery_step_is_benjamini_yekutieli():
    # Thresholds of 3: r/3 * .05 / (1 + 1/2 + 1/3) = .00909, .01818, .02727; none of the sorted p lies below its own.
    p = (0.0192, 0.0260, 0.3145)
    assert benjamini_yekutieli(p, 0.05).tolist() == [False, False, False]
    assert (stats.false_discovery_control(p, method="bh") <= 0.05).sum() == 2  # Benjamini-Hochberg would reject two
    # A later p that passes takes the earlier ones with it: .026 <= .02727.
    assert benjamini_yekutieli([0.0192, 0.0260, 0.0270]).all()
    assert benjamini_yekutieli([0.001, math.nan, 0.02]).tolist() == [True, False, True]  # two p: .0167 and .0333
    assert benjamini_yekutieli([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.sampled_from([0.01, 0.05, 0.2]))
def test_rejections_equal_scipys_adjusted_p(p, q):
    adjusted = stats.false_discovery_control(p, method="by")
    clear = np.abs(adjusted - q) > 1e-12
    np.testing.assert_array_equal(benjamini_yekutieli(p, q)[clear], (adjusted <= q)[clear])


def test_ties_give_both_sides_one():
    table = np.array([[u % 3] * 4 for u in range(40)])
    found = alt_test(table, table[:, 0])
    assert [row.advantage for row in found.raters] == [1.0] * 4
    assert [row.difference for row in found.raters] == [0.0] * 4
    # Two humans who never agree, and a model who agrees with neither: every score is 0.
    found = alt_test(np.array([[0, 1]] * 40), np.full(40, 2))
    assert found.advantage_probability == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["accuracy", "neg-rmse"]))
def test_a_voter_for_the_plurality_or_the_mean_reaches_advantage_one(seed, scorer):
    table, _ = simulated(seed)
    if scorer == "accuracy":
        model = np.array(
            [np.bincount(row[row >= 0], minlength=1).argmax() if (row >= 0).any() else -1 for row in table]
        )
        found = alt_test(table, model)
    else:
        table = np.where(table < 0, np.nan, table.astype(float))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = alt_test(table, np.nanmean(table, axis=1), scorer=scorer)
    assert all(row.advantage == 1 for row in found.tested)
    assert any("never licenses" in note for note in notes_in_words(found.notes))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["accuracy", "neg-rmse", "log-score"]))
def test_neither_the_order_of_items_nor_that_of_raters_matters(seed, scorer):
    rng = np.random.default_rng(seed)
    table, model = simulated(seed, items=80)
    if scorer == "neg-rmse":
        table, model = (np.where(x < 0, np.nan, x.astype(float)) for x in (table, model))
    speakers = rng.integers(0, 7, len(table))
    names = [f"r{j}" for j in range(table.shape[1])]
    u, r = rng.permutation(len(table)), rng.permutation(len(names))
    one = alt_test(table, model, scorer=scorer, speakers=speakers, raters=names, min_instances=10)
    two = alt_test(
        table[u][:, r], model[u], scorer=scorer, speakers=speakers[u], raters=[names[j] for j in r], min_instances=10
    )
    rows = {row.rater: row for row in two.raters}
    for row in one.raters:
        other = rows[row.rater]
        assert (row.n, row.advantage, row.rejected, row.speakers) == (
            other.n,
            other.advantage,
            other.rejected,
            other.speakers,
        )
        assert row.p == other.p
        assert row.p_clustered == pytest.approx(other.p_clustered, rel=1e-9)
    assert one.winning_rate == two.winning_rate


@pytest.mark.parametrize("scorer", ["accuracy", "neg-rmse", "log-score"])
def test_votes_in_slots_are_votes_in_columns(scorer):
    table, model = simulated(5, items=120, raters=9, missing=0.7)
    item, rater = np.nonzero(table >= 0)
    kind = float if scorer == "neg-rmse" else int
    listed = listed_votes(item, rater, table[item, rater].astype(kind), items=120, raters=9)
    assert len(listed.value) < 9
    if kind is float:
        table, model = (np.where(x < 0, np.nan, x.astype(float)) for x in (table, model))
    how = {"scorer": scorer, "min_instances": 5, "speakers": np.arange(120) % 8}
    assert alt_test(listed, model, **how).raters == alt_test(table, model, **how).raters


def test_many_labels_and_raters_do_not_overflow_a_byte():
    table, model = simulated(1, items=40, raters=140, labels=2, missing=0)
    d, _ = naive_differences(*as_dicts(table, model), naive_scores("accuracy"))
    found = alt_test(table, model)
    assert [row.difference for row in found.raters] == pytest.approx([np.mean(d[f"r{j}"]) for j in range(140)])
    shifted = alt_test(table + 1000, model + 1000)
    assert shifted.raters == found.raters


def test_distances_that_are_equal_on_paper_are_ties():
    # .2 lies between .1 and .3; (.1 - .2)^2 and (.3 - .2)^2 differ in the last bit of a float.
    found = alt_test(np.array([[0.3, 0.2]] * 40), np.full(40, 0.1), scorer="neg-rmse")
    assert found.raters[0].difference == 0


# --- p where d does not vary, and with few instances ------------------------------------------------------------------


def test_d_that_never_varies_has_the_limit_as_p():
    always = np.array([[u % 2, u % 2, 1 - u % 2] for u in range(40)])  # r2 is against both others
    found = alt_test(always, always[:, 0])
    assert (found.raters[2].difference, found.raters[2].p, found.raters[2].rejected) == (-1.0, 0.0, True)
    assert found.raters[2].reason == "d is the same on every instance"
    worse = alt_test(always[:, :2], np.full(40, 5))
    assert [row.p for row in worse.raters] == [1.0, 1.0]
    # d = 0 throughout is better than a human by epsilon, and at epsilon 0 it is no better.
    level = np.array([[u % 2] * 3 for u in range(40)])
    assert alt_test(level, level[:, 0]).winning_rate == 1
    assert [row.p for row in alt_test(level, level[:, 0], epsilon=0).raters] == [1.0] * 3
    few = alt_test(level[:10], level[:10, 0], epsilon=0, min_instances=5)
    assert [(row.test, row.p) for row in few.raters] == [("wilcoxon", 1.0)] * 3


def test_raters_with_few_instances_are_not_tested_and_say_so():
    table, model = simulated(2, items=50, raters=4, missing=0)
    table[12:, 3] = -1
    found = alt_test(table, model, raters=["a", "b", "c", "few"])
    assert [row.p is None for row in found.raters] == [False, False, False, True]
    assert (
        found.raters[3].reason == f"too few votes: {found.raters[3].n} shared with other raters and the model, below 30"
    )
    assert "1 of 4 raters are not tested: fewer than 30 instances" in notes_in_words(found.notes)
    none = alt_test(table[:20], model[:20])
    assert none.reason is not None
    assert none.reason.startswith("too few votes per rater: the most that any of 4 raters shares")
    assert math.isnan(none.winning_rate)
    assert math.isnan(none.advantage_probability)
    assert not none.passes


def test_where_no_rater_has_thirty_instances_the_least_may_be_five():
    table, model = simulated(2, items=20, raters=4, missing=0)
    table[4:, 3] = -1
    found = alt_test(table, model, min_instances=None)
    assert [row.test for row in found.raters] == ["wilcoxon"] * 3 + [None]
    assert found.raters == alt_test(table, model, min_instances=5).raters
    # five instances are the fewest whose signed ranks can be significant at 5 %, all of them for the model
    always = {n: stats.wilcoxon(np.full(n, -1.1), alternative="less").pvalue for n in (4, 5)}  # pyright: ignore[reportAttributeAccessIssue]
    assert always[5] < 0.05 < always[4]
    # one rater with thirty is enough for the paper's own rule
    table, model = simulated(2, items=40, raters=4, missing=0)
    table[20:, 3] = -1
    assert alt_test(table, model, min_instances=None).raters == alt_test(table, model).raters


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"epsilon": 1.5}, "epsilon is 1.5"),
        ({"epsilon": math.nan}, "epsilon is nan"),
        ({"q": 0}, "q is 0"),
        ({"min_instances": 1}, "minimum of instances is 1"),
        ({"scorer": "kappa"}, "unknown scorer 'kappa'; expected one of accuracy, neg-rmse, log-score"),
    ],
)
def test_options_out_of_range_are_refused(option, words):
    with pytest.raises(OptionError, match=words):
        alt_test(*simulated(0), **option)


# --- speakers ---------------------------------------------------------------------------------------------------------


def test_the_clustered_p_is_the_jackknife_over_speakers():
    table, model = simulated(3, items=90, missing=0.1)
    speakers = np.arange(90) % 6
    found = alt_test(table, model, speakers=speakers)
    humans, said = as_dicts(table, model)
    for rater, row in zip(humans, found.raters, strict=True):
        d, _ = naive_differences(humans, said, naive_scores("accuracy"))
        kept = [i for i in humans[rater] if i in said and sum(i in labels for labels in humans.values()) >= 2]
        interval = by_group(d[rater], [int(speakers[int(item[1:])]) for item in kept])
        error = (interval.high - interval.value) / stats.t.ppf(0.975, interval.groups - 1)
        t = (interval.value - 0.1) / error
        assert row.speakers == interval.groups == 6
        assert row.p_clustered == pytest.approx(stats.t.cdf(t, 5), rel=1e-9)


def test_items_of_a_speaker_each_are_the_t_test_and_one_speaker_is_undefined():
    table, model = simulated(4, items=70, missing=0)
    found = alt_test(table, model, speakers=np.arange(70))
    assert [row.p_clustered for row in found.raters] == pytest.approx([row.p for row in found.raters], rel=1e-9)
    assert found.winning_rate_clustered == found.winning_rate
    one = alt_test(table, model, speakers=np.zeros(70))
    assert [row.p_clustered for row in one.raters] == [None] * 5
    assert one.raters[0].reason == "all instances are of one speaker, so there is no clustered p"
    assert math.isnan(one.winning_rate_clustered)


def test_what_a_speaker_does_to_all_items_is_no_independent_evidence():
    # Five speakers; the model is right on all items of four and wrong on all of the fifth.
    truth, speakers = np.arange(200) % 3, np.repeat(np.arange(5), 40)
    rng = np.random.default_rng(0)
    table = np.where(rng.random((200, 4)) < 0.75, truth[:, None], rng.integers(0, 3, (200, 4)))
    found = alt_test(table, np.where(speakers == 4, (truth + 1) % 3, truth), speakers=speakers)
    assert all(present(row.p_clustered) > 3 * present(row.p) for row in found.raters)


# --- the distribution scorer ------------------------------------------------------------------------------------------


def test_the_log_score_prefers_the_truth_to_one_vote_and_one_vote_to_a_guess():
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(4, 0.4), 600)
    table = np.array([rng.choice(4, 6, p=p) for p in truth])
    good = alt_test(table, truth, scorer="log-score")
    deaf = alt_test(table, truth[rng.permutation(600)], scorer="log-score")
    assert good.winning_rate == 1
    assert good.advantage_probability > 0.7
    assert deaf.winning_rate == 0
    # One more human, as a label, is as good as each of the others: neither side is ahead.
    another = np.array([rng.choice(4, p=p) for p in truth])
    as_one = alt_test(table, another, scorer="log-score")
    assert abs(np.mean([present(row.difference) for row in as_one.raters])) < 0.05


def test_a_distribution_scores_as_the_sum_says_and_an_impossible_vote_loses():
    table = np.array([[0, 0, 1], [0, 1, 1], [2, 2, 0], [1, 1, 1]])
    q = np.array([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1]])
    alpha = fit_dirichlet_multinomial([[2, 1, 0], [1, 2, 0], [1, 0, 2], [0, 3, 0]])
    score = naive_scores("log-score", alpha)
    expected = np.zeros((3, 4))
    for u, row in enumerate(table.tolist()):
        for j in range(3):
            others = row[:j] + row[j + 1 :]
            expected[j, u] = np.sign(float(score(q[u].tolist(), others) - score(row[j], others)))
    assert log_score(human_votes(table), q).tolist() == expected.tolist()
    assert expected[0, 2] == -1  # a 2 among the others, on which q has nothing


# --- files and the command line ---------------------------------------------------------------------------------------


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def a_study(tmp_path, **more):
    table, model = simulated(7, items=80, missing=0.1)
    humans, said = as_dicts(table, model)
    humans = {rater: {item: "abcd"[x] for item, x in labels.items()} for rater, labels in humans.items()}
    said = {item: "abcd"[x] for item, x in said.items()}
    return write(tmp_path / "H.json", humans), write(tmp_path / "M.json", {"large": said, **more}), humans, said


def call(arguments, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["serann", "alt-test", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return stop.code, capsys.readouterr()
    return 0, capsys.readouterr()


def test_the_command_prints_the_documented_json(tmp_path, capsys, monkeypatch):
    h, m, humans, said = a_study(tmp_path, small={"i1": "a", **{f"i{u}": "b" for u in range(2, 80)}})
    code, shown = call(["--humans", h, "--model", m, "--json"], capsys, monkeypatch)
    assert code == 0
    found = json.loads(shown.out)
    assert list(found) == ["models"]
    assert list(found["models"]) == ["large", "small"]
    assert list(found["models"]["large"]) == ["winning_rate", "advantage_probability", "passes", "raters"]
    d, won = naive_differences(humans, said, naive_scores("accuracy"))
    for rater, row in found["models"]["large"]["raters"].items():
        assert row["n"] == len(d[rater])
        assert row["advantage"] == pytest.approx(np.mean(won[rater]), abs=1e-9)
        assert row["p"] == pytest.approx(naive_p(d[rater], 0.1), abs=1e-9)
    assert "never licenses the use of a model's distributions" in shown.err


def test_the_command_tests_raters_of_few_items_by_wilcoxon(tmp_path, capsys, monkeypatch):
    table, model = simulated(9, items=20, raters=3, missing=0.1)
    humans, said = as_dicts(table, model)
    h, m = write(tmp_path / "H.json", humans), write(tmp_path / "M.json", {"m": said})
    code, shown = call(["--humans", h, "--model", m, "--json"], capsys, monkeypatch)
    assert code == 0
    d, _ = naive_differences(humans, said, naive_scores("accuracy"))
    rows = json.loads(shown.out)["models"]["m"]["raters"]
    assert {rater: row["p"] for rater, row in rows.items()} == pytest.approx(
        {rater: naive_p(x, 0.1) for rater, x in d.items()}, abs=1e-9
    )
    assert all(row["test"] == "wilcoxon" for row in rows.values())
    assert "a rater's test is Wilcoxon's; the paper advises 30" in shown.err
    code, shown = call(["--humans", h, "--model", m, "--min-instances", 30], capsys, monkeypatch)
    assert code == 2
    assert "too few votes per rater" in shown.err


def test_one_models_labels_are_named_by_the_file_and_speakers_add_a_column(tmp_path, capsys, monkeypatch):
    h, _, _, said = a_study(tmp_path)
    m = write(tmp_path / "mine.json", said)
    s = write(tmp_path / "S.json", {f"i{u}": f"s{u % 5}" for u in range(80)})
    code, shown = call(["--humans", h, "--model", m, "--speakers", s], capsys, monkeypatch)
    assert code == 0
    assert shown.out.startswith("mine: winning rate ")
    assert "p clustered" in shown.out
    code, shown = call(["--humans", h, "--model", m, "--speakers", s, "--json"], capsys, monkeypatch)
    rows = json.loads(shown.out)["models"]["mine"]["raters"]
    assert all(row["speakers"] == 5 and 0 <= row["p_clustered"] <= 1 for row in rows.values())


def test_numbers_and_distributions_are_read(tmp_path):
    h = write(tmp_path / "H.json", {f"r{j}": {f"i{u}": (u + j) % 5 for u in range(40)} for j in range(3)})
    m = write(tmp_path / "M.json", {"x": {f"i{u}": 2.5 for u in range(40)}})
    data = read_alt_test(h, m, scorer="neg-rmse")
    assert data.models["x"].tolist() == [2.5] * 40
    q = write(tmp_path / "Q.json", {"x": {f"i{u}": {"0": 0.5, "1": 0.25, "4": 0.25} for u in range(40)}})
    data = read_alt_test(h, q, scorer="log-score")
    assert data.models["x"][0].tolist() == [0.5, 0.25, 0, 0, 0.25]
    assert alt_test(data.votes, data.models["x"], scorer="log-score").tested


def test_null_is_not_rated_and_a_constant_rater_is_named(tmp_path):
    people = {"a": {"1": "x", "2": "y", "3": None}, "b": {"1": "x", "2": "x", "3": "y"}, "c": {"2": "y", "3": "y"}}
    h, m = write(tmp_path / "H.json", people), write(tmp_path / "M.json", {"1": "x", "3": "y"})
    data = read_alt_test(h, m, scorer="accuracy")
    assert (data.items, data.raters) == (["1", "2", "3"], ["a", "b", "c"])
    assert data.votes.given.sum() == 7
    assert data.notes == ["constant raters, one label on every item: 'c'; to win against them shows nothing"]


GOOD = {"a": {"1": "x", "2": "y"}, "b": {"1": "x", "2": "x"}}


@pytest.mark.parametrize(
    ("humans", "model", "scorer", "error", "words"),
    [
        ("nope", GOOD, "accuracy", SerannError, "H.json: not a file of human labels: it is no valid JSON"),
        ([1], GOOD, "accuracy", SerannError, "expected a JSON object, found a list"),
        ("[" * 100_000, GOOD, "accuracy", SerannError, "not a file of human labels"),
        ({}, GOOD, "accuracy", CorpusError, "the file of human labels is empty"),
        ('{"a": {"1": NaN}, "b": {"1": "x"}}', GOOD, "accuracy", TableError, "rater 'a', item '1': NaN is no label"),
        ('{"a": {"1": 1e999}, "b": {"1": 1}}', GOOD, "neg-rmse", TableError, "inf is no label"),
        ({"a": 3, "b": {"1": [2]}}, GOOD, "accuracy", TableError, "2 problems"),
        ({"a": {"1": ""}, "b": {"1": "x"}}, GOOD, "accuracy", TableError, "an empty text is no label"),
        (GOOD, GOOD, "neg-rmse", TableError, "the label 'x' is no number, which neg-rmse needs"),
        ({"a": {"1": True}, "b": {"1": 2}}, {"1": 1}, "neg-rmse", TableError, "the label True is no number"),
        ({"a": {"1": "x"}}, GOOD, "accuracy", CorpusError, "1 human rater: the test leaves one human out"),
        ({"a": {"1": "x"}, "b": {}}, GOOD, "accuracy", CorpusError, "1 human rater"),
        (GOOD, {"9": "x"}, "accuracy", CorpusError, "M has no item in common with the humans (its first is '9'"),
        (GOOD, {"m": {}}, "accuracy", CorpusError, "m has no item in common with the humans (it labels nothing)"),
        ({"a": {"1": "x"}, "b": {"2": "y"}}, {"1": "x"}, "accuracy", CorpusError, "two human votes"),
        ({"a": {"1": "x", "2": "x"}, "b": {"1": "y", "2": "y"}}, {"1": "x"}, "accuracy", CorpusError, "every one of"),
        (GOOD, {"1": 1, "2": 2}, "accuracy", LabelError, "one side writes texts, the other numbers"),
        (GOOD, {"m": {"1": {"x": 0.5}}}, "log-score", TableError, "the probabilities sum to 0.5; expected 1"),
        (GOOD, {"m": {"1": {"x": "1"}}}, "log-score", TableError, "expected {label: probability}"),
        (GOOD, {"m": {"1": {"x": 1}, "2": "x"}}, "log-score", TableError, "holds labels and distributions"),
        (GOOD, {"m": {"1": {"x": 1}}}, "accuracy", TableError, "expected a label, a text or a number, found an object"),
    ],
)
def test_bad_files_are_one_sentence(humans, model, scorer, error, words, tmp_path):
    h, m = write(tmp_path / "H.json", humans), write(tmp_path / "M.json", model)
    with pytest.raises(error) as raised:
        read_alt_test(h, m, scorer=scorer)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "too few votes per rater: the most that any of 2 raters shares with other raters and M is 2 items"),
        (["--scorer", "kappa"], "unknown scorer 'kappa'"),
        (["--epsilon", "2"], "epsilon is 2"),
        (["--speakers", "M.json"], "too few votes per rater"),
        (["--speakers", "S.json"], "S.json names no speaker for 1 of 2 items, the first '2'"),
    ],
)
def test_a_test_that_cannot_be_made_is_a_sentence_and_exit_code_2(more, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "H.json", GOOD)
    write(tmp_path / "M.json", {"1": "x", "2": "y"})
    write(tmp_path / "S.json", {"1": "someone"})
    code, shown = call(["--humans", "H.json", "--model", "M.json", *more], capsys, monkeypatch)
    assert code == 2
    assert shown.err.startswith("error: ")
    assert words in shown.err
    assert shown.out == ""


def test_help_has_an_example():
    result = CliRunner().invoke(app, ["alt-test", "--help"])
    assert result.exit_code == 0
    assert "serann alt-test --humans H.json --model M.json" in " ".join(result.stdout.split())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["x", "y", "1", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("12ab"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(json_values, json_values, st.sampled_from(["accuracy", "neg-rmse", "log-score"]))
def test_any_json_is_a_result_or_a_sentence(tmp_path_factory, humans, model, scorer):
    place = tmp_path_factory.getbasetemp() / "any"
    place.mkdir(exist_ok=True)
    h, m = write(place / "H.json", json.dumps(humans)), write(place / "M.json", json.dumps(model))
    with contextlib.suppress(SerannError):
        data = read_alt_test(h, m, scorer=scorer)
        for name, answers in data.models.items():
            found = alt_test(data.votes, answers, scorer=scorer, min_instances=2, name=name)
            assert all(0 <= present(row.p) <= 1 for row in found.tested)


def test_the_order_of_a_file_does_not_matter():
    people = {"b": {"2": "y", "1": "x"}, "a": {"1": "y", "2": "x", "3": "x"}}
    turned = {r: dict(sorted(labels.items())) for r, labels in sorted(people.items())}
    for scorer in ("accuracy", "log-score"):
        one, two = (line_up_labels(h, {"m": {"1": "x", "2": "y"}}, scorer=scorer) for h in (people, turned))
        np.testing.assert_array_equal(one.votes.value, two.votes.value)
        np.testing.assert_array_equal(one.models["m"], two.models["m"])


# --- in an audit ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    place = tmp_path_factory.mktemp("alt")
    corpus, truth = simulated_corpus(place / "corpus", utterances=200, speakers=10, seen=2)
    good = open_run(simulated_run(place / "good", corpus, truth))
    deaf = open_run(simulated_run(place / "deaf", corpus, shuffled(truth)))
    return corpus, good, deaf


def test_a_run_is_tested_against_each_named_rater(audited):
    corpus, good, deaf = audited
    section = alt_test_of(corpus, good, listeners=True)
    assert section.reason is None
    assert [(test.model, test.scorer) for test in section.tests[:3]] == [
        ("good, plurality", "accuracy"),
        ("good, distribution", "log-score"),
        ("good, listener-0", "accuracy"),
    ]
    assert len(section.tests) == 2 + 4
    assert section.raters == 11
    # 8 votes per utterance, of which 2 are seen in the train split (60 %)
    assert section.votes == 200 * 8 - 120 * 2
    assert section.anonymous == 0
    assert section.tests[0].passes
    assert section.tests[0].raters[0].speakers == 10
    assert not any(test.passes for test in alt_test_of(corpus, deaf).tests)
    json.dumps(plain(section), allow_nan=False)
    page = html(alt_test_section(section))
    assert "never licenses" in page
    assert "good, plurality" in page


def test_anonymous_votes_cannot_be_left_out_by_rater(audited, tmp_path):
    corpus, good, _ = audited
    bare = corpus.votes.to_pylist()
    votes = from_rows([{**row, "rater_id": None} for row in bare], VOTES, labels=corpus.labels)
    nameless = write_corpus(
        tmp_path / "nameless",
        name=corpus.name,
        labels=corpus.labels,
        utterances=corpus.utterances,
        votes=votes,
        licence="CC0-1.0",
        provenance={},
    )
    section = alt_test_of(nameless, good)
    assert section.tests == []
    assert section.reason is not None
    assert section.reason.startswith("too few votes per rater: the test needs raters who keep their name")
    assert "Not made: too few votes per rater" in html(alt_test_section(section))
    few = alt_test_of(corpus, good, min_instances=5000)
    assert few.reason is not None
    assert few.reason.startswith("too few votes per rater: the most that any of 11 raters")


def test_another_human_panel_is_tested_like_a_run(audited, tmp_path):
    corpus, _, _ = audited
    other, _ = simulated_corpus(tmp_path / "other", utterances=200, speakers=10, votes=5, seen=None)
    section = alt_test_of(corpus, other)
    assert [test.scorer for test in section.tests] == ["accuracy", "log-score"]
    assert section.tests[0].passes


def test_ties_of_a_plurality_fall_to_the_utterances_draw():
    q = np.array([[0.5, 0.5, 0.0]] * 400)
    ids = [f"u{u}" for u in range(400)]
    chosen = plurality(q, ids)
    assert set(chosen) == {0, 1}
    assert 150 < chosen.sum() < 250
    order = np.random.default_rng(0).permutation(400)
    assert (plurality(q, [ids[u] for u in order]) == chosen[order]).all()
    assert plurality(np.array([[np.nan, np.nan], [0.2, 0.8]]), ["a", "b"]).tolist() == [-1, 1]


@pytest.mark.corpora
@pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA names no folder of real corpora")
def test_the_tabulated_votes_of_crema_d_are_anonymous_so_there_is_no_test(tmp_path):
    source, panels = Path(os.environ["SERANN_CORPORA"]) / "crema-d", []
    for modality in ("voice", "av"):
        found = load_reader("crema-d").read(source, Options(modality=modality))
        tables = {"labels": LABEL_SETS["crema6"], "utterances": found.utterances, "votes": found.votes}
        panels.append(write_corpus(tmp_path / modality, name="crema-d", licence="ODbL", provenance={}, **tables))
    section = alt_test_of(*panels)
    if section.anonymous == 68_568:
        assert section.reason is not None
        assert section.reason.endswith("all 68568 votes are anonymous")
    else:  # with the single responses of the release raters have names
        assert section.tests


# --- speed ------------------------------------------------------------------------------------------------------------


def test_arrays_are_fifteen_times_as_fast_as_a_lean_loop_and_equal_it():
    path = Path(__file__).parents[1] / "benchmarks" / "alt_test.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_alt_test", path)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.measure(10_000, 10, 6, rounds=3)["ratio"] >= benchmark.LEAST
