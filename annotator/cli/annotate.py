"""`serann annotate`: let an audio-language model listen to a corpus."""

from pathlib import Path
from typing import Annotated, Any

import typer


def annotate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)],
    model: Annotated[str, typer.Option(help="demo, qwen2-audio, a checkpoint folder or a hub id.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run directory.", show_default=False)],
    engine: Annotated[str, typer.Option(help="What runs the model.")] = "transformers",
    panel: Annotated[str, typer.Option(help="A listener panel by name (serann panels), or a .toml file.")] = "crossed",
    votes: Annotated[int, typer.Option(help="Votes an utterance, dealt over the listeners (0: scores alone).")] = 20,
    mode: Annotated[str, typer.Option(help="How answers are read off: exact, sample or verbalized.")] = "exact",
    reason: Annotated[bool, typer.Option("--reason", help="Mode sample: a short reasoning before the answer.")] = False,
    attributes: Annotated[
        str, typer.Option(help="Rate these as well: valence,arousal,dominance (or a part of it).")
    ] = "",
    limit: Annotated[int | None, typer.Option(help="Annotate the first N utterances only.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the votes.")] = 0,
    revision: Annotated[str | None, typer.Option(help="Revision of a model from the hub.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (bfloat16 on a GPU, float32 on a CPU) or its name.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Utterances a batch, at most (default: by a budget of sound).")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Most seconds of an utterance that are heard at once (default: the model's).")
    ] = None,
    too_long: Annotated[
        str, typer.Option(help="What is done with longer ones: reject, truncate or windows (their answers averaged).")
    ] = "reject",
    control: Annotated[
        str | None,
        typer.Option(help="Hear something else instead: transcript-only, silence, noise or other-voice."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Decoders that read sounds ahead.")] = 2,
    max_hours: Annotated[float | None, typer.Option(help="Stop after so many hours; the same call goes on.")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure a few utterances, say the cost, write nothing.")
    ] = False,
    selfcheck: Annotated[
        bool | None,
        typer.Option("--selfcheck/--no-selfcheck", help="Check the answers (default: above 1,000 utterances)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is there.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; progress as JSON lines on stderr.")
    ] = False,
) -> None:
    """Draw synthetic votes: every listener of a panel answers on every utterance.

    Exact answer distributions by one pass an utterance, votes drawn from
    them with seeds. The same command again goes on where it stopped; a larger
    --limit, --votes or --panel extends the run. An utterance that cannot be
    heard is listed, and the exit code is then 1; so it is when --max-hours
    stopped the run before its end. Ctrl-C and SIGTERM stop it at once and
    say what remains (exit codes 130 and 143); the same command goes on.

    An utterance of more than --max-seconds is such a failure, unless
    --too-long says otherwise: truncate hears its first --max-seconds;
    windows (mode exact) cuts it into equal windows no longer than that,
    asks every listener about each, and averages the probabilities by
    duration. A run keeps its policy.

    A --control is a run of its own, over the same utterances, that shows
    what answers rest on: transcript-only (silence, and the words for the
    listeners that read them), silence or noise (as long, and no words), or
    other-voice (the same words in another speaker's utterance where there is
    one, else any of another speaker's). Audited beside the run without it,
    it tells whether the model listens.

    Example: serann annotate demo --model demo -o run
    """
    from .console import stopped_in_a_sentence

    asked: dict[str, Any] = {
        "panel": panel,
        "votes": votes,
        "engine": engine,
        "mode": mode,
        "reason": reason,
        "attributes": tuple(name.strip() for name in attributes.split(",") if name.strip()),
        "limit": limit,
        "seed": seed,
        "revision": revision,
        "device": device,
        "dtype": dtype,
        "batch_size": batch_size,
        "max_seconds": max_seconds,
        "too_long": too_long,
        "control": control,
    }
    sitting = {"workers": workers, "max_hours": max_hours, "selfcheck": selfcheck, "overwrite": overwrite}
    with stopped_in_a_sentence():
        if plan:
            _plan(corpus, model, output, {**asked, "max_hours": max_hours}, as_json)
        else:
            _run(corpus, model, output, {**asked, **sitting}, as_json)


def _plan(corpus: str, model: str, output: Path, asked: dict[str, Any], as_json: bool) -> None:
    from ..run.annotate import plan_annotation

    _show_plan(plan_annotation(corpus, model, out=output, **asked)._asdict(), as_json)


def _run(corpus: str, model: str, output: Path, asked: dict[str, Any], as_json: bool) -> None:
    from ..run.annotate import annotate as run_annotation
    from .console import print_json
    from .summary import show, summarise

    with _watching(as_json) as watch:
        run = run_annotation(corpus, model, out=output, watch=watch, **asked)
    summary = summarise(run)
    if as_json:
        print_json(summary)
    else:
        show(summary)
    if summary["failures"] or summary["session"]["remaining"]:
        raise typer.Exit(1)


def _watching(as_json: bool) -> Any:
    """The live display: a bar with rate, ETA, failures and device share, or JSON lines for machines."""
    from contextlib import contextmanager

    from .console import progress

    if as_json:
        return _json_lines()

    @contextmanager
    def bar() -> Any:
        with progress("annotate") as step:

            def watch(status: Any) -> None:
                told = f"{status.failures} failed, " if status.failures else ""
                step(
                    status.done, status.total, rate=status.per_second, beside=f"{told}device {status.device_share:.0%}"
                )

            yield watch

    return bar()


def _json_lines() -> Any:
    """At most one line a second, and always the last."""
    import json
    import sys
    import time
    from contextlib import contextmanager

    def tell(status: Any) -> None:
        line = {key: round(v, 3) if isinstance(v, float) else v for key, v in status._asdict().items()}
        print(json.dumps({"event": "progress", **line}), file=sys.stderr, flush=True)

    @contextmanager
    def lines() -> Any:
        last, told = [0.0], [None]

        def watch(status: Any) -> None:
            now = time.monotonic()
            if now - last[0] >= 1 or status.done == status.total:
                last[0], told[0] = now, status
                tell(status)

        yield watch

    return lines()


def _show_plan(estimate: dict[str, Any], as_json: bool) -> None:
    from .console import print_json, print_table

    if as_json:
        print_json(estimate)
        return
    unknown, within = estimate["unknown_durations"], estimate["within_hours"]
    rows = [
        ["utterances to ask", estimate["utterances"]],
        ["answered already", estimate["answered"]],
        ["hours of audio", f"{estimate['hours_of_audio']:.2f}"],
        *([["of unknown duration", f"{unknown} (taken for the longest)"]] if unknown else []),
        ["questions", estimate["questions"]],
        ["tokens", "not counted by this engine" if estimate["tokens"] is None else estimate["tokens"]],
        ["batches", estimate["batches"]],
        ["time", _duration(estimate["hours"])],
        *([["within --max-hours", f"{within} utterances"]] if within is not None else []),
        ["memory", f"{estimate['memory_gb']:.1f} GB"],
        ["device", estimate["device"]],
    ]
    print_table(f"The plan, from {estimate['probed']} utterances that were measured", ["", "estimate"], rows)


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{60 * hours:.1f} minutes" if hours >= 1 / 60 else f"{3600 * hours:.1f} seconds"
