"""The figures of a fusion's report, for page, terminal and JSON: what moved, what was added, where the proxy served.

What moved: the distance between the seen votes' frequencies h_u and the fused p_u, and where it is largest.

    jsd_bits(h_u, p_u), Jensen-Shannon divergence in bits (Lin 1991)         L2  sqrt(sum_k (p_uk - h_uk)^2)

over the train utterances that have both, with intervals by speaker. It is no score: two votes of five cannot lie near
any smooth distribution, so the fewer votes, the farther even a perfect fusion moves. `changed`: the label of the
largest p is none of those with the most seen votes; `settled`: several labels tied among the seen votes, and p decides.

What was added: how many new utterances, of which labels, how long, how large on disk, and some to be heard. Before they
are written, seconds follow from the parents' and the tempo (a mixture lasts as long as the shorter parent), and bytes
from a few takes, drawn by the seed and made in memory: a guess, and said to be one. Afterwards both are those of the
files.

Where the proxy was taken and where the fusion fell back: for `auto` the gain of the proxy model over the human mixture
in every stratum (log score a seen vote, and the loss in squared error that goes with it), whether it was won, and why
not; for the others what the rows were made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.files import finite
from ...data.fused import FusionInfo
from ...data.scores.divergences import jsd_bits
from ...data.scores.intervals import Interval
from ...data.seeds import rng_from
from ...data.votes import frequencies
from .auto import MARGIN, cut, plurality
from .base import Blend, Strengths
from .cross_fit import mean_over
from .describe import Fusion, new_distributions
from .dime.plan import NewUtterance, Plan, turn_seconds
from .dime.sounds import flac, new_sound
from .evidence import Evidence
from .strategies import STRATEGIES

# --------------------
# What a fusion moved.

MOST_MOVED = 20
MOVED_SHOWN = 8


class Movement(NamedTuple):
    """One stratum: utterances, mean distances with their intervals, and how many labels changed or ties settled."""

    stratum: str
    utterances: int
    jsd_bits: Interval
    l2: Interval
    changed: int
    settled: int


class Example(NamedTuple):
    """One utterance: its place and speaker, seen votes, the proxies' mean distribution (None: none), fused p, the
    distances, and the label of most seen votes (several: a tie) and of the largest p."""

    row: int
    utterance_id: str
    speaker: str | None
    seen: list[float]
    proxy: list[float] | None
    fused: list[float]
    effective_votes: float
    source: str
    jsd_bits: float
    l2: float
    seen_label: str
    fused_label: str


class Moved(NamedTuple):
    """By stratum (all of them first; one that holds all is not repeated); the utterances that moved most; and some
    drawn evenly, by the seed, from all that have both."""

    strata: list[Movement]
    most: list[Example]
    random: list[Example]


class Distances(NamedTuple):
    """For every utterance [U]: whether it has both distributions, the distances (NaN elsewhere), and what became of
    its label."""

    both: np.ndarray
    jsd_bits: np.ndarray
    l2: np.ndarray
    changed: np.ndarray
    settled: np.ndarray


def distances(seen: np.ndarray, p: np.ndarray) -> Distances:
    """Distances between the frequencies of seen votes [U, K] and p [U, K].

    >>> distances(np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[0.5, 0.5], [0.75, 0.25]])).changed.tolist()
    [False, False]
    """
    both = (seen.sum(axis=1) > 0) & ~np.isnan(p).any(axis=1)
    h = frequencies(seen)
    jsd, l2 = np.full(len(p), np.nan), np.full(len(p), np.nan)
    jsd[both] = jsd_bits(h[both], p[both])
    l2[both] = np.sqrt(((p[both] - h[both]) ** 2).sum(axis=1))
    top, said = plurality(np.where(both[:, None], p, 0.0)), plurality(seen)
    tied = said.sum(axis=1) > 1
    return Distances(
        both,
        jsd,
        l2,
        changed=both & ~(top & said).any(axis=1),
        settled=both & tied & (top & said).any(axis=1) & (top.sum(axis=1) == 1),
    )


def moved(evidence: Evidence, blend: Blend) -> Moved:
    """Summarise the distances by stratum, and choose the examples; empty where no utterance has both."""
    found, q = distances(evidence.seen, blend.p), evidence.proxy()
    groups = evidence.groups()
    strata = [movement(name, found, mask & found.both, groups) for name, mask in strata_of(evidence, blend, q)]
    rows = np.flatnonzero(found.both)
    rows = rows[np.argsort(np.array([evidence.ids[i] for i in rows], dtype=str), kind="stable")]
    far = rows[np.argsort(-found.jsd_bits[rows], kind="stable")[:MOST_MOVED]]
    drawn = rng_from("fusion report", evidence.seed).permutation(rows)[:MOVED_SHOWN]
    return Moved(
        [s for s in strata if s.utterances and (s is strata[0] or s.utterances < strata[0].utterances)],
        [example(evidence, blend, q, found, int(i)) for i in far],
        [example(evidence, blend, q, found, int(i)) for i in drawn],
    )


def strata_of(evidence: Evidence, blend: Blend, q: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and masks [U]: those by which harm is looked for, the number of seen votes, and what p was made of."""
    strata = cut(evidence, q)
    yield from ((name, strata.of_row[:, i]) for i, name in enumerate(strata.names))
    number = np.rint(evidence.seen.sum(axis=1)).astype(int)
    for n in sorted(set(number[number > 0].tolist())):
        yield f"seen votes: {n}", number == n
    for source in sorted({str(s) for s in blend.source if s is not None}):
        yield f"from {source}", blend.source == source


def movement(name: str, found: Distances, mask: np.ndarray, groups: np.ndarray) -> Movement:
    """One stratum's row; `groups` [U] are codes of the speakers."""
    ones = mask.astype(float)
    jsd, l2 = (mean_over(np.nan_to_num(values), ones, groups, mask) for values in (found.jsd_bits, found.l2))
    return Movement(
        name, int(mask.sum()), jsd, l2, int((found.changed & mask).sum()), int((found.settled & mask).sum())
    )


def example(evidence: Evidence, blend: Blend, q: np.ndarray, found: Distances, i: int) -> Example:
    """What is shown of one utterance; q [U, K] are the proxies' mean distributions."""
    labels = np.array(list(evidence.labels), dtype=object)
    return Example(
        row=i,
        utterance_id=evidence.ids[i],
        speaker=None if evidence.speakers[i] is None else str(evidence.speakers[i]),
        seen=evidence.seen[i].tolist(),
        proxy=None if np.isnan(q[i]).any() else q[i].tolist(),
        fused=blend.p[i].tolist(),
        effective_votes=float(blend.effective_votes[i]),
        source=str(blend.source[i]),
        jsd_bits=float(found.jsd_bits[i]),
        l2=float(found.l2[i]),
        seen_label=" or ".join(labels[plurality(evidence.seen[i : i + 1])[0]]),
        fused_label=" or ".join(labels[plurality(blend.p[i : i + 1])[0]]),
    )


# --------------------
# What it added.

ADDED_SHOWN = 6
MEASURED = 8


class Take(NamedTuple):
    """One new utterance: its id and how it was made, its parents' ids and places, their distributions and its own."""

    utterance_id: str
    how: str
    parents: list[str]
    rows: list[int]
    parents_p: list[list[float]]
    p: list[float]


class Added(NamedTuple):
    """Number of new utterances, in all and by dominant label; their seconds and bytes (`measured`: of the files, else
    a guess; NaN bytes: not guessed); expected mass by label before, aimed at and after; some of them, by the seed."""

    form: str
    new: int
    by_label: dict[str, int]
    seconds: float
    bytes: float
    measured: bool
    masses: dict[str, dict[str, float]]
    takes: list[Take]


def added(fusion: Fusion, *, guess_bytes: bool) -> Added | None:
    """What a plan comes to; None where nothing is to be added."""
    plan, labels = fusion.blend.new, fusion.evidence.labels
    if plan is None:
        return None
    p = new_distributions(fusion.blend, plan.items)
    dominant = np.bincount(p.argmax(axis=1), minlength=len(labels))
    seconds = float(sum(take_seconds(fusion, plan, item) for item in plan.items))
    order = rng_from("fusion report", "takes", fusion.evidence.seed).permutation(len(plan.items))
    a_second = bytes_a_second(fusion, plan, [plan.items[i] for i in order[:MEASURED]]) if guess_bytes else np.nan
    return Added(
        form=plan.form,
        new=len(plan.items),
        by_label=dict(zip(labels, dominant.tolist(), strict=True)),
        seconds=seconds,
        bytes=a_second * seconds,
        measured=False,
        masses={name: plan.details[name] for name in ("mass", "target", "reached") if name in plan.details},
        takes=[_take(fusion, plan.items[i], p[i]) for i in order[:ADDED_SHOWN]],
    )


def take_seconds(fusion: Fusion, plan: Plan, item: NewUtterance) -> float:
    """How long a new utterance will be."""
    parents = [
        turn_seconds(fusion.corpus, i, longest=plan.max_seconds) for i in dict.fromkeys((item.first, item.second))
    ]
    return min(parents) if item.perturbation is None else sum(parents) / item.perturbation.tempo


def bytes_a_second(fusion: Fusion, plan: Plan, items: Sequence[NewUtterance]) -> float:
    """Mean bytes of FLAC a second of some new utterances, made in memory; 0 for none."""
    longest, size, seconds = plan.max_seconds, 0, 0.0
    for item in items:
        sound = new_sound(item, lambda i: utterance_audio(fusion.corpus, i, max_seconds=longest))
        size += len(flac(sound))
        seconds += len(sound) / SAMPLE_RATE
    return size / seconds if seconds else 0.0


def as_written(found: Added, rows: Sequence[dict[str, Any]], directory: Path) -> Added:
    """The same with the seconds and bytes of the files below `directory`."""
    size = sum((directory / row["audio"]).stat().st_size for row in rows)
    return found._replace(seconds=float(sum(row["duration"] for row in rows)), bytes=float(size), measured=True)


def _take(fusion: Fusion, item: NewUtterance, p: np.ndarray) -> Take:
    rows = list(dict.fromkeys((item.first, item.second)))
    ids = fusion.evidence.ids
    parents_p = [fusion.blend.p[i].tolist() for i in rows]
    return Take(item.utterance_id, how_made(item), [ids[i] for i in rows], rows, parents_p, p.tolist())


def how_made(item: NewUtterance) -> str:
    """The parameters of one take in words."""
    how = item.perturbation
    if how is None:
        return f"two voices mixed, {1 - item.alpha:.2f} of the first and {item.alpha:.2f} of the second"
    parts = [f"pitch {how.pitch_semitones:+.2f} semitones", f"tempo {how.tempo:.3f}", f"gain {how.gain_db:+.1f} dB"]
    if how.snr_db is not None:
        parts.append(f"noise at {how.snr_db:.0f} dB")
    if how.room_rt60 is not None:
        parts.append(f"a room of {how.room_rt60:.2f} s")
    if item.first != item.second:
        parts.insert(0, "two turns of one speaker joined")
    return ", ".join(parts)


# --------------------
# Where it took the proxy and where it fell back, in figures and in words.


class StratumGain(NamedTuple):
    """One stratum of `auto`: the gain in log score a seen vote and the loss in squared error, with intervals by
    speaker; whether it was won, why in words; its train utterances, and those where the proxy was taken (the
    utterance's other strata have to be won, too)."""

    stratum: str
    gain: float | None
    low: float | None
    high: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    speakers: int
    won: bool
    reason: str
    utterances: int
    proxy_taken: int


class Fallback(NamedTuple):
    """How many train utterances each source made, the strata, and what it comes to in words."""

    sources: dict[str, int]
    strata: list[StratumGain]
    sentences: list[str]


def source_words() -> dict[str, str]:
    """What a row of each source was made of, as the strategies say it."""
    return {source: words for strategy in STRATEGIES.values() for source, words in strategy.sources.items()}


def fallback(evidence: Evidence, blend: Blend) -> Fallback:
    """Read it off a strategy's result."""
    sources = {
        name: int((evidence.train & (blend.source == name)).sum())
        for name in sorted({str(s) for s in blend.source if s})
    }
    none = int((evidence.train & np.isnan(blend.p).any(axis=1)).sum())
    gains = blend.parameters_of_p.get("gain_in_log_score_per_seen_vote", {})
    strata = [_stratum(name, gain) for name, gain in gains.items() if gain["utterances"]]
    sentences = [_verdict(strata)] if strata else []
    words = source_words()
    sentences += [f"{n} train utterances: {words.get(name, name)} ({name})" for name, n in sources.items() if n]
    if none:
        sentences.append(
            f"{none} train utterances: no distribution, for they have neither a seen vote nor a proxy taken"
        )
    outside = int((~evidence.train & ~np.isnan(blend.p).any(axis=1)).sum())
    if outside:
        sentences.append(f"{outside} utterances outside train: the proxies alone; nobody's vote there was read")
    return Fallback(sources, strata, sentences)


def _stratum(name: str, gain: dict[str, Any]) -> StratumGain:
    return StratumGain(
        stratum=name,
        gain=gain["gain"],
        low=gain["low"],
        high=gain["high"],
        loss=gain["brier_loss"],
        loss_low=gain["brier_low"],
        loss_high=gain["brier_high"],
        speakers=gain["speakers"],
        won=gain["won"],
        reason=reason(gain),
        utterances=gain["utterances"],
        proxy_taken=gain["proxy_taken"],
    )


def reason(gain: dict[str, Any]) -> str:
    """Why a stratum was won or lost, in words."""
    if gain["won"]:
        return "shown to help"
    if gain["gain"] is None:
        return "no seen vote to judge by"
    if gain["low"] is None:
        return "too few speakers for an interval"
    if gain["high"] < 0:
        return "harms: people alone predict better"
    if gain["low"] <= 0:
        return "not shown to help: the gain's interval reaches 0"
    if gain["brier_high"] is None or gain["brier_high"] >= MARGIN:
        return f"surer, and squared error may rise by {MARGIN:g} or more"
    return "not taken"


def _verdict(strata: list[StratumGain]) -> str:
    """What `auto` did, in one sentence; strata without a vote are not named."""
    lost = [s.stratum for s in strata if not s.won and s.speakers]
    whole = next((s for s in strata if s.stratum == "all"), strata[0])
    taken = f"the proxy was taken for {whole.proxy_taken} of {whole.utterances} train utterances"
    if not lost:
        return f"{taken}: it is shown to help in every stratum"
    return f"{taken}; elsewhere the human mixture stands, for the proxy is not shown to help in {', '.join(lost)}"


# --------------------
# All of it.


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What `fusion.json` says, what moved, what was fitted, where the proxy was taken, and what was added (None:
    nothing)."""

    info: FusionInfo
    labels: tuple[str, ...]
    moved: Moved
    strengths: Strengths
    fallback: Fallback
    added: Added | None

    def to_json(self) -> dict[str, Any]:
        """Plain values: named tuples are objects, what is not finite is null; of `fusion.json` only what they need."""
        about = {name: getattr(self.info, name) for name in ("strategy", "blend", "seed", "counts", "shares")}
        parts = {name: plain(getattr(self, name)) for name in ("moved", "strengths", "fallback", "added")}
        return finite({**about, "labels": list(self.labels), **parts})


def figures(fusion: Fusion, info: FusionInfo, *, guess_bytes: bool = False) -> FusionReport:
    """Compute the report; `guess_bytes` makes a few of the new sounds to guess the size of all."""
    return FusionReport(
        info=info,
        labels=tuple(fusion.evidence.labels),
        moved=moved(fusion.evidence, fusion.blend),
        strengths=fusion.fitted.figures(),
        fallback=fallback(fusion.evidence, fusion.blend),
        added=added(fusion, guess_bytes=guess_bytes),
    )


def with_files(report: FusionReport, rows: Sequence[dict[str, Any]], directory: Path) -> FusionReport:
    """The report with the seconds and bytes of the sounds that were written below `directory`."""
    return report if report.added is None else replace(report, added=as_written(report.added, rows, directory))


def plain(value: Any) -> Any:
    """Named tuples as objects, whatever holds them."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
