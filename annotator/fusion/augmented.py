"""Augmented utterances as a corpus keeps them: rows with split=train, parents, alpha, seed; sounds under audio/."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.corpus import Corpus, absolute_audio
from ...data.files import hash_file
from .dime_aug import NewUtterance, mix_sounds

PEDIGREE = {"parents": pa.list_(pa.string()), "alpha": pa.float64(), "seed": pa.int64()}


def write_sounds(
    corpus: Corpus, items: Sequence[NewUtterance], directory: Path, *, report: Callable[[], None] | None = None
) -> list[dict[str, Any]]:
    """Mix and write every new utterance's sound as 16-bit FLAC under `directory`/audio; return their rows."""
    import soundfile

    if items:
        (directory / "audio").mkdir(exist_ok=True)
    columns = {name: corpus.column(name) for name in ("speaker", "gender", "language", "transcript")}
    rows = []
    for item in items:
        mixed = mix_sounds(utterance_audio(corpus, item.first), utterance_audio(corpus, item.second), item.alpha)
        audio = f"audio/{item.utterance_id}.flac"
        buffer = io.BytesIO()
        soundfile.write(buffer, mixed, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        # Written by Python: on a full disk libsndfile's own writer ends in an error that does not say so.
        (directory / audio).write_bytes(buffer.getbuffer())
        rows.append(
            _row(corpus, item, columns)
            | {
                "audio": audio,
                "duration": len(mixed) / SAMPLE_RATE,
                "content_hash": hash_file(directory / audio),
            }
        )
        if report is not None:
            report()
    return rows


def _row(corpus: Corpus, item: NewUtterance, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The speaker is the first parent's; gender and language stay only where both parents agree."""
    first, second = item.first, item.second
    shared = {
        name: columns[name][first] if columns[name][first] == columns[name][second] else None
        for name in ("gender", "language")
    }
    return shared | {
        "utterance_id": item.utterance_id,
        "speaker": columns["speaker"][first],
        "split": "train",
        "transcript": columns["transcript"][first if item.alpha < 0.5 else second],
        "parents": [corpus.ids[first], corpus.ids[second]],
        "alpha": item.alpha,
        "seed": item.seed,
    }


def with_new_rows(corpus: Corpus, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The corpus's utterances, audio paths absolute, and the new rows below them."""
    utterances = absolute_audio(corpus)
    for name, kind in PEDIGREE.items():
        if name in utterances.column_names:
            utterances = utterances.drop_columns([name])
        utterances = utterances.append_column(name, pa.nulls(utterances.num_rows, kind))
    schema = utterances.schema.remove_metadata()
    new = pa.Table.from_pylist(list(rows), schema=schema)
    return pa.concat_tables([utterances.replace_schema_metadata(None), new])
