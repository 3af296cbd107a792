"""Columns of a corpus as factors: which part of the utterances each belongs to, known without any scored vote."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from .scorer import Reference, Scorer

FEWEST, MOST_VALUES = 2, 20
# names of single utterances or of when and what was said; the duration is cut in thirds, speakers are tested apart
NO_FACTORS = ("utterance_id", "audio", "start", "end", "duration", "content_hash", "transcript", "speaker")
OF_THE_VOTES = "it is made of the votes that are scored"


class Factor(NamedTuple):
    """The part of each row, int [R * U] (-1: in none), and the parts' names."""

    codes: np.ndarray
    parts: list[str]


def factors_of(scorer: Scorer, corpus: Corpus) -> tuple[dict[str, Factor], dict[str, str]]:
    """Thirds of the duration, every utterance column of 2 to 20 values, thirds of numbers with more; and why others are
    left out.

    Utterances without a value are in no part. Columns that readers make of votes are left out, for cutting by what the
    scored votes said selects on the outcome: names that begin with "consensus", and `level_` and a label.
    """
    found: dict[str, Factor] = {}
    left_out: dict[str, str] = {}
    duration = thirds_of(scorer.reference, corpus, "duration", unit=" s")
    if duration is None:
        left_out["duration"] = "fewer than three different durations are known"
    else:
        found["duration"] = _repeated(duration, scorer)
    for name in corpus.utterances.column_names:
        if name in NO_FACTORS:
            continue
        made = OF_THE_VOTES if _of_votes(name, corpus) else column_factor(scorer.reference, corpus, name)
        if isinstance(made, Factor):
            found[name] = _repeated(made, scorer)
        elif made:
            left_out[name] = made
    return found, left_out


def _repeated(factor: Factor, scorer: Scorer) -> Factor:
    return Factor(np.tile(factor.codes, len(scorer.draws)), factor.parts)


def _of_votes(name: str, corpus: Corpus) -> bool:
    return name.startswith("consensus") or name in {f"level_{label}" for label in corpus.labels}


def thirds_of(reference: Reference, corpus: Corpus, name: str, *, unit: str = "") -> Factor | None:
    """Thirds of the audited utterances by a column of numbers, equal numbers together; codes [U].

    None where fewer than three different numbers are known.
    """
    values = _column(reference, corpus, name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    if len(np.unique(ordered)) < 3:
        return None
    low, high = (float(ordered[-(-len(ordered) * third // 3) - 1]) for third in (1, 2))
    codes = np.where(known, (values > low).astype(int) + (values > high), -1)
    shown = [f"{end:.2f}{unit}" if unit else f"{end:g}" for end in (low, high)]
    return Factor(codes, [f"up to {shown[0]}", f"up to {shown[1]}", f"above {shown[1]}"])


def column_factor(reference: Reference, corpus: Corpus, name: str) -> Factor | str:
    """A column's values as parts, codes [U] in the order of their names; thirds of more numbers than that.

    A reason where they make none.
    """
    column = _column(reference, corpus, name)
    if pa.types.is_nested(column.type):
        return "its values are lists"
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    if not values:
        return ""
    if len(values) > MOST_VALUES and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return thirds_of(reference, corpus, name) or "it has fewer than three numbers"
    if not FEWEST <= len(values) <= MOST_VALUES:
        return (
            f"it has {len(values)} value{'s' if len(values) > 1 else ''}; parts are made of {FEWEST} to {MOST_VALUES}"
        )
    order = sorted(range(len(values)), key=lambda i: (str(type(values[i])), values[i]))
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Factor(np.where(codes >= 0, rank[codes], -1), [str(values[i]) for i in order])


def names_of(corpus: Corpus, reference: Reference, column: str, rows: np.ndarray) -> list[str | None]:
    """A column's values at some rows of the reference."""
    return _column(reference, corpus, column).take(pa.array(rows)).to_pylist()


def _column(reference: Reference, corpus: Corpus, name: str) -> Any:
    return corpus.utterances[name].combine_chunks().take(pa.array(reference.rows))
