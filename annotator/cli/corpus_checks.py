"""`serann corpus check|info|split`: what is wrong with a corpus, what is in it, and a split that leaks no speaker."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .corpus import CorpusArgument, part_counts

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def check(
    corpus: CorpusArgument,
    sounds: Annotated[bool, typer.Option("--sounds/--no-sounds", help="Read every sound.")] = True,
    least_votes: Annotated[int, typer.Option(min=1, help="Fewer human votes than this are too few.")] = 2,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longer sounds are too long.")] = 30.0,
    most: Annotated[int, typer.Option(min=0, help="Findings of a kind that are shown; --json gives all.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with a corpus: sounds, duplicates, leaks across splits, raters, votes, ratings.

    Missing, broken, silent, too short or too long sounds, and sounds or speakers in several splits are errors, with
    exit code 1. Warnings are for you to judge.

    Example: serann corpus check demo
    """
    from ...data.corpus import open_corpus
    from ...data.quality import Limits, check_corpus
    from .console import note, print_json, print_table, progress

    opened = open_corpus(corpus)
    limits = Limits(max_seconds=max_seconds)
    with progress("sounds") as step:
        checked = check_corpus(opened, limits=limits, least_votes=least_votes, sounds=sounds, progress=step)
    rows = checked.findings.to_pylist()
    if as_json:
        print_json({"corpus": str(opened.path), "sounds": checked.sounds, "counts": checked.counts, "findings": rows})
    else:
        shown: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            shown.setdefault(row["kind"], []).append(row)
        table = [[r["severity"], r["kind"], r["sentence"]] for of in shown.values() for r in of[:most]]
        print_table(f"Findings in {opened.path}", ["severity", "kind", "what"], table)
        for kind, of in shown.items():
            if len(of) > most:
                note(f"… and {len(of) - most} more of kind {kind} (--most, or --json)")
        totals = {severity: sum(of.values()) for severity, of in checked.counts.items()}
        note(f"{totals['error']} errors, {totals['warning']} warnings; {checked.sounds} sounds were read")
    if checked.wrong:
        raise typer.Exit(1)


def info(corpus: CorpusArgument, as_json: AsJson = False) -> None:
    """Say what a corpus holds: utterances, hours, speakers, votes, label shares, agreement, raters, licence.

    Intervals are 95 %, by speaker where speakers are known; the column unit says by what.

    Example: serann corpus info demo
    """
    from ...data.corpus import open_corpus
    from ...data.summary import describe
    from .console import note, print_json, print_table

    opened = open_corpus(corpus)
    found = describe(opened)
    if as_json:
        print_json(found)
        return
    simulated = " (simulated)" if found["simulated"] else ""
    note(f"{opened.name}{simulated}: {opened.path}")
    facts = [[k.replace("_", " "), _fact(v)] for k, v in found.items() if not isinstance(v, dict | list)]
    print_table("Corpus", ["what", "value"], [row for row in facts if row[0] != "division"])
    splits = [[row["split"], row["utterances"], row["seen"], row["heldout"]] for row in part_counts(opened)]
    division = opened.info.division
    how = f"divided: seen {division.seen}, seed {division.seed}" if division else "not divided yet (corpus holdout)"
    print_table(f"\nSplits and primary human votes, {how}", ["split", "utterances", "seen", "held out"], splits)
    print_table("\nShares of primary human votes", ["label", "share"], list(found["label_shares"].items()))
    _print_stated(found["stated_labels"])
    _print_agreement(found)


def _print_stated(stated: dict[str, dict[str, int]]) -> None:
    from .console import print_table

    labels = list(dict.fromkeys(label for of in stated.values() for label in of))
    if labels:
        rows = [[label, *(of.get(label, 0) for of in stated.values())] for label in labels]
        print_table("\nLabels that the corpus states (utterances; no votes)", ["label", *stated], rows)


def _print_agreement(found: dict[str, Any]) -> None:
    from .console import print_table

    columns = ["of", "coefficient", "value", "low", "high", "unit", "units", "utterances"]
    rows = [[row[c].replace("_", " ") if c == "coefficient" else row[c] for c in columns] for row in found["agreement"]]
    print_table("\nAgreement of human raters (over utterances with two answers or more)", columns, rows)
    reliability = {**found["reliability"]}
    flagged = ", ".join(f"{n} {flag}" for flag, n in reliability.pop("flagged").items()) or "none"
    facts = [[k.replace("_", " "), _fact(v)] for k, v in reliability.items()]
    print_table("\nRaters", ["what", "value"], [*facts, ["suspicious (corpus check names them)", flagged]])


def _fact(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def split(
    corpus: CorpusArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the corpus is written.", show_default=False)],
    test: Annotated[float, typer.Option(help="Share of the utterances for test.")] = 0.2,
    development: Annotated[float, typer.Option(help="Share of the utterances for development.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Divide a corpus into train, development and test so that no speaker is in two of them.

    Labels and ambiguity are spread evenly; utterances of unknown speakers go with their dialogue, or singly. Where a
    corpus has an official split, prefer that.

    Example: serann corpus split demo --test 0.2 --seed 1 -o demo-split
    """
    from ...data.corpus import open_corpus
    from ...data.splits import leaks, split_corpus, write_split
    from .console import note, print_json, print_table

    opened = open_corpus(corpus)
    divided = split_corpus(opened, test=test, development=development, seed=seed)
    written = write_split(opened, divided, output, overwrite=overwrite)
    found = leaks(written)
    if as_json:
        print_json({"corpus": str(written.path), "split": divided.report, "leaks": found})
        return
    report = divided.report
    rows = [[name, of["asked"], of["share"], of["utterances"], of["groups"]] for name, of in report["splits"].items()]
    title = f"Splits of {written.path} by {report['unit']}, stratified by {report['stratified_by']}, seed {seed}"
    print_table(title, ["split", "asked", "share", "utterances", "groups"], rows)
    for kind in sorted({leak["kind"] for leak in found}):
        of = [leak["value"] for leak in found if leak["kind"] == kind]
        note(f"warning: {len(of)} values of {kind} are in several splits, first {of[0]!r} (corpus check names them)")
