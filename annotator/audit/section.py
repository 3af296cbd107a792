"""What a section of an audit is: it measures, and emits figure rows and findings, which are codes and numbers.

A section is one record in a file of this folder and one line of `sections.SECTIONS`. Its value stands in the JSON under
its name: beside the other sections of its panel (`details`), or at the top for one of the whole audit. Its rows are in
the table of figures, the report draws any section from them (words and pictures of its own are optional entries in
`report/`), and the verdict, the terminal and `--require` read its findings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ...data.scores.intervals import Interval

if TYPE_CHECKING:
    import numpy as np

    from ..proxies import Panel, Source
    from ..run.run import Run
    from .panel_result import Ground


@dataclass(frozen=True, slots=True)
class Absent:
    """A section that could not be measured, and why."""

    reason: str


class Finding(NamedTuple):
    """Something that a section found: its `code` (`report.audit_words.FINDINGS` may have a sentence) and numbers.

    `panel` is the panel it is of (None: of the whole audit). What `warns` or `blocks` is said in the answer, what
    blocks first; `informs` is for gates alone.
    """

    code: str
    panel: str | None
    figures: Mapping[str, float | Interval]
    weight: Literal["blocks", "warns", "informs"] = "informs"


class FigureRow(NamedTuple):
    """A row of the table of figures: of which part ("third=low"; empty: of the whole), the figure, and its interval."""

    part: str
    metric: str
    value: float | Interval
    n: int | None = None
    reason: str | None = None


class PanelSubject(NamedTuple):
    """What a section of a panel may use: the audit's ground, the panel lined up with it, the run or corpus it is of.

    `calibrated` [U, K] is the panel's cross-fitted prediction without any human vote of the utterance; `epsilon` that
    of the alternative annotator test.
    """

    ground: Ground
    panel: Panel
    source: Source
    calibrated: np.ndarray
    epsilon: float


class AuditSubject(NamedTuple):
    """What a section of the whole audit may use: its ground, all panels, the runs among them, and their controls."""

    ground: Ground
    panels: Sequence[Panel]
    runs: Sequence[Run]
    controls: Sequence[Run]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section: `title` and `about` (its definition and source) head it where it is drawn from its rows.

    `measure` takes a `PanelSubject` or, with `of` audit, an `AuditSubject`, and returns a dataclass (a list of them, or
    `Absent`). `figures` gives the rows of the table; None: a row for each number and interval of the value's fields.
    `required` names the figures of its findings that `--require` may ask for, with what each is.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Any], Any]
    of: Literal["panel", "audit"] = "panel"
    figures: Callable[[Any], Iterable[FigureRow]] | None = None
    findings: Callable[[Any], Iterable[Finding]] | None = None
    required: Mapping[str, str] = field(default_factory=dict)
