"""Commands' flags from the models that declare their options (`data/options.py`): one flag a field."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from ...data.options import CommandOptions, help_of, said_of


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter that is a model of options by its fields' flags, and hand the model over in their place.

    A parameter annotated `Annotated[dict[str, Any], Model]` is handed what was given alone, unchecked: for commands
    that take defaults from elsewhere (a recipe).
    """
    own = inspect.signature(function, eval_str=True)
    models = {name: found for name, p in own.parameters.items() if (found := _model_of(p.annotation)) is not None}
    parameters: list[inspect.Parameter] = []
    for name, parameter in own.parameters.items():
        if name not in models:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        model, checked = models[name]
        parameters += [_flag(key, field, shown=checked) for key, field in model.model_fields.items()]

    @wraps(function)
    def command(**given: Any) -> None:
        for name, (model, checked) in models.items():
            asked = {key: given.pop(key) for key in model.model_fields}
            asked = {key: _read(model.model_fields[key], x) for key, x in asked.items() if checked or x is not None}
            given[name] = model(**asked) if checked else asked
        function(**given)

    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _model_of(annotation: Any) -> tuple[type[CommandOptions], bool] | None:
    """A parameter's model of options, and whether it is wanted checked, as the model; None for another parameter."""
    if isinstance(annotation, type) and issubclass(annotation, CommandOptions):
        return annotation, True
    if get_origin(annotation) is Annotated and get_args(annotation)[0] == dict[str, Any]:
        (_, model) = get_args(annotation)
        return model, False
    return None


def _flag(name: str, field: FieldInfo, *, shown: bool) -> inspect.Parameter:
    """One flag; with its default in the help if that is `shown`, else None stands for what was not given."""
    said, kind = said_of(field), _kind(field.annotation)
    default = field.get_default(call_default_factory=True)
    if isinstance(default, tuple | list | dict):
        default = ",".join(default)
    names = [said["flags"]] if said.get("flags") else []
    if not names and kind is bool and default is False and shown:
        names = [f"--{name.replace('_', '-')}"]
    flag = typer.Option(
        *names,
        help=help_of(field),
        metavar=said.get("metavar"),
        rich_help_panel=said.get("panel"),
        show_default=shown and default is not False and default not in (None, ""),
    )
    optional = not shown or default is None
    annotation = Annotated[kind | None if optional else kind, flag]  # type: ignore[valid-type]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default if shown else None, annotation=annotation
    )


def _kind(annotation: Any) -> Any:
    """The type of a flag's value: text for names, paths and lists of names, else the field's own."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return str if str in kinds or len(kinds) > 1 else _kind(kinds[0])
    if annotation is Any or get_origin(annotation) in (Literal, Sequence, tuple, list, dict):
        return str
    return annotation


def _read(field: FieldInfo, value: Any) -> Any:
    """A flag's text as the field's value: names by commas become a tuple."""
    if isinstance(value, str) and _is_sequence(field.annotation):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _is_sequence(annotation: Any) -> bool:
    return get_origin(annotation) in (Sequence, tuple, list)
