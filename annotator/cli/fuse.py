"""`serann fuse`: human and synthetic votes into one distribution an utterance."""

import inspect
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .choices import Command
from .corpus import AudioRoot

# --------------------
# What `serann fuse` prints of a fusion: the compact form of its report, from the figures that report.json holds.

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


def print_report(info, figures: dict[str, Any]) -> None:
    """Print `fusion.json` (a FusionInfo) and the figures of report.json as tables on stdout."""
    from .console import print_table

    print_table("Utterances", ["what", "number"], [[k.replace("_", " "), v] for k, v in info.counts.items()])
    _print_parameters(info, figures["strengths"])
    _print_gains(figures["fallback"])
    _print_moved(figures["moved"])
    columns = [name for name in SHARE_COLUMNS if name in info.shares]
    print_table(
        "\nShares in the train split",
        ["label", *(SHARE_COLUMNS[name] for name in columns)],
        [[label, *(info.shares[name][label] for name in columns)] for label in figures["labels"]],
    )
    if figures["added"] is not None:
        _print_added(figures["added"], figures["labels"])


def _print_parameters(info, strengths: dict[str, Any]) -> None:
    from .console import print_table

    rows = [[name, value, None, None, None, None] for name, value in _plain_parameters(info.parameters)]
    for one in strengths["estimates"]:
        if not one["name"].startswith("bias"):
            folds = [min(one["of_folds"]), max(one["of_folds"])] if one["of_folds"] else [None, None]
            rows.append([f"{one['name']}: {one['of']}", one["value"], one["low"], one["high"], *folds])
    if rows:
        heads = ["parameter", "value", "low", "high", "folds, lowest", "folds, highest"]
        print_table("\nParameters, with 95 % intervals by speaker", heads, rows)
    if strengths["method"]:
        print(f"intervals: {strengths['method']}")
    if any(one["name"] == "temperature" for one in strengths["estimates"]):
        print(ABOUT_PARAMETERS)
    for name, kinds in strengths["kinds"].items():
        print_table(
            f"\nClass weights of {name}, by the label that their votes say most",
            ["label", "weight", "low", "high", "votes they count for", "low", "high"],
            [[k["label"], *_ends(k["weight"]), *_ends(k["votes"])] for k in kinds],
        )
    if strengths["reason"]:
        print(strengths["reason"])


def _ends(interval: dict[str, Any]) -> list[float | None]:
    return [interval[name] for name in ("value", "low", "high")]


def _plain_parameters(parameters: dict[str, Any]) -> list[tuple[str, Any]]:
    """Numbers among the parameters of the blend and of the augmentation, and the cross-fitted scores."""
    # of a strategy that goes on from another's blend: the other's, then its own
    inner, *own = parameters.values() if isinstance(parameters.get("blend"), dict) else [parameters]
    numbers = {
        name.replace("_", " "): value
        for part in (inner, *own)
        for name, value in part.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    scores = inner.get("cross_fitted_log_score_per_seen_vote", {})
    return [*numbers.items(), *((f"log score a seen vote, cross-fitted: {name}", s) for name, s in scores.items())]


def _print_gains(fallback: dict[str, Any]) -> None:
    from .console import print_table

    rows = [
        [s["stratum"], *(s[key] for key in ("gain", "low", "high", "utterances", "proxy_taken", "reason"))]
        for s in fallback["strata"]
        if s["speakers"]
    ]
    if rows:
        title = "\nGain of the proxy model over the human mixture, log score a seen vote, 95 % by speaker"
        print_table(title, ["stratum", "gain", "low", "high", "utterances", "proxy taken", "why"], rows)
    for sentence in fallback["sentences"]:
        print(sentence)


def _print_moved(moved: dict[str, Any]) -> None:
    from .console import print_table

    rows = [
        [s["stratum"], s["utterances"], *_ends(s["jsd_bits"]), s["l2"]["value"], s["changed"], s["settled"]]
        for s in moved["strata"]
    ]
    if rows:
        heads = ["train utterances", "number", "JSD, bits", "low", "high", "L2", "label changed", "ties settled"]
        print_table("\nWhat moved, from the seen votes' frequencies to the fused p", heads, rows)
    most = [[e["utterance_id"], e["seen_label"], e["fused_label"], e["jsd_bits"]] for e in moved["most"][:5]]
    if most:
        print_table("\nMoved most", ["utterance", "seen votes said", "fused says", "JSD, bits"], most)


def _print_added(added: dict[str, Any], labels: list[str]) -> None:
    from .console import print_table

    size = "size unknown" if added["bytes"] is None else f"{added['bytes'] / 1e6:.2f} MB of FLAC"
    guess = "" if added["measured"] else " (a guess, from a few of them)"
    print(f"\nnew utterances: {added['new']}, {added['seconds']:.1f} seconds of sound, {size}{guess}")
    masses, titles = added["masses"], {"mass": "before", "target": "target", "reached": "after"}
    print_table(
        "Expected utterances of a label in the train split: the sum of p",
        ["label", "new, by dominant label", *(titles[name] for name in masses)],
        [[label, added["by_label"][label], *(masses[name][label] for name in masses)] for label in labels],
    )


OF_STRATEGIES = "Options of strategies"


class FuseCommand(Command):
    """`serann fuse`, whose `--strategy` lists the strategies and which has their options as flags: both are read when
    the command is used, for the file is imported with every other command's."""

    def get_params(self, ctx):
        from ..fusion.strategies import STRATEGIES

        told = "; ".join(f"{name}: {strategy.about}" for name, strategy in STRATEGIES.items())
        for parameter in self.params:
            if parameter.name == "strategy":
                parameter.help = f"How to fuse. {told}."  # type: ignore[attr-defined]
        *declared, help_option = super().get_params(ctx)
        return [*declared, *flags(), help_option]

    def invoke(self, ctx):
        from ..fusion.strategies import owners

        given = {name: ctx.params.pop(name) for name in owners() if name in ctx.params}
        ctx.meta[OF_STRATEGIES] = {name: value for name, value in given.items() if value is not None}
        return super().invoke(ctx)


def flags() -> list[Any]:
    """The strategies' options as parameters of a command; what is not given is None."""
    from ..fusion.strategies import flags_of, owners

    def options(**given: Any) -> None: ...

    declared = []
    for name, strategies in owners().items():
        field = flags_of(strategies[0])[name]
        # a field of bool is a flag that is given or not, and has no other side
        names = (f"--{name.replace('_', '-')}",) if field.annotation is bool else ()
        said = {
            "help": f"{', '.join(strategy.name for strategy in strategies)}: {field.description}",
            "rich_help_panel": OF_STRATEGIES,
            "show_default": False if field.default in (None, False) else str(field.default),
        }
        kind = Annotated[field.annotation | None, typer.Option(*names, **said)]  # type: ignore[operator]
        declared.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
    options.__signature__ = inspect.Signature(declared)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(options)
    return typer.main.get_command(app).params


def fuse(
    context: typer.Context,
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A divided corpus.", show_default=False)],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN_OR_CORPUS...",
            help="Runs of annotate over it, or corpora with other people's votes on the same utterances.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FUSED", help="Where to write.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the report and write nothing; dime-aug is only planned.")
    ] = False,
    strategy: Annotated[str, typer.Option(help="How to fuse.")] = "auto",
    next_votes: Annotated[
        int | None,
        typer.Option(
            "--next", metavar="N", help="Fuse nothing: list the N utterances whose next human vote is worth most."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and draws.")] = 0,
    audio_root: AudioRoot = None,
    sounds: Annotated[bool, typer.Option(help="Put sounds to listen to into the report.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fuse a corpus's seen human votes with synthetic ones, into a fused corpus.

    Only seen votes of train speakers are used; parameters are cross-fitted
    by speaker. auto takes the proxy model that predicts the seen votes best,
    where it beats human-mixture (smoothing without a proxy), and says where.
    pool counts every vote alike, as in the source paper. dime-aug blends,
    then adds train utterances for the rarer labels; nothing is scored on
    them: evaluate weighs real test utterances instead. FUSED/report.html
    says what moved, with intervals, and lets you listen. --next writes a
    folder: next.csv, Label Studio tasks, weights.

    Example: serann fuse divided run --strategy dime-aug --rho 0.3 -o fused
    """
    from ...data.corpus import open_corpus
    from ..proxies import open_panel

    options = {"strategy": strategy, "seed": seed, **context.meta[OF_STRATEGIES]}
    _check_output(output, dry_run, next_votes)
    opened, proxies = open_corpus(corpus, audio_root=audio_root), [open_panel(path, "fuse") for path in runs or []]
    if next_votes is not None:
        _list_next(opened, proxies, next_votes, {**options, "out": output, "overwrite": overwrite}, as_json)
    elif dry_run:
        _preview(opened, proxies, options, as_json)
    else:
        _fuse(opened, proxies, {**options, "out": output, "overwrite": overwrite}, sounds, as_json)


def _check_output(output: Path | None, dry_run: bool, next_votes: int | None) -> None:
    from ...data.errors import OptionError

    if dry_run and next_votes is not None:
        raise OptionError("--dry-run shows the report of a fusion, and --next fuses nothing; leave one of them out")
    if output is None and not dry_run:
        raise OptionError("nowhere to write: name a folder with -o FUSED, or look without writing with --dry-run")


def _preview(corpus, proxies, options: dict[str, Any], as_json: bool) -> None:
    from ..fusion import preview
    from .console import note, print_json, progress

    with progress("fuse") as step:
        info, report = preview(corpus, proxies, progress=step, **options)
    if as_json:
        print_json({"fused": None, "dry_run": True, **info.model_dump(), "report": report.to_json()})
    else:
        note(f"dry run: nothing is written; fused by {_how(info)}")
        print_report(info, report.to_json())
    _end(info, written=False)


def _fuse(corpus, proxies, options: dict[str, Any], sounds: bool, as_json: bool) -> None:
    from ...data.files import read_json
    from ..fusion import fuse as run_fusion
    from ..report.fusion_page import render
    from .console import note, print_json, progress

    with progress("fuse") as step:
        fused = run_fusion(corpus, proxies, page=partial(render, sounds=sounds), progress=step, **options)
    figures = read_json(fused.path / "report.json", what="a fusion's figures")
    if as_json:
        named = {"fused": str(fused.path), "fingerprint": fused.fingerprint}
        print_json({**named, **fused.info.model_dump(), "report": figures})
    else:
        note(f"{fused.path}: fused by {_how(fused.info)}")
        print_report(fused.info, figures)
        print(f"report: {fused.path / 'report.html'}")
    _end(fused.info, written=True)


def _how(info) -> str:
    return f"{info.strategy} after {info.blend}" if info.blend else info.strategy


def _end(info, *, written: bool) -> None:
    """Warnings and failures on stderr; exit code 1 where a sound failed."""
    from .console import note, note_failures

    for warning in info.warnings:
        note(f"warning: {warning}")
    failed = ((failure["utterance_id"], failure["reason"]) for failure in info.failures)
    note_failures(failed, table="fusion.json" if written else "what --json prints")
    if info.failures:
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
