"""The answer in words: what the figures of a panel amount to, each sentence with its figures."""

from __future__ import annotations

import math

from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from ..audit.effective_votes import Worth
from ..audit.result import AuditResult, PanelResult, StratumRow

# below this mean mass on the labels, what a run says about them is mostly made by scaling up
LOW_MASS = 0.5


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
        mass_warning(panel),
        f"Against {result.settings['votes_scored']} held-out human votes for each of "
        f"{count(row.utterances, 'utterance')} of {count(result.reference['speakers'], 'speaker')}, the distributions "
        f"of {panel.name} have a squared error of {figure(row.value, row.low, row.high)}; a constant has "
        f"{figure(constant.value)}, a perfect prediction 0.",
        _gap_sentence(panel, constant),
        _shuffle_sentence(panel),
        _curve_sentence(result, panel),
        _worth_sentence(panel),
        _vote_sentence(panel),
        _listeners_sentence(panel),
        _strata_sentence(panel.strata),
        _label_sentence(panel),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def mass_warning(panel: PanelResult) -> str:
    """A warning where the labels got less than half of the model's probability: the rest never enters a figure."""
    if panel.label_mass is None or panel.label_mass >= LOW_MASS:
        return ""
    return (
        f"Warning: on average only {mass_figure(panel.label_mass)} of the model's probability fell on any label. Its "
        "distributions are what is left of answers that were mostly something else, scaled up to 1: do not rely on "
        "them; try another question, panel or model."
    )


def mass_figure(mass: float) -> str:
    """A share of probability in percent; never rounded to 100 % or 0 % where it is neither."""
    percent = 100 * mass
    return f"{percent:.1f} %" if 0.05 <= percent < 99.95 or mass in (0, 1) else f"{percent:.3g} %"


def _gap_sentence(panel: PanelResult, constant: ScoreRow) -> str:
    better, worse = panel.over_constant, panel.over_constant.value < 0
    sentence = ""
    if math.isnan(panel.gap.value):
        sentence = f"The constant leaves no gap to close ({figure(constant.value)}), so no percentage can be given. "
    if worse:
        loss = figure(-better.value, -better.high, -better.low)
        sure = "" if better.high < 0 else ", though the interval leaves room for the opposite"
        if math.isnan(better.high):
            sure = " (no interval)"
        percent = "" if sentence else f" ({interval_figure(panel.gap, digits=0)} % of the gap closed)"
        return (
            f"{sentence}It is worse than that constant, that is, worse than answering without listening, by "
            f"{loss}{sure}{percent}: do not use it uncalibrated."
        )
    if sentence:
        return f"{sentence}The panel is no worse than it: better by {interval_figure(better)}."
    return f"The panel closes {interval_figure(panel.gap, digits=0)} % of the gap between the two."


def _shuffle_sentence(panel: PanelResult) -> str:
    better = panel.over_shuffled
    text = f"Dealt to the wrong utterances, the panel loses {interval_figure(better)}"
    if math.isnan(better.low):
        return f"{text} (no interval)."
    if better.low > 0:
        return f"{text}: what it says belongs to the single utterance, by its sound or its words."
    return f"{text}: that what it says belongs to the single utterance is not shown."


def _smoothed_curve(result: AuditResult) -> dict[int, float]:
    """Squared error of n = 1, 2, … other human votes as the best use of them without a panel: smoothed."""
    return {
        point.n: row.value
        for point in result.curve
        if point.kind == "smoothed" and point.n
        for row in point.scores
        if row.metric == "sq_unbiased"
    }


def _matched(result: AuditResult, panel: PanelResult) -> int:
    """The n up to which the panel's squared error is no larger than that of n smoothed human votes.

    0 for a panel that is worse than the constant, whatever the curve does.
    """
    row = result.system("panel", panel.name).score("sq_unbiased")
    matched = 0
    if row is None or panel.over_constant.value < 0:
        return 0
    for n, error in sorted(_smoothed_curve(result).items()):
        if not row.value <= error:
            break
        matched = n
    return matched


def nearest_human_votes(result: AuditResult, panel: PanelResult) -> str:
    """How many smoothed human votes a panel matches or beats: "0", "2", or "4+" at the curve's end."""
    curve = _smoothed_curve(result)
    if not curve:
        return "0" if panel.over_constant.value < 0 else "–"
    matched = _matched(result, panel)
    return f"{matched}{'+' if matched == max(curve) else ''}"


def _curve_sentence(result: AuditResult, panel: PanelResult) -> str:
    """Where the panel's error lies between those of n smoothed human votes; it is not calibrated, they are."""
    curve = _smoothed_curve(result)
    if not curve:
        return "No human curve can be drawn: too few votes are left beside the scored ones."
    if panel.over_constant.value < 0:
        return ""
    matched = _matched(result, panel)
    if not matched:
        return (
            "A single other human vote, smoothed towards what utterances are like in general, has a smaller squared "
            f"error ({figure(curve[1])})."
        )
    end = ", where the curve ends" if matched == max(curve) else ""
    return (
        f"The panel's squared error is no larger than that of {count(matched, 'other human vote')}, smoothed towards "
        f"what utterances are like in general ({figure(curve[matched])}){end}."
    )


def worth_figure(row: Worth, *, digits: int = 1) -> str:
    """`2.9 [2.7, 3.1]`, `at least 5 [4.2, …]` where the human curve ends first, or a dash where nothing can be told."""
    if row.reason:
        return "–"
    value = f"at least {row.value:.0f}" if row.at_least else f"{row.value:.{digits}f}"
    if math.isnan(row.low):
        return value
    return f"{value} [{row.low:.{digits}f}, {'…' if row.open_above else f'{row.high:.{digits}f}'}]"


def _worth_sentence(panel: PanelResult) -> str:
    log, sq, jsd = (panel.effective_votes.overall(score) for score in ("log_score", "sq_unbiased", "jsd_bits"))
    if log.reason:
        return f"What it is worth in human votes is not identifiable: {log.reason}."
    end = f"; the human curve ends at {panel.effective_votes.most_votes}" if log.at_least or log.open_above else ""
    return (
        f"Once calibrated on human votes of other speakers, it is worth {worth_figure(log)} human votes of the "
        f"utterance by log score ({worth_figure(sq)} by squared error, {worth_figure(jsd)} by JSD{end})."
    )


def _vote_sentence(panel: PanelResult) -> str:
    found = panel.non_inferiority
    vote = "vote of this panel" if panel.kind == "humans" else "synthetic vote"
    if found.non_inferior is None:
        return f"Whether one {vote} may stand for one more human vote cannot be told: {found.reason}."
    gap = f"its log score less a human vote's is {interval_figure(found.difference)}, margin {found.margin:.3f}"
    if found.non_inferior:
        same = ", and equivalent to it" if found.equivalent else ""
        return f"One {vote} is not inferior to one more human vote{same}: {gap}."
    shown = "is inferior to" if found.above_margin.high < 0 else "is not shown to be no worse than"
    return f"One {vote}, taken as a listener's, {shown} one more human vote: {gap}."


def _listeners_sentence(panel: PanelResult) -> str:
    found = panel.independence
    if found is None or math.isnan(found.independent_listeners.value):
        return ""
    return (
        f"Its {found.listeners:.0f} listeners err alike (correlation {found.correlation.value:.2f}) and amount to "
        f"{interval_figure(found.independent_listeners, digits=1)} independent ones."
    )


def _strata_sentence(strata: list[StratumRow]) -> str:
    known = [s for s in strata if not math.isnan(s.gap.value)]
    if len(known) < 2:
        return ""
    parts = ", ".join(f"{interval_figure(s.gap, digits=0)} % ({s.third})" for s in known)
    return f"By ambiguity, as cut by votes that are not scored, it closes {parts}."


def _label_sentence(panel: PanelResult) -> str:
    """The label whose share is furthest off, where its interval tells it from the people's."""
    worst = max(panel.labels, key=lambda row: abs(row.bias.value))
    if not (worst.bias.low > 0 or worst.bias.high < 0):
        return ""
    direction = "too often" if worst.bias.value > 0 else "too seldom"
    off = figure(*(100 * x for x in (worst.bias.value, worst.bias.low, worst.bias.high)), digits=1)
    return (
        f"Of its {len(panel.labels)} labels '{worst.label}' is furthest off: it says it {direction}, by {off} points "
        f"({100 * worst.panel.value:.1f} % of its mass, {100 * worst.human:.1f} % of human votes)."
    )
