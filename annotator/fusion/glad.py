"""`glad`: raters and listeners have an ability, utterances a difficulty, and every utterance one true label.

    P(y_uw = z_u) = 1 / (1 + exp(-a_w b_u)), the other labels sharing the rest equally          by EM

Source: Whitehill, Wu, Bergsma, Movellan and Ruvolo, "Whose vote should count more" (NeurIPS 2009), as crowd-kit
computes it. What a worker is, and why p is no distribution of votes: `crowd.py`.
"""

from __future__ import annotations

from .crowd import crowd_blend
from .evidence import Blend, Evidence

FORMULA = "p_u = P(true label | ballots), P(right) = 1 / (1 + exp(-a_w b_u)), GLAD (Whitehill et al. 2009) by crowd-kit"


def glad(evidence: Evidence) -> Blend:
    """Posterior of the true label under GLAD; OptionError where crowd-kit is not installed."""
    return crowd_blend(evidence, "glad", lambda kit: kit.GLAD(n_iter=20), FORMULA)
