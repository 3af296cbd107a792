"""The report: one HTML file that opens offline, with the answer first and every number's exact variant at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from ...data.bootstrap import Interval
from ...data.corpus import Corpus
from ...data.errors import OptionError
from ...data.files import atomic_file, write_json
from ...data.scoring import ScoreRow
from . import detail, listening, pictures, variants, worth_html
from .answers import count, figure, mass_figure, mass_warning, nearest_human_votes
from .html_table import bounds, cell, table
from .methods import methods
from .players import player
from .result import AuditResult, Example, PanelResult

PLAYERS = 16
# better is lower / higher
DIRECTION = {"sq_unbiased": "↓", "log_score": "↑", "jsd_bits": "↓", "bhattacharyya": "↑", "total_variation": "↓"}
NAMES = {
    "sq_unbiased": "squared error",
    "log_score": "log score",
    "jsd_bits": "JSD, bits",
    "bhattacharyya": "Bhattacharyya",
    "total_variation": "total variation",
    "accuracy": "accuracy",
    "uar": "UAR",
    "macro_f1": "macro-F1",
}


def write_report(result: AuditResult, path: str | Path, corpus: Corpus) -> Path:
    """Write the report to `path` (.html) and its figures beside it (.json), each whole or not at all.

    Sounds are taken from the corpus; one that cannot be heard leaves its reason. Raises OptionError for a path that
    does not end in .html, OutputError where it cannot be written.
    """
    path = report_path(path)
    page = render(result, corpus)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    write_json(path.with_suffix(".json"), result.to_json())
    return path


def report_path(path: str | Path) -> Path:
    """The path of a report; OptionError where it does not end in .html, to be known before anything is computed."""
    path = Path(path)
    if path.suffix.casefold() not in (".html", ".htm"):
        raise OptionError(f"a report is one HTML file; {path} does not end in .html")
    return path


def render(result: AuditResult, corpus: Corpus) -> str:
    """The page as text."""
    names = ", ".join(panel.name for panel in result.panels)
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    sections = [
        _header(result, names),
        _answers(result),
        _headline(result),
        _curves(result),
        _ambiguity(result),
        worth_html.to_html(result),
        _labels(result),
        listening.to_html(result.listening) if result.listening is not None else "",
        detail.to_html(result.details, corpus),
        variants.to_html(result.variants) if result.variants is not None else "",
        _examples(result, corpus),
        methods(result),
        _provenance(result),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Audit of {escape(names)} on {escape(result.corpus['name'])}</title>\n<style>\n{css}</style>\n"
        f"</head>\n<body>\n<main>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


def _header(result: AuditResult, names: str) -> str:
    ref, simulated = result.reference, result.corpus["simulated"]
    banner = (
        '<p class="banner" role="note"><strong>Simulated corpus.</strong> Its voices are synthetic and its votes were '
        "drawn by a program: no person listened. The figures show that the tool works, and say nothing about people."
        "</p>"
    )
    return (
        f'<header><p class="kicker">serann audit</p><h1>How far may {escape(names)} stand beside human listeners?</h1>'
        f'<p class="sub">Corpus {escape(result.corpus["name"])}: {count(ref["utterances"], "utterance")} of '
        f"{count(ref['speakers'], 'speaker')} audited, {ref['votes_scored']} held-out human votes scored, "
        f"{ref['other_votes']} others for strata and baselines, in each of "
        f"{count(result.settings['draws'], 'draw')}.</p>{banner if simulated else ''}</header>\n"
    )


def _answers(result: AuditResult) -> str:
    blocks = []
    for i, (panel, words) in enumerate(zip(result.panels, result.answers, strict=True)):
        warning = mass_warning(panel)
        loud = f"<strong>{escape(warning)}</strong>" if warning else ""
        tiles = "".join(_tile(*facts) for facts in _facts(result, panel))
        blocks.append(
            f'<div class="answer panel-{i % 5}"><h3>{escape(panel.name)}</h3><div class="tiles">{tiles}</div>'
            f"<p>{loud}{escape(words.removeprefix(warning))}</p></div>"
        )
    return f"<section><h2>The answer</h2>{''.join(blocks)}{_note_list(result.notes)}</section>\n"


def _facts(result: AuditResult, panel: PanelResult) -> list[tuple[str, str, str]]:
    system = result.system("panel", panel.name)
    sq, log = system.score("sq_unbiased"), system.score("log_score")
    assert sq is not None
    assert log is not None
    best = nearest_human_votes(result, panel)
    closed = "–" if math.isnan(panel.gap.value) else f"{figure(panel.gap.value, digits=0)} %"
    return [
        (closed, bounds(panel.gap, 0), "of the gap from constant to perfect closed"),
        (figure(sq.value), bounds(sq), "squared error, without the votes' noise (0 is perfect)"),
        (figure(log.value), bounds(log), "log score, nats per human vote (higher is better)"),
        (best, "", "other human votes, smoothed, that it matches or beats"),
    ]


def _tile(value: str, bounds: str, words: str) -> str:
    return f'<div class="tile"><b>{escape(value)}</b><i>{escape(bounds)}</i><span>{escape(words)}</span></div>'


def _note_list(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f'<ul class="note">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _headline(result: AuditResult) -> str:
    metrics = [row.metric for row in result.system("panel", result.panels[0].name).scores]
    head = ["prediction"]
    for metric in metrics:
        name, _, m = metric.partition("@")
        head.append(f"{NAMES[name]}{f'&nbsp;@{m}' if m else ''} {DIRECTION.get(name, '↑')}")
    rows = [(s.name, _cells(s.scores, metrics), "own" if s.kind == "panel" else "") for s in _in_order(result)]
    human = [
        (f"{p.n} human vote{'s' if p.n != 1 else ''}, {p.kind}", _cells(p.scores, metrics), "")
        for p in sorted(result.curve, key=lambda p: (p.kind, p.n))
        if p.n
    ]
    level = f"{100 * result.settings['level']:.0f} %"
    caption = (
        f"Table 1. Every prediction against the same {result.settings['votes_scored']} held-out human votes an "
        f"utterance, mean over {count(result.settings['draws'], 'draw')} of them. In brackets: {level} intervals by "
        "speaker. The two columns to judge by come first; what stands @m depends on m."
    )
    body = table(caption, head, [*rows[:1], *human, *rows[1:]])
    return f"<section><h2>Scores</h2>{body}</section>\n"


def _in_order(result: AuditResult):
    """Constant first, then the panels with what belongs to them, perfection last."""
    place = {"constant": 0, "panel": 1, "sampled": 1, "shuffled": 1, "perfect": 2}
    return sorted(result.systems, key=lambda system: place[system.kind])


def _cells(scores: Sequence[ScoreRow], metrics: Sequence[str]) -> list[str]:
    by_name = {row.metric: row for row in scores}
    return [cell(by_name.get(metric)) for metric in metrics]


def _figure(number: str, picture: str, caption: str, *, cls: str = "") -> str:
    return f'<figure class="{cls}">{picture}<figcaption>{number} {caption}</figcaption></figure>'


def _curves(result: AuditResult) -> str:
    m = result.settings["votes_scored"]
    parts = [
        _figure(
            "Figure 1.",
            pictures.human_curve(result, "sq_unbiased", name="squared error"),
            "How many other people one would have to ask: squared error of n human votes, as raw frequencies and "
            "smoothed towards what utterances are like in general; the panels' level across it, with its interval.",
        ),
        _figure(
            "Figure 2.",
            pictures.human_curve(result, "jsd_bits", name=f"JSD in bits @{m}"),
            f"The same in Jensen-Shannon divergence to {m} votes. Its floor is not 0: the true distribution itself is "
            "that far from so few votes.",
        ),
    ]
    return (
        f'<section><h2>Between a constant and human votes</h2><div class="figures">{"".join(parts)}</div></section>\n'
    )


def _ambiguity(result: AuditResult) -> str:
    parts = [
        _figure(
            "Figure 3.",
            pictures.ambiguity_by_thirds(result),
            "Chance that two listeners disagree, in panel and people, by thirds of the utterances. Above the "
            "diagonal a panel is more divided than people are, below it surer than they are.",
            cls="small",
        )
    ]
    for i, panel in enumerate(result.panels):
        parts.append(
            _figure(
                f"Figure 4{'abcdefghij'[i % 10] if len(result.panels) > 1 else ''}.",
                pictures.ambiguity_scatter(result, panel.name, cls=f"panel-{i % 5}"),
                "The same for single utterances; few human votes take few values, hence the columns.",
                cls="small",
            )
        )
    rows = []
    for panel in result.panels:
        for s in panel.strata:
            scores = {row.metric.split("@")[0]: row for row in s.scores}
            plain = {row.metric.split("@")[0]: row for row in s.constant}
            cells = [str(s.utterances), cell(s.human_ambiguity), cell(s.panel_ambiguity), cell(scores["sq_unbiased"])]
            cells += [cell(plain["sq_unbiased"]), cell(s.gap, 0), cell(scores["log_score"]), cell(scores["jsd_bits"])]
            rows.append((f"{panel.name}, {s.third}" if len(result.panels) > 1 else s.third, cells, ""))
    head = ["third", "utterances", "human ambiguity", "panel ambiguity", "squared error ↓", "of the constant"]
    head += ["gap closed, %", "log score ↑", f"JSD, bits @{result.settings['votes_scored']} ↓"]
    caption = "Table 2. By ambiguity, cut by votes that are not scored, ties at a border broken at random by the seed."
    body = table(caption, head, rows) if rows else "<p>Too few votes beside the scored ones to cut thirds.</p>"
    return f'<section><h2>Ambiguity</h2><div class="figures">{"".join(parts)}</div>{body}</section>\n'


def _labels(result: AuditResult) -> str:
    maps, rows = [], []
    for i, panel in enumerate(result.panels):
        maps.append(
            _figure(
                f"Figure 5{'abcdefghij'[i % 10] if len(result.panels) > 1 else ''}.",
                pictures.heat_map(panel.name, panel.confusion, result.corpus["labels"]),
                f"{escape(panel.name)}: where its mass goes, in percent, given where the human votes went (rows "
                "add to 100).",
                cls="small",
            )
        )
        for row in panel.labels:
            name = f"{panel.name}, {row.label}" if len(result.panels) > 1 else row.label
            cells = [f"{100 * row.human:.1f}", cell(_percent(row.panel), 1), cell(_percent(row.bias), 1)]
            cells += [cell(row.sq_unbiased, 4), cell(row.sq_constant, 4)]
            rows.append((name, cells, ""))
    if result.reference["confusion"] is not None:
        maps.append(
            _figure(
                "Figure 6.",
                pictures.heat_map("other humans", result.reference["confusion"], result.corpus["labels"]),
                "The same for the other human votes: what a perfect panel would show. People disagree about the same "
                "utterance, so it is not diagonal.",
                cls="small",
            )
        )
    head = ["label", "human votes, %", "panel's mass, %", "difference, points", "squared error ↓", "of the constant"]
    caption = "Table 3. Each label against the rest. The squared errors of the labels add up to the one of Table 1."
    return f'<section><h2>Labels</h2><div class="figures">{"".join(maps)}</div>{table(caption, head, rows)}</section>\n'


def _percent(interval: Interval) -> Interval:
    return interval._replace(value=100 * interval.value, low=100 * interval.low, high=100 * interval.high)


def _examples(result: AuditResult, corpus: Corpus) -> str:
    each = max(1, PLAYERS // (2 * len(result.panels)))
    row_of = {name: i for i, name in enumerate(corpus.ids)}
    parts = []
    for i, panel in enumerate(result.panels):
        cls = f"panel-{i % 5}"
        parts.append(
            f'<p class="key"><b class="human"></b>human votes, percent <b class="{cls}"></b>{escape(panel.name)}</p>'
        )
        for agreement, title in (("least", "Where they agree least"), ("most", "Where they agree most")):
            chosen = [e for e in panel.examples if e.agreement == agreement][:each]
            cards = "".join(_card(e, result.corpus["labels"], cls, corpus, row_of[e.utterance_id]) for e in chosen)
            parts.append(f'<h3>{title}</h3><div class="cards">{cards}</div>')
    return (
        "<section><h2>Listen</h2><p>Utterances with the largest and the smallest squared error against all their human "
        "votes (the votes' noise taken off, so that it can be below 0). They are chosen by the outcome, to be heard; "
        "no figure of this report rests on them.</p>"
        f"{''.join(parts)}</section>\n"
    )


def _card(example: Example, labels: Sequence[str], cls: str, corpus: Corpus, row: int) -> str:
    facts = [f"{example.votes} votes", f"speaker {example.speaker}" if example.speaker else "speaker unknown"]
    facts.append(
        f"squared error {figure(example.sq_unbiased, digits=2)}, JSD {figure(example.jsd_bits, digits=2)} bits"
    )
    said = f"<p>“{escape(example.transcript)}”</p>" if example.transcript else ""
    return (
        f'<article class="card"><h4>{escape(example.utterance_id)}</h4><p>{escape(", ".join(facts))}</p>{said}'
        f"{pictures.side_by_side(example, labels, cls=cls)}{player(corpus, row)}</article>"
    )


def _provenance(result: AuditResult) -> str:
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
    body = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_words(value))}</dd>" for name, value in facts)
    return f"<section><h2>Provenance</h2><dl>{body}</dl></section>\n"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_words(part)}" for key, part in value.items())
    return str(value)
