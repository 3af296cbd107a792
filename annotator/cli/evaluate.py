"""`serann evaluate`: a model against human votes that it has not seen."""

import math
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
    split: Annotated[str, typer.Option(help="test, development, train (held-out votes), or another.")] = "test",
    votes_scored: Annotated[
        int | None,
        typer.Option(help="Votes behind a divergence, and in a third; 4, or fewer where there are fewer."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a model on human votes that neither fusion nor training has seen.

    Proper scores first (sq_unbiased: lower is better, 0 is perfect; log score in
    nats a vote: higher is better), intervals over speakers, and each third of the
    utterances by ambiguity, cut by votes that are not scored (means of 50 draws).
    'constant' is the best answer without listening.

    Example: serann evaluate model demo
    """
    from ...data.corpus import open_corpus
    from ...trainer import evaluate as run_evaluation
    from .console import note, print_json, progress

    opened = open_corpus(corpus)
    with progress("evaluate") as step:
        found = run_evaluation(
            model, opened, split=split, votes_scored=votes_scored, seed=seed, device=device, progress=step
        )
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)
    for text in found.warnings:
        note(f"warning: {text}")
    for text in found.notes:
        note(f"note: {text}")
    for name, reason in found.failures.items():
        note(f"failed: {name}: {reason}")
    if found.failures:
        raise typer.Exit(1)


def _show(found) -> None:
    from .console import print_table

    rows = {(row.system, row.stratum, row.score.metric): row.score for row in found.rows}
    model = found.model.name
    metrics = list(dict.fromkeys(row.score.metric for row in found.rows))
    overall = []
    for metric in metrics:
        ours, constant = rows.get((model, "all", metric)), rows.get(("constant", "all", metric))
        if ours is not None:
            overall.append([metric, _cell(ours), _cell(constant), ours.utterances])
    print_table(
        f"{model} on {found.corpus}, {found.split}: {found.utterances} utterances of {found.speakers} speakers",
        ["metric", "model [95 % over speakers]", "constant", "utterances"],
        overall,
    )
    strata = [s for s in dict.fromkeys(row.stratum for row in found.rows) if s != "all"]
    if strata:
        sizes = [rows[model, stratum, "sq_unbiased"].utterances for stratum in strata]
        heads = [h for stratum, n in zip(strata, sizes, strict=True) for h in (f"{stratum} (n = {n})", "constant")]
        by_third = []
        for metric in metrics:
            cells = [rows.get((system, stratum, metric)) for stratum in strata for system in (model, "constant")]
            if any(cells):
                shown = zip(cells[::2], cells[1::2], strict=True)
                by_third.append([metric, *(x for ours, flat in shown for x in (_cell(ours), flat and flat.value))])
        print_table(f"\nBy ambiguity ({found.votes_scored} votes scored, the others cut)", ["metric", *heads], by_third)
        print(found.thirds)


def _cell(score) -> str:
    """A value with its interval in brackets, or with the reason why there is none."""
    from ..audit.answers import figure

    if score is None:
        return "-"
    shown = figure(score.value, score.low, score.high)
    if math.isfinite(score.value) and math.isnan(score.low):
        return f"{shown} ({score.method.replace('none', 'no interval')})"
    return shown
