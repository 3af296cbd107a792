"""Scores and intervals on one reference: every figure of an audit is made here, over the same speakers.

The reference comes in R draws of the scored votes. Arrays here hold the draws one after another, [R * U], and every
figure is a function of their totals by speaker: the mean over the draws, with the interval of that mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, overload

import numpy as np

from ...data.corpus import Corpus, require_division
from ...data.errors import CorpusError, OptionError, RunError
from ...data.labels import LabelSet
from ...data.scores.groups import group_codes, group_folds
from ...data.scores.intervals import NO_LIMITS, Interval, OfTotals, by_sums, group_sums, mean_of
from ...data.scores.metric import GroupSums, Metric, Pairs, metrics_at
from ...data.scores.metrics import reference_classes
from ...data.scores.proper_scores import log_score
from ...data.scores.scoring import ScoreRow, choose_votes_scored, row_scores, rows_of, score_row, statistic_of
from ...data.votes import count_votes, split_counts

# --------------------
# The reference: which human votes are scored, and which may be used to cut, to fit and to compare with.
#
# Each utterance's held-out human votes are cut in two by a draw seeded with its id: m votes that everything is scored
# against, and the others. The others, with the seen votes, serve the strata, the baselines and the human curve, so
# nothing that is scored is used to cut or to predict. A single such draw moves a score by chance, so an audit averages
# over several (`redrawn`); within each of them the two parts stay apart.

FOLDS = 5


class Note(NamedTuple):
    """Something to be said beside the figures: its `code` (`report.audit_words.NOTES` has the sentence) and numbers."""

    code: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The utterances that are audited (rows, in the corpus's order) and their human votes.

    `rows` [U] are places in the corpus; `scored` [U, K] has m votes per row, `other` [U, K] all the other human votes
    outside the reference (held out or seen), `heldout` [U, K] are the votes the scored ones were drawn from in this
    `draw`. `groups` [U] are speakers, `folds` [U] their folds. `left_out` maps a reason to the number of the corpus's
    utterances that are not audited.
    """

    labels: LabelSet
    ids: list[str]
    rows: np.ndarray
    scored: np.ndarray
    other: np.ndarray
    heldout: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    m: int
    seed: int
    left_out: dict[str, int]
    notes: list[Note]
    draw: int = 0

    def part(self, keep: np.ndarray) -> Reference:
        """The reference of some of its utterances, dealt to folds anew: what is left may be few speakers, or one.

        Raises RunError if a single utterance is left: nothing can be fitted on others then.
        """
        ids = [name for name, kept in zip(self.ids, keep, strict=True) if kept]
        if len(ids) < 2:
            raise RunError(
                f"only {len(ids)} utterance with {self.m} held-out human votes has a distribution of every panel; "
                "baselines are fitted on other utterances than they predict, so an audit needs two or more: annotate "
                "more of the corpus"
            )
        groups, folds, notes = _speakers(self.groups[keep], ids, self.seed)
        return replace(self.only(keep), groups=groups, folds=folds, notes=notes)

    def only(self, keep: np.ndarray) -> Reference:
        """Some of the utterances, each in the fold it was in."""
        return replace(
            self,
            ids=[name for name, kept in zip(self.ids, keep, strict=True) if kept],
            rows=self.rows[keep],
            scored=self.scored[keep],
            other=self.other[keep],
            heldout=self.heldout[keep],
            groups=self.groups[keep],
            folds=self.folds[keep],
        )

    def redrawn(self, draw: int) -> Reference:
        """The same utterances and folds with other m votes scored; draw 0 is `build_reference`'s own."""
        if draw == self.draw:
            return self
        scored, _ = split_counts(self.heldout, self.m, self.ids, "votes scored", self.seed, draw)
        return replace(self, scored=scored, other=self.scored + self.other - scored, draw=draw)


def build_reference(corpus: Corpus, *, m: int | None = None, seed: int = 0) -> Reference:
    """Cut the held-out human votes into m scored ones and the others.

    m is 4 where that is available, else lowered (`choose_votes_scored`). Utterances with fewer held-out votes
    than max(2, m), or with shares of votes, are left out and counted.

    Raises CorpusError for a corpus that is not divided or has no utterance with two held-out votes, OptionError
    for an m that no utterance has.
    """
    require_division(corpus)
    heldout, seen = (count_votes(corpus.votes, corpus.ids, corpus.labels, part=p) for p in ("heldout", "seen"))
    whole = np.asarray((_whole(heldout) & _whole(seen)).all(axis=1))
    held = np.where(whole, heldout.sum(axis=1), 0)
    if not (held >= 2).any():
        raise CorpusError(
            f"{corpus.path}: no utterance has two held-out human votes (the most is {int(held.max(initial=0))}), and "
            "one vote cannot tell a vague utterance from a wrong panel; expected two or more an utterance: divide the "
            "corpus with a smaller --seen, or bring a corpus with the single raters' votes"
        )
    m = choose_votes_scored(held, seen.sum(axis=1)) if m is None else _checked(m, held, corpus)
    kept = held >= m
    rows = np.flatnonzero(kept)
    ids = [corpus.ids[i] for i in rows]
    scored, rest = split_counts(heldout[rows], m, ids, "votes scored", seed, 0)
    groups, folds, notes = _speakers(corpus.column("speaker")[rows], ids, seed)
    return Reference(
        labels=corpus.labels,
        ids=ids,
        rows=rows,
        scored=scored,
        other=rest + seen[rows],
        heldout=heldout[rows],
        groups=groups,
        folds=folds,
        m=m,
        seed=seed,
        left_out=_left_out(heldout, held, whole, m),
        notes=notes,
    )


def _whole(counts: np.ndarray) -> np.ndarray:
    return np.isclose(counts, np.rint(counts))


def _checked(m: int, held: np.ndarray, corpus: Corpus) -> int:
    most = int(held.max())
    if m < 2:
        raise OptionError(f"--votes-scored is {m}; expected 2 or more (one vote has no unbiased squared error)")
    if m > most:
        raise OptionError(
            f"--votes-scored is {m}, but no utterance of {corpus.path} has more than {most} held-out human votes; "
            f"choose {most} or fewer"
        )
    return m


def _left_out(heldout: np.ndarray, held: np.ndarray, whole: np.ndarray, m: int) -> dict[str, int]:
    reasons = {
        "no held-out human vote": whole & (heldout.sum(axis=1) == 0),
        f"fewer than {m} held-out human votes": whole & (heldout.sum(axis=1) > 0) & (held < m),
        "shares of votes (one rater, several labels)": ~whole,
    }
    return {reason: int(mask.sum()) for reason, mask in reasons.items() if mask.any()}


def _speakers(speakers: np.ndarray, ids: list[str], seed: int) -> tuple[np.ndarray, np.ndarray, list[Note]]:
    """Groups, folds and what has to be said: with one speaker, folds are of utterances and intervals undefined."""
    if group_codes(speakers)[1] >= 2:
        notes = []
        if any(s is None for s in speakers):
            notes.append(Note("unnamed speakers", {}))
        return speakers, group_folds(speakers, folds=FOLDS, seed=seed), notes
    return speakers, group_folds(ids, folds=FOLDS, seed=seed), [Note("one speaker", {})]


# A constant of so small a mean squared error leaves nothing to close: half a vote added to each of six labels of people
# who all say the same is off by as much with a hundred votes. Corpora of speech have .1 to .3.
NO_GAP = 1e-3
# A percent of the gap may fall as low as a panel is bad, and rises to 100.
MOST_GAP = (-np.inf, 100.0)


class GroupedSums:
    """Totals of metrics over some rows, by speaker; metrics that share them have them computed once.

    `kept` and `skipped` count the rows that have a plurality on both sides, and the others.
    """

    def __init__(self, pairs: Pairs, codes: np.ndarray, groups: int):
        self.pairs, self.codes, self.groups = pairs, codes, groups
        # not above 0, or NaN: no plurality
        defined = (pairs.q.max(axis=1) > 0) & (pairs.counts.max(axis=1) > 0)
        self.kept, self.skipped = int(defined.sum()), int((~defined).sum())
        self._made: dict[GroupSums, np.ndarray] = {}

    def totals(self, metric: Metric) -> np.ndarray:
        """Sums by speaker [G, T] of a metric that gives them itself."""
        assert metric.sums is not None
        if metric.sums not in self._made:
            pairs = self.pairs
            self._made[metric.sums] = metric.sums(pairs.q, pairs.counts, self.codes, self.groups)
        return self._made[metric.sums]

    def rows(self, metric: Metric) -> np.ndarray:
        """Totals of single rows, [R * U] or [R * U, T]."""
        return rows_of(metric, self.pairs)


class Scorer:
    """Scores distributions on every draw of one reference, with intervals at one level.

    `codes` [R * U] are the rows' speakers, of whom there are `groups`.
    """

    def __init__(self, draws: Sequence[Reference], *, level: float):
        self.draws, self.reference, self.level = list(draws), draws[0], level
        self.scored = self.each(lambda draw: draw.scored)
        self._classes = reference_classes(self.scored)
        self.ids = self.reference.ids * len(self.draws)
        codes, self.groups = group_codes(self.reference.groups)
        self.codes = np.tile(codes, len(self.draws))

    def each(self, make: Callable[[Reference], np.ndarray]) -> np.ndarray:
        """`make(draw)` of every draw, one after another: [R * U, ...]."""
        return np.concatenate([make(draw) for draw in self.draws])

    @overload
    def repeat(self, q: np.ndarray) -> np.ndarray: ...
    @overload
    def repeat(self, q: np.ndarray | None) -> np.ndarray | None: ...
    def repeat(self, q: np.ndarray | None) -> np.ndarray | None:
        """[U, ...] for every draw alike: [R * U, ...]; None for None."""
        return None if q is None else np.concatenate([q] * len(self.draws))

    def table(
        self, q: np.ndarray, *, q_log: np.ndarray | None = None, rows: np.ndarray | None = None
    ) -> list[ScoreRow]:
        """The scores of q [R * U, K], or of a part of its rows; with `q_log`, the log score is that of q_log."""
        scored, codes = self.scored, self.codes
        if rows is not None:
            q, q_log = q[rows], None if q_log is None else q_log[rows]
            scored, codes = scored[rows], codes[rows]
        scores = self._row_scores(q, scored, q_log)
        pairs = Pairs(q, scored, scored, self.reference.m)
        sums = GroupedSums(pairs, codes, self.groups)
        found = []
        for metric in metrics_at("scores"):
            key = metric.key(pairs.m)
            one = self._interval(scores[key], codes, "mean", metric.limits) if key in scores else self.of(metric, sums)
            found.append(score_row(key, one))
        return found

    def of(self, metric: Metric, sums: GroupedSums) -> Interval:
        """A metric that is a function of totals, with its interval, over the class set of the scored votes."""
        statistic = statistic_of(metric, self._classes)
        if metric.sums is None or statistic == "mean":
            return self._interval(sums.rows(metric), sums.codes, statistic, metric.limits)
        totals = sums.totals(metric)
        return self.of_sums(totals, statistic, rows=sums.kept, skipped=sums.skipped, limits=metric.limits)

    def row_scores(self, q: np.ndarray, q_log: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Each row's own scores of q [R * U, K], [R * U] by metric; with `q_log`, the log score is that of q_log."""
        return self._row_scores(q, self.scored, q_log)

    def _row_scores(self, q: np.ndarray, scored: np.ndarray, q_log: np.ndarray | None) -> dict[str, np.ndarray]:
        scores = row_scores(q, scored, self.reference.m, (), 0)  # every row has m votes, so that none are drawn
        if q_log is not None:
            scores["log_score"] = log_score(q_log, scored)
        return scores

    def utterance_scores(self, q: np.ndarray, q_log: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """`row_scores` averaged over the draws, [U] by metric."""
        return {name: x.reshape(len(self.draws), -1).mean(axis=0) for name, x in self.row_scores(q, q_log).items()}

    def mean(
        self, x: np.ndarray, part: np.ndarray | None = None, *, limits: tuple[float, float] = NO_LIMITS
    ) -> Interval:
        """The mean of [R * U] over a part of its rows, with its interval; `limits` are `by_group`'s."""
        if part is None:
            return self._interval(x, self.codes, "mean", limits)
        return self._interval(x[part], self.codes[part], "mean", limits)

    def gap(self, sq: np.ndarray, sq_constant: np.ndarray, part: np.ndarray | None = None) -> Interval:
        """Percent of the closable gap: 100 (constant - panel) / constant, of summed squared errors.

        NaN where the constant's mean error is no gap (`NO_GAP`): people who never disagree leave nothing to know. A
        jackknife is of the log of what is left where that is told from nothing: a few badly heard speakers skew it.
        """
        chosen = slice(None) if part is None else part
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._interval(
                np.column_stack([sq_constant, sq, np.ones(len(sq))])[chosen],
                self.codes[chosen],
                lambda t: 100 * (t[..., 0] - t[..., 1]) / np.where(t[..., 0] > NO_GAP * t[..., 2], t[..., 0], np.nan),
                MOST_GAP,
            )

    def columns(self, columns: np.ndarray, statistic: OfTotals, *, limits: tuple[float, float] = NO_LIMITS) -> Interval:
        """A function of the totals of columns [R * U, S], with its interval; rows with NaN are skipped and counted."""
        return self._interval(columns, self.codes, statistic, limits)

    def of_sums(
        self,
        sums: np.ndarray,
        statistic: OfTotals,
        *,
        rows: int,
        skipped: int = 0,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Interval:
        """A statistic of sums by speaker [G, S], with its interval (`by_sums`).

        `rows` and `skipped` count all draws' rows; the interval tells those of one draw.
        """
        names, seed = np.arange(self.groups), self.reference.seed
        found = by_sums(sums, statistic, names=names, level=self.level, limits=limits, seed=seed)
        each = len(self.draws)
        return found._replace(rows=round(rows / each), skipped=round(skipped / each))

    def _interval(
        self,
        x: np.ndarray,
        codes: np.ndarray,
        statistic: Literal["mean"] | OfTotals,
        limits: tuple[float, float] = NO_LIMITS,
    ) -> Interval:
        """`by_group` of the speakers' totals, which is that of the rows."""
        kept = np.asarray(~np.isnan(x) if x.ndim == 1 else ~np.isnan(x).any(axis=1))
        counts = {"rows": int(kept.sum()), "skipped": int((~kept).sum())}
        if not kept.all():
            x, codes = x[kept], codes[kept]
        if statistic == "mean":
            sums = np.column_stack([np.bincount(codes, weights=w, minlength=self.groups) for w in (x, None)])
            return self.of_sums(sums, mean_of, limits=limits, **counts)
        return self.of_sums(group_sums(x, codes, self.groups), statistic, limits=limits, **counts)
