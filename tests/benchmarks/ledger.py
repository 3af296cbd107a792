"""What the ledger costs: overhead beside a model of 1,000 utterances per second, resuming a million rows, memory.

    python tests/benchmarks/ledger.py [--json] [--utterances N] [--rows N]

Overhead: a scripted model that needs 1 ms an utterance is fed the same decoded batches twice, with and without what
makes them durable (records, checks, syncs, counting); arms interleaved, medians. Whole: `annotate` from start to end,
minus the model's own time. Resume: a run of `--rows` score rows (50,000 utterances, 20 listeners, 20 votes) of which
the last batches were lost; the time to open it, find what is missing, ask that and write every table again; and the
time of a call that finds nothing to do. Memory: the growth of the process from a tenth of a run to its end.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
from serann.annotator.engines.base import EngineSpec, Scores
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.panel.panel import ListeningPanel
from serann.annotator.run import annotate as module
from serann.annotator.run.annotate import annotate
from serann.annotator.run.ledger import Ledger
from serann.annotator.run.segments import Unit
from serann.annotator.run.tables import read_results
from serann.annotator.sounds.hearing import Sound
from serann.data.corpus import write_corpus
from serann.data.labels import LABEL_SETS
from serann.data.tables import UTTERANCES, VOTES, from_rows
from serann.prompts.loader import load_panel

LABELS = LABEL_SETS["msp9"]
BATCH = 8


class Timed(ScriptedEngine):
    """Needs `seconds` an utterance, and answers anything."""

    def __init__(self, seconds: float):
        super().__init__(EngineSpec("scripted", "scripted"))
        self.seconds, self.busy = seconds, 0.0

    def score(self, sounds, questions):
        clock = time.perf_counter()
        rng = np.random.default_rng(len(sounds[0]))
        rows = [Scores(np.log(0.9 * rng.dirichlet(np.ones(len(LABELS)), len(asked)))) for asked in questions]
        time.sleep(max(0.0, self.seconds * len(sounds) - (time.perf_counter() - clock)))
        self.busy += time.perf_counter() - clock
        return rows


Timed.__name__ = "ScriptedEngine"


def corpus_of(path: Path, utterances: int):
    """Many utterances of a few sounds."""

    def sounds(folder: Path) -> None:
        for i in range(16):
            soundfile.write(folder / f"{i}.wav", np.full(4000 + 100 * i, 0.1), 16000)

    rows = [
        {
            "utterance_id": f"u{i:06d}",
            "audio": f"{i % 16}.wav",
            "duration": 0.25 + 0.00625 * (i % 16),
            "split": "train",
            "transcript": "where is it",
        }
        for i in range(utterances)
    ]
    votes = from_rows([], VOTES, labels=LABELS)
    return write_corpus(
        path,
        name="simulated",
        labels=LABELS,
        utterances=from_rows(rows, UTTERANCES),
        votes=votes,
        licence="CC0",
        provenance={},
        simulated=True,
        extra=sounds,
    )


def overhead(place: Path, utterances: int) -> dict[str, float]:
    """Seconds a run of batches takes with the ledger over without it, model of 1 ms an utterance."""
    ids = [f"u{i:06d}" for i in range(utterances)]
    logp = np.log(np.full((BATCH, 5, 9), 1 / 9, dtype=np.float32))
    mass = np.zeros((BATCH, 5), dtype=np.float32)
    info = {"format": 1, "run": "benchmark", "identity": {}, "votes": 20}

    def model() -> None:
        time.sleep(0.001 * BATCH)

    def bare() -> tuple[float, float]:
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(0, utterances, BATCH):
            model()
        return time.perf_counter() - clock, time.process_time() - cpu

    def durable(trial: int) -> tuple[float, float]:
        with Ledger(place / f"{trial}", lambda former: dict(info), labels=9, raters="abcde") as ledger:
            batches = ledger.plan([ids[start : start + BATCH] for start in range(0, utterances, BATCH)])
            clock, cpu = time.perf_counter(), time.process_time()
            for batch in batches:
                model()
                sounds = {utterance: Sound("sha256:" + "0" * 64, 8000, 1) for utterance in batch.ids}
                size = len(batch.ids)
                ledger.finish(Unit(batch.key, batch.ids, logp[:size], mass[:size], sounds=sounds))
            ledger.flush()
            return time.perf_counter() - clock, time.process_time() - cpu

    bare()
    pairs = [(durable(trial), bare()) for trial in range(5)]
    return {
        "overhead": statistics.median(with_it[0] / without[0] for with_it, without in pairs) - 1,
        # What the ledger itself computes: a busy machine disturbs this less.
        "overhead_cpu": statistics.median((with_it[1] - without[1]) / without[0] for with_it, without in pairs),
        "utterances": utterances,
    }


def whole(place: Path, utterances: int) -> dict[str, float]:
    """`annotate` at 1,000 utterances per second: rate, and its share beyond the model's own time."""
    corpus, engine = corpus_of(place / "corpus", utterances), Timed(0.001)
    peaks: list[tuple[int, int]] = []
    clock = time.perf_counter()
    run = annotate(
        corpus,
        "scripted",
        out=place / "run",
        engine=engine,
        batch_size=BATCH,
        selfcheck=False,
        watch=lambda status: peaks.append((status.done, memory_now())),
    )
    seconds = time.perf_counter() - clock
    session = json.loads((run.path / "environment.json").read_text())["sessions"][-1]
    tenth = next(peak for done, peak in peaks if done >= utterances / 10)
    return {
        "seconds": seconds,
        "asking_seconds": session["seconds"],
        "model_seconds": engine.busy,
        "model_share": session["model_share"],
        "grown_mb": (peaks[-1][1] - tenth) / 1e6,
    }


def resumed(place: Path, rows: int) -> dict[str, float]:
    """A run of so many rows: a call that has a last batch to ask, and one that has nothing to do."""
    listening = ListeningPanel(load_panel("crossed"), LABELS)
    utterances = rows // len(listening.listeners)
    corpus = corpus_of(place / "many", utterances)
    module.FROM_UTTERANCES = 10**9
    clock = time.perf_counter()
    annotate(corpus, "scripted", out=place / "million", engine=Timed(0), batch_size=64, limit=utterances - 64)
    made = time.perf_counter() - clock
    times = {}
    for name in ("last_batch", "nothing"):
        clock = time.perf_counter()
        run = annotate(corpus, "scripted", out=place / "million", engine=Timed(0), batch_size=64)
        times[name] = time.perf_counter() - clock
    assert run.scores.num_rows == utterances * len(listening.listeners)
    clock = time.perf_counter()
    with Ledger(
        place / "million",
        lambda former: dict(former or {}),
        labels=len(LABELS),
        raters=[item.rater for item in listening.raters],
        read=lambda results: read_results(place / "million", listening, results),
    ):
        opened = time.perf_counter() - clock
    rows_there = run.scores.num_rows + run.votes.num_rows
    return {"rows": rows_there, "made": made, "opened": opened, **times, "peak_mb": peak_mb()}


def memory_now() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--utterances", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = {
            "ledger": overhead(Path(place) / "ledgers", options.utterances),
            "whole": whole(Path(place), options.utterances),
            "resume": resumed(Path(place), options.rows),
            "threads_left": threading.active_count() - 1,
        }
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    for part, figures in found.items():
        print(part, figures)


if __name__ == "__main__":
    main()
