"""Pictures of labels and systems, for pages of fusions, evaluations and comparisons; heat maps for an audit's, too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from ...data.scores.intervals import Interval
from ...data.scores.metric import metric_of
from ...data.scores.scoring import THIRDS
from .figures import figure, interval_figure
from .svg import Plot, cut, nice_ticks, picture, short, tag, text, tip

if TYPE_CHECKING:
    from ..fusion.accounts import StratumGain

Document = Mapping[str, Any]
TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1]
# What a distribution is of, and its colour's class in the stylesheet.
COLOURS = {
    "seen votes": "human",
    "proxy": "panel-0",
    "fused": "panel-1",
    "parent": "panel-1",
    "second parent": "panel-4",
    "new utterance": "panel-2",
    "fused, with the new utterances": "panel-2",
}


def number(value: float | None) -> float:
    """A document's number; what JSON made null is NaN."""
    return math.nan if value is None else float(value)


def interval_of(row: Mapping[str, Any]) -> Interval:
    """The value and bounds of a document's row."""
    value, low, high = (number(row[key]) for key in ("value", "low", "high"))
    return Interval(value, low, high, row.get("method", ""), 0)


# --- bars and rows of points, whatever they show


class Bars(NamedTuple):
    """Measures of a picture of bars: a bar's height, the gap below a label's bars, their left edge and full width, the
    longest label, and the picture's width."""

    high: int
    gap: int
    left: int
    width: int
    longest: int
    whole: int


WIDE, NARROW, TWO = Bars(11, 9, 92, 360, 13, 500), Bars(9, 7, 74, 130, 10, 240), Bars(10, 7, 74, 130, 10, 240)


def bars(
    labels: Sequence[str],
    columns: Sequence[tuple[str, str, Sequence[float] | None]],
    size: Bars,
    *,
    title: str,
    description: str = "",
    most: float = 1.0,
    digits: int = 0,
) -> Markup:
    """Bars of each label's share [K], one a column (its name, its colour's class, its shares) below one another.

    A column that is None, and a share that is NaN, leaves its place empty; a share of `most` has the whole width. With
    `digits` behind the point, each bar has a tip.
    """
    step, body = size.high * len(columns) + size.gap, []
    for c, label in enumerate(labels):
        top = 4 + step * c
        body.append(text(size.left - 8, top + step / 2 + 1, cut(label, size.longest), anchor="end"))
        for k, (name, cls, shares) in enumerate(columns):
            if shares is None or math.isnan(shares[c]):
                continue
            y, span = top + size.high * k, float(max(size.width * shares[c] / most, 0.8))
            percent = f"{100 * shares[c]:.{digits}f}"
            inside = tip(f"{label}, {name}: {percent} %") if digits else ""
            body.append(tag("rect", inside, cls=f"bar {cls}", x=size.left, y=y, width=span, height=size.high - 1))
            at = size.left + span + 5
            body.append(text(at, y + size.high - 1.5, percent, cls="value", anchor="start"))
    said = description or "; ".join(
        f"{name}: {', '.join(f'{100 * share:.{digits}f}' for share in shares)}"
        for name, _, shares in columns
        if shares is not None
    )
    return picture(size.whole, 6 + step * len(labels), body, title=title, description=said)


class Point(NamedTuple):
    """A row of a picture of points: its name, its value with an interval, its colour's class, its size, its tip."""

    name: str
    value: Interval
    cls: str
    radius: float
    tip: str


def points(
    rows: Sequence[Point], ticks: Sequence[float], *, left: int, width: int, step: int, zero: bool = False
) -> tuple[list[str], int]:
    """Values with their intervals, a row each, over the scale of the ticks; with them, where the rows end below. A
    line at 0 where there is to be a `zero`."""
    top, bottom = 6, 6 + step * len(rows)

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * width

    body = [tag("line", cls="grid", x1=x(t), x2=x(t), y1=top, y2=bottom) for t in ticks]
    body += [text(x(t), bottom + 16, short(t)) for t in ticks]
    if zero:
        body.append(tag("line", cls="diagonal", x1=x(0), x2=x(0), y1=top, y2=bottom))
    for place, row in enumerate(rows):
        y, (value, low, high, *_) = top + step * (place + 0.5), row.value
        body.append(text(left - 9, y + 4, row.name, anchor="end", cls="label"))
        if math.isfinite(low) and math.isfinite(high):
            body.append(tag("line", cls=f"whisker {row.cls}", x1=x(low), x2=x(high), y1=y, y2=y))
        if math.isfinite(value):
            body.append(tag("circle", tip(row.tip), cls=f"mark {row.cls}", cx=x(value), cy=y, r=row.radius))
    return body, bottom


def heat_map(
    name: str,
    confusion: Sequence[Sequence[float | None]],
    labels: Sequence[str],
    *,
    of: str = "mass",
    heads: tuple[str, str] = ("humans said", "mass on …"),
) -> Markup:
    """Mean mass of a panel (columns) given human mass on a label (rows), in percent; or what else `of` and the heads of
    rows and columns name.
    """
    size, left, top = 52, 92, 62
    body = [text(left + size * len(labels) / 2, 16, f"{cut(name, 30)}: {heads[1]}", cls="name")]
    body.append(text(left - 10, 46, heads[0], cls="name", anchor="end"))
    for c, label in enumerate(labels):
        body.append(text(left + size * (c + 0.5), top - 10, cut(label, 9)))
        body.append(text(left - 10, top + size * (c + 0.5) + 4, cut(label, 12), anchor="end"))
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


def _ends(values: Iterable[Interval]) -> list[float]:
    """All finite values and bounds."""
    return [x for value in values for x in value[:3] if math.isfinite(x)]


# --- fusions


def gains(strata: Sequence[StratumGain]) -> Markup:
    """The gain of the proxy model over the human mixture by stratum, with intervals; won strata are larger."""
    rows = []
    for s in strata:
        if s.gain is not None:
            own = Interval(s.gain, number(s.low), number(s.high), "", s.speakers)
            words = f"{s.stratum}: {interval_figure(own)}; {s.reason}"
            rows.append(Point(s.stratum, own, "panel-1" if s.won else "panel-0", 4.5 if s.won else 3.0, words))
    ends = _ends(row.value for row in rows)
    ticks = nice_ticks(min(0.0, *ends), max(0.0, *ends)) if ends else [0.0, 1.0]
    body, bottom = points(rows, ticks, left=170, width=340, step=22, zero=True)
    body.append(text(170 + 340 / 2, bottom + 34, "gain in log score a seen vote", cls="name"))
    title = "Gain of the proxy model over the human mixture, by stratum"
    said = "; ".join(f"{row.name} {interval_figure(row.value)}" for row in rows)
    return picture(530, bottom + 44, body, title=title, description=said)


def shares(labels: Sequence[str], columns: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Bars of each label's share, one a column (its name in COLOURS, its shares [K])."""
    most = max((v for _, values in columns for v in values), default=1.0) or 1.0
    drawn = [(name, COLOURS[name], values) for name, values in columns]
    return bars(labels, drawn, WIDE, title="Shares of the labels, in percent", most=most, digits=1)


def stacked(title: str, labels: Sequence[str], columns: Sequence[tuple[str, Sequence[float] | None]]) -> Markup:
    """One utterance's distributions, a bar each for every label."""
    drawn = [(name, COLOURS[name], values) for name, values in columns]
    return bars(labels, drawn, NARROW, title=f"Distributions of {title}, in percent")


# --- evaluations and comparisons


def reliability_picture(doc: Document) -> Markup:
    """Agreement with people against the confidence of the answer, a dot a bin, as large as the bin holds utterances."""
    bins = [row for row in doc["calibration"]["top_label"] if row["utterances"]]
    plot = Plot(52, 34, 300, 236, TENTHS, TENTHS)
    body = plot.axes(x_label="probability of the top label", y_label="agreement with the plurality")
    body.append(plot.line([(0, 0), (1, 1)], cls="diagonal"))
    most = max((row["utterances"] for row in bins), default=1)
    body.append(plot.line([(row["confidence"], row["agreement"]) for row in bins], cls="curve thin panel-0"))
    for row in bins:
        words = f"{row['utterances']} utterances: said {row['confidence']:.2f}, agreed {row['agreement']:.2f}"
        size = 2.5 + 6 * math.sqrt(row["utterances"] / most)
        body.append(plot.dot(row["confidence"], row["agreement"], cls="mark panel-0", r=size, title=words))
    said = "; ".join(f"{row['confidence']:.2f}: {row['agreement']:.2f}" for row in bins)
    return picture(390, 312, body, title="Reliability of the top label", description=said)


def f1_bars(doc: Document) -> Markup:
    """F1 of each label as a bar with its interval; a label never hit is a bar of no length with its 0."""
    rows, step, left, span = doc["classes"]["labels"], 26, 92, 240
    body = []
    for place, row in enumerate(rows):
        y, (value, low, high, *_) = 6 + step * place, interval_of(row["f1"])
        body.append(text(left - 8, y + 13, row["label"][:12], anchor="end"))
        body.append(tag("rect", cls="bar panel-0", x=left, y=y, width=max(span * value, 0.8), height=17))
        if not math.isnan(low):
            first, last, at = left + span * low, left + span * high, y + 8.5
            body.append(tag("line", cls="axis", x1=first, x2=last, y1=at, y2=at))
        words = f"{value:.2f} (n = {row['support']:.1f})"
        body.append(text(left + span + 8, y + 13, words, cls="value", anchor="start"))
    said = "; ".join(f"{row['label']} {number(row['f1']['value']):.2f}" for row in rows)
    return picture(left + span + 90, 12 + step * len(rows), body, title="F1 by label", description=said)


def heat(doc: Document) -> Markup:
    """The confusion's rows as shares: likeliest answers to the utterances of each human plurality."""
    shares = [
        [None if not (total := sum(row)) else value / total for value in row] for row in doc["classes"]["confusion"]
    ]
    labels = [row["label"] for row in doc["classes"]["labels"]]
    return heat_map(doc["model"], shares, labels, of="likeliest answers", heads=("human plurality", "likeliest answer"))


def own_uars(doc: Document) -> Markup:
    """Every speaker's own UAR in ascending order, with lines at .50 and .75."""
    own = sorted(row["uar"][0] for row in doc["by_speaker"]["own"])
    plot = Plot(52, 34, 330, 236, [0, max(len(own) - 1, 1)], TENTHS)
    body = plot.axes(x_label="speakers, worst heard first", y_label="own UAR", x_ticks=[])
    for at in (0.5, 0.75):
        body.append(plot.level(at, cls="level constant"))
        body.append(text(plot.right + 8, plot.y(at) + 4, f"{at:.2f}", cls="label constant", anchor="start"))
    body += [plot.dot(place, uar, cls="mark panel-0", r=2.6) for place, uar in enumerate(own)]
    said = f"{len(own)} speakers from {own[0]:.2f} to {own[-1]:.2f}, median {own[len(own) // 2]:.2f}"
    return picture(420, 312, body, title="UAR of each speaker", description=said)


def by_third(doc: Document, metric: str) -> Markup:
    """A score in the thirds by ambiguity, of the model and of the constant."""
    systems = {doc["model"]: "panel-0", "constant": "panel-1"}
    rows = {
        (row["system"], row["stratum"]): interval_of(row)
        for row in doc["scores"]
        if row["metric"] == metric and row["stratum"] in THIRDS
    }
    values = _ends(rows.values())
    plot = Plot(52, 34, 300, 236, [-0.5, 2.5], nice_ticks(min([0, *values]), max([0.1, *values])))
    body = plot.axes(x_label="third by human ambiguity", y_label=metric, x_ticks=[])
    body += [text(plot.x(place), plot.bottom + 17, third) for place, third in enumerate(THIRDS)]
    for shift, line, (system, cls) in zip((-0.08, 0.08), (24, 9), systems.items(), strict=True):
        body.append(text(plot.left + 8, plot.bottom - line, system[:30], cls=f"label {cls}", anchor="start"))
        for place, third in enumerate(THIRDS):
            if (system, third) in rows:
                body += _point(plot, place + shift, rows[system, third], cls)
    said = "; ".join(f"{system} {third}: {figure(row.value)}" for (system, third), row in rows.items())
    return picture(390, 312, body, title=f"{metric} by ambiguity", description=said)


def noise_lines(doc: Document, metric: str) -> Markup:
    """A score against the signal-to-noise ratio, a line a kind of noise, side by side, and its level without noise."""
    rows = {(row["noise"], row["snr"]): interval_of(row) for row in doc["noise"] if row["metric"] == metric}
    kinds = list(dict.fromkeys(kind for kind, _ in rows))
    snrs = sorted({snr for _, snr in rows})
    clean = next(
        number(row["value"])
        for row in doc["scores"]
        if (row["system"], row["stratum"], row["metric"]) == (doc["model"], "all", metric)
    )
    values = [clean, *_ends(rows.values())]
    span = [snrs[0] - 1, snrs[-1] + 1]
    plot = Plot(52, 34, 300, 236, span, nice_ticks(min([0, *values]), max([0.1, *values])))
    body = plot.axes(x_label="signal-to-noise ratio, dB", y_label=metric, x_ticks=snrs)
    body.append(plot.level(clean, cls="level constant"))
    if math.isfinite(clean):
        # on the side where noise does not draw the lines
        aside = 14 if metric_of(metric).better == "lower" else -5
        words = f"without noise {figure(clean)}"
        body.append(text(plot.left + plot.width / 2, plot.y(clean) + aside, words, cls="label constant"))
    apart = 0.03 * (span[1] - span[0])
    for place, kind in enumerate(kinds):
        cls, aside = f"panel-{place % 5}", apart * (place - (len(kinds) - 1) / 2)
        drawn = [(snr + aside, row) for (of, snr), row in rows.items() if of == kind]
        body.append(plot.line([(snr, row.value) for snr, row in drawn], cls=f"curve thin {cls}"))
        for snr, row in drawn:
            body += _point(plot, snr, row, cls)
        body.append(text(plot.left + 100 * place, plot.bottom + 56, kind, cls=f"label {cls}", anchor="start"))
    said = "; ".join(f"{kind} {snr:g} dB {figure(row.value)}" for (kind, snr), row in rows.items())
    return picture(390, 332, body, title=f"{metric} under noise", description=f"without noise {figure(clean)}; {said}")


def by_system(doc: Document, metric: str) -> Markup:
    """A score of each system of a comparison, with its own interval, in a row."""
    own = {row["system"]: interval_of(row) for row in doc["scores"] if row["metric"] == metric}
    rows = [
        Point(name[-20:], row, f"panel-{1 if name == 'constant' else 0}", 4.0, interval_figure(row))
        for name, row in own.items()
    ]
    values = _ends(own.values())
    ticks = nice_ticks(min(values, default=0.0), max(values, default=1.0), count=4)
    body, bottom = points(rows, ticks, left=150, width=240, step=26)
    said = "; ".join(f"{name} {figure(row.value)}" for name, row in own.items())
    return picture(410, bottom + 24, body, title=f"{metric} of each system", description=said)


def _point(plot: Plot, x: float, row: Interval, cls: str) -> list[str]:
    if not math.isfinite(row.value):
        return []
    return [
        plot.whisker(x, row.low, row.high, cls=f"whisker {cls}"),
        plot.dot(x, row.value, cls=f"mark {cls}", title=interval_figure(row)),
    ]
