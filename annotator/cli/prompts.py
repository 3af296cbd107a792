"""`serann prompts`: the questions that listeners are asked."""

from typing import Annotated

import typer


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
