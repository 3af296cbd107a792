"""Evaluations and comparisons as pages, each made of the document that lies beside it (.json)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...data.files import finite, write_json
from ...data.scores.metric import definition, metric_of
from ...data.scores.scoring import THIRDS
from . import pictures
from .blocks import Banner, Block, Cell, Facts, Figure, Figures, Row, Section, Table, cell, note, over
from .figures import capital, figure
from .page import fill, write_page
from .pictures import Document, interval_of, number


def write_scores(document: Document, path: Path, render: Callable[[Document], str]) -> None:
    """Write the page, and the document as JSON beside it, both with serann's version and today's date."""
    dated = {"serann": version("serann"), "date": date.today().isoformat(), **document}
    write_page(render(dated), path)
    write_json(path.with_suffix(".json"), finite(dated))


def render_evaluation(doc: Document) -> str:
    """The page of an evaluation as text."""
    tables = (doc["scores"], doc["class_balanced"]["scores"], doc["by_speaker"]["shares"])
    named = [row["metric"] for rows in tables for row in rows]
    sections = [
        _overall(doc),
        _ambiguity(doc),
        _labels(doc),
        _speakers(doc),
        _genders(doc),
        _priors(doc),
        _noise(doc),
        _what_they_are(named),
    ]
    shown = [section for section in sections if section is not None]
    return fill("evaluation", doc=doc, notes=_notes(doc), sections=shown)


def render_comparison(doc: Document) -> str:
    """The page of a comparison as text."""
    metrics = list(dict.fromkeys(row["metric"] for row in doc["scores"]))
    sections = [_compared(doc, metrics), _what_they_are(metrics)]
    return fill("comparison", doc=doc, notes=_notes(doc), sections=sections)


# --- both


def _notes(doc: Document) -> list[Block]:
    """The document's warnings, then its notes."""
    return [*map(Banner, doc["warnings"]), *map(note, doc["notes"])]


def _score(row: Mapping[str, Any] | None) -> Cell:
    """A value over its interval, or a dash."""
    return cell(None if row is None else interval_of(row))


def _what_they_are(metrics: Iterable[str]) -> Section:
    """What each score is, a line each."""
    about = note("Means over utterances; q is the answer to an utterance, a tie shares. '–' is undefined or absent.")
    facts = [(f"{name} ({metric_of(name).better} is better)", definition(name)) for name in dict.fromkeys(metrics)]
    return Section("What the scores are", [about, Facts(facts)])


# --- a comparison


def _compared(doc: Document, metrics: Sequence[str]) -> Section:
    scores = {(row["system"], row["metric"]): row for row in doc["scores"]}
    gaps = {(row["system"], row["metric"]): row for row in doc["differences"]}
    rows = []
    for metric in metrics:
        for system in dict.fromkeys(system for system, _ in scores):
            if (system, metric) in scores:
                against, found = system == doc["against"], scores[system, metric]
                less = "" if against else _score(gaps.get((system, metric)))
                better = metric_of(metric).better
                cells = [better, system, _score(found), less, str(found["utterances"])]
                rows.append(Row(metric, cells, "own" if against else ""))
    drawn = [Figure(pictures.by_system(doc, m), f"{m} of each system.") for m in metrics if "drawn" in metric_of(m).at]
    head = ["score", "better", "system", "value", f"less {doc['against']}", "n"]
    about = (
        f"@{doc['votes_scored']}: against {doc['votes_scored']} votes per utterance. 'constant' is the best answer "
        "without listening: the seen votes' shares. n: utterances, in pauar rows speakers with "
        f"{doc['speaker_support']} utterances or more of two labels."
    )
    table = Table("Every system against the same held-out votes", head, rows)
    return Section("Scores", [Figures(drawn), table, note(about)])


# --- an evaluation


def _scores(doc: Document, stratum: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["metric"], row["system"]): row for row in doc["scores"] if row["stratum"] == stratum}


def _overall(doc: Document) -> Section:
    found = _scores(doc, "all")
    rows = []
    for metric, system in found:
        if system == doc["model"]:
            own, constant = found[metric, system], found.get((metric, "constant"))
            rows.append(Row(metric, [metric_of(metric).better, _score(own), _score(constant), str(own["utterances"])]))
    head = ["score", "better", "model", "constant", "utterances"]
    about = (
        f"@{doc['votes_scored']}: against {doc['votes_scored']} votes per utterance. 'constant' is the best answer "
        "without listening: the seen votes' shares. What each score is stands at the end of the page."
    )
    words = "What is said with a probability, and how often people agree."
    reliability = Figure(pictures.reliability_picture(doc), words)
    table = Table("Every system against the same held-out votes", head, rows)
    return Section("Scores", [table, note(about), Figures([reliability])])


def _ambiguity(doc: Document) -> Section | None:
    if doc["thirds"] is None:
        return None
    drawn = [
        Figure(pictures.by_third(doc, name), f"{capital(metric_of(name).title)} by third of human ambiguity.")
        for name in dict.fromkeys(row["metric"] for row in doc["scores"])
        if "parts drawn" in metric_of(name).at and not metric_of(name).family
    ]
    return Section("By ambiguity", [Figures(drawn), _thirds_table(doc), note(doc["thirds"])])


def _thirds_table(doc: Document) -> Table:
    """A row per score and system, a column a third with its n."""
    of = {(row["metric"], row["system"], row["stratum"]): row for row in doc["scores"]}
    thirds = [third for third in THIRDS if ("sq_unbiased", doc["model"], third) in of]
    named = dict.fromkeys((metric, system) for metric, system, stratum in of if stratum in thirds)
    rows = [
        Row(
            metric if system == doc["model"] else f"{metric}, constant",
            [metric_of(metric).better, *(_score(of.get((metric, system, third))) for third in thirds)],
        )
        for metric in dict.fromkeys(metric for metric, _ in named)
        for system in (doc["model"], "constant")
        if (metric, system) in named
    ]
    heads = [f"{third} (n = {of['sq_unbiased', doc['model'], third]['utterances']})" for third in thirds]
    caption = "Scores of each third of human ambiguity, of the model and of the constant"
    return Table(caption, ["score", "better", *heads], rows)


def _labels(doc: Document) -> Section:
    rows = []
    for row in doc["classes"]["labels"]:
        sizes = [f"{row['support']:.1f}", f"{row['answered']:.1f}"]
        hits = [figure(number(row["recall"])), figure(number(row["precision"]))]
        rows.append(Row(row["label"], [*sizes, *hits, _score(row["f1"])]))
    head = ["label", "support", "answered", "recall", "precision", "F1"]
    drawn = [
        Figure(pictures.f1_bars(doc), "F1 of each label, zeros shown."),
        Figure(pictures.heat(doc), "Likeliest answers (columns) to each human plurality (rows), in percent."),
    ]
    return Section("By label", [Table("A label that is never hit has F1 0", head, rows), Figures(drawn)])


def _speakers(doc: Document) -> Section:
    own = doc["by_speaker"]
    if own["reason"]:
        return Section("By speaker", [note(f"Nothing, for {own['reason']}.")])
    rows = [Row(row["metric"], [_score(row), _score(row["equal"]), _score(row["chance"])]) for row in own["shares"]]
    caption = f"Share of {own['speakers']} speakers whose own UAR is above .50 or .75"
    head = ["", "share", "if all were heard equally well", "if answers were blind"]
    about = (
        f"Over the labels of which a speaker has {own['least_support']} utterances or more, of speakers with "
        f"{own['least_classes']} such labels or more. The last columns are binomial, with their central 95 %."
    )
    drawn = Figure(pictures.own_uars(doc), "Own UAR of every such speaker, from the worst heard to the best.")
    return Section("By speaker", [Table(caption, head, rows), note(about), Figures([drawn])])


def _genders(doc: Document) -> Section:
    gaps = doc["genders"]
    if gaps["reason"]:
        return Section("Women and men", [note(f"No gap, for {gaps['reason']}.")])
    rows = [Row(row["metric"], [_score(row[of]) for of in ("female", "male", "gap")]) for row in gaps["gaps"]]
    sizes = gaps["speakers"]
    caption = f"{sizes['female']} and {sizes['male']} speakers; UAR and macro-F1 over {', '.join(gaps['classes'])}"
    return Section("Women and men", [Table(caption, ["score", "female", "male", "female less male"], rows)])


PRIORS = (
    "taught: shares of the labels in what the model learnt from, its loss's weights included; test: in the test votes; "
    "implied: those under which the model's answers are likeliest, without any vote (maximum likelihood by EM, Saerens "
    "et al. 2002)"
)


def _priors(doc: Document) -> Section:
    rows = [
        Row(
            f"{row['metric']}: {row['system']}",
            ["as it is" if row["correction"] == "none" else row["correction"], _score(row)],
        )
        for row in [*doc["class_balanced"]["scores"], *doc["prior_corrected"]]
    ]
    shares, undetermined = doc["class_balanced"]["prior"], doc["class_balanced"]["implied_undetermined"]
    labels = list(shares["test"])
    priors = [Row(name, [f"{of[label]:.3f}" for label in labels]) for name, of in shares.items()]
    caption = "As if all labels were equally common, and with the prior corrected"
    parts = [Table(caption, ["score", "prior", "value"], rows), Table("Label shares", ["", *labels], priors)]
    return Section("Class balance and priors", [*parts, note(f"{PRIORS}; {_about_implied(shares, undetermined)}.")])


def _about_implied(shares: Mapping[str, Any], undetermined: str | None) -> str:
    if "implied" in shares:
        return "they are as right as the answers are calibrated, and have no interval"
    return f"these are not given here, for {undetermined or 'the model does not tell what it was taught'}"


def _noise(doc: Document) -> Section | None:
    if not doc["noise"]:
        return None
    cells = {(row["noise"], row["snr"], row["metric"]): row for row in doc["noise"]}
    conditions, metrics = dict.fromkeys((kind, snr) for kind, snr, _ in cells), dict.fromkeys(m for *_, m in cells)
    clean = _scores(doc, "all")
    rows = [Row("better", [metric_of(m).better for m in metrics])]
    rows += [Row("without noise", [_score(clean.get((m, doc["model"]))) for m in metrics])]
    rows += [
        Row(f"{kind}, {snr:g} dB", [_changed(cells.get((kind, snr, m))) for m in metrics]) for kind, snr in conditions
    ]
    shown = [m for m in metrics if "parts drawn" in metric_of(m).at]
    drawn = [Figure(pictures.noise_lines(doc, metric), f"{metric} by SNR.") for metric in shown]
    caption = "Scores under each noise, and the change from those without it"
    about = "Changes are paired, on utterances heard with and without the noise, with their 95 % intervals."
    return Section("Under noise", [Figures(drawn), Table(caption, ["", *metrics], rows), note(about)])


def _changed(row: Mapping[str, Any] | None) -> Cell | str:
    """A value over its change and the change's interval."""
    if row is None:
        return "–"
    by, _, limits = figure(*interval_of(row["change"])[:3]).partition(" ")
    return over(figure(number(row["value"])), f"by {by}", limits)
