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
