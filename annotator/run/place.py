"""The folder of a run: what lies where, who holds it, and what a new run may be made in.

RUN/run.json            identity, options, and the plan: the batches that are still to be asked, in their company
RUN/segments/           finished units that are not yet in the tables (`segments.py`)
RUN/*.parquet           the tables, replaced together (`ledger.py`)
RUN/.ledger/            what the tables do not say (`tables.py`), and the tables while they are being made
"""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...data.errors import LabelError, OutputError, RunError, SerannError, list_problems
from ...data.files import read_json, write_json
from ...data.labels import LabelSet

FORMAT = 1
RUN_FILE = "run.json"
LOCK = ".lock"
SEGMENTS = "segments"
STATE = ".ledger"
DAMAGED = "the run is damaged: restore the file from a copy, or annotate anew with --overwrite"

Info = dict[str, Any]


class _Identity(BaseModel):
    """What every run is known by; an engine, attributes and a duration policy add to it."""

    model_config = ConfigDict(extra="allow")
    corpus: str
    labels: list[str]
    model: str
    mode: str
    panel: str


class _Plan(BaseModel):
    """The batches that are still to be asked."""

    model_config = ConfigDict(extra="forbid")
    number: int
    batches: list[list[str]]


class _RunFile(BaseModel):
    """What `run.json` says; unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid")
    format: int
    run: str
    identity: _Identity
    votes: int = Field(ge=0)
    limit: int | None = None
    labels: dict[str, Any]
    listeners: dict[str, str] = {}
    versions: list[dict[str, str]] = []
    plans: int = 0
    plan: _Plan | None = None
    tables: str | None = None
    canaries: dict[str, list[list[float]]] = {}


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


def check_free(path: Path, *, replaces: bool = False) -> None:
    """Whether a run may be written or continued at `path`, looked at before anything is loaded for it.

    Raises `OutputError` where another process writes it or nothing may be written; what `check_place` raises, unless
    what is there is a run to be replaced (`replaces`).
    """
    if not replaces:
        check_place(path)
    if (path / LOCK).exists():
        lock(path).close()
        return
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        raise OutputError(f"the run cannot be written to {path}: Permission denied")


def is_run(path: Path) -> bool:
    """Whether a run lies at `path`."""
    return (path / RUN_FILE).is_file()


def read_run_file(path: Path) -> Info:
    """The `run.json` of the run at `path`; `RunError` if it is damaged or a newer serann made it."""
    try:
        info = read_json(path / RUN_FILE, what="run")
    except SerannError as error:
        raise RunError(f"{error}; {DAMAGED}") from None
    newest = info.get("format")
    if isinstance(newest, int) and newest > FORMAT:
        raise RunError(
            f"{path} was made by a newer serann (run format {info['format']}, this one reads up to {FORMAT}); "
            "upgrade serann"
        )
    problems = _problems(info)
    if problems:
        raise RunError(f"{list_problems(str(path / RUN_FILE), problems)}; {DAMAGED}")
    return info


def _problems(info: Info) -> list[str]:
    """What is wrong with a `run.json`, all of it."""
    try:
        _RunFile.model_validate(info)
        LabelSet.from_json(info["labels"])
    except ValidationError as error:
        return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    except LabelError as error:
        return [f"labels: {error}"]
    return []


def lock(path: Path) -> IO[str]:
    """Hold the run's lock until the file is closed; the system drops it when a process dies, so it never goes stale.

    `OutputError` while another process holds it.
    """
    try:
        held = (path / LOCK).open("w")
    except OSError as error:
        raise OutputError(f"the run cannot be written to {path}: {error.strerror}") from None
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


# --------------------
# What is recorded beside a run: each session's machine, software and time; nothing of it decides an answer.

ENVIRONMENT = "environment.json"


def record_session(path: Path, folder: Path, record: dict[str, Any]) -> None:
    """Write the sessions of the run at `path`, and this one, into `folder` (the run's, or where tables are made)."""
    file = path / ENVIRONMENT
    former = read_json(file, what="environment record").get("sessions") if file.exists() else []
    if not isinstance(former, list):
        raise RunError(f"{file}: no environment record, its 'sessions' are not there; delete it, nothing depends on it")
    write_json(folder / ENVIRONMENT, {"sessions": [*former, {**record, **environment()}]})


def environment() -> dict[str, Any]:
    """Software and hardware of this process."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": _versions("serann", "torch", "transformers", "numpy", "soundfile", "soxr", "pyarrow"),
    }


def engine_versions() -> dict[str, str]:
    """Versions of what computes the answers: every answer of a run was given under one of those that run.json lists."""
    return _versions("serann", "torch", "transformers")


def _versions(*names: str) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
