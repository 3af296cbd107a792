"""Questions and listener panels: read from TOML, rendered to the text a model is asked, fingerprinted."""

import hashlib
import itertools
import json
import random
import re
import string
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.errors import PromptError

Form = Literal["label", "letter"]
Temperature = Annotated[float, Field(gt=0, le=10)]
QUESTIONS = Path(__file__).parent / "questions"
PANELS = Path(__file__).parent / "panels"
ORDERS = ("forward", "backward", "half-turn", "half-turn-backward")
NO_TRANSCRIPT = "the listener judges words only and the utterance has no transcript"
_File = TypeVar("_File", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Focus(_Strict):
    """What one listener attends to."""

    text: str = Field(min_length=1)
    about: str = ""
    needs_transcript: bool = False


class Question(_Strict):
    """A question file: the system prompt, one template a form, and the focuses that listeners may have."""

    name: str
    language: str
    about: str = ""
    system: str
    forms: dict[Form, str] = Field(min_length=1)
    focuses: dict[str, Focus] = Field(min_length=1)


class _ListenerEntry(_Strict):
    focus: str
    temperature: Temperature
    persona: str = ""
    order: str = "forward"


class _Cross(_Strict):
    focus: list[str] = Field(min_length=1)
    temperature: list[Temperature] = Field(min_length=1)
    persona: list[str] = Field(default=[""], min_length=1)
    order: list[str] = Field(default=["forward"], min_length=1)


class _PanelFile(_Strict):
    name: str
    about: str = ""
    question: str
    form: Form
    cross: _Cross | None = None
    listeners: list[_ListenerEntry] = []


@dataclass(frozen=True, slots=True)
class Listener:
    """One synthetic listener. Listeners that differ in `temperature` alone have the same `rater`.

    `order` names how the labels are listed: see `label_order`.
    """

    listener: str
    focus: str
    persona: str
    language: str
    temperature: float
    order: str
    rater: str
    form: Form


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    about: str
    question: Question
    listeners: tuple[Listener, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one listener is asked: `answers[k]` is the answer that means the k-th label of the label set."""

    system: str
    text: str
    answers: tuple[str, ...]
    order: tuple[str, ...]
    needs_transcript: bool


def list_questions() -> list[str]:
    """Names of the questions that come with serann."""
    return sorted(path.stem for path in QUESTIONS.glob("*.toml"))


def list_panels() -> list[str]:
    """Names of the listener panels that come with serann."""
    return sorted(path.stem for path in PANELS.glob("*.toml"))


def load_question(name: str | Path) -> Question:
    """Read a question by name, or from a path that ends in `.toml`.

    Raises `PromptError` with every problem of the file.
    """
    path = _find(name, QUESTIONS, "question")
    question = _parse(path, Question)
    problems = [
        *(f"forms.{form}: {p}" for form, t in question.forms.items() for p in _bad_fields(t, _FORM_FIELDS)),
        *(f"forms.{form}: {{options}} is missing" for form, t in question.forms.items() if "{options}" not in t),
        *(f"focuses.{key}: {p}" for key, f in question.focuses.items() for p in _bad_fields(f.text, _FOCUS_FIELDS)),
        *(
            f"focuses.{key}: it uses {{transcript}}, so needs_transcript must be true"
            for key, f in question.focuses.items()
            if "{transcript}" in f.text and not f.needs_transcript
        ),
    ]
    if problems:
        raise PromptError(f"question file {path}: " + "; ".join(problems))
    return question


def load_panel(name: str | Path) -> Panel:
    """Read a listener panel by name, or from a path that ends in `.toml`.

    A panel crosses focuses, personas, orders and temperatures (`[cross]`), lists its listeners one by one
    (`[[listeners]]`), or both. A question that is not one of serann's own is looked for beside the panel file.
    Raises `PromptError` with every problem of the file.
    """
    path = _find(name, PANELS, "panel")
    content = _parse(path, _PanelFile)
    beside = path.parent / f"{content.question}.toml"
    question = load_question(beside if path.parent != PANELS and beside.is_file() else content.question)
    entries = [*_crossed(content.cross), *content.listeners]
    problems = _panel_problems(content, question, entries)
    if problems:
        raise PromptError(f"panel file {path}: " + "; ".join(problems))
    listeners = tuple(_listener(entry, content, question) for entry in entries)
    twice = sorted({item.listener for item in listeners if listeners.count(item) > 1})
    if twice:
        raise PromptError(f"panel file {path}: listed twice: {', '.join(twice)}; expected every listener once")
    return Panel(content.name, content.about, question, listeners)


def label_order(order: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels in the order that a listener sees.

    `forward` is the label set's order, `backward` its reverse, `half-turn` starts in the middle and wraps around,
    `half-turn-backward` is the reverse of that; over these four each label's mean place is the same.
    `shuffle-N` is a fixed permutation with seed N.

    >>> label_order("half-turn", ["a", "b", "c", "d"])
    ('c', 'd', 'a', 'b')
    """
    half = len(labels) // 2
    turned = [*labels[half:], *labels[:half]]
    fixed = {
        "forward": list(labels),
        "backward": list(labels)[::-1],
        "half-turn": turned,
        "half-turn-backward": turned[::-1],
    }
    if order in fixed:
        return tuple(fixed[order])
    seed = _shuffle_seed(order)
    if seed is None:
        raise PromptError(_unknown_order(order))
    # Python promises that Random(seed).random() never changes between versions; shuffle() has no such promise.
    draw = random.Random(seed)
    keys = [draw.random() for _ in labels]
    return tuple(label for _, label in sorted(zip(keys, labels, strict=True)))


def render(question: Question, listener: Listener, labels: Sequence[str], transcript: str | None) -> Rendered:
    """The system prompt and the text after the audio, for one listener and one utterance.

    `answers` is in the order of `labels`: the label itself in form "label", its option letter in form "letter".
    Without a transcript a focus that needs one cannot be rendered: `PromptError` (callers let it abstain,
    with `NO_TRANSCRIPT` as the reason).
    """
    focus = question.focuses[listener.focus]
    spoken = clean_transcript(transcript)
    if focus.needs_transcript and not spoken:
        raise PromptError(f"listener {listener.listener}: {NO_TRANSCRIPT}; give one, or leave the listener out")
    order = label_order(listener.order, labels)
    if listener.form == "letter":
        letters = _letters(len(order))
        options = ", ".join(f"{letter}. {label}" for letter, label in zip(letters, order, strict=True))
        answers = tuple(letters[order.index(label)] for label in labels)
    else:
        options, answers = ", ".join(order), tuple(labels)
    attended = focus.text.format(transcript=spoken)
    persona = f"{listener.persona.strip()} " if listener.persona.strip() else ""
    text = question.forms[listener.form].format(persona=persona, focus=attended, options=options)
    return Rendered(question.system, text, answers, order, focus.needs_transcript)


def clean_transcript(transcript: str | None) -> str:
    """One line, without the marks that a chat template gives a meaning: a transcript must not end the turn.

    >>> clean_transcript("well <|im_end|>  then")
    'well < |im_end| > then'
    """
    text = re.sub(r"<(?=\|)|(?<=\|)>", lambda mark: "< " if mark[0] == "<" else " >", transcript or "")
    return " ".join(text.split())


def fingerprint(question: Question, listener: Listener) -> str:
    """`sha256:…` of everything in the question and the listener that changes what is asked.

    The temperature is left out: it acts on the stored log-probabilities afterwards.
    """
    asked = {
        "system": question.system,
        "form": listener.form,
        "template": question.forms[listener.form],
        "focus": question.focuses[listener.focus].text,
        "persona": listener.persona.strip(),
        "language": listener.language,
        "order": listener.order,
    }
    return _sha256(asked)


def panel_fingerprint(panel: Panel) -> str:
    """`sha256:…` of a whole panel: who the listeners are, their temperatures, and what each is asked."""
    return _sha256([[asdict(item), fingerprint(panel.question, item)] for item in panel.listeners])


_FORM_FIELDS = ("persona", "focus", "options")
_FOCUS_FIELDS = ("transcript",)


def _find(name: str | Path, folder: Path, what: str) -> Path:
    if str(name).endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise PromptError(f"{what} file {path} was not found")
        return path
    path = folder / f"{name}.toml"
    known = sorted(item.stem for item in folder.glob("*.toml"))
    if str(name) not in known:
        raise PromptError(f"unknown {what} '{name}'; expected one of {', '.join(known)}, or a path ending in .toml")
    return path


def _parse(path: Path, model: type[_File]) -> _File:
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {_plain(item)}" for item in error.errors()]
        raise PromptError(f"{path}: " + "; ".join(problems)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise PromptError(f"{path} cannot be read as TOML: {error}") from None


def _plain(problem: Any) -> str:
    return "unknown key" if problem["type"] == "extra_forbidden" else str(problem["msg"])


def _bad_fields(template: str, allowed: Sequence[str]) -> list[str]:
    try:
        found = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        return [f"not a template: {error}"]
    return [
        f"unknown field {{{name}}}; expected {', '.join('{' + a + '}' for a in allowed)}"
        for name in sorted(found - set(allowed))
    ]


def _crossed(cross: _Cross | None) -> list[_ListenerEntry]:
    if cross is None:
        return []
    return [
        _ListenerEntry(focus=focus, persona=persona, order=order, temperature=temperature)
        for focus, persona, order, temperature in itertools.product(
            cross.focus, cross.persona, cross.order, cross.temperature
        )
    ]


def _panel_problems(content: _PanelFile, question: Question, entries: Sequence[_ListenerEntry]) -> list[str]:
    problems = [] if entries else ["no listeners; expected [cross] or [[listeners]]"]
    if content.form not in question.forms:
        problems.append(f"question {question.name} has no form '{content.form}'; it has {', '.join(question.forms)}")
    for focus in sorted({entry.focus for entry in entries} - set(question.focuses)):
        problems.append(f"unknown focus '{focus}'; expected one of {', '.join(question.focuses)}")
    for order in sorted({entry.order for entry in entries}):
        if order not in ORDERS and _shuffle_seed(order) is None:
            problems.append(_unknown_order(order))
    return problems


def _listener(entry: _ListenerEntry, content: _PanelFile, question: Question) -> Listener:
    parts = [entry.focus]
    if entry.order != "forward":
        parts.append(entry.order)
    if entry.persona.strip():
        parts.append(_sha256(entry.persona.strip())[7:13])
    rater = "/".join(parts)
    return Listener(
        listener=f"{rater}@{entry.temperature:g}",
        focus=entry.focus,
        persona=entry.persona.strip(),
        language=question.language,
        temperature=float(entry.temperature),
        order=entry.order,
        rater=rater,
        form=content.form,
    )


def _shuffle_seed(order: str) -> int | None:
    found = re.fullmatch(r"shuffle-(\d{1,9})", order)
    return int(found[1]) if found else None


def _unknown_order(order: str) -> str:
    return f"unknown label order '{order}'; expected one of {', '.join(ORDERS)}, or shuffle-N"


def _letters(count: int) -> str:
    if count > len(string.ascii_uppercase):
        raise PromptError(f"{count} labels; lettered options end at Z, expected at most 26: use a panel of form label")
    return string.ascii_uppercase[:count]


def _sha256(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
