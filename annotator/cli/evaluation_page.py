"""An evaluation as one HTML page that opens offline, made of the document that lies beside it (.json)."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...data.bootstrap import Interval
from ...data.errors import OptionError, OutputError, SerannError
from ...data.files import atomic_file, finite, read_json, write_json
from ..audit.answers import count, figure
from ..audit.html_table import cell, framed, table
from .evaluation_pictures import by_third, f1_bars, heat, noise_lines, own_uars, reliability_picture

Document = Mapping[str, Any]


def check_page(path: Path, *, overwrite: bool = False) -> None:
    """Refuse, before anything is computed, a page that could not be written or would replace what must stay."""
    if path.suffix.casefold() not in (".html", ".htm"):
        raise OptionError(
            f"an evaluation is one HTML file with its figures beside it; {path} does not end in .html: write "
            f"-o {path.with_suffix('.html') if path.suffix else f'{path}.html'}"
        )
    if path.is_dir():
        raise OutputError(f"{path} is a directory; name a file in it, such as {path / 'evaluation.html'}")
    figures = path.with_suffix(".json")
    if figures.exists() and not _is_evaluation(figures):
        raise OutputError(
            f"the figures of {path} would go to {figures}, which is there and is no evaluation's; choose another name"
        )
    there = [str(file) for file in (path, figures) if file.exists()]
    if there and not overwrite:
        raise OutputError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already, so no evaluation was written; "
            "choose another output, or pass --overwrite to replace it"
        )


def _is_evaluation(path: Path) -> bool:
    try:
        return {"model", "scores", "votes_scored"} <= read_json(path, what="evaluation's figures").keys()
    except SerannError:
        return False


def write_page(document: Document, path: Path) -> None:
    """Write the page, and the document as JSON beside it."""
    with atomic_file(path) as partial:
        partial.write_text(render(document), encoding="utf-8")
    write_json(path.with_suffix(".json"), finite(document))


def render(document: Document) -> str:
    """The page as text."""
    css = (Path(__file__).parents[1] / "audit" / "report.css").read_text(encoding="utf-8")
    title = f"Evaluation of {escape(document['model'])} on {escape(document['corpus'])}"
    sections = [
        _header(document),
        _overall(document),
        _ambiguity(document),
        _labels(document),
        _speakers(document),
        _genders(document),
        _priors(document),
        _noise(document),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{''.join(sections)}</main>\n"
        "</body>\n</html>\n"
    )


def interval(row: Mapping[str, Any]) -> Interval:
    """A row's value and bounds; what JSON made null is NaN."""
    value, low, high = (math.nan if row[key] is None else row[key] for key in ("value", "low", "high"))
    return Interval(value, low, high, row.get("method", ""), 0)


def _cell(row: Mapping[str, Any] | None) -> str:
    return cell(None if row is None else interval(row))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>\n"


def _note(words: str) -> str:
    return f'<p class="note">{escape(words)}</p>'


def _header(doc: Document) -> str:
    notes = "".join(f'<p class="banner" role="note">{escape(text)}</p>' for text in doc["warnings"])
    notes += "".join(_note(text) for text in doc["notes"])
    where = f"{doc['corpus']}, {doc['split']}"
    return (
        f'<header><p class="kicker">serann evaluate</p><h1>{escape(doc["model"])} on {escape(where)}</h1>'
        f'<p class="sub">{count(doc["utterances"], "utterance")} of {count(doc["speakers"], "speaker")}, scored '
        "against human votes that neither fusion nor training has seen; intervals are 95 % over speakers. The model "
        f"learnt from {escape(doc['fused']['name'])} ({escape(doc['fused']['strategy'])}).</p>{notes}</header>\n"
    )


def _scores(doc: Document, stratum: str) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(row["metric"], row["system"]): row for row in doc["scores"] if row["stratum"] == stratum}


def _overall(doc: Document) -> str:
    found = _scores(doc, "all")
    metrics = [metric for metric, system in found if system == doc["model"]]
    rows = [
        (
            m,
            [
                _cell(found[m, doc["model"]]),
                _cell(found.get((m, "constant"))),
                str(found[m, doc["model"]]["utterances"]),
            ],
            "",
        )
        for m in metrics
    ]
    m, bins = doc["votes_scored"], doc["calibration"]["bins"]
    return _section(
        "Scores",
        table("Every system against the same held-out votes", ["score", "model", "constant", "utterances"], rows),
        _note(
            f"sq_unbiased: squared error without the votes' sampling noise, 0 is perfect. @{m}: against {m} votes an "
            f"utterance. ece and distribution_ece: {bins} bins of equal width. 'constant' is the seen votes' shares."
        ),
        '<div class="figures">',
        framed("", reliability_picture(doc), "What is said with a probability, and how often people agree."),
        "</div>",
    )


def _ambiguity(doc: Document) -> str:
    if doc["thirds"] is None:
        return ""
    return _section(
        "By ambiguity",
        '<div class="figures">',
        framed("", by_third(doc, "sq_unbiased"), "Squared error by third of human ambiguity."),
        framed("", by_third(doc, "uar"), "UAR by third of human ambiguity."),
        "</div>",
        _note(doc["thirds"]),
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
                _cell(row["f1"]),
            ],
            "",
        )
        for row in doc["classes"]["labels"]
    ]
    return _section(
        "By label",
        table(
            "A label that is never hit has F1 0", ["label", "support", "answered", "recall", "precision", "F1"], rows
        ),
        '<div class="figures">',
        framed("", f1_bars(doc), "F1 of each label, zeros shown."),
        framed("", heat(doc), "Answers (columns) to each human plurality (rows), in percent."),
        "</div>",
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _speakers(doc: Document) -> str:
    own = doc["by_speaker"]
    if own["reason"]:
        return _section("By speaker", _note(f"Nothing, for {own['reason']}."))
    rows = [(row["metric"], [_cell(row), _cell(row["equal"]), _cell(row["chance"])], "") for row in own["shares"]]
    return _section(
        "By speaker",
        table(
            f"Share of {own['speakers']} speakers whose own UAR is above .50 or .75",
            ["", "share", "if all were heard equally well", "if answers were blind"],
            rows,
        ),
        _note(
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
        return _section("Women and men", _note(f"No gap, for {gaps['reason']}."))
    rows = [(row["metric"], [_cell(row["female"]), _cell(row["male"]), _cell(row["gap"])], "") for row in gaps["gaps"]]
    sizes = gaps["speakers"]
    caption = f"{sizes['female']} and {sizes['male']} speakers; UAR and macro-F1 over {', '.join(gaps['classes'])}"
    return _section("Women and men", table(escape(caption), ["score", "female", "male", "female less male"], rows))


def _priors(doc: Document) -> str:
    rows = [
        (
            f"{row['metric']}: {row['system']}",
            ["as it is" if row["correction"] == "none" else escape(row["correction"]), _cell(row)],
            "",
        )
        for row in [*doc["class_balanced"]["scores"], *doc["prior_corrected"]]
    ]
    shares = doc["class_balanced"]["prior"]
    labels = list(shares["test"])
    priors = [(name, [f"{of[label]:.3f}" for label in labels], "") for name, of in shares.items()]
    return _section(
        "Class balance and priors",
        table("As if all labels were equally common, and with the prior corrected", ["score", "prior", "value"], rows),
        table("Label shares: taught, in the test votes, implied by the answers", ["", *map(escape, labels)], priors),
    )


def _noise(doc: Document) -> str:
    if not doc["noise"]:
        return ""
    rows = [
        (f"{row['noise']}, {row['snr']:g} dB: {row['metric']}", [_cell(row), _cell(row["change"])], "")
        for row in doc["noise"]
    ]
    pictures = [framed("", noise_lines(doc, metric), f"{metric} by SNR.") for metric in _drawn(doc)]
    return _section(
        "Under noise",
        '<div class="figures">',
        *pictures,
        "</div>",
        table("Changes are paired with the same utterances without noise", ["", "value", "change"], rows),
    )


def _drawn(doc: Document) -> Sequence[str]:
    there = {row["metric"] for row in doc["noise"]}
    return [metric for metric in ("sq_unbiased", "uar", "ccc_valence") if metric in there]
