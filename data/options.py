"""Options are declared once, as fields: default, help and limits. Python takes the model or its fields as keywords, and
the command line makes a flag of each (`annotator/cli/options.py`). What does not fit is one OptionError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from .errors import OptionError, alternatives, list_problems

Choices = Callable[[], Iterable[str]]


class CommandOptions(BaseModel):
    """The options of one command that belong together; frozen, and checked when it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(problems_in_words(error, type(self).model_fields)) from None


def option(
    default: Any,
    about: str,
    *,
    choices: Choices | None = None,
    flags: str | None = None,
    metavar: str | None = None,
    panel: str | None = None,
    **limits: Any,
) -> Any:
    """A field: its default, what it is (the flag's help), and limits as pydantic has them (`ge`, `gt`, `le`, `lt`).

    `choices` gives the names that it may have, from a registry; the help lists them in the place of `{choices}`.
    `flags` spells a flag otherwise than --its-name, `metavar` its value; `panel` groups flags in the help.
    """
    said: Any = {"choices": choices, "flags": flags, "metavar": metavar, "panel": panel}
    return Field(default, description=about, json_schema_extra=said, **limits)


def said_of(field: FieldInfo) -> dict[str, Any]:
    """What `option` was told of a field beside its default, help and limits."""
    said = field.json_schema_extra
    return said if isinstance(said, dict) else {}


def help_of(field: FieldInfo) -> str:
    """The help of a field, with the names that it may have.

    >>> help_of(option("a", "One of {choices}.", choices=lambda: ("a", "b", "c")))
    'One of a, b or c.'
    """
    about, choices = field.description or "", said_of(field).get("choices")
    return about.replace("{choices}", alternatives(choices())) if choices else about


def check_choices(options: BaseModel) -> None:
    """OptionError naming every field whose value is none of its choices, with what these are."""
    problems = []
    for name, field in type(options).model_fields.items():
        choices, value = said_of(field).get("choices"), getattr(options, name)
        if choices and value is not None and isinstance(value, str) and value not in (known := list(choices())):
            problems.append(f"unknown {name.replace('_', ' ')} '{value}'; expected one of {', '.join(known)}")
    if problems:
        raise OptionError("; ".join(problems))


def problems_in_words(error: ValidationError, known: Iterable[str]) -> str:
    """Everything that pydantic found, a sentence each; names that are none with what may have been meant."""
    found = []
    for e in error.errors():
        name, said = ".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            near = get_close_matches(name, list(known), n=1)
            found.append(f"there is no option '{name}'{f'; is {near[0]} meant?' if near else ''}")
        elif e["type"] == "missing":
            found.append(f"{name} is missing")
        else:
            found.append(f"{name} is {e['input']!r}: {said[:1].lower()}{said[1:]}" if name else said)
    return found[0] if len(found) == 1 else list_problems("options", found)


M = TypeVar("M", bound=CommandOptions)


def as_options(kind: type[M], options: M | None, keywords: Mapping[str, Any]) -> M:
    """The options of a call: a model, keywords, or a model with some fields given anew by keywords."""
    if options is None:
        return kind(**keywords)
    return kind(**{**dict(options), **keywords}) if keywords else options


def parted(keywords: Mapping[str, Any], kind: type[CommandOptions]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords that are no fields of a model, and those that are."""
    own = {name: value for name, value in keywords.items() if name in kind.model_fields}
    return {name: value for name, value in keywords.items() if name not in own}, own
