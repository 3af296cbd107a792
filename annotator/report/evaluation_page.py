"""An evaluation as one HTML page that opens offline, made of the document that lies beside it (.json)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ...data.scores.scoring import THIRDS
from .definitions import definition
from .evaluation_pictures import by_third, f1_bars, heat, noise_lines, own_uars, reliability_picture
from .figures import count, figure
from .html import framed, table
from .score_page import Document, banners, framed_page, score_cell, section, small_print, what_they_are


def render(document: Document) -> str:
    """The page as text."""
    sections = [
        _header(document),
        _overall(document),
        _ambiguity(document),
        _labels(document),
        _speakers(document),
        _genders(document),
        _priors(document),
        _noise(document),
        what_they_are(_named(document), bins=document["calibration"]["bins"]),
    ]
    return framed_page(f"Evaluation of {document['model']} on {document['corpus']}", document, sections)


def _named(doc: Document) -> Sequence[str]:
    """Every score that the page names."""
    tables = (doc["scores"], doc["class_balanced"]["scores"], doc["by_speaker"]["shares"])
    return [row["metric"] for rows in tables for row in rows]


def _header(doc: Document) -> str:
    where = f"{doc['corpus']}, {doc['split']}"
    return (
        f'<header><p class="kicker">serann evaluate</p><h1>{escape(doc["model"])} on {escape(where)}</h1>'
        f'<p class="sub">{count(doc["utterances"], "utterance")} of {count(doc["speakers"], "speaker")}, scored '
        "against human votes that neither fusion nor training has seen; intervals are 95 % over speakers. The model "
        f"learnt from {escape(doc['fused']['name'])} ({escape(doc['fused']['strategy'])}).</p>{banners(doc)}</header>\n"
    )


def _scores(doc: Document, stratum: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["metric"], row["system"]): row for row in doc["scores"] if row["stratum"] == stratum}


def _better(doc: Document, metric: str) -> str:
    return definition(metric, bins=doc["calibration"]["bins"]).better


def _overall(doc: Document) -> str:
    found = _scores(doc, "all")
    metrics = [metric for metric, system in found if system == doc["model"]]
    rows = [
        (
            m,
            [
                _better(doc, m),
                score_cell(found[m, doc["model"]]),
                score_cell(found.get((m, "constant"))),
                str(found[m, doc["model"]]["utterances"]),
            ],
            "",
        )
        for m in metrics
    ]
    caption = "Every system against the same held-out votes"
    return section(
        "Scores",
        table(caption, ["score", "better", "model", "constant", "utterances"], rows),
        small_print(
            f"@{doc['votes_scored']}: against {doc['votes_scored']} votes an utterance. 'constant' is the best answer "
            "without listening: the seen votes' shares. What each score is stands at the end of the page."
        ),
        '<div class="figures">',
        framed("", reliability_picture(doc), "What is said with a probability, and how often people agree."),
        "</div>",
    )


def _ambiguity(doc: Document) -> str:
    if doc["thirds"] is None:
        return ""
    return section(
        "By ambiguity",
        '<div class="figures">',
        framed("", by_third(doc, "sq_unbiased"), "Squared error by third of human ambiguity."),
        framed("", by_third(doc, "uar"), "UAR by third of human ambiguity."),
        "</div>",
        _thirds_table(doc),
        small_print(doc["thirds"]),
    )


def _thirds_table(doc: Document) -> str:
    """A row a score and system, a column a third with its n."""
    of = {(row["metric"], row["system"], row["stratum"]): row for row in doc["scores"]}
    thirds = [third for third in THIRDS if ("sq_unbiased", doc["model"], third) in of]
    named = [(m, s) for m, s in dict.fromkeys((m, s) for m, s, stratum in of if stratum in thirds)]
    metrics = dict.fromkeys(m for m, _ in named)
    rows = [
        (
            metric if system == doc["model"] else f"{metric}, constant",
            [_better(doc, metric), *(score_cell(of.get((metric, system, third))) for third in thirds)],
            "",
        )
        for metric in metrics
        for system in (doc["model"], "constant")
        if (metric, system) in named
    ]
    heads = [f"{third} (n = {of['sq_unbiased', doc['model'], third]['utterances']})" for third in thirds]
    return table(
        "Scores of each third of human ambiguity, of the model and of the constant", ["score", "better", *heads], rows
    )


def _labels(doc: Document) -> str:
    rows = [
        (
            row["label"],
            [
                f"{row['support']:.1f}",
                f"{row['answered']:.1f}",
                figure(_number(row["recall"])),
                figure(_number(row["precision"])),
                score_cell(row["f1"]),
            ],
            "",
        )
        for row in doc["classes"]["labels"]
    ]
    return section(
        "By label",
        table(
            "A label that is never hit has F1 0", ["label", "support", "answered", "recall", "precision", "F1"], rows
        ),
        '<div class="figures">',
        framed("", f1_bars(doc), "F1 of each label, zeros shown."),
        framed("", heat(doc), "Likeliest answers (columns) to each human plurality (rows), in percent."),
        "</div>",
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _speakers(doc: Document) -> str:
    own = doc["by_speaker"]
    if own["reason"]:
        return section("By speaker", small_print(f"Nothing, for {own['reason']}."))
    rows = [
        (row["metric"], [score_cell(row), score_cell(row["equal"]), score_cell(row["chance"])], "")
        for row in own["shares"]
    ]
    return section(
        "By speaker",
        table(
            f"Share of {own['speakers']} speakers whose own UAR is above .50 or .75",
            ["", "share", "if all were heard equally well", "if answers were blind"],
            rows,
        ),
        small_print(
            f"Over the labels of which a speaker has {own['least_support']} utterances or more, of speakers with "
            f"{own['least_classes']} such labels or more. The last columns are binomial, with their central 95 %."
        ),
        '<div class="figures">',
        framed("", own_uars(doc), "Own UAR of every such speaker, from the worst heard to the best."),
        "</div>",
    )


def _genders(doc: Document) -> str:
    gaps = doc["genders"]
    if gaps["reason"]:
        return section("Women and men", small_print(f"No gap, for {gaps['reason']}."))
    rows = [
        (row["metric"], [score_cell(row["female"]), score_cell(row["male"]), score_cell(row["gap"])], "")
        for row in gaps["gaps"]
    ]
    sizes = gaps["speakers"]
    caption = f"{sizes['female']} and {sizes['male']} speakers; UAR and macro-F1 over {', '.join(gaps['classes'])}"
    return section("Women and men", table(escape(caption), ["score", "female", "male", "female less male"], rows))


def _priors(doc: Document) -> str:
    rows = [
        (
            f"{row['metric']}: {row['system']}",
            ["as it is" if row["correction"] == "none" else escape(row["correction"]), score_cell(row)],
            "",
        )
        for row in [*doc["class_balanced"]["scores"], *doc["prior_corrected"]]
    ]
    shares, undetermined = doc["class_balanced"]["prior"], doc["class_balanced"]["implied_undetermined"]
    labels = list(shares["test"])
    priors = [(name, [f"{of[label]:.3f}" for label in labels], "") for name, of in shares.items()]
    return section(
        "Class balance and priors",
        table("As if all labels were equally common, and with the prior corrected", ["score", "prior", "value"], rows),
        table("Label shares", ["", *map(escape, labels)], priors),
        small_print(f"{PRIORS}; {_about_implied(shares, undetermined)}."),
    )


PRIORS = (
    "taught: shares of the labels in what the model learnt from, its loss's weights included; test: in the test votes; "
    "implied: those under which the model's answers are likeliest, without any vote (maximum likelihood by EM, Saerens "
    "et al. 2002)"
)


def _about_implied(shares: Mapping[str, Any], undetermined: str | None) -> str:
    if "implied" in shares:
        return "they are as right as the answers are calibrated, and have no interval"
    return f"these are not given here, for {undetermined or 'the model does not tell what it was taught'}"


def _noise(doc: Document) -> str:
    if not doc["noise"]:
        return ""
    cells = {(row["noise"], row["snr"], row["metric"]): row for row in doc["noise"]}
    conditions, metrics = dict.fromkeys((kind, snr) for kind, snr, _ in cells), dict.fromkeys(m for *_, m in cells)
    clean = _scores(doc, "all")
    rows = [("better", [_better(doc, m) for m in metrics], "")]
    rows += [("without noise", [score_cell(clean.get((m, doc["model"]))) for m in metrics], "")]
    rows += [
        (f"{kind}, {snr:g} dB", [_changed(cells.get((kind, snr, m))) for m in metrics], "") for kind, snr in conditions
    ]
    pictures = [framed("", noise_lines(doc, metric), f"{metric} by SNR.") for metric in _drawn(metrics)]
    return section(
        "Under noise",
        '<div class="figures">',
        *pictures,
        "</div>",
        table("Scores under each noise, and the change from those without it", ["", *metrics], rows),
        small_print("Changes are paired, on utterances heard with and without the noise, with their 95 % intervals."),
    )


def _changed(row: Mapping[str, Any] | None) -> str:
    """A value over its change and the change's interval."""
    if row is None:
        return "–"
    change = row["change"]
    values = [_number(change[key]) for key in ("value", "low", "high")]
    by, _, limits = figure(*values).partition(" ")
    return f"{figure(_number(row['value']))}<small>by {by}</small><small>{limits}</small>"


def _drawn(metrics: Iterable[str]) -> Sequence[str]:
    return [metric for metric in metrics if metric in ("sq_unbiased", "uar") or metric.startswith("ccc_")]
