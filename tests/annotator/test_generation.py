"""Texts on a shared prefill: greedy as transformers writes them, sampled as the exact distribution says."""

from collections import Counter

import numpy as np
import pytest
import torch
from fixtures.small_models import make_checkpoint
from scipy.stats import chisquare
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.generation import Generated, Request, generate_texts
from serann.annotator.engines.transformers import TransformersEngine
from serann.annotator.models.families import load_model
from serann.annotator.models.sampling import Wanted, decode, pick_tokens
from serann.annotator.panel.parsing import AnswerReader
from serann.data.audio import utterance_audio
from serann.data.corpus import open_corpus
from serann.data.errors import ModelError
from serann.data.scores.temperature import normalise
from serann.prompts import load_panel, render

LABELS = ("neutral", "happy", "angry", "sad")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alm(tmp_path_factory):
    return load_model(str(make_checkpoint(tmp_path_factory.mktemp("models") / "small")), device="cpu")


def waves(*lengths):
    rng = np.random.default_rng(1)
    return [(0.1 * rng.normal(size=n)).astype(np.float32) for n in lengths]


def questions(panel="crossed", transcript="where is it", labels=LABELS):
    loaded = load_panel(panel)
    first = {item.rater: item for item in loaded.listeners}
    return [render(loaded.question_of(item), item, labels, transcript) for item in first.values()]


def write(alm, clips, requests, *, limit=12, rows=None):
    with torch.inference_mode():
        sounds = [[alm.frontend(clip)] for clip in clips]
        return generate_texts(alm, alm.chat, sounds, requests, max_new_tokens=limit, rows_at_once=rows)


def generated_by_transformers(alm, clip, question, limit):
    """The reference: audio padded to the window, `generate` without sampling; token ids after the prompt."""
    turns = [
        {"role": "system", "content": question.system},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": question.text}]},
    ]
    prompt = alm.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = alm.processor(text=prompt, audio=clip, sampling_rate=16000, return_tensors="pt")
    out = alm.model.generate(**inputs, do_sample=False, max_new_tokens=limit, pad_token_id=alm.turn_ends()[0])
    tokens = out[0, inputs["input_ids"].shape[1] :].tolist()
    ends = [i for i, token in enumerate(tokens) if token in alm.turn_ends()]
    return tuple(tokens[: ends[0]] if ends else tokens), bool(ends)


def test_greedy_texts_are_those_of_transformers_token_for_token(alm):
    clips, asked = waves(4000, 30000, 17000), questions()
    features = alm.features(clips)
    mark, prefixes, wanted = alm.audio_token_id, [], []
    for count in features.audio_tokens:
        parts = [alm.chat(question.system, question.text) for question in asked]
        at = parts[0].prefix.index(mark)
        prefixes.append([*parts[0].prefix[:at], *[mark] * count, *parts[0].prefix[at + 1 :]])
        wanted.append([Wanted(part.suffix, 0.0, np.zeros(12)) for part in parts])
    with torch.inference_mode():
        found = decode(alm, features, prefixes, wanted, max_new_tokens=12)
        expected = [[generated_by_transformers(alm, clip, question, 12) for question in asked] for clip in clips]
    assert found == expected
    assert len({text.tokens for texts in found for text in texts}) > 5  # the checkpoint answers differently to each


def test_texts_depend_neither_on_the_batch_nor_on_its_order(alm):
    clips, asked, rng = waves(4000, 30000, 17000), questions(), np.random.default_rng(0)
    requests = [[Request(q, t, rng.random(12)) for q in asked for t in (0.5, 1.0, 1.4)] for _ in clips]
    together = write(alm, clips, requests)
    assert len({text.text for texts in together for text in texts}) > 20
    for clip, own, texts in zip(clips, requests, together, strict=True):
        assert write(alm, [clip], [own]) == [texts]
        assert write(alm, [clip], [own[::-1]]) == [texts[::-1]]
        assert [write(alm, [clip], [[one]])[0][0] for one in own[:3]] == texts[:3]
    assert write(alm, clips[::-1], requests[::-1], rows=4) == together[::-1]


def test_eager_attention_writes_the_same(alm):
    clips, rng = waves(4000, 30000), np.random.default_rng(0)
    requests = [[Request(q, 1.0, rng.random(8)) for q in questions()] for _ in clips]
    expected = write(alm, clips, requests, limit=8)
    config = alm.model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        assert write(alm, clips, requests, limit=8) == expected
    finally:
        config._attn_implementation = before


def test_a_text_that_is_cut_says_so(alm):
    texts = write(alm, waves(4000), [[Request(q, 0.0, np.zeros(1)) for q in questions()]], limit=1)[0]
    assert all(isinstance(text, Generated) and text.ended == (text.text == "") for text in texts)


def test_sampled_labels_agree_with_the_exact_distribution():
    """2,000 texts of the embedded checkpoint against P1 of exact mode: one chi-square test, and the mass on labels."""
    corpus, n = open_corpus("demo"), 2000
    engine = TransformersEngine(EngineSpec("transformers", "demo", device="cpu"))
    clip, question = engine.frontend(utterance_audio(corpus, 0)), questions(labels=corpus.labels.labels)[0]
    logp, log_mass = normalise(engine.score([clip], [[question]])[0].answer_logp[0])
    chances = np.random.default_rng(7).random((n, 16))
    texts = engine.generate([clip], [[Request(question, 1.0, row) for row in chances]], max_new_tokens=16)[0]
    reader = AnswerReader(corpus.labels, question.answers, "label")
    labels = Counter(parsed.label for text in texts if (parsed := reader.label(text.text)).rung == "strict")
    counts = np.array([labels[label] for label in corpus.labels])
    assert chisquare(counts, np.exp(logp) * counts.sum()).pvalue > 0.01
    mass, error = np.exp(log_mass), np.sqrt(np.exp(log_mass) * (1 - np.exp(log_mass)) / n)
    assert abs(counts.sum() / n - mass) < 4 * error + 1e-3


def test_tokens_are_quantiles():
    logits = torch.log(torch.tensor([[0.2, 0.0, 0.5, 0.3]])).repeat(7, 1)
    logits[6, 1] = torch.nan
    chances = np.array([0.0, 0.19, 0.21, 0.69, 0.71, 0.999, 0.5])
    assert pick_tokens(logits, np.ones(7), chances).tolist() == [0, 0, 2, 2, 3, 3, -1]
    assert pick_tokens(logits, np.zeros(7), chances).tolist() == [2] * 6 + [-1]
    # At T = 0.5 the squares .04, .25, .09 of sum .38: 0 up to .105, 2 up to .763.
    assert pick_tokens(logits[:3], np.full(3, 0.5), np.array([0.1, 0.11, 0.77])).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    "shortage", [torch.cuda.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_out_of_memory_halves_utterances_then_texts(alm, monkeypatch, shortage):
    clips, rng = waves(4000, 8000), np.random.default_rng(0)
    requests = [[Request(q, 1.0, rng.random(6)) for q in questions()] for _ in clips]
    expected, tried = write(alm, clips, requests, limit=6), []

    def scarce(*args, rows_at_once, **rest):
        tried.append((len(args[2]), rows_at_once))
        if rows_at_once is None or rows_at_once > 1:
            raise shortage
        return decode(*args, rows_at_once=rows_at_once, **rest)

    monkeypatch.setattr("serann.annotator.models.sampling.decode", scarce)
    assert write(alm, clips, requests, limit=6) == expected
    assert tried == [(2, None), (1, None), (1, 2), (1, 1), (1, None), (1, 2), (1, 1)]
    monkeypatch.setattr("serann.annotator.models.sampling.decode", lambda *_, **__: (_ for _ in ()).throw(shortage))
    with pytest.raises(ModelError, match=r"one text on 0\.2 s of sound does not fit into the memory"):
        write(alm, clips, requests)
