"""What the commands show: progress and notes on stderr, tables and JSON on stdout."""

import json
import math
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from ...data.corpus import Corpus


console = Console(stderr=True, highlight=False, soft_wrap=True)

# What a terminal obeys: control characters but for line breaks and tabs, and marks that turn the direction of writing.
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with everything that a terminal would obey spelt out.

    >>> print(printable("\x1b[2Jgone"))
    \x1b[2Jgone
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def as_it_stands(text: object) -> Text:
    """A text as rich prints it as it stands: labels and ids are no markup ([sad]), no emoji (:smile:), no controls.

    Whatever may hold a user's text reaches rich through this alone.
    """
    return Text(printable(str(text)))


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar with rate and remaining time on stderr; yield `step(done, total)`, which sets it.

    `step(n)` alone advances by n where the total was given here; `rate` replaces the bar's own, and `beside` is shown
    beside it. Off a terminal it prints nothing but its last line.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=False)
    task = bar.add_task(printable(description), total=total, rate="")

    def step(done: int, of: int | None = None, *, rate: float | None = None, beside: str = "") -> None:
        bar.start()  # not before there is progress: an input that is refused first shows no bar
        if of is None:
            bar.advance(task, done)
        else:
            bar.update(task, completed=done, total=of)
        speed = bar.tasks[0].speed if rate is None else rate
        bar.update(task, rate=", ".join(part for part in (f"{speed:.1f}/s" if speed else "", beside) if part))

    try:
        yield step
    finally:
        if bar.live.is_started:
            bar.stop()


def note(text: str) -> None:
    """Print a line on stderr."""
    console.print(as_it_stands(text))


def note_failures(failures: Iterable[tuple[str, str]], *, table: str) -> None:
    """Say on stderr which utterances failed and why, by kind of reason; `table` says where all of them are."""
    from ...data.errors import failures_in_words

    for line in failures_in_words(failures, table=table):
        note(f"failed: {line}")


def print_json(obj: Any) -> None:
    """Print one JSON document on stdout; what is not a finite number becomes null."""
    from ...data.files import finite

    json.dump(finite(obj), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout; numbers to the right, None and NaN as a dash."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        numeric = any(isinstance(row[place], int | float) for row in rows)
        table.add_column(as_it_stands(column), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(as_it_stands(_cell(value)) for value in row))
    # Without a terminal rich would fold at 80 columns; a piped table keeps its lines whole.
    width = None if sys.stdout.isatty() else 160
    out = Console(highlight=False, width=width)
    out.print(as_it_stands(title), style="italic")  # beside the table, not in it: a narrow table would fold its title
    out.print(table)


def _cell(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def plain_signs(words: str) -> str:
    """Signs that every terminal shows and every script reads as numbers."""
    for sign, plain in (("−", "-"), ("–", "-"), ("∞", "inf"), ("…", "...")):
        words = words.replace(sign, plain)
    return words


# --------------------
# What was given where something else belongs: found out by what lies there, and said with the order that holds.

# Kinds of directories that answer, as `evaluate` and `compare` want them first.
ANSWERING = {"model": "a trained model", "prediction": "a prediction"}


def open_last(path: str, *, command: str, audio_root: Path | None = None) -> "Corpus":
    """Open the corpus that a command takes last; CorpusError with the command's order where a model lies there."""
    from ...data.corpus import open_corpus
    from ...data.errors import CorpusError
    from ...data.files import kind_of

    found = ANSWERING.get(kind_of(Path(path)) or "")
    if found is not None:
        raise CorpusError(f"{path} is {found}, and the corpus comes last: serann {command}")
    return open_corpus(path, audio_root=audio_root)


# --------------------
# Ctrl-C and SIGTERM end a long command alike, and one sentence says what is kept and how to go on.

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
        pass

        told = f": {interrupt}" if str(interrupt) else ""
        note(f"stopped{told}; {outcome}")
        raise typer.Exit(128 + arrived) from None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
