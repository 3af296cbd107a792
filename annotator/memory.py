"""A device's memory: how much of it is taken, what its running out looks like, and giving back what is cached."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .engines.base import Engine


class Memory(Protocol):
    """A device's memory in bytes."""

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
    """The memory of the current CUDA device, as torch's allocator counts it."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self.total = int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)

    def reset(self) -> None:
        self._cuda.reset_peak_memory_stats()

    def peak(self) -> int:
        return int(self._cuda.max_memory_allocated())


def on_cpu(engine: Engine) -> bool:
    """Whether it is the machine's own memory that has to hold a batch."""
    return engine.device in ("cpu", "none")


def memory_of(engine: Engine) -> Memory:
    """The memory that an engine fills."""
    return CpuMemory() if on_cpu(engine) else CudaMemory()


@contextmanager
def halving_left_to_caller(engine: Engine) -> Iterator[None]:
    """Let an engine that halves batches for whoever asks it raise instead: a run records its halvings."""
    before = getattr(engine, "halves", None)
    if before is None:
        yield
        return
    setattr(engine, "halves", False)  # noqa: B010 - not every engine has it
    try:
        yield
    finally:
        setattr(engine, "halves", before)  # noqa: B010


def out_of_memory(error: BaseException) -> bool:
    """A GPU's error has a class; the CPU allocator's has only its words."""
    words = ("can't allocate memory", "out of memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "OutOfMemory")
        or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))
    )


def release_memory() -> None:
    """Give what torch has cached on a GPU back, if torch is there at all."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
