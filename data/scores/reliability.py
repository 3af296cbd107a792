"""Rater reliability: how each rater's votes agree with what others heard in the same utterances.

For a rater with votes l_j on utterances where others voted too, s_j(c) is the share of the others' votes for label c:

    agreement  A = mean_j s_j(l_j)
    chance     E = mean over all pairs of s_j(l_k): the same votes dealt to the same utterances at random
    others     P = mean_j of the share of pairs among the others' own votes that agree (two others or more)

A rater drawn from the same people as the others has A about P; one who does not listen has A about E.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy import stats

from .agreement import Answers, answer_counts, single_answers
from .intervals import holm

if TYPE_CHECKING:
    from ..corpus import Corpus

# Raters with fewer comparable votes than this are described and never flagged.
LEAST_VOTES = 20
# The chance that any rater of a corpus of good ones is flagged by a criterion (Holm over the raters tested).
ERROR_RATE = 0.01
# A rater is told from one who does not listen where this one-sided test of the rater alone is passed.
HEARD = 0.05

SCHEMA = pa.schema(
    [
        ("rater_id", pa.string()),
        ("votes", pa.int64()),
        ("compared", pa.int64()),
        ("agreement", pa.float64()),
        ("chance", pa.float64()),
        ("others", pa.float64()),
        ("top_label", pa.string()),
        ("top_share", pa.float64()),
        ("flag", pa.string()),
        ("sentence", pa.string()),
    ]
)


class _Sums(NamedTuple):
    """By rater: comparable votes, A, E, the variance of A under dealing at random; votes with two others, P and the
    mean and standard deviation of the difference to P over them.
    """

    compared: np.ndarray
    agreement: np.ndarray
    chance: np.ndarray
    variance: np.ndarray
    paired: np.ndarray
    others: np.ndarray
    shortfall: np.ndarray
    deviation: np.ndarray


def rater_reliability(corpus: Corpus, *, least_votes: int = LEAST_VOTES) -> pa.Table:
    """Return one row a rater of known identity, sorted by id: counts, A, E and P as above, and what is suspicious.

    Over primary human answers of one label. `votes` are the rater's, `compared` those on utterances where others voted
    too; `agreement`, `chance` (over `compared`) and `others` (over those with two others) are NaN where there are none.
    `top_label` is the most used label, `top_share` its share of `votes`. `flag`, for raters with `least_votes` or more:

    - "one label": all votes are one label, which the others give it so rarely (share p) that p^compared is too small;
    - "below chance": A is below E by a permutation test, normal with the exact mean and variance of A over all deals of
      the votes to the utterances (Hoeffding 1951, Ann. Math. Stat. 22:558, Theorem 2);
    - "no better than chance": A is below P (one-sided t-test of the differences), and the permutation test cannot tell
      A from E at .05.

    The first, second and the t-test of the third hold over all raters tested at once: a corpus of good raters has any
    flag of a kind with probability .01 (Holm 1979). Only the first flag that holds is given.
    """
    answers = single_answers(corpus)
    sums = _sums(answers, len(corpus.ids), len(corpus.labels))
    used = _used_labels(answers, len(corpus.labels))
    flags = _flags(sums, used, _expected_top(answers, used, sums, len(corpus.ids)), least_votes)
    top, votes = used.argmax(axis=1) if len(used) else np.zeros(0, int), used.sum(axis=1)
    labels = [corpus.labels.labels[k] for k in top]
    table = pa.table(
        {
            "rater_id": pa.array(answers.raters, pa.string()),
            "votes": votes.astype(np.int64),
            "compared": sums.compared.astype(np.int64),
            "agreement": sums.agreement,
            "chance": sums.chance,
            "others": sums.others,
            "top_label": pa.array(labels, pa.string()),
            "top_share": _ratio(used.max(axis=1, initial=0), votes),
            "flag": pa.array(flags, pa.string()),
            "sentence": pa.array(_sentences(answers.raters, flags, sums, votes, labels), pa.string()),
        }
    )
    return table.filter(pa.array(votes > 0)).sort_by("rater_id").cast(SCHEMA)


def reliability_summary(raters: pa.Table) -> dict[str, Any]:
    """Return figures over the raters of a table of `rater_reliability`: how many, their votes, agreement with others.

    Means of agreement, chance and others' agreement weigh raters by their comparable votes; None without any.
    """
    compared = raters["compared"].to_numpy(zero_copy_only=False)
    flags = raters["flag"].to_pylist()

    def mean(name: str) -> float | None:
        values = raters[name].to_numpy(zero_copy_only=False)
        known = ~np.isnan(values) & (compared > 0)
        return float(np.average(values[known], weights=compared[known])) if known.any() else None

    votes = raters["votes"].to_numpy(zero_copy_only=False)
    return {
        "raters": raters.num_rows,
        "votes_median": float(np.median(votes)) if len(votes) else None,
        "votes_max": int(votes.max(initial=0)),
        "tested": int((compared >= LEAST_VOTES).sum()),
        "agreement_with_others": mean("agreement"),
        "agreement_by_chance": mean("chance"),
        "agreement_among_others": mean("others"),
        "flagged": {flag: flags.count(flag) for flag in sorted(set(flags) - {None})},
    }


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.asarray(below) > 0)


def _used_labels(answers: Answers, labels: int) -> np.ndarray:
    """Votes of each rater by label, [R, K]."""
    known = answers.rater >= 0
    flat = answers.rater[known] * labels + answers.label[known]
    return np.bincount(flat, minlength=len(answers.raters) * labels).reshape(-1, labels)


def _sums(answers: Answers, utterances: int, labels: int) -> _Sums:
    counts = answer_counts(answers, utterances, labels)
    chosen = (answers.rater >= 0) & (counts.sum(axis=1)[answers.row] > 1)
    row, label, rater, size = answers.row[chosen], answers.label[chosen], answers.rater[chosen], len(answers.raters)
    each = np.arange(len(row))
    others = counts[row]
    others[each, label] -= 1
    n = others.sum(axis=1)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(rater, weights=values, minlength=size)

    pairs = _ratio((others * (others - 1)).sum(axis=1), n * (n - 1))
    shares = others
    shares /= n[:, None]
    agreement, compared = shares[each, label], total(np.ones(len(row)))
    used = np.bincount(rater * labels + label, minlength=size * labels).reshape(size, labels)
    used = _ratio(used, np.broadcast_to(compared[:, None], used.shape))
    offered = _ratio(np.column_stack([total(s) for s in shares.T]), np.broadcast_to(compared[:, None], used.shape))
    chance = (used * offered).sum(axis=1)
    squares = _squared_interaction(shares, used, offered, chance, rater)
    variance = _ratio(total(squares), (compared - 1) * compared)
    both = ~np.isnan(pairs)
    paired, gap = total(both), np.where(both, agreement - pairs, 0.0)
    mean = _ratio(total(gap), paired)
    spread = _ratio(np.maximum(total(gap**2) - paired * mean**2, 0.0), paired - 1)
    among = _ratio(total(np.where(both, pairs, 0.0)), paired)
    return _Sums(compared, _ratio(total(agreement), compared), chance, variance, paired, among, mean, np.sqrt(spread))


def _squared_interaction(
    shares: np.ndarray, used: np.ndarray, offered: np.ndarray, chance: np.ndarray, rater: np.ndarray
) -> np.ndarray:
    """For each vote's utterance, the mean over the rater's votes of Hoeffding's d squared, [M].

    d(j, k) = s_j(l_k) - mean over k - mean over j + mean over both; it depends on k through the label alone.
    """
    expected = (used[rater] * shares).sum(axis=1)
    out = np.zeros(len(rater))
    for c in range(shares.shape[1]):
        d = shares[:, c] - expected - offered[rater, c] + chance[rater]
        out += used[rater, c] * d * d
    return out


def _expected_top(answers: Answers, used: np.ndarray, sums: _Sums, utterances: int) -> np.ndarray:
    """Share of the others' votes, on each rater's comparable utterances, for the label that the rater uses most."""
    labels = used.shape[1]
    counts = answer_counts(answers, utterances, labels)
    n = counts.sum(axis=1)
    chosen = (answers.rater >= 0) & (n[answers.row] > 1)
    row, label, rater = answers.row[chosen], answers.label[chosen], answers.rater[chosen]
    top = used.argmax(axis=1)[rater] if len(rater) else np.zeros(0, int)
    share = (counts[row, top] - (label == top)) / (n[row] - 1)
    return _ratio(np.bincount(rater, weights=share, minlength=len(used)), sums.compared)


def _flags(sums: _Sums, used: np.ndarray, expected_top: np.ndarray, least: int) -> list[str | None]:
    tested = sums.compared >= least
    constant = used.max(axis=1, initial=0) == used.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (sums.agreement - sums.chance) / np.sqrt(sums.variance)
        z = np.where(sums.variance > 1e-15, z, 0.0)  # every deal of the votes gives the same agreement
        t = sums.shortfall / (sums.deviation / np.sqrt(sums.paired))
        one_label = np.where(constant, expected_top**sums.compared, 1.0)
    enough = tested & (sums.paired >= least)
    short = np.where(enough, stats.t.cdf(t, np.maximum(sums.paired - 1, 1)), np.nan)
    criteria = {
        "one label": _fall(one_label, tested),
        "below chance": _fall(stats.norm.cdf(z), tested),
        "no better than chance": _fall(short, enough) & (stats.norm.sf(z) > HEARD),
    }
    return [next((name for name, holds in criteria.items() if holds[r]), None) for r in range(len(tested))]


def _fall(p: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Which of the `tested` hypotheses, bool [R], fall at the family-wise error rate."""
    return holm(np.where(tested, p, np.nan)) <= ERROR_RATE


def _sentences(
    raters: list[str], flags: list[str | None], sums: _Sums, votes: np.ndarray, labels: list[str]
) -> list[str | None]:
    out: list[str | None] = []
    for r, (rater, flag) in enumerate(zip(raters, flags, strict=True)):
        agreed = f"{sums.agreement[r]:.0%} of the others' votes" if flag else ""
        words = {
            None: None,
            "one label": f"rater {rater} always said {labels[r]} ({int(votes[r])} votes)",
            "below chance": f"rater {rater} agrees with {agreed}, less than by chance ({sums.chance[r]:.0%})",
            "no better than chance": f"rater {rater} agrees with {agreed}, as by chance ({sums.chance[r]:.0%}); "
            f"the others agree with {sums.others[r]:.0%}",
        }
        out.append(words[flag])
    return out
