"""The answer in words: what the figures of a panel amount to, each sentence with its figures."""

from __future__ import annotations

import math

from ...data.bootstrap import Interval
from .result import AuditResult, PanelResult, StratumRow


def figure(value: float, low: float | None = None, high: float | None = None, *, digits: int = 3) -> str:
    """A number with its interval in brackets: `0.081 [0.070, 0.092]`; what is undefined is a dash, -inf says so."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "−∞" if value < 0 else "∞"
    text = f"{value:.{digits}f}".replace("-", "−")
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")


def count(number: int, thing: str) -> str:
    """`1 utterance`, `2 utterances`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def interval_figure(interval: Interval, *, digits: int = 3) -> str:
    """`figure` of an interval."""
    return figure(interval.value, interval.low, interval.high, digits=digits)


def answer_in_words(result: AuditResult, panel: PanelResult) -> str:
    """One paragraph on a panel: how far, better than deafness or not, like how many human votes, where it is weak."""
    row = result.system("panel", panel.name).score("sq_unbiased")
    constant = result.system("constant").score("sq_unbiased")
    assert row is not None
    assert constant is not None
    sentences = [
        f"Against {result.settings['votes_scored']} held-out human votes for each of {row.utterances} utterances of "
        f"{result.reference['speakers']} speakers, the distributions of {panel.name} have a squared error of "
        f"{figure(row.value, row.low, row.high)}; a constant has {figure(constant.value)}, a perfect prediction 0.",
        _gap_sentence(panel),
        _shuffle_sentence(panel),
        _curve_sentence(result, row.value),
        _strata_sentence(panel.strata),
        _label_sentence(panel),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _gap_sentence(panel: PanelResult) -> str:
    if math.isnan(panel.gap.value):
        return "The constant leaves no gap to close, so no percentage can be given."
    closed = f"{interval_figure(panel.gap, digits=0)} %"
    if panel.gap.value <= 0:
        return f"It is no better than the constant ({closed} of the gap closed): do not use it uncalibrated."
    return f"That closes {closed} of the gap between the two."


def _shuffle_sentence(panel: PanelResult) -> str:
    better = panel.over_shuffled
    text = f"Dealt to the wrong utterances it loses {interval_figure(better)}"
    if math.isnan(better.low):
        return f"{text} (no interval)."
    if better.low > 0:
        return f"{text}: it hears something in the single utterance."
    return f"{text}: that it hears anything in the single utterance is not shown."


def _raw_curve(result: AuditResult) -> list[tuple[int, float]]:
    return [
        (point.n, row.value)
        for point in result.curve
        if point.kind == "raw"
        for row in point.scores
        if row.metric == "sq_unbiased"
    ]


def nearest_human_votes(result: AuditResult, value: float) -> str:
    """How many raw human votes a squared error matches or beats: "0", "2", or "4+" at the curve's end."""
    raw = _raw_curve(result)
    beaten = [n for n, error in raw if value <= error]
    if not raw:
        return "–"
    return "0" if not beaten else f"{max(beaten)}{'+' if max(beaten) == raw[-1][0] else ''}"


def _curve_sentence(result: AuditResult, value: float) -> str:
    """Where the panel's error lies between the errors of n raw human votes (no calibration, so no panel's worth)."""
    raw = _raw_curve(result)
    if not raw:
        return "No human curve can be drawn: too few votes are left beside the scored ones."
    beaten = [n for n, error in raw if value <= error]
    if not beaten:
        return f"A single other human vote, taken as a distribution, has a smaller error ({figure(raw[0][1])})."
    best = max(beaten)
    end = ", where the curve ends" if best == raw[-1][0] else ""
    votes = count(best, "other human vote")
    return f"That is no worse than the raw frequencies of {votes} ({figure(dict(raw)[best])}){end}."


def _strata_sentence(strata: list[StratumRow]) -> str:
    known = [s for s in strata if not math.isnan(s.gap.value)]
    if len(known) < 2:
        return ""
    parts = ", ".join(f"{figure(s.gap.value, digits=0)} % ({s.third})" for s in known)
    return f"By ambiguity, as cut by votes that are not scored, it closes {parts}."


def _label_sentence(panel: PanelResult) -> str:
    signed = [row for row in panel.labels if row.bias.low > 0 or row.bias.high < 0]
    if not signed:
        return ""
    worst = max(signed, key=lambda row: abs(row.bias.value))
    direction = "too often" if worst.bias.value > 0 else "too seldom"
    return (
        f"It says '{worst.label}' {direction}: {100 * worst.panel.value:.0f} % of its mass, "
        f"{100 * worst.human:.0f} % of human votes."
    )
