"""A fusion's report as one HTML file that opens offline: what was done first, then each figure, then sounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...data.corpus import Corpus
from ...data.scores.intervals import Interval
from ..fusion.accounts import MOVED_SHOWN, Added, Example, FusionReport, StratumGain, Take
from ..fusion.strategies import STRATEGIES
from . import pictures
from .blocks import (
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
    Sound,
    Swatch,
    Table,
    Tile,
    Tiles,
    Words,
    bounds,
    cell,
    over,
    simulated,
)
from .figures import figure
from .page import fill
from .sounds import player, without_sounds

COLUMNS = {
    "seen_votes": "seen votes",
    "fused": "fused",
    "augmented": "fused, with the new utterances",
    "dominant": "dominant label",
    "augmented_dominant": "dominant label, with the new",
}
# How what was fitted met the votes it is used for, by a strategy's `fits`.
FITTED = {
    "cross-fitted": "a speaker's utterances were fused by parameters that never saw that speaker",
    "once": "one model was fitted to all train ballots, not cross-fitted",
    "nothing": "nothing was fitted",
}
OF_MASS = ("seen_votes", "fused", "augmented")


def render(report: FusionReport, corpus: Corpus, fused: Corpus | None = None, *, sounds: bool = True) -> str:
    """The page as text. Sounds are taken from the corpus, those of new utterances from the fused one (None: none made
    yet), and left out altogether unless `sounds`; one that cannot be heard leaves its reason."""
    info = report.info
    sections = [
        Section("Where the proxy was taken, and where not", _fell_back(report)),
        Section("Strengths and class weights", _strengths(report)),
        Section("What moved", [_moved(report)]),
        Section("Class shares", _shares(report)),
    ]
    return fill(
        "fusion",
        info=info,
        how=f"{info.strategy} after {info.blend}" if info.blend else info.strategy,
        proxies=", ".join(f"{run['name']} ({run['kind']})" for run in info.runs) or "no proxy",
        notes=[simulated("Its votes were")] if info.corpus["simulated"] else [],
        tiles=_tiles(report),
        sections=sections,
        added=report.added,
        size=_size(report.added) if report.added else "",
        new_utterances=_new_utterances(report, corpus, fused if sounds else None),
        heard=_listen(report, corpus, sounds=sounds),
        fitted=FITTED[STRATEGIES[report.info.gives_p].fits],
        facts=_facts(report),
    )


def _size(made: Added) -> str:
    """Megabytes on disk, and whether that is a guess."""
    if math.isnan(made.bytes):
        return "size unknown"
    return f"{'' if made.measured else 'about '}{made.bytes / 1e6:.1f} MB"


def _tiles(report: FusionReport) -> list[Block]:
    whole = next((s for s in report.moved.strata if s.stratum == "all"), None)
    taken = next((s for s in report.fallback.strata if s.stratum == "all"), None)
    tiles = []
    if whole is not None:
        words = "bits from seen votes to fused p, Jensen-Shannon, on average"
        tiles.append(Tile(figure(whole.jsd_bits.value), bounds(whole.jsd_bits), words))
        share = f"{100 * whole.changed / whole.utterances:.1f} %"
        tiles.append(Tile(share, "", "of the voted utterances change their label"))
    if taken is not None:
        share = f"{100 * taken.proxy_taken / taken.utterances:.0f} %"
        tiles.append(Tile(share, "", f"of the {taken.utterances} train utterances take the proxy"))
        gain = "–" if taken.gain is None else figure(taken.gain, taken.low, taken.high)
        gain, _, interval = gain.partition(" ")
        tiles.append(Tile(gain, interval, "gain in log score a seen vote, over all"))
    if report.added is not None:
        made = report.added
        words = f"new train utterances, {made.seconds / 60:.1f} minutes, {_size(made)}"
        tiles.append(Tile(str(made.new), "", words))
    return [Tiles(tiles), Points(report.info.warnings, cls="note")]


def _fell_back(report: FusionReport) -> list[Block]:
    found = report.fallback
    parts: list[Block] = [Points([f"{_capital(sentence)}." for sentence in found.sentences])]
    if found.strata:
        head = ["stratum", "gain in log score ↑", "loss in squared error ↓", "speakers", "utterances", "proxy taken"]
        caption = (
            "Table 1. The proxy model against the human mixture, which uses no proxy: each seen vote predicted from "
            "the utterance's others by a model that never saw its speaker. Nats a vote; 95 % intervals by speaker. "
            "Shaded strata are won; an utterance takes the proxy where all of its strata are. Tied labels count for "
            "each of them, so label strata overlap. The proxy model was chosen by these votes, which flatters it a "
            "little: on votes that no fusion has seen, only the audit and the benchmark compare."
        )
        drawn = Figure(pictures.gains(found.strata), "Gains by stratum; large marks are won.", "Figure 1.")
        parts += [Figures([drawn]), Table(caption, [*head, "why"], [_gain_row(s) for s in found.strata])]
    return parts


def _gain_row(s: StratumGain) -> Row:
    figures = [_interval(s.gain, s.low, s.high), _interval(s.loss, s.loss_low, s.loss_high)]
    numbers = [str(n) for n in (s.speakers, s.utterances, s.proxy_taken)]
    return Row(s.stratum, [*figures, *numbers, s.reason], "own" if s.won else "")


def _interval(value: float | None, low: float | None, high: float | None, digits: int = 4) -> Cell | str:
    if value is None:
        return "–"
    return over(figure(value, digits=digits), figure(value, low, high, digits=digits).partition(" ")[2])


def _strengths(report: FusionReport) -> list[Block]:
    found = report.strengths
    parts: list[Block] = [Words(f"{_capital(found.reason)}.")] if found.reason else []
    if found.estimates:
        rows = [
            Row(
                f"{e.of}: {e.name}",
                [
                    _interval(e.value, e.low, e.high, 3),
                    ", ".join(figure(value, digits=2) for value in e.of_folds) or "–",
                    e.reason,
                ],
            )
            for e in found.estimates
        ]
        caption = f"Table 2. What was fitted. 95 % intervals: {found.method}."
        parts.append(Table(caption, ["parameter", "all train speakers", "each fold left out", "note"], rows))
    parts += _scores(report)
    for name, kinds in found.kinds.items():
        rows = [Row(k.label, [_told(k.weight), _told(k.mass), _told(k.votes, 2)]) for k in kinds]
        caption = (
            f"Class weights of {name}: its classes by the label that their votes say most. Weight: share of "
            "the utterances; mass: what these classes give the label; votes: how many human votes they count for, "
            "beside an utterance's own."
        )
        parts.append(Table(caption, ["classes that say most", "weight", "mass", "votes"], rows))
    return parts


def _scores(report: FusionReport) -> list[Table]:
    """How well each model that was tried predicts the seen votes; nothing for a strategy that tries none."""
    scores = report.info.parameters_of_p.get("cross_fitted_log_score_per_seen_vote", {})
    rows = [Row(name, [figure(score, digits=4)]) for name, score in scores.items()]
    caption = (
        "Models compared: mean log-probability of a seen vote, in nats, given the utterance's other seen votes and its "
        "proxies, by fits that never saw its speaker."
    )
    return [Table(caption, ["model", "log score ↑"], rows)] if rows else []


def _told(share: Interval, digits: int = 3) -> Cell:
    """A figure over its interval, or over the reason why there is none."""
    reason = share.method.removeprefix("none: ") if math.isnan(share.low) else ""
    return over(figure(share.value, digits=digits), bounds(share, digits), reason)


def _moved(report: FusionReport) -> Block:
    found = report.moved
    if not found.strata:
        return Words("No train utterance has both seen votes and a distribution.")
    rows = []
    for s in found.strata:
        changed = over(str(s.changed), f"{100 * s.changed / s.utterances:.1f} %")
        rows.append(Row(s.stratum, [str(s.utterances), cell(s.jsd_bits), cell(s.l2), changed, str(s.settled)]))
    head = ["train utterances", "number", "JSD, bits", "L2", "label changed", "ties settled"]
    caption = (
        "Table 3. Distance from the frequencies of the seen votes to the fused p; 95 % intervals by speaker. No score: "
        "the fewer votes, the farther even a perfect fusion moves. Label changed: the largest p is on none of the "
        "labels with the most seen votes."
    )
    return Table(caption, head, rows)


def _shares(report: FusionReport) -> list[Block]:
    shares = report.info.shares
    names = [name for name in COLUMNS if name in shares]
    rows = [Row(label, [f"{100 * shares[name][label]:.1f}" for name in names]) for label in report.labels]
    drawn = [(COLUMNS[n], [shares[n][label] for label in report.labels]) for n in OF_MASS if n in shares]
    swatches = _swatches([name for name, _ in drawn])
    picture = Figure(pictures.shares(report.labels, drawn), "Percent of the mass.", "Figure 2.", swatches=swatches)
    caption = "Table 4. Shares of the labels in the train split, in percent: before, fused, and with what was added."
    return [Figures([picture]), Table(caption, ["label", *(COLUMNS[name] for name in names)], rows)]


def _swatches(names: Sequence[str]) -> list[Swatch]:
    return [Swatch(pictures.COLOURS[name], name) for name in names]


def _new_utterances(report: FusionReport, corpus: Corpus, fused: Corpus | None) -> list[Block]:
    """New utterances by label, and some beside their parents; their sounds are in `fused` (None: no sounds)."""
    made = report.added
    if made is None:
        return []
    masses = list(made.masses)
    rows = [
        Row(label, [str(made.by_label[label]), *(f"{made.masses[name][label]:.1f}" for name in masses)])
        for label in report.labels
    ]
    titles = {"mass": "expected mass before", "target": "target", "reached": "with the new"}
    caption = (
        "Table 5. New utterances by dominant label, and the expected number of utterances of a label, the sum of p."
    )
    two = any(len(take.parents) > 1 for take in made.takes)
    return [
        Table(caption, ["label", "new utterances", *(titles[name] for name in masses)], rows),
        Heading("Parents and new utterances, side by side"),
        Legend(_swatches(["parent", *["second parent"] * two, "new utterance"])),
        Cards([_take_card(take, report.labels, corpus, fused) for take in made.takes]),
    ]


def _take_card(take: Take, labels: Sequence[str], corpus: Corpus, fused: Corpus | None) -> Card:
    columns = [*zip(("parent", "second parent"), take.parents_p, strict=False), ("new utterance", take.p)]
    heard: list[tuple[str, Sound]] = []
    if fused is not None:
        parents = zip(take.parents, take.rows, strict=True)
        heard = [(f"parent {name}", player(corpus, row)) for name, row in parents]
        heard.append(("new", player(fused, fused.ids.index(take.utterance_id))))
    return Card(take.utterance_id, [take.how], pictures.stacked(take.utterance_id, labels, columns), heard)


def _listen(report: FusionReport, corpus: Corpus, *, sounds: bool) -> list[Section]:
    """The utterances that moved most and some drawn evenly, with their sounds."""
    found = report.moved
    if not found.most:
        return []
    parts: list[Block] = [Legend(_swatches(["seen votes", "proxy", "fused"]))]
    if sounds and without_sounds(corpus):
        parts.append(Words("The corpus names no sounds, so there is nothing to listen to."))
        sounds = False
    for title, chosen in (("Moved most", found.most[:MOVED_SHOWN]), ("Drawn evenly, by the seed", found.random)):
        cards = [_card(example, report.labels, corpus, sounds=sounds) for example in chosen]
        parts += [Heading(title), Cards(cards)]
    return [Section("Listen", parts)]


def _card(example: Example, labels: Sequence[str], corpus: Corpus, *, sounds: bool) -> Card:
    votes = sum(example.seen)
    columns = [("seen votes", [n / votes for n in example.seen]), ("proxy", example.proxy), ("fused", example.fused)]
    facts = [f"{votes:g} seen votes", f"speaker {example.speaker}" if example.speaker else "speaker unknown"]
    facts += [f"from {example.source}", f"moved {figure(example.jsd_bits, digits=2)} bits"]
    said = corpus.utterances["transcript"][example.row].as_py()
    lines = [f"{example.seen_label} → {example.fused_label}", ", ".join(facts), *([f"“{said}”"] if said else [])]
    heard = [("", player(corpus, example.row))] if sounds else []
    return Card(example.utterance_id, lines, pictures.stacked(example.utterance_id, labels, columns), heard)


def _facts(report: FusionReport) -> Facts:
    info = report.info
    facts = [
        ("corpus", f"{info.corpus['name']}, {info.corpus['fingerprint']}"),
        ("division", _words(info.division or {})),
        *(("proxy", _words(run)) for run in info.runs),
        ("seed", str(info.seed)),
        ("software", _words(info.software)),
        *(("failed", _words(failure)) for failure in info.failures[:20]),
    ]
    return Facts(facts)


def _words(value: dict) -> str:
    return "; ".join(f"{key}: {part}" for key, part in value.items())


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
