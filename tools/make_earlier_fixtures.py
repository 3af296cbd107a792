"""Make what a version of serann writes, small, for tests that later versions go on opening it.

    git worktree add CHECKOUT ec51bf9
    python tools/make_earlier_fixtures.py --tree CHECKOUT -o tests/fixtures/earlier/0.1.0

Every command of STEPS runs with the code of the checkout, in an environment that has what it needs, on one thread.
Three runs and a training are killed (SIGKILL), each at a moment of its own: units answered and no tables yet, tables
half replaced, amid an epoch. expectations.json holds what the checkout reads in its own tables afterwards. What decides
no number is changed by `neutral`: no path of the machine stays, and pages are left out for their size. The folder that
is then copied holds what git keeps of it: no empty folders.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
# Stands for the folder in which everything was made.
PLACE = "/earlier"
SPEAKERS = {"train": 8, "development": 2, "test": 4}
UTTERANCES_A_SPEAKER = 3
EXPECTATIONS = "expectations.json"
PANEL = """name = "small"
question = "emotion"
form = "label"

[cross]
focus = ["voice-and-words", "voice", "words"]
temperature = [1.0]
"""
SCRIPTED = "annotate corpus --model scripted --engine scripted --panel panel.toml --batch-size 3"
ATTRIBUTES = "--attributes valence,arousal,dominance"
RATED = f"annotate corpus --model listener --panel panel.toml {ATTRIBUTES} --batch-size 4 -o run-rated"
TRAIN = "train fused --model encoder --from-scratch --epochs 3 --batch-seconds 10 --head-learning-rate 0.01 --workers 0"


class Killed(NamedTuple):
    """The moment of a kill: right after `call` (fsync or replace) did its work on a file of this name so often."""

    call: str
    file: str
    times: int


class Step(NamedTuple):
    """A command of serann's, and when it is killed, if it is."""

    command: str
    killed: Killed | None = None


# What is written, and by what. A killed one is gone on with by its command, without --save-minutes.
STEPS = {
    "corpus": Step("corpus holdout corpus --seen 2 --seed 0"),
    "run": Step("annotate corpus --model demo --votes 20 -o run"),
    "run-sampled": Step(
        "annotate corpus --model demo --mode sample --panel letters --votes 8 --limit 12 -o run-sampled"
    ),
    "run-rated": Step(f"{RATED} --votes 6 --limit 12"),
    "run-straight": Step(f"{SCRIPTED} {ATTRIBUTES} --votes 7 -o run-straight"),
    "run-killed": Step(f"{SCRIPTED} {ATTRIBUTES} --votes 7 -o run-killed", Killed("fsync", "*/segments/*.jsonl", 2)),
    "run-committing": Step(
        f"{SCRIPTED} {ATTRIBUTES} --votes 7 --limit 6 -o run-committing",
        Killed("replace", "run-committing/[!.]*.parquet", 2),
    ),
    "texts-straight": Step(f"{SCRIPTED} --mode sample --votes 7 -o texts-straight"),
    "texts-killed": Step(
        f"{SCRIPTED} --mode sample --votes 7 -o texts-killed", Killed("fsync", "*/segments/*.jsonl", 2)
    ),
    "fused": Step("fuse corpus run --no-sounds -o fused"),
    "fused-dime": Step("fuse corpus run --strategy dime-aug --blend latent-class --rho 0.4 --no-sounds -o fused-dime"),
    "model": Step(f"{TRAIN} -o model"),
    "model-killed": Step(f"{TRAIN} --save-minutes 0 -o model-killed", Killed("replace", "*/state.pt", 7)),
    "predictions": Step("predict model corpus -o predictions"),
    "evaluation": Step("evaluate predictions corpus -o evaluation.html"),
    "audit": Step("audit corpus run -o audit.html"),
}
# The finished run, extended by utterances and votes: only its numbers are kept, in the expectations.
EXTENDED = f"{RATED} --votes 9 --limit 18"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, required=True, help="a checkout of the version")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder, made anew")
    asked = parser.parse_args()
    size = make(asked.tree.resolve(), asked.output)
    print(f"{asked.output}: {size / 1e6:.2f} MB")


def make(tree: Path, output: Path) -> int:
    """Make everything with the code of a tree, in a folder of its own first; return its bytes."""
    with tempfile.TemporaryDirectory(prefix="earlier-") as scratch:
        site, folder = Path(scratch) / "site", Path(scratch) / "folder"
        site.mkdir()
        folder.mkdir()
        (site / "serann").symlink_to(tree)
        python = Python(site, folder)
        found = python("import serann.data; print(serann.data.__file__)").stdout.strip()
        if not Path(found).resolve().is_relative_to(tree):
            sys.exit(f"the code is that of {found}, not of {tree}")
        (folder / "panel.toml").write_text(PANEL)
        python("make_models()")
        python("make_corpus()")
        for name, step in STEPS.items():
            print(f"{name}: serann {step.command}", file=sys.stderr)
            python.serann(step)
        shutil.copytree(folder / "run-rated", folder / "run-extended")
        python.serann(Step(EXTENDED.replace("run-rated", "run-extended")))
        neutral(folder)
        commit = subprocess.run(["git", "-C", str(tree), "rev-parse", "HEAD"], capture_output=True, text=True)
        python(f"expect({commit.stdout.strip()!r})")
        shutil.rmtree(folder / "run-extended")
        refuse_paths(folder, [scratch, str(tree), str(ROOT), str(Path.home()), tempfile.gettempdir()])
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(folder, output)
    return sum(file.stat().st_size for file in output.rglob("*") if file.is_file())


class Python:
    """Runs functions of this file in processes whose `serann` is the tree's, in the folder."""

    def __init__(self, site: Path, folder: Path):
        self.folder = folder
        path = os.pathsep.join(map(str, (site, ROOT / "tools", ROOT / "tests")))
        self.environment = {
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def __call__(self, code: str, *, status: int = 0) -> "subprocess.CompletedProcess[str]":
        call = [sys.executable, "-c", f"from make_earlier_fixtures import *\n{code}"]
        done = subprocess.run(call, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if done.returncode != status:
            sys.exit(f"{code}\nended with {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}")
        return done

    def serann(self, step: Step) -> None:
        """Run a command to its end, or until it is killed."""
        killed = None if step.killed is None else tuple(step.killed)
        self(f"serann({step.command!r}, {killed!r})", status=0 if killed is None else -signal.SIGKILL)


# --------------------
# What runs in those processes, in the folder.


def serann(command: str, killed: Sequence[Any] | None) -> None:
    """Run a command of serann's in this process, which may be killed meanwhile."""
    from serann.annotator.cli import main as run

    if killed is not None:
        kill_after(Killed(*killed))
    sys.argv = ["serann", *shlex.split(command)]
    run()


def kill_after(moment: Killed) -> None:
    """Kill this process at a moment."""
    real, seen = getattr(os, moment.call), []

    def counted(*given: Any, **options: Any) -> Any:
        result = real(*given, **options)
        file = os.readlink(f"/proc/self/fd/{given[0]}") if moment.call == "fsync" else str(given[1])
        if fnmatch(file, moment.file):
            seen.append(file)
        if len(seen) == moment.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, moment.call, counted)


def make_models() -> None:
    """A random listener of the true architecture, and the configuration of a random encoder: no version wrote them."""
    from fixtures.small_encoders import make_encoder_checkpoint
    from fixtures.small_models import make_checkpoint

    make_checkpoint(Path("listener"), width=16, layers=1)
    make_encoder_checkpoint(Path("encoder"))
    Path("encoder/model.safetensors").unlink()


def make_corpus() -> None:
    """A part of the embedded corpus, its votes not yet divided: the first utterances of the first speakers."""
    import numpy as np
    from serann.data.corpus import open_corpus, take, write_corpus

    demo = open_corpus("demo")
    speakers, splits = demo.column("speaker"), demo.column("split")
    mask = np.zeros(len(demo.ids), dtype=bool)
    for split, count in SPEAKERS.items():
        for speaker in sorted(set(speakers[splits == split]))[:count]:
            mask[np.flatnonzero(speakers == speaker)[:UTTERANCES_A_SPEAKER]] = True
    part = take(demo, mask)

    def sounds(folder: Path) -> None:
        (folder / "audio").mkdir()
        for i in range(len(part.ids)):
            shutil.copyfile(part.audio_path(i), folder / part.utterances["audio"][i].as_py())

    write_corpus(
        "corpus",
        name="demo-small",
        labels=part.labels,
        utterances=part.utterances,
        votes=undivided(part.votes),
        ratings=None if part.ratings is None else undivided(part.ratings),
        licence=part.info.licence,
        provenance=part.info.provenance,
        simulated=True,
        scale=part.info.scale,
        extra=sounds,
    )


def undivided(table: pa.Table) -> pa.Table:
    """A table of votes or ratings that belong to no part."""
    return table.set_column(table.column_names.index("part"), "part", pa.nulls(table.num_rows, pa.string()))


def expect(commit: str) -> None:
    """Write what this process's serann reads in the folder."""
    from serann.data.corpus import open_corpus

    open_run = opener()
    corpora = {name: corpus_tables(open_corpus(name)) for name in ("corpus", "fused", "fused-dime")}
    runs = {
        name: run_tables(open_run(name))
        for name in ("run", "run-sampled", "run-rated", "run-straight", "texts-straight")
    }
    extended = open_run("run-extended")
    found = {
        "commit": commit,
        "software": {name: version(name) for name in ("serann", "torch", "transformers", "numpy", "pyarrow")},
        "corpora": {name: {table: described(of) for table, of in tables.items()} for name, tables in corpora.items()},
        "runs": {name: {table: described(of) for table, of in tables.items()} for name, tables in runs.items()},
        "durable": {name: durable(Path(name)) for name in ("run-killed", "texts-killed")},
        "extended": {"scores": answers(extended.scores), "votes": extended.votes.num_rows},
    }
    Path(EXPECTATIONS).write_text(json.dumps(found, indent=1) + "\n")


def opener() -> Any:
    """`open_run`, which had another home before there were public names."""
    try:
        from serann import open_run
    except ImportError:
        from importlib import import_module

        return import_module("serann.annotator.runs").open_run
    return open_run


def durable(run: Path) -> int:
    """How many utterances' answers an interrupted run has on the disk; there have to be more to ask."""
    lines = [line.split(b" ", 1)[1] for file in (run / "segments").iterdir() for line in file.read_bytes().splitlines()]
    found = sum(len(json.loads(line).get("ids", ())) for line in lines)
    planned = sum(map(len, json.loads((run / "run.json").read_text())["plan"]["batches"]))
    if not 0 < found < planned:
        sys.exit(f"{run}: {found} of {planned} utterances are answered; expected a part of them")
    return found


# --------------------
# What the tests compare by, too.


def corpus_tables(corpus: Any) -> dict[str, pa.Table]:
    """The tables of an opened corpus."""
    return {name: getattr(corpus, name) for name in ("utterances", "votes", "ratings")}


def run_tables(run: Any) -> dict[str, pa.Table]:
    """The tables of an opened run."""
    return {name: getattr(run, name) for name in ("scores", "listeners", "votes", "failures")}


def described(table: pa.Table, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """How many rows a table has, and a digest of each column, by default of all but the sounds' places."""
    names = [name for name in table.column_names if name != "audio"] if columns is None else columns
    return {"rows": table.num_rows, "columns": {name: digest(table[name].to_pylist()) for name in names}}


def digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def answers(scores: pa.Table) -> dict[str, list[float]]:
    """Each listener's distribution for each utterance."""
    return {f"{row['utterance_id']} {row['listener']}": list(row["p"]) for row in scores.to_pylist()}


# --------------------
# No path of a machine.


def neutral(folder: Path) -> None:
    """Leave out pages and their figures; name sounds by paths relative to their corpus; elsewhere, put PLACE."""
    for page in [*folder.rglob("*.html"), *folder.glob("fused*/report.json")]:
        page.unlink()
    for file in [*folder.rglob("*.json"), *folder.rglob("*.parquet")]:
        if not any(str(folder) in text for text in texts(file)):
            continue
        if file.suffix == ".json":
            file.write_text(file.read_text().replace(str(folder), PLACE))
            continue
        table = pq.read_table(file)
        described = {key: value.decode().replace(str(folder), PLACE) for key, value in table.schema.metadata.items()}
        if "audio" in table.column_names:
            sounds = [os.path.relpath(file.parent / sound, file.parent) for sound in table["audio"].to_pylist()]
            table = with_audio(table, sounds)
        pq.write_table(table.replace_schema_metadata(described), file, compression="zstd")
    for left in sorted(folder.rglob("*"), reverse=True):
        if left.is_dir() and not any(left.iterdir()):
            left.rmdir()


def with_audio(utterances: pa.Table, places: Sequence[str]) -> pa.Table:
    """A table of utterances whose sounds lie elsewhere."""
    column = utterances.column_names.index("audio")
    return utterances.set_column(column, utterances.schema.field("audio"), pa.array(places, pa.string()))


def texts(file: Path) -> Iterator[str]:
    """All that can be read in a file, as text: a table's rows and metadata, an archive's members, else its bytes."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
        yield str(table.schema.metadata)
        yield json.dumps(table.to_pylist(), default=str)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                yield archive.read(name).decode("latin-1")
    yield file.read_bytes().decode("latin-1")


def refuse_paths(folder: Path, paths: Sequence[str]) -> None:
    """End with a message where a path of this machine stands in a file."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    left = [f"{file}: {path}" for file in files for text in texts(file) for path in paths if path in text]
    if left:
        sys.exit("paths of this machine are left:\n" + "\n".join(left))


if __name__ == "__main__":
    main()
