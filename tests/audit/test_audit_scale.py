"""What makes an audit of a million utterances affordable gives the figures of the plain way, and its cost is linear."""

import runpy
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serann.annotator.audit import baselines
from serann.annotator.audit.scorer import Reference, Scorer
from serann.data.labels import LABEL_SETS
from serann.data.scores import divergences
from serann.data.scores.divergences import hellinger, jsd_bits, manhattan, total_variation
from serann.data.scores.groups import group_codes
from serann.data.scores.intervals import group_sums
from serann.data.scores.metrics import accuracy_rows, confusion_rows, group_confusion, item_r2_rows, plurality
from serann.data.scores.proper_scores import brier, log_score, sq_unbiased, sq_unbiased_by_label
from serann.data.scores.scoring import score_table
from serann.data.vote_models.dirichlet_multinomial import distinct_rows
from serann.data.votes import draw_counts, nested_draws

SCORES = (
    *(jsd_bits, hellinger, manhattan, total_variation, accuracy_rows, item_r2_rows),
    *(brier, log_score, sq_unbiased, sq_unbiased_by_label),
)


def predictions(rows: int, labels: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Distributions, some tied, some without mass on a label, some missing; and three votes each, some rows none."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.ones(labels), rows)
    counts = rng.multinomial(3, q).astype(float)
    q[::3] = np.round(q[::3], 1)
    q[::17], counts[::13] = np.nan, 0
    return q, counts


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.__name__)
def test_scores_by_blocks_are_those_of_single_rows(score, monkeypatch):
    monkeypatch.setattr(divergences, "BLOCK", 7)
    q, counts = predictions(40)
    alone = np.concatenate([score(q[i : i + 1], counts[i : i + 1]) for i in range(len(q))])
    np.testing.assert_array_equal(score(q, counts), alone)


def test_a_negative_entry_is_refused_in_any_block(monkeypatch):
    monkeypatch.setattr(divergences, "BLOCK", 4)
    q, counts = predictions(20)
    q[18, 2] = -0.1
    with pytest.raises(ValueError, match="negative or an infinite entry"):
        jsd_bits(q, counts)


def test_sums_by_group_are_those_of_a_loop():
    rng = np.random.default_rng(1)
    columns, codes = rng.normal(size=(50, 3)), rng.integers(0, 6, 50)
    loop = [[sum(columns[i, s] for i in range(50) if codes[i] == g) for s in range(3)] for g in range(8)]
    np.testing.assert_allclose(group_sums(columns, codes, 8), loop, atol=1e-12)


@given(st.lists(st.one_of(st.none(), st.integers(0, 20), st.sampled_from(["a", "", "10", "b"])), max_size=30))
def test_groups_are_numbered_in_the_order_of_their_names(groups):
    names = ["" if g is None else f"={g}" for g in groups]
    order = sorted(set(names))
    codes, size = group_codes(groups)
    assert size == len(order)
    assert codes.tolist() == [order.index(name) for name in names]


def test_confusions_by_group_are_sums_of_rows():
    q, counts = predictions(200, labels=4)
    codes = np.arange(200) % 5
    rows = confusion_rows(q, counts).reshape(200, -1)
    loop = [np.nansum(rows[codes == g], axis=0) for g in range(6)]
    np.testing.assert_allclose(group_confusion(q, counts, codes, 6), loop, atol=1e-12)


def test_distinct_votes_come_in_the_order_of_sorted_rows():
    for counts in (np.random.default_rng(2).integers(0, 3, (300, 4)).astype(float), np.full((5, 4), 0.5)):
        said = counts[counts.sum(axis=1) > 0]
        rows, times = np.unique(said, axis=0, return_counts=True)
        found = distinct_rows(counts)
        np.testing.assert_array_equal(found[0], rows)
        np.testing.assert_array_equal(found[1], times)


def test_nested_draws_are_the_single_draws():
    counts = np.random.default_rng(3).integers(0, 3, (60, 4)).astype(float)
    ids = [f"u{i}" for i in range(60)]
    for n, drawn in zip((1, 2, 4), nested_draws(counts, (1, 2, 4), ids, "a", 1), strict=True):
        np.testing.assert_array_equal(drawn, draw_counts(counts, n, ids, "a", 1))
        kept = counts.sum(axis=1) >= n
        assert (drawn[kept].sum(axis=1) == n).all()
        assert (drawn[kept] <= counts[kept]).all()
        assert np.isnan(drawn[~kept]).all()


def reference(rows: int) -> Reference:
    rng = np.random.default_rng(4)
    truth = rng.dirichlet(np.ones(6), rows)
    scored, other = (rng.multinomial(n, truth).astype(float) for n in (3, 4))
    return Reference(
        labels=LABEL_SETS["demo6"],
        ids=[f"u{i}" for i in range(rows)],
        rows=np.arange(rows),
        scored=scored,
        other=other,
        heldout=scored + other,
        groups=np.array([f"s{i % 70}" for i in range(rows)], dtype=object),
        folds=np.arange(rows) % 70 % 5,
        m=3,
        seed=0,
        left_out={},
        notes=[],
    )


def test_a_scorers_table_is_the_plain_table_of_rows():
    ref = reference(700)
    q = predictions(700)[0]
    found = Scorer([ref], level=0.95).table(q)
    plain = score_table(q, ref.scored, labels=ref.labels, ids=ref.ids, groups=ref.groups, m=3)
    totals = {row.metric: row for row in plain}
    assert [row.metric for row in found] == list(totals)
    for row in found:
        assert row.value == pytest.approx(totals[row.metric].value, abs=1e-12)
        assert (row.utterances, row.skipped, row.groups) == (700 - 42, 42, 70)


def test_the_draws_of_the_floor_are_bounded_over_all_utterances_together():
    # at most 50 an utterance; a million utterances get five
    rows = (100, 100_000, 1_000_000)
    assert [min(baselines.POSTERIOR_DRAWS, baselines.POSTERIOR_ROWS // n) for n in rows] == [50, 50, 5]


def test_plurality_splits_ties_and_leaves_rows_without_votes():
    rows = np.array([[2.0, 2, 0], [0, 0, 0], [1, 1, 1], [0, np.nan, 1]])
    np.testing.assert_array_equal(plurality(rows)[[0, 2]], [[0.5, 0.5, 0], [1 / 3] * 3])
    assert np.isnan(plurality(rows)[[1, 3]]).all()


@pytest.mark.slow
def test_ten_times_the_utterances_take_at_most_eleven_times_the_time():
    """Above 10,000 utterances the scored votes are drawn fewer times, so the ratio is well below ten."""
    benchmark = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "audit.py"))
    sizes = []
    for rows in (20_000, 200_000):
        with tempfile.TemporaryDirectory() as place:
            benchmark["_child"]("--make", place, "--rows", str(rows))
            sizes.append(benchmark["json"].loads(benchmark["_child"]("--measure", place)))
    assert sizes[1]["points_cpu_seconds"] <= 11 * sizes[0]["points_cpu_seconds"]
