"""`latent-class`: utterances of a few kinds, each with its own way of being voted on and of being answered by a proxy.

    z_u ~ Categorical(pi)                    n_u | z ~ Dirichlet-multinomial(N_u, alpha_z)
    proxy j: counts ~ Dirichlet-multinomial(beta_jz), or exact p ~ Dirichlet(beta_jz)

    r_uz proportional to pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w
    p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z)          with N_u + sum_z r_uz A_z effective votes

The power w is how much the proxy's word counts: it is the one of 0, .4, .7 and 1 with the best cross-fitted log score
of the seen votes, each predicted from the utterance's other seen votes and its proxies by a model that did not see its
speaker; 0 is `human-mixture` itself. Several runs add their evidence, but only those that are shown to have some: to
the run that alone scores best, others are added, the best of them first, as long as the score rises, all at one power
(of more than five runs, a pair or all). On CREMA-D (three seen votes, squared error) audio-visual votes alone give
.0512; with the face's too, always used, .0539; with shuffled ones, .0563. A fold's runs and power are chosen on the
other folds' speakers, and fits from four starts are averaged. An utterance without seen votes gets what its proxies
alone say; one that no run covers what its votes say; one with neither is undefined. The model is ours
(`data/vote_models/dirichlet_mixture.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from .cross_fit import STARTS, CrossFit, Fit, fit_human_mixture, fit_latent_class, require_pairs, untaught
from .evidence import Blend, Evidence, require_runs, require_votes, source_column

FORMULA = "p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z), r_uz ~ pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w"
POWERS = (0.4, 0.7, 1.0)
# Of more runs than this not every choice is tried.
MOST_RUNS = 5


def latent_class(evidence: Evidence) -> Blend:
    """Fuse the seen votes with the proxies; OptionError where all utterances have a single seen vote."""
    require_runs(evidence, "latent-class")
    require_votes(evidence, "latent-class")
    require_pairs(evidence)
    cross = CrossFit(evidence, power_fits(len(evidence.runs)) | final_fits(len(evidence.runs)))
    chosen = np.full(len(evidence.ids), None, dtype=object)
    powers = {}
    for f in np.unique(cross.fold):
        powers[int(f)] = best_power(cross, without=int(f))
        chosen[cross.fold == f] = final_name(powers[int(f)])
    covered, voted = cross.covered, evidence.voted
    chosen[~covered & ~voted] = None
    chosen[~voted & (chosen == "human-mixture")] = None
    p, effective = cross.posterior(chosen)
    return Blend(
        p=p,
        effective_votes=effective,
        source=source_column(
            ("human-mixture", voted & (chosen != None)),  # noqa: E711 (elementwise)
            ("latent-class", covered & (chosen != None) & (chosen != "human-mixture")),  # noqa: E711
        ),
        formula=FORMULA,
        parameters=_parameters(cross, powers),
        warnings=(*_warnings(cross, powers, covered), *untaught(evidence, cross.given, cross.audible)),
    )


def power_fits(runs: int = 1) -> dict[str, Fit]:
    """The human mixture, and the latent class of every choice of runs at every power, by name."""
    fits: dict[str, Fit] = {"human-mixture": fit_human_mixture}
    return fits | _fits(runs, 1)


def final_fits(runs: int = 1) -> dict[str, Fit]:
    """The latent class at every power from several starts: better than one, and too dear to compare powers with."""
    return {final_name(name): fit for name, fit in _fits(runs, STARTS).items()}


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
    return f"{name}, {STARTS} starts" if name.startswith("latent-class") else name


def power_name(power: float, of: Sequence[int] = (0,), runs: int = 1) -> str:
    """The model's name at a power; which of several runs it reads, by place, unless it reads all.

    >>> power_name(0.7, (0, 2), 3)
    'latent-class of runs 1 and 3, power 0.7'
    """
    some = " and ".join(str(j + 1) for j in of)
    which = "" if len(of) == runs else f" of run{'s' * (len(of) > 1)} {some}"
    return f"latent-class{which}, power {power:g}"


def best_power(cross: CrossFit, *, without: int = -1, base: bool = True) -> str:
    """The name with the best score of the powers, the human mixture among them as power 0 unless `base` is off; of
    several runs the best alone, then with another one, as long as that scores higher."""

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
    return max(["human-mixture", best], key=score) if base else best


def power_of(name: str) -> float:
    """The power in a model's name."""
    return 0.0 if name == "human-mixture" else float(name.rpartition(" ")[2])


def _parameters(cross: CrossFit, powers: Mapping[int, str]) -> dict[str, Any]:
    whole = best_power(cross)
    return cross.described() | {
        "model": whole,
        "power": power_of(whole),
        "powers_of_folds": [power_of(name) for f, name in powers.items() if f >= 0],
        "all_train_speakers": cross.model(final_name(whole), -1).described(),
    }


def _warnings(cross: CrossFit, powers: Mapping[int, str], covered: np.ndarray) -> tuple[str, ...]:
    found = []
    silenced = sum(name == "human-mixture" for f, name in powers.items() if f >= 0)
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
