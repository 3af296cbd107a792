"""The alternative annotator test: is a model as good a rater as a human who would be left out for it?

Calderon, Reichart & Dror (2025), The alternative annotator test for LLM-as-a-judge, ACL, arXiv 2501.10970. Each human
is left out in turn. On every item that human and another one rated, model and human are scored against the others
(`alt_scorers`); d = [human scores no worse] - [model scores no worse] is -1, 0 or 1, a tie giving both sides 1. The
model wins against that human where mean d < epsilon is significant, with the false discovery rate over humans held by
Benjamini & Yekutieli. It passes where it wins against half of the humans or more.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from scipy.stats import wilcoxon

from ...data.errors import OptionError
from .alt_scorers import HumanVotes, answered, human_votes, scorer_named
from .scorer import Note

# --------------------
# The statistics of the alternative annotator test: one-sided p for each rater, and which of them count together.

# The paper advises 30 instances a rater; with fewer its test is Wilcoxon's.
ADVISED = 30


class Tally(NamedTuple):
    """d of each rater, [R]: how many `n`, and in how many the model was `better` or `worse` than the human."""

    n: np.ndarray
    better: np.ndarray
    worse: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean of d, NaN without instances."""
        with np.errstate(invalid="ignore"):
            return (self.worse - self.better) / self.n

    @property
    def constant(self) -> np.ndarray:
        """Where every d is the same."""
        return (self.better == self.n) | (self.worse == self.n) | (self.better + self.worse == 0)


def tally_of(votes: HumanVotes, kept: np.ndarray, sign: np.ndarray) -> Tally:
    """Count each rater's instances by sign [S, U] of model minus human."""
    masks = (kept, kept & (sign > 0), kept & (sign < 0))
    if votes.rater is None:
        return Tally(*(mask.sum(axis=1) for mask in masks))
    return Tally(*(np.bincount(votes.rater[mask], minlength=votes.raters) for mask in masks))


def p_values(tally: Tally, epsilon: float) -> np.ndarray:
    """One-sided p of mean d < epsilon for each rater, [R]: Student's t, or Wilcoxon's signed ranks below 30."""
    p = t_test(tally, epsilon)
    for r in np.flatnonzero(tally.n < ADVISED):
        p[r] = wilcoxon_test(int(tally.n[r]), int(tally.better[r]), int(tally.worse[r]), epsilon)
    return p


def t_test(tally: Tally, epsilon: float) -> np.ndarray:
    """p [R] of the one-sample t-test, H1: mean d < epsilon; where d is constant its limit, 0 below epsilon, else 1."""
    n, mean = tally.n, tally.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = ((tally.better + tally.worse) - n * mean**2) / (n - 1)
        p = stdtr(n - 1, (mean - epsilon) / np.sqrt(variance / n))
    return np.where(tally.constant, np.where(mean < epsilon, 0.0, 1.0), p)


def wilcoxon_test(n: int, better: int, worse: int, epsilon: float) -> float:
    """p of Wilcoxon's signed-rank test (scipy's, zeros dropped), H1: d - epsilon lies below 0; 1 if all are 0."""
    shifted = np.repeat([-1.0, 0.0, 1.0], [better, n - better - worse, worse]) - epsilon
    if not shifted.any():
        return 1.0
    with warnings.catch_warnings():
        # scipy remarks on small samples with ties; the advised minimum is what guards against those
        warnings.simplefilter("ignore")
        found: Any = wilcoxon(shifted, alternative="less")
        return float(found.pvalue)


def clustered_p(
    votes: HumanVotes, kept: np.ndarray, sign: np.ndarray, speakers: np.ndarray, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """p [R] of mean d < epsilon with items clustered by speaker, and each rater's number G of speakers, [R].

    t = (mean d - epsilon) / s with G - 1 degrees of freedom, s^2 = (G - 1)/G sum_g (theta_g - mean theta)^2, theta_g
    being the mean of d without speaker g (delete-one-group jackknife, Tukey 1958). Items of one speaker share what the
    speaker does, which the t-test takes for independent evidence. NaN below two speakers; where all theta_g are equal,
    the limit 0 or 1.
    """
    _, group = np.unique(speakers, return_inverse=True)
    slot, item = np.nonzero(kept)
    key = group.reshape(-1)[item] * votes.raters + (slot if votes.rater is None else votes.rater[slot, item])
    cells, place = np.unique(key, return_inverse=True)
    total, n = np.bincount(place, weights=-sign[kept].astype(np.float64)), np.bincount(place)
    rater = cells % votes.raters

    def by_rater(column: np.ndarray) -> np.ndarray:
        return np.bincount(rater, weights=column, minlength=votes.raters)

    size = by_rater(np.ones(len(cells)))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = by_rater(total) / by_rater(n)
        without = (by_rater(total)[rater] - total) / (by_rater(n)[rater] - n)
        off = by_rater((without - (by_rater(without) / size)[rater]) ** 2)
        error = np.sqrt((size - 1) / size * off)
        p = stdtr(size - 1, (mean - epsilon) / error)
    p = np.where(error <= 1e-12, np.where(mean < epsilon, 0.0, 1.0), p)
    return np.where(size >= 2, p, np.nan), size.astype(np.int64)


def benjamini_yekutieli(p: ArrayLike, q: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected, bool [m]: all up to the largest r with p_(r) <= r q / (m H_m), H_m = sum_k 1/k.

    The false discovery rate is held under any dependence (Benjamini & Yekutieli 2001, Ann. Stat. 29:1165). Undefined
    p (NaN) are no hypotheses.

    >>> benjamini_yekutieli([0.0192, 0.0260, 0.3145]).tolist()
    [False, False, False]
    """
    p = np.asarray(p, dtype=np.float64)
    defined = np.sort(p[~np.isnan(p)])
    if not len(defined):
        return np.zeros(p.shape, dtype=bool)
    rank = np.arange(1, len(defined) + 1)
    below = defined <= rank / len(defined) * (q / (1 / rank).sum())
    return p <= (defined[below][-1] if below.any() else -1.0)


ADVISED_RATERS = 3
# The paper's for crowds; .15 for skilled raters, .2 for experts.
EPSILON = 0.1
PASSES_FROM = 0.5
# With fewer instances no signed-rank test is significant at 5 %, whatever they are: 1 / 2^4 > .05.
LEAST = 5
# A voter who always gives the others' plurality passes, though no rater votes so: this stands beside every test.
LICENCE = Note("licence", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterRow:
    """The model against one human left out.

    `n` instances; `advantage` the share of them on which the model scores no worse; `difference` the mean of d; `p`
    of the one-sided `test` ("t" or "wilcoxon") of mean d < epsilon, `rejected` after Benjamini-Yekutieli: the model
    wins. `p_clustered` is the t-test whose standard error is the jackknife over the `speakers` of the items. A rater
    with too few instances is not tested: figures are None, and `reason` says so.
    """

    rater: str
    n: int
    advantage: float | None = None
    difference: float | None = None
    p: float | None = None
    test: str | None = None
    rejected: bool | None = None
    p_clustered: float | None = None
    rejected_clustered: bool | None = None
    speakers: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AltTest:
    """One model's test. Rates are NaN, `passes` False and `reason` filled where no rater has enough instances.

    `winning_rate` is the share of tested raters the model wins against, `advantage_probability` the unweighted mean of
    the tested raters' advantages; `winning_rate_clustered` is by `p_clustered`, NaN without speakers.
    """

    model: str
    scorer: str
    epsilon: float
    q: float
    min_instances: int
    winning_rate: float
    advantage_probability: float
    passes: bool
    winning_rate_clustered: float
    raters: list[RaterRow]
    notes: list[Note]
    reason: str | None = None

    @property
    def tested(self) -> list[RaterRow]:
        """The raters with enough instances."""
        return [row for row in self.raters if row.p is not None]

    def to_json(self) -> dict[str, Any]:
        """`{"winning_rate", "advantage_probability", "passes", "raters": {rater: {...}}}`."""
        hidden = ("rater",)
        rows = {
            row.rater: {name: getattr(row, name) for name in RaterRow.__slots__ if name not in hidden}
            for row in self.raters
        }
        rates = {"winning_rate": self.winning_rate, "advantage_probability": self.advantage_probability}
        return {**rates, "passes": self.passes, "raters": rows}


def alt_test(
    humans: ArrayLike | HumanVotes,
    model: ArrayLike,
    *,
    scorer: str = "accuracy",
    epsilon: float = EPSILON,
    q: float = 0.05,
    min_instances: int | None = ADVISED,
    speakers: ArrayLike | None = None,
    raters: Sequence[str] | None = None,
    name: str = "model",
) -> AltTest:
    """Test a model against each human left out.

    `humans` is a table [items, raters] of label codes from 0 (negative: not rated) or numbers (NaN: not rated), or
    `HumanVotes`; `model` has a code or number an item, or for `log-score` a distribution, [items, labels]. Only items
    with two human votes and the model's answer count, and only raters with `min_instances` of them are tested: 30, as
    the paper advises, or with None 30 where a rater has as many, else 5. `speakers` [items], whole numbers, add the
    clustered p; `raters` are names.

    d that is the same on every instance has no variance: p is then the limit, 0 where d < epsilon and 1 elsewhere; with
    fewer than 30 instances Wilcoxon's p is defined but where d = epsilon throughout, which gives 1.

    Raises OptionError for an unknown scorer, or epsilon, q or min_instances out of range.
    """
    _check(epsilon, q, min_instances)
    votes, said = humans if isinstance(humans, HumanVotes) else human_votes(humans), np.asarray(model)
    sign_of = scorer_named(scorer)
    kept = instances(votes, said)
    sign = sign_of(votes, said) if kept.any() else np.zeros(kept.shape, np.int8)
    tally = tally_of(votes, kept, sign)
    if min_instances is None:
        min_instances = ADVISED if tally.n.max(initial=0) >= ADVISED else LEAST
    tested = tally.n >= min_instances
    clusters = None if speakers is None else clustered_p(votes, kept, sign, np.asarray(speakers), epsilon)
    names = [str(r) for r in (range(votes.raters) if raters is None else raters)]
    rows = _rows(names, tally, tested, clusters, epsilon=epsilon, q=q, least=min_instances)
    done = [row for row in rows if row.p is not None]
    won = _share([row.rejected for row in done])
    return AltTest(
        model=name,
        scorer=scorer,
        epsilon=epsilon,
        q=q,
        min_instances=min_instances,
        winning_rate=won,
        advantage_probability=_share([row.advantage for row in done]),
        passes=won >= PASSES_FROM,
        winning_rate_clustered=_share([row.rejected_clustered for row in done if row.p_clustered is not None]),
        raters=rows,
        notes=_notes(len(done), len(rows), min_instances),
        reason=None if done else _too_few(name, tally.n, min_instances),
    )


def _rows(
    names: list[str],
    tally: Tally,
    tested: np.ndarray,
    clusters: tuple[np.ndarray, np.ndarray] | None,
    *,
    epsilon: float,
    q: float,
    least: int,
) -> list[RaterRow]:
    rows = [_untested(rater, int(n), least) for rater, n in zip(names, tally.n, strict=True)]
    places = np.flatnonzero(tested)
    part = Tally(*(column[places] for column in tally))
    p, advantage, mean, constant = p_values(part, epsilon), 1 - part.worse / part.n, part.mean, part.constant
    rejected = benjamini_yekutieli(p, q)
    for i, r in enumerate(places):
        rows[r] = RaterRow(
            rater=names[r],
            n=int(part.n[i]),
            advantage=float(advantage[i]),
            difference=float(mean[i]),
            p=float(p[i]),
            test="t" if part.n[i] >= ADVISED else "wilcoxon",
            rejected=bool(rejected[i]),
            reason="d is the same on every instance" if constant[i] else None,
        )
    if clusters is not None:
        by_speaker, size = (column[places] for column in clusters)
        beside = benjamini_yekutieli(by_speaker, q)
        for i, r in enumerate(places):
            rows[r] = replace(rows[r], speakers=int(size[i]), **_clustered(by_speaker[i], bool(beside[i]), rows[r]))
    return rows


def _clustered(p: float, rejected: bool, row: RaterRow) -> dict[str, Any]:
    if np.isnan(p):
        why = "all instances are of one speaker, so there is no clustered p"
        return {"reason": why if row.reason is None else f"{row.reason}; {why}"}
    return {"p_clustered": float(p), "rejected_clustered": rejected}


def instances(votes: HumanVotes, model: np.ndarray) -> np.ndarray:
    """Mask [S, U] of the votes that count: on items with two human votes or more and an answer of the model."""
    given, there = votes.given, answered(model)
    there = there.all(axis=1) if there.ndim == 2 else there
    return given & (there & (given.sum(axis=0) >= 2))


def _share(values: Sequence[float | bool | None]) -> float:
    return sum(float(value or 0) for value in values) / len(values) if values else math.nan


def check_epsilon(epsilon: float) -> None:
    """OptionError unless epsilon is from 0 on and below 1."""
    if not 0 <= epsilon < 1:
        raise OptionError(f"epsilon is {epsilon:g}; expected 0 or more and below 1 (.1 for crowds, .2 for experts)")


def _check(epsilon: float, q: float, min_instances: int | None) -> None:
    check_epsilon(epsilon)
    if not 0 < q < 1:
        raise OptionError(f"q is {q:g}; expected a false discovery rate between 0 and 1, such as 0.05")
    if min_instances is not None and min_instances < 2:
        raise OptionError(f"the minimum of instances is {min_instances}; expected 2 or more (30 are advised)")


def _untested(rater: str, n: int, least: int) -> RaterRow:
    return RaterRow(
        rater=rater, n=n, reason=f"too few votes: {n} shared with other raters and the model, below {least}"
    )


def _too_few(name: str, n: np.ndarray, least: int) -> str:
    most = int(n.max(initial=0))
    return (
        f"too few votes a rater: the most that any of {len(n)} raters shares with other raters and {name} is "
        f"{most} item{'' if most == 1 else 's'}, and {least} are asked for; if raters keep their names from item to "
        "item, bring more items or lower --min-instances, else this test cannot be made"
    )


def _notes(tested: int, raters: int, least: int) -> list[Note]:
    notes = [LICENCE]
    if tested < raters:
        notes.append(Note("untested raters", {"untested": raters - tested, "raters": raters, "instances": least}))
    if 0 < tested < ADVISED_RATERS:
        notes.append(Note("few raters", {"raters": tested, "advised": ADVISED_RATERS}))
    if least < ADVISED:
        notes.append(Note("few instances", {"advised": ADVISED}))
    return notes
