"""`dime-aug`: first blend by another strategy, then add train utterances for the rarer labels.

Two forms: `serann` (`balance.py`), takes of single utterances that balance expected mass, and `paper` (`paper.py`), the
published procedure, which mixes two voices. The distributions are those of the strategy that `blend` names, and it
takes that strategy's options too; the plan of new utterances is `Blend.new`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ....data.errors import OptionError
from ..base import Blend, Fitted, Models, Progress, Strategy, Strengths
from ..evidence import Evidence
from . import balance, paper
from .plan import PAPER_FORMULA, Plan

NAME = "dime-aug"
# The forms, and the options that one of them alone reads.
FORMS: dict[str, tuple[str, ...]] = {
    "serann": ("beta", "concatenate"),
    "paper": ("neighbours", "true_neighbours"),
}
# The longest sound that training hears, unless it is told otherwise.
MAX_SECONDS = 30.0


class Options(BaseModel):
    """What dime-aug can be asked for. `of_blend`: the options of the strategy that it goes on from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    blend: str = Field("auto", description="The strategy that gives the distributions.")
    dime: str = Field(
        "serann", description="'serann', perturbed takes that balance expected mass; 'paper', as published."
    )
    rho: float = Field(0.3, description="Grow labels to this share of the largest, above 0 to 1.")
    beta: float | None = Field(
        None, description="With --dime serann: grow by effective numbers, 0 to below 1, and not by --rho."
    )
    concatenate: bool = Field(False, description="With --dime serann: join two turns of a speaker (an assumption).")
    neighbours: int = Field(3, description="With --dime paper: k nearest neighbours, the utterance itself among them.")
    true_neighbours: bool = Field(False, description="With --dime paper: k neighbours besides the utterance itself.")
    max_seconds: float = Field(MAX_SECONDS, description="Leave out parents that last longer; what training hears.")
    of_blend: BaseModel | None = Field(None, exclude=True)

    @field_validator("dime")
    @classmethod
    def _known(cls, dime: str) -> str:
        if dime not in FORMS:
            raise OptionError(f"unknown form '{dime}' of {NAME}; expected one of {', '.join(FORMS)}")
        return dime

    @field_validator("max_seconds")
    @classmethod
    def _in_range(cls, seconds: float) -> float:
        if not 0.1 <= seconds < np.inf:
            raise OptionError(f"max-seconds is {seconds:g}; expected 0.1 or more (--max-seconds 30)")
        return seconds

    @model_validator(mode="after")
    def _of_one_form(self) -> Options:
        if self.dime == "paper":
            if self.beta is not None or self.concatenate:
                raise OptionError(
                    "--beta and --concatenate belong to --dime serann; the published procedure has neither"
                )
            paper.check_options(rho=self.rho, neighbours=self.neighbours, true_neighbours=self.true_neighbours)
            return self
        if self.true_neighbours or self.neighbours != 3:
            raise OptionError(
                "--neighbours and --true-neighbours belong to --dime paper; --dime serann mixes no two sounds"
            )
        balance.check_options(rho=self.rho, beta=self.beta)
        return self

    @property
    def of_form(self) -> dict[str, Any]:
        """What the form reads."""
        return {name: getattr(self, name) for name in ("rho", *FORMS[self.dime], "max_seconds")}


class DimeAug(NamedTuple):
    """The fit of the strategy that gives the distributions, and how utterances are added to them."""

    inner: Fitted
    options: Options
    progress: Progress | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """The other strategy's blend with a plan of new utterances; librosa's absence is an OptionError."""
        blend = self.inner.blend(evidence)
        plan = self._plan(evidence, blend.p)
        made = {"form": plan.form, **self.options.of_form, "seed": evidence.seed, **plan.details}
        return blend._replace(
            formula=f"{blend.formula}; then {plan.formula}",
            parameters={"blend": blend.parameters, NAME: made},
            warnings=(*blend.warnings, *plan.warnings),
            new=plan,
            after=self.options.blend,
        )

    def _plan(self, evidence: Evidence, p: np.ndarray) -> Plan:
        assert evidence.sounds is not None  # `needs`
        planned = balance.plan if self.options.dime == "serann" else paper.plan
        plan = planned(evidence.sounds, p, **self.options.of_form, seed=evidence.seed, progress=self.progress)
        return replace(plan, form=self.options.dime, max_seconds=self.options.max_seconds)

    def figures(self) -> Strengths:
        return self.inner.figures()

    def state(self) -> dict[str, Any]:
        return {"options": self.options.model_dump(), "blend": self.inner.state()}


def fit(evidence: Evidence, options: Options, models: Models) -> DimeAug:
    """Fit the strategy that gives the distributions; CorpusError where the sounds to be changed are not there."""
    if evidence.sounds is not None:
        evidence.sounds.require_root()
    inner = models.strategies[options.blend]
    inner.refuse(evidence)
    own = inner.Options() if options.of_blend is None else options.of_blend
    return DimeAug(inner.fit(evidence, own, models), options, models.progress)


def read(state: Mapping[str, Any], models: Models) -> DimeAug:
    """The fit of a state."""
    options = Options(**state["options"])
    return DimeAug(models.strategies[options.blend].read(state["blend"], models), options, models.progress)


DIME_AUG = Strategy(
    name=NAME,
    about="blend by another strategy, then add train utterances for the rarer labels",
    formula=f"that of the strategy that gives the distributions; then {balance.FORMULA}; or {PAPER_FORMULA}",
    fit=fit,
    read=read,
    sources={NAME: "new utterances, made of others"},
    smooths=True,
    Options=Options,
    needs=frozenset({"sounds"}),
    goes_on_from="blend",
)
