"""Simulated speakers, drawn from a population, and a panel that hears some of them better than others.

Each speaker shifts the labels' chances, is clearer or vaguer, and is heard by the panel more or less well (how strongly
it follows the truth, and with how much noise); speakers have 12 to 26 utterances. So utterances of one speaker are no
independent witnesses, and squared errors are skewed between speakers.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from serann.annotator.audit.reference import Reference
from serann.annotator.runs import Run
from serann.data.folds import group_folds
from serann.data.labels import LabelSet
from serann.data.tables import distribution_column

LABELS = LabelSet("four", ("neutral", "happy", "angry", "sad"))
CHANCES = np.log([0.4, 0.25, 0.2, 0.15])
LISTENERS, VOTES_SCORED = 3, 4


class Heard(NamedTuple):
    """Utterances [U]: their speaker, votes scored and others [U, K], each listener's p [U, L, K] and their mean q."""

    speaker: np.ndarray
    scored: np.ndarray
    other: np.ndarray
    listeners: np.ndarray
    q: np.ndarray


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def simulated_speakers(speakers: int, seed: int) -> Heard:
    """Draw so many speakers, their utterances, people's votes (4 scored, 3 to 5 others) and the panel's answers."""
    rng = np.random.default_rng([7, speakers, seed])
    of = np.repeat(np.arange(speakers), rng.integers(12, 27, speakers))
    shape = (len(of), len(LABELS))
    shift, clarity = rng.normal(0, 0.5, (speakers, len(LABELS))), np.exp(rng.normal(0, 0.25, speakers))
    truth = softmax(CHANCES + shift[of] + 2.0 * clarity[of, None] * rng.normal(size=shape))
    follows, noise = rng.normal(0.8, 0.2, speakers), np.exp(rng.normal(-0.2, 0.4, speakers))
    heard = follows[of, None] * np.log(truth) + [0.2, 0, -0.3, 0.1] + noise[of, None] * rng.normal(size=shape)
    listeners = softmax(heard[:, None] + rng.normal(0, 0.6, (len(of), LISTENERS, len(LABELS))))
    scored, other = rng.multinomial(VOTES_SCORED, truth), rng.multinomial(rng.integers(3, 6, len(of)), truth)
    return Heard(of, scored.astype(float), other.astype(float), listeners, listeners.mean(axis=1))


def together(parts: list[Heard], groups: int) -> Heard:
    """Many corpora as one: the corpora, dealt to so many groups, stand in the place of the speakers."""
    speaker = np.concatenate([np.full(len(part.speaker), i % groups) for i, part in enumerate(parts)])
    return Heard(speaker, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))


def reference_of(heard: Heard, name: str) -> Reference:
    """The audit's reference of these utterances, in folds of speakers; ids begin with `name`."""
    ids = [f"{name}-{u}" for u in range(len(heard.speaker))]
    speakers = np.array([f"s{s:02d}" for s in heard.speaker], dtype=object)
    return Reference(
        labels=LABELS,
        ids=ids,
        rows=np.arange(len(ids)),
        scored=heard.scored,
        other=heard.other,
        heldout=heard.scored + heard.other,
        groups=speakers,
        folds=group_folds(speakers, folds=5, seed=0),
        m=VOTES_SCORED,
        seed=0,
        left_out={},
        notes=[],
    )


def run_of(heard: Heard, ids: list[str]) -> Run:
    """The panel's answers as a run of exact scores."""
    names = [f"listener-{i}" for i in range(LISTENERS)]
    scores = {
        "utterance_id": np.repeat(ids, LISTENERS),
        "listener": names * len(ids),
        "p": distribution_column(heard.listeners.reshape(-1, len(LABELS))),
    }
    listeners, nothing = pa.table({"listener": names, "rater": names}), pa.table({})
    return Run(Path("run"), {}, LABELS, pa.table(scores), listeners, nothing, nothing)
