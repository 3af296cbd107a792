"""The modes: what is asked of an engine, what its answers become, and that chance depends on who answers alone."""

import json
from typing import Any

import numpy as np
import pytest
from fixtures.present import present
from serann.annotator.engines.base import NOT_A_NUMBER, EngineSpec, Reason
from serann.annotator.engines.generation import Generated
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.listener import Answered, Draw, ask, panel_for
from serann.annotator.panel.attributes import attributes_for
from serann.annotator.panel.panel import ListeningPanel
from serann.annotator.run.selfcheck import Endurance
from serann.annotator.sounds.hearing import Windows
from serann.data.errors import OptionError, PromptError, RunError
from serann.data.labels import label_set
from serann.prompts import NO_TRANSCRIPT, load_panel

DEMO6 = label_set("demo6")
WAVES = [np.full(800, level, dtype=np.float32) for level in (0.1, 0.2, 0.3)]
IDS = ["a", "b", "c"]


def scripted(script=loudness_and_text):
    return ScriptedEngine(EngineSpec("scripted", "scripted"), script=script)


class Writer:
    """The part of an engine that writes: it writes what it is told, and remembers its requests."""

    def __init__(self, *texts, ended=True):
        self.texts, self.ended, self.asked = texts, ended, []

    def generate(self, waves, requests, *, max_new_tokens):
        self.asked += [item for own in requests for item in own]
        self.limit = max_new_tokens
        texts = iter(self.texts * 100)
        return [[self._text(next(texts)) for _ in own] for own in requests]

    def _text(self, text):
        return text if isinstance(text, Reason) else Generated(text, self.ended)


def writing(*texts: str | Reason, ended: bool = True) -> Any:
    """A Writer, in the place of an engine."""
    return Writer(*texts, ended=ended)


def listening(panel="crossed", mode="sample", reason=False):
    return ListeningPanel(panel_for(load_panel(panel), mode, reason=reason), DEMO6)


def everyone(panel, draws=1):
    return [Draw(place, draw) for place in range(len(panel.listeners)) for draw in range(draws)]


def test_exact_answers_are_normalised_scores_and_abstentions_are_nan():
    panel, engine = listening(mode="exact"), scripted()
    texts = ["hello", None, "there"]
    found = ask(engine, "exact", WAVES, [panel.questions(text) for text in texts], panel=panel)
    assert engine.batches == [3]
    for text, answered in zip(texts, found, strict=True):
        logp, log_mass = present(answered.logp), present(answered.log_mass)
        silent = np.isnan(log_mass)
        assert silent.sum() == (text is None)
        np.testing.assert_allclose(np.exp(logp[~silent]).sum(axis=1), 1)
        np.testing.assert_allclose(np.exp(log_mass[~silent]), 0.9)
        assert answered.answers == () == answered.judged
        assert answered.failure is None


@pytest.mark.parametrize("mode", ["exact", "sample"])
def test_an_answer_that_is_no_number_is_the_utterances_failure(mode):
    def broken(wave, question):
        return np.full(6, np.nan) if wave[0] > 0.15 else loudness_and_text(wave, question)

    panel = listening(mode=mode)
    found = ask(
        scripted(broken),
        mode,
        WAVES[:2],
        [panel.questions("x")] * 2,
        panel=panel,
        ids=IDS[:2],
        draws=[everyone(panel)] * 2,
    )
    assert [answered.failure for answered in found] == [None, NOT_A_NUMBER]
    assert found[1].logp is None
    assert found[1].answers == ()


def test_no_mass_on_any_label_is_a_failure_too():
    panel = listening(mode="exact")
    engine = scripted(lambda wave, question: np.full(6, -np.inf))
    assert ask(engine, "exact", WAVES[:1], [panel.questions("x")], panel=panel)[0].failure == NOT_A_NUMBER


def test_sampled_texts_depend_on_who_answers_and_on_nothing_else():
    panel = listening()
    draws = everyone(panel, draws=2)

    def run(order, wanted, seed=0):
        found = ask(
            scripted(),
            "sample",
            [WAVES[i] for i in order],
            [panel.questions("x")] * len(order),
            panel=panel,
            ids=[IDS[i] for i in order],
            draws=[wanted] * len(order),
            seed=seed,
        )
        return {
            (IDS[i], answer.listener, answer.draw): (answer.text, answer.label, answer.reason)
            for i, answered in zip(order, found, strict=True)
            for answer in answered.answers
        }

    whole = run([0, 1, 2], draws)
    assert len(whole) == 3 * 20 * 2
    assert run([2, 0, 1], draws[::-1]) == whole
    alone = run([1], draws[5:9])
    assert len(alone) == 4
    assert alone.items() <= whole.items()
    assert run([0, 1, 2], draws, seed=1) != whole
    abstained = [reason for text, label, reason in whole.values() if label is None]
    assert abstained
    assert set(abstained) == {"the answer is empty"}  # the mass that the script leaves beside the labels
    assert all(text == label for text, label, _ in whole.values() if label)


def test_answers_come_in_the_order_they_were_wanted_and_silence_has_its_reason():
    panel, writer = listening(), writing("sad")
    words = next(i for i, item in enumerate(panel.listeners) if item.focus == "words")
    wanted = [Draw(words, 0), Draw(0, 3), Draw(words, 1)]
    (found,) = ask(writer, "sample", WAVES[:1], [panel.questions(None)], panel=panel, ids=["a"], draws=[wanted])
    assert [(item.listener, item.draw) for item in found.answers] == [
        (panel.listeners[place].listener, draw) for place, draw in wanted
    ]
    assert [item.label for item in found.answers] == [None, "sad", None]
    assert [item.reason for item in found.answers] == [NO_TRANSCRIPT, None, NO_TRANSCRIPT]
    assert [item.text for item in found.answers] == [None, "sad", None]
    assert len(writer.asked) == 1


def test_requests_carry_the_listeners_temperature_and_question():
    panel, writer = listening("letters"), writing("B")
    (found,) = ask(
        writer, "sample", WAVES[:1], [panel.questions(None)], panel=panel, ids=["a"], draws=[everyone(panel)],
        max_new_tokens=5,
    )  # fmt: skip
    assert [item.temperature for item in writer.asked] == [item.temperature for item in panel.listeners]
    assert writer.limit == 5 == len(writer.asked[0].chances)
    # B is the second option of each order: forward, backward, half-turn (sad first), half-turn-backward (angry first)
    by_listener = {item.listener: item.label for item in found.answers}
    assert by_listener == {
        "voice-and-words@1": "happy",
        "voice-and-words/backward@1": "fear",
        "voice-and-words/half-turn@1": "fear",
        "voice-and-words/half-turn-backward@1": "happy",
    }


def test_reasoning_first():
    panel = listening(reason=True)
    writer = writing("It could be sad.\nAnswer: angry")
    (found,) = ask(writer, "sample", WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"], draws=[everyone(panel)])
    assert {item.label for item in found.answers} == {"angry"}
    assert found.answers[0].text == "It could be sad.\nAnswer: angry"  # the raw text is kept
    assert "Say first" in writer.asked[0].question.text
    assert writer.limit == 256
    cut = writing("It could be sad, since", ended=False)
    (found,) = ask(cut, "sample", WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"], draws=[everyone(panel)])
    assert {(item.label, item.reason) for item in found.answers} == {(None, "the text was cut before its answer")}


def test_verbalized_distributions():
    panel = listening(mode="verbalized")
    writer = writing(json.dumps({"happy": 70, "sad": 29}), "I cannot say.")
    (found,) = ask(
        writer, "verbalized", WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"], draws=[everyone(panel)]
    )
    assert "If a hundred people listened" in writer.asked[0].question.text
    read, unread = found.answers[:2]
    np.testing.assert_allclose(present(read.p), [0, 70 / 99, 0, 29 / 99, 0, 0])
    assert (read.label, read.reason) == (None, None)
    assert (unread.p, unread.label, unread.reason) == (None, None, "the answer gives no shares")
    assert unread.text == "I cannot say."


def test_what_a_mode_cannot_do_is_refused():
    nothing: Any = object()
    panel, shares = load_panel("crossed"), panel_for(load_panel("crossed"), "verbalized")
    assert panel_for(panel, "exact") is panel
    assert panel_for(shares, "verbalized") is shares
    with pytest.raises(OptionError, match="unknown mode 'guess'; expected one of exact, sample, verbalized"):
        panel_for(panel, "guess")
    with pytest.raises(OptionError, match="mode exact has no reasoning before the answer; use --mode sample"):
        panel_for(panel, "exact", reason=True)
    with pytest.raises(OptionError, match="asks in form 'shares', which mode sample cannot read; use --mode verbal"):
        panel_for(shares, "sample")
    with pytest.raises(OptionError, match="asks in form 'reason', which mode exact cannot read; use --mode sample"):
        panel_for(panel_for(panel, "sample", reason=True), "exact")
    with pytest.raises(PromptError, match="question scaling-ambiguity has no form 'reason'"):
        panel_for(load_panel("scaling-ambiguity"), "sample", reason=True)
    with pytest.raises(OptionError, match="this engine cannot write texts, which mode sample needs"):
        ask(nothing, "sample", WAVES[:1], [[]], panel=listening(), ids=["a"], draws=[[]])
    with pytest.raises(OptionError, match="unknown mode 'guess'"):
        ask(scripted(), "guess", [], [], panel=listening())


def test_a_text_that_was_refused_for_good_is_an_abstention_with_its_own_reason():
    """One listener's text, not the utterance, and no word of NaN."""
    panel = listening()
    refused = Reason("the server refuses this content", "server", again=False)
    wanted = [Draw(place, 0) for place in range(3)]
    found = ask(
        writing("angry", refused, "sad"), "sample", WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"],
        draws=[wanted],
    )[0]  # fmt: skip
    assert found.failure is None
    assert [(item.text, item.label, item.reason) for item in found.answers] == [
        ("angry", "angry", None),
        (None, None, "the server refuses this content"),
        ("sad", "sad", None),
    ]


@pytest.mark.parametrize("mode", ["sample", "verbalized"])
def test_a_text_that_another_session_may_get_is_a_failure_with_its_own_reason(mode):
    panel = listening(mode=mode)
    busy = Reason("the server answered 429: too many requests", "server", again=True)
    found = ask(
        writing("angry", busy), mode, WAVES[:1], [panel.questions("x")], panel=panel, ids=["a"],
        draws=[[Draw(0, 0), Draw(1, 0)]],
    )  # fmt: skip
    assert found[0].failure == busy
    assert found[0].answers == ()


class Refusing(ScriptedEngine):
    """An engine that gives no scores of loud sounds."""

    def score(self, sounds, questions):
        rows = super().score(sounds, questions)
        loud = Reason("the server cannot take this sound", "sound", again=True)
        return [loud if wave[0] > 0.15 else own for wave, own in zip(sounds, rows, strict=True)]


def test_scores_that_were_refused_are_a_failure_with_its_own_reason():
    panel = listening(mode="exact")
    attributes = attributes_for(panel)
    engine: Any = Refusing(EngineSpec("scripted", "scripted"))
    asked = {"panel": panel, "attributes": attributes, "rated": [attributes.questions("x")] * 3}
    found = ask(engine, "exact", WAVES, [panel.questions("x")] * 3, **asked)
    assert [None if item.failure is None else item.failure.text for item in found] == [
        None, "the server cannot take this sound", "the server cannot take this sound",
    ]  # fmt: skip
    assert found[0].judged
    assert found[1].judged == ()
    cut = [Windows((WAVES[0], WAVES[1]), (1.0, 1.0)), Windows((WAVES[0], WAVES[0]), (1.0, 1.0))]
    for sounds in (cut, cut[:1]):
        found = ask(engine, "exact", sounds, [panel.questions("x")] * len(sounds), panel=panel)
        assert [item.failure is None for item in found] == [False, True][: len(sounds)]
    Endurance(most=1)([item for item in found if item.failure], [False])  # no sign of a broken model
    with pytest.raises(RunError, match=r"the model failed on 1 utterances in a row.*NaN"):
        Endurance(most=1)([Answered(failure=NOT_A_NUMBER)], [False])
