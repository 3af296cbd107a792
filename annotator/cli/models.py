"""`serann models`: which models can annotate."""

from typing import Annotated

import typer


def models(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the model families and the models that have a short name.

    Any checkpoint of a listed family works, by its folder or hub id. What a
    model's makers state of the corpora it has met comes with its source;
    what is not stated is unknown, and may well have been trained on.

    Example: serann models
    """
    from pathlib import Path

    from ..models.exposure import CORPORA, UNKNOWN
    from ..models.families import FAMILIES, KNOWN_MODELS
    from .console import note, print_json, print_table

    known = [
        {
            "name": name,
            "family": FAMILIES[model.family].name,
            "location": "embedded" if Path(model.location).is_dir() else model.location,
            "about": model.about,
            "exposure": {
                corpus: (model.exposure[corpus]._asdict() if corpus in model.exposure else {"status": UNKNOWN})
                for corpus in CORPORA
            },
        }
        for name, model in KNOWN_MODELS.items()
    ]
    families = [
        {"family": family.name, "class": family.model_class, "about": family.about} for family in FAMILIES.values()
    ]
    if as_json:
        print_json({"models": known, "families": families})
        return
    head = [name for name in known[0] if name != "exposure"]
    print_table("Models by name", head, [[row[name] for name in head] for row in known])
    statuses = [[corpus, *(row["exposure"][corpus]["status"] for row in known)] for corpus in CORPORA]
    print_table("\nWhat is stated of corpora they have met", ["corpus", *(row["name"] for row in known)], statuses)
    for row in known:
        for source in dict.fromkeys(e["source"] for e in row["exposure"].values() if "source" in e):
            note(f"{row['name']}: {source}")
    print_table("\nFamilies", list(families[0]), [list(row.values()) for row in families])
