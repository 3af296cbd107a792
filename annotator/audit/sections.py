"""The sections of an audit, in the order of its JSON, and what measures them all."""

from __future__ import annotations

from typing import Any, Literal

from . import alt_test, failures, listening, noninferiority, panel_agreement, saturation, variants
from .section import Absent, AuditSubject, Finding, PanelSubject, Section

SECTIONS: dict[str, Section] = {
    "agreement": panel_agreement.SECTION,
    "alt_test": alt_test.SECTION,
    "saturation": saturation.SECTION,
    "failures": failures.SECTION,
    "variants": variants.SECTION,
    "differences": noninferiority.SECTION,
    "listening": listening.SECTION,
}


def sections_of(of: Literal["panel", "audit"]) -> list[Section]:
    """The sections of each panel, or of the whole audit."""
    return [section for section in SECTIONS.values() if section.of == of]


def measure_panel(subject: PanelSubject) -> dict[str, Any]:
    """Every section of one panel, by name."""
    return {section.name: section.measure(subject) for section in sections_of("panel")}


def measure_audit(subject: AuditSubject) -> dict[str, Any]:
    """Every section of the whole audit, by name."""
    return {section.name: section.measure(subject) for section in sections_of("audit")}


def findings_of(measured: dict[str, Any]) -> list[Finding]:
    """What the sections found, in their order; nothing of one that is absent."""
    found: list[Finding] = []
    for name, value in measured.items():
        findings = SECTIONS[name].findings
        if findings is not None and not isinstance(value, Absent):
            found += findings(value)
    return found
