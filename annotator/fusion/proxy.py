"""What stands in for human votes: a run of synthetic listeners, or another human panel brought as a corpus.

Both are lined up with the corpus they are fused with. Another panel must be other people: its votes may not be the
corpus's own, whether seen (they would count twice) or held out (they would leak into what they are to measure).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from ...data.arrow import pc
from ...data.corpus import Corpus, corpus_fingerprint, open_corpus
from ...data.errors import LabelError, RunError
from ...data.fused import is_fused
from ...data.labels import LabelSet
from ...data.votes import count_votes, frequencies
from ..run.run import Run, open_run, panel_distribution, synthetic_counts
from .ballots import Ballots, read_ballots, run_ballots

Source = Run | Corpus
# Nameless votes of so many common utterances that equal each other, or hold each other, are the same votes.
COMMON = 10


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """One proxy lined up with the corpus: distributions and drawn (or cast) votes, [U, K] each.

    `exact`: p are the listeners' probabilities; else they are only the shares of the votes. `ballots`: each
    listener's single answer, read when a strategy asks for it. `kind`: a run, or a panel of people.
    """

    name: str
    p: np.ndarray
    drawn: np.ndarray
    exact: bool = True
    ballots: Callable[[], Ballots] | None = None
    kind: Literal["run", "panel"] = "run"


def open_proxy(path: str | Path) -> Source:
    """Open a run, or the corpus of another human panel; RunError where the path is neither, or a fused corpus."""
    path = Path(path)
    if is_fused(path):
        raise RunError(
            f"{path} is a fused corpus: human votes are in its distributions already, and fusing them again would "
            "count them twice; give the runs it was made from"
        )
    if not (path / "run.json").exists() and (path / "corpus.json").exists():
        return open_corpus(path)
    return open_run(path)


def line_up(source: Source, corpus: Corpus, name: str | None = None) -> RunEvidence:
    """A run or another human panel over the corpus's utterances; NaN (no votes) where it says nothing.

    Raises LabelError for other labels; RunError for a run of another corpus, a control run, a source without common
    utterances, and for a panel that holds the corpus's own votes.
    """
    if isinstance(source, Run):
        found = _line_up_run(source, corpus)
        return found if name is None else replace(found, name=name)
    return _line_up_panel(source, corpus, source.path.resolve().name if name is None else name)


def line_up_all(sources: Sequence[Source], corpus: Corpus) -> tuple[RunEvidence, ...]:
    """Each source lined up; panels whose folders share a name are called by their paths."""
    folders = [source.path.resolve().name for source in sources]
    return tuple(
        line_up(source, corpus, str(source.path) if isinstance(source, Corpus) and folders.count(name) > 1 else None)
        for source, name in zip(sources, folders, strict=True)
    )


def _line_up_run(run: Run, corpus: Corpus) -> RunEvidence:
    """A run names the corpus it was made over; equal ids in another corpus are other sounds, so that is refused."""
    if tuple(run.labels) != tuple(corpus.labels):
        raise LabelError(
            f"{run.path}: its labels are {', '.join(run.labels)}; the corpus's are {', '.join(corpus.labels)}; "
            "annotate the corpus with its own labels, in its own order"
        )
    control = run.info.get("identity", {}).get("control")
    if control is not None:
        raise RunError(
            f"{run.path} was made with --control {control}: its model did not hear the utterances, so its votes are "
            "for 'serann audit' alone; fuse the run it belongs to"
        )
    made_from = run.info.get("identity", {}).get("corpus", corpus.name)
    if made_from != corpus.name:
        raise RunError(
            f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}' ({corpus.path}); "
            "utterances of the same id may be other sounds there: give a run of this corpus"
        )
    p = panel_distribution(run, corpus.ids)
    p /= p.sum(axis=1, keepdims=True)  # stored as float32, so a row's sum is off by a few 1e-8
    drawn = np.nan_to_num(synthetic_counts(run, corpus.ids))
    if not (~np.isnan(p).any(axis=1) | (drawn.sum(axis=1) > 0)).any():
        raise RunError(
            f"{run.path}: holds none of the {len(corpus.ids)} utterances of {corpus.path}: it is a run of another "
            f"corpus; make one with 'serann annotate {corpus.path} --model … -o RUN'"
        )
    exact = run.info.get("identity", {}).get("mode", "exact") != "sample"
    return RunEvidence(run.name, p, drawn, exact, lambda: run_ballots(run, corpus))


def _line_up_panel(panel: Corpus, corpus: Corpus, name: str) -> RunEvidence:
    columns = label_columns(panel.labels, corpus.labels, name)
    refuse_own_votes(panel, corpus)
    counts = count_votes(panel.votes, corpus.ids, panel.labels)[:, columns]
    if not counts.any():
        raise RunError(f"{name} shares no utterance with {corpus.path}: was it made from another corpus?")

    def ballots() -> Ballots:
        return read_ballots(panel.votes, corpus.ids, corpus.labels, source="human")

    return RunEvidence(name, frequencies(counts), counts, False, ballots, "panel")


def label_columns(theirs: LabelSet, ours: LabelSet, name: str) -> list[int]:
    """Where each of our labels stands in theirs; LabelError unless both have the same labels."""
    if set(theirs) != set(ours):
        raise LabelError(
            f"{name} has the labels {', '.join(theirs)}, the corpus {', '.join(ours)}; a proxy needs the corpus's "
            "labels: import both with the same label set"
        )
    return [theirs.index(label) for label in ours]


def refuse_own_votes(panel: Corpus, corpus: Corpus) -> None:
    """Raise RunError where a panel's votes are the corpus's: the same corpus, ballots of the same raters on the same
    utterances, or nameless votes that equal (or hold, or are part of) the corpus's on all common utterances."""
    if corpus_fingerprint(panel) == corpus_fingerprint(corpus):
        raise RunError(
            f"{panel.path} holds the very votes of {corpus.path}: a corpus cannot be its own proxy; give a run, or a "
            "corpus with other people's votes on the same utterances"
        )
    shared = _shared_ballots(panel.votes, corpus.votes)
    if shared.num_rows:
        first = shared.slice(0, 1).to_pylist()[0]
        held = int(pc.sum(pc.fill_null(pc.equal(shared["part"], "heldout"), False)).as_py())
        raise RunError(
            f"{panel.path} holds {shared.num_rows} votes by raters who voted on the same utterances of {corpus.path} "
            f"(first: rater '{first['rater_id']}' on '{first['utterance_id']}'), of which {held} are held out there: "
            "fusing them would leak the reference, or count votes twice; give a panel of other people, and if these "
            "are others of the same name, give them other rater ids"
        )
    if _same_nameless_votes(panel, corpus):
        raise RunError(
            f"{panel.path}: its nameless votes are those of {corpus.path} on every utterance that both have, or part "
            "of them: fusing them would leak held-out votes; give a panel of other people"
        )


def _shared_ballots(theirs: pa.Table, ours: pa.Table) -> pa.Table:
    """Distinct (utterance_id, rater_id, part) of our named human ballots that theirs has too, in order."""
    keys = ["utterance_id", "rater_id"]

    def named(votes: pa.Table, columns: list[str]) -> pa.Table:
        human = pc.and_(pc.equal(votes["source"], "human"), pc.is_valid(votes["label"]))
        chosen = votes.filter(pc.and_(human, pc.is_valid(votes["rater_id"]))).select(columns)
        return chosen.group_by(columns).aggregate([])

    found = named(ours, [*keys, "part"]).join(named(theirs, keys), keys, join_type="inner")
    return found.sort_by([(key, "ascending") for key in keys])


def _same_nameless_votes(panel: Corpus, corpus: Corpus) -> bool:
    nameless = [votes.filter(pc.is_null(votes["rater_id"])) for votes in (panel.votes, corpus.votes)]
    if not all(votes.num_rows for votes in nameless):
        return False
    theirs, ours = (count_votes(votes, corpus.ids, corpus.labels) for votes in nameless)
    common = (theirs.sum(axis=1) > 0) & (ours.sum(axis=1) > 0)
    difference = (theirs - ours)[common]
    return int(common.sum()) >= COMMON and bool((difference >= 0).all() or (difference <= 0).all())
