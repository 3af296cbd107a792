"""The frame of a page of scores that opens offline, with its figures beside it (.json), and what may be replaced."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...data.errors import OptionError, OutputError, SerannError
from ...data.files import atomic_file, finite, read_json, write_json
from ...data.scores.intervals import Interval
from .definitions import definitions
from .html import cell

Document = Mapping[str, Any]
# What marks the figures of each kind of page.
KEYS: dict[str, Collection[str]] = {
    "evaluation": ("model", "scores", "votes_scored"),
    "comparison": ("systems", "scores", "differences"),
}


def check_page(path: Path, kind: str, *, overwrite: bool = False) -> None:
    """Refuse, before anything is computed, a page that could not be written or would replace what must stay."""
    what = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if path.suffix.casefold() not in (".html", ".htm"):
        raise OptionError(
            f"{what} is one HTML file with its figures beside it; {path} does not end in .html: write "
            f"-o {path.with_suffix('.html') if path.suffix else f'{path}.html'}"
        )
    if path.is_dir():
        raise OutputError(f"{path} is a directory; name a file in it, such as {path / f'{kind}.html'}")
    figures = path.with_suffix(".json")
    if figures.exists() and not _is(kind, figures):
        raise OutputError(
            f"the figures of {path} would go to {figures}, which is there and is no {kind}'s; choose another name"
        )
    there = [str(file) for file in (path, figures) if file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already, so no {kind} was written; "
            "choose another output, or pass --overwrite to replace it"
        )


def _is(kind: str, path: Path) -> bool:
    try:
        return set(KEYS[kind]) <= read_json(path, what=f"{kind}'s figures").keys()
    except SerannError:
        return False


def write_page(document: Document, path: Path, render: Callable[[Document], str]) -> None:
    """Write the page, and the document as JSON beside it, both with serann's version and today's date."""
    dated = {"serann": version("serann"), "date": date.today().isoformat(), **document}
    with atomic_file(path) as partial:
        partial.write_text(render(dated), encoding="utf-8")
    write_json(path.with_suffix(".json"), finite(dated))


def framed_page(title: str, document: Document, sections: Iterable[str]) -> str:
    """The page as text."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    made = f"<footer>Made by serann {escape(document['serann'])} on {escape(document['date'])}.</footer>\n"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{''.join(sections)}{made}"
        "</main>\n</body>\n</html>\n"
    )


def interval(row: Mapping[str, Any]) -> Interval:
    """A row's value and bounds; what JSON made null is NaN."""
    value, low, high = (math.nan if row[key] is None else row[key] for key in ("value", "low", "high"))
    return Interval(value, low, high, row.get("method", ""), 0)


def score_cell(row: Mapping[str, Any] | None) -> str:
    """A value over its interval, or a dash."""
    return cell(None if row is None else interval(row))


def section(title: str, *parts: str) -> str:
    """A section under its heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n"


def small_print(words: str) -> str:
    """A paragraph of explanation, escaped."""
    return f'<p class="note">{escape(words)}</p>'


def banners(document: Document) -> str:
    """The document's warnings, then its notes."""
    found = "".join(f'<p class="banner" role="note">{escape(text)}</p>' for text in document["warnings"])
    return found + "".join(small_print(text) for text in document["notes"])


def what_they_are(metrics: Iterable[str], *, bins: int) -> str:
    """The section that says what each score is, a line each."""
    lines = "".join(
        f"<dt>{escape(metric)} ({found.better} is better)</dt><dd>{escape(found.words)}</dd>"
        for metric, found in definitions(metrics, bins=bins).items()
    )
    about = small_print(
        "Means over utterances; q is the answer to an utterance, a tie shares. '–' is undefined or absent."
    )
    return section("What the scores are", about, f"<dl>{lines}</dl>")
