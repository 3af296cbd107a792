"""What every system is scored against: human votes and ratings that neither fusion nor training has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.corpus import Corpus
from ...data.errors import CorpusError, LabelError, few
from ...data.labels import LabelSet
from ...data.scores.groups import group_codes
from ...data.votes import count_votes
from ..checkpoint import ModelInfo
from ..predict import Prediction
from ..targets import from_unit, heard_speakers, mean_ratings


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The U utterances of a split that are scored: `rows` of the corpus [U], counts of the votes [U, K], mean human
    ratings [U, D] on the corpus's scale (NaN: none) of `dimensions`, and who speaks.

    `m` votes stand behind a divergence. `codes` [U] and `groups` number the speakers; unknown ones are one group.
    """

    corpus: Corpus
    split: str
    rows: np.ndarray
    ids: list[str]
    counts: np.ndarray
    speakers: np.ndarray
    genders: np.ndarray
    dimensions: tuple[str, ...]
    ratings: np.ndarray
    m: int
    seed: int
    codes: np.ndarray
    groups: int

    @property
    def labels(self) -> LabelSet:
        return self.corpus.labels


def held_out(
    corpus: Corpus, split: str, rows: np.ndarray, counts: np.ndarray, dimensions: Sequence[str], *, m: int, seed: int
) -> HeldOut:
    """Gather the reference of the utterances at `rows`, whose votes to be scored are `counts` [U, K]."""
    human = mean_ratings(corpus, dimensions, part="heldout" if split == "train" else None)[rows]
    if corpus.info.scale is not None:
        human = from_unit(human, corpus.info.scale)
    speakers = corpus.column("speaker")[rows]
    codes, groups = group_codes(speakers)
    return HeldOut(
        corpus=corpus,
        split=split,
        rows=rows,
        ids=[corpus.ids[row] for row in rows],
        counts=counts,
        speakers=speakers,
        genders=corpus.column("gender")[rows],
        dimensions=tuple(dimensions),
        ratings=human,
        m=m,
        seed=seed,
        codes=codes,
        groups=groups,
    )


def reference(corpus: Corpus, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the split's utterances that have votes to be scored, and the counts of those votes [U, K]."""
    part = "heldout" if split == "train" else None
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part=part)
    inside = corpus.in_split(split)
    if not inside.any():
        found = few(sorted({str(s) for s in corpus.column("split")}), 10)
        raise CorpusError(f"{corpus.path} has no split {split!r}; its splits are {found}")
    rows = np.flatnonzero(inside & (counts.sum(axis=1) > 0))
    if not len(rows):
        what = "held-out human votes" if part else "human votes"
        raise CorpusError(f"{corpus.path}: the split {split!r} has no {what}, so there is nothing to score against")
    return rows, counts[rows]


def check_fit(info: ModelInfo, corpus: Corpus) -> None:
    """Raise unless the corpus has the model's labels and, if it is the one it learnt from, the same division
    of votes.

    Another corpus (of another name) has a division of its own, and no vote of it was seen.
    """
    labels = info.label_set
    if labels.labels != corpus.labels.labels:
        raise LabelError(
            f"{corpus.path} has the labels {', '.join(corpus.labels)}; the model {info.name} answers with "
            f"{', '.join(labels)}, in this order: evaluate it on a corpus with these"
        )
    if corpus.name != info.fused.name or corpus.info.division == info.division:
        return

    def described(division: Any) -> str:
        return f"seen {division.seen}, seed {division.seed}" if division is not None else "not divided"

    found, expected = described(corpus.info.division), described(info.division)
    if found == expected:
        found, expected = f"{found}, of other votes", f"{expected}, of the votes that it learnt from"
    raise CorpusError(
        f"{corpus.path}: its votes are divided otherwise ({found}) than those that the model {info.name} learnt from "
        f"({expected}), so votes may be scored that it has seen; evaluate it on the corpus that it was fused from"
    )


def aligned(prediction: Prediction, ref: HeldOut) -> tuple[np.ndarray, np.ndarray]:
    """A prediction's distributions [U, K] and ratings [U, D] for the utterances scored; NaN where it has none.

    Raises CorpusError where it has none of them at all.
    """
    row_of = {name: row for row, name in enumerate(prediction.ids)}
    places = np.array([row_of.get(name, -1) for name in ref.ids])
    here = places >= 0
    distributions = np.full((len(ref.ids), prediction.distributions.shape[1]), np.nan)
    ratings = np.full((len(ref.ids), len(ref.dimensions)), np.nan)
    distributions[here] = prediction.distributions[places[here]]
    for column, dimension in enumerate(ref.dimensions):
        if dimension in prediction.model.dimensions:
            given = prediction.ratings[:, prediction.model.dimensions.index(dimension)]
            ratings[here, column] = given[places[here]]
    if np.isnan(distributions).all():
        raise CorpusError(_none_in_common(prediction, ref, int(here.sum())))
    return distributions, ratings


def _none_in_common(prediction: Prediction, ref: HeldOut, listed: int) -> str:
    where = f"the split {ref.split!r} of {ref.corpus.path}"
    if listed:
        why = next(iter(prediction.failures.values()), "no reason was given")
        return f"the model {prediction.model.name} could hear none of the {len(ref.ids)} utterances of {where}: {why}"
    source = "the prediction" if prediction.path is None else f"the prediction {prediction.path}"
    return (
        f"{source} holds none of the utterances that are to be scored ({where}): it was made of "
        f"{prediction.source_words}; predict this corpus, or name another split"
    )


def warnings_of(info: ModelInfo, ref: HeldOut, prediction: Prediction) -> list[str]:
    """Whoever the model has heard in training (another corpus, of another name, has other speakers), and a prediction
    of another corpus whose utterances happen to be named alike.
    """
    found = []
    corpus, made_of = ref.corpus, (prediction.source or {}).get("corpus")
    if made_of is not None and made_of != corpus.name:
        found.append(
            f"the prediction was made of {prediction.source_words}, and {corpus.name} is scored, whose utterances have "
            "the same ids: these scores mean something only if they are the same sounds"
        )
    if corpus.name != info.fused.name:
        return found
    if ref.split == "train":
        return [
            *found,
            "the model was trained on the utterances of this split; only the votes scored are new to it",
        ]
    heard = heard_speakers(corpus, ref.split)
    if heard:
        found.append(
            f"{len(heard)} of the {len(set(ref.speakers))} speakers of the split '{ref.split}' were trained on "
            f"({few(heard)}): these scores are too good for a voice that the model has not heard"
        )
    return found


def notes_of(ref: HeldOut) -> list[str]:
    """What the reference itself leaves undefined."""
    notes, votes = [], ref.counts.sum(axis=1)
    if ref.corpus.info.simulated:
        notes.append(
            f"{ref.corpus.name} is simulated: programs made its voices and votes, so its scores are no evidence"
        )
    if ref.groups == 1:
        notes.append("one speaker, so no interval: how scores differ between voices cannot be told")
    if (votes < 2).all():
        notes.append(
            "no utterance has two votes: sq_unbiased, every divergence and the thirds are undefined; log score, Brier "
            "score, accuracy, UAR and F1 are not"
        )
    elif (votes < ref.m).any():
        few = int((votes < ref.m).sum())
        notes.append(f"{few} of {len(votes)} utterances have fewer than {ref.m} votes and no divergence @{ref.m}")
    return notes
