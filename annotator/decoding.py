"""Sounds before the model asks for them: read, hashed and resampled ahead, in threads or in processes of their own.

A process is worth its start (a fifth of a second) in a long run: it takes decoding off the interpreter that feeds the
model, and a decoder that crashes takes only its process with it. `python -m serann.annotator.decoding` is one; it reads
pickled `Job`s from its standard input and answers each on its standard output. (The standard library's process pool
would run the caller's script again in every worker.)
"""

import hashlib
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import IO, Any, NamedTuple

import numpy as np

from ..data.audio import load_audio
from ..data.errors import AudioError
from .results import Sound

# A worker that dies is started again; an utterance that kills this many is the one to blame.
MAX_DEATHS = 2


class Job(NamedTuple):
    """One utterance to be heard; without a `path` it has a `problem`. `known` is the file's hash, if it is known."""

    utterance: str
    path: str | None
    start: float | None
    end: float | None
    sample_rate: int
    max_seconds: float
    known: Sound | None = None
    problem: str | None = None


class Heard(NamedTuple):
    """An utterance after decoding: its samples or why there are none, and what the file was."""

    utterance: str
    wave: np.ndarray | None
    failure: str | None
    sound: Sound | None


def hear(job: Job) -> Heard:
    """Read one utterance; an `AudioError` becomes its failure."""
    if job.path is None:
        return Heard(job.utterance, None, job.problem or "no audio", None)
    sound = fingerprint_sound(job.path, job.start, job.end, job.known)
    try:
        wave = load_audio(
            job.path, start=job.start, end=job.end, sample_rate=job.sample_rate, max_seconds=job.max_seconds
        )
    except AudioError as error:
        return Heard(job.utterance, None, str(error), sound)
    return Heard(job.utterance, wave, None, sound)


def fingerprint_sound(path: str, start: float | None, end: float | None, known: Sound | None = None) -> Sound | None:
    """What the file and the segment are; read only if size or time of change differ from `known`. None if unreadable.

    `content` is the SHA-256 of the file's bytes, followed by the segment's ends.
    """
    segment = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else format(end, 'g')}"
    try:
        found = os.stat(path)
        if known is not None and (known.size, known.mtime_ns) == (found.st_size, found.st_mtime_ns):
            return known._replace(content=known.content.partition("#")[0] + segment)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return Sound(f"sha256:{digest}{segment}", found.st_size, found.st_mtime_ns)


def heard_batches(
    batches: Iterable[tuple[Any, list[Job]]], *, workers: int, processes: bool = False, ahead: int = 3
) -> Generator[tuple[Any, list[Heard]], None, None]:
    """Decode (key, jobs) batches, at most `ahead` of them beyond the one in use, and yield them in order."""
    crew = _Crew() if processes else None
    listen: Callable[[Job], Heard] = crew.hear if crew is not None else hear
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode")
    waiting: deque[tuple[Any, list[Future[Heard]]]] = deque()
    coming = iter(batches)
    try:
        while True:
            while len(waiting) <= ahead and (batch := next(coming, None)) is not None:
                waiting.append((batch[0], [pool.submit(listen, job) for job in batch[1]]))
            if not waiting:
                return
            key, futures = waiting.popleft()
            yield key, [future.result() for future in futures]
    finally:
        if crew is not None:
            crew.stop()
        pool.shutdown(wait=True, cancel_futures=True)


class _Crew:
    """One worker process for each thread that listens."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def hear(self, job: Job) -> Heard:
        for _ in range(MAX_DEATHS):
            worker = getattr(self._own, "worker", None) or self._start()
            try:
                _send(worker.stdin, job)
                return _receive(worker.stdout)
            except (EOFError, OSError, struct.error, pickle.UnpicklingError):
                worker.kill()
                code, self._own.worker = worker.wait(), None
                if self._stopped:
                    break
        else:
            return Heard(job.utterance, None, f"{job.path}: the decoder died on it (exit status {code})", None)
        return Heard(job.utterance, None, "stopped", None)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._all:
                worker.kill()
                worker.wait()
                for stream in (worker.stdin, worker.stdout):
                    if stream is not None:
                        _quietly_close(stream)

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            worker = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._all.append(worker)
        self._own.worker = worker
        return worker


def _quietly_close(stream: IO[bytes]) -> None:
    with suppress(OSError):  # what was still to be sent to a worker that is gone
        stream.close()


def _send(stream: IO[bytes] | None, obj: Any) -> None:
    assert stream is not None
    data = pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    (size,) = struct.unpack("<Q", stream.read(8))
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


def _serve() -> None:
    """Answer jobs until the input ends, which it does when the parent dies."""
    # What a decoder prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            job = _receive(sys.stdin.buffer)
        except (EOFError, struct.error, KeyboardInterrupt):
            return
        _send(answers, hear(job))


if __name__ == "__main__":
    # What is pickled has to belong to the module's own name, not to __main__.
    import_module("serann.annotator.decoding")._serve()
