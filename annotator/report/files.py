"""An audit's files: the page (.html), its figures (.json, .parquet), all utterances' scores (.utterances.parquet)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data.corpus import Corpus
from ...data.files import atomic_file, write_json
from ...data.tables import METADATA_KEY
from ..audit.alt_test import AltTestSection
from ..audit.failures import Failures
from ..audit.listening import Listening
from ..audit.panel_agreement import PanelAgreement
from ..audit.result import AuditResult
from ..audit.saturation import Saturation
from ..audit.section import Absent
from .audit_page import render
from .audit_words import (
    agreement_in_words,
    answers,
    controls_in_words,
    cues_in_words,
    failures_in_words,
    notes_in_words,
    remarks,
    saturation_in_words,
    sensitivity_in_words,
)
from .figure_table import figure_table, utterance_table
from .page import AUDIT, page_files, write_page

FORMAT = 1


def document(result: AuditResult) -> dict[str, Any]:
    """An audit as JSON: its numbers, and among them the answers and notes in words."""
    whole = result.to_json()
    _put(whole, "answers", answers(result), after="reference")
    whole["notes"] = remarks(result)
    for detail, found in zip(whole["details"], result.details, strict=True):
        _say(detail, found.sections, result)
    _say(whole, result.sections, result)
    return whole


def _say(held: dict[str, Any], measured: dict[str, Any], result: AuditResult) -> None:
    """Put a section's words among its numbers, for each that has some and could be measured."""
    for name, value in measured.items():
        if name in SAID and not isinstance(value, Absent):
            SAID[name](held[name], value, result)


def _agreement(held: dict[str, Any], found: PanelAgreement, _: AuditResult) -> None:
    _put(held, "answer", agreement_in_words(found), after="normalised_kappa_x")


def _saturation(held: dict[str, Any], found: Saturation, _: AuditResult) -> None:
    _put(held, "answer", saturation_in_words(found), after="curves")


def _failures(held: dict[str, Any], found: Failures, _: AuditResult) -> None:
    held["answer"] = failures_in_words(found)


def _alt_test(held: dict[str, Any], found: AltTestSection, _: AuditResult) -> None:
    held["notes"] = notes_in_words(found.notes)
    for test, made in zip(held["tests"], found.tests, strict=True):
        test["notes"] = notes_in_words(made.notes)


def _listening(held: dict[str, Any], found: Listening, result: AuditResult) -> None:
    if found.controls is not None:
        held["controls"]["answer"] = controls_in_words(found.controls)
    if found.sensitivity is not None:
        _put(held["sensitivity"], "answer", sensitivity_in_words(found.sensitivity), after="between")
    for one, other in zip(held["others"], found.others, strict=True):
        _put(one, "answer", sensitivity_in_words(other), after="between")
    for one, cues in zip(held["cues"], found.cues, strict=True):
        one["answer"] = cues_in_words(cues, result.settings["level"])


# The words of sections that have some, put into their part of the JSON.
SAID: dict[str, Callable[[dict[str, Any], Any, AuditResult], None]] = {
    "agreement": _agreement,
    "saturation": _saturation,
    "failures": _failures,
    "alt_test": _alt_test,
    "listening": _listening,
}


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
    page, figures, *tables = page_files(path, AUDIT)
    text = render(result, corpus)
    _write_table(figure_table(result), tables[0], "audit figures", result)
    _write_table(utterance_table(result, corpus), tables[1], "audit utterance scores", result)
    write_json(figures, document(result))
    write_page(text, page)
    return page


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
