"""What is measured or fused beside human votes: a run of synthetic listeners, or another human panel as a corpus.

One place opens them, checks that they belong to a corpus, lines them up with its utterances and labels, and refuses a
panel that holds the corpus's own votes. There are two such rules, since an audit and a fusion lose by different leaks:
`check_audited` refuses a panel that is all but a copy of what it would be measured against; `refuse_own_votes` refuses
one with any vote of the corpus, whether seen (it would count twice) or held out (it would leak into what is fused).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from ..data.arrow import pc
from ..data.corpus import Corpus, corpus_fingerprint, open_corpus
from ..data.errors import CorpusError, LabelError, OptionError, RunError
from ..data.fused import is_fused
from ..data.labels import LabelSet
from ..data.tables import distribution_array
from ..data.votes import count_votes, frequencies
from .run.place import is_run
from .run.run import Run, open_run, panel_distribution, synthetic_counts

Source = Run | Corpus

# --------------------
# Ballots: votes with who cast them, for the strategies that model raters.


class Ballots(NamedTuple):
    """Votes with their rater: `row` [N] (place in the corpus), `rater` [N] (name, None: anonymous), `label` [N]."""

    row: np.ndarray
    rater: np.ndarray
    label: np.ndarray


def human_ballots(corpus: Corpus, train: np.ndarray) -> Ballots:
    """Who cast the seen votes of train utterances, in the rows of the votes table; abstentions are no ballots."""
    return read_ballots(corpus.votes, corpus.ids, corpus.labels, source="human", part="seen", keep=train)


def read_ballots(
    votes: pa.Table,
    ids: Sequence[str],
    labels: LabelSet,
    *,
    source: str,
    part: str | None = None,
    keep: np.ndarray | None = None,
) -> Ballots:
    """Primary votes of a table as ballots; `keep` [U] restricts to some utterances."""
    chosen = pc.and_(pc.equal(votes["source"], source), pc.equal(votes["rank"], "primary"))
    chosen = pc.and_(chosen, pc.is_valid(votes["label"]))
    if part is not None:
        chosen = pc.and_(chosen, pc.fill_null(pc.equal(votes["part"], part), False))
    table = votes.filter(chosen)
    row = pc.fill_null(pc.index_in(table["utterance_id"], value_set=pa.array(list(ids), pa.string())), -1)
    row = row.to_numpy(zero_copy_only=False).astype(int)
    label = pc.index_in(table["label"], value_set=pa.array(labels.labels)).to_numpy(zero_copy_only=False)
    known = row >= 0 if keep is None else (row >= 0) & keep[row]
    rater = np.array(table["rater_id"].to_pylist(), dtype=object)
    return Ballots(row[known], rater[known], label[known].astype(int))


def run_ballots(run: Run, corpus: Corpus) -> Ballots:
    """One answer a rater and utterance: the plurality of the mean p of its listeners (those of one rater differ in
    temperature alone), or of its votes where texts were sampled; a tie is no answer."""
    rater = dict(zip(run.listeners["listener"].to_pylist(), run.listeners["rater"].to_pylist(), strict=True))
    if run.info.get("identity", {}).get("mode") == "sample" or not run.scores.num_rows:
        cast = read_ballots(run.votes, corpus.ids, corpus.labels, source="synthetic")
        row, who, mass = cast.row, cast.rater, np.eye(len(corpus.labels))[cast.label]
    else:
        row = pc.index_in(run.scores["utterance_id"], value_set=pa.array(list(corpus.ids), pa.string()))
        row = pc.fill_null(row, -1).to_numpy(zero_copy_only=False).astype(int)
        who, mass = np.array(run.scores["listener"].to_pylist(), dtype=object), distribution_array(run.scores["p"])
        row, who, mass = row[row >= 0], who[row >= 0], mass[row >= 0]
    names, code = np.unique([str(rater.get(name, name)) for name in who], return_inverse=True)
    place, at = np.unique(row * len(names) + code.reshape(-1), return_inverse=True)
    total = np.zeros((len(place), len(corpus.labels)))
    np.add.at(total, at.reshape(-1), mass)
    best = total.max(axis=1, keepdims=True)
    clear = (total == best).sum(axis=1) == 1
    return Ballots(
        place[clear] // len(names), names[place[clear] % len(names)].astype(object), total[clear].argmax(axis=1)
    )


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


# --------------------
# Opening.

# What serann writes that is no panel: its file, what it is, and what to do with it.
NO_PANELS = {
    "prediction.json": ("the predictions of a trained model", "'serann evaluate' scores those"),
    "model.json": ("a trained model", "'serann evaluate' scores those"),
    "export.json": ("an export", "give the run or the corpus it was made of"),
}


def open_audited(path: str | Path) -> Corpus:
    """Open the corpus that panels are audited against; CorpusError for a fused one, and for a run in its place."""
    if is_run(Path(path)) and not (Path(path) / "corpus.json").exists():
        raise CorpusError(f"{path} is a run, not a corpus; give the corpus first: serann audit CORPUS {path}")
    return open_corpus(path)


def open_panel(path: str | Path) -> Source:
    """Open a run, or a corpus of another human panel, for an audit; RunError where the path is neither.

    A fused corpus is refused: its distributions hold human votes of the corpus it would be measured against.
    """
    path = Path(path)
    why = (
        "so they cannot be audited against those humans; audit the runs it was made from, or train on it and use "
        "'serann evaluate'"
    )
    _refuse_fused(path, f", {why}")
    if not is_run(path) and not (path / "corpus.json").exists():
        for mark, (what, instead) in NO_PANELS.items():
            if (path / mark).exists():
                raise RunError(f"{path} is {what}, not a run or a corpus; {instead}")
    return _open(path)


def open_proxy(path: str | Path) -> Source:
    """Open a run, or the corpus of another human panel, for a fusion; RunError where it is neither, or fused."""
    path = Path(path)
    _refuse_fused(path, ", and fusing them again would count them twice; give the runs it was made from")
    return _open(path)


def _refuse_fused(path: Path, why: str) -> None:
    if is_fused(path):
        raise RunError(f"{path} is a fused corpus: human votes are in its distributions already{why}")


def _open(path: Path) -> Source:
    if not is_run(path) and (path / "corpus.json").exists():
        return open_corpus(path)
    return open_run(path)


# --------------------
# Lining up.


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
    refuse_other_corpus(run, corpus)
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


def refuse_other_corpus(run: Run, corpus: Corpus) -> None:
    """RunError for a run over another corpus: equal ids there are other sounds."""
    made_from = run.info.get("identity", {}).get("corpus", corpus.name)
    if made_from != corpus.name:
        raise RunError(
            f"{run.path} is a run over the corpus '{made_from}', not over '{corpus.name}' ({corpus.path}); "
            "utterances of the same id may be other sounds there: give a run of this corpus"
        )


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


# --------------------
# The two leak rules.

# Fusion: nameless votes of so many common utterances that equal each other, or hold each other, are the same votes.
COMMON = 10
# Audit: a panel is a copy if so large a share of so many of its votes or utterances have nothing but the corpus's own.
COPIED, FEWEST = 0.99, 20


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


def check_audited(corpus: Corpus, sources: Sequence[Run | Corpus]) -> None:
    """Refuse what makes no audit, before anything is computed.

    CorpusError for a fused corpus, whose votes are people's and models' alike. OptionError for a panel given twice,
    RunError for one made of the corpus's own votes.
    """
    if is_fused(corpus.path):
        raise CorpusError(
            f"{corpus.path} is a fused corpus: what it was fused from is in it already, so nothing can be measured "
            "against it; audit against the corpus that was fused"
        )
    places = [Path(source.path).resolve() for source in sources]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise OptionError(f"{sources[i].path} is given twice; give each run or panel once")
    for source in sources:
        if isinstance(source, Corpus):
            _refuse_copies(source, corpus)


def _refuse_copies(panel: Corpus, corpus: Corpus) -> None:
    """Votes are copies if the same raters gave the same labels, or utterances hold the same votes, all but always."""
    if corpus_fingerprint(panel) == corpus_fingerprint(corpus):
        raise RunError(
            f"{panel.path} holds the very votes of {corpus.path}: a corpus cannot be its own panel; give a run, or "
            "a corpus with other people's votes on the same utterances"
        )
    if set(panel.labels) != set(corpus.labels):
        return
    same, of, what = max(_of_raters(panel, corpus), _of_counts(panel, corpus), key=lambda found: found[0] / found[1])
    if of >= FEWEST and same >= COPIED * of:
        raise RunError(
            f"{panel.path} holds votes of {corpus.path} ({same} of {of} {what}), so it would be measured against "
            "itself; give a run, or a corpus with other people's votes on the same utterances"
        )


def _of_raters(panel: Corpus, corpus: Corpus) -> tuple[int, int, str]:
    """How many votes of the same named raters on the same utterances have the same label."""
    key = ["utterance_id", "rater_id"]
    theirs, ours = (
        corpus.votes.filter(
            pc.and_(pc.is_valid(corpus.votes["rater_id"]), pc.equal(corpus.votes["rank"], "primary"))
        ).select([*key, "label"])
        for corpus in (panel, corpus)
    )
    met = theirs.join(ours, keys=key, join_type="inner", right_suffix=" ours")
    same = pc.sum(pc.fill_null(pc.equal(met["label"], met["label ours"]), False)).as_py() or 0
    return same, max(met.num_rows, 1), "by the same raters on the same utterances have the same label"


def _of_counts(panel: Corpus, corpus: Corpus) -> tuple[int, int, str]:
    """How many utterances have no votes but those of the corpus (or the reverse), of those people disagree about."""
    ours = count_votes(corpus.votes, corpus.ids, corpus.labels)
    theirs = count_votes(panel.votes, corpus.ids, panel.labels)[:, [panel.labels.index(x) for x in corpus.labels]]
    disputed = ((theirs > 0).sum(axis=1) > 1) & ((ours > 0).sum(axis=1) > 1)
    disputed &= np.minimum(theirs.sum(axis=1), ours.sum(axis=1)) >= 3
    within = (theirs <= ours).all(axis=1) | (ours <= theirs).all(axis=1)
    return int((within & disputed).sum()), max(int(disputed.sum()), 1), "disputed utterances have only votes of it"
