"""From results to a run's tables: temperatures, votes, abstentions and failures, in a fixed order of rows.

The tables are written a block of utterances at a time, so that a long run needs no more memory than a short one, and
hold neither times nor places: equal results give equal bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data import tables
from ...data.errors import RunError, TableError
from ...data.files import atomic_file
from ...data.labels import LabelSet
from ...data.scores.temperature import at_temperature
from ...data.seeds import uniforms
from ...data.tables import (
    ANSWERS,
    FAILURES,
    LISTENERS,
    RATINGS,
    SCORES,
    VOTES,
    TableSpec,
    distribution_column,
    from_rows,
    read_table,
    validate,
    write_table,
)
from ..panel.attributes import RATING_SCORES, Attributes, rating_score_table, rating_table
from ..panel.panel import ListeningPanel
from .ledger import (
    JUDGED,
    SOUNDS,
    STATED,
    read_judged,
    read_sounds,
    read_stated,
    write_judged,
    write_sounds,
    write_stated,
)
from .place import DAMAGED
from .segments import Failed, Results

# --------------------
# The `scores` and `failures` tables of a block of utterances, and the `answers` that were given in words.


def listener_scores(
    ids: Sequence[str], results: Results, panel: ListeningPanel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p and logp [U, L, K] and log mass [U, L] of every listener; NaN where it abstained.

    p is the listener's distribution at its temperature, computed from the stored (float32) log P1.
    """
    logp, log_mass = results.scores(ids)
    p = np.stack(
        [
            at_temperature(logp[:, rater], temperature)
            for rater, temperature in zip(panel.rater_of, panel.temperatures, strict=True)
        ],
        axis=1,
    )
    return p, logp[:, panel.rater_of], log_mass[:, panel.rater_of]


def score_table(
    ids: Sequence[str], p: np.ndarray, logp: np.ndarray, log_mass: np.ndarray, panel: ListeningPanel
) -> pa.Table:
    """The `scores` table: one row for each utterance and each listener that answered."""
    there = ~np.isnan(log_mass)
    u, listener = np.nonzero(there)
    return pa.table(
        {
            "utterance_id": taken(ids, u),
            "listener": taken([item.listener for item in panel.listeners], listener),
            "p": distribution_column(p[there], kind=pa.float32()),
            "logp": distribution_column(logp[there], kind=pa.float32()),
            "log_mass": pa.array(log_mass[there], pa.float32()),
        }
    )


def answer_rows(ids: Sequence[str], results: Results) -> list[dict[str, Any]]:
    """Rows of the `answers` table: every text that was given, with what it was taken for."""
    return [
        {"utterance_id": utterance, "listener": listener, "draw": draw, "text": text, "label": label, "reason": reason}
        for utterance in ids
        for listener, draw, text, label, reason, _ in sorted(
            results.texts.get(utterance, ()), key=lambda text: text[:2]
        )
    ]


def stated_scores(ids: Sequence[str], results: Results, panel: ListeningPanel) -> pa.Table:
    """The `scores` of distributions that were stated in words: each listener's mean over its answers.

    `logp` is their logarithm (-inf for a stated 0), `log_mass` 0: all of a stated distribution is on labels.
    """
    rows = []
    for utterance in ids:
        stated: dict[str, list[tuple[float, ...]]] = {}
        for listener, _, _, _, _, p in sorted(results.texts.get(utterance, ()), key=lambda text: text[:2]):
            if p is not None:
                stated.setdefault(listener, []).append(p)
        for listener, given in sorted(stated.items()):
            mean = np.mean(given, axis=0)
            with np.errstate(divide="ignore"):
                logp = np.log(mean)
            rows.append((utterance, listener, mean, logp))
    k = len(panel.labels)
    return pa.table(
        {
            "utterance_id": pa.array([row[0] for row in rows], pa.string()),
            "listener": pa.array([row[1] for row in rows], pa.string()),
            "p": distribution_column(np.array([row[2] for row in rows]).reshape(-1, k), kind=pa.float32()),
            "logp": distribution_column(np.array([row[3] for row in rows]).reshape(-1, k), kind=pa.float32()),
            "log_mass": pa.array(np.zeros(len(rows)), pa.float32()),
        }
    )


def failure_table(failed: Mapping[str, Failed]) -> pa.Table:
    """The `failures` table: one row per utterance, for all its listeners."""
    rows = [
        {"utterance_id": utterance, "listener": None, "reason": found.reason, "attempts": found.attempts}
        for utterance, found in sorted(failed.items())
    ]
    return from_rows(rows, FAILURES)


def taken(values: Sequence[str | None], places: np.ndarray) -> pa.Array:
    """A column of strings, given by their places in `values`."""
    return pa.array(values, pa.string()).take(pa.array(places))


# --------------------
# Which listener casts which vote of an utterance, and what it says: the same on every machine, however many follow.


def dealt_votes(
    ids: Sequence[str], listeners: int, *, votes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(utterance, listener, draw) of every vote, sorted in this order."""
    dealt = deal(ids, listeners, votes=votes, seed=seed)
    if not dealt:
        none = np.zeros(0, dtype=int)
        return none, none, none
    u, listener, draw = [np.concatenate(parts).astype(int) for parts in zip(*dealt, strict=True)]
    order = np.lexsort((draw, listener, u))
    return u[order], listener[order], draw[order]


def deal(
    ids: Sequence[str], listeners: int, *, votes: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Who casts the d-th vote of each utterance: (utterance, listener, that listener's draw) for d = 0 … votes - 1."""
    turns = np.argsort(uniforms(ids, listeners, "deal", seed), axis=1, kind="stable")
    everyone = np.arange(len(ids))
    return [(everyone, turns[:, d % listeners], np.full(len(ids), d // listeners)) for d in range(votes)]


def draw_label(p: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """The label index [N] at quantile `chance` [N] of each row of p [N, K]; -1 where the row is NaN."""
    cumulative = np.cumsum(p, axis=1)
    label = (chance[:, None] * cumulative[:, -1:] >= cumulative).sum(axis=1)
    return np.where(np.isnan(cumulative[:, -1]), -1, np.minimum(label, p.shape[1] - 1)).astype(int)


# --------------------
# The `votes` table of a block of utterances: drawn from exact scores, or as the answers in words say.


def vote_table(
    ids: Sequence[str], p: np.ndarray, panel: ListeningPanel, *, votes: int, seed: int, run: str
) -> pa.Table:
    """`votes` synthetic votes per utterance, dealt round-robin over the listeners, each drawn from its listener's p.

    Each utterance deals in an order of its own, so that fewer votes than listeners favour none. Order and draws depend
    on (seed, utterance, listener, draw) alone: more votes, utterances or another machine leave the former votes as
    they were. A listener without scores casts abstentions, with the reason.
    """
    u, listener, draw = dealt_votes(ids, len(panel.listeners), votes=votes, seed=seed)
    most = int(draw.max(initial=-1)) + 1
    chance = np.stack(
        [uniforms(ids, most, "vote", seed, item.listener) for item in panel.listeners], axis=1
    )  # [U, L, draws]
    label = draw_label(p[u, listener], chance[u, listener, draw])
    reason = _reasons(ids, panel, u, listener, label < 0)
    return _vote_columns(ids, panel, u, listener, draw, label, reason, run)


def _reasons(
    ids: Sequence[str], panel: ListeningPanel, u: np.ndarray, listener: np.ndarray, silent: np.ndarray
) -> pa.Array:
    """Why each vote that is `silent` abstained; null for the others."""
    shown = np.array([utterance in panel.example_ids for utterance in ids], dtype=bool)
    example = next(iter(panel.example_ids), None)
    reasons = [*(panel.abstention(item) for item in panel.listeners), None]
    reasons += [panel.abstention(item, example) for item in panel.listeners]
    place = np.where(silent, listener, len(panel.listeners))
    return taken(reasons, place + np.where(silent & shown[u], len(panel.listeners) + 1, 0))


def _vote_columns(
    ids: Sequence[str],
    panel: ListeningPanel,
    u: np.ndarray,
    listener: np.ndarray,
    draw: np.ndarray,
    label: np.ndarray,
    reason: pa.Array,
    run: str,
) -> pa.Table:
    """Votes as a table; `label` is -1 for an abstention."""
    names = [*panel.labels.labels, None]
    return pa.table(
        {
            "utterance_id": taken(ids, u),
            "rater_id": taken([item.listener for item in panel.listeners], listener),
            "source": taken(["synthetic"], np.zeros(len(u), dtype=int)),
            "draw": pa.array(draw, pa.int32()),
            "label": taken(names, np.where(label < 0, len(names) - 1, label)),
            "reason": reason,
            "rank": taken(["primary"], np.zeros(len(u), dtype=int)),
            "weight": pa.array(np.ones(len(u)), pa.float64()),
            "run": taken([run], np.zeros(len(u), dtype=int)),
        }
    )


def answer_votes(
    ids: Sequence[str], results: Results, panel: ListeningPanel, *, votes: int, seed: int, run: str
) -> pa.Table:
    """The votes of answers in words: a label as it was read, a stated distribution's draw, or an abstention.

    A draw from a stated distribution has the quantile that an exact vote of the same listener and draw has.
    """
    u, listener, draw = dealt_votes(ids, len(panel.listeners), votes=votes, seed=seed)
    most = int(draw.max(initial=-1)) + 1
    chance = np.stack([uniforms(ids, most, "vote", seed, item.listener) for item in panel.listeners], axis=1)
    given = {(place, text[0], text[1]): text for place, name in enumerate(ids) for text in results.texts.get(name, ())}
    label, reasons = np.full(len(u), -1), np.full(len(u), None, dtype=object)
    index = {name: k for k, name in enumerate(panel.labels.labels)}
    for i, (a, b, c) in enumerate(zip(u, listener, draw, strict=True)):
        item = panel.listeners[b]
        found = given.get((int(a), item.listener, int(c)))
        if found is None:
            reasons[i] = panel.abstention(item, ids[int(a)])
        elif found[5] is not None:
            label[i] = draw_label(np.array([found[5]]), chance[a, b, c : c + 1])[0]
        elif found[3] is not None:
            label[i] = index[found[3]]
        else:
            reasons[i] = found[4] or "no answer"
    return _vote_columns(ids, panel, u, listener, draw, label, pa.array(reasons, pa.string()), run)


# Utterances a block (and a row group) of the tables.
BLOCK = 2048


class BlockTables(NamedTuple):
    """The tables of a block of utterances; `answers` are those in words (None in mode exact)."""

    scores: pa.Table
    votes: pa.Table
    answers: pa.Table | None


def block_tables(
    ids: Sequence[str], results: Results, panel: ListeningPanel, *, votes: int, seed: int, run: str, mode: str
) -> BlockTables:
    """What a run writes of utterances whose answers are known, or on which the whole panel abstained."""
    if mode == "exact":
        p, logp, log_mass = listener_scores(ids, results, panel)
        drawn = vote_table(ids, p, panel, votes=votes, seed=seed, run=run)
        return BlockTables(score_table(ids, p, logp, log_mass, panel), drawn, None)
    answers = from_rows(answer_rows(ids, results), ANSWERS, labels=panel.labels)
    drawn = answer_votes(ids, results, panel, votes=votes, seed=seed, run=run)
    return BlockTables(stated_scores(ids, results, panel), drawn, answers)


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
            made = block_tables(block, results, panel, votes=votes, seed=seed, run=run, mode=mode)
            scores.add(made.scores)
            drawn.add(made.votes)
            if answers is not None and made.answers is not None:
                answers.add(made.answers)
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


# --------------------
# A run's tables read back into results: the same numbers, so that nothing drifts.


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
