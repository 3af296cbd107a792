"""Agreement coefficients against textbook values, plain loops over pairs, and the real CREMA-D votes."""

import csv
import os
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.corpus import write_corpus
from serann.data.errors import OptionError
from serann.data.labels import LABEL_SETS
from serann.data.scores import agreement as agreement_module
from serann.data.scores.agreement import (
    agreement,
    alpha_of,
    alpha_rows,
    answer_counts,
    fleiss_kappa,
    fleiss_kappa_paper,
    gwet_ac1,
    interval_alpha,
    krippendorff_alpha,
    ordinal_alpha,
    single_answers,
)
from serann.data.scores.groups import speaker_groups
from serann.data.scores.intervals import by_group
from serann.data.tables import RATINGS, UTTERANCES, VOTES, from_rows

FOUR = LABEL_SETS["iemocap4"]
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C-E: 4 raters, 12 units, 0 = not rated.
TEXTBOOK = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
)
# Fleiss 1971, Table 1 is of 30 patients; this is the 10 x 5 example of the encyclopedias, 14 raters, kappa .210.
FOURTEEN = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def counts_of(ratings, steps):
    return np.array([[np.sum(unit == step) for step in steps] for unit in ratings.T])


def naive_alpha(items, difference):
    """Alpha from all ordered pairs of values, one by one; `items` are lists of values."""
    pairable = [item for item in items if len(item) > 1]
    observed = sum(difference(a, b) / (len(item) - 1) for item in pairable for a, b in permutations(item, 2))
    values = [value for item in pairable for value in item]
    expected = sum(difference(a, b) for a, b in permutations(values, 2)) / (len(values) - 1) if values else 0
    return 1 - observed / expected if expected else float("nan")


def values_of(counts):
    return [[c for c, times in enumerate(row) for _ in range(times)] for row in counts]


def rank_difference(items):
    margin = np.bincount([v for item in items if len(item) > 1 for v in item], minlength=9)
    return lambda a, b: (margin[min(a, b) : max(a, b) + 1].sum() - (margin[a] + margin[b]) / 2) ** 2


def test_the_textbook_example():
    counts = counts_of(TEXTBOOK, range(1, 6))
    unit = np.tile(np.arange(12), 4)[TEXTBOOK.ravel() > 0]
    assert round(krippendorff_alpha(counts), 3) == 0.743
    assert round(ordinal_alpha(counts), 3) == 0.815
    assert round(interval_alpha(TEXTBOOK.ravel()[TEXTBOOK.ravel() > 0], unit), 3) == 0.849
    # Gwet 2014 has the same ratings: AC1 .775 (.818 observed, .190 by chance), Fleiss' generalised kappa .761
    assert round(gwet_ac1(counts), 3) == 0.775
    assert round(fleiss_kappa(counts), 3) == 0.761


def test_as_many_raters_everywhere_is_fleiss_own_kappa():
    assert round(fleiss_kappa(FOURTEEN), 3) == 0.210
    assert fleiss_kappa_paper(FOURTEEN) == pytest.approx(fleiss_kappa(FOURTEEN))
    # a single vote counts as agreement in the paper variant alone
    single = np.vstack([FOURTEEN, [[1, 0, 0, 0, 0]]])
    assert krippendorff_alpha(single) == krippendorff_alpha(FOURTEEN)
    assert fleiss_kappa_paper(single) > fleiss_kappa(single)


def test_prevalence_fools_kappa_and_not_ac1():
    # Two raters, 100 items: 90 both "a", 5 and 5 split. kappa = -.053 (chance .905), AC1 = (.9 - .095) / (1 - .095).
    counts = np.array([[2, 0]] * 90 + [[1, 1]] * 10)
    assert fleiss_kappa(counts) == pytest.approx((0.9 - 0.905) / (1 - 0.905))
    assert gwet_ac1(counts) == pytest.approx((0.9 - 0.095) / (1 - 0.095))


COUNTS = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=8).map(np.array)


@settings(max_examples=80, deadline=None)
@given(counts=COUNTS)
def test_coefficients_are_what_loops_over_pairs_give(counts):
    items = values_of(counts)
    unit = [i for i, item in enumerate(items) for _ in item]
    flat = [value for item in items for value in item]
    for value, difference in (
        (krippendorff_alpha(counts), lambda a, b: float(a != b)),
        (interval_alpha(flat, unit), lambda a, b: (a - b) ** 2),
        (ordinal_alpha(counts), rank_difference(items)),
    ):
        assert value == pytest.approx(naive_alpha(items, difference), nan_ok=True)
    agree = [np.mean([a == b for a, b in permutations(item, 2)]) for item in items if len(item) > 1]
    if agree:
        pi = np.mean([[item.count(c) / len(item) for c in range(4)] for item in items if item], axis=0)
        chance = (pi * (1 - pi)).sum() / 3
        assert gwet_ac1(counts) == pytest.approx((np.mean(agree) - chance) / (1 - chance))
        kappa = (np.mean(agree) - (pi**2).sum()) / (1 - (pi**2).sum()) if max(pi) < 1 else float("nan")
        assert fleiss_kappa(counts) == pytest.approx(kappa, nan_ok=True)
    else:
        assert np.isnan([gwet_ac1(counts), fleiss_kappa(counts)]).all()


@settings(max_examples=30, deadline=None)
@given(counts=COUNTS, order=st.permutations(range(4)))
def test_the_order_of_labels_and_of_utterances_does_not_matter(counts, order):
    for coefficient in (krippendorff_alpha, gwet_ac1, fleiss_kappa, fleiss_kappa_paper):
        assert coefficient(counts[::-1][:, order]) == pytest.approx(coefficient(counts), nan_ok=True)


def test_undefined_cases_are_nan_and_fractions_are_refused():
    for counts in ([[1, 0], [0, 1]], [[0, 0]], [[3, 0], [2, 0]]):
        assert np.isnan(krippendorff_alpha(counts))
        assert np.isnan(fleiss_kappa(counts))
        assert np.isnan(ordinal_alpha(counts))
    assert gwet_ac1([[3, 0], [2, 0]]) == 1.0
    assert np.isnan(gwet_ac1([[1, 0], [0, 1]]))
    assert np.isnan(gwet_ac1([[2], [2]]))
    assert np.isnan(interval_alpha([2.1, 2.1, 2.1], [0, 0, 1]))
    assert np.isnan(interval_alpha([], []))
    assert np.isnan(fleiss_kappa_paper([[0, 0]]))
    with pytest.raises(OptionError, match="expected whole counts of 0 or more"):
        krippendorff_alpha([[0.5, 1.5]])


def test_a_corpus_has_intervals_by_speaker(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60)
    rows = {(row["of"], row["coefficient"]): row for row in agreement(corpus)}
    assert list(rows)[:3] == [("votes", name) for name in ("krippendorff_alpha_nominal", "gwet_ac1", "fleiss_kappa")]
    assert ("valence", "krippendorff_alpha_interval") in rows
    alpha = rows["votes", "krippendorff_alpha_nominal"]
    counts = answer_counts(single_answers(corpus), 60, 6)
    assert alpha["value"] == pytest.approx(krippendorff_alpha(counts))
    # the same interval as from the rows themselves, not summed by speaker first
    whole = by_group(alpha_rows(counts), corpus.column("speaker"), statistic=alpha_of)
    assert (alpha["low"], alpha["high"]) == pytest.approx((whole.low, whole.high))
    assert (alpha["unit"], alpha["units"], alpha["method"]) == ("speaker", 12, "jackknife-t")
    assert (alpha["utterances"], alpha["answers"], alpha["left_out"]) == (60, 480, 0)
    assert alpha["low"] < alpha["value"] < alpha["high"]


def small(path, *, speakers, dialogues=None, votes=(), ratings=None):
    dialogues = dialogues or [None] * len(speakers)
    utterances = [
        {"utterance_id": f"u{i}", "speaker": s, "dialogue": d, "split": "train"}
        for i, (s, d) in enumerate(zip(speakers, dialogues, strict=True))
    ]
    return write_corpus(
        path,
        name="small",
        labels=FOUR,
        utterances=from_rows(utterances, UTTERANCES),
        votes=from_rows(list(votes), VOTES, labels=FOUR),
        ratings=from_rows(ratings, RATINGS) if ratings else None,
        licence="CC0-1.0",
        provenance={},
    )


def test_unknown_speakers_are_grouped_by_dialogue_or_singly_and_said(tmp_path):
    corpus = small(tmp_path / "c", speakers=["a", "a", None, None, None], dialogues=["d", "e", "d", "d", None])
    groups = speaker_groups(corpus.utterances)
    assert groups.names == ["dialogue d", "speaker a", "utterance u4"]
    assert groups.codes.tolist() == [1, 1, 0, 0, 2]
    assert groups.unit == "speaker (dialogue or utterance where unknown)"
    assert speaker_groups(corpus.utterances.slice(4)).unit == "utterance"


def test_answers_of_several_labels_self_reports_and_secondary_votes_are_left_out(tmp_path):
    votes = [
        {"utterance_id": "u0", "rater_id": "a", "label": "sad"},
        {"utterance_id": "u0", "rater_id": "b", "label": "sad"},
        {"utterance_id": "u0", "rater_id": "b", "label": "angry"},
        {"utterance_id": "u0", "rater_id": "c", "label": "happy", "source": "self"},
        {"utterance_id": "u0", "rater_id": "a", "label": "angry", "rank": "secondary"},
        {"utterance_id": "u1", "rater_id": None, "label": "happy"},
        {"utterance_id": "u1", "rater_id": None, "label": "happy"},
        {"utterance_id": "u1", "rater_id": "b", "label": None, "reason": "silence"},
    ]
    answers = single_answers(small(tmp_path / "c", speakers=["s", "t"], votes=votes))
    assert answers.several == 1
    assert answer_counts(answers, 2, 4).sum(axis=1).tolist() == [1, 2]
    assert sorted(answers.rater.tolist()) == [-1, -1, 0]


def test_without_votes_there_is_no_row_and_one_speaker_has_no_interval(tmp_path):
    assert agreement(small(tmp_path / "c", speakers=["a"])) == []
    votes = [{"utterance_id": "u0", "rater_id": r, "label": label} for r, label in (("x", "sad"), ("y", "angry"))]
    rows = agreement(small(tmp_path / "d", speakers=["a"], votes=votes))
    assert [row["method"] for row in rows] == ["none: one group"] * 3
    ratings = [
        {"utterance_id": "u0", "rater_id": r, "dimension": "arousal", "value": v} for r, v in (("x", 1), ("y", 3))
    ]
    rated = agreement(small(tmp_path / "e", speakers=["a", "b"], ratings=ratings))
    assert [(row["of"], row["coefficient"]) for row in rated] == [
        ("arousal", "krippendorff_alpha_interval"),
        ("arousal", "krippendorff_alpha_ordinal"),
    ]


def test_no_interval_reaches_above_perfect_agreement(tmp_path):
    """Two utterances of agreement and one without: the jackknife alone says up to 2.9."""
    said = [("sad", "sad"), ("happy", "happy"), ("sad", "angry")]
    votes = [
        {"utterance_id": f"u{i}", "rater_id": rater, "label": label}
        for i, answers in enumerate(said)
        for rater, label in zip("xy", answers, strict=True)
    ]
    rows = agreement(small(tmp_path / "c", speakers=["a", "b", "c"], votes=votes))
    assert [row["high"] for row in rows] == [1.0] * 3
    assert all(row["low"] < row["value"] for row in rows)


def test_too_many_groups_are_resampled_in_blocks_of_neighbours(tmp_path, monkeypatch):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=240, speakers=120)
    whole = agreement(corpus)[0]
    monkeypatch.setattr(agreement_module, "MOST_GROUPS", 80)
    blocks = agreement(corpus)[0]
    assert (whole["units"], blocks["units"]) == (120, 80)
    assert whole["value"] == pytest.approx(blocks["value"])
    assert blocks["high"] - blocks["low"] == pytest.approx(whole["high"] - whole["low"], rel=0.3)


def test_a_hundred_thousand_utterances_take_a_second_or_two():
    counts = np.random.default_rng(0).multinomial(5, [0.5, 0.2, 0.1, 0.1, 0.1], size=100_000)
    start = time.perf_counter()
    assert abs(krippendorff_alpha(counts)) < 0.01
    assert abs(gwet_ac1(counts)) < 0.25
    assert time.perf_counter() - start < 5


@pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA is not set")
def test_alpha_of_the_real_voice_votes_is_that_of_the_coincidence_matrix():
    path = Path(os.environ["SERANN_CORPORA"]) / "crema-d" / "processedResults" / "tabulatedVotes.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[""].startswith("1")]
    counts = np.array([[int(row[letter]) for letter in "ADFHNS"] for row in rows])
    assert counts.shape == (7442, 6)
    assert counts.sum() == 68_568
    table = np.zeros((6, 6))
    for row in counts:  # Krippendorff's coincidence matrix, a clip at a time
        table += (np.outer(row, row) - np.diag(row)) / (row.sum() - 1)
    margin = table.sum(axis=0)
    n = margin.sum()
    observed = n - np.trace(table)
    expected = (n * n - (margin**2).sum()) / (n - 1)
    assert round(krippendorff_alpha(counts), 4) == round(1 - observed / expected, 4) == 0.2811
