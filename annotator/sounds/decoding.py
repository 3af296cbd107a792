"""Sounds before the model asks for them: read, hashed, resampled and made model input, ahead, by threads or processes.

What makes model input of samples is the engine's front end (`Engine.frontend`); it runs right after decoding, so that
the model waits for neither. Processes take both off the interpreter that feeds the model, and a decoder that crashes
takes only its process with it. One of them is `python -m serann.annotator.sounds.decoding`; it reads a `Front` and then
`Job`s from its standard input, pickled, says `READY`, and answers each job on its standard output. (The standard
library has a pool, but that would run the caller's script again in every worker.)
"""

import itertools
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import IO, Any, NamedTuple, Self

from ...data.errors import RunError
from .hearing import FrontEnd, Heard, Job, hear, prepare, unchanged

# A worker that dies is started again; an utterance that kills this many is the one to blame.
MAX_DEATHS = 2
# After so many utterances in a row that nobody survived it is no utterance's fault.
MOST_DEADLY = 20
READY = b"ready"
# After so many sounds a worker imports what the front end needs: then the run will have been worth the import's time.
LOAD_AFTER = 1000


class Decoders:
    """Whoever hears ahead of the model: `workers` threads, or as many with a process each.

    To be closed, as a context manager, at the end of the run.
    """

    def __init__(self, frontend: FrontEnd, *, workers: int, processes: bool = False, ahead: int = 3):
        self._crew = _Crew(frontend) if processes else None
        self._hear = self._crew.hear if self._crew is not None else partial(hear, frontend=frontend)
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode")
        self._ahead = ahead

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._crew is not None:
            self._crew.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def heard(self, batches: Iterable[tuple[Any, list[Job]]]) -> Generator[tuple[Any, list[Heard]], None, None]:
        """Prepare (key, jobs) batches, at most `ahead` of them beyond the one in use, and yield them in order."""
        waiting: deque[tuple[Any, list[Future[Heard]]]] = deque()
        coming = iter(batches)
        try:
            while True:
                while len(waiting) <= self._ahead and (batch := next(coming, None)) is not None:
                    waiting.append((batch[0], [self._pool.submit(self._hear, job) for job in batch[1]]))
                if not waiting:
                    return
                key, futures = waiting.popleft()
                yield key, [future.result() for future in futures]
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


class Front(NamedTuple):
    """What a worker is told first: the pickled front end (None: it cannot be), and after how many sounds to load it."""

    frontend: bytes | None
    load_after: int


class _Crew:
    """One worker process for each thread that listens.

    A worker answers from the start, with samples as they are until it has loaded the front end, and for ever if it
    cannot (one that is not picklable, or belongs to a script); its thread here then does the front end's part.
    """

    def __init__(self, frontend: FrontEnd) -> None:
        self._frontend = frontend
        self._front = pickle.dumps(Front(_pickled(frontend), LOAD_AFTER))
        self._own = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._stopped, self._deadly = False, 0

    def hear(self, job: Job) -> Heard:
        """What a worker makes of an utterance; `RunError` where workers do not start, or die whatever they hear."""
        code = 0
        for _ in range(MAX_DEATHS):
            worker = getattr(self._own, "worker", None) or self._start()
            if worker is None:
                break
            try:
                _send(worker.stdin, pickle.dumps(job))
                heard, prepared = pickle.loads(_receive(worker.stdout))
            except _GONE:
                code, self._own.worker = _end(worker), None
            else:
                self._deadly = 0
                return heard if prepared else prepare(heard, self._frontend)
        if self._stopped:
            return Heard(job.utterance, None, "stopped", None)
        self._deadly += 1
        if self._deadly >= MOST_DEADLY:
            raise RunError(
                f"the decoders died on {self._deadly} sounds in a row (exit status {code}), so it is hardly the "
                "sounds' fault; see whether serann corpus check can read them, and whether there is memory left"
            )
        return Heard(job.utterance, None, f"{job.name or job.path}: the decoder died on it (exit status {code})", None)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._all:
                _end(worker)

    def _start(self) -> "subprocess.Popen[bytes] | None":
        """A worker for this thread, ready; none any more if the crew was stopped."""
        told = ""
        for _ in range(MAX_DEATHS):
            with self._lock:
                if self._stopped:
                    return None
                try:
                    worker = _process()
                except OSError as error:
                    raise RunError(f"no process can be started to decode sounds ({error}); try --workers 1") from None
                self._all.append(worker)
            try:
                if _receive(worker.stdout) == READY:
                    _send(worker.stdin, self._front)
                    self._own.worker = worker
                    return worker
            except _GONE:
                pass
            told = _last_words(worker)
        if self._stopped:
            return None
        raise RunError(
            f"the processes that decode sounds end before they begin ({told}); see that this works: "
            f"{sys.executable} -m serann --version"
        )


# What reading from or writing to a worker that is gone raises.
_GONE = (EOFError, OSError, ValueError, struct.error, pickle.UnpicklingError)


def _process() -> "subprocess.Popen[bytes]":
    """A new worker. What it says on stderr goes to a file, for nobody else reads it in time."""
    said = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
    try:
        worker = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
    except OSError:
        said.close()
        raise
    worker.stderr = said
    return worker


def _last_words(worker: "subprocess.Popen[bytes]") -> str:
    """End a worker that is not ready: its exit status, and the last line that it said, if any."""
    assert worker.stderr is not None
    said: list[str] = []
    with suppress(subprocess.TimeoutExpired):
        worker.wait(timeout=10)
    with suppress(ValueError):  # the file is closed where the crew was stopped meanwhile
        worker.stderr.seek(max(0, worker.stderr.seek(0, os.SEEK_END) - 2000))
        said = worker.stderr.read().decode(errors="replace").strip().splitlines()
    return f"exit status {_end(worker)}{f': {said[-1].strip()}' if said else ''}"


def _end(worker: "subprocess.Popen[bytes]") -> int:
    """Kill a worker; its exit status, which is its own if it died before."""
    worker.kill()
    code = worker.wait()
    for stream in (worker.stdin, worker.stdout, worker.stderr):
        if stream is not None:
            with suppress(OSError):  # what was still to be sent to a worker that is gone
                stream.close()
    return code


def _pickled(frontend: FrontEnd) -> bytes | None:
    try:
        return pickle.dumps(frontend, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # pickle raises many kinds, and a front end's own code any
        return None


def _send(stream: IO[bytes] | None, data: bytes) -> None:
    assert stream is not None
    stream.write(struct.pack("<Q", len(data)))
    stream.write(data)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> bytes:
    assert stream is not None
    (size,) = struct.unpack("<Q", stream.read(8))
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _serve() -> None:
    """Answer jobs until the input ends, which it does when the parent dies; load the front end meanwhile."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    # What a decoder prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    jobs, loaded = sys.stdin.buffer, list[FrontEnd]()
    with suppress(EOFError, struct.error, BrokenPipeError):
        _send(answers, READY)
        front: Front = pickle.loads(_receive(jobs))
        for count in itertools.count():
            job = pickle.loads(_receive(jobs))
            if count == front.load_after and front.frontend is not None:
                threading.Thread(target=_load, args=(front.frontend, loaded), daemon=True).start()
            frontend = loaded[0] if loaded else None
            heard = hear(job, frontend or unchanged)
            answer = pickle.dumps((heard, frontend is not None), protocol=pickle.HIGHEST_PROTOCOL)
            _send(answers, answer)


def _load(frontend: bytes, loaded: list[FrontEnd]) -> None:
    """Add the front end to `loaded`, unless this process cannot: then the parent goes on with it."""
    with suppress(Exception):
        loaded.append(pickle.loads(frontend))


if __name__ == "__main__":
    # What is pickled has to belong to the module's own name, not to __main__.
    import_module("serann.annotator.sounds.decoding")._serve()
