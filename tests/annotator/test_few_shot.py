"""Few-shot panels: sounds with their labels before the question, exact with several sounds, never asked about."""

import dataclasses

import numpy as np
import pytest
import torch
from fixtures.present import present
from fixtures.small_models import make_checkpoint
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.generation import Request
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.engines.transformers import TransformersEngine
from serann.annotator.listener import Draw, ask
from serann.annotator.models.families import load_model
from serann.annotator.panel.few_shot import choose_examples, listening_panel
from serann.annotator.panel.panel import IS_EXAMPLE, ListeningPanel
from serann.annotator.panel.parsing import surface_forms
from serann.data.audio import utterance_audio
from serann.data.corpus import open_corpus
from serann.data.errors import AudioError, OptionError, PromptError
from serann.data.votes import count_votes
from serann.prompts import load_panel
from serann.prompts.files import ExampleEntry


@pytest.fixture(scope="module")
def corpus():
    return open_corpus("demo")


@pytest.fixture(scope="module")
def panel(corpus):
    return listening_panel(load_panel("few-shot"), corpus)


@pytest.fixture(scope="module")
def alm(tmp_path_factory):
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("models") / "small")), device="cpu")


def naive_inputs(alm, clips, question):
    """The processor's own inputs: examples as earlier turns, every sound padded to the window."""
    turns = [{"role": "system", "content": question.system}]
    for shown in question.examples:
        content = [{"type": "audio"}, {"type": "text", "text": shown.text}]
        turns += [{"role": "user", "content": content}, {"role": "assistant", "content": shown.answer}]
    turns.append({"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question.text}]})
    prompt = alm.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    sounds = [*(shown.wave for shown in question.examples), clips]
    return dict(alm.processor(text=prompt, audio=sounds, sampling_rate=16000, return_tensors="pt"))


def naive_logp(alm, clip, question):
    inputs = naive_inputs(alm, clip, question)
    start, found = inputs["input_ids"].shape[1], []
    for answer in question.answers:
        forms = [torch.tensor([[*alm.tokens(f), end]]) for f in surface_forms(answer) for end in alm.turn_ends()]
        total = []
        for tail in forms:
            ids = torch.cat([inputs["input_ids"], tail], dim=1)
            with torch.inference_mode():
                logits = alm.model(**{**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits
            total.append(logits[0, start - 1 : -1].log_softmax(-1).gather(1, tail.T).sum())
        found.append(torch.stack(total).logsumexp(0).item())
    return np.array(found)


def test_one_example_of_each_label_is_heard_before_the_question(panel, corpus):
    question = panel.questions("x", "another")[0]
    assert [shown.answer for shown in question.examples] == list(corpus.labels)
    assert {shown.text for shown in question.examples} == {
        "Which emotion is expressed? Answer with one of: neutral, happy, angry, sad, fear, surprise."
    }
    assert len(panel.example_ids) == 6
    assert all("/examples-" in rater.rater for rater in panel.raters)


def test_examples_are_the_train_utterances_heard_most_clearly(corpus):
    chosen = choose_examples(corpus, 2)
    assert [entry.label for entry in chosen] == [label for label in corpus.labels for _ in range(2)]
    assert len({entry.utterance for entry in chosen}) == 12
    train = corpus.in_split("train")
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen" if corpus.info.division else None)
    for entry in chosen:
        row, k = corpus.ids.index(entry.utterance), corpus.labels.index(entry.label)
        assert train[row]
        assert counts[row].argmax() == k
    for k in range(6):
        shares = counts[train][:, k] / counts[train].sum(axis=1)
        row = corpus.ids.index(chosen[2 * k].utterance)
        assert counts[row, k] / counts[row].sum() == np.nanmax(shares)
    taken = choose_examples(corpus, 1, but=chosen[::2])
    assert [entry.utterance for entry in taken] == [entry.utterance for entry in chosen[1::2]]


def test_scores_with_several_sounds_equal_the_naive_ones(panel, alm, corpus):
    engine = TransformersEngine(EngineSpec("transformers", alm.processor.tokenizer.name_or_path, device="cpu"))
    rng = np.random.default_rng(0)
    sounds = [(0.1 * rng.normal(size=n)).astype(np.float32) for n in (5000, 9000, 7000, 12000)]
    shown = [dataclasses.replace(x, wave=sounds[i]) for i, x in enumerate(panel.examples[:2])]
    few = dataclasses.replace(panel, examples=tuple(shown))
    asked = few.questions("where is it", "another")
    prepared = [engine.frontend(sound) for sound in sounds[2:]]
    together = engine.score(prepared, [asked, asked])
    for clip, found in zip(sounds[2:], together, strict=True):
        expected = [naive_logp(alm, clip, question) for question in asked]
        np.testing.assert_allclose(found.answer_logp, expected, atol=1e-5)
    texts = engine.generate(prepared, [[Request(asked[0], 0.0, np.zeros(6))]] * 2, max_new_tokens=6)
    for clip, (text,) in zip(sounds[2:], texts, strict=True):
        inputs = naive_inputs(alm, clip, asked[0])
        out = alm.model.generate(**inputs, do_sample=False, max_new_tokens=6, pad_token_id=alm.turn_ends()[0])
        tokens = out[0, inputs["input_ids"].shape[1] :]
        assert text.text == alm.processor.tokenizer.decode(tokens, skip_special_tokens=True)


def test_examples_are_prepared_once_for_all_utterances(panel, alm, corpus):
    engine = TransformersEngine(EngineSpec("transformers", alm.processor.tokenizer.name_or_path, device="cpu"))
    made, real = [], engine.frontend
    engine.frontend = lambda wave: made.append(len(wave)) or real(wave)  # pyright: ignore[reportAttributeAccessIssue]
    asked = panel.questions("where is it", "another")
    sounds = [real(shown.wave) for shown in panel.examples[:2]]
    for _ in range(2):
        engine.score(sounds, [asked] * 2)
        engine.generate(sounds, [[Request(asked[0], 0.0, np.zeros(2))]] * 2, max_new_tokens=2)
    assert made == [len(shown.wave) for shown in panel.examples]


def test_examples_and_utterances_without_examples_go_in_one_batch(panel, alm):
    engine = TransformersEngine(EngineSpec("transformers", alm.processor.tokenizer.name_or_path, device="cpu"))
    clip = (0.1 * np.random.default_rng(0).normal(size=8000)).astype(np.float32)
    shown = tuple(dataclasses.replace(x, wave=clip[:6000]) for x in panel.examples[:1])
    few = dataclasses.replace(panel, examples=shown).questions("x", "another")
    none = [dataclasses.replace(question, examples=()) for question in few]
    heard = engine.frontend(clip)
    both = engine.score([heard, heard], [few, none])
    for asked, found in zip((few, none), both, strict=True):
        np.testing.assert_allclose(found.answer_logp, engine.score([heard], [asked])[0].answer_logp, atol=1e-5)
    assert np.abs(both[0].answer_logp - both[1].answer_logp).max() > 1e-3


def test_nobody_is_asked_about_an_example(panel, corpus):
    example = sorted(panel.example_ids)[0]
    assert panel.questions("x", example) == [None, None]
    assert panel.abstention(panel.listeners[0], example) == IS_EXAMPLE
    engine = ScriptedEngine(EngineSpec("scripted", "scripted"))
    waves, asked = [np.ones(800, dtype=np.float32)] * 2, [panel.questions("x")] * 2
    found = ask(engine, "exact", waves, asked, panel=panel, ids=[example, "another"])
    assert np.isnan(present(found[0].logp)).all()
    assert np.isnan(present(found[0].log_mass)).all()
    assert np.isfinite(present(found[1].logp)).all()
    found = ask(engine, "sample", waves, asked, panel=panel, ids=[example, "another"], draws=[[Draw(0, 0)]] * 2)
    assert (found[0].answers[0].label, found[0].answers[0].reason) == (None, IS_EXAMPLE)
    assert found[1].answers[0].text is not None


def test_other_examples_are_other_raters(corpus, panel):
    other = dataclasses.replace(load_panel("few-shot"), examples_per_label=2)
    assert not {x.rater for x in listening_panel(other, corpus).raters} & {x.rater for x in panel.raters}
    prints = [set(p.table()["prompt_fingerprint"].to_pylist()) for p in (listening_panel(other, corpus), panel)]
    assert len(prints[0]) == len(prints[1]) == 2
    assert not prints[0] & prints[1]
    again = listening_panel(load_panel("few-shot"), corpus)
    assert again.listeners == panel.listeners


def test_a_panel_without_examples_stays_as_it_is(corpus):
    assert listening_panel(load_panel("crossed"), corpus) == ListeningPanel(load_panel("crossed"), corpus.labels)


GOOD = (
    'name = "mine"\nquestion = "emotion"\nform = "label"\n'
    '[[listeners]]\nfocus = "voice"\ntemperature = 1\n[[examples]]\n'
)


def test_named_examples(tmp_path, corpus):
    row = int(np.flatnonzero(corpus.in_split("train"))[0])
    path = tmp_path / "mine.toml"
    sound = corpus.audio_path(row)
    (tmp_path / f"own{sound.suffix}").write_bytes(sound.read_bytes())
    named = f'utterance = "{corpus.ids[row]}"\nlabel = "sad"\n'
    path.write_text(GOOD + named + f'[[examples]]\naudio = "own{sound.suffix}"\nlabel = "happy"\n')
    panel = listening_panel(load_panel(path), corpus)
    assert [shown.answer for shown in panel.examples] == ["sad", "happy"]
    np.testing.assert_array_equal(panel.examples[0].wave, utterance_audio(corpus, row))
    np.testing.assert_array_equal(panel.examples[1].wave, panel.examples[0].wave)
    assert panel.example_ids == {corpus.ids[row]}


def test_examples_that_cannot_be(tmp_path, corpus):
    path = tmp_path / "mine.toml"
    test_id = corpus.ids[int(np.flatnonzero(corpus.in_split("test"))[0])]
    for entry, error, message in [
        (
            f'utterance = "{test_id}"\nlabel = "sad"',
            OptionError,
            "is of the split 'test.*expected one of the train split",
        ),
        ('utterance = "nobody"\nlabel = "sad"', OptionError, "has no utterance 'nobody'"),
        ('audio = "gone.wav"\nlabel = "sad"', AudioError, "gone.wav"),
        ('audio = "gone.wav"\nlabel = "bored"', OptionError, "example label 'bored'; expected one of neutral"),
    ]:
        path.write_text(GOOD + entry + "\n")
        with pytest.raises(error, match=message):
            listening_panel(load_panel(path), corpus)
    for entry, message in [
        ('label = "sad"', "examples.0: expected either an utterance or an audio file"),
        ('utterance = "a"\naudio = "b"\nlabel = "sad"', "examples.0: expected either an utterance or an audio file"),
        ('utterance = "a"\nlabel = "sad"\nweight = 1', "weight: unknown key"),
    ]:
        path.write_text(GOOD + entry + "\n")
        with pytest.raises(PromptError, match=message):
            load_panel(path)
    path.write_text(GOOD.replace('"label"', '"letter"') + 'utterance = "a"\nlabel = "sad"\n')
    with pytest.raises(PromptError, match="examples answer in words, expected form 'label'"):
        load_panel(path)
    with pytest.raises(OptionError, match="panel few-shot has examples, which have to be loaded from a corpus"):
        ListeningPanel(load_panel("few-shot"), corpus.labels)
    with pytest.raises(
        OptionError, match=r"utterances of the train split are mostly heard as 'neutral', and 9999 are to"
    ):
        choose_examples(corpus, 9999)
    assert ExampleEntry(utterance="a", label="sad").audio == ""
