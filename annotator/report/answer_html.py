"""The report's first section: the answer for each panel in figures and words, and what has to be said beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ..audit.result import AuditResult, PanelResult
from .audit_words import answers, mass_warning, nearest_human_votes, notes_in_words
from .figures import figure, worth_figure
from .html import bounds


def to_html(result: AuditResult) -> str:
    """A block a panel, then the notes and what is known of the models' having met the corpus."""
    blocks = []
    for i, (panel, words) in enumerate(zip(result.panels, answers(result), strict=True)):
        warning = mass_warning(panel)
        loud = f"<strong>{escape(warning)}</strong>" if warning else ""
        tiles = "".join(_tile(*facts) for facts in _facts(result, panel))
        blocks.append(
            f'<div class="answer panel-{i % 5}"><h3>{escape(panel.name)}</h3><div class="tiles">{tiles}</div>'
            f"<p>{loud}{escape(words.removeprefix(warning))}</p></div>"
        )
    said = [*notes_in_words(result.notes), *(result.listening.exposure if result.listening is not None else [])]
    return f"<section><h2>The answer</h2>{''.join(blocks)}{_note_list(said)}</section>\n"


def _facts(result: AuditResult, panel: PanelResult) -> list[tuple[str, str, str]]:
    system = result.system("panel", panel.name)
    sq, log = system.score("sq_unbiased"), system.score("log_score")
    assert sq is not None
    assert log is not None
    worth = panel.effective_votes.overall()
    votes, _, between = worth_figure(worth).partition(" [")
    closed = "–" if math.isnan(panel.gap.value) else f"{figure(panel.gap.value, digits=0)} %"
    return [
        (votes, f"[{between}" if between else "", "human votes it is worth once calibrated, by log score"),
        (closed, bounds(panel.gap, 0), "of the gap from constant to perfect closed"),
        (figure(sq.value), bounds(sq), "squared error, without the votes' noise (0 is perfect)"),
        (figure(log.value), bounds(log), "log score, nats per human vote (higher is better)"),
        (nearest_human_votes(result, panel), "", "human votes that it matches as it is, uncalibrated (squared error)"),
    ]


def _tile(value: str, bounds: str, words: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><i>{escape(bounds)}</i><span>{escape(words)}</span></div>'


def _note_list(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="note">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'
