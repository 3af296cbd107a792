"""The names of the strategies."""

from collections.abc import Callable

from ...data.errors import OptionError
from .auto import auto
from .crowd import dawid_skene, glad, mace
from .empirical_bayes import empirical_bayes
from .evidence import Blend, Evidence
from .human_mixture import human_mixture
from .latent_class import latent_class
from .opinion_pool import opinion_pool
from .simple import human, pool, synthetic

STRATEGIES: dict[str, Callable[[Evidence], Blend]] = {
    "auto": auto,
    "empirical-bayes": empirical_bayes,
    "latent-class": latent_class,
    "human-mixture": human_mixture,
    "human": human,
    "synthetic": synthetic,
    "pool": pool,
    "opinion-pool": opinion_pool,
    "dawid-skene": dawid_skene,
    "mace": mace,
    "glad": glad,
}
DEFAULT = "auto"
# Strategies that first blend and then add utterances, and the forms of each.
AUGMENTATIONS: dict[str, tuple[str, ...]] = {"dime-aug": ("serann", "paper")}


def blend(evidence: Evidence, name: str) -> Blend:
    """Run the strategy of that name; OptionError for another name."""
    if name not in STRATEGIES:
        raise OptionError(f"unknown blend '{name}'; expected one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](evidence)
