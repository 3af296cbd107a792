"""The report's section on worth: the human curve with the panels on it, effective votes, single votes, the gate."""

from __future__ import annotations

from html import escape

import numpy as np
from scipy.interpolate import PchipInterpolator

from ..audit.crossing import FINENESS, falling
from ..audit.effective_votes import Worth
from ..audit.result import AuditResult, PanelResult
from .figures import interval_figure, worth_figure
from .html import cell, table
from .svg import Plot, nice_ticks, picture, spread_labels, tag, text

SCORES = {"log_score": "log score", "sq_unbiased": "squared error", "jsd_bits": "JSD"}
PARTS = {"label": "label against the rest", "ambiguity": "ambiguity third", "subgroup": "subgroup"}
VERDICTS = {True: "yes", False: "no", None: "cannot be told"}


def to_html(result: AuditResult) -> str:
    """The whole section; its pieces are the functions below."""
    pictures = "".join(
        f'<figure class="small">{curve_picture(result, score)}<figcaption>{escape(_caption(result, name))}'
        "</figcaption></figure>"
        for score, name in (("log_score", "log score"), ("sq_unbiased", "squared error"))
        if len(_points(result, score)) > 1
    )
    return (
        f'<section><h2>Worth in human votes</h2><div class="figures">{pictures}</div>{worth_table(result)}'
        f"{vote_table(result)}{gate_table(result)}</section>\n"
    )


def _caption(result: AuditResult, name: str) -> str:
    return (
        f"{name.capitalize()} of the best prediction from n human votes (curve), with "
        f"{100 * result.settings['level']:.0f} % intervals; each panel, calibrated, where its own lies on it, and "
        "every n that it is not told from (bar)."
    )


def curve_picture(result: AuditResult, score: str) -> str:
    """The human curve of a score, with each panel's worth and its interval marked on it."""
    points = _points(result, score)
    n = np.array([p.n for p in points])
    values = np.array([p.value.value for p in points])
    sign = -1 if score == "log_score" else 1
    line = PchipInterpolator(n, sign * (falling(sign * values) @ (sign * values)))
    spread = [x for p in points for x in (p.value.value, p.value.low, p.value.high) if np.isfinite(x)]
    low = min(spread) if sign < 0 else min(0.0, *spread)
    plot = Plot(52, 34, 250, 200, [0, int(n[-1])], nice_ticks(low, max(spread)))
    name = f"{SCORES[score]}{', nats a vote' if score == 'log_score' else ''}"
    body = plot.axes(x_label="human votes of the utterance", y_label=name, x_ticks=n.tolist())
    fine = np.linspace(0, n[-1], n[-1] * FINENESS + 1)
    body.append(plot.line([(x, float(line(x))) for x in fine], cls="curve smoothed"))
    for p in points:
        body.append(plot.whisker(p.n, p.value.low, p.value.high, cls="whisker smoothed"))
        body.append(plot.dot(p.n, p.value.value, cls="mark smoothed", r=3, title=f"{p.n}: {interval_figure(p.value)}"))
    tags, said = [], []
    for i, panel in enumerate(result.panels):
        row = panel.effective_votes.overall(score)
        if row.reason:
            continue
        cls = f"panel-{i % 5}"
        y = float(line(row.value))
        if np.isfinite(row.low):
            ends = (plot.x(row.low), plot.x(min(row.high, float(n[-1]))))
            body.append(tag("line", cls=f"level {cls}", x1=ends[0], x2=ends[1], y1=plot.y(y), y2=plot.y(y)))
        body.append(plot.dot(row.value, y, cls=f"mark {cls}", r=5, title=f"{panel.name}: {worth_figure(row)}"))
        tags.append((plot.y(y), f"{panel.name[:18]} {worth_figure(row)}", cls))
        said.append(f"{panel.name} {worth_figure(row)}")
    places = spread_labels([y for y, *_ in tags], top=plot.top - 6, bottom=plot.bottom + 8)
    for y, (_, words, cls) in zip(places, tags, strict=True):
        body.append(text(plot.right + 10, y + 4, words, cls=f"label {cls}", anchor="start"))
    title = f"{SCORES[score]} against the number of human votes"
    return picture(520, 276, body, title=title, description="; ".join(said))


def _points(result: AuditResult, score: str):
    found = [p for p in result.human_curve if p.score.split("@")[0] == score]
    return found if all(np.isfinite(p.value.value) for p in found) else []


def worth_table(result: AuditResult) -> str:
    """Effective votes overall by three scores, then by label, ambiguity and subgroup."""
    rows = []
    for panel in result.panels:
        rows.append((panel.name, [_utterances(panel), *_three(panel.effective_votes.rows, "overall", "all")], "own"))
        seen = dict.fromkeys((r.where, r.part) for r in panel.effective_votes.rows if r.where != "overall")
        for where, part in seen:
            cells = _three(panel.effective_votes.rows, where, part)
            size = next(r.utterances for r in panel.effective_votes.rows if (r.where, r.part) == (where, part))
            rows.append((f"{PARTS[where]}: {part}", [str(size), *cells], ""))
    every = [r for panel in result.panels for r in panel.effective_votes.rows]
    reasons = dict.fromkeys(r.reason for r in every if r.reason)
    if any(r.groups < 2 and r.where != "overall" for r in every):
        reasons["fewer than two speakers"] = None
    note = f" Dash: not identifiable, {escape('; '.join(reasons))}." if reasons else ""
    caption = (
        "Human votes that the panel's calibrated prediction is worth, by the score that is matched. “At least”: better "
        f"than all of the human curve; “…”: the interval reaches beyond its end.{note}"
    )
    return table(caption, ["panel and part", "utterances", *SCORES.values()], rows)


def _utterances(panel: PanelResult) -> str:
    return str(panel.effective_votes.utterances)


def _three(rows: list[Worth], where: str, part: str) -> list[str]:
    """The worth by each score; a part of one speaker's utterances tells of that speaker, and shows none."""
    found = {r.score.split("@")[0]: r for r in rows if (r.where, r.part) == (where, part)}
    if where != "overall" and all(r.groups < 2 for r in found.values()):
        return ["–"] * len(SCORES)
    return [escape(worth_figure(found[score])) if score in found else "" for score in SCORES]


def vote_table(result: AuditResult) -> str:
    """One synthetic vote against one more human vote, and the independent listeners."""
    rows = []
    for panel in result.panels:
        found, own = panel.non_inferiority, panel.independence
        cells = [cell(x) for x in (found.synthetic, found.human, found.constant, found.difference)]
        cells += [f"{found.margin:.3f}", VERDICTS[found.non_inferior], VERDICTS[found.equivalent]]
        cells.append("–" if own is None else cell(own.independent_listeners, 1))
        rows.append((panel.name, cells, ""))
    head = ["panel", "vote of the panel", "human vote", "no vote", "panel − human", "margin", "not inferior"]
    head += ["equivalent", "independent listeners"]
    caption = (
        "One vote as the only witness of an utterance: log score, nats, of what it predicts of the votes that are "
        f"scored. Margin: {100 * result.panels[0].non_inferiority.margin_share:.0f} % of human − no vote. "
        "Non-inferiority decides."
    )
    return table(caption, head, rows)


def gate_table(result: AuditResult) -> str:
    """What was required, found, and met or missed; nothing without a gate."""
    if not result.checks:
        return ""
    rows = [
        (c.requirement, [escape(c.panel), f"{c.found:.4g}" if np.isfinite(c.found) else "–", _outcome(c)], "")
        for c in result.checks
    ]
    return table("What this audit was required to show.", ["requirement", "panel", "found", "outcome"], rows)


def _outcome(check) -> str:
    words = "met" if check.met else "<strong>missed</strong>"
    return f"{words}{f' ({escape(check.reason)})' if check.reason else ''}"
