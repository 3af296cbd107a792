"""What a fusion's report lets one hear: new utterances beside their parents, and utterances that moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ...data.corpus import Corpus
from ..fusion.accounts import MOVED_SHOWN, Added, Example, FusionReport, Take
from . import fusion_pictures as pictures
from .figures import count, figure
from .html import table
from .sounds import player


def size(made: Added) -> str:
    """Megabytes on disk, and whether that is a guess."""
    if math.isnan(made.bytes):
        return "size unknown"
    return f"{'' if made.measured else 'about '}{made.bytes / 1e6:.1f} MB"


def key(names: Sequence[str]) -> str:
    """What the colours of a picture stand for."""
    parts = (f'<b class="{pictures.COLOURS[name]}"></b>{escape(name)}' for name in names)
    return f'<span class="key">{"".join(parts)}</span>'


def new_utterances(made: Added, labels: Sequence[str], corpus: Corpus, fused: Corpus | None) -> str:
    """The section of the new utterances, each beside its parents; their sounds are in `fused` (None: no sounds)."""
    masses = list(made.masses)
    rows = [
        (label, [str(made.by_label[label]), *(f"{made.masses[name][label]:.1f}" for name in masses)], "")
        for label in labels
    ]
    titles = {"mass": "expected mass before", "target": "target", "reached": "with the new"}
    caption = (
        "Table 5. New utterances by dominant label, and the expected number of utterances of a label, the sum of p."
    )
    body = table(caption, ["label", "new utterances", *(titles[name] for name in masses)], rows)
    cards = "".join(_take_card(take, labels, corpus, fused) for take in made.takes)
    two = any(len(take.parents) > 1 for take in made.takes)
    kinds = f"<p>{key(['parent', *['second parent'] * two, 'new utterance'])}</p>"
    return (
        f"<section><h2>New utterances</h2><p>{count(made.new, 'utterance')} ({made.form}), {made.seconds:.0f} seconds "
        f"of sound, {size(made)}; for training only. Nothing is scored on them: <code>serann evaluate</code> weighs "
        "real test utterances instead (class-balanced scores), and undoes the label shares that a model was taught "
        f"(prior-corrected scores).</p>{body}<h3>Parents and new utterances, side by side</h3>{kinds}"
        f'<div class="cards">{cards}</div></section>\n'
    )


def _take_card(take: Take, labels: Sequence[str], corpus: Corpus, fused: Corpus | None) -> str:
    columns = [*zip(("parent", "second parent"), take.parents_p, strict=False), ("new utterance", take.p)]
    heard = ""
    if fused is not None:
        for name, row in zip(take.parents, take.rows, strict=True):
            heard += f"<p>parent {escape(name)}</p>{player(corpus, row)}"
        heard += f"<p>new</p>{player(fused, fused.ids.index(take.utterance_id))}"
    return (
        f'<article class="card"><h4>{escape(take.utterance_id)}</h4><p>{escape(take.how)}</p>'
        f"{pictures.stacked(take.utterance_id, labels, columns)}{heard}</article>"
    )


def listen(report: FusionReport, corpus: Corpus, *, sounds: bool) -> str:
    """The utterances that moved most and some drawn evenly, with their sounds."""
    found = report.moved
    if not found.most:
        return ""
    parts = [f"<p>{key(['seen votes', 'proxy', 'fused'])}</p>"]
    if sounds and corpus.utterances["audio"].null_count == len(corpus.ids):
        parts.append("<p>The corpus names no sounds, so there is nothing to listen to.</p>")
        sounds = False
    for title, chosen in (("Moved most", found.most[:MOVED_SHOWN]), ("Drawn evenly, by the seed", found.random)):
        cards = "".join(_card(example, report.labels, corpus, sounds=sounds) for example in chosen)
        parts.append(f'<h3>{title}</h3><div class="cards">{cards}</div>')
    return f"<section><h2>Listen</h2>{''.join(parts)}</section>\n"


def _card(example: Example, labels: Sequence[str], corpus: Corpus, *, sounds: bool) -> str:
    votes = sum(example.seen)
    columns = [("seen votes", [n / votes for n in example.seen]), ("proxy", example.proxy), ("fused", example.fused)]
    facts = [f"{votes:g} seen votes", f"speaker {example.speaker}" if example.speaker else "speaker unknown"]
    facts += [f"from {example.source}", f"moved {figure(example.jsd_bits, digits=2)} bits"]
    label = f"{example.seen_label} → {example.fused_label}"
    said = corpus.utterances["transcript"][example.row].as_py()
    words = f"<p>“{escape(said)}”</p>" if said else ""
    heard = player(corpus, example.row) if sounds else ""
    return (
        f'<article class="card"><h4>{escape(example.utterance_id)}</h4><p>{escape(label)}</p>'
        f"<p>{escape(', '.join(facts))}</p>{words}"
        f"{pictures.stacked(example.utterance_id, labels, columns)}{heard}</article>"
    )
