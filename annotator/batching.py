"""Which utterances are asked together, and their sounds, decoded before the model asks for them."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..data.errors import AudioError


class Heard(NamedTuple):
    """A batch after decoding: the corpus's rows that could be heard, their samples, and why others could not."""

    rows: list[int]
    waves: list[np.ndarray]
    failures: dict[int, str]


def plan_batches(rows: Sequence[int], durations: np.ndarray, size: int) -> list[list[int]]:
    """Cut `rows` into batches of at most `size` of similar length, longest first.

    The longest come first so that a batch too large for the memory shows at once. `durations` [all utterances] in
    seconds, NaN where unknown (those come last). Equal input gives equal batches, so an interrupted run is planned
    as it was.
    """
    keys = np.nan_to_num(durations, nan=0.0)
    ordered = sorted(rows, key=lambda row: (-keys[row], row))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def heard_batches(
    batches: Sequence[Sequence[int]], load: Callable[[int], np.ndarray], *, workers: int, ahead: int = 3
) -> Generator[Heard, None, None]:
    """Decode batches in `workers` threads, at most `ahead` of them beyond the one in use, and yield them in order.

    An `AudioError` is that utterance's failure; anything else is raised. (The decoders release the interpreter's lock.)
    """
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="decode")
    waiting: deque[list[tuple[int, Future[np.ndarray]]]] = deque()
    coming = iter(batches)
    try:
        while True:
            while len(waiting) <= ahead and (batch := next(coming, None)) is not None:
                waiting.append([(row, pool.submit(load, row)) for row in batch])
            if not waiting:
                return
            yield _collect(waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(batch: Sequence[tuple[int, Future[np.ndarray]]]) -> Heard:
    heard = Heard([], [], {})
    for row, future in batch:
        try:
            wave = future.result()
        except AudioError as error:
            heard.failures[row] = str(error)
        else:
            heard.rows.append(row)
            heard.waves.append(wave)
    return heard
