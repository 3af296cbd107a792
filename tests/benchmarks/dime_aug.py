"""DiME-Aug in both forms: seconds of audio written per second of one core, reading, perturbing and writing included.

    python tests/benchmarks/dime_aug.py [--json] [--repeats N]

The embedded corpus is grown until every label has nine tenths of the largest one's mass. Forms are interleaved, figures
are medians, and processor time is what counts, so that busy neighbours do not. Exit code 1 below 20 times real time.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus

FORMS = ("serann", "paper")
LEAST = 20.0


def speed(form: str, place: Path) -> tuple[float, float]:
    """Seconds of audio written, and how many times faster than they play."""
    start = time.process_time()
    fused = fuse(open_corpus("demo"), strategy="dime-aug", dime=form, blend="human", rho=0.9, out=place)
    spent = time.process_time() - start
    rows = fused.corpus.utterances.select(["parents", "duration"]).to_pylist()
    written = sum(row["duration"] for row in rows if row["parents"])
    return written, written / spent


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    with tempfile.TemporaryDirectory() as folder:
        speed("serann", Path(folder) / "warm")  # imports and compiled filters are not what is measured
        for repeat in range(given.repeats):
            for form in FORMS:
                found[form].append(speed(form, Path(folder) / f"{form}-{repeat}"))
    table = {
        form: {
            "seconds_written": round(runs[0][0], 1),
            "times_real_time": round(statistics.median(x for _, x in runs), 1),
        }
        for form, runs in found.items()
    }
    print(json.dumps(table) if given.json else "\n".join(f"{form}: {row}" for form, row in table.items()))
    return int(min(row["times_real_time"] for row in table.values()) < LEAST)


if __name__ == "__main__":
    sys.exit(main())
