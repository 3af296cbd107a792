"""The wheel holds everything: installed alone, it runs the whole loop from an empty directory."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [p for room in ("data", "prompts", "annotator", "trainer") for p in sorted((ROOT / room).rglob("*.py"))]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the files that git knows or would take, built outside the tree so that nothing is left in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_is_small_and_complete(wheel):
    assert wheel.stat().st_size <= 20e6
    names = set(zipfile.ZipFile(wheel).namelist())
    assert len(MODULES) > 40
    assert not [p for p in MODULES if f"serann/{p.relative_to(ROOT).as_posix()}" not in names]
    kept = [p for room in ("data", "prompts", "annotator") for p in (ROOT / room).rglob("*") if p.is_file()]
    kept = [p for p in kept if p.suffix in {".toml", ".parquet", ".json", ".ogg", ".safetensors", ".css", ".md", ".j2"}]
    assert len(kept) > 400
    assert not [p for p in kept if f"serann/{p.relative_to(ROOT).as_posix()}" not in names]
    assert {name.split("/")[0] for name in names} == {
        "serann",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


def test_the_installed_wheel_runs_the_demo_from_an_empty_directory(wheel, tmp_path):
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1"}
    where = "import serann.data; print(serann.data.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith(str(target))
    run = [sys.executable, "-c", "from serann.annotator.cli import main; main()", "demo", "--fast", "--json"]
    done = subprocess.run(run, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    assert {row["targets"] for row in figures["systems"]} >= {"human", "empirical-bayes"}
    assert (empty / "serann-demo" / "report.html").stat().st_size > 10_000
