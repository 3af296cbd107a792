"""What a question file and a panel file may say: pydantic models, with every problem of a file said at once."""

import re
import string
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..data.errors import PromptError

# label: an answer in words; letter: an option's letter; reason: thoughts first, then the label after `Answer:`;
# shares: a percentage for every label.
Form = Literal["label", "letter", "reason", "shares"]
FORMS: tuple[Form, ...] = ("label", "letter", "reason", "shares")
Temperature = Annotated[float, Field(gt=0, le=10)]
ORDERS = ("forward", "backward", "half-turn", "half-turn-backward")
_File = TypeVar("_File", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Focus(_Strict):
    """What one listener attends to."""

    text: str = Field(min_length=1)
    about: str = ""
    needs_transcript: bool = False


class Spoken(_Strict):
    """How the words spoken enter a template, as its field `{spoken}`: with a transcript, and without one."""

    given: str
    missing: str


class Question(_Strict):
    """A question file: the system prompt, one template a form, and the focuses that listeners may have.

    `words` are the answers' words where they are not the labels themselves: another language's, by label. `example` is
    what is asked about each of a panel's examples.
    """

    name: str
    language: str
    about: str = ""
    system: str
    forms: dict[Form, str] = Field(min_length=1)
    focuses: dict[str, Focus] = Field(min_length=1)
    words: dict[str, str] = {}
    spoken: Spoken | None = None
    example: str = ""

    def problems(self) -> list[str]:
        """What is wrong with the templates, each by name."""
        needed = [f"forms.{form}: {{options}} is missing" for form, t in self.forms.items() if "{options}" not in t]
        allowed = ("persona", "focus", "options", *(("spoken",) if self.spoken else ()))
        spoken = {"spoken.given": self.spoken.given} if self.spoken else {}
        return [
            *(f"forms.{form}: {p}" for form, t in self.forms.items() for p in _bad_fields(t, allowed)),
            *needed,
            *(f"focuses.{key}: {p}" for key, f in self.focuses.items() for p in _bad_fields(f.text, ("transcript",))),
            *(f"example: {p}" for p in _bad_fields(self.example, ("options",))),
            *(f"{key}: {p}" for key, t in spoken.items() for p in _bad_fields(t, ("transcript",))),
            *(
                f"focuses.{key}: it uses {{transcript}}, so needs_transcript must be true"
                for key, f in self.focuses.items()
                if "{transcript}" in f.text and not f.needs_transcript
            ),
            *(f"words: '{word}' stands for two labels" for word in sorted(_twice([*self.words.values()]))),
        ]


class AttributeQuestion(_Strict):
    """A file of questions on attributes: one template, and what each dimension asks."""

    name: str
    language: str
    about: str = ""
    template: str
    dimensions: dict[Literal["valence", "arousal", "dominance", "naturalness"], str] = Field(min_length=1)

    def problems(self) -> list[str]:
        """What is wrong with the template and the dimensions' texts, each by name."""
        fields = ("persona", "focus", "question", "points")
        return [
            *(f"template: {p}" for p in _bad_fields(self.template, fields)),
            *(
                f"template: {{{name}}} is missing"
                for name in ("question", "points")
                if f"{{{name}}}" not in self.template
            ),
            *(
                f"dimensions.{key}: {p}"
                for key, text in self.dimensions.items()
                for p in _bad_fields(text, ("low", "high"))
            ),
        ]


class ListenerEntry(_Strict):
    """One listener, written out."""

    focus: str
    temperature: Temperature
    persona: str = ""
    order: str = "forward"
    question: str = ""


class Cross(_Strict):
    """Every combination of what is listed is a listener."""

    focus: list[str] = Field(min_length=1)
    temperature: list[Temperature] = Field(min_length=1)
    persona: list[str] = Field(default=[""], min_length=1)
    order: list[str] = Field(default=["forward"], min_length=1)
    question: list[str] = Field(default=[""], min_length=1)


class ExampleEntry(_Strict):
    """An utterance of the corpus's train split, or a sound file (relative to the panel's), and its label."""

    utterance: str = ""
    audio: str = ""
    label: str = Field(min_length=1)


class PanelFile(_Strict):
    """A panel file. With `personas` (name to text), listeners name their persona; without, they write it out.

    A listener's `question` is the panel's where it names none. `examples` are heard, with their labels, before what is
    asked; `examples_per_label` chooses that many of each label from the corpus.
    """

    name: str
    about: str = ""
    question: str
    form: Form
    personas: dict[Annotated[str, Field(pattern=r"^[\w-]+$")], str] = {}
    cross: Cross | None = None
    listeners: list[ListenerEntry] = []
    examples: list[ExampleEntry] = []
    examples_per_label: int = Field(default=0, ge=0, le=5)


def find_file(name: str | Path, folder: Path, what: str, known: Sequence[str]) -> Path:
    """The file of a `known` name in `folder`, or the path if it ends in `.toml`; `PromptError` names what there is."""
    if str(name).endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise PromptError(f"{what} file {path} was not found")
        return path
    if str(name) not in known:
        raise PromptError(f"unknown {what} '{name}'; expected one of {', '.join(known)}, or a path ending in .toml")
    return folder / f"{name}.toml"


def parse_file(path: Path, model: type[_File]) -> _File:
    """Read a TOML file as `model`; `PromptError` with every problem, unknown keys by name."""
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {_plain(item)}" for item in error.errors()]
        raise PromptError(f"{path}: " + "; ".join(problems)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise PromptError(f"{path} cannot be read as TOML: {error}") from None


def shuffle_seed(order: str) -> int | None:
    """N of an order `shuffle-N`, None for any other."""
    found = re.fullmatch(r"shuffle-(\d{1,9})", order)
    return int(found[1]) if found else None


def unknown_order(order: str) -> str:
    """The sentence that refuses a label order."""
    return f"unknown label order '{order}'; expected one of {', '.join(ORDERS)}, or shuffle-N"


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


def _twice(values: Sequence[str]) -> set[str]:
    return {value for value in values if values.count(value) > 1}
