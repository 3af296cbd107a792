"""Proof that two trees do the same: every command's output and files, recorded with one and compared with the other.

    python tools/golden.py record --tree CHECKOUT -o OLD
    python tools/golden.py compare OLD NEW
    python tools/golden.py compare --old COMMIT

`record` runs the steps of golden_steps.py with the code of a checkout (a copy of it, so that nothing changes
meanwhile); `compare` lists what differs and exits with 1, or says that nothing does. `compare --old` records a commit
and this checkout first. A record belongs to the machine that it was made on.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from golden_compare import compare
from golden_record import record

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    asked = _arguments()
    if asked.command == "record":
        steps = record(asked.tree, asked.output, only=asked.only, jobs=asked.jobs)
        print(f"{steps} steps recorded in {asked.output}")
    elif asked.old:
        with tempfile.TemporaryDirectory() as folder:
            old, new = _both(asked.old, Path(folder), asked.only, asked.jobs)
            sys.exit(tell(old, new, asked.only))
    elif len(asked.records) == 2:
        old, new = asked.records
        sys.exit(tell(old, new, asked.only))
    else:
        sys.exit("compare takes two records, or --old COMMIT")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run every step with the code of a checkout")
    recording.add_argument("--tree", type=Path, default=ROOT, help="the checkout; by default this one")
    recording.add_argument("-o", "--output", type=Path, required=True, help="the record's folder, made anew")
    comparing = commands.add_parser("compare", help="compare two records")
    comparing.add_argument("records", type=Path, nargs="*", help="the old record and the new one")
    comparing.add_argument("--old", help="a commit: record it and this checkout first")
    for command in (recording, comparing):
        command.add_argument(
            "--only", default="", help="only scenes (compare: steps) with one of these words, by commas, in their name"
        )
        command.add_argument("--jobs", type=int, default=2, help="steps at a time")
    return parser.parse_args()


def _both(commit: str, folder: Path, only: str, jobs: int) -> tuple[Path, Path]:
    """Record the files of a commit, and this checkout."""
    found = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder / "tree", filter="data")
    record(folder / "tree", folder / "old", only=only, jobs=jobs)
    record(ROOT, folder / "new", only=only, jobs=jobs)
    return folder / "old", folder / "new"


def tell(old: Path, new: Path, only: str) -> int:
    """Print the differences, those of a step under its command; return the exit code."""
    for path in (old, new):
        if not (path / "record.json").exists():
            sys.exit(f"{path} is no record; make one with: golden.py record --tree CHECKOUT -o {path}")
        if not json.loads((path / "record.json").read_text())["finished"]:
            sys.exit(f"{path} is a record that was not finished; record it again")
    found, steps, files = compare(old, new, only=only)
    last = ""
    for difference in found:
        if difference.step != last:
            print(difference.step)
        print(f"  {difference.file}: {difference.what}")
        last = difference.step
    told = f"{len(found)} differences" if found else "no difference"
    print(f"{steps} steps, {files} files: {told}")
    return 1 if found else 0


if __name__ == "__main__":
    main()
