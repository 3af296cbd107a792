"""What importing costs: MSP-Podcast 2.0's detailed format, synthesised, to Parquet and to distributions.

    python tests/benchmarks/import_msp.py [--json] [--rows 100000 1000000] [--repeats N]

A row is one rater's answer: a primary emotion (one in fifty with words of its own), none to three secondary ones,
three attributes; five answers per utterance, about 14,000 raters. One row in a thousand is given twice. Each size is
imported in a process of its own: `import` is `import_corpus`, from the files to a corpus on disk that was opened and
checked; `policies` turns its votes into distributions, primary and merged; seconds by the clock and by the processor,
and the process's peak of memory. `ratio` is the largest size's time over the smallest one's, for `rows_ratio` times
the rows; all by medians.
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

import numpy as np

PRIMARY = ("Neutral", "Happy", "Angry", "Sad", "Fear", "Disgust", "Contempt", "Surprise")
SECONDARY = (
    *("Angry", "Frustrated", "Annoyed", "Disappointed", "Sad", "Disgust", "Depressed", "Contempt"),
    *("Confused", "Concerned", "Fear", "Neutral", "Surprise", "Amused", "Excited", "Happy"),
)
ANSWERS_EACH = 5
RATERS = 14_000
POLICIES = ("primary", "merged")


def synthesise(folder: Path, rows: int) -> None:
    """Write a release of so many answers."""
    rng = np.random.default_rng(rows)
    labels = folder / "Labels"
    labels.mkdir(parents=True)
    files = [f"MSP-PODCAST_{i // 1000:04d}_{i % 1000:04d}.wav" for i in range(-(-rows // ANSWERS_EACH))]
    consensus = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    for i, name in enumerate(files):
        speaker = "Unknown" if i % 10 == 0 else str(i // 70)
        split = ("Train", "Train", "Train", "Development", "Test1")[i // 70 % 5]
        consensus.append(
            f"{name},{'NHASFDCUOX'[i % 10]},4.2,3.8,4.0,{speaker},{('Female', 'Male')[i // 70 % 2]},{split}"
        )
    (labels / "labels_consensus.csv").write_text("\n".join(consensus) + "\n")
    lists = [_list(rng.choice(SECONDARY, n % 4, replace=False)) for n in range(800)]
    primary, listed = rng.integers(0, len(PRIMARY), rows), rng.integers(0, len(lists), rows)
    raters, vad = rng.integers(0, RATERS, rows), rng.integers(1, 8, (rows, 3))
    own_words = rng.integers(0, 50, rows) == 0
    with (labels / "labels_detailed.csv").open("w") as file:
        file.write("FileName,WorkerID,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom\n")
        answers = zip(primary.tolist(), listed.tolist(), raters.tolist(), vad.tolist(), own_words.tolist(), strict=True)
        former = ""
        for i, (chosen, also, rater, (act, val, dom), own) in enumerate(answers):
            word = f"Other-word {i}" if own else PRIMARY[chosen]
            line = f"{files[i // ANSWERS_EACH]},WORKER{rater:08d},{word},{lists[also]},{act},{val},{dom}\n"
            file.write(former if i % 1000 == 999 else line)
            former = line


def _list(words) -> str:
    return f'"{",".join(words)}"' if len(words) > 1 else "".join(words)


def measure(folder: Path) -> dict[str, float]:
    """Import the release in this process, and apply two policies to its votes."""
    from serann.data.importing import import_corpus
    from serann.data.policies import distributions

    start = time.perf_counter(), time.process_time()
    corpus, report = import_corpus("msp-podcast", folder, folder / "corpus")
    imported = time.perf_counter(), time.process_time()
    rows = [distributions(corpus.votes, corpus.ids, corpus.labels, policy=policy).p for policy in POLICIES]
    done = time.perf_counter(), time.process_time()
    return {
        "utterances": len(corpus.ids),
        "with_votes": int((~np.isnan(rows[0][:, 0])).sum()),
        "votes": report.votes_kept,
        "ratings": corpus.ratings.num_rows if corpus.ratings else 0,
        "problems": report.problems,
        "import_seconds": imported[0] - start[0],
        "import_cpu_seconds": imported[1] - start[1],
        "policies_seconds": done[0] - imported[0],
        "policies_cpu_seconds": done[1] - imported[1],
        "seconds": done[0] - start[0],
        "cpu_seconds": done[1] - start[1],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def repeated(rows: int, repeats: int) -> dict[str, float]:
    """Synthesise once, import `repeats` times, each in a new process; medians."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "release"
        synthesise(folder, rows)
        call = [sys.executable, __file__, "--measure", str(folder)]
        found = []
        for _ in range(repeats):
            found.append(json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout))
            subprocess.run(["rm", "-r", str(folder / "corpus")], check=True)
    return {"rows": rows, **{name: statistics.median(one[name] for one in found) for name in found[0]}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    sizes = [repeated(rows, options.repeats) for rows in sorted(options.rows)]
    found = {
        "sizes": sizes,
        "rows_ratio": sizes[-1]["rows"] / sizes[0]["rows"],
        "ratio": sizes[-1]["seconds"] / sizes[0]["seconds"],
        "cpu_ratio": sizes[-1]["cpu_seconds"] / sizes[0]["cpu_seconds"],
    }
    if options.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return
    for size in sizes:
        print(", ".join(f"{name} {value:,.4g}" for name, value in size.items()))
    print(f"{found['rows_ratio']:g} times the rows: {found['ratio']:.2f} times the time ({found['cpu_ratio']:.2f} CPU)")


if __name__ == "__main__":
    main()
