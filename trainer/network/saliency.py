"""Saliency: how much of the targets an encoder's layer tells, as a measure of correlation that counts redundancy once.

Mitra et al. (arXiv 2503.22711) choose a layer by the correlation of its dimensions with the emotion targets, accounting
for redundancy between dimensions; their equations are not public. What follows is ours. With x the time means of a
layer's states (n x D, columns standardised), y a target (standardised), r = x'y / n and R = x'x / n:

    q(l) = r' (R + l I)^-1 r                    what the dimensions explain of y together: dimensions that say the same
                                                are counted once, and what they share besides y is taken out
    d(l) = tr[R (R + l I)^-1] / (n - 1)         its mean over permutations of y: what chance explains
    S    = max over l of (q - d) / (1 - d)      0 for a layer that tells nothing, 1 for one that tells all

Several labels are one target: q is then the share of their summed variance. A rated dimension is a target of its own,
over the utterances rated on it. A layer's saliency is the mean over its targets; the layer of the largest is chosen.

Uncorrelated dimensions (R = I) and l = 0 make q the sum of squared correlations. The plainer mean over dimensions of
r_i - mean_{j != i} r_j R_ij (absolute values) was tried first: on constructed layers it ranks well by noise (Spearman
.98), but not where dimensions share a nuisance (.33, mean of twelve draws; S there .99, and never below .96).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ...data.errors import AudioError
from ...data.seeds import rng_from
from ..dataset import Listening, Sounds, bucketed_batches, load_batches
from ..targets import Examples
from .encoders import SpeechEncoder
from .heads import masked_mean

# Utterances that are listened to, drawn by seed.
MOST = 2000
PENALTIES = np.logspace(-4, 2, 13)
Progress = Callable[[int, int], None]


class Choice(NamedTuple):
    """The layer that tells most, every layer's saliency (the embeddings' first), and of how many utterances."""

    layer: int
    scores: list[float]
    utterances: int


def explained(x: np.ndarray, y: np.ndarray) -> float:
    """S of embeddings x [n, D] for targets y [n, T] taken together; 0 where either does not vary.

    >>> y = np.arange(50.0)[:, None] % 7
    >>> round(explained(np.hstack([y, y]), y), 3)
    1.0
    """
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread, total = np.sqrt(np.square(x).sum(axis=0)), np.square(y).sum()
    varies = spread > 1e-8 * np.abs(spread).max(initial=0)
    if len(x) < 3 or total <= 0 or not varies.any():
        return 0.0
    directions, singular, _ = np.linalg.svd(x[:, varies] / spread[varies], full_matrices=False)
    found = np.square(directions.T @ y).sum(axis=1) / total
    shrunk = np.square(singular) / (np.square(singular) + PENALTIES[:, None])
    q, chance = shrunk @ found, shrunk.sum(axis=1) / (len(x) - 1)
    return float(np.max((q - chance) / (1 - chance)))


def saliency(x: np.ndarray, labels: np.ndarray, ratings: np.ndarray) -> float:
    """A layer's saliency: the mean S over its targets, the labels' distributions [n, K] together and every dimension of
    the ratings [n, D] (NaN: not rated).
    """
    found = [explained(x, labels)]
    for column in ratings.T:
        rated = np.isfinite(column)
        if rated.sum() > 2:
            found.append(explained(x[rated], column[rated, None]))
    return float(np.mean(found))


def choose_layer(
    encoder: SpeechEncoder,
    examples: Examples,
    sounds: Sounds,
    *,
    seed: int,
    batch_seconds: float,
    device: torch.device | str = "cpu",
    most: int = MOST,
    progress: Progress | None = None,
) -> Choice:
    """The layer of an encoder that tells most of what is to be learnt, on at most `most` training utterances.

    Ties go to the lower layer, which is the cheaper one. Raises AudioError where fewer than three can be heard.
    """
    places, targets = distinct(examples)
    if len(places) > most:
        drawn = np.sort(rng_from("saliency", seed).choice(len(places), most, replace=False))
        places, targets = places[drawn], targets[drawn]
    x, heard = embeddings(
        encoder, examples, sounds, places, batch_seconds=batch_seconds, device=device, progress=progress
    )
    if heard.sum() < 3:
        raise AudioError(
            f"{int(heard.sum())} of the {len(places)} utterances that 'auto' listens to in order to choose a layer can "
            "be heard; it needs three at least"
        )
    ratings = examples.ratings[places[heard]]
    scores = [saliency(layer[heard], targets[heard], ratings) for layer in x]
    return Choice(int(np.argmax(scores)), scores, int(heard.sum()))


def distinct(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """A place for each utterance, once, and the mean of its targets: single votes repeat it."""
    _, first, which = np.unique(examples.rows, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), examples.targets.shape[1]))
    np.add.at(sums, which, examples.targets)
    return first, sums / np.bincount(which)[:, None]


def embeddings(
    encoder: SpeechEncoder,
    examples: Examples,
    sounds: Sounds,
    places: np.ndarray,
    *,
    batch_seconds: float,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Time means [L + 1, n, H] of every layer's states for the examples at n places, and which [n] could be heard."""
    encoder = encoder.to(device).eval()
    found = np.zeros((encoder.depth + 1, len(places), encoder.width))
    heard = np.zeros(len(places), dtype=bool)
    where = {int(place): at for at, place in enumerate(places)}
    batches = bucketed_batches(examples.seconds[places], batch_seconds=batch_seconds, seed=0, epoch=0)
    for done, batch in enumerate(load_batches(Listening(examples, sounds), [places[batch] for batch in batches]), 1):
        rows = [where[int(place)] for place in batch.places]
        if rows:
            with torch.inference_mode():
                layers = encoder.hidden(batch.waveforms.to(device), batch.lengths.to(device))
            found[:, rows] = np.stack([masked_mean(frames).float().cpu().numpy() for frames in layers])
            heard[rows] = True
        if progress is not None:
            progress(done, len(batches))
    return found, heard
