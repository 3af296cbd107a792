"""`serann panels`: the listener panels, and what each listener is asked."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ...prompts.loader import Panel


def panels(
    name: Annotated[
        str | None, typer.Argument(help="A panel by name, or a .toml file; all are listed without.")
    ] = None,
    render: Annotated[bool, typer.Option("--render", help="Show the text each listener is asked.")] = False,
    labels: Annotated[str, typer.Option(help="The label set to render with.")] = "demo6",
    transcript: Annotated[str, typer.Option(help="The transcript to render with.")] = "I told you so.",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the listener panels, or show one with its listeners.

    The embedded checkpoint (--model demo) was trained on the questions of
    crossed and letters alone; what it answers to other panels means little.

    Example: serann panels crossed --render
    """
    from ...prompts.loader import list_panels, load_panel
    from .console import note, print_json, print_table

    if name is None:
        rows = [
            {
                "panel": panel.name,
                "listeners": len(panel.listeners),
                "question": panel.question.name,
                "about": panel.about,
            }
            for panel in map(load_panel, list_panels())
        ]
        if as_json:
            print_json(rows)
        else:
            print_table("Listener panels", list(rows[0]), [list(row.values()) for row in rows])
            note("\nthe embedded checkpoint (--model demo) was trained on the questions of crossed and letters alone")
        return
    panel = load_panel(name)
    rows, examples = _listeners(panel, labels, transcript, render), _examples(panel, labels) if render else []
    if as_json:
        found = {"panel": panel.name, "about": panel.about, "system": panel.question.system, "listeners": rows}
        print_json({**found, "examples": examples} if render else found)
        return
    columns = [column for column in rows[0] if column not in ("text", "question")]
    print_table(f"{panel.name}: {panel.about}", columns, [[row[c] for c in columns] for row in rows])
    if render:
        _print_texts(panel, rows, examples)


def _listeners(panel: "Panel", labels: str, transcript: str, with_text: bool) -> list[dict[str, Any]]:
    from ...data.labels import label_set
    from ...prompts.loader import fingerprint
    from ...prompts.loader import render as rendered

    names = label_set(labels).labels
    rows = []
    for item in panel.listeners:
        row = {
            "listener": item.listener,
            "question": item.question,
            "focus": item.focus,
            "temperature": f"{item.temperature:g}",
            "order": item.order,
            "rater": item.rater,
            "prompt": fingerprint(panel.question_of(item), item)[7:15],
        }
        if with_text:
            row["text"] = rendered(panel.question_of(item), item, names, transcript).text
        rows.append(row)
    return rows


def _examples(panel: "Panel", labels: str) -> list[dict[str, str]]:
    """The turns before the question: of the examples that the panel names, then of those it takes from a corpus."""
    from ...data.labels import label_set

    if not panel.examples and not panel.examples_per_label:
        return []
    question, names = panel.question, label_set(labels).labels
    text = question.example.format(options=", ".join(question.words.get(name, name) for name in names))
    named = [(str(item.utterance or item.audio), item.label) for item in panel.examples]
    chosen = [(f"an utterance of the train split heard as {name}", name) for name in names]
    return [
        {"audio": audio, "text": text, "answer": question.words.get(label, label)}
        for audio, label in [*named, *(item for item in chosen for _ in range(panel.examples_per_label))]
    ]


def _print_texts(panel: "Panel", rows: list[dict[str, Any]], examples: list[dict[str, str]]) -> None:
    from textwrap import indent

    print(f"\nsystem: {panel.question.system}")
    if examples:
        print("\nexamples, heard before every utterance:")
    for turn in examples:
        print(f"  [audio: {turn['audio']}]\n{indent(turn['text'], '  ')}\n  answer: {turn['answer']}")
    for rater in dict.fromkeys(row["rater"] for row in rows):
        text = next(row["text"] for row in rows if row["rater"] == rater)
        print(f"\n{rater}:\n  [audio]\n{indent(text, '  ')}")


# --------------------
# `serann prompts`: the questions that listeners are asked.


def prompts(
    name: Annotated[
        str | None, typer.Argument(help="A question by name, or a .toml file; all are listed without.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the questions, or show one: its system prompt, templates and focuses.

    A question on attributes (valence, arousal, dominance) shows what it asks
    about each.

    Example: serann prompts emotion
    """
    from ...prompts.loader import list_attributes, list_questions, load_attributes, load_question
    from .console import note, print_json, print_table

    if name is None:
        rows = [
            {
                "question": question.name,
                "language": question.language,
                "forms": list(question.forms),
                "about": question.about,
            }
            for question in map(load_question, list_questions())
        ]
        rows += [
            {"question": question.name, "language": question.language, "forms": [], "about": question.about}
            for question in map(load_attributes, list_attributes())
        ]
        if as_json:
            print_json(rows)
        else:
            shown = [[r["question"], r["language"], ", ".join(r["forms"]), r["about"]] for r in rows]
            print_table("Questions", ["question", "language", "forms", "about"], shown)
        return
    if name in list_attributes():
        attributes = load_attributes(name)
        if as_json:
            print_json(attributes.model_dump())
            return
        note(f"{attributes.name} ({attributes.language}): {attributes.about}\ntemplate: {attributes.template}")
        print_table(
            "Dimensions", ["dimension", "question"], [[key, text] for key, text in attributes.dimensions.items()]
        )
        return
    question = load_question(name)
    if as_json:
        print_json(question.model_dump())
        return
    note(f"{question.name} ({question.language}): {question.about}")
    print_table(
        "System prompt and templates",
        ["part", "text"],
        [["system", question.system], *([f"form {form}", text] for form, text in question.forms.items())],
    )
    if question.words:
        print_table("\nWords", ["label", "word"], [[label, word] for label, word in question.words.items()])
    print_table("\nFocuses", ["focus", "text"], [[key, focus.text] for key, focus in question.focuses.items()])


# --------------------
# `serann models`: which models can annotate.


def models(
    name: Annotated[str | None, typer.Argument(help="A model's short name: all about it.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the model families and the models that have a short name, or show one model.

    Any checkpoint of a listed family works, by its folder or hub id. What a
    model's makers state of the corpora it has met comes with its source;
    what is not stated is unknown, and may well have been trained on.

    Example: serann models qwen2-audio
    """
    from ...data.errors import OptionError
    from ..models.families import FAMILIES, KNOWN_MODELS
    from .console import note, print_json, print_table

    if name is not None and name not in KNOWN_MODELS:
        raise OptionError(
            f"no model has the short name '{name}'; expected one of {', '.join(KNOWN_MODELS)} (any other checkpoint of "
            "a family is named by its folder or hub id)"
        )
    known = [_model_row(one) for one in KNOWN_MODELS if name in (None, one)]
    families = [
        {"family": family.name, "class": family.model_class, "about": family.about}
        for family in FAMILIES.values()
        if name is None or family.name == known[0]["family"]
    ]
    if as_json:
        print_json({"models": known, "families": families})
        return
    head = [key for key in known[0] if key != "exposure"]
    print_table("Models by name", head, [[row[key] for key in head] for row in known])
    corpora = list(known[0]["exposure"])
    statuses = [[corpus, *(row["exposure"][corpus]["status"] for row in known)] for corpus in corpora]
    print_table("\nWhat is stated of corpora they have met", ["corpus", *(row["name"] for row in known)], statuses)
    for row in known:
        for source in dict.fromkeys(e["source"] for e in row["exposure"].values() if "source" in e):
            note(f"{row['name']}: {source}")
    print_table("\nFamilies", list(families[0]), [list(row.values()) for row in families])


def _model_row(name: str) -> dict[str, Any]:
    """What is known of a model with a short name."""
    from pathlib import Path

    from ..models.exposure import CORPORA, UNKNOWN
    from ..models.families import FAMILIES, KNOWN_MODELS

    model = KNOWN_MODELS[name]
    return {
        "name": name,
        "family": FAMILIES[model.family].name,
        "location": "embedded" if Path(model.location).is_dir() else model.location,
        "about": model.about,
        "exposure": {
            corpus: (model.exposure[corpus]._asdict() if corpus in model.exposure else {"status": UNKNOWN})
            for corpus in CORPORA
        },
    }
