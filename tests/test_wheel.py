"""The wheel holds everything: installed alone, it runs the whole loop from an empty directory."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data/", "prompts/", "annotator/", "trainer/")


def tree() -> list[str]:
    """The files that git knows or would take, named from the root."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of the tree, built outside of it so that nothing is left in it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tree():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_is_small_and_holds_the_root_package_and_the_rooms_and_nothing_else(wheel):
    assert wheel.stat().st_size <= 20e6
    names = set(zipfile.ZipFile(wheel).namelist())
    (about,) = {name.split("/")[0] for name in names} - {"serann"}
    assert about.endswith(".dist-info")
    expected = {name for name in tree() if name in ("__init__.py", "__main__.py") or name.startswith(ROOMS)}
    assert len({name for name in expected if name.endswith(".py")}) > 150
    assert len({name for name in expected if not name.endswith(".py")}) > 400
    assert {name for name in names if name.startswith("serann/")} == {f"serann/{name}" for name in expected}


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
