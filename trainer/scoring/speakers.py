"""Speaker by speaker: who is heard well, who is not, and how much of that is chance.

A speaker's own UAR is the mean recall over the classes of which he or she has at least `SUPPORT` utterances (a human
plurality tied between t labels is 1/t of an utterance of each); a speaker with fewer than `CLASSES` such classes has
none. paUAR-50 and paUAR-75 are the shares of speakers whose own UAR is above .50 and .75: so read from the figures of
Mitra et al. (2025), which do not define them. With n guesses an utterance counts as hit if the plurality is among
the n best.

Few utterances spread the own UARs by chance alone, so two binomial nulls are drawn beside them: hits of a class are
Binomial(support, r), independent between utterances, with r

    equal    the class's recall over all these speakers: a system that hears everybody equally well
    chance   n / K: one that guesses blindly among the K labels
"""

from typing import Any, NamedTuple

import numpy as np

from ...data.scores.intervals import group_sums, share
from ...data.scores.metric import GUESSES, THRESHOLDS, pauar_name
from ...data.scores.metrics import among_best, plurality
from ...data.seeds import rng_from
from .held_out import HeldOut

SUPPORT = 3
CLASSES = 2
DRAWS = 1000
# Draws held at a time: 25 MB of them for the 3,641 speakers of MSP-Podcast.
BLOCK = 100
QUANTILES = {"least": 0.0, "q10": 0.1, "q25": 0.25, "median": 0.5, "q75": 0.75, "q90": 0.9, "most": 1.0}


class Recalls(NamedTuple):
    """Of G named speakers: utterances [G]; how many have each label as a plurality of t tied ones, `tied` [K, G, K] (t
    first); hits of each label with n guesses [N, G, K].
    """

    names: list[str]
    utterances: np.ndarray
    tied: np.ndarray
    hits: np.ndarray

    @property
    def support(self) -> np.ndarray:
        """Utterances of each label, [G, K], a tie of t labels counting 1/t for each."""
        return np.tensordot(1 / np.arange(1, len(self.tied) + 1), self.tied, axes=1)


def recalls(q: np.ndarray, ref: HeldOut) -> Recalls:
    """Hits and support by speaker; utterances of unknown speakers and those not heard are left out."""
    human = plurality(ref.counts)
    named = np.array([speaker is not None for speaker in ref.speakers])
    kept = named & ~np.isnan(q).any(axis=1) & ~np.isnan(human).any(axis=1)
    present, codes = np.unique(ref.codes[kept], return_inverse=True)
    name_of = dict(zip(ref.codes[kept].tolist(), ref.speakers[kept].tolist(), strict=True))
    size, labels = len(present), human.shape[1]
    human, q = human[kept], q[kept]
    ties = np.rint(1 / np.max(human, axis=1, initial=0)) if len(human) else np.zeros(0)
    tied = [group_sums(((human > 0) & (ties == t)[:, None]).astype(float), codes, size) for t in range(1, labels + 1)]
    hits = [group_sums(human * among_best(q, n), codes, size) for n in GUESSES]
    return Recalls(
        [str(name_of[c]) for c in present], np.bincount(codes, minlength=size), np.array(tied), np.array(hits)
    )


def own_uar(hits: np.ndarray, support: np.ndarray, least: float = SUPPORT) -> np.ndarray:
    """UAR [..., G] of each speaker over the supported classes, from hits [..., G, K] and support [G, K]; NaN where
    there are fewer than `CLASSES`.
    """
    counted = support >= least - 1e-9
    recall = np.divide(hits, support, out=np.zeros(np.broadcast_shapes(hits.shape, support.shape)), where=counted)
    classes = counted.sum(axis=-1)
    return np.where(classes >= CLASSES, recall.sum(axis=-1) / np.maximum(classes, 1), np.nan)


def by_speaker(q: np.ndarray, ref: HeldOut, *, least: int = SUPPORT) -> dict[str, Any]:
    """paUAR-50 and -75 with 1, 2 and 3 guesses, each with its interval over speakers and both nulls (mean and central
    95 %); the distribution of the own UARs; and every speaker's own.

    `reason` says why there is nothing where no speaker has enough.
    """
    found = recalls(q, ref)
    support = found.support
    uars = own_uar(found.hits, support, least)
    able = ~np.isnan(uars[0])
    rule = {"least_support": least, "least_classes": CLASSES, "speakers": int(able.sum()), "named": len(found.names)}
    if not able.any():
        why = f"no named speaker has {least} utterances of each of {CLASSES} labels (human plurality)"
        return {**rule, "reason": why, "shares": [], "distribution": [], "own": []}
    shares, spread = [], []
    for place, n in enumerate(GUESSES):
        nulls = null_uars(found, n, place, able, least=least, seed=ref.seed)
        own = uars[place, able]
        spread.append(
            {
                "guesses": n,
                **{name: float(np.quantile(own, at)) for name, at in QUANTILES.items()},
                "mean": float(own.mean()),
                "sd": float(own.std()),
                **{f"sd_if_{name}": float(drawn.std(axis=1).mean()) for name, drawn in nulls.items()},
            }
        )
        for threshold in THRESHOLDS:
            above = share(own > threshold)
            of_nulls = {name: _share_above(drawn, threshold) for name, drawn in nulls.items()}
            shares.append({"metric": pauar_name(threshold, n), **above._asdict(), **of_nulls})
    rows = [
        {
            "speaker": found.names[g],
            "utterances": int(found.utterances[g]),
            "classes": int((support[g] >= least - 1e-9).sum()),
            "uar": [float(x) for x in uars[:, g]],
        }
        for g in np.flatnonzero(able)
    ]
    return {**rule, "reason": None, "shares": shares, "distribution": spread, "own": rows}


def _share_above(drawn: np.ndarray, threshold: float) -> dict[str, float]:
    """What share of speakers is above in the draws [R, G] of a null: the mean, and the central 95 %."""
    share = (drawn > threshold).mean(axis=1)
    low, high = np.quantile(share, (0.025, 0.975))
    return {"value": float(share.mean()), "low": float(low), "high": float(high)}


def null_uars(
    found: Recalls, n: int, place: int, able: np.ndarray, *, least: int, seed: int, draws: int = DRAWS
) -> dict[str, np.ndarray]:
    """Own UARs [R, G'] of the speakers that are `able` under each null, with n guesses (at `place` of the hits).

    An utterance tied between t labels is 1/t of a hit of each, drawn apart: its hits cannot both happen with one guess,
    which the null forgets; it is a little wider for that.
    """
    support = found.support[able]
    counted = support >= least - 1e-9
    labels = support.shape[1]
    pooled = np.where(counted, support, 0).sum(axis=0)
    hit = np.where(counted, found.hits[place][able], 0).sum(axis=0)
    rates = {
        "equal": np.clip(np.divide(hit, pooled, out=np.zeros(labels), where=pooled > 0), 0, 1),
        "chance": np.full(labels, min(n / labels, 1.0)),
    }
    whole = np.rint(found.tied[:, able]).astype(int)
    drawn = {}
    for name, rate in rates.items():
        rng = rng_from("speakers", seed, name, n)
        sizes = [min(BLOCK, draws - done) for done in range(0, draws, BLOCK)]
        drawn[name] = np.concatenate([own_uar(_hits(whole, rate, size, rng), support, least) for size in sizes])
    return drawn


def _hits(whole: np.ndarray, rate: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Hits [draws, G, K] by chance, of utterances [K, G, K] whose plurality t labels share (t first)."""
    hits = np.zeros((draws, *whole.shape[1:]))
    for t, numbers in enumerate(whole, start=1):
        if numbers.any():
            hits += rng.binomial(numbers, rate, size=hits.shape) / t
    return hits
