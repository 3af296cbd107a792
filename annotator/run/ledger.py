"""The ledger of a run: what has been answered, durable unit by unit, and what is planned to be asked next.

A batch of the plan is the unit: it is durable before it is counted, and a batch that a crash caught is asked again in
the same company.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...data.errors import OutputError
from ...data.files import atomic_file, read_json, write_json
from ...data.tables import distribution_column
from ..panel.attributes import Judged
from ..sounds.hearing import Sound
from .place import RUN_FILE, SEGMENTS, STATE, Info, check_place, clear_partial_files, is_run, lock
from .segments import Readers, Results, SegmentWriter, Unit, read_segments, read_unit, unit_record

# --------------------
# A run's tables change together or not at all.
#
# They are made beside the old ones, in RUN/.ledger/staged; then a marker that names them is written, then each takes
# its place, and only then the segments that they hold go. After a crash the next writer completes what the marker
# promised, and readers wait for it.

STAGED = f"{STATE}/staged"
MARKER = f"{STATE}/commit.json"


def stage(path: Path) -> Path:
    """An empty folder for the next set of tables of the run at `path`."""
    unstage(path)
    (path / STAGED).mkdir()
    return path / STAGED


def unstage(path: Path) -> None:
    """Drop a set of tables that was not promised."""
    shutil.rmtree(path / STAGED, ignore_errors=True)


def promise(path: Path) -> None:
    """Write the marker: from here on what is staged will be the run's tables, whatever happens."""
    staged = path / STAGED
    names = sorted(str(file.relative_to(staged)) for file in staged.rglob("*") if file.is_file())
    write_json(path / MARKER, {"files": names})


def is_promised(path: Path) -> bool:
    """Whether the run's tables are about to be replaced: until then they are no complete set."""
    return (path / MARKER).is_file()


def complete_commit(path: Path) -> bool:
    """Do what a commit had promised, if it was interrupted: put every table in its place, then drop the segments."""
    if not is_promised(path):
        return False
    for name in read_json(path / MARKER, what="commit")["files"]:
        if (path / STAGED / name).exists():
            os.replace(path / STAGED / name, path / name)
    _sync(path)
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)
    unstage(path)
    (path / MARKER).unlink()
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Batch(NamedTuple):
    """Utterances that are asked together; `key` is plan/place, with a further place for each halving."""

    key: str
    ids: tuple[str, ...]


class Ledger:
    """An open run directory. One process at a time; use it as a context manager.

    If the directory was made by this session and it fails before anything is durable, nothing is left behind.
    """

    def __init__(
        self,
        path: Path,
        join: Callable[[Info | None], Info],
        *,
        labels: int,
        raters: Sequence[str],
        read: Callable[[Results], None] = lambda results: None,
    ):
        """`join` makes the new run.json from the former one, or refuses it; `read` fills in what the tables hold.

        Both are called once the lock is held.
        """
        self.path, self.info = path, {}
        self.raters = tuple(raters)
        self.results = Results(len(self.raters), labels)
        self.resumed = False
        self._done: set[str] = set()
        self._halvings: dict[str, tuple[int, int]] = {}
        self._join, self._read = join, read
        self._made, self._durable = False, False
        self._lock: IO[str] | None = None
        self._writer = SegmentWriter(path / SEGMENTS, self._count)
        self._headed = False

    def __enter__(self) -> "Ledger":
        self._made = not is_run(self.path)
        try:
            (self.path / STATE).mkdir(parents=True, exist_ok=True)
            self._lock = lock(self.path)
        except OSError as error:
            raise OutputError(f"the run cannot be written to {self.path}: {error.strerror}") from None
        try:
            self._resume()
        except BaseException:
            self.__exit__(BaseException)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        if kind is not None and self._made and not self._durable:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def open_batches(self) -> list[Batch]:
        """What the plan still holds, halved where memory did not suffice before."""
        plan = self.info.get("plan") or {"number": 0, "batches": []}
        whole = [Batch(f"{plan['number']}/{i}", tuple(ids)) for i, ids in enumerate(plan["batches"])]
        return [part for batch in whole for part in self._parts(batch)]

    def plan(self, batches: Sequence[Sequence[str]]) -> list[Batch]:
        """Write the plan of what is to be asked next, before any of it is asked."""
        self.flush()
        number = self.info.get("plans", 0) + 1
        self.note(plans=number, plan={"number": number, "batches": [list(ids) for ids in batches]})
        return self.open_batches()

    def halve(self, batch: Batch) -> list[Batch]:
        """Split a batch that does not fit into memory, for good: a resumed run asks the halves."""
        sizes = (len(batch.ids) // 2, len(batch.ids) - len(batch.ids) // 2)
        self._put({"halved": batch.key, "sizes": sizes}, None)
        self.flush()
        self._halvings[batch.key] = sizes
        return self._parts(batch)

    def note(self, **info: Any) -> None:
        """Write more into run.json."""
        self.info |= info
        with self._disk():
            write_json(self.path / RUN_FILE, self.info)

    def finish(self, unit: Unit, counted: Callable[[Unit], None] = lambda unit: None) -> None:
        """Hand a unit to the writer; once it is durable it is part of `results`, and `counted` is called with it."""
        self._put(unit_record(unit), (unit, counted))

    def drop(self, ids: Sequence[str]) -> None:
        """Forget utterances whose sound has changed."""
        self._put({"drop": list(ids)}, None)
        self.flush()
        self.results.drop(ids)

    def drop_readers(self, ids: Sequence[str], readers: Readers) -> None:
        """Forget what the readers of transcripts answered on utterances whose transcript has changed."""
        self._put({"reworded": list(ids), "readers": readers._asdict()}, None)
        self.flush()
        self.results.drop_readers(ids, readers, self.raters)

    def flush(self) -> None:
        """Wait until everything handed over is durable."""
        with self._disk():
            self._writer.flush()

    @contextmanager
    def commit(self, **info: Any) -> Iterator[Path]:
        """Yield a folder for a complete set of tables; on success they and run.json (with `info`) replace the former.

        The plan keeps the batches that are still open.
        """
        self.flush()
        try:
            with self._disk():
                staged = stage(self.path)
            with self._disk():
                yield staged
            self.info |= {**self._plan_left(), **info}
            with self._disk():
                write_json(staged / RUN_FILE, self.info)
                promise(self.path)
        except BaseException:
            if not is_promised(self.path):
                unstage(self.path)
            raise
        self._writer.close()
        with self._disk():
            complete_commit(self.path)
        self._done, self._halvings, self._headed = set(), {}, False

    def _plan_left(self) -> Info:
        batches = [list(batch.ids) for batch in self.open_batches()]
        plans = self.info.get("plans", 0) + bool(batches)
        return {"plans": plans, "plan": {"number": plans, "batches": batches} if batches else None}

    def _resume(self) -> None:
        promised = complete_commit(self.path)
        unstage(self.path)
        clear_partial_files(self.path)
        self.info = self._join(check_place(self.path))
        self._read(self.results)
        self._durable = self._read_segments()
        self.resumed = promised or self._durable or bool(self.info.get("plan"))
        self.note()

    def _read_segments(self) -> bool:
        """Take in what earlier sessions left; the raters of a segment stand in its first line."""
        mine = {rater: i for i, rater in enumerate(self.raters)}
        raters, found = None, False
        for record in read_segments(self.path / SEGMENTS):
            found = True
            if "raters" in record:
                raters = record["raters"]
            elif "drop" in record:
                self.results.drop(record["drop"])
            elif "reworded" in record:
                self.results.drop_readers(record["reworded"], Readers(**record["readers"]), self.raters)
            elif "halved" in record:
                self._halvings[record["halved"]] = tuple(record["sizes"])
            elif raters is not None:
                unit = read_unit(record, raters=len(raters), labels=self.results.labels)
                self.results.apply(_placed(unit, [mine[rater] for rater in raters], len(mine)))
                self._done.add(unit.key)
        return found

    def _parts(self, batch: Batch) -> list[Batch]:
        if batch.key in self._done:
            return []
        if batch.key not in self._halvings:
            return [batch]
        first = self._halvings[batch.key][0]
        halves = (Batch(f"{batch.key}.0", batch.ids[:first]), Batch(f"{batch.key}.1", batch.ids[first:]))
        return [part for half in halves for part in self._parts(half)]

    def _put(self, record: Mapping[str, Any], entry: Any) -> None:
        with self._disk():
            if not self._headed:
                self._writer.put({"raters": self.raters, "run": self.info["run"]}, None)
                self._headed = True
            self._writer.put(record, entry)

    def _count(self, entry: Any) -> None:
        self._durable = True
        if entry is not None:
            unit, counted = entry
            self.results.apply(unit)
            self._done.add(unit.key)
            counted(unit)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, OutputError) as error:
            cause = error.__cause__ if isinstance(error, OutputError) else error
            if not isinstance(cause, OSError):
                raise
            raise OutputError(
                f"the run at {self.path} cannot be continued: {cause.strerror or cause}; "
                "free some space and run the same command again, finished utterances are kept"
            ) from None


def _placed(unit: Unit, places: Sequence[int], raters: int) -> Unit:
    """A unit of a smaller panel, its raters put where the larger panel has them."""
    if unit.logp is None or unit.log_mass is None or list(places) == list(range(raters)):
        return unit
    logp = np.full((len(unit.logp), raters, unit.logp.shape[2]), np.nan, dtype=np.float32)
    log_mass = np.full((len(unit.logp), raters), np.nan, dtype=np.float32)
    logp[:, places], log_mass[:, places] = unit.logp, unit.log_mass
    return unit._replace(logp=logp, log_mass=log_mass)


# --------------------
# What a run has to know and its tables do not say, in RUN/.ledger: sounds, stated distributions, judges' answers.
#
# Sorted, so that equal results give equal files but for the sounds, which hold this machine's times of change.

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
    """Write every distribution that was stated in words, one row per answer: `scores` holds only their means."""
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
