"""What an audit costs: utterances with 5 human votes each against a run's 20 synthetic ones, simulated, from disk.

    OMP_NUM_THREADS=2 python tests/benchmarks/audit.py [--json] [--rows 100000 1000000] [--repeats N]

A row is an utterance: six labels, votes of 2,000 raters, 1,000 speakers; the run has four listeners' exact
distributions and five votes of each. Two votes are seen, so three are scored. Making the data is not timed. Each size
is audited twice, each time in a process of its own:

- points: alignment with 1,000 resamples of speakers, and effective votes (`lay_ground`, `measure`, `of_panels`)
- audit: the whole of `audit()`, with agreement, single votes, saturation, failures and sensitivity

`open` reads and checks corpus and run before either. Seconds by the clock and by the processor, and the process's peak
of memory, in GB of 10^9 bytes, after opening and at the end. `ratio` is the largest size's time over the smallest
one's, for `rows_ratio` times the rows; all by medians. Exit code 1 if ten times the rows take the points more than 11
times the time; the aims (90 s, 4 GB) are said to be met or not.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from serann.annotator.audit import audit, variants
from serann.annotator.audit.panel_result import lay_ground, measure
from serann.annotator.audit.scorer import build_reference
from serann.annotator.proxies import line_up
from serann.annotator.run.run import Run, open_run
from serann.data.corpus import Corpus, open_corpus, write_corpus
from serann.data.files import write_json
from serann.data.holdout import divide_votes, write_division
from serann.data.labels import LABEL_SETS
from serann.data.tables import (
    FAILURES,
    LISTENERS,
    SCORES,
    UTTERANCES,
    VOTES,
    distribution_column,
    from_rows,
    validate,
    write_table,
)

LABELS = LABEL_SETS["demo6"]
SPEAKERS, RATERS, HUMAN, SEEN = 1000, 2000, 5, 2
LISTENERS_NAMED = ("voice", "words", "both", "scene")
EACH = 5
SECONDS, GIGABYTES, MOST = 90.0, 4.0, 11.0
WHAT = ("points", "audit")


def synthesise(folder: Path, rows: int) -> None:
    """Write a divided corpus and a run of so many utterances."""
    rng = np.random.default_rng(rows)
    kinds = 0.25 + 5 * np.eye(len(LABELS)) + 2 * np.roll(np.eye(len(LABELS)), 1, axis=1)
    mass = rng.standard_gamma(kinds[rng.integers(0, len(LABELS), rows)]) + 1e-9
    truth = mass / mass.sum(axis=1, keepdims=True)
    ids = pa.array([f"utterance_{i:07d}" for i in range(rows)])
    _write_corpus(folder / "corpus", ids, truth, rng)
    _write_run(folder / "run", ids, truth, rng)


def _drawn(p: np.ndarray, n: int, rng: np.random.Generator) -> pa.Array:
    """n labels of each row, one after another, as texts [U * n]."""
    below = np.cumsum(p, axis=1)
    codes = np.zeros((len(p), n), dtype=np.int32)
    u = rng.random((len(p), n))
    for label in range(p.shape[1] - 1):
        codes += u >= below[:, label, None]
    return pa.array(LABELS.labels).take(pa.array(codes.ravel()))


def _write_corpus(path: Path, ids: pa.Array, truth: np.ndarray, rng: np.random.Generator) -> None:
    rows = len(ids)
    speaker = np.arange(rows) % SPEAKERS
    utterances = pa.table(
        {
            "utterance_id": ids,
            "duration": rng.uniform(1, 12, rows),
            "speaker": pa.array([f"speaker {s}" for s in range(SPEAKERS)]).take(pa.array(speaker)),
            "gender": pa.array(["female", "male"]).take(pa.array(speaker % 2)),
            "split": pa.repeat(pa.scalar("train"), rows),
            "transcript": pa.array(["what", "was", "said"]).take(pa.array(rng.integers(0, 3, rows))),
        }
    )
    # five raters of an utterance, none of them twice
    raters = (rng.integers(0, RATERS, rows)[:, None] + np.arange(HUMAN) * 17) % RATERS
    votes = pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(np.arange(rows), HUMAN))),
            "rater_id": pa.array([f"rater {r}" for r in range(RATERS)]).take(pa.array(raters.ravel())),
            "label": _drawn(truth, HUMAN, rng),
        }
    )
    corpus = write_corpus(
        path,
        name="simulated",
        labels=LABELS,
        utterances=validate(utterances, UTTERANCES),
        votes=validate(votes, VOTES, labels=LABELS),
        licence="CC0-1.0",
        provenance={"made by": "tests/benchmarks/audit.py"},
        simulated=True,
    )
    write_division(corpus, divide_votes(corpus, seen=SEEN), None)


def _write_run(path: Path, ids: pa.Array, truth: np.ndarray, rng: np.random.Generator) -> None:
    """Listeners that scatter about a panel which hears half of the truth, and votes dealt to them."""
    path.mkdir()
    rows, size = len(ids), len(LISTENERS_NAMED)
    heard = 0.5 * truth + 0.5 * truth.mean(axis=0)
    p = np.empty((rows, size, len(LABELS)), dtype=np.float32)
    for listener in range(size):
        scattered = heard * np.exp(rng.normal(0, 0.3, heard.shape))
        p[:, listener] = scattered / scattered.sum(axis=1, keepdims=True)
    flat, of = p.reshape(-1, len(LABELS)), pa.array(np.repeat(np.arange(rows), size))
    names = pa.array(LISTENERS_NAMED)
    scores = pa.table(
        {
            "utterance_id": ids.take(of),
            "listener": names.take(pa.array(np.tile(np.arange(size), rows))),
            "p": distribution_column(flat, kind=pa.float32()),
            "logp": distribution_column(np.log(flat), kind=pa.float32()),
            "log_mass": np.full(len(flat), -0.01, dtype=np.float32),
        }
    )
    write_table(scores, path / "scores.parquet", SCORES, labels=LABELS)
    votes = pa.table(
        {
            "utterance_id": ids.take(pa.array(np.repeat(np.arange(rows), size * EACH))),
            "rater_id": names.take(pa.array(np.tile(np.repeat(np.arange(size), EACH), rows))),
            "source": pa.repeat(pa.scalar("synthetic"), rows * size * EACH),
            "draw": pa.array(np.tile(np.arange(EACH, dtype=np.int32), rows * size)),
            "label": _drawn(flat, EACH, rng),
            "run": pa.repeat(pa.scalar("simulated/run"), rows * size * EACH),
        }
    )
    write_table(votes, path / "votes.parquet", VOTES, labels=LABELS)
    write_table(
        from_rows([_listener(name) for name in LISTENERS_NAMED], LISTENERS), path / "listeners.parquet", LISTENERS
    )
    write_table(from_rows([], FAILURES), path / "failures.parquet", FAILURES)
    identity = {"corpus": "simulated", "labels": list(LABELS), "model": "simulated", "mode": "exact", "panel": "four"}
    described = {"format": 1, "run": "simulated/run", "identity": identity, "votes": size * EACH}
    write_json(path / "run.json", {**described, "labels": LABELS.to_json()})


def _listener(name: str) -> dict[str, object]:
    described = {"panel": "four", "prompt": name, "form": "label", "focus": name, "temperature": 1.0}
    return {**described, "listener": name, "order": list(LABELS), "prompt_fingerprint": "sha256:0", "rater": name}


def points(corpus: Corpus, run: Run) -> None:
    """Alignment and effective votes of the run: what `audit` does before it looks into details."""
    reference = build_reference(corpus)
    (panel,) = line_up([run], corpus, "audit", ids=reference.ids, m=reference.m)
    ground = lay_ground(reference, corpus, draws=None, level=0.95, step=lambda: None)
    measure(ground, panel.part(panel.covers, reference.folds), run, lacking=~panel.covers, margin=0.1)
    fit = ground.fit
    variants.of_panels(ground.scorer, [panel], constant=fit.constant, people=fit.people, points=ground.points)


def measured(folder: Path, what: str) -> dict[str, float]:
    """Open corpus and run in this process, and audit them."""
    start = time.perf_counter(), time.process_time()
    corpus, run = open_corpus(folder / "corpus"), open_run(folder / "run")
    opened, opened_gb = (time.perf_counter(), time.process_time()), _peak()
    points(corpus, run) if what == "points" else audit(corpus, [run])
    done = time.perf_counter(), time.process_time()
    return {
        "open_seconds": opened[0] - start[0],
        "open_cpu_seconds": opened[1] - start[1],
        "open_gb": opened_gb,
        f"{what}_seconds": done[0] - opened[0],
        f"{what}_cpu_seconds": done[1] - opened[1],
        f"{what}_gb": _peak(),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def repeated(rows: int, repeats: int) -> dict[str, float]:
    """Make the data once, in a process of its own, and audit it `repeats` times either way; medians."""
    with tempfile.TemporaryDirectory() as place:
        _child("--make", place, "--rows", str(rows))
        found: dict[str, list[float]] = {}
        for what in WHAT * repeats:
            for name, value in json.loads(_child("--measure", place, "--what", what)).items():
                found.setdefault(name, []).append(value)
    return {"utterances": rows, **{name: statistics.median(values) for name, values in found.items()}}


def _child(*arguments: str) -> str:
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def compared(sizes: list[dict[str, float]]) -> dict[str, Any]:
    """The sizes, their ratios, and whether the aims are met by the largest."""
    first, last = sizes[0], sizes[-1]
    names = [f"{what}_{kind}" for what in WHAT for kind in ("seconds", "cpu_seconds")]
    ratios = {name: last[name] / first[name] for name in names}
    rows_ratio = last["utterances"] / first["utterances"]
    aims = {
        f"points in {SECONDS:g} s": last["points_seconds"] <= SECONDS,
        f"points with opening in {SECONDS:g} s": last["open_seconds"] + last["points_seconds"] <= SECONDS,
        f"points in {GIGABYTES:g} GB": last["points_gb"] <= GIGABYTES,
    }
    linear = ratios["points_seconds"] <= MOST / 10 * rows_ratio
    return {"sizes": sizes, "rows_ratio": rows_ratio, "ratios": ratios, "aims": aims, "linear": linear}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=WHAT, default=WHAT[0], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        synthesise(options.make, options.rows[0])
        return 0
    if options.measure:
        print(json.dumps(measured(options.measure, options.what)))
        return 0
    found = compared([repeated(rows, options.repeats) for rows in sorted(options.rows)])
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for size in found["sizes"]:
            print(", ".join(f"{name} {value:,.4g}" for name, value in size.items()))
        print(f"{found['rows_ratio']:g} times the rows:", ", ".join(f"{k} {v:.2f}" for k, v in found["ratios"].items()))
        print("; ".join(f"{aim}: {'met' if met else 'missed'}" for aim, met in found["aims"].items()))
    return int(not found["linear"])


if __name__ == "__main__":
    sys.exit(main())
