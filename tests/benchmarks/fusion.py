"""The default fusion over a million simulated utterances of nine labels: time, memory, and what part is linear.

    python tests/benchmarks/fusion.py [--json] [--utterances N]

Models are fitted to a seeded subsample of 100,000 utterances and applied to all; the ratio is the time of all over that
of a tenth of them, which is below 10 because fitting costs the same. Exit code 1 if it is above 10.
"""

import argparse
import json
import resource
import sys
import time

import numpy as np
from serann.annotator.fusion import Evidence, blend_by
from serann.annotator.fusion.cross_fit import MOST_ROWS
from serann.annotator.proxies import Panel
from serann.data.labels import LabelSet

LABELS = LabelSet("nine", tuple("abcdefghi"))
MOST = 10.0


def simulated(rows: int, seed: int = 0) -> Evidence:
    """Three seen votes per utterance and a run's exact distributions, 500 speakers."""
    rng = np.random.default_rng(seed)
    kinds = 0.3 + 8 * np.eye(9) + 3 * np.roll(np.eye(9), 1, axis=1)
    mass = rng.standard_gamma(kinds[rng.integers(0, 9, rows)])
    truth = mass / mass.sum(axis=1, keepdims=True)
    said = rng.standard_gamma(10 * truth + 0.3)
    speaker = np.arange(rows) % 500
    return Evidence(
        ids=tuple(map(str, range(rows))),
        labels=LABELS,
        seen=rng.multinomial(3, truth).astype(float),
        train=np.ones(rows, bool),
        speakers=np.array([f"s{i}" for i in range(500)], dtype=object)[speaker],
        genders=np.array(["female", "male"], dtype=object)[speaker % 2],
        runs=(Panel("run", said / said.sum(axis=1, keepdims=True), np.zeros((rows, 9))),),
    )


def timed(rows: int) -> tuple[float, float]:
    """Seconds on the clock, and of all processors together (which other programs leave alone)."""
    evidence = simulated(rows)
    start, used = time.perf_counter(), time.process_time()
    blend_by("auto", evidence)
    return time.perf_counter() - start, time.process_time() - used


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--utterances", type=int, default=1_000_000)
    given = parser.parse_args()
    tenth, _ = timed(given.utterances // 10)
    whole, cpu = timed(given.utterances)
    found = {
        "utterances": given.utterances,
        "fitted_to": MOST_ROWS,
        "seconds": whole,
        "cpu_seconds": cpu,
        "seconds_of_a_tenth": tenth,
        "ratio": whole / tenth,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    print(json.dumps(found) if given.json else "\n".join(f"{k}: {v:.4g}" for k, v in found.items()))
    return int(found["ratio"] > MOST)


if __name__ == "__main__":
    sys.exit(main())
