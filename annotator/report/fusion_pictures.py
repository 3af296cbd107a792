"""The pictures of a fusion's report: gains by stratum, shares of the labels, and distributions one above another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..fusion.accounts import StratumGain
from .figures import figure
from .svg import nice_ticks, picture, tag, text

# What a distribution is of, and its colour's class in the audit's style sheet.
COLOURS = {
    "seen votes": "human",
    "proxy": "panel-0",
    "fused": "panel-1",
    "parent": "panel-1",
    "second parent": "panel-4",
    "new utterance": "panel-2",
    "fused, with the new utterances": "panel-2",
}


def gains(strata: Sequence[StratumGain]) -> str:
    """The gain of the proxy model over the human mixture by stratum, with intervals; won strata are filled."""
    shown = [s for s in strata if s.gain is not None]
    ends = [v for s in shown for v in (s.gain, s.low, s.high) if v is not None]
    ticks = nice_ticks(min(0.0, *ends), max(0.0, *ends)) if ends else [0.0, 1.0]
    step, left, width, top = 22, 170, 340, 12
    bottom = top + step * len(shown)

    def x(value: float) -> float:
        return left + (value - ticks[0]) / (ticks[-1] - ticks[0]) * width

    body = [tag("line", cls="grid", x1=x(t), x2=x(t), y1=top, y2=bottom) for t in ticks]
    body += [text(x(t), bottom + 16, f"{t:.10g}".replace("-", "−")) for t in ticks]
    body.append(tag("line", cls="diagonal", x1=x(0), x2=x(0), y1=top, y2=bottom))
    for i, s in enumerate(shown):
        assert s.gain is not None
        y, cls = top + step * (i + 0.5), "panel-1" if s.won else "panel-0"
        body.append(text(left - 10, y + 4, s.stratum, anchor="end", cls="label"))
        if s.low is not None and s.high is not None:
            body.append(tag("line", cls=f"whisker {cls}", x1=x(s.low), x2=x(s.high), y1=y, y2=y))
        said = f"{s.stratum}: {_gain(s)}; {s.reason}"
        shape = f"mark {cls}"
        body.append(tag("circle", tag("title", said), cls=shape, cx=x(s.gain), cy=y, r=4.5 if s.won else 3.0))
    body.append(text(left + width / 2, bottom + 34, "gain in log score a seen vote", cls="name"))
    title = "Gain of the proxy model over the human mixture, by stratum"
    return picture(530, bottom + 44, body, title=title, description="; ".join(f"{s.stratum} {_gain(s)}" for s in shown))


def _gain(s: StratumGain) -> str:
    assert s.gain is not None
    return figure(s.gain, s.low, s.high)


def shares(labels: Sequence[str], columns: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Bars of each label's share, one a column (its name in COLOURS, its shares [K])."""
    high, left, width = 11, 92, 360
    step = high * len(columns) + 9
    most = max((v for _, values in columns for v in values), default=1.0) or 1.0
    body = []
    for c, label in enumerate(labels):
        top = 4 + step * c
        body.append(text(left - 8, top + step / 2, label if len(label) < 14 else f"{label[:12]}…", anchor="end"))
        for k, (name, values) in enumerate(columns):
            y, span = top + high * k, max(width * values[c] / most, 0.8)
            inside = tag("title", f"{label}, {name}: {100 * values[c]:.1f} %")
            body.append(
                tag("rect", inside, cls=f"bar {COLOURS[name]}", x=left, y=y, width=float(span), height=high - 2)
            )
            body.append(text(left + span + 5, y + 8, f"{100 * values[c]:.1f}", cls="value", anchor="start"))
    said = "; ".join(f"{name}: {', '.join(f'{100 * v:.1f}' for v in values)}" for name, values in columns)
    return picture(500, 6 + step * len(labels), body, title="Shares of the labels, in percent", description=said)


def stacked(title: str, labels: Sequence[str], columns: Sequence[tuple[str, Sequence[float] | None]]) -> str:
    """One utterance's distributions, a bar each for every label; a column that is None leaves its place empty."""
    high, left, width = 9, 74, 130
    step = high * len(columns) + 7
    body = []
    for c, label in enumerate(labels):
        top = 4 + step * c
        body.append(text(left - 8, top + step / 2 + 1, label if len(label) < 11 else f"{label[:9]}…", anchor="end"))
        for k, (name, values) in enumerate(columns):
            if values is None or math.isnan(values[c]):
                continue
            y, span = top + high * k, max(width * values[c], 0.8)
            body.append(tag("rect", cls=f"bar {COLOURS[name]}", x=left, y=y, width=float(span), height=high - 1))
            body.append(text(left + span + 5, y + 7.5, f"{100 * values[c]:.0f}", cls="value", anchor="start"))
    said = "; ".join(
        f"{what}: {', '.join(f'{100 * v:.0f}' for v in values)}" for what, values in columns if values is not None
    )
    return picture(240, 6 + step * len(labels), body, title=f"Distributions of {title}, in percent", description=said)
