"""`serann corpus holdout`: divide a corpus's votes."""

from pathlib import Path
from typing import Annotated

import typer

CorpusArgument = Annotated[
    str, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)
]


def holdout(
    corpus: CorpusArgument,
    seen: Annotated[int, typer.Option(help="Human votes of each train utterance that fusion and training may see.")],
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a divided corpus there; without it, divide in place.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output, or an existing division.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Divide the human votes into seen and held-out ones, once.

    In the train split, K raters' votes an utterance are seen by fusion and training; every other human vote is only
    ever a reference.

    Example: serann corpus holdout demo --seen 2 --seed 0 -o divided
    """
    from ...data.corpus import open_corpus
    from ...data.holdout import hold_out, remarks, write_division
    from .console import note, print_json, print_table

    opened = open_corpus(corpus)
    divided = write_division(opened, hold_out(opened, seen=seen, seed=seed), output, overwrite=overwrite)
    rows, warnings = part_counts(divided), remarks(divided)
    for warning in warnings:
        note(f"warning: {warning}")
    if as_json:
        division = divided.info.division.model_dump() if divided.info.division else None
        print_json({"corpus": str(divided.path), "division": division, "votes": rows, "warnings": warnings})
        return
    print_table(
        f"Primary human votes of {divided.path}",
        ["split", "utterances", "seen", "held out"],
        [[row["split"], row["utterances"], row["seen"], row["heldout"]] for row in rows],
    )


def part_counts(corpus) -> list[dict]:
    """Utterances, and primary human votes of each part, by split."""
    from ...data.votes import count_votes

    seen, heldout = (count_votes(corpus.votes, corpus.ids, corpus.labels, part=part) for part in ("seen", "heldout"))
    splits = corpus.column("split")
    return [
        {
            "split": str(split),
            "utterances": int((splits == split).sum()),
            "seen": int(seen[splits == split].sum()),
            "heldout": int(heldout[splits == split].sum()),
        }
        for split in sorted(set(splits), key=str)
    ]
