"""`serann models`: which models can annotate."""

from typing import Annotated

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the model families and the models that have a short name.

    Any checkpoint of a listed family works, by its folder or hub id.

    Example: serann models
    """
    from pathlib import Path

    from ..models.families import FAMILIES, KNOWN_MODELS
    from .console import print_json, print_table

    known = [
        {
            "name": name,
            "family": FAMILIES[model.family].name,
            "location": "embedded" if Path(model.location).is_dir() else model.location,
            "about": model.about,
        }
        for name, model in KNOWN_MODELS.items()
    ]
    families = [
        {"family": family.name, "class": family.model_class, "about": family.about} for family in FAMILIES.values()
    ]
    if as_json:
        print_json({"models": known, "families": families})
        return
    print_table("Models by name", list(known[0]), [list(row.values()) for row in known])
    print_table("\nFamilies", list(families[0]), [list(row.values()) for row in families])
