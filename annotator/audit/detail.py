"""What is said of each panel beside its scores: agreement, single votes of known raters, saturation, where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.corpus import Corpus
from ..run.run import Run
from . import failures, panel_agreement, saturation
from .alt_test import EPSILON
from .alt_test_section import AltTestSection, alt_test_of
from .failures import Failures
from .panel_agreement import PanelAgreement
from .panels import Panel
from .result import CurvePoint
from .saturation import Saturation
from .scorer import Scorer


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
