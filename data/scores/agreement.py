"""How far raters agree: Krippendorff's alpha, Gwet's AC1, Fleiss' kappa, with intervals over speakers.

Each coefficient is a function of sums over utterances, so a resample of speakers costs one small product however many
utterances there are. Counts are votes per utterance and label, [U, K]; utterances with fewer than two votes hold no
pair and say nothing about agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from ..arrow import pc
from ..errors import OptionError
from ..tables import occurrence, row_keys
from .groups import Groups, speaker_groups
from .intervals import by_sums

if TYPE_CHECKING:
    from ..corpus import Corpus


# --------------------
# Krippendorff's alpha for labels, ordered steps and ratings, as a function of sums over utterances.
#
# Counts are votes per utterance and label, [U, K]; utterances with fewer than two votes hold no pair and say nothing
# about agreement. So alpha over a resample of speakers needs the speakers' sums alone (`alpha_rows` and `alpha_of`,
# and so on).


def krippendorff_alpha(counts: ArrayLike) -> float:
    """Krippendorff's alpha for nominal data, 1 - D_o / D_e, over utterances i with n_i >= 2 votes.

    D_o = sum_i (n_i^2 - sum_c n_ic^2) / (n_i - 1), D_e = (N^2 - sum_c N_c^2) / (N - 1), N_c and N summed over the same
    utterances (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", C). NaN where no utterance has two
    votes, and where all votes are one label: nothing could disagree then.

    >>> krippendorff_alpha([[2, 0], [1, 1], [0, 2]])  # D_o = 2, D_e = (36 - 18) / 5
    0.4444444444444444
    """
    return float(alpha_of(alpha_rows(counts).sum(axis=0)))


def interval_alpha(values: ArrayLike, items: ArrayLike) -> float:
    """Krippendorff's alpha for ratings on an interval scale; `values` [N] of utterances `items` (int [N]).

    The squared difference takes the place of "differs": D_o = sum_i 2 (n_i sum v^2 - (sum v)^2) / (n_i - 1), D_e the
    same over all values of utterances with two or more (Krippendorff 2011, E). NaN ratings are skipped; NaN without
    pairs, or if all ratings are one value.
    """
    return float(interval_alpha_of(interval_rows(values, items).sum(axis=0)))


def ordinal_alpha(counts: ArrayLike) -> float:
    """Krippendorff's alpha for ratings on an ordinal scale; `counts` [U, L] of L steps in ascending order.

    The squared difference of mid-ranks takes the place of "differs", ranks being those of all values of utterances
    with two or more: delta(c, k) = (sum_{g=c..k} N_g - (N_c + N_k) / 2)^2 (Krippendorff 2011, E). NaN without pairs,
    or if all ratings are one step.
    """
    counts = whole_counts(counts)
    return float(ordinal_of(coincidences(counts, np.zeros(len(counts), dtype=int), 1)[0]))


def alpha_rows(counts: ArrayLike) -> np.ndarray:
    """Columns [U, 1 + K] whose totals `alpha_of` takes: disagreement within, and the counts that can be paired."""
    counts = whole_counts(counts)
    n = counts.sum(axis=1)
    within = np.divide(n**2 - (counts**2).sum(axis=1), n - 1, out=np.zeros(len(n)), where=n > 1)
    return np.column_stack([within, np.where(n[:, None] > 1, counts, 0.0)])


def alpha_of(totals: np.ndarray) -> np.ndarray:
    """Nominal alpha from summed `alpha_rows` [..., 1 + K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = totals[..., 1:]
    n = labels.sum(axis=-1)
    return one_minus(totals[..., 0], (n**2 - (labels**2).sum(axis=-1)) / np.where(n > 1, n - 1, np.nan))


def one_minus(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return 1 - observed / expected, NaN where nothing is expected."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - observed / expected, np.nan)


def interval_rows(values: ArrayLike, items: ArrayLike, *, size: int | None = None) -> np.ndarray:
    """Columns [U, 4] whose totals `interval_alpha_of` takes: disagreement within, and n, sum and sum of squares of the
    values that can be paired. Values are shifted by their mean first: it changes no alpha and keeps the sums accurate.
    """
    rated, of = np.asarray(values, dtype=np.float64), np.asarray(items, dtype=np.int64)
    size = size if size is not None else int(of.max(initial=-1)) + 1
    of, rated = of[np.isfinite(rated)], rated[np.isfinite(rated)]
    rated = rated - (rated.mean() if len(rated) else 0.0)
    n, total, squares = (np.bincount(of, weights=w, minlength=size) for w in (np.ones(len(of)), rated, rated**2))
    within = np.divide(2 * (n * squares - total**2), n - 1, out=np.zeros(size), where=n > 1)
    return np.column_stack([within, *(np.where(n > 1, column, 0.0) for column in (n, total, squares))])


def interval_alpha_of(totals: np.ndarray) -> np.ndarray:
    """Interval alpha from summed `interval_rows` [..., 4]."""
    within, n, total, squares = np.moveaxis(np.asarray(totals, dtype=np.float64), -1, 0)
    spread = 2 * (n * squares - total**2) / np.where(n > 1, n - 1, np.nan)
    # rounding leaves about 1e-16 of the squares where all values are one
    return one_minus(within, np.where(spread > 1e-12 * squares, spread, 0.0))


def coincidences(counts: ArrayLike, codes: np.ndarray, size: int) -> np.ndarray:
    """Krippendorff's coincidences by group, [G, L * L]: o_ck = sum_i n_ic (n_ik - [c = k]) / (n_i - 1)."""
    counts = whole_counts(counts)
    steps, n = counts.shape[1], counts.sum(axis=1)
    weight = np.divide(1.0, n - 1, out=np.zeros(len(n)), where=n > 1)
    out = np.zeros((size, steps, steps))
    for c in range(steps):
        for k in range(c, steps):
            pairs = counts[:, c] * (counts[:, k] - (c == k)) * weight
            out[:, c, k] = out[:, k, c] = np.bincount(codes, weights=pairs, minlength=size)
    return out.reshape(size, -1)


def ordinal_of(totals: np.ndarray) -> np.ndarray:
    """Ordinal alpha from summed `coincidences` [..., L * L]."""
    totals = np.asarray(totals, dtype=np.float64)
    steps = round(totals.shape[-1] ** 0.5)
    table = totals.reshape(*totals.shape[:-1], steps, steps)
    by_step = table.sum(axis=-1)
    n = by_step.sum(axis=-1)
    rank = by_step.cumsum(axis=-1) - by_step / 2
    observed = (table * (rank[..., :, None] - rank[..., None, :]) ** 2).sum(axis=(-2, -1))
    mean = np.divide((by_step * rank).sum(axis=-1), n, out=np.zeros(n.shape), where=n > 0)
    spread = (by_step * (rank - mean[..., None]) ** 2).sum(axis=-1)
    several = (by_step > 1e-9).sum(axis=-1) > 1
    return one_minus(observed, np.where(several, 2 * n * spread / np.where(n > 1, n - 1, np.nan), np.nan))


def whole_counts(counts: ArrayLike) -> np.ndarray:
    """Return counts as float64 [U, K]; OptionError where they are no whole numbers of votes."""
    counts = np.asarray(counts, dtype=np.float64)
    if not np.array_equal(counts, np.rint(counts)) or (counts < 0).any():
        raise OptionError("agreement is between votes: expected whole counts of 0 or more, found others")
    return counts


# More groups than this are resampled in as many blocks of neighbours: the resamples' weights stay 40 MB.
MOST_GROUPS = 5000
# A scale of more steps than this is taken as continuous, and has no ordinal alpha.
MOST_STEPS = 20


def gwet_ac1(counts: ArrayLike) -> float:
    """Gwet's AC1, (P_a - P_e) / (1 - P_e), for any number of votes per utterance.

    P_a is the mean over utterances with n_i >= 2 of sum_c n_ic (n_ic - 1) / (n_i (n_i - 1)); P_e = sum_c pi_c (1 -
    pi_c) / (K - 1), with pi_c the mean over utterances with a vote of n_ic / n_i, and K the label set's size, used or
    not (Gwet 2008, Br. J. Math. Stat. Psychol. 61:29; varying raters: Gwet 2014, Handbook of Inter-Rater Reliability,
    4th ed., ch. 5). Unlike alpha and kappa it does not fall when one label is nearly everybody's. NaN where no
    utterance has two votes, and for K < 2.
    """
    return float(ac1_of(share_rows(counts).sum(axis=0)))


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa, (P_a - P_e) / (1 - P_e), for any number of votes per utterance.

    P_a and pi_c as in `gwet_ac1`, P_e = sum_c pi_c^2. With as many votes on every utterance it is Fleiss 1971
    (Psychol. Bull. 76:378); the generalisation is Gwet 2014's. NaN where no utterance has two votes, or all one label.
    """
    return float(fleiss_of(share_rows(counts).sum(axis=0)))


def fleiss_kappa_paper(counts: ArrayLike) -> float:
    """Fleiss' kappa as papers' code has it where numbers vary: an utterance with a single vote agrees with itself.

    P_i = 1 for n_i = 1, the mean is over all utterances with a vote, and the result is clipped to [-1, 1]; P_e is of
    the pooled shares N_c / N as in Fleiss 1971 (how the papers pool is not stated; this is an assumption). It is too
    high by construction wherever single votes are, and is here for comparison with published figures alone. NaN
    without votes, or with all votes one label.
    """
    counts = whole_counts(counts)
    n = counts.sum(axis=1)
    voted, pooled = n > 0, counts.sum(axis=0)
    if not voted.any():
        return float("nan")
    agreement = np.where(n == 1, 1.0, _pair_agreement(counts, n))[voted].mean()
    chance = ((pooled / pooled.sum()) ** 2).sum()
    return float(np.clip((agreement - chance) / (1 - chance), -1, 1)) if chance < 1 else float("nan")


def _pair_agreement(counts: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Share of an utterance's pairs of votes that agree, [U]; 0 where there is no pair."""
    return np.divide((counts * (counts - 1)).sum(axis=1), n * (n - 1), out=np.zeros(len(n)), where=n > 1)


def share_rows(counts: ArrayLike) -> np.ndarray:
    """Columns [U, 3 + K] whose totals `ac1_of` and `fleiss_of` take: agreement of pairs, whether there are pairs,
    whether there is a vote, and each label's share.
    """
    counts = whole_counts(counts)
    n = counts.sum(axis=1)
    shares = np.divide(counts, n[:, None], out=np.zeros(counts.shape), where=n[:, None] > 0)
    return np.column_stack([_pair_agreement(counts, n), n > 1, n > 0, shares])


def _pa_and_shares(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    totals = np.asarray(totals, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return totals[..., 0] / totals[..., 1], totals[..., 3:] / totals[..., 2:3]


def ac1_of(totals: np.ndarray) -> np.ndarray:
    """Gwet's AC1 from summed `share_rows` [..., 3 + K]."""
    agreement, shares = _pa_and_shares(totals)
    if shares.shape[-1] < 2:
        return np.full(agreement.shape, np.nan)
    # chance is at most 1 / K, so the divisor never vanishes
    chance = (shares * (1 - shares)).sum(axis=-1) / (shares.shape[-1] - 1)
    return (agreement - chance) / (1 - chance)


def fleiss_of(totals: np.ndarray) -> np.ndarray:
    """Fleiss' kappa from summed `share_rows` [..., 3 + K]."""
    agreement, shares = _pa_and_shares(totals)
    return one_minus(1 - agreement, np.where((shares > 0).sum(axis=-1) > 1, 1 - (shares**2).sum(axis=-1), np.nan))


class Answers(NamedTuple):
    """Human raters' answers of one primary label each.

    `row` int [M]: the utterance; `label` int [M]; `rater` int [M], -1 where anonymous; `raters`: the raters' names;
    `several`: how many answers named more labels than one and are left out, since a rater's labels are no two opinions.
    """

    row: np.ndarray
    label: np.ndarray
    rater: np.ndarray
    raters: list[str]
    several: int


def single_answers(corpus: Corpus) -> Answers:
    """Return the primary human votes of a corpus, one label an answer; each is one vote whatever its weight."""
    votes = corpus.votes
    human = pc.and_(pc.equal(votes["source"], "human"), pc.equal(votes["rank"], "primary"))
    chosen = votes.filter(pc.and_(human, pc.is_valid(votes["label"])))
    row = pc.index_in(chosen["utterance_id"], value_set=corpus.utterances["utterance_id"].combine_chunks())
    row = row.to_numpy(zero_copy_only=False).astype(np.int64)
    label = pc.index_in(chosen["label"], value_set=pa.array(corpus.labels.labels)).to_numpy(zero_copy_only=False)
    encoded = chosen["rater_id"].combine_chunks().dictionary_encode()
    rater = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    raters = encoded.dictionary.to_pylist()
    draw = chosen["draw"].to_numpy(zero_copy_only=False).astype(np.int64)
    named = rater >= 0
    key = (row * max(len(raters), 1) + rater)[named] * (int(draw.max(initial=0)) + 1) + draw[named]
    _, place, times = np.unique(key, return_inverse=True, return_counts=True)
    single = np.ones(len(row), dtype=bool)
    single[named] = times[place.reshape(-1)] == 1
    return Answers(row[single], label.astype(np.int64)[single], rater[single], raters, int((times > 1).sum()))


def answers_by_utterance(corpus: Corpus) -> np.ndarray:
    """Return how many primary human answers each utterance has, int [U]; an answer of several labels is one."""
    votes = corpus.votes
    human = pc.and_(pc.equal(votes["source"], "human"), pc.equal(votes["rank"], "primary"))
    chosen = votes.filter(pc.and_(human, pc.is_valid(votes["label"])))
    again = occurrence(row_keys(chosen, ["utterance_id", "rater_id", "draw"])) > 0
    once = ~again | pc.is_null(chosen["rater_id"]).to_numpy(zero_copy_only=False)
    ids = chosen["utterance_id"].filter(pa.array(once))
    row = pc.index_in(ids, value_set=corpus.utterances["utterance_id"].combine_chunks())
    return np.bincount(row.to_numpy(zero_copy_only=False).astype(np.int64), minlength=len(corpus.ids))


def answer_counts(answers: Answers, utterances: int, labels: int) -> np.ndarray:
    """Return the answers by utterance and label, float64 [U, K]."""
    flat = np.bincount(answers.row * labels + answers.label, minlength=utterances * labels)
    return flat.reshape(utterances, labels).astype(np.float64)


def agreement(corpus: Corpus, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> list[dict[str, Any]]:
    """Return the agreement of a corpus's human raters, one row a coefficient: votes first, then each rated dimension.

    A row has `of`, `coefficient`, `value`, `low`, `high`, `level`, `method`, `unit`, `units`, `utterances` (with two
    or more answers), `answers` (on them) and `left_out` (answers that name several labels). Intervals are by speaker,
    utterances of unknown speakers by dialogue or singly, as `unit` says (`intervals.by_group`); above 5,000 units,
    blocks of neighbouring ones are resampled; no upper bound is above 1. Undefined values are NaN. Rows of what nobody
    rated are not there.
    """
    groups = speaker_groups(corpus.utterances)
    size, how = len(corpus.ids), {"level": level, "draws": draws, "seed": seed}
    answers = single_answers(corpus)
    counts = answer_counts(answers, size, len(corpus.labels))
    rows = []
    if len(answers.row):
        about = {**_about("votes", counts.sum(axis=1)), "left_out": answers.several}
        for name, columns, of in (
            ("krippendorff_alpha_nominal", alpha_rows, alpha_of),
            ("gwet_ac1", share_rows, ac1_of),
            ("fleiss_kappa", share_rows, fleiss_of),
        ):
            rows.append(about | {"coefficient": name} | _figures(_sums(columns(counts), groups), groups, of, **how))
    return rows + [row for dimension in _dimensions(corpus) for row in _of_ratings(corpus, dimension, groups, **how)]


def _about(what: str, answers: np.ndarray) -> dict[str, Any]:
    paired = answers > 1
    return {"of": what, "coefficient": "", "utterances": int(paired.sum()), "answers": int(answers[paired].sum())}


def _dimensions(corpus: Corpus) -> list[str]:
    if corpus.ratings is None:
        return []
    human = corpus.ratings.filter(pc.equal(corpus.ratings["source"], "human"))
    return sorted(pc.unique(human["dimension"]).to_pylist())


def _of_ratings(corpus: Corpus, dimension: str, groups: Groups, **how: Any) -> list[dict[str, Any]]:
    assert corpus.ratings is not None
    of = pc.and_(pc.equal(corpus.ratings["dimension"], dimension), pc.equal(corpus.ratings["source"], "human"))
    chosen = corpus.ratings.filter(pc.and_(of, pc.is_finite(corpus.ratings["value"])))
    values = chosen["value"].to_numpy(zero_copy_only=False)
    row = pc.index_in(chosen["utterance_id"], value_set=corpus.utterances["utterance_id"].combine_chunks())
    row, size = row.to_numpy(zero_copy_only=False).astype(np.int64), len(corpus.ids)
    about = {**_about(dimension, np.bincount(row, minlength=size)), "left_out": 0}
    figures = _figures(_sums(interval_rows(values, row, size=size), groups), groups, interval_alpha_of, **how)
    rows = [about | {"coefficient": "krippendorff_alpha_interval"} | figures]
    steps, step = np.unique(values, return_inverse=True)
    if 1 < len(steps) <= MOST_STEPS:
        flat = np.bincount(row * len(steps) + step.reshape(-1), minlength=size * len(steps))
        codes, units = _blocks(groups)
        totals = coincidences(flat.reshape(size, -1), codes, units)
        figures = _figures(totals, groups, ordinal_of, **how)
        rows.append(about | {"coefficient": "krippendorff_alpha_ordinal"} | figures)
    return rows


def _sums(rows: np.ndarray, groups: Groups) -> np.ndarray:
    codes, size = _blocks(groups)
    return np.column_stack([np.bincount(codes, weights=column, minlength=size) for column in rows.T])


def _blocks(groups: Groups) -> tuple[np.ndarray, int]:
    """The groups, or blocks of neighbouring ones where there are too many to resample."""
    size = len(groups.names)
    return (groups.codes, size) if size <= MOST_GROUPS else (groups.codes * MOST_GROUPS // size, MOST_GROUPS)


def _figures(totals: np.ndarray, groups: Groups, of: Callable[[np.ndarray], np.ndarray], **how: Any) -> dict[str, Any]:
    found = by_sums(totals, of, **how)
    return {
        "value": found.value,
        "low": found.low,
        "high": min(found.high, 1.0),  # none of these coefficients is ever above 1; NaN stays
        "level": how["level"],
        "method": found.method,
        "unit": groups.unit,
        "units": found.groups,
    }


# --------------------
# Cross-replication reliability: whether votes of one pool agree with votes of another as votes of one pool do.
#
#     kappa_x = 1 - d_o / d_e
#     d_o = sum_i (R_i + S_i) / (R + S) · share of pairs (a vote of X, a vote of Y) on item i that differ
#     d_e = share of all pairs (a vote of X, a vote of Y), whatever their items, that differ
#
# over items i with R_i votes of X and S_i of Y, R and S their sums (Wong, Paritosh and Aroyo 2021, "Cross-replication
# Reliability", ACL, nominal distance; the weights are theirs for numbers of votes that vary). Normalised by both pools'
# own reliability, kappa_x / sqrt(alpha_X alpha_Y), two samples of the same raters have about 1; it may exceed 1. Chance
# is of each pool's own rates of the labels.


def kappa_x(x: ArrayLike, y: ArrayLike) -> float:
    """Cross-kappa of votes x and y, counts [U, K] of the same items; NaN without common items or with one label.

    >>> round(kappa_x([[2, 0], [0, 2]], [[1, 0], [1, 1]]), 4)  # d_o = (4/7) .5, d_e = 1/2
    0.4286
    """
    return float(kappa_x_of(cross_rows(x, y).sum(axis=0)))


def normalised_kappa_x(x: ArrayLike, y: ArrayLike) -> float:
    """kappa_x / sqrt(alpha_X alpha_Y), Krippendorff's nominal alphas on the common items.

    NaN where one of them is not above 0 or undefined.
    """
    return float(normalised_of(normalised_rows(x, y).sum(axis=0)))


def cross_rows(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Columns [U, 1 + 2 K] whose totals `kappa_x_of` takes: weighted disagreement, then both pools' counts."""
    x, y = whole_counts(x), whole_counts(y)
    r, s = x.sum(axis=1), y.sum(axis=1)
    both = (r > 0) & (s > 0)
    pairs = np.where(both, r * s, 1.0)
    differ = np.where(both, (r + s) * (1 - (x * y).sum(axis=1) / pairs), 0.0)
    return np.column_stack([differ, np.where(both[:, None], x, 0.0), np.where(both[:, None], y, 0.0)])


def kappa_x_of(totals: np.ndarray) -> np.ndarray:
    """Cross-kappa from summed `cross_rows` [..., 1 + 2 K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = (totals.shape[-1] - 1) // 2
    x, y = totals[..., 1 : 1 + labels], totals[..., 1 + labels :]
    r, s = x.sum(axis=-1), y.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        observed, expected = totals[..., 0] / (r + s), 1 - (x * y).sum(axis=-1) / (r * s)
        return np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1.0), np.nan)


def normalised_rows(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Columns [U, 3 + 4 K] whose totals `normalised_of` takes: `cross_rows`, then `alpha_rows` of both pools."""
    x, y = whole_counts(x), whole_counts(y)
    both = ((x.sum(axis=1) > 0) & (y.sum(axis=1) > 0))[:, None]
    return np.column_stack([cross_rows(x, y), alpha_rows(np.where(both, x, 0.0)), alpha_rows(np.where(both, y, 0.0))])


def normalised_of(totals: np.ndarray) -> np.ndarray:
    """Normalised cross-kappa from summed `normalised_rows` [..., 3 + 4 K]."""
    totals = np.asarray(totals, dtype=np.float64)
    labels = (totals.shape[-1] - 3) // 4
    cross, alphas = totals[..., : 1 + 2 * labels], totals[..., 1 + 2 * labels :]
    first, second = alpha_of(alphas[..., : 1 + labels]), alpha_of(alphas[..., 1 + labels :])
    with np.errstate(invalid="ignore"):
        positive = (first > 0) & (second > 0)
        return np.where(positive, kappa_x_of(cross) / np.sqrt(np.where(positive, first * second, 1.0)), np.nan)
