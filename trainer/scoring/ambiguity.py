"""Scores by ambiguity: thirds of the utterances, cut by votes that are not scored, over many draws of the two.

One draw of m scored votes says little of a third: its value swings with the votes that were scored and with the
utterances that the few others put into it. So both are drawn anew, and a third's value is the mean over all draws:

    value_t = sum_r sum_u [u in third t in draw r] s_ur / sum_r sum_u [u in third t in draw r]

s_ur is the score of utterance u against the m votes of draw r. Numerator and denominator are sums over utterances, so
the interval over speakers is that of a ratio of totals (`by_group`). UAR and macro-F1 take the summed confusions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...data.labels import LabelSet
from ...data.scores.intervals import Interval, OfTotals, by_group
from ...data.scores.metric import Metric, Totals, metrics_at
from ...data.scores.metrics import ccc_of, reference_classes
from ...data.scores.scoring import THIRDS, ScoreRow, pairs_at, score_row, statistic_of, strata_thirds
from ...data.seeds import seed_from
from ...data.votes import split_counts

# The squared error of a third of 120 utterances of 8 speakers, between seeds: standard deviation .026 to .040 with one
# draw, .006 to .013 with 20, .003 to .007 with 50. Fifty draws of ten thousand utterances take 5 s.
REDRAWS = 50


class Draw(NamedTuple):
    """One draw: the votes that are scored [U, K], and the third of each utterance [U] by its other votes."""

    scored: np.ndarray
    thirds: np.ndarray


class Sums(NamedTuple):
    """What an utterance's draws in a third add up to: its scores' columns [3, U, S], and how many they were [3, U]."""

    columns: np.ndarray
    times: np.ndarray


def cuttable(counts: np.ndarray, m: int) -> np.ndarray:
    """Mask [U] of the utterances that keep two votes to be cut by when m are scored."""
    return np.rint(counts).sum(axis=1) >= m + 2


def redraw(counts: np.ndarray, ids: Sequence[str], *, m: int, seed: int, draws: int = REDRAWS) -> list[Draw]:
    """Draw m scored votes per utterance from counts [U, K] anew `draws` times, and cut into thirds by the others.

    Ties of ambiguity at a border are broken anew too. An utterance with fewer than m + 2 votes is in no third (-1).
    """
    found = []
    for number in range(draws):
        scored, others = split_counts(np.rint(counts), m, ids, "evaluate", seed, number)
        found.append(Draw(scored, strata_thirds(others, ids, seed_from("evaluate", seed, number))))
    return found


def score_thirds(
    q: np.ndarray,
    counts: np.ndarray,
    draws: Sequence[Draw],
    *,
    labels: LabelSet,
    ids: Sequence[str],
    groups: np.ndarray,
    m: int,
    seed: int = 0,
) -> dict[str, list[ScoreRow]]:
    """The score table of each third, with intervals over groups; the class set is that of the whole `counts`.

    `utterances` and `skipped` of a row are means over the draws, rounded. Empty where no utterance can be cut.
    """
    keep = cuttable(counts, m)
    if not keep.any():
        return {}
    sums = _sum_up(
        q[keep], [Draw(d.scored[keep], d.thirds[keep]) for d in draws], np.asarray(ids, object)[keep], m, seed
    )
    classes = reference_classes(counts)
    asked = times_in_thirds(draws).sum(axis=1) / len(draws)
    found = {}
    for third, name in enumerate(THIRDS):
        if not asked[third]:
            continue
        rows = []
        for metric, totals in _by_rows():
            sum_of = sums[totals]
            statistic = _statistic(metric, classes)
            interval = _interval(sum_of.columns[third], sum_of.times[third], groups[keep], statistic, seed)
            scored = sum_of.times[third].sum() / len(draws)
            rows.append(_per_draw(metric.key(m), interval, scored, asked[third]))
        found[name] = rows
    return found


def concordance_in_third(
    columns: np.ndarray, draws: Sequence[Draw], third: int, *, groups: np.ndarray, seed: int
) -> tuple[Interval, int, int]:
    """CCC of a third over all draws, from `ccc_rows` [U, 6]: its interval, and utterances and skipped ones a draw."""
    times = times_in_thirds(draws)[third]
    known = ~np.isnan(columns).any(axis=1)
    interval = _interval(columns * times[:, None], times, groups, lambda totals: ccc_of(totals[..., :-1]), seed)
    scored, asked = times[known].sum() / len(draws), times.sum() / len(draws)
    return interval, round(scored), round(asked) - round(scored)


def times_in_thirds(draws: Sequence[Draw]) -> np.ndarray:
    """In how many draws each utterance fell into each third, [3, U]."""
    return np.array([sum((draw.thirds == third).astype(float) for draw in draws) for third in range(len(THIRDS))])


def about_thirds(counts: np.ndarray, m: int) -> str | None:
    """What the scores of thirds are, and why they do not add up to those of all; None where none can be cut."""
    inside = cuttable(counts, m)
    if not inside.any():
        return None
    left = "" if inside.all() else f"; the {int((~inside).sum())} utterances in no third are missing"
    return (
        f"A third scores {m} votes per utterance and is cut by the others, drawn anew {REDRAWS} times and averaged (n: "
        "utterances a draw);\nthe scores of all utterances, further up, take every vote at once. So the thirds average "
        f"to them nearly in sq_unbiased\nand log_score, and not in accuracy, uar and macro_f1, whose reference here is "
        f"the plurality of {m} votes{left}."
    )


def _by_rows() -> list[tuple[Metric, Totals]]:
    """The metrics among the scores that are made of rows, with their totals."""
    return [(metric, metric.totals) for metric in metrics_at("scores") if metric.totals is not None]


def _sum_up(q: np.ndarray, draws: Sequence[Draw], ids: np.ndarray, m: int, seed: int) -> dict[Totals, Sums]:
    """Each metric's columns summed over the draws; metrics of the same totals share them."""
    asked = list(dict.fromkeys(totals for _, totals in _by_rows()))
    sums: dict[Totals, Sums] = {}
    for draw in draws:
        pairs = pairs_at(q, draw.scored, m, ids.tolist(), seed)
        for totals in asked:
            x = np.asarray(totals(pairs)).reshape(len(ids), -1)
            if totals not in sums:
                sums[totals] = Sums(np.zeros((len(THIRDS), *x.shape)), np.zeros((len(THIRDS), len(ids))))
            known = np.flatnonzero(~np.isnan(x).any(axis=1))
            sums[totals].columns[draw.thirds[known], known] += x[known]
            sums[totals].times[draw.thirds[known], known] += 1
    return sums


def _statistic(metric: Metric, classes: np.ndarray) -> OfTotals:
    """The metric's function of totals [..., T + 1], the number of draws last."""
    statistic = statistic_of(metric, classes)
    if statistic == "mean":
        return lambda totals: totals[..., 0] / totals[..., 1]
    return lambda totals: statistic(totals[..., :-1])


def _interval(columns: np.ndarray, times: np.ndarray, groups: np.ndarray, statistic: OfTotals, seed: int) -> Interval:
    """An utterance that was never in the third is no row of it."""
    rows = np.column_stack([columns, times])
    return by_group(np.where(times[:, None] > 0, rows, np.nan), groups, statistic=statistic, seed=seed)


def _per_draw(metric: str, interval: Interval, scored: float, asked: float) -> ScoreRow:
    return score_row(metric, interval)._replace(utterances=round(scored), skipped=round(asked) - round(scored))
