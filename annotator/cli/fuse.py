"""`serann fuse`: human and synthetic votes into one distribution an utterance."""

from pathlib import Path
from typing import Annotated

import typer


def fuse(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A divided corpus.", show_default=False)],
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="Runs of annotate over it.", show_default=False)
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FUSED", help="Where to write.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    strategy: Annotated[
        str,
        typer.Option(
            help="auto, empirical-bayes, latent-class, human-mixture, human, synthetic, pool, opinion-pool, "
            "dawid-skene, mace, glad, or dime-aug (blend, then add utterances)."
        ),
    ] = "auto",
    blend: Annotated[str, typer.Option(help="dime-aug: the strategy that gives the distributions.")] = "auto",
    dime: Annotated[
        str, typer.Option(help="dime-aug: 'serann', perturbed takes that balance expected mass; 'paper', as published.")
    ] = "serann",
    rho: Annotated[float, typer.Option(help="dime-aug: grow labels to this share of the largest, above 0 to 1.")] = 0.3,
    beta: Annotated[
        float | None, typer.Option(help="dime-aug serann: grow by effective numbers, 0 to below 1, and not by --rho.")
    ] = None,
    concatenate: Annotated[
        bool, typer.Option("--concatenate", help="dime-aug serann: join two turns of a speaker (an assumption).")
    ] = False,
    neighbours: Annotated[
        int, typer.Option(help="dime-aug paper: k nearest neighbours, the utterance itself among them.")
    ] = 3,
    true_neighbours: Annotated[
        bool, typer.Option("--true-neighbours", help="dime-aug paper: k neighbours besides the utterance itself.")
    ] = False,
    next_votes: Annotated[
        int | None,
        typer.Option(
            "--next", metavar="N", help="Fuse nothing: list the N utterances whose next human vote is worth most."
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="empirical-bayes: how many human votes the proxy counts for; estimated where not given."),
    ] = None,
    opinion: Annotated[str, typer.Option(help="opinion-pool: linear or logarithmic.")] = "linear",
    weight: Annotated[
        float | None, typer.Option(help="opinion-pool: the proxy's weight, 0 to 1; learnt where not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and draws.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fuse a corpus's seen human votes with synthetic ones, into a fused corpus.

    Only seen votes of train speakers are used; parameters are cross-fitted
    by speaker. auto takes the proxy model that predicts the seen votes best,
    where it beats human-mixture (smoothing without a proxy), and says where.
    pool counts every vote alike, as in the source paper. dime-aug blends, then adds train utterances for the rarer
    labels. --next writes a folder: next.csv, Label Studio tasks, weights.

    Example: serann fuse divided run --strategy dime-aug --rho 0.3 -o fused
    """
    from contextlib import nullcontext

    from ...data.corpus import open_corpus
    from ..fusion import fuse as run_fusion
    from ..runs import open_run
    from .console import note, print_json, progress

    opened = open_corpus(corpus)
    if next_votes is not None:
        options = {"strategy": strategy, "out": output, "seed": seed, "overwrite": overwrite}
        options |= {"strength": strength, "opinion": opinion, "weight": weight}
        _list_next(opened, [open_run(run) for run in runs or []], next_votes, options, as_json)
        return
    with progress("fuse") if strategy == "dime-aug" else nullcontext() as step:
        fused = run_fusion(
            opened,
            [open_run(run) for run in runs or []],
            strategy=strategy,
            out=output,
            blend=blend,
            dime=dime,
            rho=rho,
            beta=beta,
            concatenate=concatenate,
            neighbours=neighbours,
            true_neighbours=true_neighbours,
            strength=strength,
            opinion=opinion,
            weight=weight,
            seed=seed,
            overwrite=overwrite,
            progress=step,
        )
    if as_json:
        print_json({"fused": str(fused.path), "fingerprint": fused.fingerprint, **fused.info.model_dump()})
    else:
        _print_report(fused)
    for warning in fused.info.warnings:
        note(f"warning: {warning}")
    for failure in fused.info.failures:
        note(f"failed: {failure['utterance_id']}: {failure['reason']}")
    if fused.info.failures:
        raise typer.Exit(1)


def _list_next(corpus, runs, n: int, options: dict, as_json: bool) -> None:
    from ..fusion.next_votes import list_next
    from .console import note, print_json

    done = list_next(corpus, runs, n, **options)
    if as_json:
        print_json({**done._asdict(), "path": str(done.path)})
    else:
        print(f"{done.path}: {done.utterances} of {done.candidates} train utterances, chosen by {done.strategy}")
        print("next.csv lists them with their weights; tasks.json and config.xml are for Label Studio")
    for warning in done.warnings:
        note(f"warning: {warning}")


SHARE_COLUMNS = {
    "seen_votes": "seen votes",
    "fused": "fused",
    "dominant": "dominant",
    "augmented": "fused, augmented",
    "augmented_dominant": "dominant, augmented",
}

# The lower temperatures of folds were measured: with 600 train utterances .938 on all, .927 on 80 % of them, and .928
# on all with the pseudo-votes of the confusion map raised by 1 / .8.
ABOUT_PARAMETERS = """\
strength: how many human votes the panel counts for; temperature: above 1 flattens the panel, below 1 sharpens it.
The value is that of all train speakers. A fold is fitted without its own speakers, so on fewer votes, where the fit's
pseudo-votes and weak priors (strength 4, temperature 1) weigh more: the folds' values may all lie to one side of it."""


def _print_report(fused) -> None:
    from .console import note, print_table

    info = fused.info
    how = f"{info.strategy} after {info.blend}" if info.blend else info.strategy
    note(f"{fused.path}: fused by {how}")
    print_table("Utterances", ["what", "number"], [[k.replace("_", " "), v] for k, v in info.counts.items()])
    parameters = _parameter_rows(info.parameters)
    if parameters:
        print_table("\nParameters", ["parameter", "value", "folds, lowest", "folds, highest"], parameters)
        if any(name == "temperature" for name, *_ in parameters):
            print(ABOUT_PARAMETERS)
    gains = info.parameters.get("blend", info.parameters).get("gain_in_log_score_per_seen_vote", {})
    if gains:
        print_table(
            "\nGain of the proxy model over the human mixture, log score a seen vote, 95 % by speaker",
            ["stratum", "gain", "low", "high", "utterances", "proxy taken"],
            [
                [name, *(gain[key] for key in ("gain", "low", "high", "utterances", "proxy_taken"))]
                for name, gain in gains.items()
                if gain["speakers"]
            ],
        )
    columns = [name for name in SHARE_COLUMNS if name in info.shares]
    print_table(
        "\nShares in the train split",
        ["label", *(SHARE_COLUMNS[name] for name in columns)],
        [[label, *(info.shares[name][label] for name in columns)] for label in fused.corpus.labels],
    )
    masses = [info.parameters.get("dime-aug", {}).get(name) for name in ("mass", "target", "reached")]
    if all(masses):
        print_table(
            "\nExpected utterances of a label in the train split: the sum of p",
            ["label", "before", "target", "after"],
            [[label, *(mass[label] for mass in masses)] for label in fused.corpus.labels],
        )


def _parameter_rows(parameters: dict) -> list[list]:
    """Rows of (name, value over all train speakers, lowest and highest of the folds) for `print_table`."""
    rows = []
    for name, value in {**parameters.get("blend", {}), **parameters.get("dime-aug", {}), **parameters}.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            rows.append([name.replace("_", " "), value, None, None])
    inner = parameters.get("blend", parameters)
    if "folds" in inner:
        for name in ("strength", "temperature"):
            values = [fold[name] for fold in inner["folds"]]
            rows.append([name, inner["all_train_speakers"][name], min(values), max(values)])
    for name, score in inner.get("cross_fitted_log_score_per_seen_vote", {}).items():
        rows.append([f"log score a seen vote, cross-fitted: {name}", score, None, None])
    return rows
