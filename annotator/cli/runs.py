"""`serann runs`: what finished runs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory of 'serann annotate'.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show a run again as 'serann annotate' did at its end.

    Who was asked what, how many utterances, votes and failures there are, the
    mean answer and the probability that fell on a label.

    Example: serann runs show run
    """
    from ..run.run import open_run
    from .annotate import show as show_summary
    from .annotate import summarise
    from .console import note, print_json

    opened = open_run(run)
    summary = summarise(opened)
    if as_json:
        print_json(summary)
        return
    note(repr(opened))
    show_summary(summary)
