"""`import serann`: every public name stands in three places that agree, is there, and costs nothing before its use."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import serann

ROOT = Path(__file__).parents[1]


def typed_names() -> dict[str, str]:
    """Name to module, as the imports under TYPE_CHECKING have it."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {a.name: node.module or "" for node in block.body if isinstance(node, ast.ImportFrom) for a in node.names}


def test_names_for_the_type_checker_are_those_that_are_imported():
    assert typed_names() == serann.NAMES
    assert sorted(serann.__all__) == sorted([*serann.NAMES, "__version__"])
    assert set(serann.__all__) <= set(dir(serann))


@pytest.mark.parametrize("name", sorted(serann.NAMES))
def test_every_name_is_its_modules(name):
    assert getattr(serann, name) is getattr(import_module(f"serann.{serann.NAMES[name]}"), name)


def test_a_name_that_is_not_there_is_a_sentence():
    with pytest.raises(AttributeError, match="has no attribute 'anotate'; it has LABEL_SETS, LabelSet"):
        _ = serann.anotate  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_serann_imports_no_room():
    code = "import sys, serann; print(*[m for m in sys.modules if m.startswith('serann.')], 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_python_m_serann_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "serann", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"serann {serann.__version__}\n"
