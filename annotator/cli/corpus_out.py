"""`serann corpus distributions` and `serann corpus export`: votes as distributions, and a corpus in others' formats."""

from pathlib import Path
from typing import Annotated

import typer

from .corpus import CorpusArgument

PolicyOption = Annotated[str, typer.Option(help="Vote policy; serann corpus distributions --policies lists them.")]
AlphaOption = Annotated[float, typer.Option(help="Share of the primary votes in policy merged.")]


def distributions(
    corpus: Annotated[
        str | None, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write them there, as Parquet.")] = None,
    policy: PolicyOption = "primary",
    alpha: AlphaOption = 0.9,
    ties: Annotated[str, typer.Option(help="Plurality's ties: leave-out or split.")] = "leave-out",
    outside: Annotated[str, typer.Option(help="Votes outside the label set: ignore, or leave-out the utterance.")] = (
        "ignore"
    ),
    min_votes: Annotated[int, typer.Option(help="Leave out utterances with fewer primary votes.")] = 1,
    policies: Annotated[bool, typer.Option("--policies", help="List the policies with their sources.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Turn the human votes into distributions by a named policy, and say which utterances are left out, and why.

    Example: serann corpus distributions demo --policy merged --alpha 0.9 -o merged.parquet
    """
    from ...data.corpus import open_corpus
    from ...data.errors import OptionError
    from ...data.policies import POLICIES, write_distributions
    from .console import note, print_json, print_table

    if policies:
        rows = [[p.name, p.about, p.source] for p in POLICIES.values()]
        if as_json:
            print_json([dict(zip(("policy", "about", "source"), row, strict=True)) for row in rows])
        else:
            print_table("Vote policies", ["policy", "what", "source"], rows)
        return
    if corpus is None:
        raise OptionError("name a corpus (a directory, or demo), or ask for the policies with --policies")
    summary = write_distributions(
        open_corpus(corpus),
        output,
        policy=policy,
        alpha=alpha,
        ties=ties,
        outside=outside,
        min_votes=min_votes,
        overwrite=overwrite,
    )
    if as_json:
        print_json(summary)
        return
    note(f"policy {policy}: {POLICIES[policy].about} ({POLICIES[policy].source})")
    if output is not None:
        note(f"written to {output}")
    print_table("Mean distribution", ["label", "share"], list(summary["shares"].items()))
    left = list(summary["left_out"].items())
    print_table("\nUtterances", ["what", "count"], [["with a distribution", summary["utterances"]], *left])


def export(
    corpus: CorpusArgument,
    kind: Annotated[str, typer.Argument(help="hf, emo-superb, audformat or label-studio.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where it is written.", show_default=False)],
    run: Annotated[Path | None, typer.Option(help="label-studio: a run whose votes become predictions.")] = None,
    policy: PolicyOption = "primary",
    copy_audio: Annotated[bool, typer.Option("--copy-audio", help="Copy the sounds instead of naming them.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
) -> None:
    """Write a corpus in another tool's format: a Hugging Face dataset with its card, EMO-SUPERB CSV, audformat, or
    Label Studio tasks with synthetic votes as predictions.

    Example: serann corpus export demo hf -o dataset
    """
    from ...data.corpus import open_corpus
    from ...data.exports import export_corpus
    from ..run.run import open_run
    from .console import note

    votes = open_run(run).votes if run is not None else None
    found = export_corpus(
        open_corpus(corpus), kind, output, run_votes=votes, policy=policy, copy=copy_audio, overwrite=overwrite
    )
    for sentence in found.notes:
        note(f"note: {sentence}")
    note(
        f"{found.utterances} utterances, {found.distributions} of them with a distribution, {found.human_votes} human "
        f"and {found.synthetic_votes} synthetic votes; written to {found.path}"
    )
