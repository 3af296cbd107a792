"""The prior that a model was taught, and its distributions moved to another one.

Class balancing (new utterances of rare labels, class weights in the loss) teaches other label shares than people's
votes have, and then the distributions are off by just that. With weights w in the loss the answer to a sound is
proportional to w_c p_c, so a model is taught `shares` of its targets times w, normalised. `prior_corrected` undoes it.

The answers q alone imply shares of what was heard, without a vote (`estimated_prior`, Saerens et al. 2002). That
inverts the confusion that the model itself expects,

    C_ij = sum_u q_ui q_uj / sum_u q_ui        what is answered, on average, where it is i by the model's own answers

whose rows are all alike where a model does not tell labels apart. An error e in the mean answer becomes one of up to
e / s in the shares, s the least singular value of C; so below `LEAST_SINGULAR` there is a reason in place of shares.
"""

from typing import Any

import numpy as np

from ..data.scores.class_balance import class_balanced, estimated_prior, expected_shares, prior_corrected
from ..data.scores.scoring import score_table
from .checkpoint import CONSTANT, ModelInfo
from .network.losses import class_weights
from .scoring.held_out import HeldOut

EQUAL, SEEN, NONE = "to equal shares", "to the seen votes' shares", "none"
# One point too many in the mean answer moves the implied shares by ten points or more.
LEAST_SINGULAR = 0.1


def taught_prior(info: ModelInfo) -> np.ndarray | None:
    """Label shares [K] that a model's answers carry; None of a model that does not tell what it was trained on."""
    if info.fused.shares is None:
        return None
    shares, examples = np.array(info.fused.shares), info.fused.examples or info.fused.utterances.get("train", 0)
    weighed = shares * class_weights(info.options.loss, shares * examples)
    return weighed / weighed.sum()


def balanced_scores(systems: dict[str, np.ndarray], info: ModelInfo, ref: HeldOut) -> dict[str, Any]:
    """Class-balanced scores of each system's distributions [U, K] as they are, and of the model's corrected from the
    label shares it was taught to equal ones (where it knows them; a constant so corrected is uniform).

    `prior` holds the shares taught, those of the test votes, and those that the model's answers alone imply;
    `implied_undetermined` says why the last are not there.
    """
    labels, taught = info.label_set, taught_prior(info)
    scored = {(name, NONE): q for name, q in systems.items()}
    if taught is not None:
        level = np.full(len(labels), 1 / len(labels))
        scored[info.name, EQUAL] = prior_corrected(systems[info.name], taught, level)
        scored[CONSTANT, EQUAL] = np.where(np.isnan(systems[CONSTANT]), np.nan, level)
    priors = {"taught": taught, "test": expected_shares(ref.counts)}
    undetermined = None
    if taught is not None:
        undetermined = why_undetermined(systems[info.name])
        priors["implied"] = estimated_prior(systems[info.name], taught) if undetermined is None else None
    return {
        "implied_undetermined": undetermined,
        "prior": {
            name: dict(zip(labels, shares.tolist(), strict=True))
            for name, shares in priors.items()
            if shares is not None
        },
        "scores": [
            {"system": system, "correction": correction, **row._asdict()}
            for (system, correction), q in scored.items()
            for row in class_balanced(q, ref.counts, groups=ref.speakers, seed=ref.seed)
        ],
    }


def own_confusion(q: np.ndarray) -> np.ndarray:
    """C [K', K'] of answers [U, K], over the K' labels that some answer has any mass on; NaN rows are left out."""
    q = q[~np.isnan(q).any(axis=1)]
    q = q[:, q.sum(axis=0) > 0]
    return q.T @ q / q.sum(axis=0)[:, None]


def why_undetermined(q: np.ndarray) -> str | None:
    """Why the answers [U, K] do not tell the label shares behind them, in words; None where they do."""
    least = float(np.linalg.svd(own_confusion(q), compute_uv=False).min(initial=1.0))
    if least >= LEAST_SINGULAR:
        return None
    times = f"about {1 / least:,.0f} times" if least > 1e-6 else "without bound"
    return (
        "the answers tell the labels apart too little: an error in the mean answer "
        f"would be magnified {times} (the least singular value of the answers' own confusion is {least:.2g}; "
        f"{LEAST_SINGULAR:g} or more is needed)"
    )


def corrected_scores(q: np.ndarray, info: ModelInfo, ref: HeldOut) -> list[dict[str, Any]]:
    """The score table of the model's distributions q [U, K] moved from the prior that it was taught to that of the seen
    votes (`marginal`), which needs no vote that is scored; empty where the former is unknown.
    """
    taught = taught_prior(info)
    if taught is None:
        return []
    moved = prior_corrected(q, taught, np.array(info.marginal))
    table = score_table(moved, ref.counts, labels=ref.labels, ids=ref.ids, groups=ref.speakers, m=ref.m, seed=ref.seed)
    return [{"system": info.name, "correction": SEEN, **row._asdict()} for row in table]
