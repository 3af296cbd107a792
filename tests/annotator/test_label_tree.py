"""The label tree and the packed pass, against naive teacher forcing of every answer through the padded reference."""

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from fixtures.small_models import make_checkpoint, naive_answer_logp
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.models.families import load_model
from serann.annotator.models.label_tree import build_tree
from serann.annotator.models.matrix_kernels import OneDnnLinear
from serann.annotator.models.packed_prompt import Branch, answer_logp, pack_groups, pack_row
from serann.annotator.models.ragged_pass import encode_audio, packs
from serann.annotator.models.trimming import trimmed
from serann.data.errors import LabelError
from serann.data.scores.temperature import at_temperature, normalise

LABELS = ("neutral", "happy", "angry", "sad", "frustrated")
SYSTEM = "You judge."
TEXTS = ("Consider the voice. Answer with one of: neutral, sad.", "Only the words: é “quoted”!", "Which?")


# Texts 3 and 4 share their first ten tokens and more, so they are one group; the others are on their own.
SHARING = (*TEXTS, "Consider the voice. Answer with one of: sad, neutral.", "Consider the voice. Answer with letters.")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def alm(checkpoint):
    return load_model(str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def stock(alm, checkpoint):
    """The same weights as transformers loads them, with none of our work: the witness."""
    from transformers import Qwen2AudioForConditionalGeneration

    model = Qwen2AudioForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return dataclasses.replace(alm, model=model)


def waves(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [(0.1 * rng.normal(size=n)).astype(np.float32) for n in lengths]


def rows_of(alm, features, texts, tree):
    rows = []
    for n in features.audio_tokens:
        parts = [alm.chat(SYSTEM, text) for text in texts]
        prefix = [t for token in parts[0].prefix for t in [token] * (n if token == alm.audio_token_id else 1)]
        rows.append(pack_row(prefix, [Branch(part.suffix, tree) for part in parts]))
    return rows


def packed(
    alm,
    clips,
    texts,
    tree,
    side: Literal["left", "right"] = "right",
    method: Literal["auto", "packed", "expanded"] = "packed",
):
    features = alm.features(clips)
    with torch.inference_mode():
        found = answer_logp(alm, features, rows_of(alm, features, texts, tree), method=method, padding_side=side)
    return np.array([[branch.numpy() for branch in row] for row in found])


def test_labels_have_one_and_several_tokens(alm):
    counts = {label: len(alm.tokens(label)) for label in LABELS}
    assert min(counts.values()) == 1
    assert max(counts.values()) >= 3


@pytest.mark.parametrize(("method", "side"), [("packed", "right"), ("expanded", "left"), ("expanded", "right")])
def test_both_methods_equal_naive_teacher_forcing(alm, stock, method, side):
    tree = build_tree(LABELS, alm.tokens, alm.turn_ends())
    clips = waves(3200, 20000, 47777)
    texts = [SHARING[i] for i in (0, 1, 3, 4)]
    found = packed(alm, clips, texts, tree, side, method)
    expected = np.array([[naive_answer_logp(stock, clip, SYSTEM, text, LABELS) for text in texts] for clip in clips])
    assert expected.std() > 0.5  # the random checkpoint is not flat, so equality means something
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["packed", "expanded"])
def test_letters_equal_naive_teacher_forcing(alm, stock, method):
    letters = ("A", "B", "C", "D")
    clips = waves(16000)
    found = packed(alm, clips, TEXTS[:1], build_tree(letters, alm.tokens, alm.turn_ends()), method=method)
    expected = naive_answer_logp(stock, clips[0], SYSTEM, TEXTS[0], letters)
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5, rtol=0)


def test_clip_that_fills_the_window(alm, stock):
    tree = build_tree(LABELS[:2], alm.tokens, alm.turn_ends())
    clip = waves(64000)[0]
    assert alm.features([clip]).input_features.shape[-1] == 400
    np.testing.assert_allclose(
        packed(alm, [clip], TEXTS[:1], tree)[0, 0],
        naive_answer_logp(stock, clip, SYSTEM, TEXTS[0], LABELS[:2]),
        atol=1e-5,
        rtol=0,
    )


@settings(max_examples=10, deadline=None)
@given(
    lengths=st.lists(st.integers(1600, 60000), min_size=2, max_size=4),
    order=st.permutations(range(len(SHARING))),
    side=st.sampled_from(["left", "right"]),
    method=st.sampled_from(["packed", "expanded"]),
    seed=st.integers(0, 5),
)
def test_company_changes_nothing(alm, lengths, order, side, method, seed):
    """Batch against single, any order of the listeners, either method: the same numbers."""
    tree = build_tree(LABELS[:3], alm.tokens, alm.turn_ends())
    clips = waves(*lengths, seed=seed)
    together = packed(alm, clips, [SHARING[i] for i in order], tree, side, method)
    alone = np.array([[packed(alm, [clip], [SHARING[i]], tree)[0, 0] for i in order] for clip in clips])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


def test_a_model_that_cannot_be_packed_is_asked_by_expanded_cache(alm, monkeypatch):
    tree = build_tree(LABELS, alm.tokens, alm.turn_ends())
    clips = waves(9000, 21000)
    expected = packed(alm, clips, SHARING, tree)

    def never(*_):
        raise AssertionError("packed")

    monkeypatch.setattr("serann.annotator.models.packed_prompt.ragged_hidden", never)
    other = dataclasses.replace(alm, family=dataclasses.replace(alm.family, packed=False))
    assert packs(alm)
    assert not packs(other)
    np.testing.assert_allclose(packed(other, clips, SHARING, tree, method="auto"), expected, atol=1e-5, rtol=0)
    # Layers with a sliding window see less than the packed pass would show them.
    monkeypatch.setattr(alm.model.model.language_model, "has_sliding_layers", True)
    assert not packs(alm)


def test_texts_that_begin_alike_share_their_beginning():
    tree = build_tree(["a", "b"], lambda text: [ord(c) for c in text], [0])  # a A b B, each with ".": 8 nodes
    one, two, three = [*range(200, 210), 1], [*range(200, 210), 2, 3], [*range(200, 205), 4]
    branches = [Branch(suffix, tree) for suffix in (one, three, two)]
    first, second = pack_groups(branches)
    # Ten shared tokens, then 1 and 2 of their own, and a tree each; five in common with the third are too few.
    assert first.branches == (0, 2)
    assert second.branches == (1,)
    assert (len(first), len(second)) == (10 + 1 + 2 + 2 * 8, 6 + 8)
    assert first.visible.sum(axis=1).tolist() == (first.depths + 1).tolist()
    # What is read: after each text its last token and the tree's 8 nodes.
    assert len(first.reads) == 2 * 9
    assert first.tokens[first.reads[first.edges[1][0]]] == 3


def test_answers_sum_to_at_most_one_and_order_is_kept(alm):
    clips = waves(16000)
    forward = packed(alm, clips, TEXTS[:1], build_tree(LABELS, alm.tokens, alm.turn_ends()))[0, 0]
    backward = packed(alm, clips, TEXTS[:1], build_tree(LABELS[::-1], alm.tokens, alm.turn_ends()))[0, 0]
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)
    assert np.exp(forward).sum() <= 1


def test_eager_attention_gives_the_same(alm):
    tree = build_tree(LABELS[:3], alm.tokens, alm.turn_ends())
    clips = waves(5000, 30000)
    expected = packed(alm, clips, TEXTS, tree)
    alm.model.set_attn_implementation("eager")
    try:
        for side in ("left", "right"):
            found = packed(alm, clips, TEXTS, tree, side, "expanded")
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    finally:
        alm.model.set_attn_implementation("sdpa")


def test_gradients_flow_for_training(alm):
    tree = build_tree(LABELS[:2], alm.tokens, alm.turn_ends())
    features = alm.features(waves(8000))
    answer_logp(alm, features, rows_of(alm, features, TEXTS[:1], tree))[0][0].sum().backward()
    assert alm.model.lm_head.weight.grad.abs().sum() > 0
    alm.model.zero_grad()


def test_logits_in_blocks(alm, monkeypatch):
    tree = build_tree(LABELS, alm.tokens, alm.turn_ends())
    clips = waves(5000, 30000)
    expected = packed(alm, clips, TEXTS, tree)
    monkeypatch.setattr("serann.annotator.models.packed_prompt.LOGIT_ROWS", 7)
    monkeypatch.setattr("serann.annotator.models.packed_prompt.LOGIT_BYTES", {"cpu": 0, "cuda": 0})
    np.testing.assert_allclose(packed(alm, clips, TEXTS, tree), expected, atol=1e-6)


def test_tree_shape_by_hand():
    # One token a character. "a" and "ab": nodes a, a-b, A, A-b, and "." after each of the four: 8 inner nodes.
    # Edges: the 8 nodes' own, and one turn end after each form (8 forms): 16.
    tree = build_tree(["a", "ab"], lambda text: [ord(c) for c in text], [0])
    assert len(tree) == 8
    assert len(tree.edge_tokens) == 16
    assert tree.visible.sum(axis=1).tolist() == (tree.depths + 1).tolist()
    # All edges at probability 1/2: P(a) = 2 * 2^-2 + 2 * 2^-3 = .75, P(ab) = 2 * 2^-3 + 2 * 2^-4 = .375.
    logp = tree.answer_logp(torch.full((16,), float(np.log(0.5))))
    np.testing.assert_allclose(logp.exp(), [0.75, 0.375], rtol=1e-6)


def test_labels_that_share_a_form_are_refused():
    with pytest.raises(LabelError, match=r"'happy' and 'Happy' are both answered by 'Happy'"):
        build_tree(["happy", "Happy"], lambda text: [ord(c) for c in text], [0])


def test_temperature_is_defined_on_labels():
    logp, log_mass = normalise(np.log([0.1, 0.3]))
    np.testing.assert_allclose(np.exp(logp), [0.25, 0.75])
    np.testing.assert_allclose(np.exp(log_mass), 0.4)
    # T = 1/2 squares: 1/16 and 9/16, so .1 and .9.
    np.testing.assert_allclose(at_temperature(logp, 0.5), [0.1, 0.9])
    np.testing.assert_allclose(at_temperature(np.array([-np.inf, 0.0]), 2.0), [0, 1])


def test_trimming_equals_the_padded_encoder_and_is_undone(alm):
    tower, clip = alm.model.model.audio_tower, waves(16000)[0]
    features = alm.features([clip])
    frames = features.input_features.shape[-1]
    assert frames < 400
    reference = alm.processor.feature_extractor([clip], sampling_rate=16000, return_tensors="pt").input_features
    np.testing.assert_allclose(features.input_features[..., :100], reference[..., :100], atol=1e-5)
    weight, positions = tower.embed_positions.weight, tower.config.max_source_positions
    with pytest.raises(RuntimeError, match="stop"), trimmed(alm.model, frames):
        assert tower.config.max_source_positions == frames // 2
        raise RuntimeError("stop")
    assert tower.embed_positions.weight is weight
    assert tower.config.max_source_positions == positions


def test_valid_frames_equal_the_padded_encoder(alm, stock):
    """Against the untrimmed model on its full window, as the processor feeds it; odd and even numbers of frames."""
    clips = waves(3200, 16160, 16000, 47777, 63999)
    found = iter(encode_audio(alm, alm.features(clips)).split(alm.features(clips).audio_tokens))
    extractor = alm.processor.feature_extractor
    heard = []
    hook = stock.model.model.multi_modal_projector.register_forward_hook(lambda _m, _i, out: heard.append(out))
    try:
        for clip, tokens in zip(clips, alm.features(clips).audio_tokens, strict=True):
            made = extractor([clip], sampling_rate=16000, return_attention_mask=True, return_tensors="pt")
            assert made.input_features.shape[-1] == 400
            ids = torch.tensor([stock.with_audio(stock.chat(SYSTEM, TEXTS[0]).prefix, [tokens])])
            with torch.inference_mode():
                stock.model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    input_features=made.input_features,
                    feature_attention_mask=made.attention_mask,
                )
            np.testing.assert_allclose(next(found).detach(), heard[-1][0, :tokens], atol=1e-4, rtol=0)
    finally:
        hook.remove()


def test_products_by_onednn_are_the_same_products(alm):
    layer = torch.nn.Linear(96, 40)
    fast = torch.nn.Linear(96, 40)
    fast.load_state_dict(layer.state_dict())
    fast.__class__ = OneDnnLinear
    x = torch.randn(3, 7, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        np.testing.assert_allclose(fast(x), layer(x), atol=1e-5)
        assert fast(x[:0]).shape == (0, 7, 40)
    fast(x).sum().backward()  # with gradients, torch's own
    assert fast.weight.grad is not None
    assert any(type(module) is OneDnnLinear for module in alm.model.modules())


def test_prefix_and_suffix_equal_the_whole(alm):
    parts = alm.chat(SYSTEM, "Consider it.")
    whole = alm.processor.tokenizer.decode([*parts.prefix, *parts.suffix])
    assert whole.index("<|audio_eos|>") < whole.index("Consider it.")
    assert parts.prefix == alm.chat(SYSTEM, "Something else entirely").prefix
    assert parts.prefix.count(alm.audio_token_id) == 1
