"""How far raters agree: Krippendorff's alpha, Gwet's AC1, Fleiss' kappa, with intervals over speakers.

Each coefficient is a function of sums over utterances, so a resample of speakers costs one small product however many
utterances there are. Counts are votes an utterance and label, [U, K]; utterances with fewer than two votes hold no pair
and say nothing about agreement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import ArrayLike

from ..groups import Groups, speaker_groups
from ..keys import occurrence, row_keys
from ..krippendorff import (
    alpha_of,
    alpha_rows,
    coincidences,
    interval_of,
    interval_rows,
    one_minus,
    ordinal_of,
    whole_counts,
)
from .intervals import Interval, by_group

if TYPE_CHECKING:
    from ..corpus import Corpus

# pyarrow makes its compute functions at import, so type checkers do not know them.
pc: Any = pyarrow.compute

# More groups than this are resampled in as many blocks of neighbours: the resamples' weights stay 40 MB.
MOST_GROUPS = 5000
# A scale of more steps than this is taken as continuous, and has no ordinal alpha.
MOST_STEPS = 20


def gwet_ac1(counts: ArrayLike) -> float:
    """Gwet's AC1, (P_a - P_e) / (1 - P_e), for any number of votes an utterance.

    P_a is the mean over utterances with n_i >= 2 of sum_c n_ic (n_ic - 1) / (n_i (n_i - 1)); P_e = sum_c pi_c (1 -
    pi_c) / (K - 1), with pi_c the mean over utterances with a vote of n_ic / n_i, and K the label set's size, used or
    not (Gwet 2008, Br. J. Math. Stat. Psychol. 61:29; varying raters: Gwet 2014, Handbook of Inter-Rater Reliability,
    4th ed., ch. 5). Unlike alpha and kappa it does not fall when one label is nearly everybody's. NaN where no
    utterance has two votes, and for K < 2.
    """
    return float(ac1_of(share_rows(counts).sum(axis=0)))


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa, (P_a - P_e) / (1 - P_e), for any number of votes an utterance.

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
    utterances of unknown speakers by dialogue or singly, as `unit` says (`bootstrap.by_group`); above 5,000 units,
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
            rows.append(about | {"coefficient": name} | _figures(columns(counts), groups, of, **how))
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
    figures = _figures(interval_rows(values, row, size=size), groups, interval_of, **how)
    rows = [about | {"coefficient": "krippendorff_alpha_interval"} | figures]
    steps, step = np.unique(values, return_inverse=True)
    if 1 < len(steps) <= MOST_STEPS:
        flat = np.bincount(row * len(steps) + step.reshape(-1), minlength=size * len(steps))
        codes, units = _blocks(groups)
        totals = coincidences(flat.reshape(size, -1), codes, units)
        figures = _interval(totals, groups.unit, ordinal_of, **how)
        rows.append(about | {"coefficient": "krippendorff_alpha_ordinal"} | figures)
    return rows


def _figures(rows: np.ndarray, groups: Groups, of: Callable[[np.ndarray], np.ndarray], **how: Any) -> dict[str, Any]:
    codes, size = _blocks(groups)
    totals = np.column_stack([np.bincount(codes, weights=column, minlength=size) for column in rows.T])
    return _interval(totals, groups.unit, of, **how)


def _blocks(groups: Groups) -> tuple[np.ndarray, int]:
    """The groups, or blocks of neighbouring ones where there are too many to resample."""
    size = len(groups.names)
    return (groups.codes, size) if size <= MOST_GROUPS else (groups.codes * MOST_GROUPS // size, MOST_GROUPS)


def _interval(totals: np.ndarray, unit: str, of: Callable[[np.ndarray], np.ndarray], **how: Any) -> dict[str, Any]:
    heard = totals[totals.any(axis=1)]  # a group without votes is no witness
    found: Interval = by_group(heard, np.arange(len(heard)), statistic=of, **how)
    return {
        "value": found.value,
        "low": found.low,
        "high": min(found.high, 1.0),  # none of these coefficients is ever above 1; NaN stays
        "level": how["level"],
        "method": found.method,
        "unit": unit,
        "units": found.groups,
    }
