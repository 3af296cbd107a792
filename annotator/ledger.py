"""The ledger of a run: what has been answered, durable batch by batch, and whose run it is.

Each session appends to a segment file of its own, `segments/NNNN.jsonl`, one line a finished batch, synced before the
batch counts. A line that was cut by a crash is ignored, so its batch is asked again. When a session ends, everything is
compacted into the run's tables, and only then the segments go.
"""

import base64
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..data.errors import OutputError, RunError
from ..data.files import read_json, write_json

FORMAT = 1
RUN_FILE = "run.json"
SEGMENTS = "segments"


class Failed(NamedTuple):
    """An utterance without an answer: the last reason, and how often it was tried."""

    reason: str
    attempts: int


@dataclass(slots=True)
class Answers:
    """All that is known: utterance id to log P1 [Q, K] and log mass [Q] (float32, NaN where a rater abstained)."""

    logp: dict[str, np.ndarray] = field(default_factory=dict)
    log_mass: dict[str, np.ndarray] = field(default_factory=dict)
    failed: dict[str, Failed] = field(default_factory=dict)

    def add(self, utterance: str, logp: np.ndarray, log_mass: np.ndarray) -> None:
        self.logp[utterance], self.log_mass[utterance] = logp, log_mass
        self.failed.pop(utterance, None)

    def fail(self, utterance: str, reason: str) -> None:
        attempts = self.failed[utterance].attempts if utterance in self.failed else 0
        self.failed[utterance] = Failed(reason, attempts + 1)


def check_place(path: Path) -> dict[str, Any] | None:
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
        if any(entry.name != ".lock" for entry in path.iterdir()):
            raise OutputError(f"{path} exists and holds something that is not a run; choose another output folder")
    elif path.exists():
        raise OutputError(f"{path} is a file; expected a folder for the run, or a name that is free")
    return None


def check_identity(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse by name to continue a run as another one; `OutputError` says what differs."""
    differing = [
        f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"
        for key in dict.fromkeys([*found, *wanted])
        if found.get(key) != wanted.get(key)
    ]
    if differing:
        raise OutputError(
            f"{path} holds another run ({'; '.join(differing)}); choose another output folder, or pass --overwrite"
        )


class Ledger:
    """An open run directory. One process at a time; use it as a context manager.

    If the directory was made by this session and it fails before any batch is finished, nothing is left behind.
    """

    def __init__(
        self, path: Path, info: Mapping[str, Any], *, labels: int, raters: int, former: Callable[[], Answers] = Answers
    ):
        """`info` becomes run.json; `former` reads what earlier sessions compacted, once the lock is held."""
        self.path, self.answers = path, Answers()
        self._former = former
        self._info, self._shape = dict(info), (raters, labels)
        self._made, self._finished = False, 0
        self._lock: IO[str] | None = None
        self._segment: IO[str] | None = None

    def __enter__(self) -> "Ledger":
        self._made = not (self.path / RUN_FILE).exists()
        try:
            (self.path / SEGMENTS).mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.path)
        except OSError as error:
            raise OutputError(f"the run cannot be written to {self.path}: {error.strerror}") from None
        try:
            self.answers = self._former()
            write_json(self.path / RUN_FILE, self._info)
            self._read_segments()
        except BaseException:
            self.__exit__(BaseException)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._segment is not None:
            self._segment.close()
        if kind is not None and self._made and not self._finished:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def finish(self, ids: Sequence[str], logp: np.ndarray, log_mass: np.ndarray, failures: Mapping[str, str]) -> None:
        """Make one batch durable: log P1 [B, Q, K], log mass [B, Q], and the failed utterances with their reasons."""
        entry = {
            "ids": list(ids),
            "logp": _pack(logp),
            "log_mass": _pack(log_mass),
            "failures": dict(failures),
        }
        try:
            if self._segment is None:
                self._segment = _new_segment(self.path / SEGMENTS)
            self._segment.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._segment.flush()
            os.fsync(self._segment.fileno())
        except OSError as error:
            raise OutputError(
                f"the run at {self.path} cannot be continued: {error.strerror}; "
                "free some space and run the same command again, finished utterances are kept"
            ) from None
        self._finished += 1
        self._apply(entry)

    def clear_segments(self) -> None:
        """Drop the segments; only after everything in them has been written to the tables."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        shutil.rmtree(self.path / SEGMENTS, ignore_errors=True)

    def _read_segments(self) -> None:
        for segment in sorted((self.path / SEGMENTS).glob("*.jsonl")):
            with segment.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    try:
                        entry = json.loads(line) if line.endswith("\n") else None
                    except json.JSONDecodeError:
                        entry = None
                    if entry is not None:  # the last line of a killed session may be cut: it never counted
                        self._apply(entry)
            self._finished += 1

    def _apply(self, entry: Mapping[str, Any]) -> None:
        raters, labels = self._shape
        logp = _unpack(entry["logp"]).reshape(-1, raters, labels)
        log_mass = _unpack(entry["log_mass"]).reshape(-1, raters)
        for utterance, row, mass in zip(entry["ids"], logp, log_mass, strict=True):
            self.answers.add(utterance, row, mass)
        for utterance, reason in entry["failures"].items():
            self.answers.fail(utterance, reason)


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


def _new_segment(folder: Path) -> IO[str]:
    folder.mkdir(exist_ok=True)
    number = 1 + max((int(path.stem) for path in folder.glob("*.jsonl")), default=0)
    return (folder / f"{number:04d}.jsonl").open("x", encoding="utf-8")


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
