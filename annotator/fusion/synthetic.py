"""`synthetic`: the panel's own distribution, without any human vote.

    p_u = (1 / R) sum_r q_ru        q_ru: unweighted mean of run r's listeners' exact distributions

The synthetic-only condition of Zhang et al. (ICASSP 2026, arXiv 2601.14620), with the exact distribution in the place
of counted answers.
"""

from __future__ import annotations

import numpy as np

from .evidence import Blend, Evidence, averaged, require_runs, source_column

FORMULA = "p_u = mean over runs of the panel's exact distribution q_u"


def synthetic(evidence: Evidence) -> Blend:
    """Mean of the runs' distributions; undefined where no run covers the utterance.

    `effective_votes` is undefined (NaN) everywhere: what a panel is worth in human votes is measured by the audit, it
    does not follow from the number of synthetic votes.
    """
    require_runs(evidence, "synthetic")
    p = evidence.proxy()
    return Blend(
        p=p,
        effective_votes=np.full(len(p), np.nan),
        source=source_column(("synthetic", np.asarray(np.isfinite(p).all(axis=1)))),
        formula=FORMULA,
        parameters={"runs": [run.name for run in evidence.runs]},
        warnings=averaged(evidence),
    )
