"""Augmented utterances as a corpus keeps them: rows with split=train, parents, how they were made, seed; sounds under
audio/.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.corpus import Corpus, absolute_audio
from ...data.files import hash_file
from .dime.paper import NewUtterance, load_librosa, mix_sounds
from .dime.sounds import PARAMETERS, perturb

PEDIGREE = {"parents": pa.list_(pa.string()), "alpha": pa.float64(), "seed": pa.int64()}
# Parents' sounds kept at hand: takes of one parent follow each other.
KEPT_SOUNDS = 8


def write_sounds(
    corpus: Corpus,
    items: Sequence[NewUtterance],
    directory: Path,
    *,
    max_seconds: float = 30.0,
    report: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """Make and write every new utterance's sound as 16-bit FLAC under `directory`/audio; return their rows. Parents
    last at most `max_seconds`."""
    if items:
        (directory / "audio").mkdir(exist_ok=True)
    columns = {name: corpus.column(name) for name in ("speaker", "gender", "language", "transcript")}
    sound_of = lru_cache(KEPT_SOUNDS)(lambda i: utterance_audio(corpus, i, max_seconds=max_seconds))
    rows = []
    for item in items:
        sound = new_sound(item, sound_of)
        audio = f"audio/{item.utterance_id}.flac"
        # Written by Python: on a full disk libsndfile's own writer ends in an error that does not say so.
        (directory / audio).write_bytes(flac(sound))
        rows.append(
            _row(corpus, item, columns)
            | {
                "audio": audio,
                "duration": len(sound) / SAMPLE_RATE,
                "content_hash": hash_file(directory / audio),
            }
        )
        if report is not None:
            report()
    return rows


def new_sound(item: NewUtterance, sound_of: Callable[[int], np.ndarray]) -> np.ndarray:
    """Both parents mixed in time; or, with a perturbation, the parent (or two turns of one speaker), perturbed."""
    if item.perturbation is None:
        return mix_sounds(sound_of(item.first), sound_of(item.second), item.alpha)
    parts = [sound_of(item.first)]
    if item.second != item.first:
        parts.append(sound_of(item.second))
    rng = np.random.default_rng([item.seed, 1])
    return perturb(np.concatenate(parts), item.perturbation, rng, load_librosa("its perturbations"))


def flac(sound: np.ndarray) -> bytes:
    """The sound [T] at 16 kHz as a 16-bit FLAC file."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _row(corpus: Corpus, item: NewUtterance, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """The speaker is the first parent's; gender and language stay only where both parents agree."""
    first, second = item.first, item.second
    shared = {
        name: columns[name][first] if columns[name][first] == columns[name][second] else None
        for name in ("gender", "language")
    }
    single = item.perturbation is not None and first == second
    return shared | {
        "utterance_id": item.utterance_id,
        "speaker": columns["speaker"][first],
        "split": "train",
        "transcript": _transcript(item, columns["transcript"]),
        "parents": [corpus.ids[first]] if single else [corpus.ids[first], corpus.ids[second]],
        "alpha": None if single else item.alpha,
        "seed": item.seed,
        **(item.perturbation.columns() if item.perturbation is not None else {}),
    }


def _transcript(item: NewUtterance, transcripts: np.ndarray) -> str | None:
    """Mixed: the parent's that alpha chooses. Joined: both, one after the other, where both are known."""
    first, second = transcripts[item.first], transcripts[item.second]
    if item.perturbation is None:
        return first if item.alpha < 0.5 else second
    if item.first == item.second:
        return first
    return None if first is None or second is None else f"{first} {second}"


def with_new_rows(corpus: Corpus, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The corpus's utterances, audio paths absolute, and the new rows below them."""
    utterances = absolute_audio(corpus)
    made = {name: pa.float64() for name in PARAMETERS if any(name in row for row in rows)}
    for name, kind in {**PEDIGREE, **made}.items():
        if name in utterances.column_names:
            utterances = utterances.drop_columns([name])
        utterances = utterances.append_column(name, pa.nulls(utterances.num_rows, kind))
    schema = utterances.schema.remove_metadata()
    new = pa.Table.from_pylist(list(rows), schema=schema)
    return pa.concat_tables([utterances.replace_schema_metadata(None), new])
