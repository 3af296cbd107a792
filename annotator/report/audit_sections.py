"""The sections of an audit's page: what each measured, as tables and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ...data.corpus import Corpus
from ..audit.alt_test_section import AltTestSection
from ..audit.controls import Controls
from ..audit.cues import Cues
from ..audit.failures import Failures, PartRow, Surprise
from ..audit.noninferiority import Difference
from ..audit.panel_agreement import COEFFICIENTS, PanelAgreement
from ..audit.saturation import Saturation, SaturationCurve
from ..audit.sections import Detail, Listening
from ..audit.variants import ABOUT, Variants
from .audit_words import (
    _share_in_words,
    agreement_in_words,
    controls_in_words,
    cues_in_words,
    failures_in_words,
    largest_shift,
    saturation_in_words,
    sensitivity_in_words,
    signed,
    signed_share,
)
from .figures import count, figure, worth_figure
from .html import cell, table
from .sounds import player, without_sounds
from .svg import Plot, nice_ticks, picture, spread_labels, tag, text

if TYPE_CHECKING:
    from ..audit.sensitivity import FactorInformation, Sensitivity


def controls_html(section: Controls) -> str:
    """The section as HTML: the answer, and the run beside its controls."""
    head = ["what was heard", "human votes' worth", "gap closed, %", "share of the run's worth, %"]
    rows = [("the utterances", [worth_figure(section.worth), cell(section.gap, 0), "100"], "own")]
    for row in section.rows:
        share = escape(row.reason) if row.reason else _share_in_words(row)
        rows.append((row.control, [worth_figure(row.worth), cell(row.gap, 0), share], ""))
    caption = (
        f"{escape(section.run)} and its controls on the same {count(section.utterances, 'utterance')}: worth by log "
        "score, calibrated; the gap uncalibrated. Intervals by speaker."
    )
    answer = escape(controls_in_words(section))
    return f"<h3>Is it listening? {escape(section.run)}</h3><p>{answer}</p>{table(caption, head, rows)}"


# Pairs of levels that a report shows.
MOST_PAIRS = 12


def cues_html(section: Cues | None, level: float) -> str:
    """The section as HTML; nothing without cues."""
    if section is None:
        return ""
    rows = []
    for pair in sorted(section.pairs, key=lambda pair: -pair.moved.value)[:MOST_PAIRS]:
        most = largest_shift(pair)
        moved = pair.moved._replace(**{name: 100 * getattr(pair.moved, name) for name in ("value", "low", "high")})
        told = "–" if np.isnan(most.p_adjusted) else "&lt; .001" if most.p_adjusted < 0.001 else figure(most.p_adjusted)
        rows.append(
            (
                f"{pair.factor}: {pair.part}",
                [cell(moved, 1), escape(most.label), signed_share(most.difference), told],
                "",
            )
        )
    caption = (
        "The prompt states a cue; the sound is the same. Moved: mean total variation of the answers. Largest shift: "
        f"the label whose mean probability moves most, tested by speaker, p corrected by {section.correction} over "
        f"all {count(section.tested, 'shift')}. Against nothing, the prompt has a sentence more, which may move "
        "answers whatever it says."
    )
    head = ["cue", "moved, points", "label", "largest shift, points", f"p, {section.correction}"]
    body = table(caption, head, rows) if rows else ""
    answer = escape(cues_in_words(section, level))
    return f"<h3>Identity cues in the prompt: {escape(section.run)}</h3><p>{answer}</p>{body}"


# Players a panel: each may hold 100 kB.
SOUNDS = 6


def details_html(details: Sequence[Detail], corpus: Corpus) -> str:
    """A section a panel, with the sounds of its few most surprising utterances."""
    row = {name: i for i, name in enumerate(corpus.ids)}
    heard = {found.panel: {s.utterance_id for s in found.failures.surprises[:SOUNDS]} for found in details}
    return "".join(
        _detail_page(found, lambda name, of=found.panel: _detail_sound(corpus, row, name, heard[of]))
        for found in details
    )


def _detail_sound(corpus: Corpus, row: dict[str, int], name: str, heard: set[str]) -> str:
    return player(corpus, row[name]) if name in heard and not without_sounds(corpus) else ""


def _detail_page(found: Detail, sound: Callable[[str], str]) -> str:
    return (
        f"<section><h2>{escape(found.panel)}: agreement, saturation, failures</h2>"
        f"{agreement_html(found.agreement)}{alt_test_html(found.alt_test)}"
        f"{saturation_html(found.saturation)}{failures_html(found.failures, player=sound)}</section>\n"
    )


def failures_html(section: Failures, *, player: Callable[[str], str] | None = None) -> str:
    """The section as HTML; `player` gives the HTML of an utterance id's sound, for the surprises."""
    level = f"{100 * section.level:.0f} %"
    head = ["part", "utterances", "speakers", "squared error", "less the rest's", "the constant's", "p", "p, Holm"]
    caption = (
        "Each part against the other utterances of its factor. Positive differences: worse here. In brackets: "
        f"{level} intervals and p by the delete-one-speaker jackknife, p corrected over all parts by Holm. The "
        "constant's difference says how much harder the part is for a prediction that hears nothing."
    )
    parts = table(caption, head, [_failures_row(f"{row.factor}: {row.part}", row) for row in section.parts])
    of_speakers = (
        f"The speakers of smallest p out of {section.speakers_tested}, each against the others, by utterance (Welch's "
        f"t): {section.speakers_worse} worse and {section.speakers_better} better after Holm's correction, {level}."
    )
    named = (
        table(of_speakers, head, [_failures_row(row.part, row) for row in section.speakers]) if section.speakers else ""
    )
    left = "; ".join(f"{name}: {why}" for name, why in section.left_out.items())
    without = f'<p class="note">No parts are made of {escape(left)}.</p>' if left else ""
    answer = escape(failures_in_words(section))
    return (
        f"<h3>Where {escape(section.panel)} fails</h3><p>{answer}</p>{parts}{named}{without}"
        f"{surprises_html(section.surprises, section.labels, player)}"
    )


def _failures_row(name: str, row: PartRow) -> tuple[str, list[str], str]:
    cells = [str(row.utterances), str(row.speakers), figure(row.error), cell(row.difference), signed(row.constant)]
    return name, [*cells, _failures_p(row.p), _failures_p(row.p_adjusted)], ""


def _failures_p(value: float) -> str:
    return "–" if math.isnan(value) else "&lt; .001" if value < 0.001 else figure(value)


def listening_html(found: Listening, level: float) -> str:
    """The section; without runs there is none."""
    if found.sensitivity is None:
        return ""
    heard = (
        controls_html(found.controls)
        if found.controls is not None
        else "<p>No control was given, so nothing tells the voice's part from the words': make runs with "
        "<code>serann annotate --control transcript-only</code> (silence, noise, other-voice) and audit them beside "
        "the run.</p>"
    )
    moved = "".join(sensitivity_html(one) for one in (found.sensitivity, *found.others))
    told = "".join(cues_html(one, level) for one in found.cues)
    if not told:
        told = (
            "<p>Identity cues are not tested: no panel here states a gender or an accent. A run that does, to be "
            "audited beside the others, is made with <code>serann annotate --panel identity-cues</code>.</p>"
        )
    exposure = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.exposure)
    return (
        f"<section><h2>Is it listening, and what moves it?</h2>{heard}{moved}{told}"
        f"<h3>What the model may have met</h3><ul>{exposure}</ul></section>\n"
    )


def agreement_html(section: PanelAgreement) -> str:
    """The section as HTML: a line a pool, and one between them."""
    pools = (section.humans, section.synthetic)
    rows = [
        (
            pool.of,
            [str(pool.utterances), figure(pool.votes_an_utterance, digits=1)]
            + [cell(pool.coefficients[name]) for name in COEFFICIENTS]
            + ["–", "–"],
            "",
        )
        for pool in pools
    ]
    between = [cell(section.kappa_x), cell(section.normalised_kappa_x)]
    rows.append(("between the two", [str(section.utterances), "–", *["–"] * len(COEFFICIENTS), *between], "own"))
    head = [
        "",
        "utterances",
        "votes each",
        *(title for title, *_ in COEFFICIENTS.values()),
        "cross-kappa",
        "normalised",
    ]
    caption = (
        f"Agreement within and between; the panel's votes are {escape(section.votes_from)}. Cross-kappa: Wong et al. "
        "2021, normalised by both pools' Krippendorff's alphas. Intervals by speaker."
    )
    reasons = {pool.reason for pool in pools} | {section.reason}
    notes = "".join(f'<p class="note">{escape(why[0].upper() + why[1:])}.</p>' for why in sorted(filter(None, reasons)))
    answer = escape(agreement_in_words(section))
    return f"<h3>Agreement: {escape(section.panel)}</h3><p>{answer}</p>{table(caption, head, rows)}{notes}"


def saturation_html(section: Saturation) -> str:
    """The section as HTML: the answer, a picture a score, the fits."""
    title = f"<h3>Saturation: {escape(section.panel)}</h3>"
    if section.reason:
        return f"{title}<p>Not shown: {escape(section.reason)}.</p>"
    pictures = "".join(f'<figure class="small">{_saturation_picture(curve)}</figure>' for curve in section.curves)
    rows = [
        (
            c.score,
            [
                c.how,
                cell(c.fit.level),
                cell(c.fit.drop),
                cell(c.fit.b),
                cell(c.fit.rate),
                figure(c.fit.point, digits=1),
                cell(c.fit.crossing, 1),
                figure(c.shuffled_point, digits=1),
            ],
            "",
        )
        for c in section.curves
    ]
    head = ["score", "values", "level y∞", "a", "b", "c", "saturation point", "without a grid", "shuffled panel's"]
    caption = (
        f"y∞ + b e^(−cx) fitted to n = 1 to {section.most_votes} votes {escape(section.votes_from)}, "
        f"{count(section.utterances, 'utterance')}; a = max(y) − y∞. The point is the first of 100 equally spaced x "
        "where the fitted curve is at most y∞ + 0.1 a (Zhang et al. 2026)."
    )
    reasons = "".join(f"<p>{escape(c.score)}: {escape(c.fit.reason)}.</p>" for c in section.curves if c.fit.reason)
    return (
        f'{title}<p>{escape(saturation_in_words(section))}</p><div class="figures">{pictures}</div>'
        f"{table(caption, head, rows)}{reasons}"
    )


def _saturation_picture(curve: SaturationCurve) -> str:
    own = [(n, v.value) for n, v in enumerate(curve.values, start=1)]
    lines = [
        (own, "curve panel-0", "panel"),
        (list(enumerate(curve.shuffled, start=1)), "curve thin panel-0", "shuffled"),
    ]
    if curve.human:
        lines.append((curve.human, "curve raw", "human votes"))
    values = [y for points, *_ in lines for _, y in points] + ([curve.limit.value] if curve.limit else [])
    plot = Plot(52, 34, 300, 236, [1, len(own)], nice_ticks(min(0, *values), max(values)))
    body = plot.axes(x_label="votes used as the prediction", y_label=curve.score, x_ticks=_saturation_ticks(len(own)))
    if curve.limit:
        body.append(plot.level(curve.limit.value, cls="level perfect"))
    tags = [(plot.y(curve.limit.value), "its p", "perfect")] if curve.limit else []
    for points, cls, name in lines:
        shown = [(n, y) for n, y in points if n <= len(own)]
        body.append(plot.line(shown, cls=cls))
        tags.append((plot.y(shown[-1][1]), name, "raw" if name == "human votes" else "panel-0"))
    body += [plot.whisker(n, v.low, v.high, cls="whisker panel-0") for n, v in enumerate(curve.values, start=1)]
    places = spread_labels([y for y, *_ in tags], top=plot.top, bottom=plot.bottom)
    for y, (at, name, cls) in zip(places, tags, strict=True):
        body.append(tag("line", cls="leader", x1=plot.right + 2, x2=plot.right + 10, y1=at, y2=y))
        body.append(text(plot.right + 13, y + 4, name, cls=f"label {cls}", anchor="start"))
    said = f"{figure(own[0][1])} at 1 vote, {figure(own[-1][1])} at {len(own)}"
    return picture(460, 312, body, title=f"{curve.score} against the number of synthetic votes", description=said)


def _saturation_ticks(last: int) -> list[float]:
    return [1.0, *(float(n) for n in range(5, last + 1, 5))] if last > 6 else [float(n) for n in range(1, last + 1)]


def differences_html(differences: Sequence[Difference]) -> str:
    """A table: a line a pair of panels; nothing for a single panel."""
    if not differences:
        return ""
    rows = [(f"{d.panel} − {d.other}", [cell(row) for row in d.scores], "") for d in differences]
    head = ["panel less the other", *(row.metric.replace("_", " ") for row in differences[0].scores)]
    caption = (
        "Panels side by side: differences on the same votes, paired by utterance, with intervals by speaker (each for "
        "itself, not corrected for their number). Below 0 the first is better in squared error, JSD and total "
        "variation, above 0 in the others."
    )
    return f"<h3>Panels side by side</h3>{table(caption, head, rows)}"


def surprises_html(found: Sequence[Surprise], labels: Sequence[str], player: Callable[[str], str] | None = None) -> str:
    """The surprises as a table; `player` gives the HTML of an utterance id's sound."""
    if not found:
        return ""
    rows = []
    for s in found:
        cells = [escape(s.speaker or "–"), str(s.votes), figure(s.log_score)]
        cells += [escape(_surprises_largest(labels, s.human)), escape(_surprises_largest(labels, s.calibrated))]
        rows.append(
            (s.utterance_id, [*cells, escape(s.transcript or "") + (player(s.utterance_id) if player else "")], "")
        )
    head = ["utterance", "speaker", "votes", "log score", "people, %", "panel, calibrated, %", "said"]
    caption = (
        "The largest surprises: utterances whose human votes the panel's calibrated prediction held for least likely "
        "(nats per vote, all human votes). They are chosen by the outcome, to be heard; few votes surprise by chance."
    )
    return table(caption, head, rows)


def _surprises_largest(labels: Sequence[str], shares: Sequence[float]) -> str:
    """The labels of 5 % or more, three at most, in percent."""
    order = sorted(range(len(labels)), key=lambda c: -shares[c])[:3]
    return ", ".join(f"{labels[c]} {100 * shares[c]:.0f}" for c in order if shares[c] >= 0.05)


# of the page's table, so that it fits a sheet
MOST_COLUMNS = 8


def variants_html(section: Variants) -> str:
    """The section as HTML: a line a variant, a column a system."""
    if not section.systems:
        return ""
    shown = section.systems
    if len(shown) > MOST_COLUMNS:
        shown = [system for system in shown if not system.name.endswith(", shuffled")]
    left = " The shuffled panels are in the JSON." if len(shown) < len(section.systems) else ""
    by_system = [{row.metric: row for row in system.scores} for system in shown]
    rows, said = [], []
    for metric in by_system[0]:
        name, _, m = metric.partition("@")
        title, better, what = ABOUT[name]
        rows.append((f"{title}{f' @{m}' if m else ''} {better}".rstrip(), [cell(s.get(metric)) for s in by_system], ""))
        said.append(f"<li>{escape(title)}: {escape(what)}.</li>")
    head = ["variant", *(escape(system.name) for system in shown)]
    caption = (
        f"The variants that papers use, against the same {section.votes_scored} votes an utterance. They are here for "
        "comparison with published figures and decide nothing: most are not proper, and what stands @m depends on m. "
        "Of the human curve its end is shown; shuffles and that end are of a seeded 100,000 utterances where there are "
        f"more.{left}"
    )
    about = f'<p>With q the prediction and y the shares of the votes:</p><ul class="note">{"".join(said)}</ul>'
    return f"<h3>Other variants</h3>{table(caption, head, rows)}{about}"


def alt_test_html(section: AltTestSection) -> str:
    """The section as HTML: a line a test, and what the test cannot say."""
    sentences = [f"{note[0].upper()}{note[1:]}." for note in section.notes]
    if section.reason:
        return f"<h3>Alternative annotator test</h3><p>Not made: {escape(section.reason)}.</p>"
    rows = [
        (
            test.model,
            [
                escape(test.scorer),
                f"{len(test.tested)} of {len(test.raters)}",
                figure(test.winning_rate, digits=2),
                figure(test.winning_rate_clustered, digits=2),
                figure(test.advantage_probability, digits=2),
                "yes" if test.passes else "no",
            ],
            "",
        )
        for test in section.tests
    ]
    head = ["", "scorer", "raters tested", "winning rate", "by speaker", "advantage probability", "passes"]
    caption = f"Alternative annotator test (Calderon et al. 2025), epsilon {section.tests[0].epsilon:g}"
    return (
        f"<h3>Alternative annotator test</h3>{table(caption, head, rows)}<p>{escape(' '.join(sentences))} The scorer "
        "log-score is an extension of serann's, not the paper's.</p>"
    )


# Levels are named where their names are no longer than this together.
LISTED = 60


def sensitivity_html(section: Sensitivity) -> str:
    """The section as HTML: the answer, a table of factors within the run and one of those between runs."""
    parts = [f"<h3>Sensitivity: {escape(section.run)}</h3>"]
    if answer := sensitivity_in_words(section):
        parts.append(f"<p>{escape(answer)}</p>")
    if section.reason:
        parts.append(f"<p>Within the run: not shown, {escape(section.reason)}.</p>")
    if section.factors:
        rows = [_sensitivity_cells(f) for f in section.factors]
        if section.together is not None:
            rows.append(("only in combination", ["", cell(section.together), "–", "–", ""], ""))
        if section.total is not None:
            rows.append(("all listeners", [str(section.listeners), cell(section.total), "–", "100", ""], "own"))
        if section.temperature is not None:
            rows.append(("temperature (not counted)", ["", cell(section.temperature), "–", "–", ""], ""))
        parts.append(table(_sensitivity_caption(section), _sensitivity_head("share, %"), rows))
    if section.between:
        caption = f"Between {count(len(section.runs), 'run')}: information about the panel's answer, in bits."
        parts.append(table(caption, _sensitivity_head("share, %"), [_sensitivity_cells(f) for f in section.between]))
    elif section.between_reason:
        parts.append(f"<p>Between runs: not shown, {escape(section.between_reason)}.</p>")
    return "".join(parts)


def _sensitivity_head(share: str) -> list[str]:
    return ["factor", "levels", "bits by itself", "bits given the others", share, "utterances"]


def _sensitivity_cells(found: FactorInformation) -> tuple[str, list[str], str]:
    names = ", ".join(found.levels)
    levels = str(len(found.levels)) if len(names) > LISTED else f"{len(found.levels)}: {escape(names)}"
    share = (
        None
        if found.share is None
        else found.share._replace(value=100 * found.share.value, low=100 * found.share.low, high=100 * found.share.high)
    )
    heard = str(found.utterances) + (f" ({found.skipped} left out)" if found.skipped else "")
    alone = escape(found.reason) if found.reason else cell(found.bits)
    return found.factor, [levels, alone, cell(found.given_others), cell(share, 0), heard], ""


def _sensitivity_caption(section: Sensitivity) -> str:
    constant = f" Not varied: {', '.join(section.not_varied)}." if section.not_varied else ""
    return (
        "Information about the label, given the utterance: by itself (the other factors averaged over), and with the "
        f"others held fixed. Intervals by speaker.{escape(constant)}"
    )
