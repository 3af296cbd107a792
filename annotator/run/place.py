"""The folder of a run: what lies where, who holds it, and what a new run may be made in.

RUN/run.json            identity, options, and the plan: the batches that are still to be asked, in their company
RUN/segments/           finished units that are not yet in the tables (`segments.py`)
RUN/*.parquet           the tables, replaced together (`commit.py`)
RUN/.ledger/            what the tables do not say (`write_tables.py`), and the tables while they are being made
"""

import shutil
from pathlib import Path
from typing import IO, Any

from ...data.errors import OutputError, RunError
from ...data.files import read_json

FORMAT = 1
RUN_FILE = "run.json"
LOCK = ".lock"
SEGMENTS = "segments"
STATE = ".ledger"

Info = dict[str, Any]


def check_place(path: Path) -> Info | None:
    """The `run.json` of the run at `path`, or None if a new run may be made there.

    Raises `OutputError` if something else is there, `RunError` if the run was made by a newer serann.
    """
    if path.is_dir():
        if is_run(path):
            return read_run_file(path)
        # A run that was killed before its run.json was whole leaves these.
        left = (LOCK, STATE, SEGMENTS)
        if any(entry.name not in left and not _is_partial(entry) for entry in path.iterdir()):
            raise OutputError(f"{path} exists and holds something that is not a run; choose another output folder")
    elif path.exists():
        raise OutputError(f"{path} is a file; expected a folder for the run, or a name that is free")
    return None


def is_run(path: Path) -> bool:
    """Whether a run lies at `path`."""
    return (path / RUN_FILE).is_file()


def read_run_file(path: Path) -> Info:
    """The `run.json` of the run at `path`; `RunError` if a newer serann made it."""
    info = read_json(path / RUN_FILE, what="run")
    if info.get("format", 0) > FORMAT:
        raise RunError(
            f"{path} was made by a newer serann (run format {info['format']}, this one reads up to {FORMAT}); "
            "upgrade serann"
        )
    return info


def lock(path: Path) -> IO[str]:
    """Hold the run's lock until the file is closed; the system drops it when a process dies, so it never goes stale.

    `OutputError` while another process holds it.
    """
    held = (path / LOCK).open("w")
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return held
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise OutputError(f"{path} is being written by another serann annotate; wait for it to end") from None
    return held


def remove_run(path: Path) -> None:
    """Remove a run that is to be replaced; `OutputError` while another process writes it."""
    with lock(path):
        shutil.rmtree(path)


def clear_partial_files(path: Path) -> None:
    """Remove the half-written files that a kill left."""
    for folder in (path, path / STATE):
        for entry in filter(_is_partial, list(folder.iterdir())):
            entry.unlink()


def _is_partial(path: Path) -> bool:
    """Whether a kill left this half-written file of `data.files.atomic_file`."""
    return path.name.startswith(".") and ".partial" in path.name and path.is_file()
