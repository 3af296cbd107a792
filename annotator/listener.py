"""A panel listens to utterances: how answers are read off a model.

    exact       every answer is scored, and P1(label) is its share of the probability on all labels
    sample      a text is written for each vote, and a label read from it
    verbalized  a text is written for each vote, and a distribution over the labels read from it

An utterance that was cut into windows (exact mode alone) is asked about each as if it were the utterance, and its
answer is the mean of P(answer) over the windows, weighted by their seconds (`mean_scores`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..data.errors import OptionError
from ..data.scores.temperature import normalise
from ..data.seeds import uniforms
from ..prompts.loader import Panel, Rendered, with_form
from .engines.base import NOT_A_NUMBER, Engine, Halving, Reason, Scorer, Scores
from .engines.generation import Generated, Generator, Request
from .engines.memory import if_it_fits
from .panel.attributes import Attributes, Judged
from .panel.panel import ListeningPanel
from .panel.parsing import AnswerReader, read_shares
from .sounds.hearing import Windows

MODES = ("exact", "sample", "verbalized")
# Room for the longest text a form asks for: a label with a sentence around it, two sentences of reasoning, a JSON
# object of twelve labels.
MAX_NEW_TOKENS = {"label": 32, "letter": 32, "reason": 256, "shares": 256}


class Draw(NamedTuple):
    """Which answer is wanted: the listener's place in `ListeningPanel.listeners`, and its how-manieth answer."""

    listener: int
    draw: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One text and what it was taken for: a `label`, or `p` over the label set; else the `reason` why neither.

    A listener that was not asked (words only, and no transcript), or whose text was refused for good, has neither text
    nor answer, and that reason.
    """

    listener: str
    draw: int
    text: str | None
    label: str | None
    reason: str | None
    p: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a panel answered on one utterance.

    `logp` [R, K] is log P1 of each rater (listeners that differ in temperature alone are one rater), `log_mass` [R] the
    log-probability that an answer is a label at all; NaN rows abstained; exact mode only. `answers` are the texts of
    the other modes, in the order they were wanted. `judged` are the answers on attributes. With a `failure` everything
    else is empty.
    """

    logp: np.ndarray | None = None
    log_mass: np.ndarray | None = None
    answers: tuple[Answer, ...] = ()
    judged: tuple[Judged, ...] = ()
    failure: Reason | None = None


def panel_for(panel: Panel, mode: str, *, reason: bool = False) -> Panel:
    """The panel in the form that a mode asks: `shares` for verbalized, `reason` where reasoning is to come first.

    Raises `OptionError` for an unknown mode or one that cannot reason, `PromptError` if a question lacks the form.
    """
    if mode not in MODES:
        raise OptionError(f"unknown mode '{mode}'; expected one of {', '.join(MODES)}")
    if reason and mode != "sample":
        raise OptionError(f"mode {mode} has no reasoning before the answer; use --mode sample")
    wanted = "shares" if mode == "verbalized" else "reason" if reason else None
    forms = {item.form for item in panel.listeners}
    if wanted is not None:
        return panel if forms == {wanted} else with_form(panel, wanted)
    refused = forms & ({"shares", "reason"} if mode == "exact" else {"shares"})
    if refused:
        raise OptionError(
            f"panel {panel.name} asks in form '{refused.pop()}', which mode {mode} cannot read; "
            f"use --mode {'verbalized' if 'shares' in forms else 'sample'}, or a panel of form label or letter"
        )
    return panel


def check_engine(engine: Engine, mode: str, *, rates: bool = False) -> None:
    """Refuse an engine that cannot do what a mode asks, or score a scale's points (`rates`), with `OptionError`."""
    if mode == "exact" and not isinstance(engine, Scorer):
        raise OptionError(
            "this engine cannot score answers, which mode exact needs; use --mode sample, or --engine transformers"
        )
    if mode != "exact" and not isinstance(engine, Generator):
        raise OptionError(f"this engine cannot write texts, which mode {mode} needs; use --engine transformers")
    if rates and not isinstance(engine, Scorer):
        raise OptionError(
            "this engine cannot score answers, which ratings of attributes need; leave --attributes out, or use "
            "--engine transformers"
        )


def ask(
    engine: Engine,
    mode: str,
    sounds: Sequence[Any],
    questions: Sequence[Sequence[Rendered | None]],
    *,
    panel: ListeningPanel,
    ids: Sequence[str] = (),
    draws: Sequence[Sequence[Draw]] = (),
    seed: int = 0,
    max_new_tokens: int | None = None,
    attributes: Attributes | None = None,
    rated: Sequence[Sequence[Rendered | None]] = (),
    at_once: bool = False,
) -> list[Answered]:
    """Ask a batch: the b-th sound is asked the b-th list of questions, `panel.questions(transcript)`.

    Sounds are as `engine.frontend` made them, or `Windows` of such (`score_windows` averages their answers; not
    for modes that write). `exact` scores every answer in one pass. `sample` writes one text for
    each of `draws[b]` (places in `panel.listeners`) at the listener's temperature, which here acts on tokens, and reads
    a label from it. `verbalized` writes texts likewise and reads a distribution. Chances depend on (seed, `ids[b]`,
    listener, draw) alone, so texts depend neither on the batch nor on its order. With `attributes`, `rated[b]` of
    their `questions` are scored as well, whatever the mode. What is scored `at_once` is not halved by the engine where
    memory does not suffice (`Halving`): its error is raised.
    Raises `OptionError` for an unknown mode or an engine that cannot do it, and whatever the engine raises.
    """
    if panel_for(panel.panel, mode) is not panel.panel:
        raise OptionError(f"panel {panel.panel.name} does not ask what mode {mode} reads; make it with panel_for")
    check_engine(engine, mode, rates=attributes is not None)
    if not sounds:
        return []
    # Nobody is asked about a sound that was an example, with its answer, a moment ago.
    shown = [utterance in panel.example_ids for utterance in ids] or [False] * len(sounds)
    questions = [[None] * len(asked) if silent else asked for asked, silent in zip(questions, shown, strict=True)]
    rated = [[]] * len(sounds) if attributes is None else rated
    points = 0 if attributes is None else len(attributes.points)
    on_points = None
    if mode != "exact":
        answered = _written(engine, mode, sounds, questions, panel, ids, draws, seed, max_new_tokens)
    elif panel.examples:  # emotion is asked after examples, attributes without: two prefixes, two passes
        answered, _ = _exact(engine, sounds, questions, [[]] * len(sounds), panel, points, at_once)
    else:
        answered, on_points = _exact(engine, sounds, questions, rated, panel, points, at_once)
    if attributes is None:
        return answered
    if on_points is None:
        on_points = _score(engine, sounds, rated, width=points, at_once=at_once)
    return [_rated(done, attributes, row, asked) for done, row, asked in zip(answered, on_points, rated, strict=True)]


def _exact(
    engine: Engine,
    sounds: Sequence[Any],
    questions: Sequence[Sequence[Rendered | None]],
    rated: Sequence[Sequence[Rendered | None]],
    panel: ListeningPanel,
    points: int,
    at_once: bool,
) -> tuple[list[Answered], list[np.ndarray | Reason]]:
    """One pass for the panel's questions and those on attributes: answers, and log P(point) of the latter."""
    labels = len(panel.labels)
    both = [[*asked, *more] for asked, more in zip(questions, rated, strict=True)]
    scored = _score(engine, sounds, both, width=max(labels, points), at_once=at_once)
    pairs = list(zip(scored, questions, strict=True))
    answered = [
        Answered(failure=row) if isinstance(row, Reason) else _checked(row[: len(asked), :labels], asked)
        for row, asked in pairs
    ]
    return answered, [row if isinstance(row, Reason) else row[len(asked) :, :points] for row, asked in pairs]


def _score(
    engine: Engine, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]], *, width: int, at_once: bool
) -> list[np.ndarray | Reason]:
    """log P(answer) [Q, `width` or more] of each utterance, NaN behind a question's answers and where none is.

    The reason, where the engine has no scores.
    """
    heard = [b for b, asked in enumerate(questions) if any(question is not None for question in asked)]
    found: Sequence[Scores | Reason] = []
    if heard:
        found = score_windows(engine, [sounds[b] for b in heard], [questions[b] for b in heard], at_once=at_once)
    scores: list[np.ndarray | Reason] = [np.full((len(asked), width), np.nan) for asked in questions]
    for b, row in zip(heard, found, strict=True):
        if isinstance(row, Reason):
            scores[b] = row
            continue
        wide = max(width, row.answer_logp.shape[1])
        scores[b] = np.pad(row.answer_logp, ((0, 0), (0, wide - row.answer_logp.shape[1])), constant_values=np.nan)
    return scores


def _checked(answer_logp: np.ndarray, asked: Sequence[Rendered | None]) -> Answered:
    """Normalised scores; a failure if a question that was asked has an answer that is no number."""
    logp, log_mass = normalise(answer_logp)
    expected = np.array([question is not None for question in asked])
    sound = ~np.isnan(logp).any(axis=1) & np.isfinite(log_mass)
    if not (sound | ~expected).all():
        return Answered(failure=NOT_A_NUMBER)
    return Answered(logp=logp, log_mass=log_mass)


def _rated(
    answered: Answered, attributes: Attributes, answer_logp: np.ndarray | Reason, asked: Sequence[Rendered | None]
) -> Answered:
    if answered.failure is not None:
        return answered
    if isinstance(answer_logp, Reason):
        return Answered(failure=answer_logp)
    judged = attributes.judged(Scores(answer_logp), asked)
    return Answered(failure=NOT_A_NUMBER) if judged is None else replace(answered, judged=judged)


def _written(
    engine: Engine,
    mode: str,
    sounds: Sequence[Any],
    questions: Sequence[Sequence[Rendered | None]],
    panel: ListeningPanel,
    ids: Sequence[str],
    draws: Sequence[Sequence[Draw]],
    seed: int,
    max_new_tokens: int | None,
) -> list[Answered]:
    assert isinstance(engine, Generator)
    limit = max_new_tokens or max(MAX_NEW_TOKENS[item.form] for item in panel.listeners)
    asked = [
        [(draw, question) for draw in wanted if (question := own[panel.rater_of[draw.listener]]) is not None]
        for own, wanted in zip(questions, draws, strict=True)
    ]
    requests = [_requests(panel, utterance, own, seed, limit) for utterance, own in zip(ids, asked, strict=True)]
    heard = [b for b, own in enumerate(requests) if own]
    texts: Sequence[Sequence[Generated | Reason]] = []
    if heard:
        texts = engine.generate([sounds[b] for b in heard], [requests[b] for b in heard], max_new_tokens=limit)
    found = {
        b: {draw: (question, text) for (draw, question), text in zip(asked[b], own, strict=True)}
        for b, own in zip(heard, texts, strict=True)
    }
    return [_answers(panel, ids[b], wanted, found.get(b, {}), mode) for b, wanted in enumerate(draws)]


def _requests(
    panel: ListeningPanel, utterance: str, asked: Sequence[tuple[Draw, Rendered]], seed: int, limit: int
) -> list[Request]:
    names = [f"{panel.listeners[draw.listener].listener}\x1f{draw.draw}" for draw, _ in asked]
    chances = uniforms(names, limit, "text", seed, utterance)
    return [
        Request(question, float(panel.temperatures[draw.listener]), own)
        for (draw, question), own in zip(asked, chances, strict=True)
    ]


def _answers(
    panel: ListeningPanel,
    utterance: str,
    wanted: Sequence[Draw],
    found: dict[Draw, tuple[Rendered, Generated | Reason]],
    mode: str,
) -> Answered:
    failure = next((text for _, text in found.values() if isinstance(text, Reason) and text.again), None)
    if failure is not None:
        return Answered(failure=failure)
    answers = []
    for draw in wanted:
        listener = panel.listeners[draw.listener]
        if draw not in found:
            answers.append(Answer(listener.listener, draw.draw, None, None, panel.abstention(listener, utterance)))
            continue
        question, written = found[draw]
        if isinstance(written, Reason):
            answers.append(Answer(listener.listener, draw.draw, None, None, written.text))
            continue
        text = written.text
        reader = AnswerReader(panel.labels, question.answers, listener.form)
        if mode == "verbalized":
            shares = read_shares(reader, text, ended=written.ended)
            answers.append(Answer(listener.listener, draw.draw, text, None, shares.reason, shares.p))
        else:
            parsed = reader.label(text, ended=written.ended)
            answers.append(Answer(listener.listener, draw.draw, text, parsed.label, parsed.reason))
    return Answered(answers=tuple(answers))


# --------------------
# Sounds that were cut into windows.

# A batch may hold one utterance however long it is; no more than these seconds of its windows are asked at once.
AT_ONCE = 120.0


def score_windows(
    engine: Engine, sounds: Sequence[Any], questions: Sequence[Sequence[Rendered | None]], *, at_once: bool = False
) -> list[Scores | Reason]:
    """`engine.score` of sounds some of which are `Windows`: every window is asked all that its utterance is asked.

    Sounds that were not cut are asked as they are. One utterance alone is asked in groups of windows that hold
    `AT_ONCE` seconds at most, by single windows where memory does not suffice. `at_once` as in `ask`. Of an utterance
    that has no answer on one of its windows there is the reason.
    """
    assert isinstance(engine, Scorer)
    score = engine.score_at_once if at_once and isinstance(engine, Halving) else engine.score
    pieces = [sound.prepared if isinstance(sound, Windows) else (sound,) for sound in sounds]
    flat = [piece for own in pieces for piece in own]
    asked = [question for own, question in zip(pieces, questions, strict=True) for _ in own]
    if len(sounds) == 1 and isinstance(sounds[0], Windows):
        scored = _in_groups(score, sounds[0], asked[0])
    else:
        scored = iter(score(flat, asked))
    return [
        _together([next(scored) for _ in own], sound.seconds) if isinstance(sound, Windows) else next(scored)
        for own, sound in zip(pieces, sounds, strict=True)
    ]


def _together(found: Sequence[Scores | Reason], seconds: Sequence[float]) -> Scores | Reason:
    scores = [item for item in found if not isinstance(item, Reason)]
    if len(scores) == len(found):
        return mean_scores(scores, seconds)
    return next(item for item in found if isinstance(item, Reason))


def mean_scores(scores: Sequence[Scores], seconds: Sequence[float]) -> Scores:
    """The mean of P(answer) over windows, weighted by their `seconds`.

    log P(answer) = log sum_w s_w P_w(answer) / sum_w s_w, of probabilities that are not normalised over the answers: a
    window on which the model would rather say something else counts for less, and the mass on all answers is the
    weighted mean of the windows'. NaN where a window's is.
    """
    logp = np.array([found.answer_logp for found in scores], dtype=np.float64)
    share = np.log(np.asarray(seconds) / np.sum(seconds))
    with np.errstate(invalid="ignore"):
        return Scores(np.logaddexp.reduce(logp + share[:, None, None], axis=0))


def _in_groups(
    score: Callable[[Sequence[Any], Sequence[Sequence[Rendered | None]]], Sequence[Scores | Reason]],
    sound: Windows,
    questions: Sequence[Rendered | None],
) -> Iterator[Scores | Reason]:
    size = max(1, int(AT_ONCE / max(sound.seconds)))
    for first in range(0, len(sound.prepared), size):
        group = sound.prepared[first : first + size]
        found = None
        if len(group) > 1:
            found = if_it_fits(lambda group=group: score(group, [questions] * len(group)))
        if found is not None:
            yield from found
            continue
        for window in group:
            yield from score([window], [questions])
