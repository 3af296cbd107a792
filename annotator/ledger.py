"""The ledger of a run: what has been answered, durable unit by unit, and whose run it is.

    RUN/run.json            identity, options, and the plan: the batches that are still to be asked, in their company
    RUN/segments/           finished units that are not yet in the tables (`segments.py`)
    RUN/*.parquet           the tables, replaced together (`commit`)
    RUN/.ledger/            sounds.parquet (what the answers were given to), and the tables while they are being made

A batch of the plan is the unit: it is durable before it is counted, and a batch that a crash caught is asked again in
the same company. The tables are made beside the old ones, then a marker is written, then each takes its place, and
only then the segments go: after a crash the next writer completes what the marker promised, and readers wait for it.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from ..data.errors import OutputError, RunError
from ..data.files import read_json, write_json
from .results import Results, Unit
from .segments import SegmentWriter, read_segments, read_unit, unit_record

FORMAT = 1
RUN_FILE = "run.json"
SEGMENTS = "segments"
STATE = ".ledger"
STAGED = "staged"
MARKER = "commit.json"
# What a panel decides; the rest of an identity may never change.
PANEL_KEYS = ("question", "panel", "panel_fingerprint")

Info = dict[str, Any]


class Batch(NamedTuple):
    """Utterances that are asked together; `key` is plan/place, with a further place for each halving."""

    key: str
    ids: tuple[str, ...]


def check_place(path: Path) -> Info | None:
    """The `run.json` of the run at `path`, or None if a new run may be made there.

    Raises `OutputError` if something else is there, `RunError` if the run was made by a newer serann.
    """
    if path.is_dir():
        if (path / RUN_FILE).is_file():
            info = read_json(path / RUN_FILE, what="run")
            if info.get("format", 0) > FORMAT:
                raise RunError(
                    f"{path} was made by a newer serann (run format {info['format']}, this one reads up to {FORMAT}); "
                    "upgrade serann"
                )
            return info
        # A run that was killed before its run.json was whole leaves these.
        left = (".lock", STATE, SEGMENTS)
        if any(entry.name not in left and not _is_partial(entry) for entry in path.iterdir()):
            raise OutputError(f"{path} exists and holds something that is not a run; choose another output folder")
    elif path.exists():
        raise OutputError(f"{path} is a file; expected a folder for the run, or a name that is free")
    return None


def check_identity(path: Path, former: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse by name to continue a run as another one; `OutputError` says what differs.

    `former` and `wanted` are run.json's contents. A panel that holds all of the run's listeners, asked the same, is
    no difference: it extends the run.
    """
    found, asked = former["identity"], wanted["identity"]
    missing = _missing_listeners(former, wanted)
    keys = [key for key in dict.fromkeys([*found, *asked]) if missing or key not in PANEL_KEYS]
    differing = [
        f"{key} is {found.get(key)!r} there and {asked.get(key)!r} here"
        for key in keys
        if found.get(key) != asked.get(key)
    ]
    if differing:
        lacking = f"; a larger panel must keep the run's listeners, this one lacks {', '.join(missing[:5])}"
        raise OutputError(
            f"{path} holds another run ({'; '.join(differing)}{lacking if missing else ''}); "
            "choose another output folder, or pass --overwrite"
        )


def _missing_listeners(former: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Listeners of the run that the wanted panel does not have, or asks otherwise."""
    if former["identity"].get("panel_fingerprint") == wanted["identity"].get("panel_fingerprint"):
        return []
    known = former.get("listeners") or {"any listener": None}
    return [name for name, asked in known.items() if wanted["listeners"].get(name) != asked]


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
        self.done: set[str] = set()
        self.halvings: dict[str, tuple[int, int]] = {}
        self.resumed = False
        self._join, self._read = join, read
        self._made, self._durable = False, False
        self._lock: IO[str] | None = None
        self._writer = SegmentWriter(path / SEGMENTS, self._count)
        self._headed = False

    def __enter__(self) -> "Ledger":
        self._made = not (self.path / RUN_FILE).exists()
        try:
            (self.path / STATE).mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
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

    @property
    def made(self) -> bool:
        """Whether this session made the run."""
        return self._made

    def open_batches(self) -> list[Batch]:
        """What the plan still holds, halved where memory did not suffice before."""
        plan = self.info.get("plan") or {"number": 0, "batches": []}
        whole = [Batch(f"{plan['number']}/{i}", tuple(ids)) for i, ids in enumerate(plan["batches"])]
        return [part for batch in whole for part in self._parts(batch)]

    def plan(self, batches: Sequence[Sequence[str]]) -> list[Batch]:
        """Write the plan of what is to be asked next, before any of it is asked."""
        self.flush()
        number = self.info.get("plans", 0) + 1
        self._write(plans=number, plan={"number": number, "batches": [list(ids) for ids in batches]})
        return self.open_batches()

    def halve(self, batch: Batch) -> list[Batch]:
        """Split a batch that does not fit into memory, for good: a resumed run asks the halves."""
        sizes = (len(batch.ids) // 2, len(batch.ids) - len(batch.ids) // 2)
        self._put({"halved": batch.key, "sizes": sizes}, None)
        self.flush()
        self.halvings[batch.key] = sizes
        return self._parts(batch)

    def note(self, **info: Any) -> None:
        """Write more into run.json."""
        self._write(**info)

    def finish(self, unit: Unit, counted: Callable[[Unit], None] = lambda unit: None) -> None:
        """Hand a unit to the writer; once it is durable it is part of `results`, and `counted` is called with it."""
        self._put(unit_record(unit), (unit, counted))

    def drop(self, ids: Sequence[str]) -> None:
        """Forget utterances whose sound has changed."""
        self._put({"drop": list(ids)}, None)
        self.flush()
        self.results.drop(ids)

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
        staged = self.path / STATE / STAGED
        try:
            with self._disk():
                shutil.rmtree(staged, ignore_errors=True)
                staged.mkdir()
            yield staged
            open_batches = [list(batch.ids) for batch in self.open_batches()]
            plans = self.info.get("plans", 0) + bool(open_batches)
            plan = {"number": plans, "batches": open_batches} if open_batches else None
            self.info |= {"plans": plans, "plan": plan, **info}
            with self._disk():
                write_json(staged / RUN_FILE, self.info)
                names = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
                write_json(self.path / STATE / MARKER, {"files": names})
        except BaseException:
            if not (self.path / STATE / MARKER).exists():
                shutil.rmtree(staged, ignore_errors=True)
            raise
        self._writer.close()
        with self._disk():
            complete_commit(self.path)
        self.done, self.halvings, self._headed = set(), {}, False

    def _resume(self) -> None:
        promised = complete_commit(self.path)
        shutil.rmtree(self.path / STATE / STAGED, ignore_errors=True)
        for folder in (self.path, self.path / STATE):
            for entry in filter(_is_partial, list(folder.iterdir())):
                entry.unlink()
        former = check_place(self.path)
        self.info = self._join(former)
        self._read(self.results)
        recorded = self._read_segments()
        self._durable = recorded
        self.resumed = promised or recorded or bool(self.info.get("plan"))
        self._write()

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
            elif "halved" in record:
                self.halvings[record["halved"]] = tuple(record["sizes"])
            elif raters is not None:
                unit = read_unit(record, raters=len(raters), labels=self.results.labels)
                self.results.apply(_placed(unit, [mine[rater] for rater in raters], len(mine)))
                self.done.add(unit.key)
        return found

    def _parts(self, batch: Batch) -> list[Batch]:
        if batch.key in self.done:
            return []
        if batch.key not in self.halvings:
            return [batch]
        first = self.halvings[batch.key][0]
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
            self.done.add(unit.key)
            counted(unit)

    def _write(self, **info: Any) -> None:
        self.info |= info
        with self._disk():
            write_json(self.path / RUN_FILE, self.info)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"the run at {self.path} cannot be continued: {error.strerror}; "
                "free some space and run the same command again, finished utterances are kept"
            ) from None


def complete_commit(path: Path) -> bool:
    """Do what a commit had promised, if it was interrupted: put every table in its place, then drop the segments."""
    marker, staged = path / STATE / MARKER, path / STATE / STAGED
    if not marker.is_file():
        return False
    for name in read_json(marker, what="commit")["files"]:
        if (staged / name).exists():
            os.replace(staged / name, path / name)
    _sync(path)
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)
    shutil.rmtree(staged, ignore_errors=True)
    marker.unlink()
    return True


def _placed(unit: Unit, places: Sequence[int], raters: int) -> Unit:
    """A unit of a smaller panel, its raters put where the larger panel has them."""
    import numpy as np

    if unit.logp is None or unit.log_mass is None or list(places) == list(range(raters)):
        return unit
    logp = np.full((len(unit.logp), raters, unit.logp.shape[2]), np.nan, dtype=np.float32)
    log_mass = np.full((len(unit.logp), raters), np.nan, dtype=np.float32)
    logp[:, places], log_mass[:, places] = unit.logp, unit.log_mass
    return unit._replace(logp=logp, log_mass=log_mass)


def remove_run(path: Path) -> None:
    """Remove a run that is to be replaced; `OutputError` while another process writes it."""
    with _locked(path):
        shutil.rmtree(path)


def _locked(path: Path) -> IO[str]:
    """Hold the run's lock until the file is closed; the system drops it when a process dies, so it never goes stale."""
    lock = (path / ".lock").open("w")
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return lock
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise OutputError(f"{path} is being written by another serann annotate; wait for it to end") from None
    return lock


def _is_partial(path: Path) -> bool:
    """Whether a kill left this half-written file of `data.files.atomic_file`."""
    return path.name.startswith(".") and ".partial" in path.name and path.is_file()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
