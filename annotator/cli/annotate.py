"""`serann annotate`: let an audio-language model listen to a corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..runs import Run


def annotate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)],
    model: Annotated[str, typer.Option(help="demo, qwen2-audio, a checkpoint folder or a hub id.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run directory.", show_default=False)],
    engine: Annotated[str, typer.Option(help="What runs the model.")] = "transformers",
    panel: Annotated[str, typer.Option(help="A listener panel by name (serann panels), or a .toml file.")] = "crossed",
    votes: Annotated[int, typer.Option(help="Votes an utterance, dealt over the listeners.")] = 20,
    mode: Annotated[str, typer.Option(help="How answers are read off: exact.")] = "exact",
    limit: Annotated[int | None, typer.Option(help="Annotate the first N utterances only.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the votes.")] = 0,
    revision: Annotated[str | None, typer.Option(help="Revision of a model from the hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (bfloat16 on a GPU, float32 on a CPU) or its name.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Utterances a batch (default: 8 on a CPU, 32 on a GPU).")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw synthetic votes: every listener of a panel answers on every utterance.

    Exact answer distributions by one pass an utterance, votes drawn from
    them with seeds. The same command again goes on where it stopped; a larger
    --limit or --votes extends the run. An utterance that cannot be heard is
    listed, and the exit code is then 1.

    Example: serann annotate demo --model demo --limit 20 -o run
    """
    from ...data.corpus import open_corpus
    from ..annotate import annotate as run_annotation
    from .console import print_json, progress

    opened = open_corpus(corpus)
    with progress("annotate") as step:
        run = run_annotation(
            opened,
            model,
            out=output,
            panel=panel,
            votes=votes,
            engine=engine,
            mode=mode,
            limit=limit,
            seed=seed,
            revision=revision,
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            overwrite=overwrite,
            progress=step,
        )
    summary = _summary(run)
    if as_json:
        print_json(summary)
    else:
        _show(run, summary)
    if summary["failures"]:
        raise typer.Exit(1)


def _summary(run: "Run") -> dict[str, Any]:
    import numpy as np

    from ...data.files import read_json
    from ..runs import panel_distribution, synthetic_counts

    session = read_json(run.path / "environment.json", what="environment record")["sessions"][-1]
    counts = synthetic_counts(run, run.ids)
    mean = panel_distribution(run, run.ids).mean(axis=0) if run.ids else np.full(len(run.labels), np.nan)
    log_mass = run.scores["log_mass"].to_numpy()
    return {
        "run": str(run.path),
        "name": run.name,
        "utterances": len(run.ids),
        "listeners": run.listeners.num_rows,
        "votes": int(counts.sum()),
        "abstained": run.votes["label"].null_count,
        "mean_distribution": dict(zip(run.labels.labels, mean.tolist(), strict=True)),
        "mean_label_mass": float(np.exp(log_mass).mean()) if len(log_mass) else None,
        "failures": run.failures.select(["utterance_id", "reason", "attempts"]).to_pylist(),
        "session": {
            key: session[key]
            for key in ("utterances", "seconds", "utterances_per_second", "model_share", "batch_size", "device")
        },
    }


def _show(run: "Run", summary: dict[str, Any]) -> None:
    from .console import note, print_table

    session = summary["session"]
    note(
        f"{run.path} ({summary['name']}): {summary['utterances']} utterances, {summary['listeners']} listeners, "
        f"{summary['votes']} votes" + (f", {summary['abstained']} abstentions" if summary["abstained"] else "")
    )
    note(
        f"this time {session['utterances']} utterances in {session['seconds']:.1f} s "
        f"({session['utterances_per_second']:.1f}/s, the model's share {session['model_share']:.0%}, "
        f"{session['device']})"
    )
    shares = [[label, share] for label, share in summary["mean_distribution"].items()]
    print_table("Mean answer distribution", ["label", "share"], shares)
    if summary["mean_label_mass"] is not None:
        note(f"on average {summary['mean_label_mass']:.1%} of the model's probability fell on a label")
    if summary["failures"]:
        note(f"\n{len(summary['failures'])} utterances failed (the same command tries each at most 3 times):")
        for failure in summary["failures"]:
            note(f"  {failure['utterance_id']}: {failure['reason']}")
