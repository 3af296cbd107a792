"""Intervals by group against naive loops, their coverage by simulation, what is undefined; folds; the Dirichlet fit."""

import numpy as np
import pytest
from scipy import special, stats
from serann.data.scores.groups import cross_fitted, group_folds
from serann.data.scores.intervals import by_group
from serann.data.scores.metrics import ccc, ccc_of, ccc_rows
from serann.data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean


def speakers(count, seed=0, least=3, most=12):
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"s{i}" for i in range(count)], rng.integers(least, most, count))
    level = dict(zip(np.unique(groups), rng.normal(0, 1, count), strict=True))
    return np.array([level[g] for g in groups]) + rng.normal(0, 0.5, len(groups)), groups


def test_the_jackknife_equals_a_naive_loop():
    x, groups = speakers(12)
    names = np.unique(groups)
    without = np.array([x[groups != g].mean() for g in names])
    error = np.sqrt(11 / 12 * ((without - without.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, 11) * error
    found = by_group(x, groups)
    assert found.value == pytest.approx(x.mean(), abs=1e-12)
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half), abs=1e-9)
    assert (found.method, found.groups, found.rows) == ("jackknife-t", 12, len(x))


def test_for_equal_groups_the_jackknife_is_the_t_interval_of_their_means():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 5))
    found = by_group(x.ravel(), np.repeat(np.arange(9), 5))
    expected = stats.t.interval(0.95, 8, x.mean(), stats.sem(x.mean(1)))
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_from_sixty_groups_on_the_bootstrap_resamples_whole_groups():
    x, groups = speakers(80)
    rng = np.random.default_rng(7)
    values = []
    for weights in rng.multinomial(80, np.full(80, 1 / 80), size=1000):
        weight = dict(zip(np.unique(groups), weights, strict=True))
        values.append(np.average(x, weights=[weight[g] for g in groups]))
    found = by_group(x, groups, seed=7)
    assert found.method == "percentile bootstrap"
    tail = stats.norm.cdf(-np.sqrt(80 / 79) * stats.t.ppf(0.975, 79))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [tail, 1 - tail])), abs=1e-9)
    assert by_group(x, groups, seed=7) == found


def test_the_expanded_percentiles_are_as_wide_as_the_t_interval():
    """Of a mean, which has one: quantiles .025 and .975 alone are narrower by t / z and sqrt(G / (G - 1)), 2.3 %."""
    x = np.random.default_rng(3).normal(size=60)
    found, expected = by_group(x, np.arange(60), draws=40_000), stats.t.interval(0.95, 59, x.mean(), stats.sem(x))
    assert found.high - found.low == pytest.approx(expected[1] - expected[0], rel=0.012)


def test_of_a_bounded_statistic_the_jackknife_is_on_the_scale_without_bounds():
    """Shares near 1, by hand: the logit's jackknife; with a lower limit alone the log's; with an upper one its own."""
    groups = np.repeat(np.arange(12), 20)
    x = (np.random.default_rng(4).random(240) < np.repeat(np.linspace(0.8, 1, 12), 20)).astype(float)
    without = np.array([x[groups != g].mean() for g in range(12)])

    def by_hand(to, back):
        y = to(without)
        half = stats.t.ppf(0.975, 11) * np.sqrt(11 / 12 * ((y - y.mean()) ** 2).sum())
        return sorted([back(to(x.mean()) - half), back(to(x.mean()) + half)])

    for limits, to, back in (
        ((0.0, 1.0), special.logit, special.expit),
        ((0.0, np.inf), np.log, np.exp),
        ((-np.inf, 1.0), lambda v: np.log(1 - v), lambda y: 1 - np.exp(y)),
    ):
        found = by_group(x, groups, limits=limits)
        assert (found.low, found.high) == pytest.approx(tuple(by_hand(to, back)), abs=1e-9)
        assert found.method == "jackknife-t"
        assert limits[0] < found.low < found.value == x.mean() < found.high < limits[1]


def test_an_interval_that_reaches_a_limit_is_the_plain_one():
    x, groups = np.array([1.0, 1.0, 1.0, 1.0, 0.9, 1.0]), np.arange(6)
    assert by_group(x, groups).high > 1
    assert by_group(x, groups, limits=(0.0, 1.0)) == by_group(x, groups)


def test_limits_do_not_move_the_bootstrap():
    x = np.random.default_rng(6).random(70)
    assert by_group(x, np.arange(70), limits=(0.0, 1.0)) == by_group(x, np.arange(70))


def test_a_function_of_totals_is_recomputed_on_every_resample():
    x, groups = speakers(10)
    y = x + np.random.default_rng(5).normal(0, 1, len(x))
    found = by_group(ccc_rows(x, y), groups, statistic=ccc_of)
    without = np.array([ccc(x[groups != g], y[groups != g]) for g in np.unique(groups)])
    half = stats.t.ppf(0.975, 9) * np.sqrt(9 / 10 * ((without - without.mean()) ** 2).sum())
    assert found.value == pytest.approx(ccc(x, y), abs=1e-12)
    assert found.high - found.value == pytest.approx(half, abs=1e-9)


@pytest.mark.parametrize("count", [8, 70])
def test_coverage_of_the_mean_over_speakers(count):
    hits = 0
    for seed in range(300):
        x, groups = speakers(count, seed, least=5, most=6)
        found = by_group(x, groups, draws=300, seed=seed)
        hits += found.low <= 0 <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_rows_that_are_undefined_are_skipped_and_counted():
    x = np.array([1.0, 2.0, np.nan, 4.0])
    found = by_group(x, ["a", "b", "b", "c"])
    assert (found.value, found.rows, found.skipped, found.groups) == (pytest.approx(7 / 3), 3, 1, 3)


@pytest.mark.parametrize(
    ("rows", "groups", "method"),
    [
        ([1.0, 2.0], ["a", "a"], "none: one group"),
        ([np.nan, np.nan], ["a", "b"], "none: no rows"),
        ([1.0, -np.inf], ["a", "b"], "none: infinite value"),
    ],
)
def test_what_has_no_interval_says_why(rows, groups, method):
    found = by_group(np.array(rows), groups)
    assert found.method == method
    assert np.isnan([found.low, found.high]).all()


def test_a_statistic_undefined_without_a_group_has_no_interval():
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = by_group(rows, ["a", "a", "b"], statistic=lambda t: t[..., 0] / t[..., 1])
    assert found.method == "none: undefined without one of the groups"
    assert found.value == 2


def test_missing_speakers_are_one_group():
    assert by_group(np.arange(4.0), [None, None, "a", "b"]).groups == 3


def test_folds_keep_speakers_whole_and_even_and_ignore_the_order_of_rows():
    _, groups = speakers(23)
    folds = group_folds(groups, folds=5, seed=1)
    assert all(len(set(folds[groups == g])) == 1 for g in np.unique(groups))
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= 12
    np.testing.assert_array_equal(group_folds(groups[::-1], folds=5, seed=1)[::-1], folds)
    assert set(group_folds(["a", "b", "a"], folds=5)) == {0, 1}


def test_what_is_cross_fitted_has_not_seen_the_fold():
    folds = np.array([0, 0, 1, 2])
    x = np.array([1.0, 2.0, 3.0, 4.0])
    found = cross_fitted(folds, lambda others: np.array([x[others].sum()]), width=1)
    assert found[:, 0].tolist() == [7, 7, 7, 6]
    with pytest.raises(ValueError, match="two folds"):
        cross_fitted(np.zeros(3, int), lambda others: np.zeros(1), width=1)


def test_the_dirichlet_multinomial_fit_recovers_what_made_the_votes():
    rng = np.random.default_rng(2)
    alpha = np.array([2.0, 1.0, 0.5, 0.2])
    counts = np.array([rng.multinomial(n, rng.dirichlet(alpha)) for n in rng.integers(2, 9, 8000)])
    np.testing.assert_allclose(fit_dirichlet_multinomial(counts), alpha, rtol=0.08)


def test_the_dirichlet_multinomial_fit_is_the_maximum_of_scipys_likelihood():
    rng = np.random.default_rng(4)
    counts = np.array([rng.multinomial(5, rng.dirichlet([1, 0.6, 0.3])) for _ in range(150)])

    def likelihood(alpha):
        return stats.dirichlet_multinomial.logpmf(counts, alpha, 5).sum()

    best = fit_dirichlet_multinomial(counts, pseudo=0)
    for c in range(3):
        for factor in (0.99, 1.01):
            nudged = best.copy()
            nudged[c] *= factor
            assert likelihood(nudged) < likelihood(best)


def test_the_order_of_rows_labels_and_empty_rows_do_not_matter_to_the_fit():
    rng = np.random.default_rng(4)
    counts = np.array([rng.multinomial(4, rng.dirichlet([1, 0.6, 0.3])) for _ in range(60)], dtype=float)
    alpha = fit_dirichlet_multinomial(counts)
    more = np.vstack([counts[::-1], np.zeros((5, 3)), np.full((2, 3), np.nan)])
    np.testing.assert_allclose(fit_dirichlet_multinomial(more), alpha, rtol=1e-5)
    np.testing.assert_allclose(fit_dirichlet_multinomial(counts[:, [2, 0, 1]]), alpha[[2, 0, 1]], rtol=1e-3)


def test_a_label_nobody_chose_keeps_a_chance():
    alpha = fit_dirichlet_multinomial([[3, 1, 0], [0, 4, 0], [2, 2, 0]])
    assert posterior_mean([[5, 0, 0]], alpha)[0, 2] > 1e-4


def test_one_vote_an_utterance_cannot_tell_how_utterances_differ():
    from serann.data.errors import CorpusError

    with pytest.raises(CorpusError, match="cannot be learnt from one vote per utterance"):
        fit_dirichlet_multinomial(np.eye(3))
