"""What holds for the project as a whole: import rules, packaging, and the command line's start."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "prompts", "annotator", "trainer")
HEAVY = {"torch", "transformers", "accelerate", "peft", "datasets", "vllm", "ray", "fastapi", "librosa", "pandas"}


def modules():
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 40
    return files


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports_of(path: Path) -> set[str]:
    """Modules of ours that a file imports, as dotted paths from the root."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            found |= {f"{stem}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("serann"):
            found.add(f"absolute import of {node.module}")
    return found


def allowed(importer: str, imported: str) -> bool:
    if importer.startswith("annotator.cli"):
        return True
    room = importer.split(".")[0]
    reach = {
        "data": ("data.",),
        "prompts": ("prompts.", "data.errors"),
        "annotator": ("annotator.", "data.", "prompts."),
        "trainer": ("trainer.", "data.", "prompts.", "annotator.models"),
    }[room]
    return imported.startswith(reach) and not imported.startswith("annotator.cli")


@pytest.mark.parametrize("path", modules(), ids=room_of)
def test_rooms_import_only_what_they_may(path):
    name = room_of(path)
    wrong = [imported for imported in imports_of(path) if not allowed(name, imported)]
    assert not wrong, f"{name} must not import {wrong}"


def test_every_package_is_listed_and_installed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"serann"} | {"serann." + ".".join(p.parent.relative_to(ROOT).parts) for p in modules()}
    assert listed == found


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, serann.annotator.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (HEAVY | {"numpy", "pyarrow", "scipy", "pydantic"})


def test_no_file_is_named_after_nothing():
    vague = {"utils", "helpers", "common", "manager", "core", "misc"}
    assert not [path for path in modules() if path.stem in vague]
