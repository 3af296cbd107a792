"""The ledger of a run: what has been answered, durable unit by unit, and what is planned to be asked next.

A batch of the plan is the unit: it is durable before it is counted, and a batch that a crash caught is asked again in
the same company.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ...data.errors import OutputError
from ...data.files import write_json
from .commit import complete_commit, is_promised, promise, stage, unstage
from .place import RUN_FILE, SEGMENTS, STATE, Info, check_place, clear_partial_files, is_run, lock
from .segments import Readers, Results, SegmentWriter, Unit, read_segments, read_unit, unit_record


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
        self._drop_readers(ids, readers)

    def _drop_readers(self, ids: Sequence[str], readers: Readers) -> None:
        places = [i for i, rater in enumerate(self.raters) if rater in readers.raters]
        self.results.drop_part(ids, places, readers.listeners, readers.judges)

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
                self._drop_readers(record["reworded"], Readers(**record["readers"]))
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
