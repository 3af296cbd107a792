"""Who says what with which emotion, and how it is heard: the design of a simulated corpus, before any sound is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from serann.data.labels import LABEL_SETS
from serann.data.seeds import rng_from

from .sentences import Sentence

LABELS = LABEL_SETS["demo6"].labels
# Shares of the acted classes: neutral by far the most, fear and surprise rare, as in corpora of natural speech.
CLASS_SHARES: Mapping[str, float] = {
    "neutral": 0.36, "happy": 0.18, "angry": 0.16, "sad": 0.14, "fear": 0.08, "surprise": 0.08,
}  # fmt: skip
SPLIT_SHARES: Mapping[str, float] = {"train": 0.60, "development": 0.15, "test": 0.25}
AMBIGUOUS_SHARE = 0.40
LEANING_SHARE = 0.25

# How a pure utterance at full intensity is heard: rows the acted emotion, columns the label set.
HEARD = np.array(
    [  # neutral happy angry sad  fear surprise
        [0.88, 0.03, 0.03, 0.04, 0.01, 0.01],
        [0.04, 0.86, 0.02, 0.01, 0.01, 0.06],
        [0.04, 0.02, 0.88, 0.02, 0.02, 0.02],
        [0.07, 0.01, 0.01, 0.87, 0.03, 0.01],
        [0.02, 0.01, 0.03, 0.05, 0.83, 0.06],
        [0.03, 0.07, 0.02, 0.01, 0.04, 0.83],
    ]
)
# With which second emotion a first one is mixed, when an utterance is ambiguous (rows sum to 1).
PARTNERS: Mapping[str, Mapping[str, float]] = {
    "neutral": {"happy": 0.3, "angry": 0.25, "sad": 0.35, "surprise": 0.1},
    "happy": {"neutral": 0.4, "surprise": 0.4, "angry": 0.2},
    "angry": {"neutral": 0.35, "sad": 0.2, "fear": 0.2, "surprise": 0.15, "happy": 0.1},
    "sad": {"neutral": 0.5, "fear": 0.3, "angry": 0.2},
    "fear": {"sad": 0.4, "surprise": 0.4, "angry": 0.2},
    "surprise": {"happy": 0.5, "fear": 0.3, "neutral": 0.2},
}


@dataclass(frozen=True, slots=True)
class Utterance:
    """One planned utterance: who says which sentence in which split, acted as which mix of emotions.

    `mix` holds the weights of the acted emotions (neutral's weight may be left out: weights below a sum of 1 are
    completed by neutral); `intended` is the dominant one.
    """

    utterance_id: str
    speaker: int
    split: str
    sentence: Sentence
    mix: Mapping[str, float]
    intended: str
    ambiguous: bool


def voice_distribution(mix: Mapping[str, float]) -> np.ndarray:
    """How the voice alone is heard: p = HEARD^T m, where m is the acted mix, completed by neutral. Shape [K]."""
    weights = np.array([mix.get(label, 0.0) for label in LABELS])
    weights[LABELS.index("neutral")] += max(0.0, 1.0 - weights.sum())
    return weights @ HEARD


def lean_distribution(p: np.ndarray, lean: str | None, strength: float) -> np.ndarray:
    """Move a distribution towards the label that the words lean to: p(lean) times exp(strength), normalised.

    >>> lean_distribution(np.full(6, 1 / 6), "sad", np.log(2)).round(3).tolist()
    [0.143, 0.143, 0.143, 0.286, 0.143, 0.143]
    """
    tilted = p.copy()
    if lean is not None:
        tilted[LABELS.index(lean)] *= np.exp(strength)
    return tilted / tilted.sum()


def split_speakers(voices: int, *, seed: int) -> list[str]:
    """A split for each voice, in the shares of SPLIT_SHARES, with both genders in every split that has two voices."""
    names = list(SPLIT_SHARES)
    counts = whole_shares(np.array([SPLIT_SHARES[name] for name in names]), voices)
    assigned = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    order = []
    for gender in (0, 1):  # odd voices are female, even ones male (make_voice)
        members = np.arange(gender, voices, 2)
        order.append(rng_from("split", seed, gender).permutation(members))
    alternating = [v for pair in zip(*order, strict=False) for v in pair]
    alternating += list(order[0][len(order[1]) :])
    splits = [""] * voices
    for voice, split in zip(alternating, assigned, strict=True):
        splits[int(voice)] = split
    return splits


def whole_shares(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers with sum `total` in the ratio of `shares` (largest remainders).

    >>> whole_shares(np.array([.6, .15, .25]), 10).tolist()
    [6, 2, 2]
    """
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[i] += 1
    return counts


def draw_mix(intended: str, *, ambiguous: bool, rng: np.random.Generator) -> dict[str, float]:
    """The weights of one utterance: a mix of two emotions, or one emotion at an intensity of .75 to 1."""
    if ambiguous:
        partners = PARTNERS[intended]
        second = str(rng.choice(list(partners), p=list(partners.values())))
        weight = rng.uniform(0.5, 0.7)
        return {intended: weight, second: 1 - weight}
    return {intended: float(rng.uniform(0.75, 1.0))}


def plan_corpus(
    *, utterances: int, voices: int, seed: int, sentences: Sequence[Sentence], prefix: str = "utt"
) -> list[Utterance]:
    """Plan a corpus: `utterances` spread evenly over `voices`, classes in the same shares in every split.

    The same arguments give the same plan on every machine.
    """
    splits = split_speakers(voices, seed=seed)
    per_voice = whole_shares(np.ones(voices), utterances)
    speakers = np.repeat(np.arange(voices), per_voice)
    intended = _deal_classes([splits[s] for s in speakers], seed=seed)
    neutral = [s for s in sentences if s.lean is None]
    leaning = [s for s in sentences if s.lean is not None]
    plan = []
    for number, (speaker, label) in enumerate(zip(speakers, intended, strict=True), start=1):
        utterance_id = f"{prefix}-{number:0{max(4, len(str(utterances)))}d}"
        rng = rng_from("plan", seed, utterance_id)
        pool = leaning if rng.random() < LEANING_SHARE else neutral
        ambiguous = bool(rng.random() < AMBIGUOUS_SHARE)
        mix = draw_mix(label, ambiguous=ambiguous, rng=rng)
        sentence = pool[int(rng.integers(len(pool)))]
        plan.append(Utterance(utterance_id, int(speaker) + 1, splits[speaker], sentence, mix, label, ambiguous))
    return plan


def _deal_classes(splits: Sequence[str], *, seed: int) -> list[str]:
    shares = np.array([CLASS_SHARES[label] for label in LABELS])
    dealt = [""] * len(splits)
    for split in sorted(set(splits)):
        members = [i for i, name in enumerate(splits) if name == split]
        labels = np.repeat(LABELS, whole_shares(shares, len(members)))
        rng_from("classes", seed, split).shuffle(labels)
        for i, label in zip(members, labels, strict=True):
            dealt[i] = str(label)
    return dealt
