"""`serann alt-test`: may a model's label take the place of a human rater's?"""

from pathlib import Path
from typing import Annotated

import typer


def alt_test(
    humans: Annotated[
        Path, typer.Option("--humans", help="JSON file of human labels, {rater: {item: label}}.", show_default=False)
    ],
    model: Annotated[
        Path,
        typer.Option(
            "--model",
            help="JSON file of model labels, {model: {item: label}} or one model's {item: label}.",
            show_default=False,
        ),
    ],
    scorer: Annotated[
        str,
        typer.Option(help="accuracy (names), neg-rmse (numbers), or log-score (our extension; takes distributions)."),
    ] = "accuracy",
    epsilon: Annotated[
        float, typer.Option(help="How much cheaper a model is than a human: .1 for crowds, .15 skilled, .2 experts.")
    ] = 0.1,
    q: Annotated[float, typer.Option("--q", help="False discovery rate over raters (Benjamini-Yekutieli).")] = 0.05,
    min_instances: Annotated[
        int | None,
        typer.Option(
            help="Least instances for a rater to be tested: 30, as advised, or where no rater has as many, 5. Below 30 "
            "the test is Wilcoxon's.",
            show_default=False,
        ),
    ] = None,
    speakers: Annotated[
        Path | None, typer.Option(help="JSON file {item: speaker}; adds a p that clusters items by speaker.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Test whether a model may stand in for a human rater: the alternative annotator test.

    Each human is left out in turn, and model and human are scored against the others (Calderon, Reichart and Dror,
    2025). Winning rate: the share of humans the model is as good as, within epsilon; it passes from one half on.
    Advantage: how often the model scores no worse than the human.

    Example: serann alt-test --humans H.json --model M.json --epsilon 0.1
    """
    from ...data.errors import CorpusError, list_problems
    from ..audit.alt_test import alt_test as run_test
    from ..audit.alt_test_data import read_alt_test
    from ..report.audit_words import notes_in_words
    from .console import note, print_json

    data = read_alt_test(humans, model, scorer=scorer, speakers=speakers)
    found = [
        run_test(
            data.votes,
            answers,
            scorer=scorer,
            epsilon=epsilon,
            q=q,
            min_instances=min_instances,
            speakers=data.speakers,
            raters=data.raters,
            name=name,
        )
        for name, answers in data.models.items()
    ]
    reasons = [result.reason for result in found if result.reason]
    if reasons:
        raise CorpusError(reasons[0] if len(reasons) == 1 else list_problems(str(model), reasons))
    if as_json:
        print_json({"models": {result.model: result.to_json() for result in found}})
    else:
        for result in found:
            _print(result)
    for sentence in dict.fromkeys([*data.notes, *notes_in_words(n for result in found for n in result.notes)]):
        note(sentence)


def _print(result) -> None:
    from .console import print_table

    clustered = any(row.speakers is not None for row in result.raters)
    columns = ["rater", "instances", "advantage", "p", *(["p clustered"] if clustered else []), "model wins"]
    rows = [
        [
            row.rater,
            row.n,
            row.advantage,
            row.p,
            *([row.p_clustered] if clustered else []),
            "too few" if row.p is None else "yes" if row.rejected else "no",
        ]
        for row in result.raters
    ]
    beside = f" ({result.winning_rate_clustered:.2f} by speaker)" if clustered else ""
    print_table(
        f"{result.model}: winning rate {result.winning_rate:.2f}{beside}, advantage probability "
        f"{result.advantage_probability:.2f}, {'passes' if result.passes else 'does not pass'} "
        f"({result.scorer}, epsilon {result.epsilon:g})",
        columns,
        rows,
    )
