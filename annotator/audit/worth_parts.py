"""The parts of the utterances that a worth is told of, and the sums of losses by speaker in each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.scores.divergences import jsd_bits
from ...data.scores.proper_scores import log_score, sq_unbiased
from ...data.scores.scoring import THIRDS, strata_thirds
from . import baselines
from .scorer import Reference, Scorer

# A column of the utterances with more values than this makes no subgroups; nor do these: the consensus is made of the
# votes that are scored.
MOST_VALUES = 8
# Ambiguity is cut by at least so many votes that the curve does not use: half of them, up to four. Cut by the curve's
# own, a third knows beforehand how the first vote will do: one voice vote of CREMA-D was worth .7 in the low third and
# 2.1 in the high one, and a shuffled panel 1.3.
CUT_VOTES, MOST_CUT_VOTES = 2, 4
NO_SUBGROUPS = ("utterance_id", "audio", "start", "end", "content_hash", "split", "transcript", "speaker", "consensus")


class Part(NamedTuple):
    """Rows (mask [N]) of a part; one `label` against the rest, or all; the curve's length there, `most`."""

    where: str
    name: str
    rows: np.ndarray
    most: int
    label: int | None = None


class PartSums:
    """Sums of losses in every part, by speaker, on scored votes [N, K] of speakers `codes` [N] in 0..G-1."""

    def __init__(self, parts: Sequence[Part], scored: np.ndarray, codes: np.ndarray, groups: int):
        self._parts, self._scored, self._codes, self._groups = parts, scored, codes, groups
        self.rows = [np.bincount(codes[part.rows], minlength=groups) for part in parts]

    def of(self, q: np.ndarray) -> list[dict[str, np.ndarray]]:
        """For each part, each score's sum of losses by speaker, [G]; q is [N, K]."""
        losses, by_label = _losses(q, self._scored), _losses_by_label(q, self._scored)
        found = []
        for part in self._parts:
            chosen_losses = losses if part.label is None else {"log_score": by_label[:, part.label]}
            codes = self._codes[part.rows]
            found.append(
                {
                    name: np.bincount(codes, weights=loss[part.rows], minlength=self._groups)
                    for name, loss in chosen_losses.items()
                }
            )
        return found

    def points(self, predictions: Iterable[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """`of` P predictions, side by side: for each part, each score's sums [G, P]."""
        each = [self.of(q) for q in predictions]
        return [
            {name: np.column_stack([one[p][name] for one in each]) for name in part} for p, part in enumerate(each[0])
        ]


def parts_of(scorer: Scorer, kept: np.ndarray, most: int, corpus: Corpus) -> list[Part]:
    """All, each label, each ambiguity third, each subgroup."""
    ref, every = scorer.reference, scorer.repeat(kept)
    parts = [Part("overall", "all", every, most)]
    parts += [Part("label", label, every, most, c) for c, label in enumerate(ref.labels)]
    short = most - max(CUT_VOTES, min(MOST_CUT_VOTES, most // 2))
    if short > 0:
        thirds = scorer.each(lambda draw: _thirds(draw, short))
        parts += [Part("ambiguity", name, every & (thirds == t), short) for t, name in enumerate(THIRDS)]
    parts += [Part("subgroup", name, scorer.repeat(kept & rows), most) for name, rows in subgroups(corpus, ref)]
    return parts


def _thirds(draw: Reference, short: int) -> np.ndarray:
    """Ambiguity thirds [U], cut by the votes that are neither scored nor given to a curve of `short` votes."""
    given = np.nan_to_num(baselines.human_votes(draw, short))
    return strata_thirds(draw.other - given, draw.ids, draw.seed)


def subgroups(corpus: Corpus, reference: Reference) -> list[tuple[str, np.ndarray]]:
    """("gender=female", mask [U]), …: each value of each column of words, truths or whole numbers of 2 to 8 values."""
    found = []
    rows = corpus.utterances.take(pa.array(reference.rows))
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        kind = column.type
        plain = pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind)
        if name in NO_SUBGROUPS or name.startswith("consensus") or not plain:
            continue
        values = sorted(v for v in pc.unique(column).to_pylist() if v is not None)
        if 2 <= len(values) <= MOST_VALUES:
            for value in values:
                same = pc.fill_null(pc.equal(column, pa.scalar(value, kind)), False)
                found.append((f"{name}={value}", same.to_numpy(zero_copy_only=False)))
    return found


def _losses(q: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """The three losses of each row, lower is better."""
    return {"log_score": -log_score(q, scored), "jsd_bits": jsd_bits(q, scored), "sq_unbiased": sq_unbiased(q, scored)}


def _losses_by_label(q: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """One label against the rest, [N, K]: -(h_c ln q_c + (m - h_c) ln(1 - q_c)) / m."""
    m = scored.sum(axis=1, keepdims=True)
    tiny = np.finfo(float).tiny
    return -(scored * np.log(np.maximum(q, tiny)) + (m - scored) * np.log(np.maximum(1 - q, 1e-16))) / m
