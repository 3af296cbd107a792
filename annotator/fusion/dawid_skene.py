"""`dawid-skene`: every rater and listener has a confusion matrix, and every utterance one true label.

    P(z_u = c | ballots) proportional to pi_c prod_w e_w(c, y_uw)          e_w(c, y): how often worker w says y for c

by EM. Source: Dawid and Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm" (Applied
Statistics, 1979), as crowd-kit computes it. What a worker is, and why p is no distribution of votes: `crowd.py`.
"""

from __future__ import annotations

from .crowd import crowd_blend
from .evidence import Blend, Evidence

FORMULA = "p_u = P(true label | ballots), pi_c prod_w e_w(c, y_uw), Dawid and Skene (1979) by crowd-kit"


def dawid_skene(evidence: Evidence) -> Blend:
    """Posterior of the true label under Dawid and Skene's model; OptionError where crowd-kit is not installed."""
    return crowd_blend(evidence, "dawid-skene", lambda kit: kit.DawidSkene(n_iter=100), FORMULA)
