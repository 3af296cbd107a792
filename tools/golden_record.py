"""Runs every step with the code of one tree and keeps what it printed and wrote, in a form that can be compared.

A record is a folder for each step, `SCENE/NN`: `call.json` (command, exit code, files removed), `stdout` and `stderr`,
and under `files` each file that the step wrote or changed. Tables stay Parquet, JSON is parsed, a page is kept twice
(what it says, and its markup without that), weights are digests by tensor, and what is no text is a digest.
"""

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from golden_masks import COLUMNS, Mask, masked_document, text_mask, without_bars
from golden_steps import FIRST, SCENES, Step

LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__")
NO_CODE = ("tests", "tools", "build", "dist", "serann.egg-info")
# A tree's files have one date, so that no ledger tells two trees apart.
DATE = 1_700_000_000
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "COLUMNS": "120",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "LC_ALL": "C.UTF-8",
}
# The environment's own, editable serann must not lend a module that the tree lacks.
FORGET = """import sys
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable___serann")]
"""
# Far more than any step takes: a machine may be busy.
MOST_SECONDS = 3600


@dataclass(frozen=True)
class Place:
    """Where steps run: the snapshot `site/serann` of a tree, the working folders of the scenes, and the record."""

    root: Path
    record: Path
    entry: str

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def mask(self) -> Mask:
        return text_mask({self.root / "site" / "serann": "<tree>", self.root: "<work>", Path(sys.prefix): "<env>"})

    def environment(self) -> dict[str, str]:
        """The environment of every step; what is cached and what is temporary stays inside."""
        own = {"PYTHONPATH": self.root / "site", "TMPDIR": self.root / "tmp", "HF_HOME": self.root / "cache"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_", "SERANN"))}
        return {**kept, **ENVIRONMENT, **{name: str(path) for name, path in own.items()}}


def record(tree: Path, out: Path, *, only: str = "", jobs: int = 2) -> int:
    """Run the scenes with the code of `tree` and write their record to `out`; return how many steps there were."""
    if out.exists() and any(out.iterdir()) and not (out / "record.json").exists():
        sys.exit(f"{out} is no record; choose another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    _write_json(out / "record.json", {"finished": False})
    with _place(tree, out) as place:
        counts = [play(place, FIRST)]
        wanted = [name for name in SCENES if name != FIRST and any(word in name for word in only.split(","))]
        with ThreadPoolExecutor(jobs) as pool:
            counts += pool.map(lambda name: play(place, name), wanted)
    _write_json(out / "record.json", {"finished": True, "steps": sum(counts), "only": only})
    return sum(counts)


@contextmanager
def _place(tree: Path, out: Path) -> Iterator[Place]:
    """A snapshot of the tree at a path that is the same for every tree; one record at a time."""
    root = Path(tempfile.gettempdir()).resolve() / "serann-golden"
    with open(f"{root}.lock", "w") as lock:
        _wait_for(lock)
        shutil.rmtree(root, ignore_errors=True)
        for name in ("site", "work", "tmp", "cache"):
            (root / name).mkdir(parents=True)
        _snapshot(tree, root / "site" / "serann")
        (root / "site" / "sitecustomize.py").write_text(FORGET)
        place = Place(root, out, _entry(tree))
        _check_code(place)
        try:
            yield place
        finally:
            shutil.rmtree(root, ignore_errors=True)


def _wait_for(lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another record is being made on this machine; waiting for it to end", file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _snapshot(tree: Path, copy: Path) -> None:
    shutil.copytree(tree, copy, ignore=LEFT_BEHIND)
    for name in NO_CODE:
        shutil.rmtree(copy / name, ignore_errors=True)
    for path in copy.rglob("*"):
        os.utime(path, (DATE, DATE))


def _entry(tree: Path) -> str:
    """Code that runs the tree's own `serann`, as its pyproject.toml names it."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["serann"].partition(":")
    return f"import sys; sys.argv[0] = 'serann'; from {module} import {function}; {function}()"


def _check_code(place: Place) -> None:
    code = "import serann.annotator.cli as cli; print(cli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], env=place.environment(), cwd=place.work, capture_output=True, text=True
    )
    if not found.stdout.startswith(str(place.root)):
        sys.exit(f"the steps would not run the tree's own code, but {found.stdout or found.stderr}")


def play(place: Place, scene: str) -> int:
    """Run the steps of a scene in its own folder, one after the other; return how many."""
    folder, lines, count = place.work / scene, 0, 0
    folder.mkdir()
    for step in SCENES[scene]:
        lines += isinstance(step, str)
        for name, command in _commands(place, step, folder, f"{lines:02}"):
            _run(place, command, folder, place.record / scene / name)
            count += 1
    return count


def _commands(place: Place, step: Step, folder: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a step and their names: a line's words, or, of a function, what it gives after its work."""
    if isinstance(step, str):
        yield name, ["serann", *shlex.split(step)]
    else:
        yield from step(folder, Runner(place, folder)) or ()


class Runner:
    """What a step that is a function may ask for."""

    def __init__(self, place: Place, folder: Path):
        self.tree = place.root / "site" / "serann"
        self._place, self._folder = place, folder

    def output(self, *words: str) -> str:
        """What `serann WORDS` prints."""
        return _call(self._place, ["serann", *words], self._folder).stdout


def _call(place: Place, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    program, *words = command
    code = [place.entry, *words] if program == "serann" else words
    return subprocess.run(
        [sys.executable, "-c", *code],
        cwd=folder,
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=MOST_SECONDS,
    )


def _run(place: Place, command: list[str], folder: Path, out: Path) -> None:
    before, began = contents(folder), time.monotonic()
    done = _call(place, command, folder)
    after = contents(folder)
    shown = shlex.join(command).split("\n")[0]
    print(f"{time.monotonic() - began:6.1f} s  {out.parent.name}/{out.name}  {shown}", file=sys.stderr, flush=True)
    removed = sorted(before.keys() - after.keys())
    call = {"command": "python" if command[0] == "python" else shown, "code": done.returncode}
    out.mkdir(parents=True)
    _write_json(out / "call.json", {**call, "removed": [place.mask(_plain_name(name)) for name in removed]})
    _keep_printed(done.stdout, out / "stdout", place.mask)
    _keep_printed(without_bars(done.stderr), out / "stderr", place.mask)
    for name in sorted(name for name in after if after[name] != before.get(name)):
        keep_file(folder / name, out / "files" / _plain_name(name), place.mask)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path.relative_to(folder)): _digest(path) for path in paths}


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain_name(name: str) -> str:
    """A file's name without the time and host that TensorBoard puts into it."""
    return re.sub(r"tfevents\..*", "tfevents", name)


def _keep_printed(text: str, out: Path, mask: Mask) -> None:
    """Keep what was printed, as a document where it is one."""
    if text.startswith(("{", "[")):
        try:
            return _write_json(out.with_suffix(".json"), masked_document(json.loads(text), mask))
        except ValueError:
            pass
    out.with_suffix(".txt").write_text(mask(text))


def keep_file(path: Path, out: Path, mask: Mask) -> None:
    """Keep a file as what it holds; `out` names it in the record, by a further suffix where it is kept as another."""
    out.parent.mkdir(parents=True, exist_ok=True)
    keep = None if path.is_symlink() else KEEPERS.get(out.suffix)
    if keep is not None:
        try:
            return keep(path, out, mask)
        except (ValueError, pa.ArrowException):  # a broken file is kept as what it is
            pass
    _keep_other(path, out, mask)


def _keep_table(path: Path, out: Path, mask: Mask) -> None:
    pq.write_table(masked_table(pq.read_table(path), mask), out)


def masked_table(table: pa.Table, mask: Mask) -> pa.Table:
    """The table with every text masked, its metadata too; the bytes of sounds stay."""
    columns = [
        pa.array(masked_cells(table[field.name].to_pylist(), mask, COLUMNS.get(field.name)), field.type)
        for field in table.schema
    ]
    metadata = {key: mask(value.decode()).encode() for key, value in (table.schema.metadata or {}).items()}
    return pa.Table.from_arrays(columns, schema=table.schema.with_metadata(metadata))


def masked_cells(cells: Any, mask: Mask, put: Any = None) -> Any:
    """Values of a column, however they nest; `put` stands for each value where the column itself is masked."""
    if isinstance(cells, list):
        return [masked_cells(cell, mask, put) for cell in cells]
    if isinstance(cells, dict):
        return {key: masked_cells(cell, mask, put) for key, cell in cells.items()}
    if cells is not None and put is not None:
        return put
    return mask(cells) if isinstance(cells, str) else cells


def _keep_document(path: Path, out: Path, mask: Mask) -> None:
    _write_json(out, masked_document(json.loads(path.read_text(encoding="utf-8")), mask))


def _keep_lines(path: Path, out: Path, mask: Mask) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    _write_json(out.with_name(f"{out.name}.json"), masked_document(lines, mask))


def _keep_page(path: Path, out: Path, mask: Mask) -> None:
    page = Page(path.read_text(encoding="utf-8"))
    out.with_name(f"{out.name}.text").write_text(mask(page.text))
    out.with_name(f"{out.name}.markup").write_text(mask(page.markup))


def _keep_weights(path: Path, out: Path, mask: Mask) -> None:
    _write_json(out.with_name(f"{out.name}.json"), masked_document(tensors(path.read_bytes()), mask))


def tensors(data: bytes) -> dict[str, Any]:
    """The header of a safetensors file, by name, each tensor's place replaced by its digest."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    for name, about in header.items():
        if name != "__metadata__":
            start, end = about.pop("data_offsets")
            about["sha256"] = hashlib.sha256(body[start:end]).hexdigest()
    return {name: dict(sorted(about.items())) for name, about in sorted(header.items())}


def _keep_events(path: Path, out: Path, mask: Mask) -> None:
    out.write_text("TensorBoard's events, which hold times\n")


def _keep_other(path: Path, out: Path, mask: Mask) -> None:
    """Text as it is, a link as where it leads, anything else as its digest."""
    if path.is_symlink():
        out.with_name(f"{out.name}.link").write_text(mask(os.readlink(path)))
        return
    data = path.read_bytes()
    try:
        out.with_name(f"{out.name}.txt").write_text(mask(data.decode("utf-8")))
    except UnicodeDecodeError:
        out.with_name(f"{out.name}.digest").write_text(f"{len(data)} bytes {hashlib.sha256(data).hexdigest()}\n")


KEEPERS: dict[str, Callable[[Path, Path, Mask], None]] = {
    ".parquet": _keep_table,
    ".json": _keep_document,
    ".jsonl": _keep_lines,
    ".html": _keep_page,
    ".safetensors": _keep_weights,
    ".tfevents": _keep_events,
}


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


class Page(HTMLParser):
    """A page as what it says, a line a block, and as its markup, a line a tag; sounds are digests."""

    INLINE = frozenset(
        [
            "a",
            "abbr",
            "b",
            "code",
            "em",
            "i",
            "kbd",
            "label",
            "mark",
            "q",
            "s",
            "small",
            "span",
            "strong",
            "sub",
            "sup",
            "time",
            "tspan",
            "u",
        ]
    )

    def __init__(self, page: str):
        super().__init__()
        self._blocks: list[list[str]] = [[]]
        self._tags: list[str] = []
        self._unseen: str | None = None
        self.feed(re.sub(r"(;base64,)([A-Za-z0-9+/=]+)", _sound, page))
        self.close()
        lines = (" ".join("".join(block).split()) for block in self._blocks)
        self.text = "".join(f"{line}\n" for line in lines if line)
        self.markup = "".join(f"{line}\n" for line in self._tags)

    def handle_decl(self, decl: str) -> None:
        self._tags.append(f"<!{decl}>")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = "".join(f" {name}" if value is None else f' {name}="{value}"' for name, value in attrs)
        self._tags.append(f"<{tag}{given}>")
        self._unseen = tag if tag in ("script", "style") else None
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        self._tags.append(f"</{tag}>")
        self._unseen = None
        self._part(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            self._tags += [line.strip() for line in data.splitlines() if line.strip()]
        else:
            self._blocks[-1].append(data)

    def _part(self, tag: str) -> None:
        if tag not in self.INLINE:
            self._blocks.append([])


def _sound(found: re.Match[str]) -> str:
    return f"{found[1]}<{hashlib.sha256(found[2].encode()).hexdigest()[:16]}>"
