"""Questions and listener panels, read from TOML; with what `rendering` does with them, all that others import."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..data.errors import PromptError, few
from .files import (
    ORDERS,
    AttributeQuestion,
    Cross,
    ExampleEntry,
    Focus,
    Form,
    ListenerEntry,
    PanelFile,
    Question,
    find_file,
    parse_file,
    shuffle_seed,
    unknown_order,
)
from .rendering import (
    NO_TRANSCRIPT,
    Listener,
    Rendered,
    Shown,
    clean_transcript,
    fingerprint,
    label_order,
    render,
    sha256_of,
)

__all__ = [
    "NO_TRANSCRIPT",
    "Listener",
    "Panel",
    "Question",
    "Rendered",
    "Shown",
    "clean_transcript",
    "fingerprint",
    "label_order",
    "list_attributes",
    "list_panels",
    "list_questions",
    "load_attributes",
    "load_panel",
    "load_question",
    "panel_fingerprint",
    "render",
    "with_form",
]

QUESTIONS = Path(__file__).parent / "questions"
PANELS = Path(__file__).parent / "panels"


@dataclass(frozen=True, slots=True)
class Panel:
    """Listeners with what they are asked: `question` is the panel's own, `questions` holds every listener's by name.

    A few-shot panel has `examples`, or says how many of each label are to be chosen from a corpus; `folder` is where
    its file lies.
    """

    name: str
    about: str
    question: Question
    listeners: tuple[Listener, ...]
    questions: Mapping[str, Question]
    examples: tuple[ExampleEntry, ...] = ()
    examples_per_label: int = 0
    folder: Path = PANELS

    def question_of(self, listener: Listener) -> Question:
        """The question that a listener is asked."""
        return self.questions[listener.question]

    def focus_of(self, listener: Listener) -> Focus:
        """What a listener attends to."""
        return self.question_of(listener).focuses[listener.focus]


def list_questions() -> list[str]:
    """Names of the questions that come with serann."""
    return sorted(path.stem for path in QUESTIONS.glob("*.toml") if not path.stem.startswith("attributes"))


def list_attributes() -> list[str]:
    """Names of the files of questions on attributes: they lie beside the questions, and begin with that word."""
    return sorted(path.stem for path in QUESTIONS.glob("attributes*.toml"))


def list_panels() -> list[str]:
    """Names of the listener panels that come with serann."""
    return sorted(path.stem for path in PANELS.glob("*.toml"))


def load_question(name: str | Path) -> Question:
    """Read a question by name, or from a path that ends in `.toml`.

    Raises `PromptError` with every problem of the file.
    """
    path = find_file(name, QUESTIONS, "question", list_questions())
    question = parse_file(path, Question)
    if problems := question.problems():
        raise PromptError(f"question file {path}: " + "; ".join(problems))
    return question


def load_attributes(name: str | Path = "attributes") -> AttributeQuestion:
    """Read the questions on attributes (valence, arousal, dominance) by name, or from a path that ends in `.toml`."""
    path = find_file(name, QUESTIONS, "attribute question", list_attributes())
    question = parse_file(path, AttributeQuestion)
    if problems := question.problems():
        raise PromptError(f"attribute question file {path}: " + "; ".join(problems))
    return question


def load_panel(name: str | Path) -> Panel:
    """Read a listener panel by name, or from a path that ends in `.toml`.

    A panel crosses questions, focuses, personas, orders and temperatures (`[cross]`), lists its listeners one by one
    (`[[listeners]]`), or both. A question that is not one of serann's own is looked for beside the panel file.
    Raises `PromptError` with every problem of the file.
    """
    path = find_file(name, PANELS, "panel", list_panels())
    content = parse_file(path, PanelFile)
    entries = [*_crossed(content.cross), *content.listeners]
    names = dict.fromkeys([content.question, *(entry.question for entry in entries if entry.question)])
    questions = {asked: _panel_question(asked, path) for asked in names}
    problems = _panel_problems(content, questions, entries)
    if problems:
        raise PromptError(f"panel file {path}: " + "; ".join(problems))
    listeners = tuple(_listener(entry, content, questions) for entry in entries)
    twice = sorted({item.listener for item in listeners if listeners.count(item) > 1})
    if twice:
        raise PromptError(f"panel file {path}: listed twice: {few(twice)}; expected every listener once")
    return Panel(
        content.name,
        content.about,
        questions[content.question],
        listeners,
        questions,
        examples=tuple(content.examples),
        examples_per_label=content.examples_per_label,
        folder=path.parent,
    )


def with_form(panel: Panel, form: Form) -> Panel:
    """The same listeners, asked in another form; `PromptError` if one of their questions has no such form."""
    lacking = sorted({i.question for i in panel.listeners if form not in panel.question_of(i).forms})
    if lacking:
        raise PromptError(
            f"panel {panel.name}: its question {', '.join(lacking)} has no form '{form}'; "
            f"it has {', '.join(panel.questions[lacking[0]].forms)}: add a template for it, or choose another panel"
        )
    return replace(panel, listeners=tuple(replace(item, form=form) for item in panel.listeners))


def panel_fingerprint(panel: Panel) -> str:
    """`sha256:…` of a whole panel: who the listeners are, their temperatures, and what each is asked."""
    described = []
    for item in panel.listeners:
        who = asdict(item)
        del who["question"]  # a name; what the question asks is in the fingerprint
        described.append([who, fingerprint(panel.question_of(item), item)])
    if panel.examples or panel.examples_per_label:
        described.append([[item.model_dump() for item in panel.examples], panel.examples_per_label])
    return sha256_of(described)


def _panel_question(name: str, panel: Path) -> Question:
    beside = panel.parent / f"{name}.toml"
    return load_question(beside if panel.parent != PANELS and beside.is_file() else name)


def _crossed(cross: Cross | None) -> list[ListenerEntry]:
    if cross is None:
        return []
    return [
        ListenerEntry(question=question, focus=focus, persona=persona, order=order, temperature=temperature)
        for question, focus, persona, order, temperature in itertools.product(
            cross.question, cross.focus, cross.persona, cross.order, cross.temperature
        )
    ]


def _panel_problems(
    content: PanelFile, questions: Mapping[str, Question], entries: Sequence[ListenerEntry]
) -> list[str]:
    problems = [] if entries else ["no listeners; expected [cross] or [[listeners]]"]
    for name, question in questions.items():
        if content.form not in question.forms:
            problems.append(f"question {name} has no form '{content.form}'; it has {', '.join(question.forms)}")
        used = {entry.focus for entry in entries if (entry.question or content.question) == name}
        for focus in sorted(used - set(question.focuses)):
            problems.append(f"unknown focus '{focus}'; expected one of {', '.join(question.focuses)}")
    if len({question.system for question in questions.values()}) > 1:
        problems.append("its questions have different system prompts; expected one, so that listeners share the audio")
    for order in sorted({entry.order for entry in entries}):
        if order not in ORDERS and shuffle_seed(order) is None:
            problems.append(unknown_order(order))
    if content.examples or content.examples_per_label:
        problems += _example_problems(content, questions)
    for persona in sorted({entry.persona for entry in entries if content.personas} - {"", *content.personas}):
        problems.append(f"unknown persona '{persona}'; expected one of {', '.join(content.personas)}")
    return problems


def _example_problems(content: PanelFile, questions: Mapping[str, Question]) -> list[str]:
    problems = [
        f"examples.{i}: expected either an utterance or an audio file"
        for i, entry in enumerate(content.examples)
        if bool(entry.utterance) == bool(entry.audio)
    ]
    if content.form == "letter":
        problems.append("examples answer in words, expected form 'label' (letters mean something else in each order)")
    if not all(question.example for question in questions.values()) or len(questions) > 1:
        problems.append("examples need one question that all listeners share, with an 'example' text")
    return problems


def _listener(entry: ListenerEntry, content: PanelFile, questions: Mapping[str, Question]) -> Listener:
    question = questions[entry.question or content.question]
    persona = content.personas.get(entry.persona, entry.persona).strip()
    parts = [entry.focus]
    if question.name != questions[content.question].name:
        parts.append(question.name)
    if entry.order != "forward":
        parts.append(entry.order)
    if persona:
        parts.append(entry.persona if content.personas else sha256_of(persona)[7:13])
    rater = "/".join(parts)
    return Listener(
        listener=f"{rater}@{entry.temperature:g}",
        focus=entry.focus,
        persona=persona,
        language=question.language,
        temperature=float(entry.temperature),
        order=entry.order,
        rater=rater,
        form=content.form,
        question=entry.question or content.question,
    )
