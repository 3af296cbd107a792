"""The report's sections by ambiguity and by label."""

from __future__ import annotations

from html import escape

from ...data.scores.intervals import Interval
from ..audit.result import AuditResult, LabelRow, StratumRow
from . import pictures
from .html import cell, framed, table

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def ambiguity(result: AuditResult) -> str:
    """Panels' ambiguity against people's, by thirds and by utterance, and the scores in the thirds."""
    thirds = framed(
        "Figure 3.",
        pictures.ambiguity_by_thirds(result),
        "Chance that two listeners disagree, in panel and people, by thirds of the utterances. Above the "
        "diagonal a panel is more divided than people are, below it surer than they are.",
        cls="small",
    )
    dots = [
        framed(
            _number(4, i, result),
            pictures.ambiguity_scatter(result, panel.name, cls=f"panel-{i % 5}"),
            "The same for single utterances; few human votes take few values, hence the columns.",
            cls="small",
        )
        for i, panel in enumerate(result.panels)
    ]
    return (
        f'<section><h2>Ambiguity</h2><div class="figures">{thirds}{"".join(dots)}</div>{_thirds_table(result)}'
        "</section>\n"
    )


def _number(number: int, place: int, result: AuditResult) -> str:
    """`Figure 4.`, or `Figure 4b.` where there are several panels."""
    return f"Figure {number}{LETTERS[place % len(LETTERS)] if len(result.panels) > 1 else ''}."


def _of(panel: str, part: str, result: AuditResult) -> str:
    return f"{panel}, {part}" if len(result.panels) > 1 else part


def _thirds_table(result: AuditResult) -> str:
    rows = [(_of(panel.name, s.third, result), _third_cells(s), "") for panel in result.panels for s in panel.strata]
    if not rows:
        return "<p>Too few votes beside the scored ones to cut thirds.</p>"
    head = ["third", "utterances", "human ambiguity", "panel ambiguity", "squared error ↓", "of the constant"]
    head += ["gap closed, %", "log score ↑", f"JSD, bits @{result.settings['votes_scored']} ↓"]
    caption = "Table 2. By ambiguity, cut by votes that are not scored, ties at a border broken at random by the seed."
    return table(caption, head, rows)


def _third_cells(s: StratumRow) -> list[str]:
    scores, plain = ({row.metric.split("@")[0]: row for row in rows} for rows in (s.scores, s.constant))
    cells = [str(s.utterances), cell(s.human_ambiguity), cell(s.panel_ambiguity), cell(scores["sq_unbiased"])]
    return [
        *cells,
        cell(plain["sq_unbiased"]),
        cell(s.gap, 0),
        cell(scores["log_score"]),
        cell(scores["jsd_bits"]),
    ]


def labels(result: AuditResult) -> str:
    """Where panels' mass goes given people's, people's own, and each label against the rest."""
    names = result.corpus["labels"]
    maps = [
        framed(
            _number(5, i, result),
            pictures.heat_map(panel.name, panel.confusion, names),
            f"{escape(panel.name)}: where its mass goes, in percent, given where the human votes went (rows "
            "add to 100).",
            cls="small",
        )
        for i, panel in enumerate(result.panels)
    ]
    if result.reference["confusion"] is not None:
        maps.append(
            framed(
                "Figure 6.",
                pictures.heat_map("other humans", result.reference["confusion"], names),
                "The same for the other human votes: what a perfect panel would show. People disagree about the same "
                "utterance, so it is not diagonal.",
                cls="small",
            )
        )
    rows = [
        (_of(panel.name, row.label, result), _label_cells(row), "") for panel in result.panels for row in panel.labels
    ]
    head = ["label", "human votes, %", "panel's mass, %", "difference, points", "squared error ↓", "of the constant"]
    caption = "Table 3. Each label against the rest. The squared errors of the labels add up to the one of Table 1."
    return f'<section><h2>Labels</h2><div class="figures">{"".join(maps)}</div>{table(caption, head, rows)}</section>\n'


def _label_cells(row: LabelRow) -> list[str]:
    cells = [f"{100 * row.human:.1f}", cell(_percent(row.panel), 1), cell(_percent(row.bias), 1)]
    return [*cells, cell(row.sq_unbiased, 4), cell(row.sq_constant, 4)]


def _percent(interval: Interval) -> Interval:
    return interval._replace(value=100 * interval.value, low=100 * interval.low, high=100 * interval.high)
