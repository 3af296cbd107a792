"""The report's section to hear: utterances where a panel and people agree most and least, with their sounds."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ...data.corpus import Corpus
from ..audit.result import AuditResult, Example
from . import pictures
from .figures import figure
from .sounds import player, without_sounds

PLAYERS = 16
UNHEARD = " The corpus names no sounds, so they can only be read."


def to_html(result: AuditResult, corpus: Corpus) -> str:
    """Cards with bars and players, shared among the panels; one that cannot be heard says why."""
    each = max(1, PLAYERS // (2 * len(result.panels)))
    row_of = {name: i for i, name in enumerate(corpus.ids)}
    parts = []
    for i, panel in enumerate(result.panels):
        cls = f"panel-{i % 5}"
        parts.append(
            f'<p class="key"><b class="human"></b>human votes, percent <b class="{cls}"></b>{escape(panel.name)}</p>'
        )
        for agreement, title in (("least", "Where they agree least"), ("most", "Where they agree most")):
            chosen = [e for e in panel.examples if e.agreement == agreement][:each]
            cards = "".join(_card(e, result.corpus["labels"], cls, corpus, row_of[e.utterance_id]) for e in chosen)
            parts.append(f'<h3>{title}</h3><div class="cards">{cards}</div>')
    return (
        "<section><h2>Listen</h2><p>Utterances with the largest and the smallest squared error against all their human "
        "votes (the votes' noise taken off, so that it can be below 0). They are chosen by the outcome, to be heard; "
        f"no figure of this report rests on them.{UNHEARD if without_sounds(corpus) else ''}</p>"
        f"{''.join(parts)}</section>\n"
    )


def _card(example: Example, labels: Sequence[str], cls: str, corpus: Corpus, row: int) -> str:
    facts = [f"{example.votes} votes", f"speaker {example.speaker}" if example.speaker else "speaker unknown"]
    facts.append(
        f"squared error {figure(example.sq_unbiased, digits=2)}, JSD {figure(example.jsd_bits, digits=2)} bits"
    )
    said = f"<p>“{escape(example.transcript)}”</p>" if example.transcript else ""
    sound = "" if without_sounds(corpus) else player(corpus, row)
    return (
        f'<article class="card"><h4>{escape(example.utterance_id)}</h4><p>{escape(", ".join(facts))}</p>{said}'
        f"{pictures.side_by_side(example, labels, cls=cls)}{sound}</article>"
    )
