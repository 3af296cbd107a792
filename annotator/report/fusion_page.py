"""A fusion's report as one HTML file that opens offline: what was done first, then each figure, then sounds."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval
from ..fusion.accounts import FusionReport, StratumGain
from ..fusion.strategies import STRATEGIES
from ..fusion.strengths import CROWD, RULES, Estimate
from . import fusion_pictures as pictures
from .figures import count, figure
from .fusion_cards import key, listen, new_utterances, size
from .html import bounds, cell, framed, table

COLUMNS = {
    "seen_votes": "seen votes",
    "fused": "fused",
    "augmented": "fused, with the new utterances",
    "dominant": "dominant label",
    "augmented_dominant": "dominant label, with the new",
}
# How what was fitted met the votes it is used for; the strategies of RULES fit nothing, but for crowd-kit's models.
CROSS_FITTED = "a speaker's utterances were fused by parameters that never saw that speaker"
FITTED = dict.fromkeys(STRATEGIES, CROSS_FITTED) | {
    name: "one model was fitted to all train ballots, not cross-fitted" if why == CROWD else "nothing was fitted"
    for name, why in RULES.items()
}
OF_MASS = ("seen_votes", "fused", "augmented")


def render(report: FusionReport, corpus: Corpus, fused: Corpus | None = None, *, sounds: bool = True) -> str:
    """The page as text. Sounds are taken from the corpus, those of new utterances from the fused one (None: none made
    yet), and left out altogether unless `sounds`; one that cannot be heard leaves its reason."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    info = report.info
    title = f"Fusion of {escape(info.corpus['name'])} by {escape(info.strategy)}"
    sections = [
        _header(report),
        _tiles(report),
        _fell_back(report),
        _strengths(report),
        _moved(report),
        _shares(report),
        new_utterances(report.added, report.labels, corpus, fused if sounds else None) if report.added else "",
        listen(report, corpus, sounds=sounds),
        _provenance(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{''.join(sections)}</main>\n</body>\n"
        "</html>\n"
    )


def _header(report: FusionReport) -> str:
    info = report.info
    how = f"{info.strategy} after {info.blend}" if info.blend else info.strategy
    proxies = ", ".join(f"{run['name']} ({run['kind']})" for run in info.runs) or "no proxy"
    banner = (
        '<p class="banner" role="note"><strong>Simulated corpus.</strong> Its votes were drawn by a program: no person '
        "listened. The figures show that the tool works, and say nothing about people.</p>"
    )
    return (
        f'<header><p class="kicker">serann fuse</p><h1>What became of the votes of {escape(info.corpus["name"])}</h1>'
        f'<p class="sub">Fused by {escape(how)} with {escape(proxies)}: '
        f"{count(info.counts['seen_votes'], 'seen vote')} of {count(info.counts['train'], 'train utterance')}; "
        f"{count(info.counts['defined'], 'distribution')} of "
        f"{count(info.counts['utterances'], 'utterance')}. Formula: {escape(info.formula)}.</p>"
        f"{banner if info.corpus['simulated'] else ''}</header>\n"
    )


def _tiles(report: FusionReport) -> str:
    whole = next((s for s in report.moved.strata if s.stratum == "all"), None)
    taken = next((s for s in report.fallback.strata if s.stratum == "all"), None)
    tiles = []
    if whole is not None:
        words = "bits from seen votes to fused p, Jensen-Shannon, on average"
        tiles.append(_tile(figure(whole.jsd_bits.value), words, bounds(whole.jsd_bits)))
        share = f"{100 * whole.changed / whole.utterances:.1f} %"
        tiles.append(_tile(share, "of the voted utterances change their label"))
    if taken is not None:
        share = f"{100 * taken.proxy_taken / taken.utterances:.0f} %"
        tiles.append(_tile(share, f"of the {taken.utterances} train utterances take the proxy"))
        gain, _, interval = _gain(taken).partition(" ")
        tiles.append(_tile(gain, "gain in log score a seen vote, over all", interval))
    if report.added is not None:
        made = report.added
        tiles.append(_tile(str(made.new), f"new train utterances, {made.seconds / 60:.1f} minutes, {size(made)}"))
    notes = "".join(f"<li>{escape(words)}</li>" for words in report.info.warnings)
    return f'<section><div class="tiles">{"".join(tiles)}</div><ul class="note">{notes}</ul></section>\n'


def _gain(s: StratumGain) -> str:
    return "–" if s.gain is None else figure(s.gain, s.low, s.high)


def _tile(value: str, words: str, interval: str = "") -> str:
    return f'<div class="tile"><b>{escape(value)}</b><i>{escape(interval)}</i><span>{escape(words)}</span></div>'


def _fell_back(report: FusionReport) -> str:
    found = report.fallback
    words = "".join(f"<li>{escape(_capital(sentence))}.</li>" for sentence in found.sentences)
    body = ""
    if found.strata:
        head = ["stratum", "gain in log score ↑", "loss in squared error ↓", "speakers", "utterances", "proxy taken"]
        caption = (
            "Table 1. The proxy model against the human mixture, which uses no proxy: each seen vote predicted from "
            "the utterance's others by a model that never saw its speaker. Nats a vote; 95 % intervals by speaker. "
            "Shaded strata are won; an utterance takes the proxy where all of its strata are. Tied labels count for "
            "each of them, so label strata overlap. The proxy model was chosen by these votes, which flatters it a "
            "little: on votes that no fusion has seen, only the audit and the benchmark compare."
        )
        picture = framed("Figure 1.", pictures.gains(found.strata), "Gains by stratum; large marks are won.")
        rows = [_gain_row(s) for s in found.strata]
        body = f'<div class="figures">{picture}</div>{table(caption, [*head, "why"], rows)}'
    return f"<section><h2>Where the proxy was taken, and where not</h2><ul>{words}</ul>{body}</section>\n"


def _gain_row(s: StratumGain) -> tuple[str, list[str], str]:
    figures = [_interval(s.gain, s.low, s.high), _interval(s.loss, s.loss_low, s.loss_high)]
    numbers = [str(n) for n in (s.speakers, s.utterances, s.proxy_taken)]
    return s.stratum, [*figures, *numbers, escape(s.reason)], "own" if s.won else ""


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "–"
    both = "" if low is None or high is None else figure(value, low, high, digits=4).partition(" ")[2]
    return f"{figure(value, digits=4)}<small>{both}</small>"


def _strengths(report: FusionReport) -> str:
    found = report.strengths
    parts = [f"<p>{escape(_capital(found.reason))}.</p>"] if found.reason else []
    if found.estimates:
        rows = [(f"{e.of}: {e.name}", [_estimate(e), _folds(e), escape(e.reason)], "") for e in found.estimates]
        caption = f"Table 2. What was fitted. 95 % intervals: {escape(found.method)}."
        parts.append(table(caption, ["parameter", "all train speakers", "each fold left out", "note"], rows))
    parts.append(_scores(report))
    for name, kinds in found.kinds.items():
        rows = [(k.label, [_told(k.weight), _told(k.mass), _told(k.votes, 2)], "") for k in kinds]
        caption = (
            f"Class weights of {escape(name)}: its classes by the label that their votes say most. Weight: share of "
            "the utterances; mass: what these classes give the label; votes: how many human votes they count for, "
            "beside an utterance's own."
        )
        parts.append(table(caption, ["classes that say most", "weight", "mass", "votes"], rows))
    return f"<section><h2>Strengths and class weights</h2>{''.join(parts)}</section>\n"


def _scores(report: FusionReport) -> str:
    """How well each model that was tried predicts the seen votes; empty for a strategy that tries none."""
    parameters = report.info.parameters
    scores = parameters.get("blend", parameters).get("cross_fitted_log_score_per_seen_vote", {})
    rows = [(name, [figure(score, digits=4)], "") for name, score in scores.items()]
    joint = report.gives_p == "empirical-bayes"
    given = "its proxies, all its votes together" if joint else "the utterance's other seen votes and its proxies"
    caption = (
        f"Models compared: mean log-probability of a seen vote, in nats, given {given}, by fits that never saw its "
        "speaker."
    )
    return table(caption, ["model", "log score ↑"], rows) if rows else ""


def _told(share: Interval, digits: int = 3) -> str:
    """A figure over its interval, or over the reason why there is none."""
    reason = share.method.removeprefix("none: ") if math.isnan(share.low) else ""
    return cell(share, digits) + (f"<small>{escape(reason)}</small>" if reason else "")


def _estimate(e: Estimate) -> str:
    return f"{figure(e.value)}<small>{figure(e.value, e.low, e.high).partition(' ')[2]}</small>"


def _folds(e: Estimate) -> str:
    return ", ".join(figure(value, digits=2) for value in e.of_folds) or "–"


def _moved(report: FusionReport) -> str:
    found = report.moved
    if not found.strata:
        return (
            "<section><h2>What moved</h2><p>No train utterance has both seen votes and a distribution.</p></section>\n"
        )
    rows = [
        (
            s.stratum,
            [str(s.utterances), cell(s.jsd_bits), cell(s.l2), _share(s.changed, s.utterances), str(s.settled)],
            "",
        )
        for s in found.strata
    ]
    head = ["train utterances", "number", "JSD, bits", "L2", "label changed", "ties settled"]
    caption = (
        "Table 3. Distance from the frequencies of the seen votes to the fused p; 95 % intervals by speaker. No score: "
        "the fewer votes, the farther even a perfect fusion moves. Label changed: the largest p is on none of the "
        "labels with the most seen votes."
    )
    return f"<section><h2>What moved</h2>{table(caption, head, rows)}</section>\n"


def _share(part: int, whole: int) -> str:
    return f"{part}<small>{100 * part / whole:.1f} %</small>"


def _shares(report: FusionReport) -> str:
    shares = report.info.shares
    names = [name for name in COLUMNS if name in shares]
    rows = [(label, [f"{100 * shares[name][label]:.1f}" for name in names], "") for label in report.labels]
    drawn = [(COLUMNS[n], [shares[n][label] for label in report.labels]) for n in OF_MASS if n in shares]
    picture = framed(
        "Figure 2.", pictures.shares(report.labels, drawn), f"Percent of the mass. {key([name for name, _ in drawn])}"
    )
    caption = "Table 4. Shares of the labels in the train split, in percent: before, fused, and with what was added."
    body = table(caption, ["label", *(COLUMNS[name] for name in names)], rows)
    return f'<section><h2>Class shares</h2><div class="figures">{picture}</div>{body}</section>\n'


def _provenance(report: FusionReport) -> str:
    info = report.info
    facts = [
        ("corpus", f"{info.corpus['name']}, {info.corpus['fingerprint']}"),
        ("division", _words(info.division or {})),
        *(("proxy", _words(run)) for run in info.runs),
        ("seed", str(info.seed)),
        ("software", _words(info.software)),
        *(("failed", _words(failure)) for failure in info.failures[:20]),
    ]
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        f"<section><h2>Provenance</h2><p>Only seen votes of train speakers were used; {FITTED[report.gives_p]}. "
        "Figures: <code>report.json</code>; parameters: <code>fusion.json</code>.</p>"
        f"<dl>{body}</dl></section>\n"
    )


def _words(value: dict) -> str:
    return "; ".join(f"{key}: {part}" for key, part in value.items())


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
