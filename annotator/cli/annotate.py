"""`serann annotate`: let an audio-language model listen to a corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..run.options import AnnotateOptions, SessionOptions
from .corpus import AudioRoot
from .options import with_options

if TYPE_CHECKING:
    from ...data.corpus import Corpus
    from ..run.run import Run


@with_options
def annotate(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="A corpus directory, or 'demo'.", show_default=False)],
    model: Annotated[str, typer.Option(help="demo, qwen2-audio, a checkpoint folder or a hub id.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run directory.", show_default=False)],
    asked: AnnotateOptions,
    session: SessionOptions,
    audio_root: AudioRoot = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure a few utterances, say the cost, write nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; progress as JSON lines on stderr.")
    ] = False,
) -> None:
    """Draw synthetic votes: every listener of a panel answers on every utterance.

    Exact answer distributions by one pass per utterance, votes drawn from
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
    from ...data.corpus import open_corpus
    from ..engines.memory import keep_freed_memory
    from .console import stopped_in_a_sentence

    keep_freed_memory()
    with stopped_in_a_sentence():
        opened = open_corpus(corpus, audio_root=audio_root)
        if plan:
            _plan(opened, model, output, asked, session, as_json)
        else:
            _run(opened, model, output, asked, session, as_json)


def _plan(
    corpus: "Corpus", model: str, output: Path, asked: AnnotateOptions, session: SessionOptions, as_json: bool
) -> None:
    from ..run.annotate import plan_annotation

    estimate = plan_annotation(corpus, model, asked, out=output, max_hours=session.max_hours)
    _show_plan(estimate._asdict(), as_json)


def _run(
    corpus: "Corpus", model: str, output: Path, asked: AnnotateOptions, session: SessionOptions, as_json: bool
) -> None:
    from ..run.annotate import annotate as run_annotation
    from .console import print_json

    with _watching(as_json) as watch:
        run = run_annotation(corpus, model, asked, out=output, watch=watch, **dict(session))
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
    """At most one line per second, and always the last."""
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


# --------------------
# What `serann annotate` tells of a run at its end, as a document and in words.

# Below this mean probability of any label at all a run is not to be trusted, and says so; so with a scale's points.
LOW_MASS = 0.5
# From this share of abstentions on there is next to nothing in a run.
MOST_SILENT = 0.9
# What only some sessions record.
SOMETIMES = ("voices_matched_by",)
LISTED_REASONS = 5
SESSION = (
    "utterances",
    "failures",
    "seconds",
    "utterances_per_second",
    "model_share",
    "batch_size",
    "device",
    "corpus",
    "changed_sounds",
    "changed_transcripts",
    "not_in_corpus",
    "cut_sounds",
    "halvings",
    "remaining",
)


def summarise(run: "Run") -> dict[str, Any]:
    """The run as one JSON document; `session` is the last one's, all else of the whole run.

    `max_seconds` is None where it is the model's own.
    """
    import numpy as np

    from ...data.files import read_json
    from ..run.identity import USUALLY
    from ..run.run import panel_distribution, synthetic_counts

    session = read_json(run.path / "environment.json", what="environment record")["sessions"][-1]
    identity = run.info["identity"]
    mean = np.full(len(run.labels), np.nan)
    if run.ids:
        with np.errstate(invalid="ignore"):
            mean = np.nanmean(panel_distribution(run, run.ids), axis=0)
    log_mass = run.scores["log_mass"].to_numpy() if identity["mode"] == "exact" else []
    summary = {
        "run": str(run.path),
        "name": run.name,
        "mode": identity["mode"],
        "max_seconds": identity.get("max_seconds"),
        "too_long": identity.get("too_long", USUALLY["too_long"]),
        "control": identity.get("control"),
        "utterances": len(run.ids),
        "listeners": run.listeners.num_rows,
        "votes": int(synthetic_counts(run, run.ids).sum()),
        "abstained": run.votes["label"].null_count,
        "reasons": _reasons(run),
        "mean_distribution": dict(zip(run.labels.labels, mean.tolist(), strict=True)),
        "mean_label_mass": float(np.exp(log_mass).mean()) if len(log_mass) else None,
        "ratings": _ratings(run) if "attributes" in identity else {},
        "failures": run.failures.select(["utterance_id", "reason", "attempts"]).to_pylist(),
        "versions": run.info.get("versions", []),
        "session": {key: session[key] for key in (*SESSION, *(key for key in SOMETIMES if key in session))},
    }
    return {**summary, "warnings": _warnings(summary)}


def _reasons(run: "Run") -> dict[str, int]:
    """How many votes abstained for each reason, the most frequent first."""
    from ...data.arrow import pc

    silent = run.votes["reason"].filter(pc.is_null(run.votes["label"]))
    counts = [(row["values"], row["counts"]) for row in pc.value_counts(silent).to_pylist()]
    return dict(sorted(((reason or "no reason", count) for reason, count in counts), key=lambda row: (-row[1], row[0])))


def _ratings(run: "Run") -> dict[str, dict[str, Any]]:
    """Of each attribute: the mean rating, its scale, and the mean probability of any point (None in older runs)."""
    import numpy as np
    import pyarrow.parquet as pq

    scores = run.path / "rating_scores.parquet"
    there = [name for name in ("dimension", "log_mass") if name in pq.read_schema(scores).names]
    ratings, masses = (
        pq.read_table(run.path / "ratings.parquet", columns=["dimension", "value"]),
        pq.read_table(scores, columns=there),
    )
    dimensions = ratings["dimension"].to_numpy(zero_copy_only=False)
    values = ratings["value"].to_numpy()
    of, mass = masses["dimension"].to_numpy(zero_copy_only=False), np.full(masses.num_rows, np.nan)
    if "log_mass" in there:
        mass = np.exp(masses["log_mass"].to_numpy(zero_copy_only=False).astype(float))
    found = {}
    for name in run.info["identity"]["attributes"]:
        own, known = values[dimensions == name], mass[(of == name) & ~np.isnan(mass)]
        found[name] = {
            "mean": float(own.mean()) if len(own) else None,
            "scale": run.info["identity"]["scale"],
            "mean_mass": float(known.mean()) if len(known) else None,
        }
    return found


def _warnings(summary: dict[str, Any]) -> list[str]:
    """Why a run's numbers may be worth little."""
    found = []
    mass = summary["mean_label_mass"]
    if mass is not None and mass < LOW_MASS:
        found.append(
            "most of the probability fell on no label at all, so these distributions say little; the model may not "
            "know these labels, or this panel's question"
        )
    masses = {name: own["mean_mass"] for name, own in summary["ratings"].items()}
    low = [name for name, mass in masses.items() if mass is not None and mass < LOW_MASS]
    if low:
        found.append(
            f"most of the probability fell on no point of the scale ({', '.join(low)}), so these ratings say little; "
            "the model may not know how to rate, or this panel's question"
        )
    silent, cast = summary["abstained"], summary["abstained"] + summary["votes"]
    if silent and silent >= MOST_SILENT * cast:
        advice = (
            "the model may not answer in this form (its texts are in answers.parquet): try --mode exact, or another "
            "panel, in another run"
            if summary["mode"] != "exact"
            else "look at the reasons"
        )
        found.append(f"{silent} of {cast} votes are abstentions, so there is next to nothing in this run; {advice}")
    return found


def show(summary: dict[str, Any]) -> None:
    """The same in words on stderr, its tables on stdout."""
    from .console import note, print_table

    session = summary["session"]
    note(
        f"{summary['run']} ({summary['name']}): {summary['utterances']} utterances, {summary['listeners']} listeners, "
        f"{summary['votes']} votes" + (f", {summary['abstained']} abstentions" if summary["abstained"] else "")
    )
    for line in [*_control_lines(summary), *_session_lines(summary)]:
        note(line)
    shares = [[label, share] for label, share in summary["mean_distribution"].items()]
    print_table("Mean answer distribution", ["label", "share"], shares)
    if summary["mean_label_mass"] is not None:
        note(f"on average {summary['mean_label_mass']:.1%} of the model's probability fell on a label")
    if summary["ratings"]:
        rows = [
            [name, own["mean"], "{:g} to {:g}".format(*own["scale"]), own["mean_mass"]]
            for name, own in summary["ratings"].items()
        ]
        print_table("Mean ratings", ["attribute", "mean", "scale", "probability of any point"], rows)
    for warning in summary["warnings"]:
        note(f"warning: {warning}")
    for line in _reason_lines(summary["reasons"]):
        note(line)
    if session["remaining"]:
        note(f"\nstopped with {session['remaining']} utterances to go; the same command goes on")
    for line in _failure_lines(summary):
        note(line)


def _control_lines(summary: dict[str, Any]) -> list[str]:
    if summary["control"] is None:
        return []
    matched = summary["session"].get("voices_matched_by", {})
    by = ", ".join(f"{count} by {how}" for how, count in matched.items() if count)
    return [
        f"control {summary['control']}: nobody heard the utterances themselves" + (f" (matched: {by})" if by else "")
    ]


def _session_lines(summary: dict[str, Any]) -> list[str]:
    session = summary["session"]
    lines = [
        f"this time {session['utterances']} utterances in {session['seconds']:.1f} s "
        f"({session['utterances_per_second']:.1f}/s, the model's share {session['model_share']:.0%}, "
        f"{session['device']})"
    ]
    if not (session["utterances"] or session["failures"] or session["remaining"]):
        lines = ["nothing was left to ask"]
    told = {
        "changed_sounds": "{} sounds had changed since they were heard; their answers were replaced",
        "changed_transcripts": "{} transcripts had changed since they were read; answers to them were replaced",
        "not_in_corpus": "{} utterances of the run are no longer in the corpus; what was answered on them stays",
        "halvings": "{} batches did not fit into memory and were halved",
        "cut_sounds": {
            "windows": "{} utterances were too long and heard in windows; their answers are means over these",
            "truncate": "{} utterances were too long, and only their beginning was heard",
        }.get(summary["too_long"], "{}"),
    }
    lines += [words.format(session[key]) for key, words in told.items() if session[key]]
    if len(summary["versions"]) > 1:
        lines.append(f"the answers were given under {len(summary['versions'])} sets of versions (see run.json)")
    return lines


def _reason_lines(reasons: dict[str, int]) -> list[str]:
    if not reasons:
        return []
    lines = [f"  {count} times: {reason}" for reason, count in list(reasons.items())[:LISTED_REASONS]]
    more = len(reasons) - LISTED_REASONS
    return ["abstained:", *lines, *([f"  … and for {more} more reasons (see votes.parquet)"] if more > 0 else [])]


def _failure_lines(summary: dict[str, Any]) -> list[str]:
    from ...data.errors import failures_in_words

    failures, corpus = summary["failures"], summary["session"]["corpus"]
    if not failures:
        return []
    lines = [f"\n{len(failures)} utterances of {corpus} failed (the same command tries each at most 3 times):"]
    failed = ((failure["utterance_id"], failure["reason"]) for failure in failures)
    lines += [f"  {line}" for line in failures_in_words(failed, table=f"{summary['run']}/failures.parquet")]
    if any(" is too long: " in failure["reason"] for failure in failures):
        lines.append("utterances that are too long can be cut, in another run: --too-long truncate, or windows")
    return lines
