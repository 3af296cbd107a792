"""The report's pictures: the human curve, ambiguity, confusion of mass, and distributions side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from ...data.seeds import rng_from
from ..audit.result import AuditResult, Example, PanelResult, StratumRow
from .figures import figure
from .svg import Plot, nice_ticks, picture, spread_labels, tag, text

MOST_DOTS = 800


def human_curve(result: AuditResult, metric: str, *, name: str) -> str:
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
    tags = [(plot.y(row.value), _cut(label, 20), cls) for label, cls, row in marks + levels]
    tags += [(plot.y(points[-1][1].value), f"{kind} human votes", kind) for kind, points in curves.items() if points]
    places = spread_labels([y for y, *_ in tags], top=plot.top - 6, bottom=plot.bottom + 8)
    for y, (at, label, cls) in zip(places, tags, strict=True):
        body.append(tag("line", cls="leader", x1=plot.right + 2, x2=plot.right + 10, y1=at, y2=y))
        body.append(text(plot.right + 13, y + 4, label, cls=f"label {cls}", anchor="start"))
    said = "; ".join(f"{label} {figure(row.value)}" for label, _, row in marks + levels)
    return picture(540, 312, body, title=f"{name} against the number of other human votes", description=said)


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


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def ambiguity_by_thirds(result: AuditResult) -> str:
    """Panel ambiguity against human ambiguity in the thirds; on the diagonal a panel is as divided as people are."""
    plot = Plot(52, 34, 300, 236, [0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.2, 0.4, 0.6, 0.8, 1])
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
            text(plot.left + 8, plot.top + 14 + 15 * i, _cut(panel.name, 30), cls=f"label {cls}", anchor="start")
        )
    body += _third_names(plot, result)
    return picture(390, 312, body, title="Ambiguity of panel and humans by thirds", description="; ".join(said))


def _drawn(panel: PanelResult) -> list[StratumRow]:
    """The thirds whose panel ambiguity is known: one vote an utterance tells none."""
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


def ambiguity_scatter(result: AuditResult, panel: str, *, cls: str = "panel-0") -> str:
    """One dot an utterance: panel ambiguity against human ambiguity (all votes), jittered, at most 800 dots."""
    rows = result.rows
    assert rows is not None
    human, own = rows.human_ambiguity, rows.panel_ambiguity[panel]
    rng = rng_from("scatter", result.settings["seed"])
    shown = rng.permutation(np.flatnonzero(~np.isnan(human) & ~np.isnan(own)))[:MOST_DOTS]
    plot = Plot(52, 34, 300, 236, [0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.2, 0.4, 0.6, 0.8, 1])
    body = plot.axes(x_label="human ambiguity (all votes, jittered)", y_label="panel ambiguity")
    body.append(plot.line([(0, 0), (1, 1)], cls="diagonal"))
    for i, shift in zip(shown, rng.uniform(-0.012, 0.012, len(shown)), strict=True):
        x = float(np.clip(human[i] + shift, 0, 1))
        body.append(plot.dot(x, float(own[i]), cls=f"dot {cls}", r=2.6))
    body.append(text(plot.left + 8, plot.top + 14, _cut(panel, 30), cls=f"label {cls}", anchor="start"))
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


def heat_map(
    name: str,
    confusion: Sequence[Sequence[float | None]],
    labels: Sequence[str],
    *,
    of: str = "mass",
    heads: tuple[str, str] = ("humans said", "mass on …"),
) -> str:
    """Mean mass of a panel (columns) given human mass on a label (rows), in percent; or what else `of` and the heads of
    rows and columns name.
    """
    size, left, top = 52, 92, 62
    body = [text(left + size * len(labels) / 2, 16, f"{_cut(name, 30)}: {heads[1]}", cls="name")]
    body.append(text(left - 10, 46, heads[0], cls="name", anchor="end"))
    for c, label in enumerate(labels):
        body.append(text(left + size * (c + 0.5), top - 10, _cut(label, 9)))
        body.append(text(left - 10, top + size * (c + 0.5) + 4, _cut(label, 12), anchor="end"))
    for r, row in enumerate(confusion):
        for c, share in enumerate(row):
            x, y = left + size * c, top + size * r
            opacity = 0.0 if share is None else float(share)
            body.append(tag("rect", cls="heat-back", x=x, y=y, width=size - 2, height=size - 2))
            body.append(tag("rect", cls="heat", x=x, y=y, width=size - 2, height=size - 2, fill_opacity=opacity))
            words = "–" if share is None else f"{100 * share:.0f}"
            body.append(
                text(x + size / 2 - 1, y + size / 2 + 4, words, cls="heat-full" if opacity > 0.65 else "heat-text")
            )
            if r == c:
                body.append(tag("rect", cls="heat-diagonal", x=x, y=y, width=size - 2, height=size - 2))
    said = "; ".join(
        f"{label}: {100 * share:.0f} % on itself"
        for i, (label, row) in enumerate(zip(labels, confusion, strict=True))
        if (share := row[i]) is not None
    )
    width, height = left + size * len(labels) + 8, top + size * len(labels) + 8
    return picture(width, height, body, title=f"Confusion of {of}, {name}, in percent", description=said)


def side_by_side(example: Example, labels: Sequence[str], *, cls: str = "panel-0") -> str:
    """Human votes (upper bar) and panel (lower bar) for each label of one utterance."""
    step, left, span = 27, 74, 130
    body = []
    for c, label in enumerate(labels):
        y = 4 + step * c
        body.append(text(left - 8, y + 14, _cut(label, 10), anchor="end"))
        for k, (share, kind) in enumerate(((example.human[c], "human"), (example.panel[c], cls))):
            width = max(span * share, 0.8)
            body.append(tag("rect", cls=f"bar {kind}", x=left, y=y + 10 * k, width=float(width), height=9))
            body.append(text(left + width + 5, y + 8.5 + 10 * k, f"{100 * share:.0f}", cls="value", anchor="start"))
    said = "; ".join(
        f"{label} {100 * h:.0f} and {100 * p:.0f}"
        for label, h, p in zip(labels, example.human, example.panel, strict=True)
    )
    return picture(
        240,
        6 + step * len(labels),
        body,
        title=f"Human votes and panel for {example.utterance_id}, percent",
        description=said,
    )
