"""What an audit found, as plain values that serialise to JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...data.display import NAMES, Displayed, number, records
from ...data.errors import few
from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from .effective_votes import CurveValue, EffectiveVotes
from .noninferiority import NonInferiority
from .panel_agreement import Independence

if TYPE_CHECKING:
    import pandas as pd

    from .scorer import Note
    from .section import Finding

FORMAT = 1


@dataclass(frozen=True, slots=True)
class System:
    """Anything scored on the reference: a panel, its sampled votes, its shuffle, the constant, perfection.

    `kind` is panel | sampled | shuffled | constant | perfect; `panel` names the panel it belongs to, if any.
    """

    name: str
    kind: str
    panel: str | None
    scores: list[ScoreRow]
    note: str | None = None

    def score(self, metric: str) -> ScoreRow | None:
        """The row of a metric, by name without its `@m`; None where the system has none."""
        return next((row for row in self.scores if row.metric.split("@")[0] == metric), None)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """n human votes as a prediction: `kind` raw (their frequencies) or smoothed (human mixture's posterior mean)."""

    kind: str
    n: int
    scores: list[ScoreRow]


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One label against the rest: shares of human votes and of panel mass, and the squared error it contributes."""

    label: str
    human: float
    panel: Interval
    bias: Interval
    sq_unbiased: Interval
    sq_constant: Interval


@dataclass(frozen=True, slots=True)
class StratumRow:
    """A third of the utterances by the ambiguity of votes that are not scored."""

    third: str
    utterances: int
    human_ambiguity: Interval
    panel_ambiguity: Interval
    gap: Interval
    scores: list[ScoreRow]
    constant: list[ScoreRow]


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance where panel and humans agree most or least, with all its human votes outside the seen ones."""

    utterance_id: str
    agreement: str
    human: list[float]
    panel: list[float]
    votes: int
    sq_unbiased: float
    jsd_bits: float
    speaker: str | None
    transcript: str | None


@dataclass(frozen=True, slots=True)
class PanelResult:
    """One audited panel: how far it may be trusted, where, and against what.

    `label_mass` is the mean share of a run's probability that fell on any label (None where none was read off).
    `gap` is the percent of the closable gap (0 = constant, 100 = sq_unbiased 0); `over_shuffled` and
    `over_constant` are differences of squared error (positive: the panel is better); `confusion` [K][K] is the mean
    panel mass (second index) given human mass on a label (first), rows None where humans never chose the label.
    `independence` is that of a run's listeners (None where there are not two with exact scores).
    """

    name: str
    kind: str
    path: str
    about: dict[str, Any]
    covered: int
    skipped: int
    failures: dict[str, int]
    label_mass: float | None
    gap: Interval
    over_constant: Interval
    over_shuffled: Interval
    confusion: list[list[float | None]]
    labels: list[LabelRow]
    strata: list[StratumRow]
    examples: list[Example]
    effective_votes: EffectiveVotes
    non_inferiority: NonInferiority
    independence: Independence | None


@dataclass(frozen=True, slots=True)
class Detail:
    """The sections of one panel, by name (`sections.SECTIONS`); their own modules say what each holds."""

    panel: str
    sections: dict[str, Any]

    def entries(self) -> dict[str, Any]:
        """The panel's name and each section under its own, as they stand in the JSON."""
        return {"panel": self.panel, **self.sections}


@dataclass(frozen=True, slots=True)
class RowScores:
    """Each utterance's own scores under one prediction, means over the draws, [U] by metric; `ambiguity` [U].

    `kind` is run | humans | constant; `panel` the panel's name, "constant" for the constant.
    """

    kind: str
    panel: str
    scores: dict[str, np.ndarray]
    ambiguity: np.ndarray


@dataclass(frozen=True, slots=True)
class Rows:
    """The audited utterances' own values, for pictures and the table of utterances; not part of the JSON.

    Arrays are [U]: `places` in the corpus, votes that are scored in a draw and `other_votes`, `human_ambiguity` of all
    of them; `predictions` are the constant and the panels.
    """

    ids: list[str]
    places: np.ndarray
    votes_scored: np.ndarray
    other_votes: np.ndarray
    human_ambiguity: np.ndarray
    predictions: list[RowScores]

    @property
    def panel_ambiguity(self) -> dict[str, np.ndarray]:
        """Each panel's ambiguity [U], by name."""
        return {one.panel: one.ambiguity for one in self.predictions if one.kind != "constant"}


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement on one panel: what was found (NaN: undefined, for the `reason`) and whether it is met."""

    requirement: str
    panel: str
    found: float
    met: bool
    reason: str | None


@dataclass(frozen=True, slots=True, repr=False)
class AuditResult(Displayed):
    """The audit of one or several panels against one reference.

    `human_curve` is what panels are matched against for their worth in votes; `checks` are those of a gate, if any;
    `details` holds each panel's further sections, `sections` those of the whole audit by name (`sections.SECTIONS`):
    `variants` the scores under all their names, `differences` those between every two panels, `listening` what only
    runs can be asked. `findings` are what they found.
    """

    corpus: dict[str, Any]
    settings: dict[str, Any]
    reference: dict[str, Any]
    systems: list[System]
    curve: list[CurvePoint]
    panels: list[PanelResult]
    notes: list[Note]
    human_curve: list[CurveValue] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    details: list[Detail] = field(default_factory=list)
    sections: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    format: int = FORMAT
    rows: Rows | None = field(default=None, compare=False)

    @property
    def path(self) -> Path | None:
        """None: an audit is written where `report.files.write_report` is told to."""
        return None

    def lines(self) -> tuple[str, str]:
        """What was audited; what each panel is worth in human votes, by log score."""
        panels = [f"{p.name} {_worth(p)}" for p in self.panels]
        return (
            f"Audit of {few([p.name for p in self.panels], NAMES)} against {self.corpus['name']}: "
            f"{number(self.reference['votes_scored'], 'held-out vote')} of "
            f"{number(self.reference['utterances'], 'utterance')} by {number(self.reference['speakers'], 'speaker')}",
            f"worth in human votes, by log score: {few(panels, NAMES)}",
        )

    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """A row per score of every system (panels, the constant, perfection), with its interval."""
        rows = [
            {"system": system.name, "kind": system.kind, **score._asdict()}
            for system in self.systems
            for score in system.scores
        ]
        return records(rows[:limit])

    def system(self, kind: str, panel: str | None = None) -> System:
        """The system of a kind (and panel); KeyError if there is none."""
        for system in self.systems:
            if system.kind == kind and system.panel == panel:
                return system
        raise KeyError((kind, panel))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values without the per-utterance arrays; NaN and infinities become null (`method` says which)."""
        return {name: plain(value) for name, value in self.entries().items()}

    def entries(self) -> dict[str, Any]:
        """What stands in the JSON, by name: the fields, with each section in the place of `sections`.

        Findings stand there where there are some that an answer tells.
        """
        found: dict[str, Any] = {}
        for f in fields(self):
            if f.name == "sections":
                found |= self.sections
            elif f.name == "findings":
                told = self.told()
                found |= {"findings": [finding._asdict() for finding in told]} if told else {}
            elif f.name != "rows":
                found[f.name] = getattr(self, f.name)
        return found

    def told(self, panel: str | None = None) -> list[Finding]:
        """The findings that an answer tells, what blocks first; those of a panel, or of all."""
        own = [one for one in self.findings if one.weight != "informs" and panel in (None, one.panel)]
        return sorted(own, key=lambda finding: finding.weight != "blocks")


def _worth(panel: PanelResult) -> str:
    worth = panel.effective_votes.overall()
    if math.isnan(worth.value):
        return f"undefined ({worth.reason})"
    value = f"{worth.value:.2f}{' or more' if worth.at_least else ''}"
    return f"{value} [{worth.low:.2f}, {'open' if worth.open_above else f'{worth.high:.2f}'}]"


def plain(value: Any) -> Any:
    """A value of the result as JSON has it."""
    if isinstance(value, Detail):
        return plain(value.entries())
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Interval | ScoreRow):
        return {key: plain(part) for key, part in value._asdict().items()}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
