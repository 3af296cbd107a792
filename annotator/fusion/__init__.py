"""Fusion of human and synthetic votes: one strategy a file, one function that runs them and writes a fused corpus."""

from ...data.vote_models.calibrated_prior import EmpiricalBayes, Posterior, fit_empirical_bayes, posterior
from .base import Blend, Strategy
from .evidence import Evidence, gather
from .fuse import fuse, preview
from .strategies import STRATEGIES, blend_by

__all__ = [
    "STRATEGIES",
    "Blend",
    "EmpiricalBayes",
    "Evidence",
    "Posterior",
    "Strategy",
    "blend_by",
    "fit_empirical_bayes",
    "fuse",
    "gather",
    "posterior",
    "preview",
]
