"""What is said of each panel beside its scores: agreement, single votes of known raters, saturation, where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ...data.corpus import Corpus
from ..models.families import known_exposure
from ..run.run import Run
from . import cues, failures, panel_agreement, saturation, sensitivity
from .alt_test import EPSILON
from .alt_test_section import AltTestSection, alt_test_of
from .controls import Controls, audit_controls, check_controls
from .cues import Cues
from .failures import Failures
from .panel_agreement import PanelAgreement
from .panels import Panel
from .result import CurvePoint
from .saturation import Saturation
from .scorer import Scorer
from .sensitivity import Sensitivity


@dataclass(frozen=True, slots=True)
class Detail:
    """The sections of one panel; their own modules say what each holds."""

    panel: str
    agreement: PanelAgreement
    alt_test: AltTestSection
    saturation: Saturation
    failures: Failures


def detail(
    scorer: Scorer,
    panel: Panel,
    source: Run | Corpus,
    corpus: Corpus,
    *,
    constant: np.ndarray,
    thirds: np.ndarray,
    calibrated: np.ndarray,
    curve: Sequence[CurvePoint],
    epsilon: float = EPSILON,
) -> Detail:
    """The sections of a panel lined up with the scorer's reference.

    `constant` [R * U, K], `thirds` [R * U] and `curve` are the audit's; `calibrated` [U, K] is the panel's cross-fitted
    prediction without any human vote of the utterance; `epsilon` is the alternative annotator test's.
    """
    return Detail(
        panel=panel.name,
        agreement=panel_agreement.section(scorer, source, panel.name),
        alt_test=alt_test_of(corpus, source, epsilon=epsilon),
        saturation=saturation.section(scorer, panel, curve=curve),
        failures=failures.section(scorer, panel, corpus, constant=constant, thirds=thirds, calibrated=calibrated),
    )


# --------------------
# What only runs can be asked: whether they listen, what moves their answers, and what their model may have met.


@dataclass(frozen=True, slots=True)
class Listening:
    """Of the runs of an audit: sensitivity, controls, identity cues and each model's exposure.

    `sensitivity` is the first run's, with what differs between all runs (None: no run), `others` the other runs';
    `controls` belong to the first run; `cues` are those of the runs whose panels state any.
    """

    sensitivity: Sensitivity | None
    controls: Controls | None
    exposure: list[str]
    others: list[Sensitivity] = field(default_factory=list)
    cues: list[Cues] = field(default_factory=list)


def check_listening(runs: Sequence[Run], control_runs: Sequence[Run]) -> None:
    """Refuse control runs that belong to no run of the audit, before anything is computed."""
    if control_runs:
        check_controls(runs[0], control_runs)


def listening(
    corpus: Corpus, runs: Sequence[Run], control_runs: Sequence[Run], *, m: int, draws: int, seed: int, level: float
) -> Listening:
    """The section; controls belong to the first run."""
    found = None
    if control_runs:
        found = audit_controls(corpus, runs[0], control_runs, m=m, draws=draws, seed=seed, level=level)
    models = list(dict.fromkeys(run.info["identity"]["model"] for run in runs))
    return Listening(
        sensitivity=sensitivity.section(runs, corpus, level=level, seed=seed) if runs else None,
        controls=found,
        exposure=[known_exposure(model, corpus.name) for model in models],
        others=[sensitivity.section([run], corpus, level=level, seed=seed) for run in runs[1:]],
        cues=[told for run in runs if (told := cues.section(run, corpus, level=level, seed=seed)) is not None],
    )
