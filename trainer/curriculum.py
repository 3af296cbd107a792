"""Curricula over ambiguity: which utterances teach the categorical loss, and how much, epoch by epoch.

An utterance's ambiguity is the entropy of what it should be answered, H / ln K (Omidi and Hansen 2026). Where votes are
few, the entropy of their frequencies is biased down and full of ties, so ours is its expectation under the votes'
posterior, Dirichlet(a) with A = sum a (`expected_entropy`; Wolpert and Wolf 1995); theirs is `ambiguity="target"`:

    E[H] = psi(A + 1) - sum_c a_c / A psi(a_c + 1)

    filter          the ceil(q B) least ambiguous of B are kept, q growing with the epochs
    reverse-filter  the most ambiguous
    random-filter   as many, drawn at random: the control, since fewer utterances alone change a training
    weight          clip((1 - H)^a, least, 1) over the batch's mean, a falling to 0
    reverse-weight  clip(H^a, least, 1) over the batch's mean

B is the mini-batch, as published, or the whole epoch (`over="epoch"`, ours): a batch of eight sorted by itself is
hardly a curriculum. Equal entropies are ordered at random, by seed, epoch and utterance. Only the categorical loss is
filtered or weighed; ratings teach throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import psi

from ..data.errors import OptionError
from ..data.scores.divergences import normalised_entropy
from ..data.seeds import uniforms

if TYPE_CHECKING:
    from .options import TrainOptions
    from .targets import Examples

FILTERS = ("filter", "reverse-filter", "random-filter")
WEIGHTS = ("weight", "reverse-weight")
CURRICULA = ("none", *FILTERS, *WEIGHTS)
Stages = tuple[tuple[int, float], ...]


def expected_entropy(a: np.ndarray) -> np.ndarray:
    """E[H(p)] / ln K [N] for p ~ Dirichlet(a), a [N, K]: psi(A + 1) - sum_c a_c / A psi(a_c + 1), over ln K.

    >>> expected_entropy(np.array([[1.0, 1.0]])).round(4)  # (psi(3) - psi(2)) / ln 2 = .5 / ln 2
    array([0.7213])
    """
    a = np.asarray(a, dtype=np.float64)
    total = a.sum(axis=1, keepdims=True)
    return (psi(total[:, 0] + 1) - (a / total * psi(a + 1)).sum(axis=1)) / np.log(a.shape[1])


def stages(text: str, *, name: str) -> Stages:
    """Read "1:.5,4:.8" as ((1, .5), (4, .8)): from epoch e on, the value. OptionError unless epochs rise from 1 on and
    values are finite.
    """
    try:
        found = tuple((int(epoch), float(value)) for epoch, value in (part.split(":") for part in text.split(",")))
    except ValueError:
        raise OptionError(f"{name} is {text!r}; expected epochs and values, as in 1:.5,2:.6,4:.8") from None
    epochs = [epoch for epoch, _ in found]
    if epochs[0] != 1 or epochs != sorted(set(epochs)):
        raise OptionError(f"{name} is {text!r}; its epochs must rise, and begin with 1")
    if not all(math.isfinite(value) for _, value in found):
        raise OptionError(f"{name} is {text!r}; its values must be finite numbers")
    return found


def at_epoch(found: Stages, epoch: int) -> float:
    """The value at an epoch (from 1).

    >>> [at_epoch(((1, 0.5), (4, 0.8)), epoch) for epoch in (1, 3, 4, 9)]
    [0.5, 0.5, 0.8, 0.8]
    """
    return next(value for start, value in reversed(found) if start <= epoch)


def annealed(first: float, last: float, epoch: int, *, ramp: int) -> float:
    """The exponent at an epoch (from 1): linear from `first` in epoch 1 to `last` in epoch `ramp`, then constant.

    >>> [annealed(2.0, 0.0, epoch, ramp=5) for epoch in (1, 3, 5, 8)]
    [2.0, 1.0, 0.0, 0.0]
    """
    return first + (last - first) * min(1.0, (epoch - 1) / max(1, ramp - 1))


def in_order(ambiguity: np.ndarray, ids: Sequence[str], *, seed: int, epoch: int) -> np.ndarray:
    """Ranks [N] from the least ambiguous, 0, to the most; equals by a draw by seed, epoch and utterance."""
    ties = uniforms(list(ids), 1, "curriculum", seed, epoch)[:, 0]
    ranks = np.empty(len(ambiguity), dtype=int)
    ranks[np.lexsort((ties, np.round(ambiguity, 12)))] = np.arange(len(ambiguity))
    return ranks


def kept(curriculum: str, ranks: np.ndarray, share: float, *, chance: np.ndarray) -> np.ndarray:
    """Mask [B] of the ceil(share B) utterances, one at least, that a filter keeps, from their ranks and, for the
    control, from a draw `chance` in [0, 1) each.

    >>> kept("filter", np.array([7, 2, 4]), 0.5, chance=np.zeros(3))
    array([False,  True,  True])
    """
    key = {"filter": ranks, "reverse-filter": -ranks, "random-filter": chance}[curriculum]
    mask = np.zeros(len(ranks), dtype=bool)
    mask[np.argsort(key, kind="stable")[: max(1, int(np.ceil(share * len(ranks) - 1e-9)))]] = True
    return mask


def weights(curriculum: str, ambiguity: np.ndarray, exponent: float, *, least: float) -> np.ndarray:
    """clip((1 - H)^a, least, 1), or clip(H^a, least, 1) in reverse, divided by their mean; [B].

    Where all of them are 0 (`least` 0, and nothing ambiguous in reverse) they are one each, as of any other utterances
    of equal ambiguity.

    >>> weights("weight", np.array([0.0, 0.5]), 1.0, least=0.15)
    array([1.33333333, 0.66666667])
    """
    ease = ambiguity if curriculum == "reverse-weight" else 1 - ambiguity
    found = np.clip(np.clip(ease, 0, 1) ** exponent, least, 1)
    return found / found.mean() if found.any() else np.ones(len(found))


def ambiguity_of(options: TrainOptions, examples: Examples) -> np.ndarray:
    """What a curriculum goes by [N]: the expected entropy given the votes, or the target's own, over ln K."""
    return examples.ambiguity if options.ambiguity == "expected" else normalised_entropy(examples.targets)


def lesson(
    options: TrainOptions, ambiguity: np.ndarray, ids: Sequence[str], *, epoch: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The weights [B] of a mini-batch's utterances, given their places among the N, in an epoch (from 1).

    Their mean is one over the batch, or, with `curriculum_over="epoch"`, over the epoch.
    """
    name, whole = options.curriculum, options.curriculum_over == "epoch"
    if name == "none":
        return lambda places: np.ones(len(places))
    if name in WEIGHTS:
        ramp = options.ramp or options.epochs
        exponent = annealed(options.exponent, options.last_exponent, epoch, ramp=ramp)
        of_all = weights(name, ambiguity, exponent, least=options.least_weight)
        if whole:
            return lambda places: of_all[places]
        return lambda places: weights(name, ambiguity[places], exponent, least=options.least_weight)
    share = at_epoch(stages(options.quantiles, name="quantiles"), epoch)
    ranks = in_order(ambiguity, ids, seed=options.seed, epoch=epoch)
    chance = uniforms(list(ids), 1, "random filter", options.seed, epoch)[:, 0]
    if whole:
        mask = kept(name, ranks, share, chance=chance)
        return lambda places: mask[places] / mask.mean()

    def of_batch(places: np.ndarray) -> np.ndarray:
        mask = kept(name, ranks[places], share, chance=chance[places])
        return mask / mask.mean()

    return of_batch
