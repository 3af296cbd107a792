"""The pictures of an audit: the human curve, worth, saturation, ambiguity, and distributions side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from scipy.interpolate import PchipInterpolator

from ...data.scores.intervals import Interval
from ...data.scores.metric import metric_of
from ...data.scores.scoring import ScoreRow
from ...data.seeds import rng_from
from ..audit.effective_votes import FINENESS, falling
from ..audit.result import AuditResult, CurveValue, Example, PanelResult, StratumRow
from ..audit.saturation import SaturationCurve
from .figures import figure, interval_figure, worth_figure
from .pictures import TENTHS, TWO, bars
from .svg import Plot, cut, nice_ticks, picture, spread_labels, tag, text

MOST_DOTS = 800


def human_curve(result: AuditResult, metric: str, *, name: str) -> Markup:
    """A score against the number n of other human votes, raw and smoothed, with the panels' levels drawn across it."""
    curves = {
        kind: [(p.n, row) for p in result.curve if p.kind == kind for row in _rows(p.scores, metric)]
        for kind in ("raw", "smoothed")
    }
    levels = [
        (panel.name, f"panel-{i % 5}", _score(result, panel.name, metric)) for i, panel in enumerate(result.panels)
    ]
    marks = [
        ("constant", "constant", _kind(result, "constant", metric)),
        ("perfect", "perfect", _kind(result, "perfect", metric)),
    ]
    marks = [(label, cls, row) for label, cls, row in marks if row is not None]
    values = [row.value for points in curves.values() for _, row in points] + [r.value for *_, r in levels + marks]
    last = max([n for points in curves.values() for n, _ in points], default=1)
    plot = Plot(52, 34, 330, 236, [0, max(last, 1)], nice_ticks(min(0, *values), max(values)))
    body = plot.axes(
        x_label="other human votes used as the prediction", y_label=name, x_ticks=list(range(max(last, 1) + 1))
    )
    for _, cls, row in levels:
        if not math.isnan(row.low):
            body.append(plot.band(row.low, row.high, cls=f"band {cls}"))
    body += [plot.level(row.value, cls=f"level {cls}") for _, cls, row in marks + levels]
    for kind, points in curves.items():
        body.append(plot.line([(n, row.value) for n, row in points], cls=f"curve {kind}"))
        for n, row in points:
            body.append(plot.whisker(n, row.low, row.high, cls=f"whisker {kind}"))
            body.append(plot.dot(n, row.value, cls=f"mark {kind}", title=f"{n} votes, {kind}: {_cell(row)}"))
    tags = [(plot.y(row.value), cut(label, 20), cls) for label, cls, row in marks + levels]
    tags += [(plot.y(points[-1][1].value), f"{kind} human votes", kind) for kind, points in curves.items() if points]
    body += _at_the_right(plot, tags)
    said = "; ".join(f"{label} {figure(row.value)}" for label, _, row in marks + levels)
    return picture(540, 312, body, title=f"{name} against the number of other human votes", description=said)


def _at_the_right(plot: Plot, tags: Sequence[tuple[float, str, str]], *, led: bool = True) -> list[str]:
    """Names beside the frame, apart from each other: height, words and class of each; `led` to its line."""
    body, x = [], plot.right + (13 if led else 10)
    places = spread_labels([y for y, *_ in tags], top=plot.top - 6, bottom=plot.bottom + 8)
    for y, (at, words, cls) in zip(places, tags, strict=True):
        if led:
            body.append(tag("line", cls="leader", x1=plot.right + 2, x2=plot.right + 10, y1=at, y2=y))
        body.append(text(x, y + 4, words, cls=f"label {cls}", anchor="start"))
    return body


def _rows(scores: Sequence[ScoreRow], metric: str) -> list[ScoreRow]:
    return [row for row in scores if row.metric.split("@")[0] == metric and math.isfinite(row.value)]


def _score(result: AuditResult, panel: str, metric: str) -> ScoreRow:
    row = result.system("panel", panel).score(metric)
    assert row is not None
    return row


def _kind(result: AuditResult, kind: str, metric: str) -> ScoreRow | None:
    return result.system(kind).score(metric)


def _cell(row: ScoreRow) -> str:
    return figure(row.value, row.low, row.high)


def worth_curve(result: AuditResult, score: str, *, name: str) -> Markup:
    """The human curve of a score, with each panel's worth and its interval marked on it."""
    points = curve_points(result, score)
    n = np.array([p.n for p in points])
    values = np.array([p.value.value for p in points])
    sign = -metric_of(score).sign
    line = PchipInterpolator(n, sign * (falling(sign * values) @ (sign * values)))
    spread = [x for p in points for x in (p.value.value, p.value.low, p.value.high) if np.isfinite(x)]
    low = min(spread) if sign < 0 else min(0.0, *spread)
    plot = Plot(52, 34, 250, 200, [0, int(n[-1])], nice_ticks(low, max(spread)))
    unit = metric_of(score).unit
    axis = f"{name}, {unit}" if unit else name
    body = plot.axes(x_label="human votes of the utterance", y_label=axis, x_ticks=n.tolist())
    fine = np.linspace(0, n[-1], n[-1] * FINENESS + 1)
    body.append(plot.line([(x, float(line(x))) for x in fine], cls="curve smoothed"))
    for p in points:
        body.append(plot.whisker(p.n, p.value.low, p.value.high, cls="whisker smoothed"))
        body.append(plot.dot(p.n, p.value.value, cls="mark smoothed", r=3, title=f"{p.n}: {interval_figure(p.value)}"))
    tags, said = [], []
    for i, panel in enumerate(result.panels):
        row = panel.effective_votes.overall(score)
        if row.reason:
            continue
        cls = f"panel-{i % 5}"
        y = float(line(row.value))
        if np.isfinite(row.low):
            ends = (plot.x(row.low), plot.x(min(row.high, float(n[-1]))))
            body.append(tag("line", cls=f"level {cls}", x1=ends[0], x2=ends[1], y1=plot.y(y), y2=plot.y(y)))
        body.append(plot.dot(row.value, y, cls=f"mark {cls}", r=5, title=f"{panel.name}: {worth_figure(row)}"))
        tags.append((plot.y(y), f"{panel.name[:18]} {worth_figure(row)}", cls))
        said.append(f"{panel.name} {worth_figure(row)}")
    body += _at_the_right(plot, tags, led=False)
    title = f"{name} against the number of human votes"
    return picture(520, 276, body, title=title, description="; ".join(said))


def curve_points(result: AuditResult, score: str) -> list[CurveValue]:
    """The human curve of a score; empty where one of its points is undefined."""
    found = [p for p in result.human_curve if p.score.split("@")[0] == score]
    return found if all(np.isfinite(p.value.value) for p in found) else []


def saturation_curve(curve: SaturationCurve) -> Markup:
    """A score of the panel's first n votes, of a shuffled panel's and of human votes."""
    own = [(n, v.value) for n, v in enumerate(curve.values, start=1)]
    lines = [
        (own, "curve panel-0", "panel"),
        (list(enumerate(curve.shuffled, start=1)), "curve thin panel-0", "shuffled"),
    ]
    if curve.human:
        lines.append((curve.human, "curve raw", "human votes"))
    values = [y for points, *_ in lines for _, y in points] + ([curve.limit.value] if curve.limit else [])
    plot = Plot(52, 34, 300, 236, [1, len(own)], nice_ticks(min(0, *values), max(values)))
    body = plot.axes(x_label="votes used as the prediction", y_label=curve.score, x_ticks=_saturation_ticks(len(own)))
    if curve.limit:
        body.append(plot.level(curve.limit.value, cls="level perfect"))
    tags = [(plot.y(curve.limit.value), "its p", "perfect")] if curve.limit else []
    for points, cls, name in lines:
        shown = [(n, y) for n, y in points if n <= len(own)]
        body.append(plot.line(shown, cls=cls))
        tags.append((plot.y(shown[-1][1]), name, "raw" if name == "human votes" else "panel-0"))
    body += [plot.whisker(n, v.low, v.high, cls="whisker panel-0") for n, v in enumerate(curve.values, start=1)]
    body += _at_the_right(plot, tags)
    said = f"{figure(own[0][1])} at 1 vote, {figure(own[-1][1])} at {len(own)}"
    return picture(460, 312, body, title=f"{curve.score} against the number of synthetic votes", description=said)


def _saturation_ticks(last: int) -> list[float]:
    return [1.0, *(float(n) for n in range(5, last + 1, 5))] if last > 6 else [float(n) for n in range(1, last + 1)]


def ambiguity_by_thirds(result: AuditResult) -> Markup:
    """Panel ambiguity against human ambiguity in the thirds; on the diagonal a panel is as divided as people are."""
    plot = Plot(52, 34, 300, 236, TENTHS, TENTHS)
    body = plot.axes(x_label="human ambiguity (votes that are scored)", y_label="panel ambiguity")
    body.append(plot.line([(0, 0), (1, 1)], cls="diagonal"))
    said = []
    for i, panel in enumerate(result.panels):
        cls = f"panel-{i % 5}"
        points = [(s.human_ambiguity, s.panel_ambiguity, s.third) for s in _drawn(panel)]
        body.append(plot.line([(h.value, p.value) for h, p, _ in points], cls=f"curve thin {cls}"))
        for human, own, third in points:
            body += _cross(plot, human, own, f"whisker {cls}")
            body.append(plot.dot(human.value, own.value, cls=f"mark {cls}", r=5, title=f"{panel.name}, {third} third"))
            said.append(f"{panel.name} {third}: humans {figure(human.value)}, panel {figure(own.value)}")
        body.append(
            text(plot.left + 8, plot.top + 14 + 15 * i, cut(panel.name, 30), cls=f"label {cls}", anchor="start")
        )
    body += _third_names(plot, result)
    return picture(390, 312, body, title="Ambiguity of panel and humans by thirds", description="; ".join(said))


def _drawn(panel: PanelResult) -> list[StratumRow]:
    """The thirds whose panel ambiguity is known: one vote per utterance tells none."""
    return [s for s in panel.strata if not math.isnan(s.panel_ambiguity.value)]


def _third_names(plot: Plot, result: AuditResult) -> list[str]:
    """The thirds' names side by side at the frame's foot, each led to its lowest point: all panels share their x."""
    by_third: dict[str, list[tuple[float, float]]] = {}
    for panel in result.panels:
        for s in _drawn(panel):
            point = (plot.x(s.human_ambiguity.value), plot.y(s.panel_ambiguity.value))
            by_third.setdefault(s.third, []).append(point)
    lowest = {third: max(points, key=lambda point: point[1]) for third, points in by_third.items()}
    places = spread_labels([x for x, _ in lowest.values()], least=56, top=plot.left + 26, bottom=plot.right - 26)
    found = []
    for at, (third, (x, y)) in zip(places, lowest.items(), strict=True):
        found.append(tag("line", cls="leader", x1=at, x2=x, y1=plot.bottom - 20, y2=y + 6))
        found.append(text(at, plot.bottom - 8, third, cls="label"))
    return found


def _cross(plot: Plot, human: Interval, own: Interval, cls: str) -> list[str]:
    found = [plot.whisker(human.value, own.low, own.high, cls=cls)]
    if not math.isnan(human.low):
        y, low, high = plot.y(own.value), plot.x(human.low), plot.x(human.high)
        found.append(tag("line", cls=cls, x1=low, x2=high, y1=y, y2=y))
    return found


def ambiguity_scatter(result: AuditResult, panel: str, *, cls: str = "panel-0") -> Markup:
    """One dot an utterance: panel ambiguity against human ambiguity (all votes), jittered, at most 800 dots."""
    rows = result.rows
    assert rows is not None
    human, own = rows.human_ambiguity, rows.panel_ambiguity[panel]
    rng = rng_from("scatter", result.settings["seed"])
    shown = rng.permutation(np.flatnonzero(~np.isnan(human) & ~np.isnan(own)))[:MOST_DOTS]
    plot = Plot(52, 34, 300, 236, TENTHS, TENTHS)
    body = plot.axes(x_label="human ambiguity (all votes, jittered)", y_label="panel ambiguity")
    body.append(plot.line([(0, 0), (1, 1)], cls="diagonal"))
    for i, shift in zip(shown, rng.uniform(-0.012, 0.012, len(shown)), strict=True):
        x = float(np.clip(human[i] + shift, 0, 1))
        body.append(plot.dot(x, float(own[i]), cls=f"dot {cls}", r=2.6))
    body.append(text(plot.left + 8, plot.top + 14, cut(panel, 30), cls=f"label {cls}", anchor="start"))
    known = ~np.isnan(human) & ~np.isnan(own)
    varied = len(shown) > 2 and human[known].std() > 0 and own[known].std() > 0
    r = f"correlation {np.corrcoef(human[known], own[known])[0, 1]:.2f}" if varied else "correlation undefined"
    return picture(
        390,
        312,
        body,
        title=f"Ambiguity of {panel} and of humans, utterance by utterance",
        description=f"{len(shown)} of {int(known.sum())} utterances; {r}",
    )


def side_by_side(example: Example, labels: Sequence[str], *, cls: str = "panel-0") -> Markup:
    """Human votes (upper bar) and panel (lower bar) for each label of one utterance."""
    said = "; ".join(
        f"{label} {100 * h:.0f} and {100 * p:.0f}"
        for label, h, p in zip(labels, example.human, example.panel, strict=True)
    )
    columns = [("human", "human", example.human), ("panel", cls, example.panel)]
    title = f"Human votes and panel for {example.utterance_id}, percent"
    return bars(labels, columns, TWO, title=title, description=said)
