"""`serann compare`: models side by side on the same human votes."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL|PRED... CORPUS",
            help="Two or more trained models or predictions, and last the corpus.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page there (.html) with its figures beside it (.json)."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="MODEL|PRED", help="Which of them the others are compared with; the first.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, development, train (held-out votes), or another.")] = "test",
    votes_scored: Annotated[
        int | None, typer.Option(help="Votes behind a divergence; 4, or fewer where there are fewer.")
    ] = None,
    speaker_support: Annotated[
        int, typer.Option(help="Utterances of a label that a speaker must have for it to count in his or her UAR.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score models side by side on human votes that none has seen.

    On the utterances that all of them heard, each score of each system, and of
    the constant that needs no listening, with its interval over speakers, and its
    difference to the first (or to --against) with another, paired: what a voice or
    an utterance adds to both cancels.

    Example: serann compare model other-model demo -o comparison.html
    """
    from ...data.errors import OptionError
    from ...trainer import compare as run_comparison
    from ..report.comparison_page import render
    from .console import NOTHING_WRITTEN, note, open_last, print_json, progress, stopped_in_a_sentence
    from .evaluation_tables import show_comparison
    from .score_page import check_page, write_page

    if len(systems) < 3:
        raise OptionError(
            f"compare takes two or more models or predictions and then the corpus; found {' '.join(systems)}: name "
            "another, or use 'serann evaluate MODEL CORPUS'"
        )
    *paths, corpus = systems
    if output is not None:
        check_page(output, "comparison", overwrite=overwrite)
    opened = open_last(corpus, command="compare MODEL OTHER CORPUS")
    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("compare") as step:
        found = run_comparison(
            paths,
            opened,
            against=against,
            split=split,
            votes_scored=votes_scored,
            speaker_support=speaker_support,
            seed=seed,
            device=device,
            progress=step,
        )
    if output is not None:
        write_page(found.to_json(), output, render)
    if as_json:
        print_json(found.to_json())
    else:
        show_comparison(found)
        if output is not None:
            print(f"\npage: {output}")
    for text in found.warnings:
        note(f"warning: {text}")
    for text in found.notes:
        note(f"note: {text}")
