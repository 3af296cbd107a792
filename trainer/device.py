"""Where a network computes, and from which random numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ..data.errors import OptionError
from ..data.seeds import seed_from

if TYPE_CHECKING:
    from accelerate import Accelerator

DEVICES = ("auto", "cpu", "cuda", "mps")
# oneDNN keeps what it compiles for each shape of input, some 10 MB here, and every batch is as long as its longest
# utterance: without it a training took as long and 250 MB less after 46 batches, to the same bits.
_NO_SHAPES_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")


def pick_device(device: str) -> torch.device:
    """The torch device of a --device option; `auto` takes a GPU where there is one.

    Raises OptionError for another word, or a device that torch does not see.
    """
    if device not in DEVICES:
        raise OptionError(f"--device is {device!r}; expected one of {', '.join(DEVICES)}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    os.environ.setdefault(*_NO_SHAPES_KEPT)  # read once, when oneDNN is first used
    if device == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[device]:
        raise OptionError(f"--device {device} was asked for, but torch sees none here; use cpu or auto")
    return torch.device(device)


def make_accelerator(device: str, precision: str) -> "Accelerator":
    """An Accelerator for a --device and a precision; it may differ from the one before it in this process."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    where = pick_device(device)
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=where.type == "cpu", mixed_precision=precision)


@contextmanager
def own_generator() -> Iterator[None]:
    """Give torch's global generator back as it was: transformers initialises, and dropout draws, from no
    other.
    """
    with torch.random.fork_rng():
        yield


def seed_torch(*parts: object) -> None:
    """Seed torch's global generator from the parts' text; inside `own_generator` only."""
    torch.manual_seed(seed_from(*parts) % 2**63)
