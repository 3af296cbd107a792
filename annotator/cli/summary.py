"""What `serann annotate` tells of a run at its end, as a document and in words."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..run.run import Run

# Below this mean probability of any label at all a run is not to be trusted, and says so; so with a scale's points.
LOW_MASS = 0.5
# From this share of abstentions on there is next to nothing in a run.
MOST_SILENT = 0.9
# What only some sessions record.
SOMETIMES = ("voices_matched_by",)
LISTED_FAILURES = 20
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
    failures, corpus = summary["failures"], summary["session"]["corpus"]
    if not failures:
        return []
    lines = [f"\n{len(failures)} utterances of {corpus} failed (the same command tries each at most 3 times):"]
    lines += [f"  {failure['utterance_id']}: {failure['reason']}" for failure in failures[:LISTED_FAILURES]]
    if len(failures) > LISTED_FAILURES:
        where = Path(summary["run"]) / "failures.parquet"
        lines.append(f"  … and {len(failures) - LISTED_FAILURES} more (all are in {where})")
    if any(" is too long: " in failure["reason"] for failure in failures):
        lines.append("utterances that are too long can be cut, in another run: --too-long truncate, or windows")
    return lines
