"""Fusion of human and synthetic votes: one strategy a file, one function that runs them and writes a fused corpus."""

from ...data.vote_models.calibrated_prior import EmpiricalBayes, Posterior, fit_empirical_bayes, posterior
from .evidence import Blend, Evidence, gather
from .fuse import fuse, preview
from .strategies import AUGMENTATIONS, STRATEGIES, blend

__all__ = [
    "AUGMENTATIONS",
    "STRATEGIES",
    "Blend",
    "EmpiricalBayes",
    "Evidence",
    "Posterior",
    "blend",
    "fit_empirical_bayes",
    "fuse",
    "gather",
    "posterior",
    "preview",
]
