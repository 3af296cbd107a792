"""The panels that are audited: runs of synthetic listeners, or another human panel brought as a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.errors import CorpusError, LabelError, RunError
from ...data.labels import LabelSet
from ...data.scores.proper_scores import unbiased_ambiguity
from ...data.votes import count_votes, frequencies
from ..proxies import refuse_other_corpus
from ..run.run import Run, panel_distribution, synthetic_counts
from .baselines import smoothed
from .scorer import Reference, panel_ambiguity


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel lined up with the reference's utterances and labels; NaN rows of `q` where it says nothing.

    `q` is what is scored; `q_log`, where given, stands in for it in the log score (raw frequencies give zeros).
    `sampled` are a run's votes [U, K], if it drew any; `people` those of a human panel; `votes` those of the two that q
    is the shares of, if any. `label_mass` is the mean share of the model's probability that fell on any label at all.
    """

    name: str
    kind: str
    path: str
    q: np.ndarray
    q_log: np.ndarray | None = None
    sampled: np.ndarray | None = None
    people: np.ndarray | None = None
    label_mass: float | None = None
    failures: dict[str, int]
    about: dict[str, Any]

    @property
    def covers(self) -> np.ndarray:
        """Mask [U] of the utterances the panel has a distribution for."""
        return np.asarray(~np.isnan(self.q).any(axis=1))

    @property
    def votes(self) -> np.ndarray | None:
        """The votes [U, K] that q is the shares of, people's or sampled texts'; None where q was read off or stated."""
        return self.sampled if self.about.get("mode") == "sample" else self.people

    @property
    def ambiguity(self) -> np.ndarray:
        """Chance that two votes of the panel disagree, [U]: of q, or unbiased over pairs where q is made of votes."""
        return panel_ambiguity(self.q) if self.votes is None else unbiased_ambiguity(self.votes)

    def part(self, keep: np.ndarray, reference: Reference) -> Panel:
        """The panel on the utterances of `reference`, those kept; what is smoothed is fitted in its folds."""
        sampled, people = (None if votes is None else votes[keep] for votes in (self.sampled, self.people))
        kept = replace(self, q=self.q[keep], sampled=sampled, people=people)
        return replace(kept, q_log=None if kept.votes is None else _smoothed(kept.votes, reference))


def line_up(sources: Sequence[Run | Corpus], corpus: Corpus, reference: Reference) -> list[Panel]:
    """Bring each source's distributions into the order of the reference's utterances and labels.

    Raises LabelError for other labels, RunError where no audited utterance has a distribution (a run of another
    corpus).
    """
    panels = []
    for name, source in zip(_names(sources), sources, strict=True):
        columns = _columns(source.labels, corpus.labels, name)
        build = _run_panel if isinstance(source, Run) else _human_panel
        panel = build(name, source, columns, corpus, reference)  # type: ignore[arg-type]
        if not panel.covers.any():
            raise RunError(_no_overlap(name, source, corpus, reference))
        panels.append(panel)
    return panels


def _run_panel(name: str, run: Run, columns: list[int], corpus: Corpus, reference: Reference) -> Panel:
    refuse_other_corpus(run, corpus)
    counts = synthetic_counts(run, reference.ids)[:, columns]
    return Panel(
        name=name,
        kind="run",
        path=str(run.path),
        q=panel_distribution(run, reference.ids)[:, columns],
        sampled=counts if counts.sum() else None,
        failures=_failures(run, reference),
        label_mass=_label_mass(run, reference),
        about=_about_run(run),
    )


def _label_mass(run: Run, reference: Reference) -> float | None:
    """Mean over the audited utterances' answers of the probability that fell on any label.

    None where answers were texts: no probability was read off, so nothing could miss the labels.
    """
    if run.info["identity"].get("mode") != "exact":
        return None
    heard = run.scores.filter(pc.is_in(run.scores["utterance_id"], value_set=pa.array(reference.ids, pa.string())))
    mass = np.exp(heard["log_mass"].to_numpy().astype(np.float64))
    return float(mass.mean()) if len(mass) else None


def _human_panel(name: str, panel: Corpus, columns: list[int], corpus: Corpus, reference: Reference) -> Panel:
    counts = count_votes(panel.votes, reference.ids, panel.labels)[:, columns]
    voted = counts.sum(axis=1) > 0
    return Panel(
        name=name,
        kind="humans",
        path=str(panel.path),
        q=frequencies(counts),
        people=counts,
        failures={},
        about={
            "panel of people": panel.name,
            "votes an utterance": round(float(counts[voted].sum(axis=1).mean()), 2) if voted.any() else 0,
            "simulated": panel.info.simulated,
        },
    )


def _smoothed(counts: np.ndarray, reference: Reference) -> np.ndarray | None:
    """Posterior means, or None where the panel has one vote an utterance: nothing tells how much to smooth then."""
    try:
        return smoothed(counts, reference)
    except CorpusError:
        return None


def _columns(theirs: LabelSet, ours: LabelSet, name: str) -> list[int]:
    """Where each of our labels stands in theirs; another order is fine, other labels are not."""
    if set(theirs) != set(ours):
        lacking = [label for label in ours if label not in theirs]
        further = [label for label in theirs if label not in ours]
        raise LabelError(
            f"{name} has the labels {', '.join(theirs)}, the corpus {', '.join(ours)} (it lacks "
            f"{', '.join(lacking) or 'none'}; it has besides {', '.join(further) or 'none'}); an audit needs the same "
            "labels: annotate this corpus, or import both with the same label set"
        )
    return [theirs.index(label) for label in ours]


def _names(sources: Sequence[Run | Corpus]) -> list[str]:
    """Directory names, or whole paths where two directories have the same name."""
    short = [Path(s.path).resolve().name for s in sources]
    return [str(s.path) if short.count(name) > 1 else name for name, s in zip(short, sources, strict=True)]


def _no_overlap(name: str, source: Run | Corpus, corpus: Corpus, reference: Reference) -> str:
    theirs = list(source.ids)
    shared = len(set(theirs) & set(corpus.ids))
    if shared:
        return (
            f"{name} covers {shared} utterances of {corpus.path}, but none of the {len(reference.ids)} that have "
            f"{reference.m} held-out human votes; annotate more of the corpus, or lower --votes-scored"
        )
    first = f"'{theirs[0]}'" if theirs else "nothing"
    return (
        f"{name} shares no utterance with {corpus.path}: its first is {first}, the corpus's is '{corpus.ids[0]}'; "
        "was it made from another corpus? Give a run of this corpus"
    )


def _failures(run: Run, reference: Reference) -> dict[str, int]:
    """How many audited utterances failed altogether, by reason."""
    wanted, reasons = set(reference.ids), {}
    for row in run.failures.select(["utterance_id", "listener", "reason"]).to_pylist():
        if row["listener"] is None and row["utterance_id"] in wanted:
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return reasons


def _about_run(run: Run) -> dict[str, Any]:
    """The run's identity in words: model, mode, prompts and their fingerprints."""
    identity = {key: value for key, value in run.info["identity"].items() if key != "labels"}
    return {"run": run.name, "listeners": run.listeners.num_rows, **identity}
