"""The pictures of an evaluation's page, from its document."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .definitions import LOWER, definition
from .figures import figure
from .pictures import heat_map
from .svg import Plot, nice_ticks, picture, tag, text

Document = Mapping[str, Any]
TENTHS = [0, 0.2, 0.4, 0.6, 0.8, 1]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def reliability_picture(doc: Document) -> str:
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


def f1_bars(doc: Document) -> str:
    """F1 of each label as a bar with its interval; a label never hit is a bar of no length with its 0."""
    rows, step, left, span = doc["classes"]["labels"], 26, 92, 240
    body = []
    for place, row in enumerate(rows):
        y, f1 = 6 + step * place, row["f1"]
        value, low, high = (_number(f1[key]) for key in ("value", "low", "high"))
        body.append(text(left - 8, y + 13, row["label"][:12], anchor="end"))
        body.append(tag("rect", cls="bar panel-0", x=left, y=y, width=max(span * value, 0.8), height=17))
        if not math.isnan(low):
            first, last, at = left + span * low, left + span * high, y + 8.5
            body.append(tag("line", cls="axis", x1=first, x2=last, y1=at, y2=at))
        words = f"{value:.2f} (n = {row['support']:.1f})"
        body.append(text(left + span + 8, y + 13, words, cls="value", anchor="start"))
    said = "; ".join(f"{row['label']} {_number(row['f1']['value']):.2f}" for row in rows)
    return picture(left + span + 90, 12 + step * len(rows), body, title="F1 by label", description=said)


def heat(doc: Document) -> str:
    """The confusion's rows as shares: likeliest answers to the utterances of each human plurality."""
    shares = [
        [None if not (total := sum(row)) else value / total for value in row] for row in doc["classes"]["confusion"]
    ]
    labels = [row["label"] for row in doc["classes"]["labels"]]
    return heat_map(doc["model"], shares, labels, of="likeliest answers", heads=("human plurality", "likeliest answer"))


def own_uars(doc: Document) -> str:
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


def by_third(doc: Document, metric: str) -> str:
    """A score in the thirds by ambiguity, of the model and of the constant."""
    systems = {doc["model"]: "panel-0", "constant": "panel-1"}
    rows = {(row["system"], row["stratum"]): row for row in doc["scores"] if row["metric"] == metric}
    thirds = ("low", "medium", "high")
    known = [rows[system, third] for system in systems for third in thirds if (system, third) in rows]
    values = [x for row in known for x in map(_number, (row["value"], row["low"], row["high"])) if math.isfinite(x)]
    plot = Plot(52, 34, 300, 236, [-0.5, 2.5], nice_ticks(min([0, *values]), max([0.1, *values])))
    body = plot.axes(x_label="third by human ambiguity", y_label=metric, x_ticks=[])
    body += [text(plot.x(place), plot.bottom + 17, third) for place, third in enumerate(thirds)]
    for shift, line, (system, cls) in zip((-0.08, 0.08), (24, 9), systems.items(), strict=True):
        body.append(text(plot.left + 8, plot.bottom - line, system[:30], cls=f"label {cls}", anchor="start"))
        for place, third in enumerate(thirds):
            if (system, third) in rows:
                body += _point(plot, place + shift, rows[system, third], cls)
    said = "; ".join(f"{s} {t}: {figure(_number(row['value']))}" for (s, t), row in rows.items() if t in thirds)
    return picture(390, 312, body, title=f"{metric} by ambiguity", description=said)


def noise_lines(doc: Document, metric: str) -> str:
    """A score against the signal-to-noise ratio, a line a kind of noise, side by side, and its level without noise."""
    rows = [row for row in doc["noise"] if row["metric"] == metric]
    kinds = list(dict.fromkeys(row["noise"] for row in rows))
    snrs = sorted({row["snr"] for row in rows})
    clean = next(
        _number(row["value"])
        for row in doc["scores"]
        if (row["system"], row["stratum"], row["metric"]) == (doc["model"], "all", metric)
    )
    values = [x for row in rows for x in map(_number, (row["value"], row["low"], row["high"])) if math.isfinite(x)]
    plot = Plot(52, 34, 300, 236, _span(snrs), nice_ticks(min([0, clean, *values]), max([0.1, clean, *values])))
    body = plot.axes(x_label="signal-to-noise ratio, dB", y_label=metric, x_ticks=snrs)
    body.append(plot.level(clean, cls="level constant"))
    if math.isfinite(clean):
        # on the side where noise does not draw the lines
        aside = 14 if definition(metric, bins=0).better == LOWER else -5
        words = f"without noise {figure(clean)}"
        body.append(text(plot.left + plot.width / 2, plot.y(clean) + aside, words, cls="label constant"))
    apart = 0.03 * (plot.xs[-1] - plot.xs[0])
    for place, kind in enumerate(kinds):
        cls, aside = f"panel-{place % 5}", apart * (place - (len(kinds) - 1) / 2)
        points = [(row["snr"] + aside, row) for row in rows if row["noise"] == kind]
        body.append(plot.line([(snr, _number(row["value"])) for snr, row in points], cls=f"curve thin {cls}"))
        for snr, row in points:
            body += _point(plot, snr, row, cls)
        body.append(text(plot.left + 100 * place, plot.bottom + 56, kind, cls=f"label {cls}", anchor="start"))
    said = "; ".join(f"{row['noise']} {row['snr']:g} dB {figure(_number(row['value']))}" for row in rows)
    return picture(390, 332, body, title=f"{metric} under noise", description=f"without noise {figure(clean)}; {said}")


def by_system(doc: Document, metric: str) -> str:
    """A score of each system of a comparison, with its own interval, in a row."""
    rows = [row for row in doc["scores"] if row["metric"] == metric]
    values = [x for row in rows for x in map(_number, (row["value"], row["low"], row["high"])) if math.isfinite(x)]
    height, left = 26 * len(rows), 150
    ticks = nice_ticks(min(values, default=0.0), max(values, default=1.0), count=4)
    span, body = ticks[-1] - ticks[0], []

    def x(value: float) -> float:
        return left + 240 * (value - ticks[0]) / span

    for tick in ticks:
        body.append(tag("line", cls="grid", x1=x(tick), x2=x(tick), y1=6, y2=height + 6))
        body.append(text(x(tick), height + 22, f"{tick:.10g}".replace("-", "−")))
    for place, row in enumerate(rows):
        y, cls = 19.0 + 26 * place, f"panel-{1 if row['system'] == 'constant' else 0}"
        body.append(text(left - 8, y + 4, row["system"][-20:], anchor="end"))
        value, low, high = (_number(row[key]) for key in ("value", "low", "high"))
        if math.isfinite(low) and math.isfinite(high):
            body.append(tag("line", cls=f"whisker {cls}", x1=x(low), x2=x(high), y1=y, y2=y))
        if math.isfinite(value):
            inside = tag("title", figure(value, low, high))
            body.append(tag("circle", inside, cls=f"mark {cls}", cx=x(value), cy=y, r=4.0))
    said = "; ".join(f"{row['system']} {figure(_number(row['value']))}" for row in rows)
    return picture(left + 260, height + 30, body, title=f"{metric} of each system", description=said)


def _span(snrs: Sequence[float]) -> list[float]:
    return [snrs[0] - 1, snrs[-1] + 1]


def _point(plot: Plot, x: float, row: Mapping[str, Any], cls: str) -> list[str]:
    value, low, high = (_number(row[key]) for key in ("value", "low", "high"))
    if not math.isfinite(value):
        return []
    return [
        plot.whisker(x, low, high, cls=f"whisker {cls}"),
        plot.dot(x, value, cls=f"mark {cls}", title=figure(value, low, high)),
    ]
