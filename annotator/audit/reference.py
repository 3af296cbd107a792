"""The reference: which human votes are scored, and which may be used to cut, to fit and to compare with.

Each utterance's held-out human votes are cut in two by a draw seeded with its id: m votes that everything is scored
against, and the others. The others, with the seen votes, serve the strata, the baselines and the human curve, so
nothing that is scored is used to cut or to predict. A single such draw moves a score by chance, so an audit averages
over several (`redrawn`); within each of them the two parts stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...data.corpus import Corpus, require_division
from ...data.errors import CorpusError, OptionError, RunError
from ...data.labels import LabelSet
from ...data.scores.folds import group_codes, group_folds
from ...data.scores.scoring import choose_votes_scored
from ...data.votes import count_votes, split_counts

FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The utterances that are audited (rows, in the corpus's order) and their human votes.

    `rows` [U] are places in the corpus; `scored` [U, K] has m votes a row, `other` [U, K] all the other human votes
    outside the reference (held out or seen), `heldout` [U, K] are the votes the scored ones were drawn from in this
    `draw`. `groups` [U] are speakers, `folds` [U] their folds. `left_out` maps a reason to the number of the corpus's
    utterances that are not audited.
    """

    labels: LabelSet
    ids: list[str]
    rows: np.ndarray
    scored: np.ndarray
    other: np.ndarray
    heldout: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    m: int
    seed: int
    left_out: dict[str, int]
    notes: list[str]
    draw: int = 0

    def part(self, keep: np.ndarray) -> Reference:
        """The reference of some of its utterances, dealt to folds anew: what is left may be few speakers, or one.

        Raises RunError if a single utterance is left: nothing can be fitted on others then.
        """
        ids = [name for name, kept in zip(self.ids, keep, strict=True) if kept]
        if len(ids) < 2:
            raise RunError(
                f"only {len(ids)} utterance with {self.m} held-out human votes has a distribution of every panel; "
                "baselines are fitted on other utterances than they predict, so an audit needs two or more: annotate "
                "more of the corpus"
            )
        groups, folds, notes = _speakers(self.groups[keep], ids, self.seed)
        return replace(self.only(keep), groups=groups, folds=folds, notes=notes)

    def only(self, keep: np.ndarray) -> Reference:
        """Some of the utterances, each in the fold it was in."""
        return replace(
            self,
            ids=[name for name, kept in zip(self.ids, keep, strict=True) if kept],
            rows=self.rows[keep],
            scored=self.scored[keep],
            other=self.other[keep],
            heldout=self.heldout[keep],
            groups=self.groups[keep],
            folds=self.folds[keep],
        )

    def redrawn(self, draw: int) -> Reference:
        """The same utterances and folds with other m votes scored; draw 0 is `build_reference`'s own."""
        if draw == self.draw:
            return self
        scored, _ = split_counts(self.heldout, self.m, self.ids, "votes scored", self.seed, draw)
        return replace(self, scored=scored, other=self.scored + self.other - scored, draw=draw)


def build_reference(corpus: Corpus, *, m: int | None = None, seed: int = 0) -> Reference:
    """Cut the held-out human votes into m scored ones and the others.

    m is 4 where that is available, else lowered (`choose_votes_scored`). Utterances with fewer held-out votes
    than max(2, m), or with shares of votes, are left out and counted.

    Raises CorpusError for a corpus that is not divided or has no utterance with two held-out votes, OptionError
    for an m that no utterance has.
    """
    require_division(corpus)
    heldout, seen = (count_votes(corpus.votes, corpus.ids, corpus.labels, part=p) for p in ("heldout", "seen"))
    whole = np.asarray((_whole(heldout) & _whole(seen)).all(axis=1))
    held = np.where(whole, heldout.sum(axis=1), 0)
    if not (held >= 2).any():
        raise CorpusError(
            f"{corpus.path}: no utterance has two held-out human votes (the most is {int(held.max(initial=0))}), and "
            "one vote cannot tell a vague utterance from a wrong panel; expected two or more an utterance: divide the "
            "corpus with a smaller --seen, or bring a corpus with the single raters' votes"
        )
    m = choose_votes_scored(held, seen.sum(axis=1)) if m is None else _checked(m, held, corpus)
    kept = held >= m
    rows = np.flatnonzero(kept)
    ids = [corpus.ids[i] for i in rows]
    scored, rest = split_counts(heldout[rows], m, ids, "votes scored", seed, 0)
    groups, folds, notes = _speakers(corpus.column("speaker")[rows], ids, seed)
    return Reference(
        labels=corpus.labels,
        ids=ids,
        rows=rows,
        scored=scored,
        other=rest + seen[rows],
        heldout=heldout[rows],
        groups=groups,
        folds=folds,
        m=m,
        seed=seed,
        left_out=_left_out(heldout, held, whole, m),
        notes=notes,
    )


def _whole(counts: np.ndarray) -> np.ndarray:
    return np.isclose(counts, np.rint(counts))


def _checked(m: int, held: np.ndarray, corpus: Corpus) -> int:
    most = int(held.max())
    if m < 2:
        raise OptionError(f"--votes-scored is {m}; expected 2 or more (one vote has no unbiased squared error)")
    if m > most:
        raise OptionError(
            f"--votes-scored is {m}, but no utterance of {corpus.path} has more than {most} held-out human votes; "
            f"choose {most} or fewer"
        )
    return m


def _left_out(heldout: np.ndarray, held: np.ndarray, whole: np.ndarray, m: int) -> dict[str, int]:
    reasons = {
        "no held-out human vote": whole & (heldout.sum(axis=1) == 0),
        f"fewer than {m} held-out human votes": whole & (heldout.sum(axis=1) > 0) & (held < m),
        "shares of votes (one rater, several labels)": ~whole,
    }
    return {reason: int(mask.sum()) for reason, mask in reasons.items() if mask.any()}


def _speakers(speakers: np.ndarray, ids: list[str], seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Groups, folds and what has to be said: with one speaker, folds are of utterances and intervals undefined."""
    if group_codes(speakers)[1] >= 2:
        notes = []
        if any(s is None for s in speakers):
            notes.append("Utterances without a named speaker count as one speaker.")
        return speakers, group_folds(speakers, folds=FOLDS, seed=seed), notes
    note = (
        "All audited utterances are of one speaker (or none is named): no interval can be given, since the unit of "
        "resampling is the speaker, and what is cross-fitted is so by utterance."
    )
    return speakers, group_folds(ids, folds=FOLDS, seed=seed), [note]
