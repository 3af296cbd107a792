"""Prompts: the questions listeners are asked and the panels they sit in, as files that can be read and replaced."""

from .loader import (
    NO_TRANSCRIPT,
    Listener,
    Panel,
    Question,
    Rendered,
    clean_transcript,
    fingerprint,
    label_order,
    list_panels,
    list_questions,
    load_panel,
    load_question,
    panel_fingerprint,
    render,
)

__all__ = [
    "NO_TRANSCRIPT",
    "Listener",
    "Panel",
    "Question",
    "Rendered",
    "clean_transcript",
    "fingerprint",
    "label_order",
    "list_panels",
    "list_questions",
    "load_panel",
    "load_question",
    "panel_fingerprint",
    "render",
]
