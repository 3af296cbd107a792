"""The names of the strategies."""

from collections.abc import Callable

from .empirical_bayes import empirical_bayes
from .evidence import Blend, Evidence
from .human import human
from .pool import pool
from .synthetic import synthetic

STRATEGIES: dict[str, Callable[[Evidence], Blend]] = {
    "empirical-bayes": empirical_bayes,
    "human": human,
    "synthetic": synthetic,
    "pool": pool,
}
DEFAULT = "empirical-bayes"
# Strategies that first blend and then add utterances, and the forms of each.
AUGMENTATIONS: dict[str, tuple[str, ...]] = {"dime-aug": ("paper",)}
