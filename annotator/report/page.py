"""Pages: one environment of templates, one stylesheet, one way to write a page, and one check of where it may lie.

A page is a single HTML file that opens offline, with its figures beside it (.json; an audit has tables, too).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...data.errors import OptionError, OutputError, SerannError
from ...data.files import atomic_file, read_json
from ...data.tables import about_table
from .figures import count, mass_figure

TEMPLATES = Path(__file__).parent / "templates"
ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
ENVIRONMENT.globals.update(
    css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")), count=count, mass_figure=mass_figure
)
SUFFIXES = (".html", ".htm")


def fill(template: str, **context: object) -> str:
    """A template of `templates/` as text, filled with what it names."""
    return ENVIRONMENT.get_template(f"{template}.html.j2").render(context)


class Kind(NamedTuple):
    """A kind of page: its name, whose figures are beside it, the keys that mark these, and its tables' endings."""

    name: str
    owner: str
    keys: frozenset[str]
    tables: tuple[str, ...] = ()


AUDIT = Kind("report", "audit", frozenset({"systems", "panels", "settings"}), (".parquet", ".utterances.parquet"))
EVALUATION = Kind("evaluation", "evaluation", frozenset({"model", "scores", "votes_scored"}))
COMPARISON = Kind("comparison", "comparison", frozenset({"systems", "scores", "differences"}))


def page_files(path: str | Path, kind: Kind) -> list[Path]:
    """The page, its figures and its tables; OptionError where `path` does not end in .html."""
    path = Path(path)
    if path.suffix.casefold() not in SUFFIXES:
        article = "an" if kind.name[0] in "aeiou" else "a"
        raise OptionError(
            f"{article} {kind.name} is one HTML file with its figures beside it; {path} does not end in .html: write "
            f"-o {path.with_suffix('.html') if path.suffix else f'{path}.html'}"
        )
    return [path, *(path.with_suffix(end) for end in (".json", *kind.tables))]


def check_page(path: str | Path, kind: Kind, *, overwrite: bool = False) -> None:
    """Refuse, before anything is computed, a page that could not be written, or would replace what must stay.

    OptionError for a path that does not end in .html. OutputError for a directory, for a place that cannot be written,
    for files that are there (unless `overwrite`), and always for files beside it that belong to something else:
    run.html in a run's folder would replace run.json, votes.html votes.parquet.
    """
    files = page_files(path, kind)
    page, figures, *tables = files
    if page.is_dir():
        raise OutputError(f"{path} is a directory; name a file in it, such as {page / f'{kind.name}.html'}")
    place = next(folder for folder in page.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = "is no directory" if not place.is_dir() else "may not be written to"
        raise OutputError(f"{path} cannot be written: {place} {why}; choose an output that you may write to")
    foreign = f"which is there and is no {kind.owner}'s; choose another name"
    if figures.exists() and not _are_figures(figures, kind):
        raise OutputError(f"the figures of {path} would go to {figures}, {foreign}")
    for table in tables:
        if table.exists() and not str(about_table(table).get("table")).startswith(f"{kind.owner} "):
            raise OutputError(f"a table of {path} would go to {table}, {foreign}")
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already, so no {kind.name} was written; "
            "choose another output, or pass --overwrite to replace it"
        )


def _are_figures(path: Path, kind: Kind) -> bool:
    try:
        return kind.keys <= read_json(path, what=f"{kind.owner}'s figures").keys()
    except SerannError:
        return False


def write_page(page: str, path: Path) -> None:
    """Write a page whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
