"""A device's memory: how much of it is taken and how much a batch may take, and what is done where it runs out."""

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from ...data.errors import RunError, SerannError
from .base import Engine

T = TypeVar("T")
# Share of a GPU's memory that batches may fill: the rest is for what the allocator cannot use.
FILL = 0.85
# What a lack of memory is called by torch's allocator, CUDA, oneDNN (twice), C++ and Python's threads.
NO_MEMORY = (
    "can't allocate",
    "out of memory",
    "could not create a primitive",
    "could not create a memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't start new thread",
)


class Memory(Protocol):
    """A device's memory in bytes; `total` is 0 where batches are not to fill it."""

    total: int

    def reset(self) -> None: ...
    def peak(self) -> int: ...


class CpuMemory:
    """This process's memory; its peak can only grow."""

    total = 0

    def reset(self) -> None:
        pass

    def peak(self) -> int:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class CudaMemory:
    """The memory of a CUDA device, as torch's allocator counts it."""

    def __init__(self, device: Any) -> None:
        import torch

        self._cuda, self._device = torch.cuda, device
        self.total = int(torch.cuda.get_device_properties(device).total_memory)

    def reset(self) -> None:
        self._cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> int:
        return int(self._cuda.max_memory_allocated(self._device))


@runtime_checkable
class Measured(Protocol):
    """An engine that says which memory its batches take up. Of any other nothing is known but this process's."""

    @property
    def memory(self) -> Memory: ...


def memory_of(engine: Engine) -> Memory:
    """The memory that an engine's batches take up."""
    return engine.memory if isinstance(engine, Measured) else CpuMemory()


def fit_to_memory(ask: Callable[[int], float], memory: Memory, *, most: int) -> float | None:
    """Seconds of (padded) sound that a batch may hold, from batches of 1 and 4 of the longest utterances.

    `ask(n)` asks n of them and returns their padded seconds. Peak memory is taken to grow linearly with those. None if
    nothing could be measured: then halving on out-of-memory has to find it.
    """
    points = []
    for count in (1, min(4, most)):
        memory.reset()
        seconds = if_it_fits(lambda count=count: ask(count))
        if seconds is None:
            break
        points.append((seconds, memory.peak()))
    if len(points) < 2 or points[1][0] <= points[0][0]:
        return points[0][0] if points else None
    slope = (points[1][1] - points[0][1]) / (points[1][0] - points[0][0])
    fixed = points[0][1] - slope * points[0][0]
    if slope <= 0:
        return None
    return max(points[0][0], (FILL * memory.total - fixed) / slope)


def if_it_fits(ask: Callable[[], T]) -> T | None:
    """What `ask` gives; None where memory did not suffice. Other errors are raised.

    The error of the attempt holds what was computed: it is gone before what torch has cached is given back.
    """
    try:
        return ask()
    except Exception as error:
        if not out_of_memory(error):
            raise
    release_memory()
    return None


def in_halves(ask: Callable[[slice], list[T]], size: int, *, alone: Callable[[int], list[T]]) -> list[T]:
    """The answers to `size` items, asked together and by halves where memory does not suffice.

    `ask` takes a slice of the items; `alone` gives the answer to a single item that does not fit, or raises.
    """

    def asked(first: int, last: int) -> list[T]:
        found = if_it_fits(lambda: ask(slice(first, last)))
        if found is not None:
            return found
        if last - first == 1:
            return alone(first)
        middle = first + (last - first) // 2
        return [*asked(first, middle), *asked(middle, last)]

    return asked(0, size)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is a lack of memory, or was caused by one that a library wrapped into its own.

    A GPU's error has a class, as Python's and numpy's have; torch's allocator, oneDNN and threads have only words.
    """
    seen: set[int] = set()
    at: BaseException | None = error
    # What serann itself raised says what it means, whatever came before.
    while at is not None and id(at) not in seen and not isinstance(at, SerannError):
        if isinstance(at, MemoryError) or type(at).__name__ in ("OutOfMemoryError", "OutOfMemory"):
            return True
        if isinstance(at, RuntimeError) and any(word in str(at) for word in NO_MEMORY):
            return True
        seen.add(id(at))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return False


@contextmanager
def memory_in_a_sentence() -> Iterator[None]:
    """Where memory runs out beside the model's batches, which are halved, the run ends with `RunError`."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        told = (str(error).splitlines() or [""])[0].rstrip(".")
    else:
        return
    # Not before the failed attempt's own memory is free again.
    release_memory()
    raise RunError(
        f"the memory of this machine ran out ({told or 'no more could be had'}); finished utterances are kept: "
        "run the same command again with a smaller --batch-size, or where there is more memory"
    )


def keep_freed_memory() -> bool:
    """Let the process keep up to 512 MiB that torch has freed, instead of giving it back; whether it could be told.

    A pass frees megabytes at a time, which glibc returns to the system at once, to get them back as page faults: 20,000
    to 40,000 for a panel of eight on a 75 M model, 5 to 13 % of its time. Blocks above 32 MiB are returned as ever. It
    cannot be taken back, so only a process of serann's own is told so: commands, and no function that a program calls.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:  # only glibc has it
        return False
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(mmap_threshold, 32 << 20)) and bool(mallopt(trim_threshold, 512 << 20))


def release_memory() -> None:
    """Give what torch has cached on a GPU back, if torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
