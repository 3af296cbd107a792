"""Every score of `evaluate` and `compare`, as sums by speaker and a function of their totals.

So a resample of speakers, a difference between two systems on the same utterances, or one between two parts of the
speakers costs a sum over speakers, however many utterances there are. Reference: human votes and ratings alone.

    sq_unbiased, log_score, jsd_bits@m, bhattacharyya@m, total_variation@m     data/scores/scoring.py
    kl_nats@m          KL(h || q), h the frequencies of the same m votes        data/scores/divergences.py
    brier              over votes, each an outcome                              data/scores/proper_scores.py
    accuracy, uar, macro_f1; accuracy_2best, accuracy_3best                     data/scores/metrics.py
    ece, distribution_ece   in `BINS` bins of equal width                       data/scores/calibration.py
    ccc_<dimension>    with the mean human rating                               data/scores/metrics.py
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...data.scores.calibration import distribution_ece_of, distribution_ece_totals, ece_of, ece_totals
from ...data.scores.divergences import kl_nats
from ...data.scores.intervals import Interval, OfTotals, by_group, group_sums, jackknife_of
from ...data.scores.metrics import accuracy_rows, ccc_of, ccc_rows, n_best_rows
from ...data.scores.proper_scores import brier, votes_at
from ...data.scores.scoring import ScoreRow, limits_of, score_columns, score_row
from .held_out import HeldOut

BINS = 10
# Absolute values near 0: resampling only makes them larger, so they have a jackknife at any number of speakers.
NOT_RESAMPLED = ("ece", "distribution_ece")
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Measure:
    """One score of one system: sums [G, S] over the utterances scored of each speaker, and its value, `of` their totals
    [..., S].

    `there` [G] marks the speakers of whom an utterance was scored.
    """

    name: str
    sums: np.ndarray
    of: OfTotals
    there: np.ndarray
    utterances: int
    skipped: int


def measures(q: np.ndarray, rated: np.ndarray | None, ref: HeldOut) -> list[Measure]:
    """All scores of distributions q [U, K] and, where given, of ratings [U, D]; NaN rows are utterances not heard."""
    columns = score_columns(q, ref.counts, ids=ref.ids, m=ref.m, seed=ref.seed)
    at_m = votes_at(ref.counts, ref.m, ref.ids, ref.seed)
    columns += [
        (f"kl_nats@{ref.m}", kl_nats(at_m, q), "mean"),
        ("brier", brier(q, ref.counts), "mean"),
        *((f"accuracy_{n}best", n_best_rows(q, ref.counts, n), "mean") for n in (2, 3)),
    ]
    found = [
        _of_columns(name, x, _mean if isinstance(statistic, str) else statistic, ref) for name, x, statistic in columns
    ]
    return found + _calibration(q, ref) + _concordances(rated, ref)


def _mean(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def _of_columns(name: str, x: np.ndarray, of: OfTotals, ref: HeldOut) -> Measure:
    """`x` is [U], for a mean, or [U, S]; rows with NaN are skipped."""
    columns = np.column_stack([x, np.ones(len(x))]) if x.ndim == 1 else x
    kept = ~np.isnan(columns.sum(axis=1))
    sums = group_sums(columns[kept], ref.codes[kept], ref.groups)
    return Measure(name, sums, of, *_support(kept, ref))


def _support(kept: np.ndarray, ref: HeldOut) -> tuple[np.ndarray, int, int]:
    there = np.bincount(ref.codes[kept], minlength=ref.groups) > 0
    return there, int(kept.sum()), int((~kept).sum())


def _calibration(q: np.ndarray, ref: HeldOut) -> list[Measure]:
    kept = ~np.isnan(accuracy_rows(q, ref.counts))
    where = {"bins": BINS, "groups": ref.codes, "size": ref.groups}
    return [
        Measure("ece", ece_totals(q, ref.counts, **where), ece_of, *_support(kept, ref)),
        Measure(
            "distribution_ece",
            distribution_ece_totals(q, ref.counts, **where),
            distribution_ece_of,
            *_support(kept, ref),
        ),
    ]


def _concordances(rated: np.ndarray | None, ref: HeldOut) -> list[Measure]:
    """CCC of each dimension that people rated and the system answers."""
    found = []
    for d, dimension in enumerate(ref.dimensions):
        columns = np.full((len(ref.ids), 6), np.nan) if rated is None else ccc_rows(rated[:, d], ref.ratings[:, d])
        if not np.isnan(columns).all():
            found.append(_of_columns(f"ccc_{dimension}", columns, ccc_of, ref))
    return found


def scored(measure: Measure, ref: HeldOut) -> ScoreRow:
    """A measure's value, with its interval over speakers."""
    found = _interval(measure.name, measure.sums[measure.there], measure.of, measure.there, ref, paired=False)
    return _row(measure, found)


def difference(measure: Measure, other: Measure, ref: HeldOut) -> ScoreRow:
    """`measure` less `other`, paired: both are of the same utterances, so what a speaker adds to both cancels.

    Utterances are those of `measure`; the caller sees to it that `other` has the same.
    """
    width = measure.sums.shape[1]
    sums = np.column_stack([measure.sums, other.sums])

    def gap(totals: np.ndarray) -> np.ndarray:
        return measure.of(totals[..., :width]) - other.of(totals[..., width:])

    there = measure.there | other.there
    return _row(measure, _interval(measure.name, sums[there], gap, there, ref, paired=True))


def _interval(name: str, sums: np.ndarray, of: OfTotals, there: np.ndarray, ref: HeldOut, *, paired: bool) -> Interval:
    if name in NOT_RESAMPLED and len(sums):
        found = jackknife_of(sums, of, LEVEL)[0]
        lowest, highest = limits_of(name)
        # what lies beyond the limits is no value that could be covered
        return found if paired else found._replace(low=max(found.low, lowest), high=min(found.high, highest))
    # names in the order of the codes, so that the resamples are those of `score_table`
    groups = [f"{code:09d}" for code in np.flatnonzero(there)]
    if paired:
        return by_group(sums, groups, statistic=of, level=LEVEL, seed=ref.seed)
    return by_group(sums, groups, statistic=of, level=LEVEL, limits=limits_of(name), seed=ref.seed)


def _row(measure: Measure, found: Interval) -> ScoreRow:
    row = score_row(measure.name, found)
    return row._replace(utterances=measure.utterances, skipped=measure.skipped)


def by_name(found: Iterable[Measure], names: Sequence[str] | None = None) -> dict[str, Measure]:
    """Measures under their names, all or those asked for that there are (a name without its @m will do)."""
    return {x.name: x for x in found if names is None or x.name.split("@")[0] in names}
