"""One panel on an audit's ground: its scores and its shuffle's, its gap, labels and strata, and what it is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.proper_scores import sq_unbiased
from ...data.votes import frequencies
from ..run.run import Run
from . import baselines, panel_tables
from .calibration import Calibrated, calibrations
from .effective_votes import effective_votes
from .examples import choose_examples
from .ground import Ground
from .independence import independent_listeners
from .noninferiority import non_inferiority
from .panels import Panel
from .result import PanelResult, System
from .scorer import Scorer


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
    q_log = None if panel.q_log is None else scorer.repeat(panel.q_log)
    systems = [System(panel.name, "panel", panel.name, scorer.table(q, q_log=q_log), note)]
    if panel.sampled is not None and panel.votes is None:
        each = panel.sampled.sum(axis=1)
        name = f"{panel.name}, {np.median(each[each > 0]):.0f} sampled votes"
        systems.append(System(name, "sampled", panel.name, scorer.table(scorer.repeat(frequencies(panel.sampled)))))
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
        confusion=panel_tables.confusion(q, scorer.scored),
        labels=panel_tables.label_rows(scorer, fit.constant, q),
        strata=panel_tables.strata(scorer, fit.constant, fit.sq_constant, fit.thirds, panel, sq),
        examples=choose_examples(ground.corpus, scorer.reference, panel.q),
        effective_votes=effective_votes(ground.human, ground.human.place(candidates)),
        non_inferiority=non_inferiority(scorer, panel, fit.vote_scores, fit.constant, share=margin),
        independence=None,
    )
