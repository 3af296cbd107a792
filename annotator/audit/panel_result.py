"""What all panels of an audit stand on, and one panel measured there.

The ground: the scored votes in their draws, what is fitted to people, and their curve. A panel on it: its scores and
its shuffle's, its gap, labels and strata, and what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.divergences import as_distribution, jsd_bits
from ...data.scores.metric import Metric, metric_of
from ...data.scores.metrics import reference_classes
from ...data.scores.proper_scores import sq_unbiased, sq_unbiased_by_label, unbiased_ambiguity
from ...data.scores.scoring import THIRDS, ScoreRow, score_row, statistic_of, strata_thirds
from ...data.votes import frequencies
from ..proxies import Panel
from ..run.run import Run
from . import baselines, variants
from .calibration import Calibrated, calibrations
from .effective_votes import HumanCurve, effective_votes
from .noninferiority import non_inferiority, vote_scores
from .panel_agreement import independent_listeners
from .result import CurvePoint, Example, LabelRow, PanelResult, StratumRow, System
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
    rows = [_floor_row(scorer, metric_of(name), x) for name, x in perfect.items()]
    return rows + variants.pluralities(scorer, *variants.posterior_draw(scorer, fit.people))


def _floor_row(scorer: Scorer, metric: Metric, x: np.ndarray) -> ScoreRow:
    statistic = statistic_of(metric, reference_classes(scorer.scored))
    found = scorer.mean(x) if statistic == "mean" else scorer.columns(x, statistic)
    row = score_row(metric.key(scorer.reference.m), found)
    if metric.truth is None:
        return row
    return ScoreRow(
        row.metric, metric.truth, metric.truth, metric.truth, "by construction", row.utterances, 0, row.groups
    )


# --------------------
# Tables of one panel against the reference: confusion of mass, labels, thirds by ambiguity.


def confusion(q: np.ndarray, scored: np.ndarray) -> list[list[float | None]]:
    """Mean panel mass on each label (column), weighted by the human mass on each label (row)."""
    said = ~np.isnan(q).any(axis=1)
    human = as_distribution(scored)[said]
    mass, total = human.T @ as_distribution(q)[said], human.sum(axis=0)
    return [[float(x) for x in row / t] if t > 0 else [None] * len(row) for row, t in zip(mass, total, strict=True)]


def human_confusion(scorer: Scorer) -> list[list[float | None]] | None:
    """The same for the other human votes: what a perfect panel would show. None without other votes."""
    other = scorer.each(lambda draw: draw.other)
    return confusion(frequencies(other), scorer.scored) if other.any() else None


def label_rows(scorer: Scorer, constant: np.ndarray, q: np.ndarray) -> list[LabelRow]:
    """Each label's shares, bias and squared error; `constant` [R * U, K] is the audit's."""
    human, q = as_distribution(scorer.scored), as_distribution(q)
    error, error_constant = (sq_unbiased_by_label(x, scorer.scored) for x in (q, constant))
    return [
        LabelRow(
            label=label,
            human=float(human[:, c].mean()),
            panel=scorer.mean(q[:, c]),
            bias=scorer.mean(q[:, c] - human[:, c]),
            sq_unbiased=scorer.mean(error[:, c]),
            sq_constant=scorer.mean(error_constant[:, c]),
        )
        for c, label in enumerate(scorer.reference.labels)
    ]


def strata(
    scorer: Scorer, constant: np.ndarray, sq_constant: np.ndarray, thirds: np.ndarray, panel: Panel, sq: np.ndarray
) -> list[StratumRow]:
    """Each third's scores, and its ambiguity by the scored votes (not by those that cut it: those are selected)."""
    found: list[StratumRow] = []
    q, q_log = scorer.repeat(panel.q), scorer.repeat(panel.q_log)
    ambiguity, own = unbiased_ambiguity(scorer.scored), scorer.repeat(panel.ambiguity)
    for third, name in enumerate(THIRDS):
        part = thirds == third
        if not part.any():
            continue
        found.append(
            StratumRow(
                third=name,
                utterances=round(part.sum() / len(scorer.draws)),
                human_ambiguity=scorer.mean(ambiguity, part),
                panel_ambiguity=scorer.mean(own, part),
                gap=scorer.gap(sq, sq_constant, part),
                scores=scorer.table(q, q_log=q_log, rows=part),
                constant=scorer.table(constant, rows=part),
            )
        )
    return found


# --------------------
# The utterances where a panel and the humans agree most and least, to be heard.

EACH = 10


def choose_examples(corpus: Corpus, reference: Reference, q: np.ndarray, *, each: int = EACH) -> list[Example]:
    """The `each` utterances of lowest and of highest squared error against all their human votes, ties by id.

    All human votes are shown, scored or not: this is a picture, chosen by its outcome, and no figure rests on it.
    """
    votes = reference.scored + reference.other
    error, divergence = sq_unbiased(q, votes), jsd_bits(q, votes)
    order = np.lexsort((np.array(reference.ids), error))
    each = min(each, len(order) // 2)
    speakers, transcripts = (corpus.utterances[name].to_pylist() for name in ("speaker", "transcript"))
    human, panel = as_distribution(votes), as_distribution(q)
    chosen = [("most", i) for i in order[:each]] + [("least", i) for i in order[::-1][:each]]
    return [
        Example(
            utterance_id=reference.ids[i],
            agreement=agreement,
            human=human[i].tolist(),
            panel=panel[i].tolist(),
            votes=int(votes[i].sum()),
            sq_unbiased=float(error[i]),
            jsd_bits=float(divergence[i]),
            speaker=speakers[int(reference.rows[i])],
            transcript=transcripts[int(reference.rows[i])],
        )
        for agreement, i in chosen
    ]


class Measured(NamedTuple):
    """A panel's systems and results; `calibrated` [U, K] is its prediction under the calibration most draws chose."""

    systems: list[System]
    result: PanelResult
    calibrated: np.ndarray


def measure(ground: Ground, panel: Panel, source: Run | Corpus, *, lacking: np.ndarray, margin: float) -> Measured:
    """Measure a panel lined up with the ground's reference; `lacking` masks what it has no distribution for.

    `margin` is that of non-inferiority.
    """
    candidates = calibrations(panel, ground.scorer.reference)
    result = _result(ground, panel, lacking, candidates, margin)
    if isinstance(source, Run):
        heard = independent_listeners(source, ground.scorer.reference, level=ground.scorer.level)
        result = replace(result, independence=heard)
    chosen = result.effective_votes.calibration
    return Measured(_systems(ground.scorer, panel), result, candidates[max(chosen, key=lambda name: chosen[name])].q)


def _systems(scorer: Scorer, panel: Panel) -> list[System]:
    """The panel, its sampled votes' frequencies beside it, and its shuffle."""
    note = None
    if panel.q_log is not None:
        note = "raw vote frequencies; the log score is of their Dirichlet-multinomial posterior mean, cross-fitted"
    q = scorer.repeat(panel.q)
    q_log = scorer.repeat(panel.q_log)
    systems = [System(panel.name, "panel", panel.name, scorer.table(q, q_log=q_log), note)]
    if panel.exact and panel.drawn.any():
        each = panel.drawn.sum(axis=1)
        name = f"{panel.name}, {np.median(each[each > 0]):.0f} sampled votes"
        systems.append(System(name, "sampled", panel.name, scorer.table(scorer.repeat(frequencies(panel.drawn)))))
    moved = _shuffled(scorer, panel.q)
    moved_log = None if panel.q_log is None else _shuffled(scorer, panel.q_log)
    systems.append(System(f"{panel.name}, shuffled", "shuffled", panel.name, scorer.table(moved, q_log=moved_log)))
    return systems


def _shuffled(scorer: Scorer, q: np.ndarray) -> np.ndarray:
    return scorer.each(lambda draw: baselines.shuffled(q, draw))


def _result(
    ground: Ground, panel: Panel, lacking: np.ndarray, candidates: dict[str, Calibrated], margin: float
) -> PanelResult:
    scorer, fit = ground.scorer, ground.fit
    q = scorer.repeat(panel.q)
    sq = sq_unbiased(q, scorer.scored)
    sq_shuffled = sq_unbiased(_shuffled(scorer, panel.q), scorer.scored)
    return PanelResult(
        name=panel.name,
        kind=panel.kind,
        path=panel.path,
        about=panel.about,
        covered=int((~lacking).sum()),
        skipped=int(lacking.sum()),
        failures=panel.failures,
        label_mass=panel.label_mass,
        gap=scorer.gap(sq, fit.sq_constant),
        over_constant=scorer.mean(fit.sq_constant - sq),
        over_shuffled=scorer.mean(sq_shuffled - sq),
        confusion=confusion(q, scorer.scored),
        labels=label_rows(scorer, fit.constant, q),
        strata=strata(scorer, fit.constant, fit.sq_constant, fit.thirds, panel, sq),
        examples=choose_examples(ground.corpus, scorer.reference, panel.q),
        effective_votes=effective_votes(ground.human, ground.human.place(candidates)),
        non_inferiority=non_inferiority(scorer, panel, fit.vote_scores, fit.constant, share=margin),
        independence=None,
    )
