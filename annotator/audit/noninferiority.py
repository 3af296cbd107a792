"""One synthetic vote against one more human vote: is it no worse as a witness of what other people hear?

A bare vote is no distribution: its log score is minus infinity at the first disagreement. So each vote v is scored by
what the best model without a panel (`baselines.People`) predicts from it alone, by the log score of that prediction on
the votes that remain, which is strictly proper for what is predicted:

    S(v) = mean over the remaining votes of ln E[p | v]
    human      mean over the utterance's other human votes of S       (one more human vote)
    synthetic  sum_v q(v) S(v)                                         (one vote drawn from the panel's q, expected)
    constant   log score of the class marginal                         (no vote)

A synthetic vote is taken as if a person had cast it, without calibration: that is what standing beside human votes
means. Non-inferior: the interval of synthetic - human + margin lies above 0, margin = 10 % of (human - constant), so
that a synthetic vote keeps nine tenths of what a human vote adds; the margin's own noise is in the interval.
Equivalent (two one-sided tests, Schuirmann 1987): |synthetic - human| < margin in the same way. At the 95 % level each
side is a test at 2.5 %. Expected over q, the score is linear in it: someone who always says what most people say
passes, so this licenses single votes as witnesses, never the spread of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...data.scores.intervals import Interval
from ...data.scores.proper_scores import log_score
from ...data.scores.scoring import ScoreRow, score_row
from ...data.votes import frequencies
from ..proxies import Panel
from .baselines import People
from .scorer import Scorer
from .section import Section

MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Log scores, nats per remaining vote: `difference` is synthetic less human, `margin` a share of human - constant.

    `above_margin` is the interval of difference + margin, `below_margin` of margin - difference; `non_inferior` and
    `equivalent` are None where nothing can be told, for the `reason`.
    """

    synthetic: Interval
    human: Interval
    constant: Interval
    difference: Interval
    margin: float
    margin_share: float
    above_margin: Interval
    below_margin: Interval
    non_inferior: bool | None
    equivalent: bool | None
    reason: str | None


def vote_scores(scorer: Scorer, people: People) -> np.ndarray:
    """S(v) of every label v as an utterance's only vote, [R * U, K], on the votes that are scored."""
    labels = scorer.scored.shape[1]
    single = {fold: np.log(fit.posterior_mean(np.eye(labels))) for fold, fit in people.fits.items()}
    found = np.empty(scorer.scored.shape)
    folds = scorer.repeat(people.folds)
    shares = frequencies(scorer.scored)
    for fold, log_p in single.items():
        found[folds == fold] = shares[folds == fold] @ log_p.T
    return found


def non_inferiority(
    scorer: Scorer, panel: Panel, scores: np.ndarray, constant: np.ndarray, *, share: float = MARGIN
) -> NonInferiority:
    """Compare a vote of the panel with one more human vote; `scores` are `vote_scores`, `constant` [R * U, K].

    Utterances without another human vote are left out of all four figures.
    """
    human = (frequencies(scorer.each(lambda draw: draw.other)) * scores).sum(axis=1)
    there = ~np.isnan(human)
    synthetic = np.where(there, (scorer.repeat(panel.q) * scores).sum(axis=1), np.nan)
    none = np.where(there, log_score(constant, scorer.scored), np.nan)
    margin = share * (human - none)
    above, below = scorer.mean(synthetic - human + margin), scorer.mean(margin - synthetic + human)
    gain = scorer.mean(human - none)
    reason = _reason(there, gain)
    return NonInferiority(
        synthetic=scorer.mean(synthetic),
        human=scorer.mean(human),
        constant=scorer.mean(none),
        difference=scorer.mean(synthetic - human),
        margin=share * gain.value,
        margin_share=share,
        above_margin=above,
        below_margin=below,
        non_inferior=None if reason else above.low > 0,
        equivalent=None if reason else above.low > 0 and below.low > 0,
        reason=reason,
    )


def _reason(there: np.ndarray, gain: Interval) -> str | None:
    if not there.any():
        return "no human vote is left beside the scored ones to compare with"
    if np.isnan(gain.low):
        return f"no interval can be given ({gain.method.removeprefix('none: ')})"
    if gain.low <= 0:
        return "one more human vote itself is not told from a constant, so that there is no margin"
    return None


# --------------------
# Panels side by side: differences of their scores on the same votes, which tell more than two intervals apart do.
#
# What makes an utterance or a speaker hard is hard for both panels and cancels, so that intervals of two panels may
# overlap where their difference is told from 0. A difference is no verdict: two panels may differ and both be
# worthless.


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean scores of `panel` less those of `other` over the same utterances and votes, with intervals by speaker."""

    panel: str
    other: str
    scores: list[ScoreRow]


def section(scorer: Scorer, panels: Sequence[Panel]) -> list[Difference]:
    """Every two of the panels, in their order; none for a single panel.

    Scores that an utterance has by itself; UAR and macro-F1 are no means over utterances. The log score of a panel
    made of votes is that of its smoothed form, as in its own row.
    """
    if len(panels) < 2:
        return []
    scores = [scorer.row_scores(scorer.repeat(panel.q), scorer.repeat(panel.q_log)) for panel in panels]
    found = []
    for (a, one), (b, other) in combinations(zip(panels, scores, strict=False), 2):
        with np.errstate(invalid="ignore"):  # minus infinity less minus infinity: two single votes' log scores
            rows = {name: one[name] - other[name] for name in one}
        found.append(Difference(a.name, b.name, [score_row(name, scorer.mean(x)) for name, x in rows.items()]))
    return found


SECTION = Section(
    name="differences",
    title="Panels side by side",
    about="Differences of the panels' scores on the same votes, paired by utterance.",
    of="audit",
    measure=lambda subject: section(subject.ground.scorer, subject.panels),
)
