"""`latent-class`: utterances of a few kinds, each with its own way of being voted on and of being answered by a proxy.

    z_u ~ Categorical(pi)                    n_u | z ~ Dirichlet-multinomial(N_u, alpha_z)
    proxy j: counts ~ Dirichlet-multinomial(beta_jz), or exact p ~ Dirichlet(beta_jz)

    r_uz proportional to pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w
    p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z)          with N_u + sum_z r_uz A_z effective votes

Several runs add their evidence. The power w is how much the proxy's word counts: it is the one of 0, .4, .7 and 1 with
the best cross-fitted log score of the seen votes, each predicted from the utterance's other seen votes and its proxies
by a model that did not see its speaker; 0 is `human-mixture` itself. A fold's power is chosen on the other folds'
speakers, and fits from four starts are averaged. An utterance without seen votes gets what its proxies alone say; one
that no run covers what its votes say; one with neither is undefined. The model is ours (`latent_mixture.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from .cross_fit import CrossFit, Fit, require_pairs
from .evidence import Blend, Evidence, require_runs, require_votes, source_column
from .fitted import STARTS, fit_human_mixture, fit_latent_class

FORMULA = "p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z), r_uz ~ pi_z DM(n_u | alpha_z) prod_j L(proxy_uj | beta_jz)^w"
POWERS = (0.4, 0.7, 1.0)


def latent_class(evidence: Evidence) -> Blend:
    """Fuse the seen votes with the proxies; OptionError where all utterances have a single seen vote."""
    require_runs(evidence, "latent-class")
    require_votes(evidence, "latent-class")
    require_pairs(evidence)
    cross = CrossFit(evidence, power_fits() | final_fits())
    chosen = np.full(len(evidence.ids), None, dtype=object)
    powers = {}
    for f in np.unique(cross.fold):
        powers[int(f)] = best_power(cross, without=int(f))
        chosen[cross.fold == f] = final_name(powers[int(f)])
    covered, voted = cross.proxies.covered, evidence.voted
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
        warnings=_warnings(cross, powers, covered),
    )


def power_fits() -> dict[str, Fit]:
    """The human mixture, and the latent class at every power, by name."""
    fits: dict[str, Fit] = {"human-mixture": fit_human_mixture}
    return fits | {power_name(w): partial(fit_latent_class, power=w) for w in POWERS}


def final_fits() -> dict[str, Fit]:
    """The latent class at every power from several starts: better than one, and too dear to compare powers with."""
    return {final_name(power_name(w)): partial(fit_latent_class, power=w, starts=STARTS) for w in POWERS}


def final_name(name: str) -> str:
    """The name of the model whose posterior is used where `name` was chosen."""
    return f"{name}, {STARTS} starts" if name.startswith("latent-class") else name


def power_name(power: float) -> str:
    """The model's name at a power."""
    return f"latent-class, power {power:g}"


def best_power(cross: CrossFit, *, without: int = -1, base: bool = True) -> str:
    """The name with the best score of the powers, the human mixture among them as power 0 unless `base` is off."""
    names = [*["human-mixture"] * base, *map(power_name, POWERS)]
    return max(names, key=lambda name: cross.mean_score(name, without=without, where=cross.proxies.covered))


def power_of(name: str) -> float:
    """The power in a model's name."""
    return 0.0 if name == "human-mixture" else float(name.rpartition(" ")[2])


def _parameters(cross: CrossFit, powers: Mapping[int, str]) -> dict[str, Any]:
    whole = best_power(cross)
    return cross.described(power_fits()) | {
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
