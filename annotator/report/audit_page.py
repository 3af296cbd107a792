"""The report: one HTML page that opens offline, with the answer first and every number's exact variant at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.metric import METRICS, metric_of
from ...data.scores.scoring import ScoreRow
from ..audit.calibration import REFITTED_ON
from ..audit.effective_votes import Worth
from ..audit.result import AuditResult, Check, Example, LabelRow, PanelResult, StratumRow, System
from ..audit.sections import SECTIONS
from . import audit_pictures as pictures
from .audit_sections import details_sections, drawn, percent
from .audit_words import (
    answers,
    calibration_in_words,
    mass_warning,
    nearest_human_votes,
    remarks,
)
from .blocks import (
    Answer,
    Block,
    Card,
    Cards,
    Cell,
    Facts,
    Figure,
    Figures,
    Heading,
    Legend,
    Points,
    Row,
    Section,
    Swatch,
    Table,
    Tile,
    Tiles,
    Words,
    bounds,
    cell,
    simulated,
)
from .figures import count, figure, mass_figure, worth_figure
from .page import fill
from .pictures import heat_map
from .sounds import player, without_sounds

# Sections of the whole audit that have a place of their own on the page; others follow what is said of the panels.
PLACED = ("differences", "listening")


def render(result: AuditResult, corpus: Corpus) -> str:
    """The page as text."""

    def _drawn(name: str) -> list[Block]:
        """A section of the whole audit; nothing where it was not measured."""
        if name not in result.sections:
            return []
        return drawn(result, SECTIONS[name], result.sections[name], corpus)

    voices = simulated("Its voices are synthetic and its votes were")
    sections: list[Block] = [
        _answer(result),
        Section("Scores", [_headline(result), *_drawn("differences")]),
        Section("Between a constant and human votes", [_curves(result)]),
        _ambiguity(result),
        worth_section(result),
        _labels(result),
        *_drawn("listening"),
        *details_sections(result, corpus),
        *(part for name in result.sections if name not in PLACED for part in _drawn(name)),
        _listen(result, corpus),
    ]
    return fill(
        "audit",
        names=", ".join(panel.name for panel in result.panels),
        corpus=result.corpus,
        reference=result.reference,
        notes=[voices] if result.corpus["simulated"] else [],
        sections=sections,
        facts=_facts(result),
        **methods(result),
    )


def methods(result: AuditResult) -> dict[str, Any]:
    """What the template of the methods names."""
    settings, panels, listening = result.settings, result.panels, result.sections.get("listening")
    used = [f"{panel.name}: {calibration_in_words(panel.effective_votes.calibration)}" for panel in panels]
    rows = [row.method for system in result.systems for row in system.scores]
    own = ("none", "by construction")
    return {
        **{name: settings[name] for name in ("votes_scored", "seed", "draws", "folds", "folds_of")},
        "level": f"{100 * settings['level']:.0f}",
        "own": "speaker" if settings["folds_of"] == "speakers" else "fold",
        "constant": result.system("constant").note or "",
        "fitted": max(panel.effective_votes.fitted_on for panel in panels),
        "used": "; ".join(used),
        "margin": f"{100 * panels[0].non_inferiority.margin_share:.0f}",
        "many": result.reference["utterances"] > REFITTED_ON,
        "refitted_on": f"{REFITTED_ON:,}",
        "listened": listening is not None and listening.sensitivity is not None,
        "intervals": sorted({method for method in rows if not method.startswith(own)}),
        "kinds": {"humans" if panel.kind == "humans" else panel.about.get("mode", "exact") for panel in panels},
        "panels": panels,
    }


def _color(place: int) -> str:
    """The class of a panel's colour."""
    return f"panel-{place % 5}"


# --- the answer


def _answer(result: AuditResult) -> Section:
    """A block a panel, then the notes and what is known of the models' having met the corpus."""
    parts: list[Block] = []
    for i, (panel, words) in enumerate(zip(result.panels, answers(result), strict=True)):
        warning = mass_warning(panel)
        said = Words(words.removeprefix(warning), strong=warning)
        parts.append(Answer(panel.name, _color(i), [Tiles(_tiles(result, panel)), said]))
    listening = result.sections.get("listening")
    exposure = [] if listening is None else listening.exposure
    notes = [*remarks(result), *exposure]
    return Section("The answer", [*parts, *([Points(notes, cls="note")] if notes else [])])


def _tiles(result: AuditResult, panel: PanelResult) -> list[Tile]:
    system = result.system("panel", panel.name)
    sq, log = system.score("sq_unbiased"), system.score("log_score")
    assert sq is not None
    assert log is not None
    votes, _, between = worth_figure(panel.effective_votes.overall()).partition(" [")
    closed = "–" if math.isnan(panel.gap.value) else f"{figure(panel.gap.value, digits=0)} %"
    matched = nearest_human_votes(result, panel)
    return [
        Tile(votes, f"[{between}" if between else "", "human votes it is worth once calibrated, by log score"),
        Tile(closed, bounds(panel.gap, 0), "of the gap from constant to perfect closed"),
        Tile(figure(sq.value), bounds(sq), "squared error, without the votes' noise (0 is perfect)"),
        Tile(figure(log.value), bounds(log), "log score, nats per human vote (higher is better)"),
        Tile(matched, "", "human votes that it matches as it is, uncalibrated (squared error)"),
    ]


# --- every prediction on the same votes, and where panels lie between them

NO_BREAK = "\N{NO-BREAK SPACE}"


def _headline(result: AuditResult) -> Table:
    """Every prediction's scores, with intervals: the constant, n human votes, the panels, perfection."""
    metrics = [row.metric for row in result.system("panel", result.panels[0].name).scores]
    rows = [Row(s.name, _cells(s.scores, metrics), "own" if s.kind == "panel" else "") for s in _in_order(result)]
    human = [
        Row(f"{count(p.n, 'human vote')}, {p.kind}", _cells(p.scores, metrics))
        for p in sorted(result.curve, key=lambda p: (p.kind, p.n))
        if p.n
    ]
    level = f"{100 * result.settings['level']:.0f} %"
    caption = (
        f"Table 1. Every prediction against the same {result.settings['votes_scored']} held-out human votes an "
        f"utterance, mean over {count(result.settings['draws'], 'draw')} of them. In brackets: {level} intervals by "
        "speaker. The two columns to judge by come first; what stands @m depends on m."
    )
    return Table(caption, ["prediction", *map(_head, metrics)], [*rows[:1], *human, *rows[1:]])


def _head(metric: str) -> str:
    """A column's name; its signs stay beside it."""
    found, m = metric_of(metric), metric.partition("@")[2]
    return NO_BREAK.join([found.title, *([f"@{m}"] if m else []), found.arrow])


def _in_order(result: AuditResult) -> list[System]:
    """Constant first, then the panels with what belongs to them, perfection last."""
    place = {"constant": 0, "panel": 1, "sampled": 1, "shuffled": 1, "perfect": 2}
    return sorted(result.systems, key=lambda system: place[system.kind])


def _cells(scores: Sequence[ScoreRow], metrics: Sequence[str]) -> list[Cell]:
    by_name = {row.metric: row for row in scores}
    return [cell(by_name.get(metric)) for metric in metrics]


def _curves(result: AuditResult) -> Figures:
    """The panels' levels across the curves of n human votes, in squared error and in JSD."""
    m = result.settings["votes_scored"]
    squared = (
        "How many other people one would have to ask: squared error of n human votes, as raw frequencies and smoothed "
        "towards what utterances are like in general; the panels' level across it, with its interval."
    )
    jsd = (
        f"The same in Jensen-Shannon divergence to {m} votes. Its floor is not 0: the true distribution itself is that "
        "far from so few votes."
    )
    return Figures(
        [
            Figure(pictures.human_curve(result, "sq_unbiased", name="squared error"), squared, "Figure 1."),
            Figure(pictures.human_curve(result, "jsd_bits", name=f"JSD in bits @{m}"), jsd, "Figure 2."),
        ]
    )


# --- by ambiguity and by label

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _number(number: int, place: int, result: AuditResult) -> str:
    """`Figure 4.`, or `Figure 4b.` where there are several panels."""
    return f"Figure {number}{LETTERS[place % len(LETTERS)] if len(result.panels) > 1 else ''}."


def _of(panel: str, part: str, result: AuditResult) -> str:
    return f"{panel}, {part}" if len(result.panels) > 1 else part


def _ambiguity(result: AuditResult) -> Section:
    """Panels' ambiguity against people's, by thirds and by utterance, and the scores in the thirds."""
    words = (
        "Chance that two listeners disagree, in panel and people, by thirds of the utterances. Above the "
        "diagonal a panel is more divided than people are, below it surer than they are."
    )
    drawn = [Figure(pictures.ambiguity_by_thirds(result), words, "Figure 3.", "small")]
    words = "The same for single utterances; few human votes take few values, hence the columns."
    for i, panel in enumerate(result.panels):
        dots = pictures.ambiguity_scatter(result, panel.name, cls=_color(i))
        drawn.append(Figure(dots, words, _number(4, i, result), "small"))
    return Section("Ambiguity", [Figures(drawn), _thirds_table(result)])


def _thirds_table(result: AuditResult) -> Block:
    rows = [Row(_of(panel.name, s.third, result), _third_cells(s)) for panel in result.panels for s in panel.strata]
    if not rows:
        return Words("Too few votes beside the scored ones to cut thirds.")
    head = ["third", "utterances", "human ambiguity", "panel ambiguity", "squared error ↓", "of the constant"]
    head += ["gap closed, %", "log score ↑", f"JSD, bits @{result.settings['votes_scored']} ↓"]
    caption = "Table 2. By ambiguity, cut by votes that are not scored, ties at a border broken at random by the seed."
    return Table(caption, head, rows)


def _third_cells(s: StratumRow) -> list[Cell | str]:
    scores, plain = ({row.metric.split("@")[0]: row for row in rows} for rows in (s.scores, s.constant))
    ambiguity = [cell(s.human_ambiguity), cell(s.panel_ambiguity)]
    errors = [cell(scores["sq_unbiased"]), cell(plain["sq_unbiased"])]
    return [
        str(s.utterances),
        *ambiguity,
        *errors,
        cell(s.gap, 0),
        cell(scores["log_score"]),
        cell(scores["jsd_bits"]),
    ]


def _labels(result: AuditResult) -> Section:
    """Where panels' mass goes given people's, people's own, and each label against the rest."""
    names, drawn = result.corpus["labels"], []
    for i, panel in enumerate(result.panels):
        words = f"{panel.name}: where its mass goes, in percent, given where the human votes went (rows add to 100)."
        picture = heat_map(panel.name, panel.confusion, names)
        drawn.append(Figure(picture, words, _number(5, i, result), "small"))
    if result.reference["confusion"] is not None:
        words = (
            "The same for the other human votes: what a perfect panel would show. People disagree about the same "
            "utterance, so it is not diagonal."
        )
        picture = heat_map("other humans", result.reference["confusion"], names)
        drawn.append(Figure(picture, words, "Figure 6.", "small"))
    rows = [
        Row(_of(panel.name, row.label, result), _label_cells(row)) for panel in result.panels for row in panel.labels
    ]
    head = ["label", "human votes, %", "panel's mass, %", "difference, points", "squared error ↓", "of the constant"]
    caption = "Table 3. Each label against the rest. The squared errors of the labels add up to the one of Table 1."
    return Section("Labels", [Figures(drawn), Table(caption, head, rows)])


def _label_cells(row: LabelRow) -> list[Cell | str]:
    shares = [cell(percent(row.panel), 1), cell(percent(row.bias), 1)]
    return [f"{100 * row.human:.1f}", *shares, cell(row.sq_unbiased, 4), cell(row.sq_constant, 4)]


# --- worth: the human curve with the panels on it, effective votes, single votes, the gate

# by which panels are matched to the human curve
SCORES = ("log_score", "sq_unbiased", "jsd_bits")
PARTS = {"label": "label against the rest", "ambiguity": "ambiguity third", "subgroup": "subgroup"}
VERDICTS = {True: "yes", False: "no", None: "cannot be told"}


def worth_section(result: AuditResult) -> Section:
    """What panels are worth in human votes."""
    drawn = []
    for score in ("log_score", "sq_unbiased"):
        if len(pictures.curve_points(result, score)) > 1:
            name = METRICS[score].title
            words = (
                f"{name.capitalize()} of the best prediction from n human votes (curve), with "
                f"{100 * result.settings['level']:.0f} % intervals; each panel, calibrated, where its own lies on it, "
                "and every n that it is not told from (bar)."
            )
            drawn.append(Figure(pictures.worth_curve(result, score, name=name), words, cls="small"))
    return Section("Worth in human votes", [Figures(drawn), _worth_table(result), vote_table(result), *_gate(result)])


def _worth_table(result: AuditResult) -> Table:
    """Effective votes overall by three scores, then by label, ambiguity and subgroup."""
    rows = []
    for panel in result.panels:
        worth = panel.effective_votes
        rows.append(Row(panel.name, [str(worth.utterances), *_three(worth.rows, "overall", "all")], "own"))
        for where, part in dict.fromkeys((r.where, r.part) for r in worth.rows if r.where != "overall"):
            size = next(r.utterances for r in worth.rows if (r.where, r.part) == (where, part))
            rows.append(Row(f"{PARTS[where]}: {part}", [str(size), *_three(worth.rows, where, part)]))
    every = [r for panel in result.panels for r in panel.effective_votes.rows]
    reasons = dict.fromkeys(r.reason for r in every if r.reason)
    if any(r.groups < 2 and r.where != "overall" for r in every):
        reasons["fewer than two speakers"] = None
    dash = f" Dash: not identifiable, {'; '.join(reasons)}." if reasons else ""
    caption = (
        "Human votes that the panel's calibrated prediction is worth, by the score that is matched. “At least”: better "
        f"than all of the human curve; “…”: the interval reaches beyond its end.{dash}"
    )
    return Table(
        caption, ["panel and part", "utterances", *(METRICS[score].title.partition(",")[0] for score in SCORES)], rows
    )


def _three(rows: list[Worth], where: str, part: str) -> list[str]:
    """The worth by each score; a part of one speaker's utterances tells of that speaker, and shows none."""
    found = {r.score.split("@")[0]: r for r in rows if (r.where, r.part) == (where, part)}
    if where != "overall" and all(r.groups < 2 for r in found.values()):
        return ["–"] * len(SCORES)
    return [worth_figure(found[score]) if score in found else "" for score in SCORES]


def vote_table(result: AuditResult) -> Table:
    """One synthetic vote against one more human vote, and the independent listeners."""
    rows = []
    for panel in result.panels:
        found, own = panel.non_inferiority, panel.independence
        scores = [cell(x) for x in (found.synthetic, found.human, found.constant, found.difference)]
        verdict = [f"{found.margin:.3f}", VERDICTS[found.non_inferior], VERDICTS[found.equivalent]]
        rows.append(Row(panel.name, [*scores, *verdict, cell(own and own.independent_listeners, 1)]))
    head = ["panel", "vote of the panel", "human vote", "no vote", "panel − human", "margin", "not inferior"]
    caption = (
        "One vote as the only witness of an utterance: log score, nats, of what it predicts of the votes that are "
        f"scored. Margin: {100 * result.panels[0].non_inferiority.margin_share:.0f} % of human − no vote. "
        "Non-inferiority decides."
    )
    return Table(caption, [*head, "equivalent", "independent listeners"], rows)


def _gate(result: AuditResult) -> list[Table]:
    """What was required, found, and met or missed; nothing without a gate."""
    if not result.checks:
        return []
    rows = [
        Row(c.requirement, [c.panel, f"{c.found:.4g}" if np.isfinite(c.found) else "–", _outcome(c)])
        for c in result.checks
    ]
    return [Table("What this audit was required to show.", ["requirement", "panel", "found", "outcome"], rows)]


def _outcome(check: Check) -> Cell:
    reason = f" ({check.reason})" if check.reason else ""
    return Cell(f"met{reason}") if check.met else Cell(reason, strong="missed")


# --- utterances to hear, where a panel and people agree most and least

PLAYERS = 16
UNHEARD = " The corpus names no sounds, so they can only be read."


def _listen(result: AuditResult, corpus: Corpus) -> Section:
    """Cards with bars and players, shared among the panels; one that cannot be heard says why."""
    each = max(1, PLAYERS // (2 * len(result.panels)))
    row_of = {name: i for i, name in enumerate(corpus.ids)}
    silent = without_sounds(corpus)
    words = (
        "Utterances with the largest and the smallest squared error against all their human votes (the votes' noise "
        "taken off, so that it can be below 0). They are chosen by the outcome, to be heard; no figure of this report "
        f"rests on them.{UNHEARD if silent else ''}"
    )
    parts: list[Block] = [Words(words)]
    for i, panel in enumerate(result.panels):
        parts.append(Legend([Swatch("human", "human votes, percent"), Swatch(_color(i), panel.name)]))
        for agreement, title in (("least", "Where they agree least"), ("most", "Where they agree most")):
            cards = []
            for example in [e for e in panel.examples if e.agreement == agreement][:each]:
                heard = [] if silent else [("", player(corpus, row_of[example.utterance_id]))]
                picture = pictures.side_by_side(example, result.corpus["labels"], cls=_color(i))
                cards.append(Card(example.utterance_id, _lines(example), picture, heard))
            parts += [Heading(title), Cards(cards)]
    return Section("Listen", parts)


def _lines(example: Example) -> list[str]:
    who = f"speaker {example.speaker}" if example.speaker else "speaker unknown"
    error = f"squared error {figure(example.sq_unbiased, digits=2)}, JSD {figure(example.jsd_bits, digits=2)} bits"
    said = [f"“{example.transcript}”"] if example.transcript else []
    return [f"{example.votes} votes, {who}, {error}", *said]


# --- provenance


def _facts(result: AuditResult) -> Facts:
    facts: list[tuple[str, object]] = [
        ("serann", version("serann")),
        ("corpus", f"{result.corpus['name']} ({result.corpus['licence']}), {result.corpus['fingerprint']}"),
        ("division", result.corpus["division"]),
        ("settings", result.settings),
    ]
    for panel in result.panels:
        about = {**panel.about, "utterances covered": panel.covered, "utterances lacking": panel.skipped}
        if panel.label_mass is not None:
            about["mean probability on labels"] = mass_figure(panel.label_mass)
        facts.append((panel.name, about))
    return Facts([(name, _words(value)) for name, value in facts])


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_words(part)}" for key, part in value.items())
    return str(value)
