"""Help that names what the registries hold: `{losses}` in an option's help is filled in when the help is printed.

So no list of names is kept beside a registry, and no command waits for the libraries behind one before its help is
asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption

from ...data.errors import alternatives


def _best_by() -> str:
    from ...trainer.options import BEST_BY, best_by_names

    return alternatives(best_by_names(), default=BEST_BY)


def _losses() -> str:
    from ...trainer.network.losses import CATEGORICAL

    return alternatives(list(CATEGORICAL), default="kl")


def _evidential() -> str:
    from ...trainer.network.losses import CATEGORICAL

    return " or ".join(name for name, loss in CATEGORICAL.items() if loss.evidential)


def _encoders() -> str:
    from ...trainer.network.loading import ENCODERS

    return alternatives([name for name, encoder in ENCODERS.items() if encoder.hub or encoder.small], default="wavlm")


def _architectures() -> str:
    from ...trainer.network.loading import ENCODERS

    return alternatives(list(ENCODERS))


def _readers() -> str:
    from ...data.readers import READERS

    return alternatives(list(READERS))


def _takers(option: str) -> Callable[[], str]:
    """The readers that take an option, and what it may be."""

    def names() -> str:
        from ...data.readers import takers

        found = takers(option)
        if not any(found.values()):
            return ", ".join(found)
        return "; ".join(f"{name}: {values}" if values else name for name, values in found.items())

    return names


def _figures() -> str:
    from ..audit.gate import figures

    return ", ".join(figures())


# What stands in braces in a help text, and what is written in its place.
CHOICES: dict[str, Callable[[], str]] = {
    "{best_by}": _best_by,
    "{losses}": _losses,
    "{evidential}": _evidential,
    "{encoders}": _encoders,
    "{architectures}": _architectures,
    "{readers}": _readers,
    "{figures}": _figures,
    **{f"{{{option}}}": _takers(option) for option in ("modality", "filter", "mapping", "columns")},
}


def with_choices(text: str) -> str:
    """A help text with the names of the registries that it asks for."""
    for mark, names in CHOICES.items():
        if mark in text:
            text = text.replace(mark, names())
    return text


class Command(TyperCommand):
    """A command whose help names what can be chosen: by a mark in the text, or by the field that declares the option
    (`options.with_options`).
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with the registries' names in it."""
        params = [param for param in self.params if isinstance(param, TyperOption | TyperArgument)]
        texts, declared = [param.help for param in params], getattr(self.callback, "declared", {})
        for param, text in zip(params, texts, strict=True):
            if param.name in declared:
                from ...data.options import help_of

                param.help = help_of(declared[param.name])
            else:
                param.help = None if text is None else with_choices(text)
        try:
            super().format_help(ctx, formatter)
        finally:
            for param, text in zip(params, texts, strict=True):
                param.help = text
