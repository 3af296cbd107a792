"""`serann audit`: synthetic distributions against held-out human votes."""

from pathlib import Path
from typing import Annotated

import typer

from .corpus import AudioRoot

# of the table's first column, so that the table stays below 100 columns
LONGEST_NAME = 30


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
        typer.Option(
            "--output",
            "-o",
            help="Write the report there (.html), and its figures beside it (.json, .parquet), with every utterance's "
            "scores (.utterances.parquet).",
        ),
    ] = None,
    votes_scored: Annotated[
        int | None,
        typer.Option(help="Held-out human votes per utterance that are scored; 4, or fewer where there are fewer."),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(help="Seeded draws of the scored votes to average over; 20, or fewer for a large corpus."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws of votes.")] = 0,
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    margin: Annotated[
        float,
        typer.Option(help="Margin of non-inferiority, a share of what one more human vote adds to a constant."),
    ] = 0.1,
    epsilon: Annotated[
        float,
        typer.Option(help="Of the alternative annotator test: .1 where crowds voted, .15 skilled raters, .2 experts."),
    ] = 0.1,
    require: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURES",
            help="Figures every panel must reach, such as 'sq_unbiased<=0.08, effective_votes>=1' or "
            "'effective_votes.low>=1'; exit code 3 where one is missed. Figures: {figures}.",
        ),
    ] = None,
    audio_root: AudioRoot = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a report that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure how far synthetic listeners may be trusted, against held-out human votes.

    Squared error without the votes' sampling noise and log score per vote first, divergences at a fixed number of votes
    beside them; between a constant (0 %), a shuffled run, n human votes and a perfect prediction; by label and by
    ambiguity, with intervals over speakers.

    Example: serann audit demo RUN -o report.html
    """
    from ..audit import audit as run_audit
    from ..audit import gate, open_audited
    from ..proxies import open_panel
    from ..report.audit_words import answers, check_in_words, remarks
    from ..report.files import document, write_report
    from ..report.page import AUDIT, check_page
    from .console import note, plain_signs, print_json, progress

    requirements = [] if require is None else gate.parse_requirements(require)
    if output is not None:
        check_page(output, AUDIT, overwrite=overwrite)
    opened = open_audited(corpus, audio_root=audio_root)
    sources = [open_panel(path, "audit") for path in panels]
    with progress("audit") as step:
        result = run_audit(
            opened,
            sources,
            m=votes_scored,
            draws=draws,
            seed=seed,
            level=level,
            margin=margin,
            epsilon=epsilon,
            progress=step,
        )
    result = gate.gated(result, requirements)
    if output is not None:
        write_report(result, output, opened)
    if as_json:
        print_json({**document(result), "report": None if output is None else str(output)})
    else:
        _print(result)
        for sentence in (*answers(result), *remarks(result)):
            note(plain_signs(sentence))
        if output is not None:
            print(f"report: {output}")
    for outcome in result.checks:
        note(plain_signs(check_in_words(outcome)))
    if not all(outcome.met for outcome in result.checks):
        raise typer.Exit(gate.EXIT_CODE)


def _print(result) -> None:
    """Five columns, to fit a terminal: intervals of the two scores to judge by; the rest is in report and JSON."""
    from ..report.figures import count
    from .console import print_table

    m = result.settings["votes_scored"]
    gaps = {panel.name: panel.gap for panel in result.panels}
    rows = []
    for system in result.systems:
        gap = gaps[system.panel] if system.kind == "panel" else None
        rows.append(_line(_name(system), system.scores, m, gap))
    for point in result.curve:
        rows.append(_line(f"{count(point.n, 'human vote')}, {point.kind}", point.scores, m, None))
    ref = result.reference
    print_table(
        f"{count(ref['utterances'], 'utterance')} of {count(ref['speakers'], 'speaker')}, {m} held-out human votes each"
        + (" (simulated corpus)" if result.corpus["simulated"] else ""),
        ["prediction", "sq_unbiased", "log_score", f"jsd_bits@{m}", "gap %"],
        rows,
    )


def _line(name: str, scores, m: int, gap) -> list[str]:
    by_name = {row.metric: row for row in scores}
    judged = [_figure(by_name.get(metric), 3) for metric in ("sq_unbiased", "log_score")]
    return [name, *judged, _figure(by_name.get(f"jsd_bits@{m}"), 3, bounds=False), _figure(gap, 0, bounds=False)]


def _name(system) -> str:
    """The system's name, a long panel's own part cut so that what it is stays readable."""
    own = system.panel or ""
    rest = system.name.removeprefix(own)
    most = LONGEST_NAME - len(rest)
    return (own if len(own) <= most else f"...{own[3 - most :]}") + rest


def _figure(row, digits: int, *, bounds: bool = True) -> str:
    from ..report.figures import figure
    from .console import plain_signs

    if row is None:
        return "-"
    return plain_signs(figure(row.value, *(row.low, row.high) if bounds else (), digits=digits))
