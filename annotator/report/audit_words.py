"""The answer in words: what the figures of a panel amount to, each sentence with its figures."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ...data.errors import few
from ...data.scores.intervals import Interval
from ...data.scores.scoring import ScoreRow
from ..audit.calibration import CALIBRATIONS
from ..audit.controls import ControlRow, Controls
from ..audit.failures import Failures
from ..audit.panel_agreement import PanelAgreement
from ..audit.result import AuditResult, Check, PanelResult, StratumRow
from ..audit.saturation import Saturation
from ..audit.scorer import Note
from ..audit.section import Finding
from ..audit.sensitivity import NOTHING, CuePair, Cues, LabelShift, Sensitivity
from .figures import capital, count, figure, interval_figure, mass_figure, worth_figure

# below this mean mass on the labels, what a run says about them is mostly made by scaling up
LOW_MASS = 0.5


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


def answers(result: AuditResult) -> list[str]:
    """The answer on each panel, in the order of `result.panels`, with what sections found of it."""
    told = {panel.name: findings_in_words(result.told(panel.name)) for panel in result.panels}
    return [" ".join([answer_in_words(result, panel), *told[panel.name]]) for panel in result.panels]


# Sentences of findings, by code, with their figures by name; one without an entry is said by its code and its figures.
FINDINGS: dict[str, str] = {}


def findings_in_words(findings: Iterable[Finding]) -> list[str]:
    """Each finding as a sentence."""
    return [_finding(finding) for finding in findings]


def _finding(finding: Finding) -> str:
    shown = {
        name: interval_figure(value) if isinstance(value, Interval) else figure(float(value))
        for name, value in finding.figures.items()
    }
    if finding.code in FINDINGS:
        return FINDINGS[finding.code].format(panel=finding.panel, **shown)
    listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items())
    whose = "" if finding.panel is None else f" of {finding.panel}"
    return f"{capital(finding.code.replace('-', ' '))}{whose}: {listed}."


# --------------------
# What is said beside the figures.

NOTES: dict[str, str] = {
    "unnamed speakers": "Utterances without a named speaker count as one speaker.",
    "one speaker": "All audited utterances are of one speaker (or none is named): no interval can be given, since the "
    "unit of resampling is the speaker, and what is cross-fitted is so by utterance.",
    "one label": "Every human vote on the audited utterances is '{label}': there is nothing in them that a panel could "
    "know or miss, so its gap, its worth in votes and agreement tell nothing here.",
    "left out": "{utterances} of the corpus's utterances are left out: {reason}.",
    "skipped": "{panel} has no distribution for {counted} that could be scored, left out for every system{why}.",
    "no third": "{counted} with fewer than two votes beside the scored ones: in no ambiguity third.",
    "no chance": "The log score of '{system}' is minus infinity: it gives no chance at all to a label that somebody "
    "voted for.",
    "few speakers": "Fewer than ten speakers ({speakers}): intervals are wide, and their coverage is not assured, "
    "since so few hardly show how speakers differ.",
    # of the alternative annotator test, to stand in a list: without capital and full stop
    "licence": "a voter who always gives the others' plurality label reaches an advantage probability of 1 under "
    "accuracy (the others' mean under neg-rmse) though no rater votes so: this test may put one label in place of one "
    "rater's, and never licenses the use of a model's distributions",
    "untested raters": "{untested} of {raters} raters are not tested: fewer than {instances} instances",
    "few raters": "{raters} raters are tested; the paper advises {advised} or more",
    "few instances": "with fewer than {advised} instances a rater's test is Wilcoxon's; the paper advises {advised}",
}


def remarks(result: AuditResult) -> list[str]:
    """What has to be said beside the answers: what sections found of the whole audit, then the notes."""
    of_all = [finding for finding in result.told() if finding.panel is None]
    return [*findings_in_words(of_all), *notes_in_words(result.notes)]


def notes_in_words(notes: Iterable[Note]) -> list[str]:
    """Each note as a sentence or two."""
    return [_note(note) for note in notes]


def _note(note: Note) -> str:
    values = note.values
    why = few([f"{number} x {reason}" for reason, number in values.get("failures", {}).items()])
    why = f"{why}; the run's failures.parquet lists them" if why else ""
    counted = count(values.get("utterances", 0), "utterance")
    return NOTES[note.code].format(**values, counted=counted, why=f" ({why})" if why else "")


def check_in_words(check: Check) -> str:
    """Whether a requirement is met or missed, and what was found."""
    found = "nothing defined" if math.isnan(check.found) else f"{check.found:.4g}"
    why = f" ({check.reason})" if check.reason else ""
    return f"{check.panel}: {check.requirement} is {'met' if check.met else 'missed'}, found {found}{why}"


# --------------------
# Sections.

LEXICAL = "transcript-only"


# What is left of an utterance without its voice and its words.
LEFT = {"silence": "duration alone tells", "noise": "duration and loudness alone tell"}


def controls_in_words(found: Controls) -> str:
    """Whether the run listens, as far as its controls tell."""
    words = [f"Hearing the utterances, {found.run} is worth {worth_figure(found.worth)} human votes."]
    for row in found.rows:
        if row.control == LEXICAL:
            words.append(
                f"From the transcript alone, over silence as long, it is worth {worth_figure(row.worth)}; the lexical "
                f"share is {share_in_words(row)}."
            )
        elif row.control in LEFT:
            words.append(f"From {row.control} it is worth {worth_figure(row.worth)}, which {LEFT[row.control]}.")
        else:
            words.append(
                f"With the words in another's voice it is worth {worth_figure(row.worth)}; "
                f"{share_in_words(row)} survives."
            )
    return " ".join(words)


def share_in_words(row: ControlRow) -> str:
    if row.reason:
        return f"undefined ({row.reason})"
    percent = [100 * x for x in (row.share.value, row.share.low, row.share.high)]
    return f"{'at most ' if row.at_most else ''}{figure(*percent, digits=0)} %"


def cues_in_words(found: Cues, level: float) -> str:
    """Whether the stated cues move answers, the largest shift first."""
    if not found.pairs:
        return "The prompts state cues of gender or accent, but no utterance has answers at each of their levels."
    if not found.tested:
        return "Whether the cues move answers cannot be tested: the speakers are fewer than two."
    told = [(p, s) for p in found.pairs for s in p.shifts if s.p_adjusted < 1 - level]
    family = (
        f"of {count(found.tested, 'tested shift')} of a label's probability, {found.correction}, {100 * level:.0f} %"
    )
    if not told:
        return f"No gender or accent that the prompt states is told to move answers to the same sound ({family})."
    between = [(p, s) for p, s in told if not p.part.endswith(NOTHING)]
    against = [(p, s) for p, s in told if p.part.endswith(NOTHING)]
    return (
        f"Between two genders or accents that the prompt states, {_cues_most(between)}; between one stated and none, "
        f"{_cues_most(against)}, which any further sentence in the prompt might do ({family})."
    )


def _cues_most(told: list[tuple[CuePair, LabelShift]]) -> str:
    """How many shifts are told from 0, the largest two by name."""
    if not told:
        return "no answer to the same sound is told to move"
    told = sorted(told, key=lambda pair_shift: -abs(pair_shift[1].difference.value))
    parts = ", ".join(
        f"{shift.label} {signed_share(shift.difference)} points for {pair.part}" for pair, shift in told[:2]
    )
    return f"{count(len(told), 'shift')} to the same sound {'is' if len(told) == 1 else 'are'} told from 0 ({parts})"


def failures_in_words(found: Failures) -> str:
    """Where the panel is worse than elsewhere, the largest difference first, and by how much anybody would be."""
    tested = [row for row in found.parts if not math.isnan(row.p)]
    if not tested:
        return "No part of the utterances can be tested against the rest."
    worse = [row for row in tested if row.p_adjusted < 1 - found.level and row.difference.value > 0]
    worse.sort(key=lambda row: -row.difference.value)
    family = f"of {count(len(tested), 'tested part')}, {found.correction}'s correction, {100 * found.level:.0f} %"
    if not worse:
        parts = f"In no part is the panel's squared error told to be larger than in the rest ({family})."
    else:
        named = "; ".join(
            f"{row.factor} {row.part} (+{figure(row.difference.value)}, the constant's {signed(row.constant)})"
            for row in worse[:6]
        )
        parts = f"The panel's squared error is larger than in the rest for {named} ({family})."
    return (
        f"{parts} Speakers told from the others: {found.speakers_worse} worse, {found.speakers_better} better, of "
        f"{count(found.speakers_tested, 'tested one')}."
    )


def agreement_in_words(found: PanelAgreement) -> str:
    """How much a panel's votes agree with people's, beside how much people's votes agree with each other."""
    name, people, own = found.panel, found.humans, found.synthetic
    between, normalised = found.kappa_x, found.normalised_kappa_x
    ours = people.coefficients["krippendorff_alpha"]
    theirs = own.coefficients["krippendorff_alpha"]
    words = [f"People agree with each other by alpha {figure(ours.value)}"]
    words.append(f"those of {name} by {figure(theirs.value)}" if not own.reason else f"of {name}, {own.reason}")
    said = [f"{words[0]}; {words[1]}."]
    if not math.isnan(between.value):
        said.append(f"A vote of one and a vote of the other agree by {figure(between.value)} (cross-kappa).")
    if not math.isnan(normalised.value):
        by_both = figure(normalised.value)
        said.append(f"Normalised by both alphas that is {by_both}, where two samples of the same raters have 1.")
    if not own.reason and theirs.low > ours.high:
        said.append("The panel agrees with itself more than people do, which is no sign that it is right.")
    return " ".join(said)


def saturation_in_words(found: Saturation) -> str:
    """What the fall of the curves is, and what it is not; nothing where there are no curves."""
    if not found.curves:
        return ""
    sq, *others = found.curves
    first, last, n = sq.values[0].value, sq.values[-1].value, found.most_votes
    assert sq.limit is not None
    words = [
        f"From 1 to {n} synthetic votes the expected squared error falls from {figure(first)} to {figure(last)}. All "
        "of it is averaging: n votes' frequencies come nearer to the panel's own distribution as 1/n, and no number of "
        f"them gets below {figure(sq.limit.value)}, its distance from people. A panel that heard other utterances "
        f"falls by {figure(100 * sq.shuffled_share.value, digits=0)} % as much."
    ]
    for curve in others:
        fall = curve.values[0].value - curve.values[-1].value
        words.append(
            f"{curve.score} falls by {figure(fall)}; with the rows dealt to other utterances it falls by "
            f"{figure(100 * curve.shuffled_share.value, digits=0)} % of that, with nothing to converge to."
        )
    points = [f"{figure(c.fit.point, digits=1)} ({c.score})" for c in found.curves if not math.isnan(c.fit.point)]
    if points:
        words.append(
            f"The saturation point is {' and '.join(points)} votes; averaging alone, 1/n on 1 to {n}, has "
            f"{figure(found.averaging_point, digits=1)}. It says how many draws describe the panel, not how many "
            "describe people."
        )
    return " ".join(words)


def sensitivity_in_words(found: Sensitivity) -> str:
    """What listeners differ by, and through what."""
    words = []
    if found.total is not None and found.factors:
        parts = [
            f"{f.factor} {figure(f.bits.value)} bits ({figure(100 * f.share.value, digits=0)} %)"
            for f in sorted(found.factors, key=lambda f: -np.nan_to_num(f.bits.value))
            if f.share is not None and f.reason is None
        ]
        told = f" By themselves carry: {', '.join(parts)}." if parts else ""
        words.append(
            f"Which of {found.listeners} listeners answers tells {figure(found.total.value)} bits about an utterance's "
            f"label.{told}"
        )
    if found.temperature is not None:
        words.append(
            f"Temperature ({', '.join(f'{t:g}' for t in found.temperatures)}) moves answers by "
            f"{figure(found.temperature.value)} bits, counted for nothing: it is a transform and no listener."
        )
    if found.between:
        parts = [f"{f.factor} {figure(f.bits.value)} bits" for f in found.between if f.reason is None]
        if parts:
            words.append(f"Between the runs {', '.join(found.runs)}: {', '.join(parts)}.")
    return " ".join(words)


def calibration_in_words(calibration: dict[str, int]) -> str:
    """The calibrations used, in words."""
    return "; ".join(f"{name} ({CALIBRATIONS[name]})" for name in calibration)


def largest_shift(pair: CuePair) -> LabelShift:
    return max(pair.shifts, key=lambda shift: abs(shift.difference.value))


def signed_share(interval: Interval) -> str:
    value, low, high = (100 * x for x in interval[:3])
    return f"{'+' if value > 0 else ''}{figure(value, low, high, digits=1)}"


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{figure(value)}"
