"""`latent-class`: utterances of a few kinds, each with its own way of being voted on and of being answered by a proxy.

    z_u ~ Categorical(pi)                    n_u | z ~ Dirichlet-multinomial(N_u, alpha_z)
    proxy j: counts ~ Dirichlet-multinomial(beta_jz), or exact p ~ Dirichlet(beta_jz)

    r_uz proportional to pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w
    p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z)          with N_u + sum_z r_uz A_z effective votes

The power w is how much the proxy's word counts: it is the one of 0, .4, .7 and 1 with the best cross-fitted log score
of the seen votes, each predicted from the utterance's other seen votes and its proxies by a model that did not see its
speaker; 0 is `human-mixture` itself, by the same fitter. Several runs add their evidence, but only those that are shown
to have some: to the run that alone scores best, others are added, the best of them first, as long as the score rises,
all at one power (of more than five runs, a pair or all). On CREMA-D (three seen votes, squared error) audio-visual
votes alone give .0512; with the face's too, always used, .0539; with shuffled ones, .0563. A fold's runs and power are
chosen on the other folds' speakers, and fits from four starts are averaged. An utterance without seen votes gets what
its proxies alone say; one that no run covers what its votes say; one with neither is undefined. The model is ours
(`data/vote_models/dirichlet_mixture.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from .base import Blend, Candidates, Estimate, Models, NoOptions, Strategy, Strengths, source_column
from .cross_fit import CrossFit, untaught
from .evidence import Evidence
from .human_mixture import NAME as BASE
from .human_mixture import ROWS as BASE_ROWS
from .models import STARTS, Fit, Model, fit_human_mixture, fit_latent_class, read_model
from .strengths import READ, mixture_strengths

NAME = "latent-class"
FORMULA = "p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z), r_uz ~ pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w"
POWERS = (0.4, 0.7, 1.0)
# The model that hears no proxy, as powers are compared: from one start.
NO_POWER = f"{NAME}, power 0"
# Of more runs than this not every choice is tried.
MOST_RUNS = 5


class LatentClass(NamedTuple):
    """The models of all train speakers by name, the one that was chosen for them, and, on the corpus that they were
    fitted to, the cross-fit and each fold's choice (-1: all speakers; no choices: it was read)."""

    models: dict[str, Model]
    chosen: str
    cross: CrossFit | None = None
    choices: Mapping[int, str] | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """Fuse the seen votes with the proxies: where a run says something by the chosen model, else without it."""
        own = self.cross is not None and evidence is self.cross.evidence
        cross = self.cross if own and self.cross else CrossFit.reusing(evidence, self.models)
        choices = self.choices if own and self.choices else {-1: self.chosen}
        chosen = np.full(len(evidence.ids), None, dtype=object)
        for f, name in choices.items():
            chosen[cross.fold == f] = final_name(name)
        covered, voted = cross.covered, evidence.voted
        chosen[~covered & ~voted] = None
        chosen[~voted & (chosen == BASE)] = None
        p, effective = cross.posterior(chosen)
        some = np.array([name is not None for name in chosen])
        return Blend(
            p=p,
            effective_votes=effective,
            source=source_column((BASE, voted & some), (NAME, covered & some & (chosen != BASE))),
            formula=FORMULA,
            parameters=_parameters(cross, choices, self.chosen),
            warnings=(*_warnings(cross, choices, covered), *untaught(evidence, cross.given, cross.audible)),
        )

    def figures(self) -> Strengths:
        if self.cross is None or self.choices is None:
            return READ
        found = mixture_strengths(self.cross, [final_name(self.chosen)])
        folds = [power_of(name) for f, name in self.choices.items() if f >= 0]
        told = "chosen among a few values, not estimated: see the folds"
        power = Estimate(NAME, "power", power_of(self.chosen), np.nan, np.nan, folds, told)
        return found._replace(estimates=[power, *found.estimates])

    def state(self) -> dict[str, Any]:
        return {"chosen": self.chosen, "models": {name: model.state() for name, model in self.models.items()}}


def fit(evidence: Evidence, options: NoOptions, models: Models) -> LatentClass:
    """Choose the runs and the power for each fold and for all; OptionError where all utterances have a single vote."""
    cross = CrossFit(evidence, power_fits(len(evidence.runs)) | final_fits(len(evidence.runs)), models)
    choices = {int(f): best_power(cross, without=int(f)) for f in np.unique(cross.fold)}
    chosen = choices[-1] if -1 in choices else best_power(cross)
    return LatentClass(cross.whole([final_name(chosen), BASE]), chosen, cross, choices)


def read(state: Mapping[str, Any], models: Models) -> LatentClass:
    """The model of a state."""
    return LatentClass({name: read_model(model) for name, model in state["models"].items()}, state["chosen"])


def power_fits(runs: int = 1) -> dict[str, Fit]:
    """The latent class of every choice of runs at every power, by name, power 0 among them; one start each, with which
    powers are compared."""
    return {NO_POWER: partial(fit_latent_class, power=0.0, of=())} | _fits(runs, 1)


def final_fits(runs: int = 1) -> dict[str, Fit]:
    """The same from several starts: better than one, too dear to compare powers with. Power 0 is `human-mixture`."""
    return {BASE: fit_human_mixture} | {final_name(name): fit for name, fit in _fits(runs, STARTS).items()}


def _fits(runs: int, starts: int) -> dict[str, Fit]:
    sizes = range(1, runs + 1) if runs <= MOST_RUNS else (1, 2, runs)
    choices = [of for size in sizes for of in combinations(range(runs), size)]
    return {
        power_name(w, of, runs): partial(fit_latent_class, power=w, starts=starts, of=of)
        for of in choices
        for w in POWERS
    }


def final_name(name: str) -> str:
    """The name of the model whose posterior is used where `name` was chosen."""
    return BASE if name == NO_POWER else f"{name}, {STARTS} starts"


def power_name(power: float, of: Sequence[int] = (0,), runs: int = 1) -> str:
    """The model's name at a power; which of several runs it reads, by place, unless it reads all.

    >>> power_name(0.7, (0, 2), 3)
    'latent-class of runs 1 and 3, power 0.7'
    """
    some = " and ".join(str(j + 1) for j in of)
    which = "" if len(of) == runs else f" of run{'s' * (len(of) > 1)} {some}"
    return f"{NAME}{which}, power {power:g}"


def best_power(cross: CrossFit, *, without: int = -1, base: bool = True) -> str:
    """The name with the best score of the powers, 0 among them unless `base` is off; of several runs the best alone,
    then with another one, as long as that scores higher."""

    def score(name: str) -> float:
        return cross.mean_score(name, without=without, where=cross.covered)

    runs, best, used = len(cross.evidence.runs), "", ()
    while len(used) < runs:
        more = [tuple(sorted((*used, j))) for j in range(runs) if j not in used]
        names = {power_name(w, of, runs): of for of in more for w in POWERS}
        names = {name: of for name, of in names.items() if name in cross.fits}
        top = max(names, key=score, default="")
        if best and not (top and score(top) > score(best)):
            break
        best, used = top, names[top]
    if runs > MOST_RUNS:
        best = max([best, *(power_name(w, range(runs), runs) for w in POWERS)], key=score)
    return max([NO_POWER, best], key=score) if base else best


def power_of(name: str) -> float:
    """The power in a model's name."""
    return float(name.rpartition(" ")[2])


def _parameters(cross: CrossFit, choices: Mapping[int, str], chosen: str) -> dict[str, Any]:
    return cross.described([BASE] if cross.folds else []) | {
        "model": BASE if chosen == NO_POWER else chosen,
        "power": power_of(chosen),
        "powers_of_folds": [power_of(name) for f, name in choices.items() if f >= 0],
        "all_train_speakers": cross.model(final_name(chosen), -1).described(),
    }


def _warnings(cross: CrossFit, choices: Mapping[int, str], covered: np.ndarray) -> tuple[str, ...]:
    found = []
    silenced = sum(name == NO_POWER for f, name in choices.items() if f >= 0)
    if silenced:
        found.append(
            f"folds in which the proxy adds nothing to the human mixture, and the power is 0: {silenced} of "
            f"{len(cross.folds)}"
        )
    alone = int((~covered & cross.evidence.voted).sum())
    if alone:
        found.append(f"utterances with human votes and no proxy, which are smoothed without one: {alone}")
    bare = int((~covered & ~cross.evidence.voted).sum())
    if bare:
        found.append(f"utterances with neither seen votes nor a proxy, and so without a distribution: {bare}")
    return tuple(found)


LATENT_CLASS = Strategy(
    name=NAME,
    about="kinds of utterances, each voted on and answered by the proxies in its own way",
    formula=FORMULA,
    fit=fit,
    read=read,
    sources={BASE: BASE_ROWS, NAME: "the proxies and their seen votes, by the joint mixture"},
    smooths=True,
    needs=frozenset({"votes", "pairs", "runs"}),
    candidates=Candidates(
        fits=lambda runs: power_fits(runs) | final_fits(runs),
        best=lambda cross, fold: final_name(best_power(cross, without=fold, base=False)),
    ),
)
