"""A run's tables change together or not at all.

They are made beside the old ones, in RUN/.ledger/staged; then a marker that names them is written, then each takes its
place, and only then the segments that they hold go. After a crash the next writer completes what the marker promised,
and readers wait for it.
"""

import os
import shutil
from pathlib import Path

from ...data.files import read_json, write_json
from .place import SEGMENTS, STATE

STAGED = f"{STATE}/staged"
MARKER = f"{STATE}/commit.json"


def stage(path: Path) -> Path:
    """An empty folder for the next set of tables of the run at `path`."""
    unstage(path)
    (path / STAGED).mkdir()
    return path / STAGED


def unstage(path: Path) -> None:
    """Drop a set of tables that was not promised."""
    shutil.rmtree(path / STAGED, ignore_errors=True)


def promise(path: Path) -> None:
    """Write the marker: from here on what is staged will be the run's tables, whatever happens."""
    staged = path / STAGED
    names = sorted(str(file.relative_to(staged)) for file in staged.rglob("*") if file.is_file())
    write_json(path / MARKER, {"files": names})


def is_promised(path: Path) -> bool:
    """Whether the run's tables are about to be replaced: until then they are no complete set."""
    return (path / MARKER).is_file()


def complete_commit(path: Path) -> bool:
    """Do what a commit had promised, if it was interrupted: put every table in its place, then drop the segments."""
    if not is_promised(path):
        return False
    for name in read_json(path / MARKER, what="commit")["files"]:
        if (path / STAGED / name).exists():
            os.replace(path / STAGED / name, path / name)
    _sync(path)
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)
    unstage(path)
    (path / MARKER).unlink()
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
