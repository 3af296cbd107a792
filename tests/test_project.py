"""What holds for the project as a whole beside import-linter's contract (`.importlinter`): imports between rooms are
relative, some rooms see less than their layer may, packages are listed, and the command line starts light.
"""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "prompts", "annotator", "trainer")
HEAVY = {"torch", "transformers", "accelerate", "peft", "datasets", "vllm", "ray", "fastapi", "librosa", "pandas"}
# What a layer leaves open and design.md does not: of another room, an importer sees these modules alone.
NARROW = {
    ("prompts", "data"): ("data.errors",),
    ("annotator.report", "trainer"): ("trainer.scoring",),
    ("trainer", "annotator"): ("annotator.models", "annotator.panel", "annotator.sounds"),
}


def files_in(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def installed() -> list[Path]:
    """The files of the package: the root's two and those of the rooms."""
    files = [ROOT / "__init__.py", ROOT / "__main__.py", *files_in(*ROOMS)]
    assert len(files) > 150
    return files


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """Modules that a file imports: by a relative import, as dotted paths from the root, and by their full names."""
    package = path.relative_to(ROOT).parent.parts
    relative, absolute = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            absolute |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            absolute.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{path}, line {node.lineno}: from outside the package"
            base = package[: len(package) - (node.level - 1)]
            stem = ".".join((*base, *(node.module.split(".") if node.module else ())))
            relative |= {f"{stem}.{alias.name}".lstrip(".") for alias in node.names}
    return relative, absolute


def within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("path", installed(), ids=dotted)
def test_what_is_installed_imports_its_own_relatively_and_sees_no_more_than_it_may(path):
    relative, absolute = imports_of(path)
    outside = {"serann", "tests", "fixtures", *(p.stem for p in (ROOT / "tools").iterdir())}
    assert not {name for name in absolute if name.split(".")[0] in outside}
    assert not {name for name in relative if name.split(".")[0] in {"tests", "tools"}}
    for (importer, room), seen in NARROW.items():
        if within(dotted(path), importer):
            found = {name for name in relative if within(name, room)}
            assert not {name for name in found if not any(within(name, module) for module in seen)}


@pytest.mark.parametrize("folder", ["tools", "tests"])
def test_tools_and_tests_import_serann_as_users_do(folder):
    files = files_in(folder)
    assert len(files) > 10
    assert any(within(name, "serann") for path in files for name in imports_of(path)[1])
    assert not {path: found for path in files if (found := {n for n in imports_of(path)[0] if not within(n, folder)})}


def test_every_package_is_listed_and_installed():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {".".join(("serann", *path.parent.relative_to(ROOT).parts)) for path in installed()}


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, serann.annotator.cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (HEAVY | {"numpy", "pyarrow", "scipy", "pydantic"})


def test_no_file_is_named_after_nothing():
    vague = {"utils", "helpers", "common", "manager", "core", "misc"}
    named = [*installed(), *files_in("tools", "tests")]
    assert not [path for path in named if vague & {path.stem, *path.relative_to(ROOT).parts}]


# Name of a dependency, where its module has another.
MODULES = {"pyyaml": "yaml", "crowd-kit": "crowdkit"}
# What comes with a dependency and is imported by its own name as well.
COMES_WITH = {
    "huggingface_hub": "transformers",
    "markupsafe": "jinja2",
    "rich": "typer",
    "safetensors": "transformers",
    "tokenizers": "transformers",
}


def modules_of(requirements: list[str]) -> set[str]:
    names = [requirement.partition(">")[0].strip() for requirement in requirements]
    return {MODULES.get(name, name) for name in names}


def test_every_core_dependency_is_imported_by_something_and_every_import_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = modules_of(project["dependencies"])
    extras = {name: own for name, own in project["optional-dependencies"].items() if name != "dev"}
    optional = modules_of([item for own in extras.values() for item in own])
    absolute = {name for path in files_in(*ROOMS) for name in imports_of(path)[1]}
    imported = {name.partition(".")[0] for name in absolute} - sys.stdlib_module_names
    assert core - imported == set()
    assert imported - core - optional == set(COMES_WITH)
    assert set(COMES_WITH.values()) <= core
