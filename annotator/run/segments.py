"""Segments: where finished units wait for compaction, one checked line a unit, written behind the model.

Each writer appends to a file of its own, `segments/NNNN.jsonl`. A line is the CRC-32 of its JSON, a blank, the JSON. A
line that a crash has cut or garbled fails its check, so its unit never counted and is asked again.
"""

import base64
import json
import os
import queue
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..panel.attributes import Judged
from ..sounds.hearing import Sound

# --------------------
# What a run knows: every answer so far by utterance, the failures, and the sound each answer was given to.

# One text of the modes that generate: listener, draw, text, label, reason, p over the label set (or None).
Text = tuple[str, int, str | None, str | None, str | None, tuple[float, ...] | None]


class Failed(NamedTuple):
    """An utterance without an answer: the last reason, and how often it was tried."""

    reason: str
    attempts: int


class Readers(NamedTuple):
    """Those of a panel whose questions hold the transcript: raters, listeners and judges by name."""

    raters: tuple[str, ...]
    listeners: tuple[str, ...]
    judges: tuple[str, ...]


class Unit(NamedTuple):
    """One durable unit: a batch of B utterances with everything that asking it gave.

    `logp` [B, R, K] and `log_mass` [B, R] belong to `ids` and the panel's R raters, NaN where a rater was not asked.
    `failures` hold each utterance's attempts in all, so that a unit can be read twice without counting twice.
    """

    key: str
    ids: Sequence[str] = ()
    logp: np.ndarray | None = None
    log_mass: np.ndarray | None = None
    texts: Mapping[str, Sequence[Text]] = {}
    judged: Mapping[str, Sequence[Judged]] = {}
    failures: Mapping[str, Failed] = {}
    sounds: Mapping[str, Sound] = {}


@dataclass(slots=True)
class Results:
    """All units together. Scores lie in arrays [U, R, K] and [U, R] (float32) that grow by doubling."""

    raters: int
    labels: int
    failed: dict[str, Failed] = field(default_factory=dict)
    sounds: dict[str, Sound] = field(default_factory=dict)
    texts: dict[str, list[Text]] = field(default_factory=dict)
    judged: dict[str, dict[tuple[str, str], Judged]] = field(default_factory=dict)
    _place: dict[str, int] = field(default_factory=dict)
    _logp: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    _log_mass: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def apply(self, unit: Unit) -> None:
        """Take in one unit; where it is silent, what was known stays."""
        if unit.logp is not None and len(unit.ids):
            self.set_scores(unit.ids, unit.logp, np.asarray(unit.log_mass))
        for utterance, texts in unit.texts.items():
            known = {text[:2]: text for text in self.texts.get(utterance, ())}
            self.texts[utterance] = list((known | {text[:2]: text for text in texts}).values())
        for utterance, judged in unit.judged.items():
            self.judged.setdefault(utterance, {}).update({item[:2]: item for item in judged})
        self.sounds.update(unit.sounds)
        for utterance in unit.ids:
            self.failed.pop(utterance, None)
        self.failed.update(unit.failures)

    def drop(self, ids: Iterable[str]) -> None:
        """Forget utterances whose sound has changed: their answers and their failures."""
        for utterance in ids:
            if utterance in self._place:
                self._logp[self._place[utterance]] = np.nan
                self._log_mass[self._place[utterance]] = np.nan
            for known in (self.failed, self.sounds, self.texts, self.judged):
                known.pop(utterance, None)

    def drop_readers(self, ids: Iterable[str], readers: Readers, raters: Sequence[str]) -> None:
        """Forget what `readers` have answered on utterances, and failures, which may be theirs.

        `raters` are the names of all R, in their order.
        """
        places = [place for place, rater in enumerate(raters) if rater in readers.raters]
        for utterance in ids:
            if utterance in self._place:
                self._logp[self._place[utterance], places] = np.nan
                self._log_mass[self._place[utterance], places] = np.nan
            self.texts[utterance] = [text for text in self.texts.get(utterance, ()) if text[0] not in readers.listeners]
            judged = self.judged.get(utterance, {})
            self.judged[utterance] = {key: own for key, own in judged.items() if key[0] not in readers.judges}
            for known in (self.texts, self.judged):
                if not known[utterance]:
                    del known[utterance]
            self.failed.pop(utterance, None)

    def set_scores(self, ids: Sequence[str], logp: np.ndarray, log_mass: np.ndarray) -> None:
        """Store log P1 [U, R, K] and log mass [U, R] of utterances; NaN leaves what is there."""
        self._grow(len(self._place) + len(ids))
        for utterance in ids:
            self._place.setdefault(utterance, len(self._place))
        rows = np.fromiter((self._place[utterance] for utterance in ids), dtype=np.int64, count=len(ids))
        known = np.isnan(log_mass)
        self._logp[rows] = np.where(known[:, :, None], self._logp[rows], logp)
        self._log_mass[rows] = np.where(known, self._log_mass[rows], log_mass)

    def scores(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """log P1 [U, R, K] and log mass [U, R] (float32) of utterances, NaN where nothing is known."""
        rows = np.fromiter((self._place.get(utterance, -1) for utterance in ids), dtype=np.int64, count=len(ids))
        logp = np.full((len(rows), self.raters, self.labels), np.nan, dtype=np.float32)
        log_mass = np.full((len(rows), self.raters), np.nan, dtype=np.float32)
        there = rows >= 0
        if there.any():
            logp[there], log_mass[there] = self._logp[rows[there]], self._log_mass[rows[there]]
        return logp, log_mass

    def answered(self) -> list[str]:
        """Utterances with at least one answer, sorted."""
        if self._place:
            silent = np.isnan(self._log_mass[: len(self._place)]).all(axis=1).reshape(-1)
            found = {utterance for utterance, row in self._place.items() if not silent[row]}
        else:
            found = set()
        return sorted(found | self.texts.keys() | self.judged.keys())

    def cut(self) -> int:
        """How many utterances were too long: answered to a part of their sound, or to windows of it."""
        return sum(s.whole_seconds is not None and name not in self.failed for name, s in self.sounds.items())

    def _grow(self, size: int) -> None:
        have = len(self._logp)
        if size <= have and self._logp.shape[1:] == (self.raters, self.labels):
            return
        room = max(1024, size, 2 * have)
        logp = np.full((room, self.raters, self.labels), np.nan, dtype=np.float32)
        log_mass = np.full((room, self.raters), np.nan, dtype=np.float32)
        if have:
            logp[:have], log_mass[:have] = self._logp, self._log_mass
        self._logp, self._log_mass = logp, log_mass


# Units that may wait for the disk before the model waits too, and that share one sync: all that a crash can cost.
WAITING = 4
# Whoever waits for the writer looks so often (seconds) whether it is alive.
LOOK_UP = 1.0


class SegmentWriter:
    """A thread that appends entries to a new segment; what has queued up meanwhile shares one sync.

    `durable(entry)` is called, in the writer's thread, once an entry is on the disk. An error of the disk is raised by
    the next `put` or `flush`; so is what ended the thread itself, such as a lack of memory: nobody waits for it then.
    """

    def __init__(self, folder: Path, durable: Callable[[Any], None]):
        self._folder, self._durable = folder, durable
        self._queue: queue.Queue[tuple[Mapping[str, Any], Any] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def put(self, record: Mapping[str, Any], entry: Any) -> None:
        """Hand over one record; waits while too many are waiting."""
        self._check()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
            self._thread.start()
        self._hand_over((record, entry))
        self._check()

    def flush(self) -> None:
        """Wait until everything handed over is durable."""
        with self._queue.all_tasks_done:
            while self._queue.unfinished_tasks and self._thread is not None and self._thread.is_alive():
                self._queue.all_tasks_done.wait(LOOK_UP)
        self._check()

    def close(self) -> None:
        """Write what is left and end the thread; never raises."""
        if self._thread is not None:
            self._hand_over(None)
            self._thread.join()
            self._thread = None

    def _hand_over(self, item: tuple[Mapping[str, Any], Any] | None) -> None:
        while self._thread is not None and self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(item, timeout=LOOK_UP)
                return

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            self._write()
        except BaseException as error:  # in waiting for the queue: there is no memory for a lock
            self._error = error

    def _write(self) -> None:
        segment = None
        try:
            while True:
                taken = [self._queue.get()]
                while len(taken) < WAITING and not self._queue.empty():
                    taken.append(self._queue.get())
                waiting = [item for item in taken if item is not None]
                if waiting and self._error is None:
                    try:
                        segment = segment or _new_segment(self._folder)
                        segment.write(b"".join(encode(record) for record, _ in waiting))
                        segment.flush()
                        os.fsync(segment.fileno())
                        for _, entry in waiting:
                            self._durable(entry)
                    except BaseException as error:
                        self._error = error
                for _ in taken:
                    self._queue.task_done()
                if None in taken:
                    return
        finally:
            if segment is not None:
                _close(segment)


def _close(segment: Any) -> None:
    with suppress(OSError):  # closing writes what a full disk refused; it never counted
        segment.close()


def _new_segment(folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    number = 1 + max((int(path.stem) for path in folder.glob("*.jsonl")), default=0)
    segment = (folder / f"{number:04d}.jsonl").open("xb")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)  # the file's name has to survive too
    finally:
        os.close(handle)
    return segment


def encode(record: Mapping[str, Any]) -> bytes:
    """One line of a segment."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def read_segments(folder: Path) -> Iterator[dict[str, Any]]:
    """Every sound record of all segments, in the order of their numbers."""
    for segment in sorted(folder.glob("*.jsonl")):
        with segment.open("rb") as lines:
            for line in lines:
                record = _decode(line)
                if record is not None:
                    yield record


def _decode(line: bytes) -> dict[str, Any] | None:
    check, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(text):
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def unit_record(unit: Unit) -> dict[str, Any]:
    """A unit as JSON; what is empty is left out."""
    record = {
        "unit": unit.key,
        "ids": list(unit.ids),
        "logp": None if unit.logp is None else _pack(unit.logp),
        "log_mass": None if unit.log_mass is None else _pack(unit.log_mass),
        "texts": {utterance: list(texts) for utterance, texts in unit.texts.items()},
        "judged": {utterance: list(judged) for utterance, judged in unit.judged.items()},
        "failures": dict(unit.failures),
        "sounds": dict(unit.sounds),
    }
    return {key: value for key, value in record.items() if value}


def read_unit(record: Mapping[str, Any], *, raters: int, labels: int) -> Unit:
    """The unit of a record."""
    logp, log_mass = record.get("logp"), record.get("log_mass")
    return Unit(
        key=record["unit"],
        ids=record.get("ids", ()),
        logp=None if logp is None else _unpack(logp).reshape(-1, raters, labels),
        log_mass=None if log_mass is None else _unpack(log_mass).reshape(-1, raters),
        texts={key: [_text(text) for text in texts] for key, texts in record.get("texts", {}).items()},
        judged={
            key: [Judged(item[0], item[1], tuple(item[2]), *item[3:]) for item in judged]
            for key, judged in record.get("judged", {}).items()
        },
        failures={key: Failed(*failed) for key, failed in record.get("failures", {}).items()},
        sounds={key: Sound(*sound) for key, sound in record.get("sounds", {}).items()},
    )


def _text(values: Sequence[Any]) -> Any:
    return (*values[:5], None if values[5] is None else tuple(values[5]))


def _pack(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _unpack(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
