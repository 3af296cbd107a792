"""What is said of each panel beside its scores: agreement, single votes of known raters, saturation, where it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ...data.corpus import Corpus
from ..report.sounds import player, without_sounds
from ..run.run import Run
from . import alt_test_section, failures, panel_agreement, saturation
from .alt_test import EPSILON
from .alt_test_section import AltTestSection, alt_test_of
from .failures import Failures
from .panel_agreement import PanelAgreement
from .panels import Panel
from .result import CurvePoint
from .saturation import Saturation
from .scorer import Scorer

# Players a panel: each may hold 100 kB.
SOUNDS = 6


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


def to_html(details: Sequence[Detail], corpus: Corpus) -> str:
    """A section a panel, with the sounds of its few most surprising utterances."""
    row = {name: i for i, name in enumerate(corpus.ids)}
    heard = {found.panel: {s.utterance_id for s in found.failures.surprises[:SOUNDS]} for found in details}
    return "".join(_page(found, lambda name, of=found.panel: _sound(corpus, row, name, heard[of])) for found in details)


def _sound(corpus: Corpus, row: dict[str, int], name: str, heard: set[str]) -> str:
    return player(corpus, row[name]) if name in heard and not without_sounds(corpus) else ""


def _page(found: Detail, sound: Callable[[str], str]) -> str:
    return (
        f"<section><h2>{escape(found.panel)}: agreement, saturation, failures</h2>"
        f"{panel_agreement.to_html(found.agreement)}{alt_test_section.to_html(found.alt_test)}"
        f"{saturation.to_html(found.saturation)}{failures.to_html(found.failures, player=sound)}</section>\n"
    )
