"""What all panels of an audit stand on: the scored votes in their draws, what is fitted to people, and their curve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.proper_scores import sq_unbiased
from ...data.scores.scoring import ScoreRow, score_row, strata_thirds
from . import baselines, variants
from .effective_votes import HumanCurve
from .noninferiority import vote_scores
from .result import CurvePoint, System
from .scorer import Reference, Scorer

MOST_DRAWS = 20


# draws times utterances: what a large corpus may cost in time and memory
MOST_ROWS = 200_000


class Baselines:
    """What is fitted once for all panels, in every draw on the votes that are not scored there; [R * U] rows."""

    def __init__(self, scorer: Scorer):
        self.constant = scorer.each(baselines.constant)
        self.sq_constant = sq_unbiased(self.constant, scorer.scored)
        self.thirds = scorer.each(lambda draw: strata_thirds(draw.other, draw.ids, draw.seed))
        self.people = baselines.fit_people(scorer.reference)
        self.vote_scores = vote_scores(scorer, self.people)


@dataclass(frozen=True, slots=True)
class Ground:
    """The scorer of an audit, its baselines with their scores, and the human curve with its `points`' predictions."""

    corpus: Corpus
    scorer: Scorer
    fit: Baselines
    systems: list[System]
    points: list[tuple[str, int, np.ndarray]]
    curve: list[CurvePoint]
    human: HumanCurve


def lay_ground(
    reference: Reference, corpus: Corpus, *, draws: int | None, level: float, step: Callable[[], None]
) -> Ground:
    """Draw the scored votes `draws` times (at most 20, fewer above 10,000 utterances) and fit what panels meet.

    `step` is called when the baselines are scored, and when the curve is.
    """
    draws = draws or max(1, min(MOST_DRAWS, MOST_ROWS // len(reference.ids)))
    scorer = Scorer([reference.redrawn(draw) for draw in range(draws)], level=level)
    fit = Baselines(scorer)
    systems = _baseline_systems(scorer, fit)
    step()
    points = _curve(scorer, fit)
    curve = [CurvePoint(kind, n, scorer.table(q)) for kind, n, q in points]
    human = HumanCurve(scorer, fit.people, points, corpus)
    step()
    return Ground(corpus, scorer, fit, systems, points, curve, human)


def _curve(scorer: Scorer, fit: Baselines) -> list[tuple[str, int, np.ndarray]]:
    """`curve_predictions` of every draw, one after another: a point's predictions are [R * U, K]."""
    points = [baselines.curve_predictions(draw, fit.people) for draw in scorer.draws]
    return [(same[0][0], same[0][1], np.concatenate([q for *_, q in same])) for same in zip(*points, strict=True)]


def _baseline_systems(scorer: Scorer, fit: Baselines) -> list[System]:
    votes = baselines.evidence(scorer.reference)[1]
    about = "the true distribution scored against as few votes, by draws from the fitted posterior: the floor"
    return [
        System("constant", "constant", None, scorer.table(fit.constant), f"class marginal of {votes}: 0 %"),
        System("perfect prediction", "perfect", None, _floor(scorer, fit), about),
    ]


def _floor(scorer: Scorer, fit: Baselines) -> list[ScoreRow]:
    """The scores of the true distribution itself against as few votes."""
    most = min(baselines.POSTERIOR_DRAWS, max(1, baselines.POSTERIOR_ROWS // len(scorer.reference.ids)))
    each = math.ceil(most / len(scorer.draws))
    found = [baselines.perfect(draw, fit.people, draws=each) for draw in scorer.draws]
    perfect = {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}
    rows = [score_row(name, scorer.mean(x)) for name, x in perfect.items()]
    rows[0] = ScoreRow("sq_unbiased", 0.0, 0.0, 0.0, "by construction", len(scorer.reference.ids), 0, rows[0].groups)
    return rows + variants.pluralities(scorer, *variants.posterior_draw(scorer, fit.people))
