"""A comparison as one HTML page that opens offline, made of the document that lies beside it (.json)."""

from collections.abc import Sequence
from html import escape

from .definitions import definition
from .evaluation_pictures import by_system
from .figures import count
from .html import framed, table
from .score_page import Document, banners, framed_page, score_cell, section, small_print, what_they_are

DRAWN = ("sq_unbiased", "log_score", "uar", "macro_f1")


def render(document: Document) -> str:
    """The page as text."""
    metrics = list(dict.fromkeys(row["metric"] for row in document["scores"]))
    sections = [_header(document), _scores(document, metrics), what_they_are(metrics, bins=document["bins"])]
    return framed_page(f"Comparison on {document['corpus']}", document, sections)


def _header(doc: Document) -> str:
    left_out = f"; {count(doc['left_out'], 'other')} left out" if doc["left_out"] else ""
    return (
        f'<header><p class="kicker">serann compare</p><h1>{escape(", ".join(doc["systems"]))} on '
        f'{escape(doc["corpus"])}, {escape(doc["split"])}</h1><p class="sub">{count(doc["utterances"], "utterance")} '
        f"of {count(doc['speakers'], 'speaker')} that every system heard{left_out}, scored against human votes that "
        "neither fusion nor training has seen; intervals are 95 % over speakers, those of differences paired.</p>"
        f"{banners(doc)}</header>\n"
    )


def _scores(doc: Document, metrics: Sequence[str]) -> str:
    scores = {(row["system"], row["metric"]): row for row in doc["scores"]}
    gaps = {(row["system"], row["metric"]): row for row in doc["differences"]}
    named = dict.fromkeys(system for system, _ in scores)
    rows = [
        (
            metric,
            [
                definition(metric, bins=doc["bins"]).better,
                escape(system),
                score_cell(scores[system, metric]),
                "" if system == doc["against"] else score_cell(gaps.get((system, metric))),
                str(scores[system, metric]["utterances"]),
            ],
            "own" if system == doc["against"] else "",
        )
        for metric in metrics
        for system in named
        if (system, metric) in scores
    ]
    pictures = [framed("", by_system(doc, m), f"{m} of each system.") for m in DRAWN if m in metrics]
    return section(
        "Scores",
        '<div class="figures">',
        *pictures,
        "</div>",
        table(
            "Every system against the same held-out votes",
            ["score", "better", "system", "value", escape(f"less {doc['against']}"), "n"],
            rows,
        ),
        small_print(
            f"@{doc['votes_scored']}: against {doc['votes_scored']} votes an utterance. 'constant' is the best answer "
            "without listening: the seen votes' shares. n: utterances, in pauar rows speakers with "
            f"{doc['speaker_support']} utterances or more of two labels."
        ),
    )
