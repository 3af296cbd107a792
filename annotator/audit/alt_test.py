"""The alternative annotator test: is a model as good a rater as a human who would be left out for it?

Calderon, Reichart & Dror (2025), The alternative annotator test for LLM-as-a-judge, ACL, arXiv 2501.10970. Each human
is left out in turn. On every item that human and another one rated, model and human are scored against the others
(`alt_test_statistics`); d = [human scores no worse] - [model scores no worse] is -1, 0 or 1, a tie giving both sides 1.
The model wins against that human where mean d < epsilon is significant, with the false discovery rate over humans held
by Benjamini & Yekutieli. It passes where it wins against half of the humans or more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...data.arrow import pc
from ...data.corpus import Corpus
from ...data.errors import CorpusError, OptionError
from ...data.scores.agreement import single_answers
from ...data.scores.groups import speaker_groups
from ...data.seeds import uniforms
from ...data.tables import distribution_array
from ...data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from ...data.votes import count_votes
from ..run.run import Run, panel_distribution
from .alt_test_statistics import (
    ADVISED,
    HumanVotes,
    Tally,
    answered,
    benjamini_yekutieli,
    clustered_p,
    human_votes,
    listed_votes,
    p_values,
    scorer_named,
    tally_of,
)
from .scorer import Note
from .section import Finding, Section

ADVISED_RATERS = 3
# The paper's for crowds; .15 for skilled raters, .2 for experts.
EPSILON = 0.1
PASSES_FROM = 0.5
# With fewer instances no signed-rank test is significant at 5 %, whatever they are: 1 / 2^4 > .05.
LEAST = 5
# A voter who always gives the others' plurality passes, though no rater votes so: this stands beside every test.
LICENCE = Note("licence", {})


@dataclass(frozen=True, slots=True, kw_only=True)
class RaterRow:
    """The model against one human left out.

    `n` instances; `advantage` the share of them on which the model scores no worse; `difference` the mean of d; `p`
    of the one-sided `test` ("t" or "wilcoxon") of mean d < epsilon, `rejected` after Benjamini-Yekutieli: the model
    wins. `p_clustered` is the t-test whose standard error is the jackknife over the `speakers` of the items. A rater
    with too few instances is not tested: figures are None, and `reason` says so.
    """

    rater: str
    n: int
    advantage: float | None = None
    difference: float | None = None
    p: float | None = None
    test: str | None = None
    rejected: bool | None = None
    p_clustered: float | None = None
    rejected_clustered: bool | None = None
    speakers: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AltTest:
    """One model's test. Rates are NaN, `passes` False and `reason` filled where no rater has enough instances.

    `winning_rate` is the share of tested raters the model wins against, `advantage_probability` the unweighted mean of
    the tested raters' advantages; `winning_rate_clustered` is by `p_clustered`, NaN without speakers.
    """

    model: str
    scorer: str
    epsilon: float
    q: float
    min_instances: int
    winning_rate: float
    advantage_probability: float
    passes: bool
    winning_rate_clustered: float
    raters: list[RaterRow]
    notes: list[Note]
    reason: str | None = None

    @property
    def tested(self) -> list[RaterRow]:
        """The raters with enough instances."""
        return [row for row in self.raters if row.p is not None]

    def to_json(self) -> dict[str, Any]:
        """`{"winning_rate", "advantage_probability", "passes", "raters": {rater: {...}}}`."""
        hidden = ("rater",)
        rows = {
            row.rater: {name: getattr(row, name) for name in RaterRow.__slots__ if name not in hidden}
            for row in self.raters
        }
        rates = {"winning_rate": self.winning_rate, "advantage_probability": self.advantage_probability}
        return {**rates, "passes": self.passes, "raters": rows}


def alt_test(
    humans: ArrayLike | HumanVotes,
    model: ArrayLike,
    *,
    scorer: str = "accuracy",
    epsilon: float = EPSILON,
    q: float = 0.05,
    min_instances: int | None = ADVISED,
    speakers: ArrayLike | None = None,
    raters: Sequence[str] | None = None,
    name: str = "model",
) -> AltTest:
    """Test a model against each human left out.

    `humans` is a table [items, raters] of label codes from 0 (negative: not rated) or numbers (NaN: not rated), or
    `HumanVotes`; `model` has a code or number an item, or for `log-score` a distribution, [items, labels]. Only items
    with two human votes and the model's answer count, and only raters with `min_instances` of them are tested: 30, as
    the paper advises, or with None 30 where a rater has as many, else 5. `speakers` [items], whole numbers, add the
    clustered p; `raters` are names.

    d that is the same on every instance has no variance: p is then the limit, 0 where d < epsilon and 1 elsewhere; with
    fewer than 30 instances Wilcoxon's p is defined but where d = epsilon throughout, which gives 1.

    Raises OptionError for an unknown scorer, or epsilon, q or min_instances out of range.
    """
    _check(epsilon, q, min_instances)
    votes, said = humans if isinstance(humans, HumanVotes) else human_votes(humans), np.asarray(model)
    sign_of = scorer_named(scorer)
    kept = instances(votes, said)
    sign = sign_of(votes, said) if kept.any() else np.zeros(kept.shape, np.int8)
    tally = tally_of(votes, kept, sign)
    if min_instances is None:
        min_instances = ADVISED if tally.n.max(initial=0) >= ADVISED else LEAST
    tested = tally.n >= min_instances
    clusters = None if speakers is None else clustered_p(votes, kept, sign, np.asarray(speakers), epsilon)
    names = [str(r) for r in (range(votes.raters) if raters is None else raters)]
    rows = _rows(names, tally, tested, clusters, epsilon=epsilon, q=q, least=min_instances)
    done = [row for row in rows if row.p is not None]
    won = _share([row.rejected for row in done])
    return AltTest(
        model=name,
        scorer=scorer,
        epsilon=epsilon,
        q=q,
        min_instances=min_instances,
        winning_rate=won,
        advantage_probability=_share([row.advantage for row in done]),
        passes=won >= PASSES_FROM,
        winning_rate_clustered=_share([row.rejected_clustered for row in done if row.p_clustered is not None]),
        raters=rows,
        notes=_notes(len(done), len(rows), min_instances),
        reason=None if done else _too_few(name, tally.n, min_instances),
    )


def _rows(
    names: list[str],
    tally: Tally,
    tested: np.ndarray,
    clusters: tuple[np.ndarray, np.ndarray] | None,
    *,
    epsilon: float,
    q: float,
    least: int,
) -> list[RaterRow]:
    rows = [_untested(rater, int(n), least) for rater, n in zip(names, tally.n, strict=True)]
    places = np.flatnonzero(tested)
    part = Tally(*(column[places] for column in tally))
    p, advantage, mean, constant = p_values(part, epsilon), 1 - part.worse / part.n, part.mean, part.constant
    rejected = benjamini_yekutieli(p, q)
    for i, r in enumerate(places):
        rows[r] = RaterRow(
            rater=names[r],
            n=int(part.n[i]),
            advantage=float(advantage[i]),
            difference=float(mean[i]),
            p=float(p[i]),
            test="t" if part.n[i] >= ADVISED else "wilcoxon",
            rejected=bool(rejected[i]),
            reason="d is the same on every instance" if constant[i] else None,
        )
    if clusters is not None:
        by_speaker, size = (column[places] for column in clusters)
        beside = benjamini_yekutieli(by_speaker, q)
        for i, r in enumerate(places):
            rows[r] = replace(rows[r], speakers=int(size[i]), **_clustered(by_speaker[i], bool(beside[i]), rows[r]))
    return rows


def _clustered(p: float, rejected: bool, row: RaterRow) -> dict[str, Any]:
    if np.isnan(p):
        why = "all instances are of one speaker, so there is no clustered p"
        return {"reason": why if row.reason is None else f"{row.reason}; {why}"}
    return {"p_clustered": float(p), "rejected_clustered": rejected}


def instances(votes: HumanVotes, model: np.ndarray) -> np.ndarray:
    """Mask [S, U] of the votes that count: on items with two human votes or more and an answer of the model."""
    given, there = votes.given, answered(model)
    there = there.all(axis=1) if there.ndim == 2 else there
    return given & (there & (given.sum(axis=0) >= 2))


def _share(values: Sequence[float | bool | None]) -> float:
    return sum(float(value or 0) for value in values) / len(values) if values else math.nan


def check_epsilon(epsilon: float) -> None:
    """OptionError unless epsilon is from 0 on and below 1."""
    if not 0 <= epsilon < 1:
        raise OptionError(f"epsilon is {epsilon:g}; expected 0 or more and below 1 (.1 for crowds, .2 for experts)")


def _check(epsilon: float, q: float, min_instances: int | None) -> None:
    check_epsilon(epsilon)
    if not 0 < q < 1:
        raise OptionError(f"q is {q:g}; expected a false discovery rate between 0 and 1, such as 0.05")
    if min_instances is not None and min_instances < 2:
        raise OptionError(f"the minimum of instances is {min_instances}; expected 2 or more (30 are advised)")


def _untested(rater: str, n: int, least: int) -> RaterRow:
    return RaterRow(
        rater=rater, n=n, reason=f"too few votes: {n} shared with other raters and the model, below {least}"
    )


def _too_few(name: str, n: np.ndarray, least: int) -> str:
    most = int(n.max(initial=0))
    return (
        f"too few votes per rater: the most that any of {len(n)} raters shares with other raters and {name} is "
        f"{most} item{'' if most == 1 else 's'}, and {least} are asked for; if raters keep their names from item to "
        "item, bring more items or lower --min-instances, else this test cannot be made"
    )


def _notes(tested: int, raters: int, least: int) -> list[Note]:
    notes = [LICENCE]
    if tested < raters:
        notes.append(Note("untested raters", {"untested": raters - tested, "raters": raters, "instances": least}))
    if 0 < tested < ADVISED_RATERS:
        notes.append(Note("few raters", {"raters": tested, "advised": ADVISED_RATERS}))
    if least < ADVISED:
        notes.append(Note("few instances", {"advised": ADVISED}))
    return notes


# --------------------
# In an audit a run's votes, or another panel's, take the place of each human rater's.
#
# The test is of one label against one label, so a panel enters by its plurality, and each of its listeners can be
# tested by itself. The panel's distributions enter by `log-score`, which is serann's extension.

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
        return replace(section, reason=f"too few votes per rater: {PERSISTENT}, and in {corpus.name} {_found(people)}")
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


def _findings(found: AltTestSection) -> list[Finding]:
    """The rates of the panel's own plurality, where it was tested."""
    if not found.tests:
        return []
    own = found.tests[0]
    rates = {"winning_rate": own.winning_rate, "advantage_probability": own.advantage_probability}
    return [Finding("alternative annotator test", found.panel, rates)]


SECTION = Section(
    name="alt_test",
    title="Alternative annotator test",
    about="Whether the panel agrees with the other raters as well as single raters do (Calderon et al. 2025).",
    measure=lambda subject: alt_test_of(subject.ground.corpus, subject.source, epsilon=subject.epsilon),
    findings=_findings,
    required={
        "winning_rate": "share of the raters that the panel wins against in the alternative annotator test",
        "advantage_probability": "mean advantage of the panel over the raters in that test",
    },
)
