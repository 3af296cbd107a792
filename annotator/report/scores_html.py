"""The report's sections of scores: every prediction on the same votes, and where panels lie between them."""

from __future__ import annotations

from collections.abc import Sequence

from ...data.scores.scoring import ScoreRow
from ..audit.result import AuditResult
from . import pictures
from .audit_sections import differences_html
from .figures import count
from .html import cell, framed, table

# better is lower / higher
DIRECTION = {"sq_unbiased": "↓", "log_score": "↑", "jsd_bits": "↓", "bhattacharyya": "↑", "total_variation": "↓"}
NAMES = {
    "sq_unbiased": "squared error",
    "log_score": "log score",
    "jsd_bits": "JSD, bits",
    "bhattacharyya": "Bhattacharyya",
    "total_variation": "total variation",
    "accuracy": "accuracy",
    "uar": "UAR",
    "macro_f1": "macro-F1",
}


def headline(result: AuditResult) -> str:
    """Every prediction's scores, with intervals: the constant, n human votes, the panels, perfection."""
    metrics = [row.metric for row in result.system("panel", result.panels[0].name).scores]
    rows = [(s.name, _cells(s.scores, metrics), "own" if s.kind == "panel" else "") for s in _in_order(result)]
    human = [
        (f"{count(p.n, 'human vote')}, {p.kind}", _cells(p.scores, metrics), "")
        for p in sorted(result.curve, key=lambda p: (p.kind, p.n))
        if p.n
    ]
    level = f"{100 * result.settings['level']:.0f} %"
    caption = (
        f"Table 1. Every prediction against the same {result.settings['votes_scored']} held-out human votes an "
        f"utterance, mean over {count(result.settings['draws'], 'draw')} of them. In brackets: {level} intervals by "
        "speaker. The two columns to judge by come first; what stands @m depends on m."
    )
    body = table(caption, ["prediction", *map(_head, metrics)], [*rows[:1], *human, *rows[1:]])
    return f"<section><h2>Scores</h2>{body}{differences_html(result.differences)}</section>\n"


def _head(metric: str) -> str:
    name, _, m = metric.partition("@")
    return f"{NAMES[name]}{f'&nbsp;@{m}' if m else ''}&nbsp;{DIRECTION.get(name, '↑')}"


def _in_order(result: AuditResult):
    """Constant first, then the panels with what belongs to them, perfection last."""
    place = {"constant": 0, "panel": 1, "sampled": 1, "shuffled": 1, "perfect": 2}
    return sorted(result.systems, key=lambda system: place[system.kind])


def _cells(scores: Sequence[ScoreRow], metrics: Sequence[str]) -> list[str]:
    by_name = {row.metric: row for row in scores}
    return [cell(by_name.get(metric)) for metric in metrics]


def curves(result: AuditResult) -> str:
    """The panels' levels across the curves of n human votes, in squared error and in JSD."""
    m = result.settings["votes_scored"]
    parts = [
        framed(
            "Figure 1.",
            pictures.human_curve(result, "sq_unbiased", name="squared error"),
            "How many other people one would have to ask: squared error of n human votes, as raw frequencies and "
            "smoothed towards what utterances are like in general; the panels' level across it, with its interval.",
        ),
        framed(
            "Figure 2.",
            pictures.human_curve(result, "jsd_bits", name=f"JSD in bits @{m}"),
            f"The same in Jensen-Shannon divergence to {m} votes. Its floor is not 0: the true distribution itself is "
            "that far from so few votes.",
        ),
    ]
    return (
        f'<section><h2>Between a constant and human votes</h2><div class="figures">{"".join(parts)}</div></section>\n'
    )
