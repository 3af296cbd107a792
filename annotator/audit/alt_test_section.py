"""The alternative annotator test in an audit: a run's votes, or another panel's, in place of each human rater's.

The test is of one label against one label, so a panel enters by its plurality, and each of its listeners can be tested
by itself. The panel's distributions enter by `log-score`, which is serann's extension.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.errors import CorpusError
from ...data.scores.agreement import single_answers
from ...data.scores.groups import speaker_groups
from ...data.seeds import uniforms
from ...data.tables import distribution_array
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from ...data.votes import count_votes
from ..run.run import Run, panel_distribution
from .alt_scorers import HumanVotes, listed_votes
from .alt_test import ADVISED, EPSILON, LICENCE, AltTest, alt_test
from .scorer import Note

PERSISTENT = "the test needs raters who keep their name from utterance to utterance"


@dataclass(frozen=True, slots=True, kw_only=True)
class AltTestSection:
    """The tests of one panel: its plurality by accuracy, its distributions by log score, and then its listeners.

    `raters` and `votes` count the named human votes outside the seen ones, `anonymous` the votes without a rater's
    name, which cannot be left out by rater. `reason` says why there is no test; `tests` is empty then.
    """

    panel: str
    raters: int
    votes: int
    anonymous: int
    tests: list[AltTest]
    notes: list[Note]
    reason: str | None = None


class NamedVotes(NamedTuple):
    """The human votes of known raters, the raters' names, and how many votes were anonymous."""

    votes: HumanVotes
    raters: list[str]
    number: int
    anonymous: int


def alt_test_of(
    corpus: Corpus,
    source: Run | Corpus,
    *,
    epsilon: float = EPSILON,
    q: float = 0.05,
    min_instances: int = ADVISED,
    listeners: bool = False,
) -> AltTestSection:
    """Test a run, or a corpus with another human panel's votes, against each of a corpus's named raters.

    The human votes are the primary ones outside the division's seen part, one a rater and utterance (the first). A
    panel's vote is the plurality of its distribution, ties broken by a draw seeded with the utterance's id; its
    distribution itself is scored by `log-score`, another human panel's as the posterior mean of its votes. `listeners`
    adds each listener's own plurality. The clustered p is over speakers (dialogues or utterances where unknown).

    Raises LabelError where the panel lacks one of the corpus's labels, OptionError as `alt_test`.
    """
    people, name = named_votes(corpus), source.path.resolve().name
    section = AltTestSection(
        panel=name,
        raters=len(people.raters),
        votes=people.number,
        anonymous=people.anonymous,
        tests=[],
        notes=[LICENCE],
    )
    if len(people.raters) < 2:
        return replace(section, reason=f"too few votes a rater: {PERSISTENT}, and in {corpus.name} {_found(people)}")
    speakers = speaker_groups(corpus.utterances).codes
    tests = [
        alt_test(
            people.votes,
            answers,
            scorer=scorer,
            epsilon=epsilon,
            q=q,
            min_instances=min_instances,
            speakers=speakers,
            raters=people.raters,
            name=of,
        )
        for of, scorer, answers in _entrants(source, corpus, name, listeners)
    ]
    if not tests or tests[0].reason:
        why = tests[0].reason if tests else "the panel says nothing on the corpus's utterances"
        return replace(section, reason=f"{why} ({PERSISTENT})")
    return replace(section, tests=tests, notes=tests[0].notes)


def named_votes(corpus: Corpus) -> NamedVotes:
    """The primary human votes outside the seen ones, of raters with a name; a rater's first on each utterance."""
    unseen = corpus.votes.filter(pc.fill_null(pc.not_equal(corpus.votes["part"], "seen"), True))
    answers = single_answers(replace(corpus, votes=unseen))
    named = answers.rater >= 0
    used, rater = np.unique(answers.rater[named], return_inverse=True)
    item, label = answers.row[named], answers.label[named]
    _, first = np.unique(item * max(len(used), 1) + rater, return_index=True)
    votes = listed_votes(item[first], rater[first], label[first], items=len(corpus.ids), raters=len(used))
    return NamedVotes(votes, [answers.raters[r] for r in used], len(first), int((~named).sum()))


def _found(people: NamedVotes) -> str:
    if people.number:
        return f"{people.raters[0]} alone has one"
    if people.anonymous:
        return f"all {people.anonymous} votes are anonymous"
    return "there is no human vote outside the seen ones"


def plurality(q: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """The label of most mass, int [U]; -1 where q [U, K] is NaN. Ties fall to a draw seeded with the id."""
    chosen = np.where(np.isnan(q).any(axis=1), -1, q.argmax(axis=1))
    top = q >= q.max(axis=1, keepdims=True) - 1e-12
    tied = np.flatnonzero(top.sum(axis=1) > 1)
    drawn = uniforms([ids[u] for u in tied.tolist()], q.shape[1], "plurality")
    chosen[tied] = np.where(top[tied], drawn, -1).argmax(axis=1)
    return chosen


def _entrants(
    source: Run | Corpus, corpus: Corpus, name: str, listeners: bool
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Who is tested: name, scorer, answers."""
    ids, columns = corpus.ids, [source.labels.index(label) for label in corpus.labels]
    if isinstance(source, Run):
        q = frequent = panel_distribution(source, ids)[:, columns]
    else:
        q, frequent = _of_people(count_votes(source.votes, ids, source.labels)[:, columns])
    if np.isnan(frequent).all():
        return
    yield f"{name}, plurality", "accuracy", plurality(frequent, ids)
    yield f"{name}, distribution", "log-score", q
    if listeners and isinstance(source, Run):
        for listener, p in _by_listener(source, ids):
            yield f"{name}, {listener}", "accuracy", plurality(p[:, columns], ids)


def _of_people(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A human panel's distributions without zeros, and its frequencies; NaN rows where it did not vote."""
    total = counts.sum(axis=1, keepdims=True)
    frequent = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    try:
        alpha = fit_dirichlet_multinomial(counts)
    except CorpusError:  # one vote an utterance says nothing of how much to smooth; add-half then
        alpha = np.full(counts.shape[1], 0.5)
    return np.where(total > 0, posterior_mean(counts, alpha), np.nan), frequent


def _by_listener(run: Run, ids: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each listener's distributions [U, K], NaN where it gave none; of texts, the shares of a rater's votes."""
    if not run.scores.num_rows:
        for rater in sorted(pc.unique(run.votes["rater_id"]).drop_null().to_pylist()):
            counts = count_votes(
                run.votes.filter(pc.equal(run.votes["rater_id"], rater)), ids, run.labels, source="synthetic"
            )
            total = counts.sum(axis=1, keepdims=True)
            yield rater, np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
        return
    place = {name: u for u, name in enumerate(ids)}
    rows = np.array([place.get(name, -1) for name in run.scores["utterance_id"].to_pylist()])
    encoded = run.scores["listener"].combine_chunks().dictionary_encode()
    codes, p = encoded.indices.to_numpy(zero_copy_only=False), distribution_array(run.scores["p"])
    for code, listener in sorted(enumerate(encoded.dictionary.to_pylist()), key=lambda pair: pair[1]):
        of = (codes == code) & (rows >= 0)
        found = np.full((len(ids), p.shape[1]), np.nan)
        found[rows[of]] = p[of]
        yield listener, found
