"""How far a session is: what it counted, and where its time went."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from .run.results import Unit


class Status(NamedTuple):
    """How far a session is: utterances (durable ones alone count), failures, and where the time went."""

    done: int
    total: int
    failures: int
    seconds: float
    per_second: float
    seconds_left: float | None
    device_share: float


Watch = Callable[[Status], None]
Progress = Callable[[int, int], None]


class Tally:
    """Counts a session's units from its start on."""

    def __init__(self) -> None:
        self.started, self._clock = datetime.now(UTC), time.perf_counter()
        self.counted, self.failed, self.total = 0, 0, 0
        self._before, self._model_seconds = 0, 0.0

    @property
    def seconds(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self._clock

    @property
    def remaining(self) -> int:
        """Utterances of this session's plan that are neither answered nor failed."""
        return self.total - min(self._before + self.counted, self.total)

    def begin(self, *, open_ones: int, total: int) -> None:
        """Say how much there is to be done, of how much in all."""
        self._before, self.total = total - open_ones, total

    def count(self, unit: Unit) -> None:
        """Count a unit that is durable."""
        self.counted += len(unit.ids) + len(unit.failures)
        self.failed += len(unit.failures)

    @contextmanager
    def model_at_work(self) -> Iterator[None]:
        """Count the time as the model's."""
        clock = time.perf_counter()
        try:
            yield
        finally:
            self._model_seconds += time.perf_counter() - clock

    def status(self) -> Status:
        seconds, remaining = self.seconds, self.remaining
        rate = self.counted / seconds
        left = remaining / rate if rate else None
        share = self._model_seconds / seconds
        return Status(self.total - remaining, self.total, self.failed, seconds, rate, left, share)


def watching(progress: Progress | None, watch: Watch | None) -> Watch:
    """One watcher for both: `progress` wants done and total alone."""

    def both(status: Status) -> None:
        if progress is not None:
            progress(status.done, status.total)
        if watch is not None:
            watch(status)

    return both
