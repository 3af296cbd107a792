"""What a fusion can be asked for: the strategies by name, and the options, checked together before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...data.errors import OptionError
from .auto import auto
from .crowd import dawid_skene, glad, mace
from .dime import balance, paper
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
# The longest sound that training hears, unless it is told otherwise.
MAX_SECONDS = 30.0
# Options that one strategy alone reads: of the distributions, and of the new utterances.
OF_BLEND = {"strength": "empirical-bayes", "opinion": "opinion-pool", "weight": "opinion-pool"}
OF_DIME = ("blend", "dime", "rho", "beta", "concatenate", "neighbours", "true_neighbours", "max_seconds")


def blend(evidence: Evidence, name: str) -> Blend:
    """Run the strategy of that name; OptionError for another name."""
    if name not in STRATEGIES:
        raise OptionError(f"unknown blend '{name}'; expected one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionOptions:
    """What `fuse` is asked for.

    With `strategy="dime-aug"`, `blend` names the strategy that gives the distributions, and new train utterances are
    made to balance their labels (`dime`; `rho`; `beta` and `concatenate`: serann; `neighbours`: paper), from parents of
    at most `max_seconds`. `strength` fixes empirical Bayes' alpha, `opinion` and `weight` are the form of the opinion
    pool and the proxy's weight in it.
    """

    strategy: str = DEFAULT
    blend: str = DEFAULT
    dime: str = "serann"
    rho: float = 0.3
    beta: float | None = None
    concatenate: bool = False
    neighbours: int = 3
    true_neighbours: bool = False
    max_seconds: float = MAX_SECONDS
    strength: float | None = None
    opinion: str = "linear"
    weight: float | None = None
    seed: int = 0

    @property
    def augments(self) -> bool:
        """Whether utterances are added."""
        return self.strategy in AUGMENTATIONS

    @property
    def gives_p(self) -> str:
        """The strategy that gives the distributions."""
        return self.blend if self.augments else self.strategy

    @property
    def of_evidence(self) -> dict[str, Any]:
        """Those that `gather` takes."""
        return {name: getattr(self, name) for name in ("seed", "strength", "opinion", "weight")}

    @property
    def of_dime(self) -> dict[str, Any]:
        """Those of the form of dime-aug; empty for another strategy."""
        own = ("rho", "beta", "concatenate") if self.dime == "serann" else ("rho", "neighbours", "true_neighbours")
        return {name: getattr(self, name) for name in (*own, "max_seconds")} if self.augments else {}

    def check(self) -> None:
        """Raise OptionError for unknown names, and for what is out of range or belongs to the other form."""
        names = [*STRATEGIES, *AUGMENTATIONS]
        if self.strategy not in names:
            raise OptionError(f"unknown strategy '{self.strategy}'; expected one of {', '.join(names)}")
        if self.strength is not None and not 0 < self.strength < np.inf:
            raise OptionError(f"strength is {self.strength:g}; expected a number of votes above 0 (--strength 2)")
        if self.augments:
            self._check_dime()
        self._check_owners()

    def _check_owners(self) -> None:
        """Raise OptionError for what was asked of another strategy, and would be passed over."""
        owners = {name: (owner, self.gives_p) for name, owner in OF_BLEND.items()}
        owners |= dict.fromkeys(OF_DIME, ("dime-aug", self.strategy))
        defaults = {field.name: field.default for field in fields(self)}
        for name, (owner, found) in owners.items():
            if getattr(self, name) != defaults[name] and owner != found:
                raise OptionError(
                    f"--{name.replace('_', '-')} belongs to {owner}, and the strategy is {found}, which would pass it "
                    f"over; leave it out, or ask for {owner}"
                )

    def _check_dime(self) -> None:
        if self.blend not in STRATEGIES:
            raise OptionError(
                f"unknown blend '{self.blend}'; {self.strategy} first blends by one of {', '.join(STRATEGIES)}"
            )
        forms = AUGMENTATIONS[self.strategy]
        if self.dime not in forms:
            raise OptionError(f"unknown form '{self.dime}' of {self.strategy}; expected one of {', '.join(forms)}")
        if not 0.1 <= self.max_seconds < np.inf:
            raise OptionError(f"max-seconds is {self.max_seconds:g}; expected 0.1 or more (--max-seconds 30)")
        if self.dime == "paper":
            if self.beta is not None or self.concatenate:
                raise OptionError(
                    "--beta and --concatenate belong to --dime serann; the published procedure has neither"
                )
            paper.check_options(rho=self.rho, neighbours=self.neighbours, true_neighbours=self.true_neighbours)
            return
        if self.true_neighbours or self.neighbours != 3:
            raise OptionError(
                "--neighbours and --true-neighbours belong to --dime paper; --dime serann mixes no two sounds"
            )
        balance.check_options(rho=self.rho, beta=self.beta)
