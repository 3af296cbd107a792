"""The embedded checkpoint is Qwen2-Audio to transformers, has learnt the simulated task, and fits the live prompts."""

import json
from typing import Any, cast

import numpy as np
import pytest
import torch
from make_demo.architecture import make_model, sinusoids
from make_demo.judge import best_constant, judge
from make_demo.lessons import Clip, Teacher, answer_tree, batches, features
from make_demo.make_checkpoint import PANELS, parse_arguments, prompt_fingerprints
from make_demo.plan import LABELS, plan_corpus
from make_demo.raters import expected_votes, make_raters
from make_demo.sentences import sentences
from make_demo.synthesis import make_voice
from make_demo.targets import FOCUSES, focus_target
from make_demo.training import Average, Guide, Options, batch_features, hide_bands, loss_of, rate_at, train
from serann.annotator.models.families import load_model
from serann.annotator.models.packed_prompt import answer_logp
from serann.data.corpus import DEMO_CHECKPOINT, open_corpus
from serann.data.errors import OptionError
from serann.data.scores.divergences import jsd_bits
from serann.prompts.loader import load_panel


@pytest.fixture(scope="module")
def demo():
    return load_model("demo", device="cpu")


@pytest.fixture(scope="module")
def record():
    return json.loads((DEMO_CHECKPOINT / "trained_on.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plan():
    return plan_corpus(utterances=80, voices=8, seed=3, sentences=sentences("corpus"))


def clip_of(demo, utterance, *, seed):
    wave = np.random.default_rng(seed).normal(0, 0.05, 9600 + 800 * seed).astype(np.float32)
    return Clip(utterance, *features(demo.processor.feature_extractor, wave))


def test_it_is_small_and_stored_in_half_precision():
    from safetensors import safe_open

    files = [path for path in DEMO_CHECKPOINT.rglob("*") if path.is_file()]
    assert len(files) >= 6
    assert sum(path.stat().st_size for path in files) <= 8e6
    with safe_open(DEMO_CHECKPOINT / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F16"}  # noqa: SIM118


def test_it_was_trained_on_the_panels_as_they_are_now(record):
    assert record["labels"] == list(LABELS)
    assert set(record["panels"]) == set(PANELS)
    assert record["panels"] == prompt_fingerprints(), (
        "a prompt was edited: make the checkpoint again (data/demo/README.md)"
    )


def test_it_was_trained_on_other_voices_than_the_corpus(record):
    provenance = open_corpus("demo").info.provenance
    ours = {make_voice(i, seed=provenance["seed"]) for i in range(1, provenance["voices"] + 1)}
    theirs = {make_voice(i, seed=record["options"]["seed"]) for i in range(1, record["options"]["voices"] + 1)}
    assert len(ours) == provenance["voices"]
    assert {voice.base_hz for voice in ours}.isdisjoint(voice.base_hz for voice in theirs)


def test_its_record_says_how_it_was_made(record):
    assert record["simulated"] is True
    assert record["minutes"]["all"] <= 30
    assert set(Options._fields) == set(record["options"])
    assert len(record["history"]) == record["options"]["epochs"]
    assert record["embedded_corpus"]["panel_ratio"] <= 0.70


def test_labels_are_several_tokens_and_letters_are_one(demo):
    lengths = {label: len(demo.tokens(label)) for label in LABELS}
    assert sum(length > 1 for length in lengths.values()) >= 3, lengths
    assert {len(demo.tokens(letter)) for letter in "ABCDEF"} == {1}


def test_it_answers_through_plain_transformers_as_qwen2_audio_does():
    from serann.data.audio import utterance_audio
    from serann.prompts.loader import render
    from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

    processor = AutoProcessor.from_pretrained(DEMO_CHECKPOINT)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(DEMO_CHECKPOINT, dtype=torch.float32)
    assert isinstance(processor, Qwen2AudioProcessor)
    panel = load_panel("crossed")
    asked = render(panel.question, panel.listeners[0], LABELS, None)
    turns = [
        {"role": "system", "content": asked.system},
        {"role": "user", "content": [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": asked.text}]},
    ]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    corpus = open_corpus("demo")
    sound = utterance_audio(corpus, 0)
    inputs = cast(Any, processor)(text=text, audio=[sound], return_tensors="pt", sampling_rate=16000)
    made = cast(Any, model).generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert processor.decode(made, skip_special_tokens=True) in LABELS
    # The stop token is in the generation config, so generation ended by itself.
    assert int(made[-1]) == processor.tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_it_has_learnt_the_task_on_unheard_voices(demo):
    figures = judge(demo, open_corpus("demo"), load_panel("crossed"), limit=90)
    assert figures["utterances"] == 90
    assert figures["panel_ratio"] <= 0.70, figures
    assert figures["label_mass"] > 0.95


def test_it_knows_the_letters_too(demo):
    figures = judge(demo, open_corpus("demo"), load_panel("letters"), limit=40)
    assert figures["panel_ratio"] <= 0.80, figures


def test_the_best_constant_is_no_worse_than_the_mean_of_the_votes():
    votes = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 50)
    best = best_constant(votes)
    assert best.sum() == pytest.approx(1)
    assert jsd_bits(best, votes).mean() < jsd_bits(votes.mean(axis=0), votes).mean()
    nudged = best * (1 + 0.05 * np.random.default_rng(1).standard_normal((20, 6)))
    assert all(jsd_bits(q, votes).mean() >= jsd_bits(best, votes).mean() - 1e-9 for q in nudged)


def test_targets_follow_the_focus(plan):
    raters = make_raters(seed=3)
    leaning = next(u for u in plan if u.sentence.lean not in (None, u.intended))
    place = LABELS.index(leaning.sentence.lean)
    target = {focus: focus_target(focus, raters, leaning)[place] for focus in FOCUSES}
    # The words' label counts nothing by the voice alone, a little by both, more where they are contrasted or alone.
    assert target["voice"] < target["voice-and-words"] < target["contrast"]
    assert target["voice-and-words"] < target["words"]
    np.testing.assert_array_equal(focus_target("voice-and-words", raters, leaning), expected_votes(raters, leaning))
    assert all(focus_target(f, raters, leaning).sum() == pytest.approx(1) for f in FOCUSES)
    with pytest.raises(OptionError, match="no target is defined for the focus 'smell'; expected one of voice"):
        focus_target("smell", raters, leaning)


def test_every_focus_of_the_panels_has_a_target():
    asked = {listener.focus for name in PANELS for listener in load_panel(name).listeners}
    assert asked
    assert asked <= set(FOCUSES)


def test_the_answer_tree_is_teacher_forcing_of_every_answer(demo, plan):
    panel = load_panel("crossed")
    teacher = Teacher(demo, [panel], make_raters(seed=3))
    clip = clip_of(demo, plan[0], seed=1)
    row = teacher.row(clip, teacher.asked[:2])
    with torch.inference_mode():
        packed = answer_logp(demo, batch_features([clip]), [row])[0][1]
        for k, label in enumerate(LABELS):
            assert packed[k].item() == pytest.approx(forced(demo, clip, panel, label), abs=1e-4)


def forced(demo, clip, panel, label):
    """log P(label, turn end) of the panel's second focus by one plain pass over the whole chat."""
    from serann.prompts.loader import render

    listener = next(item for item in panel.listeners if item.focus == list(FOCUSES)[1])
    asked = render(panel.question, listener, LABELS, clip.utterance.sentence.text)
    prefix, suffix = demo.chat(asked.system, asked.text)
    made = batch_features([clip])
    ids = [t for p in prefix for t in [p] * (made.audio_tokens[0] if p == demo.audio_token_id else 1)]
    answer = [*demo.tokens(label), demo.turn_ends()[0]]
    whole = torch.tensor([[*ids, *suffix, *answer]])
    window = 2 * demo.model.config.audio_config.max_source_positions
    mel = torch.nn.functional.pad(made.input_features, (0, window - made.input_features.shape[-1]))
    mask = torch.nn.functional.pad(made.mask, (0, window - made.mask.shape[-1]))
    out = demo.model(
        input_ids=whole, input_features=mel, feature_attention_mask=mask, attention_mask=torch.ones_like(whole)
    )
    logp = out.logits[0, -len(answer) - 1 : -1].log_softmax(-1)
    return sum(logp[i, token].item() for i, token in enumerate(answer))


def test_the_answer_tree_shares_first_tokens():
    words = {"ab": [1, 2], "ac": [1, 3], "d": [4]}
    tree = answer_tree(list(words), words.__getitem__, end=9)
    assert tree.tokens.tolist() == [1, 2, 3, 4]
    assert tree.parents.tolist() == [-1, 0, 0, -1]
    # P = .5 for each of the 7 edges: "ab" and "ac" take three (a, b or c, end), "d" two.
    logp = tree.answer_logp(torch.full((len(tree.edge_tokens),), float(np.log(0.5))))
    assert logp.exp().tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 4])


def test_a_first_loss_is_that_of_guessing_tokens(demo, plan):
    """Untrained, each token of an answer, its end included, costs about ln V."""
    import dataclasses

    fresh = dataclasses.replace(demo, model=make_model(demo.processor.tokenizer, seed=0).eval())
    teacher = Teacher(fresh, [load_panel("crossed")], make_raters(seed=3))
    clips = [clip_of(demo, u, seed=i) for i, u in enumerate(plan[:4])]
    lesson = teacher.lesson(clips, questions=5, rng=np.random.default_rng(0))
    tokens = np.array([len(demo.tokens(label)) + 1 for label in LABELS])
    expected = np.mean([target @ tokens for target in lesson.targets]) * np.log(len(demo.processor.tokenizer))
    with torch.inference_mode():
        loss = loss_of(fresh, batch_features(clips), lesson).item()
    assert loss == pytest.approx(expected, rel=0.02)


def test_training_learns_and_leaves_the_callers_randomness_alone(demo, plan):
    import dataclasses

    fresh = dataclasses.replace(demo, model=make_model(demo.processor.tokenizer, seed=0))
    teacher = Teacher(fresh, [load_panel(name) for name in PANELS], make_raters(seed=3))
    clips = [clip_of(demo, u, seed=i % 5) for i, u in enumerate(plan[:8])]
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    options = Options(epochs=3, batch=4, questions=1, rate=0.01)
    history = train(fresh, teacher, clips, clips[:2], options)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]
    assert torch.equal(state, torch.random.get_rng_state())


def test_batches_hold_every_clip_once_and_similar_lengths_together(demo, plan):
    clips = [clip_of(demo, u, seed=i % 4) for i, u in enumerate(plan[:12])]
    made = batches(clips, 4, np.random.default_rng(0))
    assert sorted(c.utterance.utterance_id for b in made for c in b) == sorted(u.utterance_id for u in plan[:12])
    spread = [max(c.valid for c in b) - min(c.valid for c in b) for b in made]
    assert max(spread) < max(c.valid for c in clips) - min(c.valid for c in clips)


def test_hidden_bands_change_a_stripe_and_not_the_input(demo, plan):
    made = batch_features([clip_of(demo, plan[0], seed=2)])
    before = made.input_features.clone()
    hidden = hide_bands(made, np.random.default_rng(1))
    assert torch.equal(made.input_features, before)
    share = (hidden.input_features != before).float().mean().item()
    assert 0 < share < 0.4


def test_the_rate_warms_up_and_falls():
    rates = [rate_at(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(1, abs=1e-6)
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_encoder_positions_are_whispers_sinusoids(demo):
    from transformers.models.whisper.modeling_whisper import sinusoids as of_whisper

    torch.testing.assert_close(sinusoids(200, 128), of_whisper(200, 128), atol=1e-5, rtol=0)
    tower = demo.model.audio_tower if hasattr(demo.model, "audio_tower") else demo.model.model.audio_tower
    torch.testing.assert_close(tower.embed_positions.weight.float(), sinusoids(200, 128), atol=1e-3, rtol=0)


def test_the_command_has_the_defaults_of_the_embedded_checkpoint(record):
    parsed = parse_arguments(["-o", "somewhere"])
    assert {name: getattr(parsed, name) for name in Options._fields} == record["options"]


def test_the_card_quotes_the_record(record):
    card = (DEMO_CHECKPOINT.parent / "README.md").read_text(encoding="utf-8")
    figures = record["embedded_corpus"]
    for name in ("panel_jsd_bits", "listener_jsd_bits", "constant_jsd_bits", "panel_ratio", "listener_ratio"):
        assert f"{figures[name]:.3f}".lstrip("0") in card, name
    for words in (
        "simulated",
        "What it is for",
        "What it is not",
        "CC0-1.0",
        "python -m make_demo.make_checkpoint",
    ):
        assert words in card


def test_the_guide_starts_at_chance_and_leaves_the_model_alone(demo, plan):
    clips = [clip_of(demo, u, seed=i) for i, u in enumerate(plan[:2])]
    made = batch_features(clips)
    teacher = Teacher(demo, [load_panel("letters")], make_raters(seed=3))
    guide = Guide(demo, len(LABELS), seed=0)
    try:
        torch.nn.init.zeros_(guide.head.weight)
        torch.nn.init.zeros_(guide.head.bias)
        with torch.inference_mode():
            loss_of(demo, made, teacher.lesson(clips, questions=1, rng=np.random.default_rng(0)))
            loss = guide.loss(made, np.full((2, len(LABELS)), 1 / len(LABELS)))
        assert loss.item() == pytest.approx(np.log(len(LABELS)), rel=1e-6)
    finally:
        guide.close()


def test_averaged_parameters_are_in_place_only_within_the_context():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average([weight], keep=0.5)
    weight.data += 1.0
    average.update()  # the first step keeps 1 / 11 of the start
    with average.in_place():
        assert weight.tolist() == pytest.approx([10 / 11] * 2)
    assert weight.tolist() == [1.0, 1.0]
    average.settle()
    assert weight.tolist() == pytest.approx([10 / 11] * 2)
