"""Plurality metrics and CCC against scikit-learn or naive loops; ties, absent classes and strata by hand."""

import numpy as np
import pytest
from serann.data.labels import LABEL_SETS
from serann.data.scores import metrics as m
from serann.data.scores.divergences import bhattacharyya
from serann.data.scores.proper_scores import log_score, sq_unbiased
from serann.data.scores.scoring import paired_table, score_table, strata_thirds


@pytest.fixture
def untied():
    """300 rows whose pluralities are never tied, the rare fourth label among them."""
    rng = np.random.default_rng(0)
    truth = rng.choice(4, 300, p=[0.5, 0.3, 0.17, 0.03])
    guess = np.where(rng.random(300) < 0.6, truth, rng.choice(3, 300))
    counts = np.eye(4)[truth] * 3 + np.eye(4)[(truth + 1) % 4]
    q = (np.eye(4)[guess] + 0.2) / 1.8
    return truth, guess, q, counts


def naive_f1(truth, guess, c):
    hit = sum(1 for t, g in zip(truth, guess, strict=True) if t == c and g == c)
    either = sum(t == c for t in truth) + sum(g == c for g in guess)
    return 2 * hit / either


def test_metrics_equal_naive_loops(untied):
    truth, guess, q, counts = untied
    recalls = [np.mean(guess[truth == c] == c) for c in range(4)]
    assert m.accuracy(q, counts) == pytest.approx(np.mean(truth == guess), abs=1e-9)
    assert m.uar(q, counts) == pytest.approx(np.mean(recalls), abs=1e-9)
    assert m.macro_f1(q, counts) == pytest.approx(np.mean([naive_f1(truth, guess, c) for c in range(4)]), abs=1e-9)


def test_dropping_the_classes_never_hit_would_raise_macro_f1(untied):
    truth, guess, q, counts = untied
    scores = [naive_f1(truth, guess, c) for c in range(4)]
    # the rare fourth label: hit by chance here, so take a system that gave it up
    guess = np.where(guess == 3, 0, guess)
    q = (np.eye(4)[guess] + 0.2) / 1.8
    scores = [naive_f1(truth, guess, c) for c in range(4)]
    assert scores[3] == 0
    dropped = np.mean([x for x in scores if x > 0])
    assert m.macro_f1(q, counts) == pytest.approx(np.mean(scores), abs=1e-9)
    assert dropped - m.macro_f1(q, counts) > 0.1


def test_a_label_without_support_in_the_full_reference_is_in_no_class_set():
    q, counts = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [[3, 0, 0], [0, 3, 0]]
    assert m.macro_f1(q, counts) == 1
    assert m.uar(q, counts) == 1
    # ... but mass given to it still costs the class that lost it: F1 of class 0 is 1, of class 1 is 0
    assert m.macro_f1([[0.9, 0.1, 0.0], [0.1, 0.2, 0.7]], counts) == 0.5


def test_the_class_set_of_the_full_reference_is_kept_in_a_part():
    q, counts = np.eye(3), np.eye(3) * 2
    classes = m.reference_classes(counts)
    assert m.macro_f1(q[:2], counts[:2], classes=classes) == pytest.approx(2 / 3)
    assert m.uar(q[:2], counts[:2], classes=classes) == pytest.approx(2 / 3)
    assert m.macro_f1(q[:2], counts[:2]) == 1


def test_ties_split_credit():
    # reference tied A:B; the prediction says A (half right), then A and B both (half right: .5 .5 + .5 .5)
    assert m.accuracy([[1.0, 0, 0]], [[2, 2, 0]]) == 0.5
    assert m.accuracy([[0.5, 0.5, 0]], [[2, 2, 0]]) == 0.5
    # recall of A is 1, of B is 0; F1: A 2 (.5) / (.5 + 1) = 2/3, B 0
    assert m.uar([[1.0, 0, 0]], [[2, 2, 0]]) == 0.5
    assert m.macro_f1([[1.0, 0, 0]], [[2, 2, 0]]) == pytest.approx(1 / 3)


def test_rows_without_votes_or_prediction_are_skipped():
    q = np.array([[1.0, 0.0], [np.nan, np.nan], [1.0, 0.0]])
    counts = np.array([[1, 0], [1, 0], [0, 0]])
    assert m.accuracy(q, counts) == 1
    assert np.isnan(m.accuracy_rows(q, counts)).tolist() == [False, True, True]
    assert np.isnan(m.accuracy(q[1:], counts[1:]))
    assert np.isnan(m.macro_f1(q[2:], counts[2:]))


def test_ccc_equals_the_naive_formula():
    rng = np.random.default_rng(1)
    x = rng.normal(3, 1, 100)
    y = 0.7 * x + rng.normal(2, 0.5, 100)
    r = np.corrcoef(x, y)[0, 1]
    expected = 2 * r * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert m.ccc(x, y) == pytest.approx(expected, abs=1e-12)
    assert m.ccc(np.append(x, np.nan), np.append(y, 1.0)) == pytest.approx(expected, abs=1e-12)
    assert m.ccc(x + 1e6, y + 1e6) == pytest.approx(expected, abs=1e-6)


def test_ccc_of_constants():
    assert np.isnan(m.ccc([2, 2], [2, 2]))
    assert m.ccc([2, 2], [1, 3]) == 0
    assert np.isnan(m.ccc([np.nan], [1.0]))


def votes(utterances=240, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(6, 0.5), utterances)
    return p, rng.multinomial(7, p).astype(float), [f"u{i}" for i in range(utterances)], np.arange(utterances) % 12


def table(q, counts, ids, groups, **options):
    rows = score_table(q, counts, labels=LABEL_SETS["demo6"], ids=ids, groups=groups, m=4, **options)
    return {row.metric: row for row in rows}


def test_the_score_table_names_every_metric_and_its_reference():
    p, counts, ids, groups = votes()
    found = table(p, counts, ids, groups)
    assert list(found) == [
        *("sq_unbiased", "log_score", "jsd_bits@4", "bhattacharyya@4", "total_variation@4"),
        *("accuracy", "uar", "macro_f1"),
    ]
    assert found["sq_unbiased"].value == pytest.approx(sq_unbiased(p, counts).mean())
    assert found["log_score"].value == pytest.approx(log_score(p, counts).mean())
    assert found["macro_f1"].value == pytest.approx(m.macro_f1(p, counts))
    for row in found.values():
        assert row.low < row.value < row.high
        assert (row.method, row.groups, row.utterances, row.skipped) == ("jackknife-t", 12, 240, 0)


def test_the_score_table_counts_what_it_skips():
    p, counts, ids, groups = votes()
    p[:5], counts[5:8] = np.nan, [1, 1, 0, 0, 0, 0]
    found = table(p, counts, ids, groups)
    assert (found["sq_unbiased"].utterances, found["sq_unbiased"].skipped) == (235, 5)
    assert (found["jsd_bits@4"].utterances, found["jsd_bits@4"].skipped) == (232, 8)


def test_the_score_table_of_a_part_keeps_the_class_set_and_the_reference_votes():
    p, counts, ids, groups = votes()
    part = counts.argmax(1) < 3
    found = table(p, counts, ids, groups, rows=part)
    assert found["macro_f1"].value == pytest.approx(
        m.macro_f1(p[part], counts[part], classes=m.reference_classes(counts))
    )
    assert found["sq_unbiased"].utterances == part.sum()


def test_the_score_table_does_not_depend_on_the_order_of_rows_or_labels():
    p, counts, ids, groups = votes()
    straight = table(p, counts, ids, groups, seed=3)
    turned = table(p[::-1], counts[::-1], ids[::-1], groups[::-1], seed=3)
    for name, row in straight.items():
        assert turned[name][1:4] == pytest.approx(row[1:4], abs=1e-12)
    # the votes drawn for the figures "at 4" are tied to their label's place, so those may differ
    order = [3, 1, 0, 5, 4, 2]
    permuted = table(p[:, order], counts[:, order], ids, groups, seed=3)
    for name in ("sq_unbiased", "log_score", "accuracy", "uar", "macro_f1"):
        assert permuted[name][1:4] == pytest.approx(straight[name][1:4], abs=1e-12)


def test_the_score_table_refuses_shapes_that_do_not_fit():
    p, counts, ids, groups = votes()
    with pytest.raises(ValueError, match="expected q and counts"):
        table(bhattacharyya(p, p), counts, ids, groups)


def test_thirds_are_cut_by_rank_with_ties_broken_by_the_seed():
    counts = np.array([[4, 0], [3, 1], [2, 2]] * 20, dtype=float)
    ids = [f"u{i}" for i in range(60)]
    assert strata_thirds(counts, ids).tolist() == [0, 1, 2] * 20
    tied = np.tile([2.0, 0.0], (60, 1))
    tied[-1] = [1, 0]
    ids_of = strata_thirds(tied, ids, seed=1)
    assert np.bincount(ids_of[:-1]).tolist() == [20, 20, 19]
    assert ids_of[-1] == -1
    np.testing.assert_array_equal(strata_thirds(tied[::-1], ids[::-1], seed=1)[::-1], ids_of)
    assert (strata_thirds(tied, ids, seed=2) != ids_of).any()


def test_paired_differences_equal_the_difference_of_the_means(simple):
    q, other, counts, ids, speakers = simple
    table = {row.metric: row for row in paired_table(q, other, counts, ids=ids, groups=speakers, m=3)}
    apart = [sq_unbiased(x, counts).mean() for x in (q, other)]
    assert table["sq_unbiased"].value == pytest.approx(apart[0] - apart[1], abs=1e-12)
    same = paired_table(q, q, counts, ids=ids, groups=speakers, m=3)
    assert all(row.value == 0 and row.low == 0 == row.high for row in same)


@pytest.fixture
def simple():
    rng = np.random.default_rng(3)
    q, other = rng.dirichlet(np.ones(4), 40), rng.dirichlet(np.ones(4), 40)
    counts = np.stack([rng.multinomial(5, row) for row in rng.dirichlet(np.ones(4), 40)]).astype(float)
    return q, other, counts, [f"u{i}" for i in range(40)], [f"s{i % 8}" for i in range(40)]
