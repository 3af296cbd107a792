"""What serann's own exports say of themselves: label set, scale of the ratings, and whether all is simulated."""

from dataclasses import replace
from pathlib import Path

from ..errors import SerannError
from ..files import read_json
from ..labels import LabelSet
from .base import Options
from .tables.columns import load_mapping


def with_exported_facts(folder: Path, options: Options) -> tuple[Options, bool]:
    """The options, completed by the folder's export.json, if it is one of serann's; and whether it was simulated.

    What the user said stays.
    """
    if not (folder / "export.json").is_file():
        return options, False
    try:
        said = read_json(folder / "export.json", what="export")
        labels = LabelSet.from_json(said["labels"])
        scale = [float(end) for end in said.get("scale") or ()]
    except (SerannError, KeyError, TypeError, ValueError):
        return options, False  # somebody else's file of that name
    mapping = load_mapping(options)
    columns = dict(options.columns)
    if len(scale) == 2 and mapping.scale is None and scale[0] < scale[1]:
        columns["scale"] = f"{scale[0]!r}..{scale[1]!r}"
    chosen = options.labels or (None if mapping.labels else labels)
    return replace(options, columns=columns, labels=chosen), said.get("simulated") is True
