"""HTML tables whose cells are a figure over its interval, and pictures with their captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from .figures import figure


def table(caption: str, head: Sequence[str], rows: Iterable[tuple[str, Sequence[str], str]]) -> str:
    """An HTML table; each row is its name, its cells (HTML) and its class."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr class="{cls}"><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, cells, cls in rows
    )
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cell(row: ScoreRow | Interval | None, digits: int = 3) -> str:
    """A figure over its interval."""
    if row is None:
        return "–"
    interval = bounds(row, digits)
    return figure(row.value, digits=digits) + (f"<small>{interval}</small>" if interval else "")


def bounds(row: ScoreRow | Interval, digits: int = 3) -> str:
    """The interval in brackets, or nothing where it is undefined."""
    shown = figure(row.value, row.low, row.high, digits=digits)
    return shown[shown.index("[") :] if "[" in shown else ""


def framed(number: str, picture: str, caption: str, *, cls: str = "") -> str:
    """A picture over its number and caption (HTML)."""
    return f'<figure class="{cls}">{picture}<figcaption>{number} {caption}</figcaption></figure>'
