"""`serann audit`: synthetic distributions against held-out human votes."""

from pathlib import Path
from typing import Annotated

import typer


def audit(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A divided corpus, or 'demo'.", show_default=False)],
    panels: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_CORPUS...",
            help="Runs of 'serann annotate', or corpora with other people's votes on the same utterances.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the report there (.html), and its figures beside it (.json)."),
    ] = None,
    votes_scored: Annotated[
        int | None,
        typer.Option(help="Held-out human votes an utterance that are scored; 4, or fewer where there are fewer."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes.")] = 0,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure how far synthetic listeners may be trusted, against held-out human votes.

    Squared error without the votes' sampling noise and log score per vote first, divergences at a fixed number of votes
    beside them; between a constant (0 %), a shuffled run, n human votes and a perfect prediction; by label and by
    ambiguity, with intervals over speakers.

    Example: serann audit demo RUN -o report.html
    """
    from ...data.corpus import open_corpus
    from ..audit import audit as run_audit
    from ..audit import open_panel, write_report
    from .console import note, print_json, progress

    opened = open_corpus(corpus)
    sources = [open_panel(path) for path in panels]
    with progress("audit") as step:
        result = run_audit(opened, sources, m=votes_scored, seed=seed, level=level, progress=step)
    if output is not None:
        write_report(result, output, opened)
    if as_json:
        print_json({**result.to_json(), "report": None if output is None else str(output)})
        return
    _print(result)
    for sentence in (*result.answers, *result.notes):
        note(sentence)
    if output is not None:
        print(f"report: {output}")


def _print(result) -> None:
    from .console import print_table

    m = result.settings["votes_scored"]
    metrics = ["sq_unbiased", "log_score", f"jsd_bits@{m}", f"bhattacharyya@{m}", f"total_variation@{m}"]
    gaps = {panel.name: panel.gap for panel in result.panels}
    rows = []
    for system in result.systems:
        by_name = {row.metric: row for row in system.scores}
        gap = gaps.get(system.panel) if system.kind == "panel" else None
        rows.append([system.name, *(_figure(by_name.get(name), 3) for name in metrics), _figure(gap, 0)])
    for point in result.curve:
        by_name = {row.metric: row for row in point.scores}
        name = f"{point.n} human vote{'' if point.n == 1 else 's'}, {point.kind}"
        rows.append([name, *(_figure(by_name.get(metric), 3) for metric in metrics), "-"])
    ref = result.reference
    print_table(
        f"{ref['utterances']} utterances of {ref['speakers']} speakers, {m} held-out human votes each"
        + (" (simulated corpus)" if result.corpus["simulated"] else ""),
        ["prediction", *metrics, "% of the gap"],
        rows,
    )


def _figure(row, digits: int) -> str:
    from ..audit.answers import figure

    return "-" if row is None else figure(row.value, row.low, row.high, digits=digits)
