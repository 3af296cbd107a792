"""The alternative annotator test from arrays, and a lean plain-Python loop of the same beside it, in one run.

    python tests/benchmarks/alt_test.py [--json] [--items N] [--raters N] [--labels N]

Both get the same labels, the loop as lists; both give each rater's mean d, advantage and p. Processor time, the best of
interleaved rounds; the ratio is the loop's over the arrays'. Exit code 1 if it is below 15 at the default size.
"""

import argparse
import json
import math
import sys
import time

import numpy as np
from scipy.special import stdtr
from serann.annotator.audit.alt_test import alt_test

LEAST = 15


def lean_loop(humans: list[list[int]], model: list[int], epsilon: float) -> list[tuple[float, float, float]]:
    """(mean d, advantage, p) of each rater, every item rated by all: the paper's procedure and nothing else."""
    raters = range(len(humans[0]))
    better, worse = [0] * len(raters), [0] * len(raters)
    for row, said in zip(humans, model, strict=True):
        for j in raters:
            others = row[:j] + row[j + 1 :]
            theirs, own = others.count(said), others.count(row[j])
            if theirs > own:
                better[j] += 1
            elif theirs < own:
                worse[j] += 1
    found, n = [], len(humans)
    for up, down in zip(better, worse, strict=True):
        mean = (down - up) / n
        error = math.sqrt((up + down - n * mean**2) / (n - 1) / n)
        found.append((mean, 1 - down / n, float(stdtr(n - 1, (mean - epsilon) / error))))
    return found


def measure(items: int, raters: int, labels: int, *, rounds: int = 5) -> dict[str, float]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, labels, items)
    table = np.where(rng.random((items, raters)) < 0.6, truth[:, None], rng.integers(0, labels, (items, raters)))
    model = np.where(rng.random(items) < 0.7, truth, rng.integers(0, labels, items))
    rows, said = table.tolist(), model.tolist()
    arrays, loop = math.inf, math.inf
    for _ in range(rounds):
        clock = time.process_time()
        naive = lean_loop(rows, said, 0.1)
        loop = min(loop, time.process_time() - clock)
        for _ in range(10):
            clock = time.process_time()
            found = alt_test(table, model, epsilon=0.1)
            arrays = min(arrays, time.process_time() - clock)
    for one, row in zip(naive, found.raters, strict=True):
        expected = np.array([row.difference, row.advantage, row.p], dtype=float)
        np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12)
    return {"items": items, "raters": raters, "loop_ms": 1e3 * loop, "arrays_ms": 1e3 * arrays, "ratio": loop / arrays}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--raters", type=int, default=10)
    parser.add_argument("--labels", type=int, default=6)
    options = parser.parse_args()
    found = measure(options.items, options.raters, options.labels)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"loop {found['loop_ms']:.1f} ms, arrays {found['arrays_ms']:.2f} ms: {found['ratio']:.0f} times as fast")
    return 0 if found["ratio"] >= LEAST or (options.items, options.raters) != (10_000, 10) else 1


if __name__ == "__main__":
    sys.exit(main())
