"""Commands' flags from the models that declare their options (`data/options.py`): one flag a field."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ...data.options import CommandOptions, said_of


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter that is a model of options by its fields' flags, and hand the model over in their place.

    The fields stand in the command's `declared`, from which `choices.Command` writes the help when it is asked for.
    """
    own = inspect.signature(function, eval_str=True)
    models = {name: p.annotation for name, p in own.parameters.items() if _is_model(p.annotation)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name in models:
            parameters += [_flag(key, field) for key, field in models[name].model_fields.items()]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(function)
    def command(**given: Any) -> None:
        for name, model in models.items():
            given[name] = model(**{key: _read(field, given.pop(key)) for key, field in model.model_fields.items()})
        function(**given)

    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.declared = {key: f for model in models.values() for key, f in model.model_fields.items()}  # type: ignore[attr-defined]
    return command


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, CommandOptions)


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    """One flag with its default."""
    said, kind = said_of(field), _kind(field.annotation)
    default = field.get_default(call_default_factory=True)
    if isinstance(default, tuple | list):
        default = ",".join(default)
    names = [said["flags"]] if said.get("flags") else []
    if not names and kind is bool and default is False:
        names = [f"--{name.replace('_', '-')}"]
    flag = typer.Option(
        *names,
        help=field.description,
        metavar=said.get("metavar"),
        rich_help_panel=said.get("panel"),
        show_default=default is not False and default not in (None, ""),
    )
    annotation = Annotated[kind | None if default is None else kind, flag]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _kind(annotation: Any) -> Any:
    """The type of a flag's value: text for names, paths and lists of names, else the field's own."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return str if str in kinds or len(kinds) > 1 else _kind(kinds[0])
    if annotation is Any or get_origin(annotation) in (Literal, Sequence, tuple, list):
        return str
    return annotation


def _read(field: FieldInfo, value: Any) -> Any:
    """A flag's text as the field's value: names by commas become a tuple."""
    if isinstance(value, str) and _is_sequence(field.annotation):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _is_sequence(annotation: Any) -> bool:
    return get_origin(annotation) in (Sequence, tuple, list)
