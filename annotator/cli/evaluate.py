"""`serann evaluate`: a model against human votes that it has not seen."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL|PRED", help="A trained model, or a prediction.", show_default=False)
    ],
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS", help="The corpus that it was fused from.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page there (.html) with its figures beside it (.json)."),
    ] = None,
    split: Annotated[str, typer.Option(help="test, development, train (held-out votes), or another.")] = "test",
    votes_scored: Annotated[
        int | None,
        typer.Option(help="Votes behind a divergence, and in a third; 4, or fewer where there are fewer."),
    ] = None,
    speaker_support: Annotated[
        int, typer.Option(help="Utterances of a label that a speaker must have for it to count in his or her UAR.")
    ] = 3,
    snr: Annotated[
        str | None, typer.Option(metavar="DB", help="Listen to noise, too, at these levels, such as 5,10,20.")
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="Noise to listen to with --snr (default white,speech-shaped,babble).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes and of noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a page that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a model on human votes that neither fusion nor training has seen.

    Proper scores first (sq_unbiased: lower is better, 0 is perfect; log score in
    nats a vote: higher is better), intervals over speakers, and each third of the
    utterances by ambiguity, cut by votes that are not scored (means of 50 draws).
    'constant' is the best answer without listening. Then label by label, speaker
    by speaker (paUAR), women and men, the prior, and noise where --snr asks.

    Example: serann evaluate model demo -o evaluation.html
    """
    from ...trainer import evaluate as run_evaluation
    from ...trainer.scoring.noise import asked_noise
    from ..report.evaluation_page import render
    from . import evaluation_tables
    from .console import NOTHING_WRITTEN, note, open_last, print_json, progress, stopped_in_a_sentence
    from .score_page import check_page, write_page

    snrs, kinds = asked_noise(snr, noise)
    if output is not None:
        check_page(output, "evaluation", overwrite=overwrite)
    opened = open_last(corpus, command="evaluate MODEL CORPUS")
    with stopped_in_a_sentence(NOTHING_WRITTEN), progress("evaluate") as step:
        found = run_evaluation(
            model,
            opened,
            split=split,
            votes_scored=votes_scored,
            speaker_support=speaker_support,
            snrs=snrs,
            noises=kinds,
            seed=seed,
            device=device,
            progress=step,
        )
    if output is not None:
        write_page(found.to_json(), output, render)
    if as_json:
        print_json(found.to_json())
    else:
        evaluation_tables.show(found)
        if output is not None:
            print(f"\npage: {output}")
    for text in found.warnings:
        note(f"warning: {text}")
    for text in found.notes:
        note(f"note: {text}")
    for name, reason in found.failures.items():
        note(f"failed: {name}: {reason}")
    if found.failures:
        raise typer.Exit(1)
