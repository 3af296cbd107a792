"""What the commands show: progress and notes on stderr, tables and JSON on stdout."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

console = Console(stderr=True, highlight=False, soft_wrap=True)


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
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=False)
    task = bar.add_task(description, total=total, rate="")

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
    console.print(text, markup=False)


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
        table.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # Without a terminal rich would fold at 80 columns; a piped table keeps its lines whole.
    width = None if sys.stdout.isatty() else 160
    out = Console(highlight=False, width=width)
    out.print(title, style="italic", markup=False)  # beside the table, not in it: a narrow table would fold its title
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
