"""Losses on vote distributions and on ratings, as functions of a batch.

A categorical loss gives one number per utterance, [B], so that a curriculum can weigh them; q = softmax(logits) and y
is the target distribution, n the seen votes behind it. Natural logarithms; 0 ln 0 = 0.

`CATEGORICAL` has a record for each, with its formula and its source: a new loss is a function and a line there. The
options of a training, their help and the plan of class weights read it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Cui et al., "Class-balanced loss based on effective number of samples" (CVPR 2019); Omidi and Hansen 2026 use .9999.
BETA = 0.9999
# Where Omidi and Hansen 2026 clip the weights of their weighted KL.
LEAST_WEIGHT, MOST_WEIGHT = 0.25, 5.0
# exp(logits) as votes: from a ten-thousandth to twenty thousand.
LOG_EVIDENCE = 10.0
# Log-variances beyond this are held there (Omidi and Hansen 2026).
LOG_VARIANCE = 10.0
# Weight of 1 - CCC beside the Gaussian likelihood in their loss on ratings.
CONCORDANCE_WEIGHT = 0.1


class Loss(NamedTuple):
    """The loss to descend and its two parts, scalars each."""

    total: Tensor
    categorical: Tensor
    dimensional: Tensor


class Target(NamedTuple):
    """What a batch should be answered: distributions [B, K], the votes behind them [B, K], ratings [B, D] (NaN: none),
    class weights [K] for the losses that weigh classes."""

    p: Tensor
    votes: Tensor
    ratings: Tensor
    class_weights: Tensor


def cross_entropy(logits: Tensor, target: Target) -> Tensor:
    """-sum_c y_c ln q_c [B]."""
    return -(target.p * _log_softmax(logits)).sum(-1)


def balanced_cross_entropy(logits: Tensor, target: Target) -> Tensor:
    """-sum_c w_c y_c ln q_c [B]."""
    return -(target.class_weights * target.p * _log_softmax(logits)).sum(-1)


def kl(logits: Tensor, target: Target) -> Tensor:
    """KL(y || q) [B]: the cross-entropy less the target's entropy, so the same gradient, but 0 where q = y."""
    return _kl_terms(logits, target.p).sum(-1)


def weighted_kl(logits: Tensor, target: Target) -> Tensor:
    """sum_c w_c y_c (ln y_c - ln q_c) [B]. With unequal weights it is no divergence: it may be below 0, and its
    minimum is not at q = y but at q proportional to w y."""
    return (target.class_weights * _kl_terms(logits, target.p)).sum(-1)


def jsd(logits: Tensor, target: Target) -> Tensor:
    """Jensen-Shannon divergence [B], at most ln 2."""
    log_q, y = _log_softmax(logits), target.p
    q = log_q.exp()
    log_m = torch.log(((y + q) / 2).clamp(min=1e-30))
    return 0.5 * (torch.xlogy(y, y) - y * log_m + q * (log_q - log_m)).sum(-1)


def dirichlet_multinomial(logits: Tensor, target: Target) -> Tensor:
    """-(1/N) [lnG(A) - lnG(A + N) + sum_c lnG(a_c + n_c) - lnG(a_c)] [B], a = exp(logits), A = sum_c a_c; without
    votes 0.

    The expected distribution is a / A = softmax(logits), so predictions read like any other model's; A is how many
    votes the model takes itself to be worth. Votes in any one order: the multinomial coefficient is left out.
    """
    a = logits.float().clamp(-LOG_EVIDENCE, LOG_EVIDENCE).exp()
    n, total = target.votes.sum(-1), a.sum(-1)
    each = torch.lgamma(a + target.votes) - torch.lgamma(a)
    log_likelihood = torch.lgamma(total) - torch.lgamma(total + n) + each.sum(-1)
    return -log_likelihood / n.clamp(min=1)


def _effective_numbers(n: np.ndarray) -> np.ndarray:
    return (1 - BETA) / (1 - BETA**n)


def _inverse(n: np.ndarray) -> np.ndarray:
    return 1 / n


@dataclass(frozen=True, slots=True, kw_only=True)
class Categorical:
    """A loss on distributions: `of(logits, target)` [B], its formula and source, and what it asks for.

    `weights` gives the weight of each label from the number of utterances [K] that have it (None: the loss weighs no
    labels), scaled to mean one and then clipped to `clip`. An `evidential` loss learns from an utterance's votes
    themselves, and takes exp(logits) for the votes that the answer is worth.
    """

    of: Callable[[Tensor, Target], Tensor]
    formula: str
    source: str
    weights: Callable[[np.ndarray], np.ndarray] | None = None
    clip: tuple[float, float] | None = None
    evidential: bool = False


CATEGORICAL: dict[str, Categorical] = {
    "kl": Categorical(of=kl, formula="sum_c y_c (ln y_c - ln q_c)", source="Kullback and Leibler 1951"),
    "ce": Categorical(of=cross_entropy, formula="-sum_c y_c ln q_c", source="of a one-hot y, the usual cross-entropy"),
    "cb-ce": Categorical(
        of=balanced_cross_entropy,
        formula="-sum_c w_c y_c ln q_c, w by effective numbers of utterances",
        source="Cui et al. 2019",
        weights=_effective_numbers,
    ),
    "weighted-kl": Categorical(
        of=weighted_kl,
        formula="sum_c w_c y_c (ln y_c - ln q_c), w by inverse counts",
        source="Omidi and Hansen 2026",
        weights=_inverse,
        clip=(LEAST_WEIGHT, MOST_WEIGHT),
    ),
    "jsd": Categorical(of=jsd, formula="half KL(y || m) + half KL(q || m), m = (y + q) / 2", source="Lin 1991"),
    "dirichlet-multinomial": Categorical(
        of=dirichlet_multinomial,
        formula="-ln DM(n | a) / N, a = exp(logits): the votes themselves, an evidential head",
        source="Minka 2000",
        evidential=True,
    ),
}


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.float(), dim=-1)


def _kl_terms(logits: Tensor, y: Tensor) -> Tensor:
    return torch.xlogy(y, y) - y * _log_softmax(logits)


def class_weights(loss: str, counts: np.ndarray) -> np.ndarray:
    """Weights [K] of a loss, from how many training utterances have each label as their target, [K] (soft targets:
    their mass). One for a loss that weighs no classes.

    The loss's own `weights` (cb-ce: (1 - beta) / (1 - beta^n_c); weighted-kl: 1 / n_c, clipped to [.25, 5]), scaled to
    mean one over the labels that at least one utterance has, rounded, before they are clipped. A label below one
    utterance counts as one, so that nothing is infinite; one that nobody chose, and that a smoothing fusion gives next
    to nothing, is not to set the weights of all others.
    """
    chosen = CATEGORICAL[loss]
    if chosen.weights is None:
        return np.ones(len(counts))
    mass = np.asarray(counts, dtype=np.float64)
    n, there = np.maximum(mass, 1.0), np.rint(mass) > 0
    weights = chosen.weights(n)
    weights /= weights[there].mean() if there.any() else 1.0
    return weights if chosen.clip is None else np.clip(weights, *chosen.clip)


def concordance(x: Tensor, y: Tensor) -> Tensor:
    """Lin's concordance 2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with moments over n (biased), of
    two vectors.

    Undefined (0 / 0) where both are the same constant: then NaN.
    """
    dx, dy = x - x.mean(), y - y.mean()
    return 2 * (dx * dy).mean() / (dx.square().mean() + dy.square().mean() + (x.mean() - y.mean()).square())


def concordance_loss(predicted: Tensor, rated: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 - (weighted) mean over dimensions of the mini-batch concordance, of predictions and ratings [B, D]; NaN
    ratings are left out.

    A dimension counts where at least two utterances of the batch are rated and their ratings differ:
    otherwise its concordance is 0 whatever is predicted, or undefined, and says nothing about the model. No
    dimension counts: the loss is 0, without a gradient. Mini-batch moments make this a biased estimate of the
    corpus's concordance; the smaller the batch, the more.
    """
    losses, counted = [], []
    for d in range(rated.shape[1]):
        known = ~torch.isnan(rated[:, d])
        truth = rated[known, d]
        if len(truth) >= 2 and bool((truth != truth[0]).any()):
            losses.append(1 - concordance(predicted[known, d].float(), truth))
            counted.append(rated.new_ones(()) if weights is None else weights[d])
    if not losses:
        return predicted.new_zeros(())
    share = torch.stack(counted)
    return (torch.stack(losses) * share).sum() / share.sum()


def likelihood_and_concordance(mean: Tensor, log_variance: Tensor, rated: Tensor, weights: Tensor) -> Tensor:
    """sum_d w_d / 2 (exp(-s_d)(mu_d - v_d)^2 + s_d), averaged over the D dimensions and the utterances rated on each,
    plus .1 (1 - weighted CCC): Omidi and Hansen's loss on valence, arousal and dominance.

    `mean`, `log_variance` s (held within +-10) and `rated` v are [B, D], `weights` w [D]. NaN ratings are left out; a
    dimension nobody rated adds nothing.
    """
    s = log_variance.float().clamp(-LOG_VARIANCE, LOG_VARIANCE)
    known = ~torch.isnan(rated)
    error = torch.where(known, mean.float() - torch.nan_to_num(rated), 0.0)
    each = torch.where(known, 0.5 * (torch.exp(-s) * error.square() + s), 0.0)
    by_dimension = each.sum(0) / known.sum(0).clamp(min=1)
    return (weights * by_dimension).mean() + CONCORDANCE_WEIGHT * concordance_loss(mean, rated, weights).clamp(min=0)


def dimensional_loss(
    kind: str, predicted: Tensor | None, log_variance: Tensor | None, rated: Tensor, weights: Tensor
) -> Tensor:
    """The loss on ratings: `ccc`, 1 - CCC, or `nll-ccc`; 0 for a model without a dimensional head."""
    if predicted is None:
        return rated.new_zeros(())
    if kind == "nll-ccc" and log_variance is not None:
        return likelihood_and_concordance(predicted, log_variance, rated, weights)
    return concordance_loss(predicted, rated, weights)
