"""Losses on vote distributions and on ratings, as functions of a batch."""

from typing import NamedTuple

import torch
from torch import Tensor


class Loss(NamedTuple):
    """The loss to descend and its two parts, scalars each."""

    total: Tensor
    categorical: Tensor
    dimensional: Tensor


def soft_label_kl(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of KL(y || q) = sum_c y_c (ln y_c - ln q_c), q = softmax(logits); nats.

    0 ln 0 counts as 0. It is the cross-entropy to the soft targets less their entropy: the same gradient, but
    0 when q = y.

    >>> round(float(soft_label_kl(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))), 4)
    0.6931
    """
    log_q = torch.log_softmax(logits.float(), dim=-1)
    return (torch.xlogy(targets, targets) - targets * log_q).sum(-1).mean()


def concordance(x: Tensor, y: Tensor) -> Tensor:
    """Lin's concordance 2 cov(x, y) / (var x + var y + (mean x - mean y)^2), with moments over n (biased), of
    two vectors.

    Undefined (0 / 0) where both are the same constant: then NaN.
    """
    dx, dy = x - x.mean(), y - y.mean()
    return 2 * (dx * dy).mean() / (dx.square().mean() + dy.square().mean() + (x.mean() - y.mean()).square())


def concordance_loss(predicted: Tensor, rated: Tensor) -> Tensor:
    """1 - mean over dimensions of the mini-batch concordance, of predictions and ratings [B, D]; NaN ratings
    are left out.

    A dimension counts where at least two utterances of the batch are rated and their ratings differ:
    otherwise its concordance is 0 whatever is predicted, or undefined, and says nothing about the model. No
    dimension counts: the loss is 0, without a gradient. Mini-batch moments make this a biased estimate of the
    corpus's concordance; the smaller the batch, the more.
    """
    losses = []
    for d in range(rated.shape[1]):
        known = ~torch.isnan(rated[:, d])
        truth = rated[known, d]
        if len(truth) >= 2 and bool((truth != truth[0]).any()):
            losses.append(1 - concordance(predicted[known, d].float(), truth))
    return torch.stack(losses).mean() if losses else predicted.new_zeros(())


def joint_loss(logits: Tensor, targets: Tensor, predicted: Tensor | None, rated: Tensor, *, weight: float) -> Loss:
    """Soft-label KL + weight * (1 - concordance); the second part is 0 for a model without a dimensional
    head.
    """
    categorical = soft_label_kl(logits, targets)
    dimensional = concordance_loss(predicted, rated) if predicted is not None else categorical.new_zeros(())
    return Loss(categorical + weight * dimensional, categorical, dimensional)
