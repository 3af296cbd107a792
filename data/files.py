"""Files and directories that are either there in full under their name, or not there at all."""

import ctypes
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError, SerannError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a hidden sibling to write to; on success it is synced and takes the name `path`, on failure it is removed.

    Raises OutputError, naming the place, where it cannot be written.
    """
    path = Path(path)
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".partial{path.suffix}", dir=path.parent)
        os.fchmod(handle, 0o644)
        os.close(handle)
    partial = Path(name)
    try:
        with _writable(path):
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_directory(
    path: str | Path,
    *,
    what: str,
    kind: str | None = None,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
) -> Iterator[Path]:
    """Yield a hidden sibling directory to fill; on success it takes the name `path`, on failure it is removed.

    `what` names the thing in messages ("corpus"), `kind` of `KINDS` where that says more, and errors raised meanwhile
    name `path`. An existing path is refused as `refuse_existing` does.
    """
    path = Path(path)
    refuse_existing(path, what=what, kind=kind, overwrite=overwrite, inputs=inputs)
    with _writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        partial.chmod(0o755)
    try:
        with _writable(path):
            yield partial
            take_place(partial, path)
    except SerannError as error:
        _rename_within(error, str(partial), str(path))
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# What a directory of serann's is, by a file in it; the first that is there tells, since a fused corpus is a corpus too.
KINDS = {
    "fusion.json": "fused corpus",
    "corpus.json": "corpus",
    "run.json": "run",
    "model.json": "model",
    "prediction.json": "prediction",
    "demo.json": "demo",
    "trained_on.json": "checkpoint",
    "export.json": "corpus export",
    "next.json": "list of next votes",
}


def kind_of(path: Path) -> str | None:
    """Which of `KINDS` lies at `path`; None for what serann did not write."""
    return next((kind for mark, kind in KINDS.items() if (path / mark).exists()), None)


def refuse_existing(
    path: Path,
    *,
    what: str,
    kind: str | None = None,
    overwrite: bool = False,
    inputs: Sequence[str | Path] = (),
) -> None:
    """Raise OutputError if something lies at `path` that a `what`, of this `kind` (else itself), must not replace.

    An empty directory counts as absent. With `overwrite` a thing of the same kind is replaced, and nothing else: never
    what serann did not write, nor one of the `inputs` that the new one is made of, nor a folder that holds one.
    """
    refuse_inputs(path, inputs)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not overwrite:
        raise OutputError(
            f"{path} exists already, so no {what} was written there; choose another output, or pass --overwrite to "
            "replace it"
        )
    found = kind_of(path)
    if found is None:
        raise OutputError(
            f"{path} is nothing that serann wrote (it holds none of {', '.join(KINDS)}), so it is not replaced by a "
            f"{what}; choose another output"
        )
    if found != (kind or what):
        raise OutputError(f"{path} holds a {found}: --overwrite replaces a former {what} alone; choose another output")


def refuse_inputs(path: Path, inputs: Sequence[str | Path]) -> None:
    """Raise OutputError where writing `path` would replace an input, or a folder that holds one."""
    for given in map(Path, inputs):
        if path.resolve() in (given.resolve(), *given.resolve().parents):
            raise OutputError(f"{path} holds the input {given}, which would be lost; choose another output")


def take_place(new: Path, path: Path) -> None:
    """Give the directory `new` the name `path`, and remove the one that had it.

    Where the system can exchange two names, no moment is without either; elsewhere the former one lies beside for the
    moment between two renamings.
    """
    if path.is_dir() and _exchange(new, path):
        _sync(path.parent)
        shutil.rmtree(new, ignore_errors=True)
        return
    if path.is_dir():
        former = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".former", dir=path.parent))
        os.replace(path, former / path.name)
        os.replace(new, path)
        shutil.rmtree(former, ignore_errors=True)
    else:
        os.replace(new, path)
    _sync(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, if the system and the file system know how: Linux, macOS."""
    libc, swap = ctypes.CDLL(None, use_errno=True), 2  # RENAME_EXCHANGE, RENAME_SWAP
    first, second = os.fsencode(one), os.fsencode(other)
    if hasattr(libc, "renameat2"):
        here = -100  # AT_FDCWD: relative paths are of the working directory
        return libc.renameat2(here, first, here, second, swap) == 0
    return hasattr(libc, "renamex_np") and libc.renamex_np(first, second, swap) == 0


def _rename_within(error: SerannError, former: str, name: str) -> None:
    """Let an error speak of the place that was asked for: the one it happened in is removed."""

    def renamed(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(renamed, value))
        return value.replace(former, name) if isinstance(value, str) else value

    error.args = renamed(error.args)
    vars(error).update({key: renamed(value) for key, value in vars(error).items()})


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Turn what the operating system says of writing to `path` into an OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a library's own OSError, which is not about the place
            raise
        advice = _ADVICE.get(error.errno, "choose an output that you may write to")
        raise OutputError(f"{path} cannot be written: {error.strerror}; {advice}") from error


_FULL = "the disk is full: free some space there"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL.replace("disk", "quota"),
    errno.EFBIG: "the system lets no file grow so large there: raise that limit (ulimit -f), or choose another output",
}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically. NaN and infinities are refused: JSON has no word for them."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def finite(obj: Any) -> Any:
    """Return `obj` as plain JSON values: numpy scalars unpacked, and what is not a finite number is null.

    >>> finite({"value": float("nan"), "votes": (1, 2)})
    {'value': None, 'votes': [1, 2]}
    """
    if isinstance(obj, Mapping):
        return {str(key): finite(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [finite(value) for value in obj]
    if hasattr(obj, "item"):  # a numpy scalar
        obj = obj.item()
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj


def read_json(path: str | Path, *, what: str) -> dict[str, Any]:
    """Read a JSON object; SerannError naming `what` and the path where it is missing or broken."""
    path = Path(path)
    try:
        obj = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SerannError(f"no {what} at {path}: the file is not there") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SerannError(f"{path}: not a {what}: it is no valid JSON ({error})") from None
    except OSError as error:
        raise SerannError(f"{path}: this {what} cannot be read: {error.strerror}") from None
    if not isinstance(obj, dict):
        raise SerannError(f"{path}: not a {what}: expected a JSON object, found a {type(obj).__name__}")
    return obj


def fingerprint(obj: Any) -> str:
    """Return "sha256:…" of the canonical JSON of `obj` (sorted keys, no blanks): equal objects, equal fingerprints."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: str | Path) -> str:
    """Return "sha256:…" of a file's bytes."""
    with open(path, "rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()
