"""Ctrl-C and SIGTERM end a long command alike, and one sentence says what is kept and how to go on."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

KEPT = "what is finished is kept, and the same command goes on"
NOTHING_WRITTEN = "nothing was written; run it again"


@contextmanager
def stopped_in_a_sentence(outcome: str = KEPT) -> Iterator[None]:
    """End the block at once where either signal arrives; the exit code is the shell's, 130 (Ctrl-C) or 143 (SIGTERM).

    `outcome` says what is there now. The sentence holds what the `KeyboardInterrupt` has been told on its way: how much
    remains. Signals reach the main thread alone, and only there may they be handled.
    """
    arrived = signal.SIGINT

    def stop(number: int, _: Any) -> None:
        nonlocal arrived
        arrived = signal.Signals(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt as interrupt:
        from .console import note

        told = f": {interrupt}" if str(interrupt) else ""
        note(f"stopped{told}; {outcome}")
        raise typer.Exit(128 + arrived) from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
