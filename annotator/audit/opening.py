"""What an audit opens, and what it refuses: fused corpora, a panel given twice, the corpus's own votes as a panel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...data.arrow import pc
from ...data.corpus import Corpus, corpus_fingerprint, open_corpus
from ...data.errors import CorpusError, OptionError, RunError
from ...data.fused import is_fused
from ...data.votes import count_votes
from ..run.place import is_run
from ..run.run import Run, open_run

# What serann writes that is no panel: its file, what it is, and what to do with it.
NO_PANELS = {
    "prediction.json": ("the predictions of a trained model", "'serann evaluate' scores those"),
    "model.json": ("a trained model", "'serann evaluate' scores those"),
    "export.json": ("an export", "give the run or the corpus it was made of"),
}
# A panel is a copy if so large a share of so many of its votes or utterances have nothing but the corpus's own.
COPIED, FEWEST = 0.99, 20


def open_audited(path: str | Path) -> Corpus:
    """Open the corpus that panels are audited against; CorpusError for a fused one, and for a run in its place."""
    if is_run(Path(path)) and not (Path(path) / "corpus.json").exists():
        raise CorpusError(f"{path} is a run, not a corpus; give the corpus first: serann audit CORPUS {path}")
    return open_corpus(path)


def open_panel(path: str | Path) -> Run | Corpus:
    """Open a run, or a corpus of another human panel; RunError where the path is neither.

    A fused corpus is refused: its distributions hold human votes of the corpus it would be measured against.
    """
    path = Path(path)
    if is_fused(path):
        raise RunError(
            f"{path} is a fused corpus: human votes are in its distributions already, so they cannot be audited "
            "against those humans; audit the runs it was made from, or train on it and use 'serann evaluate'"
        )
    if not is_run(path) and (path / "corpus.json").exists():
        return open_corpus(path)
    for mark, (what, instead) in NO_PANELS.items():
        if not is_run(path) and (path / mark).exists():
            raise RunError(f"{path} is {what}, not a run or a corpus; {instead}")
    return open_run(path)


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
            _refuse_own_votes(source, corpus)


def _refuse_own_votes(panel: Corpus, corpus: Corpus) -> None:
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
