"""How near a checkpoint's distributions are to the votes of a simulated corpus, against the best constant one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from serann.annotator.models.families import AudioLanguageModel
from serann.annotator.models.label_tree import build_tree
from serann.annotator.models.packed_prompt import Branch, answer_logp, pack_row
from serann.data.audio import utterance_audio
from serann.data.corpus import Corpus
from serann.data.scores.divergences import jsd_bits
from serann.data.scores.temperature import at_temperature, normalise
from serann.data.votes import count_votes, frequencies
from serann.prompts.loader import Panel, render


class Figures(TypedDict):
    """Mean JSD in bits to the frequencies of all votes, of the panel's mean, of its first listener at T = 1, and of the
    constant that is best on these very votes; the ratios to that constant; the mean mass on the labels.
    """

    utterances: int
    panel_jsd_bits: float
    listener_jsd_bits: float
    constant_jsd_bits: float
    panel_ratio: float
    listener_ratio: float
    label_mass: float


def judge(
    alm: AudioLanguageModel, corpus: Corpus, panel: Panel, *, split: str = "test", limit: int | None = None
) -> Figures:
    """Score the panel on the utterances of a split, at most `limit` of them spread evenly over it."""
    rows = np.flatnonzero(corpus.in_split(split))
    if limit is not None and len(rows) > limit:
        rows = rows[np.linspace(0, len(rows) - 1, limit).round().astype(int)]
    scores, mass = panel_scores(alm, corpus, panel, rows)
    votes = frequencies(count_votes(corpus.votes, [corpus.ids[i] for i in rows], corpus.labels))
    means = [jsd_bits(p, votes).mean() for p in (panel_mean(panel, scores), np.exp(scores[:, 0]))]
    constant = jsd_bits(best_constant(votes), votes).mean()
    return {
        "utterances": len(rows),
        "panel_jsd_bits": round(float(means[0]), 4),
        "listener_jsd_bits": round(float(means[1]), 4),
        "constant_jsd_bits": round(float(constant), 4),
        "panel_ratio": round(float(means[0] / constant), 4),
        "listener_ratio": round(float(means[1] / constant), 4),
        "label_mass": round(float(np.exp(mass).mean()), 4),
    }


def panel_scores(
    alm: AudioLanguageModel, corpus: Corpus, panel: Panel, rows: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """log P1 [U, R, K] of the panel's R raters (listeners but for temperature) in their order, and log mass [U, R]."""
    import torch

    raters = list({listener.rater: listener for listener in panel.listeners}.values())
    found = []
    with torch.inference_mode():
        for i in map(int, rows):
            made = alm.features([utterance_audio(corpus, i)])
            branches, prefix = [], ()
            for listener in raters:
                rendered = render(
                    panel.question, listener, corpus.labels.labels, corpus.utterances["transcript"][i].as_py()
                )
                prefix, suffix = alm.chat(rendered.system, rendered.text)
                branches.append(Branch(suffix, build_tree(rendered.answers, alm.tokens, alm.turn_ends())))
            spread = [t for p in prefix for t in [p] * (made.audio_tokens[0] if p == alm.audio_token_id else 1)]
            found.append(torch.stack(answer_logp(alm, made, [pack_row(spread, branches)])[0]).double().numpy())
    return normalise(np.stack(found))


def panel_mean(panel: Panel, scores: np.ndarray) -> np.ndarray:
    """The unweighted mean over the panel's listeners of p at their temperatures [U, K], from log P1 [U, R, K]."""
    raters = list(dict.fromkeys(listener.rater for listener in panel.listeners))
    each = [at_temperature(scores[:, raters.index(item.rater)], item.temperature) for item in panel.listeners]
    return np.mean(each, axis=0)


def best_constant(votes: np.ndarray) -> np.ndarray:
    """The distribution [K] of least mean JSD to the rows of `votes` [U, K]: the most favourable constant there is."""
    from scipy.optimize import minimize
    from scipy.special import softmax

    found = minimize(lambda z: jsd_bits(softmax(z), votes).mean(), np.log(votes.mean(axis=0) + 1e-3), method="BFGS")
    return softmax(found.x)
