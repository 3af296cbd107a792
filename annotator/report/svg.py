"""Small pieces of inline SVG: tags, ticks, and a plot frame with axes. Colours are classes of `report.css`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup


def tag(name: str, content: str | Iterable[str] = "", **attributes: object) -> str:
    """An element; `cls` stands for class, underscores in names for hyphens, None leaves an attribute out.

    >>> tag("text", "a < b", cls="tick", text_anchor="end")
    '<text class="tick" text-anchor="end">a < b</text>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None:
            continue
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        parts.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{escape(shown)}"')
    body = content if isinstance(content, str) else "".join(content)
    return f"<{' '.join(parts)}>{body}</{name}>"


def text(x: float, y: float, words: str, *, cls: str = "tick", anchor: str = "middle") -> str:
    """A line of text at a point, escaped."""
    return tag("text", escape(words), cls=cls, x=float(x), y=float(y), text_anchor=anchor)


def tip(words: str) -> str:
    """What is shown over an element, escaped."""
    return tag("title", escape(words))


def picture(width: int, height: int, body: Iterable[str], *, title: str, description: str) -> Markup:
    """A whole picture with its title and description for those who cannot see it."""
    inside = [tip(title), tag("desc", escape(description)), *body]
    whole = tag("svg", inside, viewBox=f"0 0 {width} {height}", role="img", aria_label=f"{title}. {description}")
    return Markup(whole)


def nice_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about `count` of them.

    >>> nice_ticks(0, 0.53)
    [0.0, 0.2, 0.4, 0.6]
    """
    if not high > low:
        high = low + 1
    rough = (high - low) / count
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Plot:
    """A frame in pixels and the values its axes span; y grows upwards."""

    left: float
    top: float
    width: float
    height: float
    xs: Sequence[float]
    ys: Sequence[float]

    def x(self, value: float) -> float:
        return self.left + (value - self.xs[0]) / (self.xs[-1] - self.xs[0]) * self.width

    def y(self, value: float) -> float:
        return self.top + self.height - (value - self.ys[0]) / (self.ys[-1] - self.ys[0]) * self.height

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def axes(self, *, x_label: str, y_label: str, x_ticks: Sequence[float] | None = None) -> list[str]:
        """Grid lines, tick labels and names of both axes."""
        found = []
        for value in self.ys:
            y = self.y(value)
            found.append(tag("line", cls="grid", x1=self.left, x2=self.right, y1=y, y2=y))
            found.append(text(self.left - 7, y + 4, short(value), anchor="end"))
        for value in self.xs if x_ticks is None else x_ticks:
            found.append(text(self.x(value), self.bottom + 17, short(value)))
        found.append(tag("line", cls="axis", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom))
        found.append(text(self.left + self.width / 2, self.bottom + 36, x_label, cls="name"))
        found.append(text(self.left - 40, self.top - 12, y_label, cls="name", anchor="start"))
        return found

    def line(self, points: Sequence[tuple[float, float]], *, cls: str) -> str:
        """A polyline through values."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return tag("polyline", cls=cls, points=path)

    def level(self, value: float, *, cls: str) -> str:
        """A horizontal line across the frame."""
        return tag("line", cls=cls, x1=self.left, x2=self.right, y1=self.y(value), y2=self.y(value))

    def band(self, low: float, high: float, *, cls: str) -> str:
        """A horizontal band across the frame, cut at its edges."""
        top, bottom = (min(max(self.y(v), self.top), self.bottom) for v in (high, low))
        return tag("rect", cls=cls, x=self.left, y=top, width=self.width, height=max(bottom - top, 0.0))

    def whisker(self, x: float, low: float, high: float, *, cls: str) -> str:
        """A vertical interval at x; nothing where it is undefined."""
        if math.isnan(low) or math.isnan(high):
            return ""
        return tag("line", cls=cls, x1=self.x(x), x2=self.x(x), y1=self.y(low), y2=self.y(high))

    def dot(self, x: float, y: float, *, cls: str, r: float = 4, title: str | None = None) -> str:
        """A point, with a tooltip where a title is given."""
        inside = tip(title) if title else ""
        return tag("circle", inside, cls=cls, cx=self.x(x), cy=self.y(y), r=float(r))


def cut(words: str, most: int) -> str:
    """At most so many signs of a name, the last of them an ellipsis where it is longer."""
    return words if len(words) <= most else words[: most - 1] + "…"


def short(value: float) -> str:
    """A tick's number."""
    return f"{value:.10g}".replace("-", "−")


def spread_labels(
    places: Sequence[float], *, least: float = 14, top: float = 0, bottom: float = math.inf
) -> list[float]:
    """Move label positions apart so that none is nearer than `least` to another, in the order they have.

    >>> spread_labels([10, 12, 50])
    [4.0, 18.0, 50.0]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[tuple[float, list[int]]] = []
    for i in order:
        groups.append((float(places[i]), [i]))
        while len(groups) > 1 and _edge(groups[-2], least, 1) > _edge(groups[-1], least, -1):
            (a, left), (b, right) = groups[-2:]
            middle = (a * len(left) + b * len(right)) / (len(left) + len(right))
            groups[-2:] = [(middle, left + right)]
    found = [0.0] * len(places)
    for middle, members in groups:
        half = least * (len(members) - 1) / 2
        middle = min(max(middle, top + half), bottom - half)
        for k, i in enumerate(members):
            found[i] = middle - half + k * least
    return found


def _edge(group: tuple[float, list[int]], least: float, side: int) -> float:
    return group[0] + side * least * len(group[1]) / 2
