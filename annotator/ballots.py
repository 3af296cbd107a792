"""Votes with who cast them, for the strategies that model raters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..data.arrow import pc
from ..data.corpus import Corpus
from ..data.labels import LabelSet
from ..data.tables import distribution_array
from .run.run import Run


class Ballots(NamedTuple):
    """Votes with their rater: `row` [N] (place in the corpus), `rater` [N] (name, None: anonymous), `label` [N]."""

    row: np.ndarray
    rater: np.ndarray
    label: np.ndarray


def human_ballots(corpus: Corpus, train: np.ndarray) -> Ballots:
    """Who cast the seen votes of train utterances, in the rows of the votes table; abstentions are no ballots."""
    return read_ballots(corpus.votes, corpus.ids, corpus.labels, source="human", part="seen", keep=train)


def read_ballots(
    votes: pa.Table,
    ids: Sequence[str],
    labels: LabelSet,
    *,
    source: str,
    part: str | None = None,
    keep: np.ndarray | None = None,
) -> Ballots:
    """Primary votes of a table as ballots; `keep` [U] restricts to some utterances."""
    chosen = pc.and_(pc.equal(votes["source"], source), pc.equal(votes["rank"], "primary"))
    chosen = pc.and_(chosen, pc.is_valid(votes["label"]))
    if part is not None:
        chosen = pc.and_(chosen, pc.fill_null(pc.equal(votes["part"], part), False))
    table = votes.filter(chosen)
    row = pc.fill_null(pc.index_in(table["utterance_id"], value_set=pa.array(list(ids), pa.string())), -1)
    row = row.to_numpy(zero_copy_only=False).astype(int)
    label = pc.index_in(table["label"], value_set=pa.array(labels.labels)).to_numpy(zero_copy_only=False)
    known = row >= 0 if keep is None else (row >= 0) & keep[row]
    rater = np.array(table["rater_id"].to_pylist(), dtype=object)
    return Ballots(row[known], rater[known], label[known].astype(int))


def run_ballots(run: Run, corpus: Corpus) -> Ballots:
    """One answer a rater and utterance: the plurality of the mean p of its listeners (those of one rater differ in
    temperature alone), or of its votes where texts were sampled; a tie is no answer."""
    rater = dict(zip(run.listeners["listener"].to_pylist(), run.listeners["rater"].to_pylist(), strict=True))
    if run.info.get("identity", {}).get("mode") == "sample" or not run.scores.num_rows:
        cast = read_ballots(run.votes, corpus.ids, corpus.labels, source="synthetic")
        row, who, mass = cast.row, cast.rater, np.eye(len(corpus.labels))[cast.label]
    else:
        row = pc.index_in(run.scores["utterance_id"], value_set=pa.array(list(corpus.ids), pa.string()))
        row = pc.fill_null(row, -1).to_numpy(zero_copy_only=False).astype(int)
        who, mass = np.array(run.scores["listener"].to_pylist(), dtype=object), distribution_array(run.scores["p"])
        row, who, mass = row[row >= 0], who[row >= 0], mass[row >= 0]
    names, code = np.unique([str(rater.get(name, name)) for name in who], return_inverse=True)
    place, at = np.unique(row * len(names) + code.reshape(-1), return_inverse=True)
    total = np.zeros((len(place), len(corpus.labels)))
    np.add.at(total, at.reshape(-1), mass)
    best = total.max(axis=1, keepdims=True)
    clear = (total == best).sum(axis=1) == 1
    return Ballots(
        place[clear] // len(names), names[place[clear] % len(names)].astype(object), total[clear].argmax(axis=1)
    )
