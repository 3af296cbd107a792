"""Which of EMO-SUPERB's tables is read: its corpus, whether of primary or secondary emotions, and its fold."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CorpusError, OptionError
from .base import refuse
from .text import read_text

TABLE = re.compile(r"labels_consensus(?:_(?P<fold>.+))?\.csv")
RULE = re.compile(r"\s*(?P<kind>primary|secondary)?\s*(?:fold\s*(?P<fold>\S+))?\s*", re.IGNORECASE)
KINDS = ("Primary", "Secondary")
LOOKED_FOR = (
    "labels_consensus_FOLD.csv in SOURCE, or SOURCE as such a file",
    "Primary/labels_consensus_FOLD.csv or Secondary/labels_consensus_FOLD.csv in SOURCE",
)


class Chosen(NamedTuple):
    """The table that is read: its corpus, its kind (Primary or Secondary) and fold, and config.json's settings."""

    path: Path
    corpus: str
    kind: str
    fold: str
    config: dict[str, Any]


def choose(source: Path, rule: str | None) -> Chosen:
    """The table that SOURCE and `rule` name.

    Raises CorpusError where there is none, OptionError where the rule is none or names a table that is not there.
    """
    said = RULE.fullmatch(rule or "")
    if said is None:
        raise OptionError(f"rule {rule!r} names no table; expected 'fold 1', or 'secondary fold 2', or the like")
    if source.is_file():
        found, folder = TABLE.fullmatch(source.name), source.parent
        if found is None:
            raise refuse("emo-superb", source, LOOKED_FOR)
        tables = {found["fold"] or "": source}
    else:
        folder = _folder(source, said["kind"])
        matches = {path: TABLE.fullmatch(path.name) for path in sorted(folder.iterdir())}
        tables = {match["fold"] or "": path for path, match in matches.items() if match}
    kind = "Secondary" if folder.name.casefold() == "secondary" else "Primary"
    if said["kind"] and said["kind"].casefold() != kind.casefold():
        raise OptionError(f"rule {rule!r} asks for {said['kind']}, but {folder} holds {kind}; name the folder above it")
    fold = said["fold"] or ("1" if "1" in tables or len(tables) > 1 else next(iter(tables)))
    if fold not in tables:
        raise OptionError(f"no fold {fold} in {folder}; there is {', '.join(sorted(tables))}: --rule 'fold …' names it")
    above = folder.parent if folder.name.casefold() in {"primary", "secondary"} else folder
    return Chosen(tables[fold], above.resolve().name, kind, fold, _config(folder, above))


def _folder(source: Path, kind: str | None) -> Path:
    """The folder with tables: SOURCE, or the one of its two that is asked for (Primary unless it is not there)."""
    order = [kind.capitalize()] if kind else list(KINDS)
    for folder in (source, *(source / name for name in order)):
        if folder.is_dir() and any(TABLE.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    raise refuse("emo-superb", source, LOOKED_FOR)


def _config(*folders: Path) -> dict[str, Any]:
    path = next((folder / "config.json" for folder in folders if (folder / "config.json").is_file()), None)
    if path is None:
        return {}
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: no EMO-SUPERB configuration: it is no valid JSON ({error})") from None
    if not isinstance(found, dict):
        raise CorpusError(f"{path}: no EMO-SUPERB configuration: expected a JSON object")
    return found


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of that name; empty where the configuration has none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}
