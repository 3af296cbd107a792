"""A run's sensitivity in words and as HTML."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ..report.audit_words import count, figure
from ..report.html import cell, table

if TYPE_CHECKING:
    from .sensitivity import FactorInformation, Sensitivity

# Levels are named where their names are no longer than this together.
LISTED = 60


def in_words(found: Sensitivity) -> str:
    """What listeners differ by, and through what."""
    words = []
    if found.total is not None and found.factors:
        parts = [
            f"{f.factor} {figure(f.bits.value)} bits ({figure(100 * f.share.value, digits=0)} %)"
            for f in sorted(found.factors, key=lambda f: -np.nan_to_num(f.bits.value))
            if f.share is not None and f.reason is None
        ]
        told = f" By themselves carry: {', '.join(parts)}." if parts else ""
        words.append(
            f"Which of {found.listeners} listeners answers tells {figure(found.total.value)} bits about an utterance's "
            f"label.{told}"
        )
    if found.temperature is not None:
        words.append(
            f"Temperature ({', '.join(f'{t:g}' for t in found.temperatures)}) moves answers by "
            f"{figure(found.temperature.value)} bits, counted for nothing: it is a transform and no listener."
        )
    if found.between:
        parts = [f"{f.factor} {figure(f.bits.value)} bits" for f in found.between if f.reason is None]
        if parts:
            words.append(f"Between the runs {', '.join(found.runs)}: {', '.join(parts)}.")
    return " ".join(words)


def to_html(section: Sensitivity) -> str:
    """The section as HTML: the answer, a table of factors within the run and one of those between runs."""
    parts = [f"<h3>Sensitivity: {escape(section.run)}</h3>"]
    if section.answer:
        parts.append(f"<p>{escape(section.answer)}</p>")
    if section.reason:
        parts.append(f"<p>Within the run: not shown, {escape(section.reason)}.</p>")
    if section.factors:
        rows = [_cells(f) for f in section.factors]
        if section.together is not None:
            rows.append(("only in combination", ["", cell(section.together), "–", "–", ""], ""))
        if section.total is not None:
            rows.append(("all listeners", [str(section.listeners), cell(section.total), "–", "100", ""], "own"))
        if section.temperature is not None:
            rows.append(("temperature (not counted)", ["", cell(section.temperature), "–", "–", ""], ""))
        parts.append(table(_caption(section), _head("share, %"), rows))
    if section.between:
        caption = f"Between {count(len(section.runs), 'run')}: information about the panel's answer, in bits."
        parts.append(table(caption, _head("share, %"), [_cells(f) for f in section.between]))
    elif section.between_reason:
        parts.append(f"<p>Between runs: not shown, {escape(section.between_reason)}.</p>")
    return "".join(parts)


def _head(share: str) -> list[str]:
    return ["factor", "levels", "bits by itself", "bits given the others", share, "utterances"]


def _cells(found: FactorInformation) -> tuple[str, list[str], str]:
    names = ", ".join(found.levels)
    levels = str(len(found.levels)) if len(names) > LISTED else f"{len(found.levels)}: {escape(names)}"
    share = (
        None
        if found.share is None
        else found.share._replace(value=100 * found.share.value, low=100 * found.share.low, high=100 * found.share.high)
    )
    heard = str(found.utterances) + (f" ({found.skipped} left out)" if found.skipped else "")
    alone = escape(found.reason) if found.reason else cell(found.bits)
    return found.factor, [levels, alone, cell(found.given_others), cell(share, 0), heard], ""


def _caption(section: Sensitivity) -> str:
    constant = f" Not varied: {', '.join(section.not_varied)}." if section.not_varied else ""
    return (
        "Information about the label, given the utterance: by itself (the other factors averaged over), and with the "
        f"others held fixed. Intervals by speaker.{escape(constant)}"
    )
