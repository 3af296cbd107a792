"""Validation: each epoch against the development split's human votes, and which epoch was best."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..data.errors import AudioError
from ..data.fused import Fused
from ..data.scores.metric import Pairs, best_of, value_of
from ..data.scores.metrics import ccc, reference_classes
from .checkpoint import ModelInfo
from .dataset import Listening, Readable, bucketed_batches, load_batches
from .network.features import answer
from .network.heads import EmotionModel
from .options import TrainOptions, epoch_metrics
from .targets import Examples, validation_examples


def validate(
    network: EmotionModel, examples: Examples, sounds: Readable, info: ModelInfo, *, workers: int = 0
) -> tuple[dict[str, float], dict[str, str]]:
    """Score the network on human votes and ratings; return the scores, and why some utterances were not
    heard.
    """
    network.eval()
    where = next(network.parameters()).device
    q, rated = np.full(examples.targets.shape, np.nan), np.full(examples.ratings.shape, np.nan)
    failures: dict[str, str] = {}
    batches = bucketed_batches(examples.seconds, batch_seconds=info.options.batch_seconds, seed=0, epoch=0)
    for batch in load_batches(Listening(examples, sounds), batches, workers=workers):
        failures |= {examples.ids([place])[0]: reason for place, reason in batch.failures}
        if not len(batch.places):
            continue
        with torch.no_grad():
            output = answer(network, batch, where)
        q[batch.places] = torch.softmax(output.logits.cpu().double(), dim=-1).numpy()
        if output.ratings is not None:
            rated[batch.places] = output.ratings.cpu().double().numpy()
    if len(failures) == len(examples):
        reason = next(iter(failures.values()))
        raise AudioError(f"none of the {len(examples)} development utterances can be heard; the first: {reason}")
    return validation_scores(q, rated, examples, info.dimensions), failures


def validation_scores(
    q: np.ndarray, rated: np.ndarray, examples: Examples, dimensions: Sequence[str]
) -> dict[str, float]:
    """Every score shown of an epoch (`epoch_metrics`), each dimension's CCC and their mean.

    NaN rows of `q` are left out; sq_unbiased is NaN where no utterance has two votes.
    """
    counts = examples.targets
    pairs, classes = Pairs(q, counts, counts, 0), reference_classes(counts)
    scores = {metric.name: value_of(metric, pairs, classes) for metric in epoch_metrics() if metric.of != "rating"}
    by_dimension = {f"ccc_{d}": ccc(rated[:, i], examples.ratings[:, i]) for i, d in enumerate(dimensions)}
    if by_dimension:
        scores |= {"ccc": float(np.mean(list(by_dimension.values()))), **by_dimension}
    return scores


def constant_scores(fused: Fused, info: ModelInfo) -> dict[str, float]:
    """The same scores of the best answer without listening, `marginal`, on the development split; it rates nothing."""
    examples = validation_examples(fused.corpus, [])
    answers = np.tile(info.marginal, (len(examples), 1))
    return validation_scores(answers, np.zeros((len(examples), 0)), examples, [])


def best_epoch(history: Sequence[Mapping[str, Any]], metric: str) -> int:
    """The first epoch (from 0) whose metric is best; one where it is undefined is the worst."""
    return int(np.argmax([best_of(row, metric) for row in history]))


def has_stalled(history: Sequence[Mapping[str, Any]], options: TrainOptions) -> bool:
    """Whether the last `patience` epochs brought nothing better."""
    if options.patience is None or not history:
        return False
    return len(history) - 1 - best_epoch(history, options.best_by) >= options.patience
