"""Recipes: training options by name, in YAML files whose first line is the command that runs them."""

from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from ..data.errors import OptionError, list_problems
from .options import TrainOptions

FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """The recipes that come with serann, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def about_recipe(name: str) -> str:
    """The first sentence of a recipe's own comment, after its command."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[2:]
    words = " ".join(line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines))
    return words.partition(". ")[0]


def read_recipe(name: str | Path) -> dict[str, Any]:
    """The options of a recipe: one of `recipe_names`, or a file of your own.

    Raises OptionError for a name that is none, a file that is no YAML mapping, keys that are no options, all named, and
    keys that are given twice.
    """
    path = FOLDER / f"{name}.yaml" if str(name) in recipe_names() else Path(name)
    if not path.is_file():
        meant = _meant(str(name), recipe_names())
        raise OptionError(f"no recipe '{name}': no such file, and serann's own are {', '.join(recipe_names())}{meant}")
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=_EachKeyOnce)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OptionError(f"recipe {path} cannot be read: {_first_line(error)}") from None
    if not isinstance(found, dict):
        raise OptionError(f"recipe {path}: expected lines of 'option: value', as in 'loss: kl'")
    known = list(TrainOptions.model_fields)
    unknown = [f"{key}: no such option{_meant(str(key), known)}" for key in found if key not in known]
    if unknown:
        raise OptionError(list_problems(f"recipe {path}", unknown))
    return found


class _EachKeyOnce(yaml.SafeLoader):
    """Of a key that is given twice YAML's own loader takes the last, without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, list[int]] = {}
        for key, _ in node.value:
            lines.setdefault(str(key.value), []).append(key.start_mark.line + 1)
        twice = [f"{key} is given in lines {' and '.join(map(str, at))}" for key, at in lines.items() if len(at) > 1]
        if twice:
            raise yaml.YAMLError(f"{', '.join(twice)}; keep one of each")
        return super().construct_mapping(node, deep=deep)


def _meant(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"; is {near[0]} meant?" if near else ""


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
