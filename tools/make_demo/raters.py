"""Simulated raters: most good, some careless, one spammer; each keeps their habits over the whole corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from serann.data.seeds import rng_from

from .plan import LABELS, Utterance, lean_distribution, voice_distribution

VOTES_PER_UTTERANCE = 8
SCALE = (1, 7)
DIMENSIONS = ("valence", "arousal", "dominance")
# Where each label lies on the three scales, 1 to 7 (the order of the labels is that of demo6).
EXPECTED = np.array(
    [[4.0, 3.2, 4.0], [5.9, 5.2, 4.8], [2.1, 5.8, 5.6], [2.3, 2.2, 2.6], [2.3, 5.5, 2.2], [4.7, 5.5, 4.1]]
)

Kind = Literal["good", "careless", "spammer"]


@dataclass(frozen=True, slots=True)
class Rater:
    """A simulated rater.

    With probability `inattention` the vote comes from `habit` [K], whatever was heard; otherwise from how the voice is
    heard, moved by the words with the strength `words`. `second` says how readily a second label is named; `offset` and
    `noise` (points of the scale) belong to the ratings.
    """

    rater_id: str
    kind: Kind
    inattention: float
    habit: tuple[float, ...]
    words: float
    second: float
    offset: tuple[float, ...]
    noise: float


def make_raters(*, good: int = 17, careless: int = 3, spammers: int = 1, seed: int) -> list[Rater]:
    """The pool of raters of the family `seed`; which of them is of which kind is not told by their names."""
    counts: dict[Kind, int] = {"good": good, "careless": careless, "spammer": spammers}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    order = rng_from("raters", seed).permutation(len(kinds))
    return [_make_rater(f"rater-{i:02d}", kinds[k], seed=seed) for i, k in enumerate(order, start=1)]


def _make_rater(rater_id: str, kind: Kind, *, seed: int) -> Rater:
    rng = rng_from("rater", seed, rater_id)
    inattention = {"good": rng.uniform(0.01, 0.08), "careless": rng.uniform(0.3, 0.45), "spammer": 1.0}[kind]
    # The inattentive fall back on neutral; a spammer clicks what they like, mostly one label.
    concentration = {"good": [2.0] + [0.5] * 5, "careless": [6.0] + [0.5] * 5, "spammer": [0.1, 8.0] + [0.5] * 4}[kind]
    return Rater(
        rater_id=rater_id,
        kind=kind,
        inattention=float(inattention),
        habit=tuple(rng.dirichlet(concentration).tolist()),
        words=float(rng.uniform(0.2, 0.8)),
        second=float(rng.uniform(0.2, 0.5)),
        offset=tuple(rng.normal(0, 0.35, len(DIMENSIONS)).tolist()),
        noise=0.7 if kind == "good" else 1.4,
    )


def rater_distribution(rater: Rater, utterance: Utterance) -> np.ndarray:
    """From which distribution [K] the rater's vote on an utterance is drawn."""
    heard = lean_distribution(voice_distribution(utterance.mix), utterance.sentence.lean, rater.words)
    return (1 - rater.inattention) * heard + rater.inattention * np.array(rater.habit)


def expected_votes(raters: Sequence[Rater], utterance: Utterance) -> np.ndarray:
    """The truth behind the votes [K]: the distribution of the vote of a rater picked at random."""
    return np.mean([rater_distribution(rater, utterance) for rater in raters], axis=0)


def cast_votes(raters: Sequence[Rater], utterance: Utterance, *, seed: int) -> list[dict[str, Any]]:
    """The votes on one utterance: VOTES_PER_UTTERANCE raters, a primary label each, and of some a secondary one."""
    rows = []
    for rater in _panel(raters, utterance, seed=seed):
        rng = rng_from("vote", seed, rater.rater_id, utterance.utterance_id)
        p = rater_distribution(rater, utterance)
        first = int(rng.choice(len(p), p=p))
        rows.append(_vote(rater, utterance, LABELS[first], "primary"))
        rest = np.where(np.arange(len(p)) == first, 0.0, p)
        # A second emotion is named the more often, the more of what was heard is left besides the first.
        if rng.random() < rater.second * min(1.0, 2 * rest.sum()):
            second = int(rng.choice(len(p), p=rest / rest.sum()))
            rows.append(_vote(rater, utterance, LABELS[second], "secondary"))
    return rows


def cast_ratings(raters: Sequence[Rater], utterance: Utterance, *, seed: int) -> list[dict[str, Any]]:
    """Valence, arousal and dominance, 1 to 7, of the raters that voted on the utterance; a spammer's are arbitrary."""
    rows = []
    for rater in _panel(raters, utterance, seed=seed):
        rng = rng_from("rating", seed, rater.rater_id, utterance.utterance_id)
        heard = voice_distribution(utterance.mix) @ EXPECTED
        for dimension, expected, offset in zip(DIMENSIONS, heard, rater.offset, strict=True):
            felt = expected + offset + rater.noise * rng.standard_normal()
            if rater.kind == "spammer":
                felt = rng.uniform(*SCALE)
            value = float(np.clip(round(felt), *SCALE))
            rows.append({"utterance_id": utterance.utterance_id, "rater_id": rater.rater_id, "source": "human",
                         "dimension": dimension, "value": value})  # fmt: skip
    return rows


def _panel(raters: Sequence[Rater], utterance: Utterance, *, seed: int) -> list[Rater]:
    chosen = rng_from("panel", seed, utterance.utterance_id).permutation(len(raters))[:VOTES_PER_UTTERANCE]
    return [raters[i] for i in sorted(chosen)]


def _vote(rater: Rater, utterance: Utterance, label: str, rank: str) -> Mapping[str, Any]:
    return {"utterance_id": utterance.utterance_id, "rater_id": rater.rater_id, "source": "human", "draw": 0,
            "label": label, "rank": rank, "weight": 1.0}  # fmt: skip
