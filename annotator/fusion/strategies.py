"""The fusion strategies by name, and how one is asked for: by name and options, checked before anything is read.

Adding a strategy is a file with its record and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from ...data.errors import OptionError
from .auto import AUTO
from .base import Blend, Models, Progress, Strategy
from .crowd import DAWID_SKENE, GLAD, MACE
from .dime.strategy import DIME_AUG
from .empirical_bayes import EMPIRICAL_BAYES
from .evidence import Evidence
from .human_mixture import HUMAN_MIXTURE
from .latent_class import LATENT_CLASS
from .opinion_pool import OPINION_POOL
from .simple import HUMAN, POOL, SYNTHETIC

STRATEGIES: dict[str, Strategy] = {
    "auto": AUTO,
    "empirical-bayes": EMPIRICAL_BAYES,
    "latent-class": LATENT_CLASS,
    "human-mixture": HUMAN_MIXTURE,
    "human": HUMAN,
    "synthetic": SYNTHETIC,
    "pool": POOL,
    "opinion-pool": OPINION_POOL,
    "dawid-skene": DAWID_SKENE,
    "mace": MACE,
    "glad": GLAD,
    "dime-aug": DIME_AUG,
}
DEFAULT = "auto"


class Asked(NamedTuple):
    """A strategy and its options."""

    strategy: Strategy
    options: BaseModel


def blends() -> list[str]:
    """The names of the strategies that give distributions of their own, and do not go on from another's."""
    return [name for name, strategy in STRATEGIES.items() if strategy.goes_on_from is None]


def ask(name: str, given: Mapping[str, Any] | None = None) -> Asked:
    """The strategy of that name with the options `given`, by name.

    Raises OptionError for an unknown strategy or option, for an option that belongs to another strategy and was given
    another value than its default, and for what is out of range.
    """
    if name not in STRATEGIES:
        raise OptionError(f"unknown strategy '{name}'; expected one of {', '.join(STRATEGIES)}")
    strategy, given = STRATEGIES[name], dict(given or {})
    _refuse_unknown(given)
    own = {option: given.pop(option) for option in list(given) if option in flags_of(strategy)}
    options = _validated(strategy, own)
    readers = [strategy]
    if strategy.goes_on_from is not None:
        first = getattr(options, strategy.goes_on_from)
        if first not in blends():
            raise OptionError(f"unknown blend '{first}'; {name} first blends by one of {', '.join(blends())}")
        readers.insert(0, STRATEGIES[first])
        inner = {option: given.pop(option) for option in list(given) if option in flags_of(STRATEGIES[first])}
        options = options.model_copy(update={"of_blend": _validated(STRATEGIES[first], inner)})
    for option, value in given.items():
        _refuse_another_s(option, value, readers)
    return Asked(strategy, options)


def flags_of(strategy: Strategy) -> dict[str, Any]:
    """The options of a strategy that a user can give, by name, as pydantic's fields."""
    return {name: field for name, field in strategy.Options.model_fields.items() if not field.exclude}


def owners() -> dict[str, list[Strategy]]:
    """The strategies that have an option of that name, for every option that there is."""
    found: dict[str, list[Strategy]] = {}
    for strategy in STRATEGIES.values():
        for option in flags_of(strategy):
            found.setdefault(option, []).append(strategy)
    return found


def blend_by(name: str, evidence: Evidence, *, progress: Progress | None = None, **given: Any) -> Blend:
    """Fit a strategy with the options `given` to evidence, and blend that evidence."""
    asked = ask(name, given)
    models = Models(STRATEGIES, progress=progress)
    asked.strategy.refuse(evidence)
    return asked.strategy.fit(evidence, asked.options, models).blend(evidence)


def _validated(strategy: Strategy, given: Mapping[str, Any]) -> BaseModel:
    try:
        return strategy.Options(**given)
    except ValidationError as error:
        told = [f"--{str(e['loc'][0]).replace('_', '-')}: {e['msg']}, found {e['input']!r}" for e in error.errors()]
        raise OptionError(f"options of {strategy.name}: {'; '.join(told)}") from error


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    known = owners()
    unknown = [option for option in given if option not in known]
    if unknown:
        raise OptionError(f"no strategy has an option '{unknown[0]}'; expected some of {', '.join(sorted(known))}")


def _refuse_another_s(option: str, value: Any, readers: list[Strategy]) -> None:
    """Raise OptionError for what was asked of another strategy, and would be passed over."""
    owning = owners()[option]
    if any(value == flags_of(owner)[option].default for owner in owning):
        return
    names = " or ".join(owner.name for owner in owning)
    of_dime = any(owner.goes_on_from is not None for owner in owning)
    found = readers[-1] if of_dime else readers[0]
    raise OptionError(
        f"--{option.replace('_', '-')} belongs to {names}, and the strategy is {found.name}, which would pass it "
        f"over; leave it out, or ask for {names}"
    )
