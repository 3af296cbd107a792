"""A gate on an audit's figures: `sq_unbiased<=0.08, effective_votes>=1`, and which of them missed.

Every panel audited has to meet every requirement. A figure that is undefined, or reaches only "at least" below what is
required, has missed: what is not shown is not passed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...data.errors import OptionError
from ...data.scores.intervals import Interval
from ...data.scores.metric import metrics_at
from ...data.scores.scoring import ScoreRow
from .result import AuditResult, Check, PanelResult
from .sections import SECTIONS

EXIT_CODE = 3
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": lambda found, bound: found <= bound,
    ">=": lambda found, bound: found >= bound,
    "<": lambda found, bound: found < bound,
    ">": lambda found, bound: found > bound,
}


class Figure(NamedTuple):
    """A figure with its bounds; NaN where undefined, for the `reason`. `at_least`: it may be any larger number."""

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str | None = None
    at_least: bool = False


def _score(metric: str) -> Callable[[AuditResult, PanelResult], Figure]:
    def read(result: AuditResult, panel: PanelResult) -> Figure:
        row = result.system("panel", panel.name).score(metric)
        return Figure(math.nan, reason="not scored") if row is None else _of(row)

    return read


def _interval(name: str) -> Callable[[AuditResult, PanelResult], Figure]:
    return lambda _, panel: _of(getattr(panel, name))


def _votes(score: str) -> Callable[[AuditResult, PanelResult], Figure]:
    def read(_: AuditResult, panel: PanelResult) -> Figure:
        row = panel.effective_votes.overall(score)
        return Figure(row.value, row.low, row.high, row.reason, row.at_least)

    return read


def _listeners(_: AuditResult, panel: PanelResult) -> Figure:
    if panel.independence is None:
        return Figure(math.nan, reason="not a run of two listeners or more with exact scores")
    return _of(panel.independence.independent_listeners)


def _mass(_: AuditResult, panel: PanelResult) -> Figure:
    if panel.label_mass is None:
        return Figure(math.nan, reason="no probability was read off")
    return Figure(panel.label_mass)


def _difference(_: AuditResult, panel: PanelResult) -> Figure:
    """Log score of a synthetic vote less that of one more human vote."""
    found = panel.non_inferiority
    return _of(found.difference)


def _non_inferior(_: AuditResult, panel: PanelResult) -> Figure:
    found = panel.non_inferiority.non_inferior
    return Figure(math.nan if found is None else float(found), reason=panel.non_inferiority.reason)


def _found(section: str, name: str) -> Callable[[AuditResult, PanelResult], Figure]:
    """A figure of what a section found of the panel, or of the whole audit."""

    def read(result: AuditResult, panel: PanelResult) -> Figure:
        for finding in result.findings:
            if finding.panel in (panel.name, None) and name in finding.figures:
                figure = finding.figures[name]
                if isinstance(figure, Interval):
                    return _of(figure)
                return Figure(float(figure), reason="undefined" if math.isnan(figure) else None)
        return Figure(math.nan, reason=f"the section {section} did not find it")

    return read


def _of(row: ScoreRow | Interval) -> Figure:
    reason = row.method.removeprefix("none: ") if row.method.startswith("none") else None
    return Figure(row.value, row.low, row.high, reason)


# What can be required beside the scores of `METRICS`, what it is in words, and where it is read.
FIGURES: dict[str, tuple[str, Callable[[AuditResult, PanelResult], Figure]]] = {
    "gap": ("percent of the gap from constant to perfect that is closed", _interval("gap")),
    "over_constant": ("squared error of the constant less the panel's", _interval("over_constant")),
    "over_shuffled": ("squared error of the shuffled panel less the panel's", _interval("over_shuffled")),
    "label_mass": ("share of the model's probability that fell on a label", _mass),
    "effective_votes": ("human votes the panel is worth, by log score", _votes("log_score")),
    "effective_votes_sq": ("the same by squared error", _votes("sq_unbiased")),
    "effective_votes_jsd": ("the same by Jensen-Shannon divergence", _votes("jsd_bits")),
    "independent_listeners": ("independent listeners the panel amounts to", _listeners),
    "vote_difference": ("log score of a synthetic vote less that of one more human vote", _difference),
    "non_inferior": ("1 if a synthetic vote is not inferior to one more human vote, else 0", _non_inferior),
}


def figures() -> dict[str, tuple[str, Callable[[AuditResult, PanelResult], Figure]]]:
    """All that can be required, by name: the scores that an audit has of a panel, `FIGURES`, and what sections find."""
    scores = {metric.name: (metric.about, _score(metric.name)) for metric in metrics_at("scores")}
    found = {
        name: (about, _found(section.name, name))
        for section in SECTIONS.values()
        for name, about in section.required.items()
    }
    return scores | FIGURES | found


@dataclass(frozen=True, slots=True)
class Requirement:
    """`figure` (of its `part`: value, low or high) `comparison` `bound`; `text` as it was written."""

    figure: str
    part: str
    comparison: str
    bound: float
    text: str


def parse_requirements(text: str) -> list[Requirement]:
    """Read `sq_unbiased<=0.08, effective_votes.low>=1`: names of `figures`, of their interval's bound with .low, .high.

    Raises OptionError that lists every part that cannot be read, and the names there are.
    """
    found, problems = [], []
    for part in (piece.strip() for piece in text.split(",")):
        read = _read(part)
        if isinstance(read, str):
            problems.append(read)
        else:
            found.append(read)
    if problems:
        raise OptionError(
            f"--require cannot be read: {'; '.join(problems)}. Write figures with <=, >=, < or > and a number, "
            'separated by commas, such as --require "sq_unbiased<=0.08, effective_votes>=1"; a bound of a figure\'s '
            f"interval is effective_votes.low. Figures: {', '.join(figures())}"
        )
    return found


def _read(part: str) -> Requirement | str:
    if not part:
        return "a part is empty"
    match = re.fullmatch(r"([A-Za-z_][\w]*)(?:\.(\w+))?\s*(<=|>=|<|>)\s*(\S+)", part)
    if match is None:
        return f"'{part}' is no comparison"
    name, bound_of, comparison, number = match.groups()
    if name not in figures():
        return f"'{part}': there is no figure '{name}'"
    if bound_of not in (None, "low", "high"):
        return f"'{part}': '.{bound_of}' is no bound, expected .low or .high"
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        return f"'{part}': '{number}' is no number"
    return Requirement(name, bound_of or "value", comparison, bound, part)


def check(result: AuditResult, requirements: Sequence[Requirement]) -> list[Check]:
    """Every requirement on every panel, in that order."""
    return [_check(result, panel, requirement) for requirement in requirements for panel in result.panels]


def _check(result: AuditResult, panel: PanelResult, requirement: Requirement) -> Check:
    figure = figures()[requirement.figure][1](result, panel)
    found = float(getattr(figure, requirement.part))
    met = not math.isnan(found) and COMPARISONS[requirement.comparison](found, requirement.bound)
    reason = figure.reason
    if figure.at_least and requirement.part == "value":
        reason = "at least that much: the human curve ends there"
        met = met and requirement.comparison in (">=", ">")
    if math.isnan(found) and reason is None:
        reason = "it has no interval"
    return Check(requirement.text, panel.name, found, met, reason)


def gated(result: AuditResult, requirements: Sequence[Requirement]) -> AuditResult:
    """The result with its checks."""
    return replace(result, checks=check(result, requirements))
