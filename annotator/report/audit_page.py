"""The report: one HTML page that opens offline, with the answer first and every number's exact variant at the end."""

from __future__ import annotations

from html import escape
from importlib.metadata import version
from pathlib import Path

from ...data.corpus import Corpus
from ..audit.result import AuditResult
from . import answer_html, breakdown_html, listen_html, scores_html, worth_html
from .audit_sections import details_html, listening_html, variants_html
from .figures import count, mass_figure
from .methods import methods


def render(result: AuditResult, corpus: Corpus) -> str:
    """The page as text."""
    names = ", ".join(panel.name for panel in result.panels)
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    sections = [
        _header(result, names),
        answer_html.to_html(result),
        scores_html.headline(result),
        scores_html.curves(result),
        breakdown_html.ambiguity(result),
        worth_html.to_html(result),
        breakdown_html.labels(result),
        listening_html(result.listening, result.settings["level"]) if result.listening is not None else "",
        details_html(result.details, corpus),
        variants_html(result.variants) if result.variants is not None else "",
        listen_html.to_html(result, corpus),
        methods(result),
        _provenance(result),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of {escape(names)} on {escape(result.corpus['name'])}</title>\n<style>\n{css}</style>\n"
        f"</head>\n<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _header(result: AuditResult, names: str) -> str:
    ref, simulated = result.reference, result.corpus["simulated"]
    banner = (
        '<p class="banner" role="note"><strong>Simulated corpus.</strong> Its voices are synthetic and its votes were '
        "drawn by a program: no person listened. The figures show that the tool works, and say nothing about people."
        "</p>"
    )
    return (
        f'<header><p class="kicker">serann audit</p><h1>How far may {escape(names)} stand beside human listeners?</h1>'
        f'<p class="sub">Corpus {escape(result.corpus["name"])}: {count(ref["utterances"], "utterance")} of '
        f"{count(ref['speakers'], 'speaker')} audited, {ref['votes_scored']} held-out human votes scored, "
        f"{ref['other_votes']} others for strata and baselines, in each of "
        f"{count(result.settings['draws'], 'draw')}.</p>{banner if simulated else ''}</header>\n"
    )


def _provenance(result: AuditResult) -> str:
    facts: list[tuple[str, object]] = [
        ("serann", version("serann")),
        ("corpus", f"{result.corpus['name']} ({result.corpus['licence']}), {result.corpus['fingerprint']}"),
        ("division", result.corpus["division"]),
        ("settings", result.settings),
    ]
    for panel in result.panels:
        about = {**panel.about, "utterances covered": panel.covered, "utterances lacking": panel.skipped}
        if panel.label_mass is not None:
            about["mean probability on labels"] = mass_figure(panel.label_mass)
        facts.append((panel.name, about))
    body = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_words(value))}</dd>" for name, value in facts)
    return f"<section><h2>Provenance</h2><dl>{body}</dl></section>\n"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_words(part)}" for key, part in value.items())
    return str(value)
