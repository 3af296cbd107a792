"""A fusion before it is written: its distributions, its plan of new utterances, and what `fusion.json` says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.corpus import Corpus, corpus_fingerprint, require_division
from ...data.fused import FusionInfo
from ...data.labels import LabelSet
from ...data.tables import distribution_column
from ..proxies import Source
from ..run.run import Run
from .base import Blend, Fitted, Strategy
from .dime.plan import NewUtterance, mix_distributions
from .evidence import Evidence, remarks
from .strategies import STRATEGIES

SOFTWARE = ("serann", "numpy", "scipy", "pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """All of a fusion but its files."""

    corpus: Corpus
    sources: Sequence[Source]
    strategy: Strategy
    evidence: Evidence
    fitted: Fitted
    blend: Blend

    @property
    def items(self) -> Sequence[NewUtterance]:
        """The new utterances."""
        return self.blend.new.items if self.blend.new else ()

    @property
    def gives_p(self) -> Strategy:
        """The strategy that gives the distributions."""
        return self.strategy if self.blend.after is None else STRATEGIES[self.blend.after]

    @property
    def defined(self) -> np.ndarray:
        """Mask [U] of the utterances that have a distribution."""
        return np.asarray(~np.isnan(self.blend.p).any(axis=1))


def distributions_table(fusion: Fusion) -> pa.Table:
    """Every utterance that has a distribution, then every new one: its parents' p and effective votes, mixed."""
    evidence, blend, items = fusion.evidence, fusion.blend, fusion.items
    defined = np.flatnonzero(fusion.defined)
    first, second, alpha = _parents(items)
    votes = blend.effective_votes
    effective = np.concatenate([votes[defined], votes[first] + alpha * (votes[second] - votes[first])])
    return pa.table(
        {
            "utterance_id": [evidence.ids[i] for i in defined] + [item.utterance_id for item in items],
            "p": distribution_column(np.concatenate([blend.p[defined], new_distributions(blend, items)])),
            "effective_votes": pa.array(effective, mask=np.isnan(effective)),
            "source": [str(blend.source[i]) for i in defined] + [fusion.strategy.name] * len(items),
        }
    )


def describe(fusion: Fusion) -> FusionInfo:
    """Compose `fusion.json`."""
    corpus, evidence, blend = fusion.corpus, fusion.evidence, fusion.blend
    plan = blend.new
    return FusionInfo(
        strategy=fusion.strategy.name,
        blend=blend.after,
        formula=blend.formula,
        smooths=fusion.gives_p.smooths,
        parameters=blend.parameters,
        state=fusion.fitted.state(),
        corpus={
            "name": corpus.name,
            "path": str(corpus.path.resolve()),
            "fingerprint": corpus_fingerprint(corpus),
            "simulated": corpus.info.simulated,
        },
        runs=[_described_source(source, i, evidence) for i, source in enumerate(fusion.sources)],
        division=require_division(corpus).model_dump(),
        seed=evidence.seed,
        counts=_counts(fusion),
        shares=class_shares(fusion),
        warnings=[*remarks(evidence), *blend.warnings],
        failures=list(plan.failures) if plan else [],
        software=_software(augment=plan is not None),
    )


def class_shares(fusion: Fusion) -> dict[str, dict[str, float]]:
    """Shares of the labels in the train split: of the seen votes, of the fused mass (the mean of p), and, with new
    utterances, of the dominant labels before and of mass and dominant labels after."""
    evidence, blend, plan = fusion.evidence, fusion.blend, fusion.blend.new
    train = evidence.train & fusion.defined
    shares = {"seen_votes": evidence.seen.sum(axis=0), "fused": blend.p[train].sum(axis=0)}
    if plan is not None:
        new = new_distributions(blend, plan.items)
        shares |= {
            "dominant": plan.sizes,
            "augmented": shares["fused"] + new.sum(axis=0),
            "augmented_dominant": plan.sizes + np.bincount(new.argmax(axis=1), minlength=len(plan.sizes)),
        }
    return {name: _named_shares(evidence.labels, mass) for name, mass in shares.items() if mass.sum() > 0}


def new_distributions(blend: Blend, items: Sequence[NewUtterance]) -> np.ndarray:
    """The mixed distributions [N, K] of the new utterances."""
    first, second, alpha = _parents(items)
    return mix_distributions(blend.p[first], blend.p[second], alpha)


def _parents(items: Sequence[NewUtterance]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = (np.array([getattr(item, side) for item in items], dtype=int) for side in ("first", "second"))
    return first, second, np.array([item.alpha for item in items])


def _named_shares(labels: LabelSet, mass: np.ndarray) -> dict[str, float]:
    return dict(zip(labels, (mass / mass.sum()).tolist(), strict=True))


def _counts(fusion: Fusion) -> dict[str, int]:
    evidence, source = fusion.evidence, fusion.blend.source
    sources = {str(s) for s in source[fusion.defined]}
    return {
        "utterances": len(evidence.ids),
        "train": int(evidence.train.sum()),
        "seen_votes": round(float(evidence.seen.sum())),
        "defined": int(fusion.defined.sum()),
        **{f"from {name}": int((source == name).sum()) for name in sorted(sources)},
        "new": len(fusion.items),
    }


def _described_source(source: Source, place: int, evidence: Evidence) -> dict[str, Any]:
    """Name and content of a proxy as it was used: the hash of its distributions and votes, lined up with the corpus."""
    used = evidence.runs[place]
    content = hashlib.sha256("\x00".join(evidence.ids).encode())
    for array in (used.q, used.drawn):
        content.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return {
        "name": used.name,
        "kind": "run" if isinstance(source, Run) else "people",
        "path": str(source.path.resolve()),
        "fingerprint": f"sha256:{content.hexdigest()}",
    }


def _software(*, augment: bool) -> dict[str, str]:
    found = {}
    for name in (*SOFTWARE, "librosa", "soundfile") if augment else SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
