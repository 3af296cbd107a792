"""From results to a run's tables: temperatures, votes, abstentions and failures, in a fixed order of rows.

The tables are written a block of utterances at a time, so that a long run needs no more memory than a short one, and
hold neither times nor places: equal results give equal bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...data import tables
from ...data.files import atomic_file
from ...data.labels import LabelSet
from ...data.tables import (
    ANSWERS,
    FAILURES,
    LISTENERS,
    RATINGS,
    SCORES,
    VOTES,
    TableSpec,
    from_rows,
    validate,
    write_table,
)
from ..panel.attributes import RATING_SCORES, Attributes, rating_score_table, rating_table
from ..panel.panel import ListeningPanel
from .ledger import write_judged, write_sounds, write_stated
from .score_tables import answer_rows, failure_table, listener_scores, score_table, stated_scores
from .segments import Results
from .vote_tables import answer_votes, vote_table

# Utterances a block (and a row group) of the tables.
BLOCK = 2048


def write_tables(
    path: Path,
    results: Results,
    panel: ListeningPanel,
    *,
    votes: int,
    seed: int,
    run: str,
    mode: str = "exact",
    silent: Sequence[str] = (),
    attributes: Attributes | None = None,
) -> None:
    """Write the tables of a run into the folder `path`.

    Scores, listeners, votes and failures always; answers where texts were asked for, ratings where attributes were.
    `silent` are utterances whose every listener abstained.
    """
    labels, provenance = panel.labels, {"run": run, "panel": panel.panel.name}
    ids = sorted(set(results.answered()) | set(silent))
    with ExitStack() as files:

        def writer(spec: TableSpec) -> "_Writer":
            return files.enter_context(_Writer(path / f"{spec.name}.parquet", spec, labels, provenance))

        scores, drawn = writer(SCORES), writer(VOTES)
        answers = writer(ANSWERS) if mode != "exact" else None
        for block in _blocks(ids):
            if mode == "exact":
                p, logp, log_mass = listener_scores(block, results, panel)
                scores.add(score_table(block, p, logp, log_mass, panel))
                drawn.add(vote_table(block, p, panel, votes=votes, seed=seed, run=run))
            else:
                given = answer_rows(block, results)
                assert answers is not None
                answers.add(from_rows(given, ANSWERS, labels=labels))
                scores.add(stated_scores(block, results, panel))
                drawn.add(answer_votes(block, results, panel, votes=votes, seed=seed, run=run))
    write_table(panel.table(), path / "listeners.parquet", LISTENERS, labels=labels, provenance=provenance)
    write_table(
        failure_table(results.failed), path / "failures.parquet", FAILURES, labels=labels, provenance=provenance
    )
    if attributes is not None:
        _write_ratings(path, results, attributes, provenance)
        write_judged(path, results)
    if mode == "verbalized":
        write_stated(path, results, len(labels))
    write_sounds(path, results)


def _write_ratings(path: Path, results: Results, attributes: Attributes, provenance: Mapping[str, Any]) -> None:
    rated = {**provenance, "scale": list(attributes.scale)}
    given = [(name, attributes.ratings(judged.values())) for name, judged in sorted(results.judged.items())]
    write_table(rating_table(given), path / "ratings.parquet", RATINGS, provenance=rated)
    points = rating_score_table(given, attributes.points)
    write_table(points, path / "rating_scores.parquet", RATING_SCORES, provenance=rated)


def _blocks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, max(len(ids), 1), BLOCK):
        yield ids[start : start + BLOCK]


class _Writer:
    """A table that is validated and written block by block, as `write_table` would write it whole."""

    def __init__(self, path: Path, spec: TableSpec, labels: LabelSet, provenance: Mapping[str, Any]):
        self._path, self._spec, self._labels = path, spec, labels
        described = {
            "table": spec.name,
            "format": tables.FORMAT,
            "labels": labels.to_json(),
            "provenance": dict(provenance),
        }
        metadata = {tables.METADATA_KEY: json.dumps(described, sort_keys=True).encode()}
        self._schema = spec.schema(labels).with_metadata(metadata)
        self._stack = ExitStack()

    def __enter__(self) -> "_Writer":
        partial = self._stack.enter_context(atomic_file(self._path))
        self._file = self._stack.enter_context(pq.ParquetWriter(partial, self._schema, compression="zstd"))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def add(self, block: pa.Table) -> None:
        checked = validate(block, self._spec, labels=self._labels, where=self._path.name)
        self._file.write_table(checked.replace_schema_metadata(self._schema.metadata), row_group_size=2**20)
