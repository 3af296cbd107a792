"""What a fusion moved: the distance between the seen votes' frequencies h_u and the fused p_u, and where it is largest.

    jsd_bits(h_u, p_u), Jensen-Shannon divergence in bits (Lin 1991)         L2  sqrt(sum_k (p_uk - h_uk)^2)

over the train utterances that have both, with intervals by speaker. It is no score: two votes of five cannot lie near
any smooth distribution, so the fewer votes, the farther even a perfect fusion moves. `changed`: the label of the
largest p is none of those with the most seen votes; `settled`: several labels tied among the seen votes, and p decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...data.scores.divergences import jsd_bits
from ...data.scores.intervals import Interval
from ...data.seeds import rng_from
from ...data.votes import frequencies
from .auto import cut, plurality
from .cross_fit import interval_of
from .evidence import Blend, Evidence

MOST_MOVED = 20
SHOWN = 8


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
    drawn = rng_from("fusion report", evidence.seed).permutation(rows)[:SHOWN]
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
    jsd, l2 = (interval_of(np.nan_to_num(values), ones, groups, mask) for values in (found.jsd_bits, found.l2))
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
