"""The README tells the truth: its commands run, its listing is what is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from serann.annotator.fusion import STRATEGIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def test_the_commands_of_the_tasks_run_in_order(tmp_path):
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    assert len(lines) >= 11
    for line in lines:
        command = shlex.split(line)
        assert command[0] == "serann"
        done = subprocess.run(
            [sys.executable, "-m", "serann.annotator.cli", *command[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (tmp_path / "report.html").exists()
    (code,) = (block for block in blocks("python") if "report.parquet" in block)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "at_least" in done.stdout
    assert "constant  female" in done.stdout


def test_the_python_examples_run(tmp_path):
    examples = [block for block in blocks("python") if "report.parquet" not in block]
    assert len(examples) == 3
    said = []
    for code in examples:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout)
    assert re.search(r"8 votes \(.*on labels", said[2])
    assert "Audit of python-run against frames" in said[1]
    assert re.search(r"model +all +log_score", said[1])
    loop = next(block for block in examples if "corpus_from_frames" in block)
    assert len([line for line in loop.splitlines() if line.strip()]) <= 15
    assert (tmp_path / "my-corpus" / "corpus.json").exists()


def test_the_listing_is_what_is_there():
    listed = set(re.findall(r"^    (\w+)/ ", README, flags=re.M))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"tests", "tools"}
    assert listed == packages


def test_the_table_of_strategies_is_the_registry():
    table = README[README.index("| `--strategy` |") :].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", table, flags=re.M)
    assert rows[1:] == [(name, strategy.about) for name, strategy in STRATEGIES.items()]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_make_targets(target):
    assert f"make {target} " in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)
