"""Heads: a batch equals its single runs, shapes, what is trained, and parameters as counted by hand."""

import pytest
import torch
from fixtures.present import present
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.trainer.network.encoders import Frames
from serann.trainer.network.heads import (
    TCGRU,
    WIDTH,
    AttentivePooling,
    DimensionalHead,
    MeanPooling,
    make_body,
    masked_mean,
)

BODIES = [
    ("linear", "mean", False),
    ("linear", "attentive", False),
    ("tc-gru", "mean", False),
    ("tc-gru", "mean", True),
]


def frames_of(lengths, width=12, seed=0, padding=0):
    """Frames of some lengths in one batch; what lies behind an utterance's end is noise, large."""
    generator = torch.Generator().manual_seed(seed)
    most = max(lengths) + padding
    mask = torch.arange(most) < torch.tensor(lengths)[:, None]
    states = 50 * torch.randn(len(lengths), most, width, generator=generator)
    for row, length in enumerate(lengths):
        states[row, :length] = torch.randn(length, width, generator=torch.Generator().manual_seed(row + 10 * length))
    return Frames(states, mask)


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), kind=st.sampled_from(BODIES), pad=st.integers(0, 4))
def test_a_batch_gives_what_each_utterance_gives_alone(lengths, kind, pad):
    head, pooling, skip = kind
    torch.manual_seed(0)
    body = make_body(head, 12, pooling=pooling, skip=skip).eval()
    batch = frames_of(lengths, padding=pad)
    together = body(batch)
    for row, length in enumerate(lengths):
        alone = Frames(batch.states[row : row + 1, :length], batch.mask[row : row + 1, :length])
        torch.testing.assert_close(body(alone)[0], together[row], atol=2e-6, rtol=1e-5)


def test_attention_is_the_weighted_mean_and_even_weights_are_the_mean():
    frames = frames_of([3, 5])
    pooling = AttentivePooling(12)
    weights = torch.softmax(pooling.score(frames.states[0, :3]).squeeze(-1), dim=0)
    torch.testing.assert_close(pooling(frames)[0], weights @ frames.states[0, :3])
    for parameter in pooling.score[2].parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(pooling(frames), masked_mean(frames))
    torch.testing.assert_close(MeanPooling(12)(frames), masked_mean(frames))


def test_the_tc_gru_has_the_published_shape_and_its_skip_is_the_mean_of_the_convolution():
    body = TCGRU(768)
    gru = 2 * (3 * WIDTH * 2 * WIDTH + 2 * 3 * WIDTH)
    assert sum(p.numel() for p in body.parameters()) == 768 * WIDTH * 3 + WIDTH + gru + WIDTH * WIDTH + WIDTH
    torch.manual_seed(0)
    plain = TCGRU(12).eval()
    skipping = TCGRU(12, skip=True).eval()
    skipping.load_state_dict(plain.state_dict())
    frames = frames_of([4])
    found = torch.relu(plain.convolution(frames.states.transpose(1, 2))).transpose(1, 2)
    states, _ = plain.gru(found)
    torch.testing.assert_close(plain(frames), torch.relu(plain.embedding(states[:, -1])))
    torch.testing.assert_close(skipping(frames), torch.relu(plain.embedding(states[:, -1] + found.mean(1))))


def test_ratings_stay_on_their_scale_and_variances_are_asked_for():
    pooled = 100 * torch.randn(4, 6)
    means, variances = DimensionalHead(6, 3, dropout=0.0)(pooled)
    assert means.shape == (4, 3)
    assert variances is None
    assert float(means.detach().abs().max()) <= 1
    means, variances = DimensionalHead(6, 3, dropout=0.0, variances=True)(pooled)
    assert variances.shape == means.shape == (4, 3)


@pytest.mark.parametrize("kind", BODIES)
def test_gradients_reach_every_parameter_and_no_frame_behind_the_end(kind):
    head, pooling, skip = kind
    torch.manual_seed(0)
    body = make_body(head, 12, pooling=pooling, skip=skip).eval()
    frames = frames_of([2, 6])
    states = frames.states.clone().requires_grad_()
    body(Frames(states, frames.mask)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in body.parameters())
    assert not present(states.grad)[0, 2:].any()
    assert present(states.grad)[1].any()
