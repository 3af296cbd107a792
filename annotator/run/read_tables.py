"""A run's tables read back into results: the same numbers, so that nothing drifts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.errors import RunError, TableError
from ...data.tables import ANSWERS, FAILURES, read_table
from ..panel.panel import ListeningPanel
from .ledger import JUDGED, SOUNDS, STATED, read_judged, read_sounds, read_stated
from .place import DAMAGED
from .segments import Failed, Results


def read_results(path: Path, panel: ListeningPanel, results: Results) -> None:
    """Fill `results` with what a run's tables and its state files hold; `RunError` names a file that is damaged."""
    with _intact(path / "failures.parquet"):
        _read_failures(path, results)
    with _intact(path / SOUNDS):
        results.sounds = read_sounds(path)
    with _intact(path / JUDGED):
        results.judged = read_judged(path)
    if (path / "answers.parquet").exists():
        with _intact(path / STATED):
            stated = read_stated(path)
        with _intact(path / "answers.parquet"):
            _read_texts(path, panel, results, stated)
    elif (path / "scores.parquet").exists():
        with _intact(path / "scores.parquet"):
            _read_scores(path / "scores.parquet", panel, results)


@contextmanager
def _intact(file: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a file that serann wrote itself is damage."""
    try:
        yield
    except TableError as error:
        raise RunError(f"{error}; {DAMAGED}") from None
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        told = (str(error).splitlines() or [""])[0]
        raise RunError(f"{file} cannot be read ({type(error).__name__}: {told}); {DAMAGED}") from None


def _read_failures(path: Path, results: Results) -> None:
    if (path / "failures.parquet").exists():
        for row in read_table(path / "failures.parquet", FAILURES).to_pylist():
            results.failed[row["utterance_id"]] = Failed(row["reason"], row["attempts"])


def _read_texts(
    path: Path, panel: ListeningPanel, results: Results, stated: Mapping[tuple[str, str, int], tuple[float, ...]]
) -> None:
    for row in read_table(path / "answers.parquet", ANSWERS, labels=panel.labels).to_pylist():
        p = stated.get((row["utterance_id"], row["listener"], row["draw"]))
        text = (row["listener"], row["draw"], row["text"], row["label"], row["reason"], p)
        results.texts.setdefault(row["utterance_id"], []).append(text)


def _read_scores(path: Path, panel: ListeningPanel, results: Results) -> None:
    place = {item.listener: rater for item, rater in zip(panel.listeners, panel.rater_of, strict=True)}
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        block = file.read_row_group(group, columns=["utterance_id", "listener", "logp", "log_mass"])
        if not block.num_rows:
            continue
        block = block.combine_chunks()
        utterances = block["utterance_id"].chunk(0).dictionary_encode()
        listeners = block["listener"].chunk(0).dictionary_encode()
        rater = np.array([place[name] for name in listeners.dictionary.to_pylist()])[listeners.indices.to_numpy()]
        row, ids = utterances.indices.to_numpy(), utterances.dictionary.to_pylist()
        logp = np.full((len(ids), results.raters, results.labels), np.nan, dtype=np.float32)
        log_mass = np.full((len(ids), results.raters), np.nan, dtype=np.float32)
        values = block["logp"].chunk(0).flatten().to_numpy(zero_copy_only=False)
        logp[row, rater] = values.reshape(-1, results.labels)
        log_mass[row, rater] = block["log_mass"].to_numpy()
        results.set_scores(ids, logp, log_mass)
