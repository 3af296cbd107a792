"""What a run has to know and its tables do not say, in RUN/.ledger: sounds, stated distributions, judges' answers.

Sorted, so that equal results give equal files but for the sounds, which hold this machine's times of change.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.files import atomic_file
from ...data.tables import distribution_column
from .place import STATE
from .segments import Judged, Results, Sound

SOUNDS = f"{STATE}/sounds.parquet"
STATED = f"{STATE}/stated.parquet"
JUDGED = f"{STATE}/judged.parquet"


def write_sounds(path: Path, results: Results) -> None:
    """Write what every utterance's answers were given to."""
    rows = sorted(results.sounds.items())
    _write(
        path / SOUNDS,
        utterance_id=pa.array([utterance for utterance, _ in rows], pa.string()),
        content=pa.array([sound.content for _, sound in rows], pa.string()),
        size=pa.array([sound.size for _, sound in rows], pa.int64()),
        mtime_ns=pa.array([sound.mtime_ns for _, sound in rows], pa.int64()),
        whole_seconds=pa.array([sound.whole_seconds for _, sound in rows], pa.float64()),
        transcript=pa.array([sound.spoken for _, sound in rows], pa.string()),
    )


def read_sounds(path: Path) -> dict[str, Sound]:
    """What `write_sounds` wrote, by utterance; nothing where there is no such file."""
    rows = _read(path / SOUNDS, "utterance_id", "content", "size", "mtime_ns", "whole_seconds", "transcript")
    return {utterance: Sound(*sound) for utterance, *sound in rows}


def write_stated(path: Path, results: Results, labels: int) -> None:
    """Write every distribution that was stated in words, one row an answer: `scores` holds only their means."""
    rows = [
        (utterance, text[0], text[1], text[5])
        for utterance, texts in sorted(results.texts.items())
        for text in sorted(texts, key=lambda text: text[:2])
        if text[5] is not None
    ]
    _write(
        path / STATED,
        utterance_id=pa.array([row[0] for row in rows], pa.string()),
        listener=pa.array([row[1] for row in rows], pa.string()),
        draw=pa.array([row[2] for row in rows], pa.int32()),
        p=distribution_column(np.array([row[3] for row in rows]).reshape(-1, labels)),
    )


def read_stated(path: Path) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """What `write_stated` wrote, by utterance, listener and draw."""
    rows = _read(path / STATED, "utterance_id", "listener", "draw", "p")
    return {(utterance, listener, draw): tuple(p) for utterance, listener, draw, p in rows}


def write_judged(path: Path, results: Results) -> None:
    """Write the judges' answers on attributes: `ratings` holds what listeners make of them at their temperatures.

    In full precision, so that a listener that joins later is rated as if it had been there.
    """
    rows = [(utterance, *item) for utterance, known in sorted(results.judged.items()) for item in _in_order(known)]
    _write(
        path / JUDGED,
        utterance_id=pa.array([row[0] for row in rows], pa.string()),
        judge=pa.array([row[1] for row in rows], pa.string()),
        dimension=pa.array([row[2] for row in rows], pa.string()),
        logp=pa.array([row[3] for row in rows], pa.list_(pa.float64())),
        log_mass=pa.array([row[4] for row in rows], pa.float64()),
    )


def read_judged(path: Path) -> dict[str, dict[tuple[str, str], Judged]]:
    """What `write_judged` wrote, as `Results.judged` holds it."""
    found: dict[str, dict[tuple[str, str], Judged]] = {}
    rows = _read(path / JUDGED, "utterance_id", "judge", "dimension", "logp", "log_mass")
    for utterance, judge, dimension, logp, log_mass in rows:
        found.setdefault(utterance, {})[judge, dimension] = Judged(judge, dimension, tuple(logp), log_mass)
    return found


def _in_order(known: Mapping[tuple[str, str], Judged]) -> list[Judged]:
    return [known[key] for key in sorted(known)]


def _write(path: Path, **columns: Any) -> None:
    with atomic_file(path) as partial:
        pq.write_table(pa.table(columns), partial, compression="zstd")


def _read(path: Path, *names: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a state file; none where it is not there. A column that an older serann did not write is None."""
    if not path.exists():
        return iter(())
    table = pq.read_table(path)
    absent = [None] * table.num_rows
    columns = (table[name].to_pylist() if name in table.column_names else absent for name in names)
    return zip(*columns, strict=True)
