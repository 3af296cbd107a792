"""Where a fusion took the proxy and where it fell back, in figures and in words.

For `auto`: the gain of the proxy model over the human mixture in every stratum (log score a seen vote, and the loss in
squared error that goes with it), whether it was won, and why not. For the others: what the rows were made of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .auto import MARGIN
from .evidence import Blend, Evidence

# What a row's source means where it is not the strategy itself.
SOURCES = {
    "human-mixture": "their seen votes, smoothed without a proxy",
    "class-marginal": "their seen votes, smoothed towards the class marginal, for no proxy covers them",
    "human": "their seen votes alone",
    "synthetic": "the proxies alone, for nobody's vote was seen",
    "human+synthetic": "both kinds of votes in one bag",
    "empirical-bayes": "the calibrated proxies and their seen votes",
    "latent-class": "the proxies and their seen votes, by the joint mixture",
    "opinion-pool": "the pool of both",
}


class StratumGain(NamedTuple):
    """One stratum of `auto`: the gain in log score a seen vote and the loss in squared error, with intervals by
    speaker; whether it was won, why in words; its train utterances, and those where the proxy was taken (the
    utterance's other strata have to be won, too)."""

    stratum: str
    gain: float | None
    low: float | None
    high: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    speakers: int
    won: bool
    reason: str
    utterances: int
    proxy_taken: int


class Fallback(NamedTuple):
    """How many train utterances each source made, the strata, and what it comes to in words."""

    sources: dict[str, int]
    strata: list[StratumGain]
    sentences: list[str]


def fallback(evidence: Evidence, blend: Blend) -> Fallback:
    """Read it off a strategy's result."""
    sources = {
        name: int((evidence.train & (blend.source == name)).sum())
        for name in sorted({str(s) for s in blend.source if s})
    }
    none = int((evidence.train & np.isnan(blend.p).any(axis=1)).sum())
    gains = blend.parameters.get("gain_in_log_score_per_seen_vote", {})
    strata = [_stratum(name, gain) for name, gain in gains.items() if gain["utterances"]]
    sentences = [_verdict(strata)] if strata else []
    sentences += [f"{n} train utterances: {SOURCES.get(name, name)} ({name})" for name, n in sources.items() if n]
    if none:
        sentences.append(
            f"{none} train utterances: no distribution, for they have neither a seen vote nor a proxy taken"
        )
    outside = int((~evidence.train & ~np.isnan(blend.p).any(axis=1)).sum())
    if outside:
        sentences.append(f"{outside} utterances outside train: the proxies alone; nobody's vote there was read")
    return Fallback(sources, strata, sentences)


def _stratum(name: str, gain: dict[str, Any]) -> StratumGain:
    return StratumGain(
        stratum=name,
        gain=gain["gain"],
        low=gain["low"],
        high=gain["high"],
        loss=gain["brier_loss"],
        loss_low=gain["brier_low"],
        loss_high=gain["brier_high"],
        speakers=gain["speakers"],
        won=gain["won"],
        reason=reason(gain),
        utterances=gain["utterances"],
        proxy_taken=gain["proxy_taken"],
    )


def reason(gain: dict[str, Any]) -> str:
    """Why a stratum was won or lost, in words."""
    if gain["won"]:
        return "shown to help"
    if gain["gain"] is None:
        return "no seen vote to judge by"
    if gain["low"] is None:
        return "too few speakers for an interval"
    if gain["high"] < 0:
        return "harms: people alone predict better"
    if gain["low"] <= 0:
        return "not shown to help: the gain's interval reaches 0"
    if gain["brier_high"] is None or gain["brier_high"] >= MARGIN:
        return f"surer, and squared error may rise by {MARGIN:g} or more"
    return "not taken"


def _verdict(strata: list[StratumGain]) -> str:
    """What `auto` did, in one sentence; strata without a vote are not named."""
    lost = [s.stratum for s in strata if not s.won and s.speakers]
    whole = next((s for s in strata if s.stratum == "all"), strata[0])
    taken = f"the proxy was taken for {whole.proxy_taken} of {whole.utterances} train utterances"
    if not lost:
        return f"{taken}: it is shown to help in every stratum"
    return f"{taken}; elsewhere the human mixture stands, for the proxy is not shown to help in {', '.join(lost)}"
