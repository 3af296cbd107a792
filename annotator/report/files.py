"""A report's files: the page (.html), its figures (.json, .parquet), all utterances' scores (.utterances.parquet)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.corpus import Corpus
from ...data.errors import OptionError, OutputError, SerannError
from ...data.files import atomic_file, read_json, write_json
from ...data.tables import METADATA_KEY, about_table
from ..audit.result import AuditResult
from .audit_page import render
from .audit_words import (
    agreement_in_words,
    answers,
    controls_in_words,
    cues_in_words,
    failures_in_words,
    notes_in_words,
    saturation_in_words,
    sensitivity_in_words,
)
from .figure_table import figure_table
from .utterance_table import utterance_table

SUFFIXES = (".html", ".htm")
FORMAT = 1


class ReportFiles(NamedTuple):
    """Where a report's page, its figures as JSON and as a table, and the table of utterances lie."""

    page: Path
    figures: Path
    table: Path
    utterances: Path


def report_files(path: str | Path) -> ReportFiles:
    """The files of a report whose page is `path`; OptionError where that does not end in .html."""
    path = Path(path)
    if path.suffix.casefold() not in SUFFIXES:
        raise OptionError(
            f"a report is one HTML file with its figures beside it; {path} does not end in .html: write "
            f"-o {path.with_suffix('.html') if path.suffix else f'{path}.html'}"
        )
    return ReportFiles(path, *(path.with_suffix(end) for end in (".json", ".parquet", ".utterances.parquet")))


def check_report(path: str | Path, *, overwrite: bool = False) -> None:
    """Refuse, before anything is computed, a report that could not be written, or would replace what must stay.

    OptionError for a path that does not end in .html. OutputError for a directory, for a place that cannot be written,
    for files that are there (unless `overwrite`), and always for files beside it that are no audit's: run.html in a
    run's folder would replace run.json, votes.html votes.parquet.
    """
    files = report_files(path)
    if files.page.is_dir():
        raise OutputError(f"{path} is a directory; name a file in it, such as {files.page / 'report.html'}")
    place = next(folder for folder in files.page.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        why = "is no directory" if not place.is_dir() else "may not be written to"
        raise OutputError(f"{path} cannot be written: {place} {why}; choose an output that you may write to")
    if files.figures.exists() and not _is_figures(files.figures):
        raise OutputError(
            f"the figures of {path} would go to {files.figures}, which is there and is no audit's; choose another name"
        )
    for table in (files.table, files.utterances):
        if table.exists() and not str(about_table(table).get("table")).startswith("audit "):
            raise OutputError(
                f"a table of {path} would go to {table}, which is there and is no audit's; choose another name"
            )
    there = [str(file) for file in files if file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already, so no report was written; choose "
            "another output, or pass --overwrite to replace it"
        )


def _is_figures(path: Path) -> bool:
    try:
        return {"systems", "panels", "settings"} <= read_json(path, what="audit's figures").keys()
    except SerannError:
        return False


def document(result: AuditResult) -> dict[str, Any]:
    """An audit as JSON: its numbers, and among them the answers and notes in words."""
    whole = result.to_json()
    _put(whole, "answers", answers(result), after="reference")
    whole["notes"] = notes_in_words(result.notes)
    for detail, found in zip(whole["details"], result.details, strict=True):
        _put(detail["agreement"], "answer", agreement_in_words(found.agreement), after="normalised_kappa_x")
        _put(detail["saturation"], "answer", saturation_in_words(found.saturation), after="curves")
        detail["failures"]["answer"] = failures_in_words(found.failures)
    heard = result.listening
    if heard is None:
        return whole
    listening, level = whole["listening"], result.settings["level"]
    if heard.controls is not None:
        listening["controls"]["answer"] = controls_in_words(heard.controls)
    if heard.sensitivity is not None:
        _put(listening["sensitivity"], "answer", sensitivity_in_words(heard.sensitivity), after="between")
    for one, other in zip(listening["others"], heard.others, strict=True):
        _put(one, "answer", sensitivity_in_words(other), after="between")
    for one, cues in zip(listening["cues"], heard.cues, strict=True):
        one["answer"] = cues_in_words(cues, level)
    return whole


def _put(values: dict[str, Any], key: str, value: Any, *, after: str) -> None:
    """Add a key behind another one, where a reader of the file looks for it."""
    items = list(values.items())
    values.clear()
    for name, held in items:
        values[name] = held
        if name == after:
            values[key] = value


def write_report(result: AuditResult, path: str | Path, corpus: Corpus) -> Path:
    """Write the report to `path` (.html) and its figures beside it, each file whole or not at all.

    Sounds are taken from the corpus; one that cannot be heard leaves its reason. Raises OptionError for a path that
    does not end in .html, OutputError where it cannot be written.
    """
    files = report_files(path)
    page = render(result, corpus)
    _write_table(figure_table(result), files.table, "audit figures", result)
    _write_table(utterance_table(result, corpus), files.utterances, "audit utterance scores", result)
    write_json(files.figures, document(result))
    with atomic_file(files.page) as partial:
        partial.write_text(page, encoding="utf-8")
    return files.page


def _write_table(table: pa.Table, path: Path, name: str, result: AuditResult) -> None:
    described = {
        "table": name,
        "format": FORMAT,
        "labels": result.corpus["labels"],
        "provenance": {**{key: result.corpus[key] for key in ("name", "fingerprint")}, "settings": result.settings},
    }
    metadata = {METADATA_KEY: json.dumps(described, sort_keys=True).encode()}
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")
