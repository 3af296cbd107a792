"""The sections of an audit's page on what was measured of a panel: what each found, in words, tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval
from ...data.scores.metric import metric_of
from ..audit.alt_test import AltTestSection
from ..audit.controls import Controls
from ..audit.failures import Failures, PartRow, Surprise
from ..audit.listening import Listening
from ..audit.noninferiority import Difference
from ..audit.panel_agreement import COEFFICIENTS, PanelAgreement
from ..audit.result import AuditResult, Detail
from ..audit.saturation import Saturation
from ..audit.section import Absent
from ..audit.section import Section as AuditSection
from ..audit.sections import SECTIONS
from ..audit.sensitivity import Cues
from ..audit.variants import Variants
from .audit_pictures import saturation_curve
from .audit_words import (
    agreement_in_words,
    controls_in_words,
    cues_in_words,
    failures_in_words,
    largest_shift,
    notes_in_words,
    saturation_in_words,
    sensitivity_in_words,
    share_in_words,
    signed,
    signed_share,
)
from .blocks import Block, Cell, Figure, Figures, Heading, Points, Row, Section, Sound, Table, Words, cell, note
from .figure_table import section_rows
from .figures import count, figure, worth_figure
from .sounds import player, without_sounds

if TYPE_CHECKING:
    from ..audit.sensitivity import FactorInformation, Sensitivity

# Pairs of levels that a report shows.
MOST_PAIRS = 12
# Players a panel: each may hold 100 kB.
SOUNDS = 6
# Columns of the table of variants, so that it fits a sheet.
MOST_COLUMNS = 8
# Levels are named where their names are no longer than this together.
LISTED = 60


def percent(interval: Interval) -> Interval:
    """A share and its bounds in percent."""
    return interval._replace(value=100 * interval.value, low=100 * interval.low, high=100 * interval.high)


def p_value(value: float) -> str:
    """`.013` as `0.013`, below .001 no more than that, and a dash where it is undefined."""
    return "< .001" if value < 0.001 else figure(value)


# --- is it listening, and what moves it


def listening_section(found: Listening, level: float) -> list[Section]:
    """What a run's controls, factors and cues tell; nothing without runs."""
    if found.sensitivity is None:
        return []
    heard: list[Block] = [
        Words(
            Markup(
                "No control was given, so nothing tells the voice's part from the words': make runs with "
                "<code>serann annotate --control transcript-only</code> (silence, noise, other-voice) and audit them "
                "beside the run."
            )
        )
    ]
    if found.controls is not None:
        heard = controls_section(found.controls)
    moved = [part for one in (found.sensitivity, *found.others) for part in sensitivity_section(one)]
    told: list[Block] = [part for one in found.cues for part in cues_section(one, level)]
    if not told:
        words = (
            "Identity cues are not tested: no panel here states a gender or an accent. A run that does, to be audited "
            "beside the others, is made with <code>serann annotate --panel identity-cues</code>."
        )
        told = [Words(Markup(words))]
    exposure = [Heading("What the model may have met"), Points(found.exposure)]
    return [Section("Is it listening, and what moves it?", [*heard, *moved, *told, *exposure])]


def controls_section(found: Controls) -> list[Block]:
    """The answer, and the run beside its controls."""
    head = ["what was heard", "human votes' worth", "gap closed, %", "share of the run's worth, %"]
    rows = [Row("the utterances", [worth_figure(found.worth), cell(found.gap, 0), "100"], "own")]
    for row in found.rows:
        rows.append(Row(row.control, [worth_figure(row.worth), cell(row.gap, 0), row.reason or share_in_words(row)]))
    caption = (
        f"{found.run} and its controls on the same {count(found.utterances, 'utterance')}: worth by log score, "
        "calibrated; the gap uncalibrated. Intervals by speaker."
    )
    return [
        Heading(f"Is it listening? {found.run}"),
        Words(controls_in_words(found)),
        Table(caption, head, rows),
    ]


def sensitivity_section(found: Sensitivity) -> list[Block]:
    """The answer, a table of factors within the run and one of those between runs."""
    parts: list[Block] = [Heading(f"Sensitivity: {found.run}")]
    if answer := sensitivity_in_words(found):
        parts.append(Words(answer))
    if found.reason:
        parts.append(Words(f"Within the run: not shown, {found.reason}."))
    head = ["factor", "levels", "bits by itself", "bits given the others", "share, %", "utterances"]
    if found.factors:
        rows = [_factor(one) for one in found.factors]
        if found.together is not None:
            rows.append(Row("only in combination", ["", cell(found.together), "–", "–", ""]))
        if found.total is not None:
            rows.append(Row("all listeners", [str(found.listeners), cell(found.total), "–", "100", ""], "own"))
        if found.temperature is not None:
            rows.append(Row("temperature (not counted)", ["", cell(found.temperature), "–", "–", ""]))
        constant = f" Not varied: {', '.join(found.not_varied)}." if found.not_varied else ""
        caption = (
            "Information about the label, given the utterance: by itself (the other factors averaged over), and with "
            f"the others held fixed. Intervals by speaker.{constant}"
        )
        parts.append(Table(caption, head, rows))
    if found.between:
        caption = f"Between {count(len(found.runs), 'run')}: information about the panel's answer, in bits."
        parts.append(Table(caption, head, [_factor(one) for one in found.between]))
    elif found.between_reason:
        parts.append(Words(f"Between runs: not shown, {found.between_reason}."))
    return parts


def _factor(found: FactorInformation) -> Row:
    names = ", ".join(found.levels)
    levels = str(len(found.levels)) if len(names) > LISTED else f"{len(found.levels)}: {names}"
    share = None if found.share is None else percent(found.share)
    heard = str(found.utterances) + (f" ({found.skipped} left out)" if found.skipped else "")
    alone = found.reason or cell(found.bits)
    return Row(found.factor, [levels, alone, cell(found.given_others), cell(share, 0), heard])


def cues_section(found: Cues | None, level: float) -> list[Block]:
    """Whether what the prompt states moves answers; nothing without cues."""
    if found is None:
        return []
    rows = []
    for pair in sorted(found.pairs, key=lambda pair: -pair.moved.value)[:MOST_PAIRS]:
        most = largest_shift(pair)
        shift = [most.label, signed_share(most.difference), p_value(most.p_adjusted)]
        rows.append(Row(f"{pair.factor}: {pair.part}", [cell(percent(pair.moved), 1), *shift]))
    caption = (
        "The prompt states a cue; the sound is the same. Moved: mean total variation of the answers. Largest shift: "
        f"the label whose mean probability moves most, tested by speaker, p corrected by {found.correction} over "
        f"all {count(found.tested, 'shift')}. Against nothing, the prompt has a sentence more, which may move "
        "answers whatever it says."
    )
    head = ["cue", "moved, points", "label", "largest shift, points", f"p, {found.correction}"]
    parts: list[Block] = [Heading(f"Identity cues in the prompt: {found.run}"), Words(cues_in_words(found, level))]
    return [*parts, Table(caption, head, rows)] if rows else parts


# --- agreement, saturation, failures of a panel


def details_sections(result: AuditResult, corpus: Corpus) -> list[Section]:
    """A section a panel, with every section that was measured of it."""
    return [
        Section(
            _title(found),
            [
                part
                for name, value in found.sections.items()
                for part in drawn(result, SECTIONS[name], value, corpus, panel=found.panel)
            ],
        )
        for found in result.details
    ]


def _title(found: Detail) -> str:
    """The panel, and which sections are of it: those that others explain (`EXPLAINED`) are not named."""
    named = [SECTIONS[name] for name in found.sections if name not in EXPLAINED]
    return f"{found.panel}: {', '.join(TITLES.get(one.name, one.title) for one in named)}"


def drawn(
    result: AuditResult, section: AuditSection, value: Any, corpus: Corpus, *, panel: str | None = None
) -> list[Block]:
    """A section's own words and pictures, or where it has none here its title, its definition and its figures."""
    if isinstance(value, Absent):
        return [Heading(section.title), Words(f"Not shown: {value.reason}.")]
    if section.name in DRAWN:
        return DRAWN[section.name](value, Page(result, corpus))
    rows = section_rows(result, section, value, panel)
    return [Heading(section.title), Words(section.about), figures_table(rows, result.settings["level"])]


def figures_table(rows: Sequence[dict[str, Any]], level: float) -> Table:
    """A section's figure rows as a table."""
    shown = [
        Row(row["part"] or "all", [row["metric"].replace("_", " "), _value(row), str(row.get("n") or ""), _why(row)])
        for row in rows
    ]
    caption = f"In brackets: {100 * level:.0f} % intervals by speaker, where there are some."
    return Table(caption, ["part", "figure", "value", "n", ""], shown)


def _value(row: dict[str, Any]) -> str:
    value, low, high = (row.get(name) for name in ("value", "low", "high"))
    return figure(math.nan if value is None else value, low, high)


def _why(row: dict[str, Any]) -> str:
    return row.get("reason") or ""


def agreement_section(found: PanelAgreement) -> list[Block]:
    """The answer, a line a pool, and one between them."""
    pools = (found.humans, found.synthetic)
    rows = []
    for pool in pools:
        coefficients = [cell(pool.coefficients[name]) for name in COEFFICIENTS]
        sizes = [str(pool.utterances), figure(pool.votes_an_utterance, digits=1)]
        rows.append(Row(pool.of, [*sizes, *coefficients, "–", "–"]))
    between = [cell(found.kappa_x), cell(found.normalised_kappa_x)]
    dashes = ["–"] * (1 + len(COEFFICIENTS))
    rows.append(Row("between the two", [str(found.utterances), *dashes, *between], "own"))
    titles = [title for title, *_ in COEFFICIENTS.values()]
    head = ["", "utterances", "votes each", *titles, "cross-kappa", "normalised"]
    caption = (
        f"Agreement within and between; the panel's votes are {found.votes_from}. Cross-kappa: Wong et al. "
        "2021, normalised by both pools' Krippendorff's alphas. Intervals by speaker."
    )
    reasons = {pool.reason for pool in pools} | {found.reason}
    notes = [note(f"{why[0].upper()}{why[1:]}.") for why in sorted(filter(None, reasons))]
    answer = Words(agreement_in_words(found))
    return [Heading(f"Agreement: {found.panel}"), answer, Table(caption, head, rows), *notes]


def alt_test_section(found: AltTestSection) -> list[Block]:
    """A line a test, and what the test cannot say."""
    title = Heading("Alternative annotator test")
    if found.reason:
        return [title, Words(f"Not made: {found.reason}.")]
    rows = []
    for test in found.tests:
        rates = (test.winning_rate, test.winning_rate_clustered, test.advantage_probability)
        tested = [test.scorer, f"{len(test.tested)} of {len(test.raters)}"]
        passes = "yes" if test.passes else "no"
        rows.append(Row(test.model, [*tested, *(figure(rate, digits=2) for rate in rates), passes]))
    head = ["", "scorer", "raters tested", "winning rate", "by speaker", "advantage probability", "passes"]
    caption = f"Alternative annotator test (Calderon et al. 2025), epsilon {found.tests[0].epsilon:g}"
    notes = " ".join(f"{words[0].upper()}{words[1:]}." for words in notes_in_words(found.notes))
    after = "The scorer log-score is an extension of serann's, not the paper's."
    return [title, Table(caption, head, rows), Words(f"{notes} {after}")]


def saturation_section(found: Saturation) -> list[Block]:
    """The answer, a picture a score, the fits."""
    title = Heading(f"Saturation: {found.panel}")
    if found.reason:
        return [title, Words(f"Not shown: {found.reason}.")]
    rows = []
    for curve in found.curves:
        fit = curve.fit
        fitted = [cell(value) for value in (fit.level, fit.drop, fit.b, fit.rate)]
        where = [figure(fit.point, digits=1), cell(fit.crossing, 1), figure(curve.shuffled_point, digits=1)]
        rows.append(Row(curve.score, [curve.how, *fitted, *where]))
    head = ["score", "values", "level y∞", "a", "b", "c", "saturation point", "without a grid", "shuffled panel's"]
    caption = (
        f"y∞ + b e^(−cx) fitted to n = 1 to {found.most_votes} votes {found.votes_from}, "
        f"{count(found.utterances, 'utterance')}; a = max(y) − y∞. The point is the first of 100 equally spaced x "
        "where the fitted curve is at most y∞ + 0.1 a (Zhang et al. 2026)."
    )
    return [
        title,
        Words(saturation_in_words(found)),
        Figures([Figure(saturation_curve(curve), cls="small") for curve in found.curves]),
        Table(caption, head, rows),
        *(Words(f"{curve.score}: {curve.fit.reason}.") for curve in found.curves if curve.fit.reason),
    ]


def failures_section(found: Failures, *, sound: Callable[[str], Sound | None] | None = None) -> list[Block]:
    """Where a panel is worse than elsewhere; `sound` gives that of an utterance id, for the surprises."""
    level = f"{100 * found.level:.0f} %"
    head = ["part", "utterances", "speakers", "squared error", "less the rest's", "the constant's", "p", "p, Holm"]
    caption = (
        "Each part against the other utterances of its factor. Positive differences: worse here. In brackets: "
        f"{level} intervals and p by the delete-one-speaker jackknife, p corrected over all parts by Holm. The "
        "constant's difference says how much harder the part is for a prediction that hears nothing."
    )
    parts: list[Block] = [
        Heading(f"Where {found.panel} fails"),
        Words(failures_in_words(found)),
        Table(caption, head, [_part(f"{row.factor}: {row.part}", row) for row in found.parts]),
    ]
    if found.speakers:
        caption = (
            f"The speakers of smallest p out of {found.speakers_tested}, each against the others, by utterance "
            f"(Welch's t): {found.speakers_worse} worse and {found.speakers_better} better after Holm's correction, "
            f"{level}."
        )
        parts.append(Table(caption, head, [_part(row.part, row) for row in found.speakers]))
    if found.left_out:
        left = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        parts.append(note(f"No parts are made of {left}."))
    return [*parts, *_surprises(found.surprises, found.labels, sound)]


def _part(name: str, row: PartRow) -> Row:
    cells = [str(row.utterances), str(row.speakers), figure(row.error), cell(row.difference), signed(row.constant)]
    return Row(name, [*cells, p_value(row.p), p_value(row.p_adjusted)])


def _surprises(
    found: Sequence[Surprise], labels: Sequence[str], sound: Callable[[str], Sound | None] | None
) -> list[Table]:
    if not found:
        return []
    rows = []
    for s in found:
        said = Cell(s.transcript or "", sound=sound(s.utterance_id) if sound else None)
        shares = [_largest(labels, s.human), _largest(labels, s.calibrated)]
        rows.append(Row(s.utterance_id, [s.speaker or "–", str(s.votes), figure(s.log_score), *shares, said]))
    head = ["utterance", "speaker", "votes", "log score", "people, %", "panel, calibrated, %", "said"]
    caption = (
        "The largest surprises: utterances whose human votes the panel's calibrated prediction held for least likely "
        "(nats per vote, all human votes). They are chosen by the outcome, to be heard; few votes surprise by chance."
    )
    return [Table(caption, head, rows)]


def _largest(labels: Sequence[str], shares: Sequence[float]) -> str:
    """The labels of 5 % or more, three at most, in percent."""
    order = sorted(range(len(labels)), key=lambda c: -shares[c])[:3]
    return ", ".join(f"{labels[c]} {100 * shares[c]:.0f}" for c in order if shares[c] >= 0.05)


# --- panels side by side, and other variants of the scores


def differences_section(differences: Sequence[Difference]) -> list[Block]:
    """A line a pair of panels; nothing for a single panel."""
    if not differences:
        return []
    rows = [Row(f"{d.panel} − {d.other}", [cell(row) for row in d.scores]) for d in differences]
    head = ["panel less the other", *(row.metric.replace("_", " ") for row in differences[0].scores)]
    caption = (
        "Panels side by side: differences on the same votes, paired by utterance, with intervals by speaker (each for "
        "itself, not corrected for their number). Below 0 the first is better in squared error, JSD and total "
        "variation, above 0 in the others."
    )
    return [Heading("Panels side by side"), Table(caption, head, rows)]


def variants_section(found: Variants) -> list[Block]:
    """A line a variant, a column per system, and what each variant is."""
    if not found.systems:
        return []
    shown = found.systems
    if len(shown) > MOST_COLUMNS:
        shown = [system for system in shown if not system.name.endswith(", shuffled")]
    left = " The shuffled panels are in the JSON." if len(shown) < len(found.systems) else ""
    by_system = [{row.metric: row for row in system.scores} for system in shown]
    rows, said = [], []
    for metric in by_system[0]:
        one, m = metric_of(metric), metric.partition("@")[2]
        head = f"{one.title}{f' @{m}' if m else ''} {one.arrow}".rstrip()
        rows.append(Row(head, [cell(s.get(metric)) for s in by_system]))
        said.append(f"{one.title}: {one.formula}.")
    caption = (
        f"The variants that papers use, against the same {found.votes_scored} votes per utterance. They are here for "
        "comparison with published figures and decide nothing: most are not proper, and what stands @m depends on m. "
        "Of the human curve its end is shown; shuffles and that end are of a seeded 100,000 utterances where there are "
        f"more.{left}"
    )
    table = Table(caption, ["variant", *(system.name for system in shown)], rows)
    about = Words("With q the prediction and y the shares of the votes:")
    return [Heading("Other variants"), table, about, Points(said, cls="note")]


# --- which sections have words and pictures of their own; any other is drawn from its figures


class Page(NamedTuple):
    """What a drawing may use beside its section's value."""

    result: AuditResult
    corpus: Corpus


def _failures(found: Failures, page: Page) -> list[Block]:
    """With the sounds of the few most surprising utterances."""
    rows = {} if without_sounds(page.corpus) else {name: i for i, name in enumerate(page.corpus.ids)}
    heard = {surprise.utterance_id for surprise in found.surprises[:SOUNDS]}

    def sound(name: str) -> Sound | None:
        return player(page.corpus, rows[name]) if name in heard and name in rows else None

    return failures_section(found, sound=sound)


DRAWN: dict[str, Callable[[Any, Page], list[Block]]] = {
    "agreement": lambda found, _: agreement_section(found),
    "alt_test": lambda found, _: alt_test_section(found),
    "saturation": lambda found, _: saturation_section(found),
    "failures": _failures,
    "differences": lambda found, _: differences_section(found),
    "variants": lambda found, _: variants_section(found),
    "listening": lambda found, page: list(listening_section(found, page.result.settings["level"])),
}
# How the heading of a panel calls its sections, and which it leaves out.
TITLES = {"agreement": "agreement", "saturation": "saturation", "failures": "failures"}
EXPLAINED = ("alt_test",)
