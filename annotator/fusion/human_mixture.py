"""`human-mixture`: the seen votes, smoothed by what all utterances' seen votes tell; no proxy at all.

    z_u ~ Categorical(pi),  p_u ~ Dirichlet(alpha_z),  n_u ~ Multinomial(N_u, p_u)
    p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z)          with N_u + sum_z r_uz A_z effective votes

The mixture of `latent-class` at power 0, by the same fitter: sixteen Dirichlets, four starts averaged, fitted to the
seen votes and cross-fitted over five folds of train speakers. It is what a synthetic listener has to beat: a gain over
the raw votes that is none over this was smoothing. Runs are not used. An utterance without a seen vote has no
distribution. Sources: Minka, "Estimating a Dirichlet distribution" (2000); Dirichlet-multinomial mixtures, Holmes,
Harris and Quince (2012).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .base import Blend, Models, NoOptions, Strategy, Strengths, source_column, unused_runs, without_votes
from .cross_fit import CrossFit
from .evidence import Evidence
from .models import Model, fit_human_mixture, read_model
from .strengths import READ, mixture_strengths

NAME = "human-mixture"
FORMULA = "p_u = sum_z r_uz (n_u + alpha_z) / (N_u + A_z), a mixture of Dirichlets over the seen votes"
ROWS = "their seen votes, smoothed without a proxy"


class HumanMixture(NamedTuple):
    """The mixture of all train speakers, and its cross-fit on the corpus that it was fitted to (None: it was read)."""

    model: Model
    cross: CrossFit | None = None

    def blend(self, evidence: Evidence) -> Blend:
        """Posterior means of the seen votes under the mixture."""
        own = self.cross is not None and evidence is self.cross.evidence
        cross = self.cross if own and self.cross else CrossFit.reusing(evidence, {NAME: self.model})
        p, effective = cross.posterior(np.full(len(evidence.ids), NAME, dtype=object))
        voted = evidence.voted
        p[~voted], effective[~voted] = np.nan, np.nan
        return Blend(
            p=p,
            effective_votes=effective,
            source=source_column((NAME, voted)),
            formula=FORMULA,
            parameters=cross.described([NAME] if own else []),
            warnings=(*unused_runs(evidence), *without_votes(evidence)),
        )

    def figures(self) -> Strengths:
        return READ if self.cross is None else mixture_strengths(self.cross, [NAME])

    def state(self) -> dict[str, Any]:
        return {"mixture": self.model.state()}


def fit(evidence: Evidence, options: NoOptions, models: Models) -> HumanMixture:
    """Fit to the seen votes; OptionError where all utterances have a single one."""
    cross = CrossFit(evidence, {NAME: fit_human_mixture}, models)
    cross.fit((NAME, f) for f in (-1, *cross.folds))
    return HumanMixture(cross.model(NAME, -1), cross)


def read(state: Mapping[str, Any], models: Models) -> HumanMixture:
    """The mixture of a state."""
    return HumanMixture(read_model(state["mixture"]))


HUMAN_MIXTURE = Strategy(
    name=NAME,
    about="the seen votes, smoothed by what all utterances' votes tell; no proxy",
    formula=FORMULA,
    fit=fit,
    read=read,
    sources={NAME: ROWS},
    smooths=True,
    needs=frozenset({"votes", "pairs"}),
    reads_runs=False,
)
