"""What is recorded beside a run: each session's machine, software and time; nothing of it decides an answer."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...data.errors import RunError
from ...data.files import read_json, write_json

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
