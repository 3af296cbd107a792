"""`human-mixture`: the seen votes, smoothed by what all utterances' seen votes tell; no proxy at all.

    z_u ~ Categorical(pi),  p_u ~ Dirichlet(alpha_z),  n_u ~ Multinomial(N_u, p_u)
    p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z)          with N_u + sum_z r_uz A_z effective votes

A mixture of eight Dirichlets (`dirichlet_mixture.py`), fitted to the seen votes and cross-fitted over five folds of
train speakers. It is what a synthetic listener has to beat: a gain over the raw votes that is none over this was
smoothing. Runs are not used. An utterance without a seen vote has no distribution. Sources: Minka, "Estimating a
Dirichlet distribution" (2000); Dirichlet-multinomial mixtures, Holmes, Harris and Quince (2012).
"""

from __future__ import annotations

import numpy as np

from .cross_fit import CrossFit, fit_human_mixture, require_pairs
from .evidence import Blend, Evidence, require_votes, source_column

FORMULA = "p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z), a mixture of Dirichlets over the seen votes"


def human_mixture(evidence: Evidence) -> Blend:
    """Posterior means of the seen votes under the mixture; OptionError where all utterances have a single seen vote."""
    require_votes(evidence, "human-mixture")
    require_pairs(evidence)
    cross = CrossFit(evidence, {"human-mixture": fit_human_mixture})
    p, effective = cross.posterior(np.full(len(evidence.ids), "human-mixture", dtype=object))
    voted = evidence.voted
    p[~voted], effective[~voted] = np.nan, np.nan
    warnings = [f"runs that were given and not used: {len(evidence.runs)}"] if evidence.runs else []
    bare = int((evidence.train & ~voted).sum())
    if bare:
        warnings.append(f"train utterances without a seen human vote, and so without a distribution: {bare}")
    return Blend(
        p=p,
        effective_votes=effective,
        source=source_column(("human-mixture", voted)),
        formula=FORMULA,
        parameters=cross.described(["human-mixture"]),
        warnings=tuple(warnings),
    )
