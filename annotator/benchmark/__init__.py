"""How fast the parts are, as ratios of arms that take turns in one run."""

from .annotating import benchmark_annotate

__all__ = ["benchmark_annotate"]
