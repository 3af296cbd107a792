"""`mace`: a rater or listener either knows the true label or guesses in its own manner.

    y_uw = z_u with chance theta_w, else drawn from xi_w          z_u uniform; theta_w, xi_w by variational Bayes

Source: Hovy, Berg-Kirkpatrick, Vaswani and Hovy, "Learning whom to trust with MACE" (NAACL-HLT 2013), as crowd-kit
computes it (four restarts, seeded). What a worker is, and why p is no distribution of votes: `crowd.py`.
"""

from __future__ import annotations

from .crowd import crowd_blend
from .evidence import Blend, Evidence

FORMULA = "p_u = P(true label | ballots), workers that know or guess, MACE (Hovy et al. 2013) by crowd-kit"
RESTARTS = 4


def mace(evidence: Evidence) -> Blend:
    """Posterior of the true label under MACE; OptionError where crowd-kit is not installed."""
    return crowd_blend(
        evidence,
        "mace",
        lambda kit: kit.MACE(n_restarts=RESTARTS, random_state=evidence.seed % 2**32),
        FORMULA,
    )
