"""Saliency: it ranks layers as the truth does, its chance level is zero, and `auto` picks what a probe would."""

import numpy as np
import pytest
import torch
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import encoder_config
from scipy.stats import spearmanr
from serann.annotator.fusion import fuse
from serann.data.errors import AudioError
from serann.data.fused import open_fused
from serann.trainer.dataset import Sounds
from serann.trainer.network.encoders import SpeechEncoder
from serann.trainer.network.loading import build_encoder
from serann.trainer.network.saliency import choose_layer, distinct, embeddings, explained, saliency
from serann.trainer.targets import training_examples

WIDTH, LATENT, LABELS, LAYERS = 64, 5, 6, 10


def plainer(x: np.ndarray, y: np.ndarray) -> float:
    """mean_t mean_i (r_i - mean_{j != i} r_j R_ij), the definition that was tried first."""
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
    among = np.abs(x.T @ x / len(x))
    np.fill_diagonal(among, 0)
    r = np.abs(x.T @ y / len(x))
    return float((r - among @ r / (x.shape[1] - 1)).mean())


def constructed(kind: str, n: int, seed: int):
    """Layers [n, 64] that carry a latent z [n, 5], the targets y = z W, and the share of y's variance that a linear map
    of each layer truly gives: tr(W' G W) / tr(W' W), G = A' (A A' + N N' + s^2 I)^-1 A for x = A z + N u + s e.
    """
    rng = np.random.default_rng(seed)
    z, w = rng.standard_normal((n, LATENT)), rng.standard_normal((LATENT, LABELS))
    layers, truth = [], []
    for number in range(LAYERS):
        a = np.linalg.qr(rng.standard_normal((WIDTH, LATENT)))[0]
        nuisance, noise = np.zeros((WIDTH, 1)), np.exp(rng.uniform(-1.5, 2))
        if kind == "part":  # of the latent only some directions are there
            a = a * (np.arange(LATENT) < rng.integers(0, LATENT + 1))
        if kind == "redundant":  # few dimensions, each many times
            few = (1, 2, 3, 4, 6, 8, 16, 24, 32, 64)[number]
            a, noise = rng.standard_normal((few, LATENT)) / np.sqrt(LATENT), 1.0
        if kind == "nuisance":  # dimensions share what has nothing to do with the targets: a voice, a microphone
            nuisance = rng.standard_normal((WIDTH, int(rng.integers(2, 30)))) * np.exp(rng.uniform(-2, 1))
        rows = len(a)
        nuisance = nuisance[:rows]
        x = z @ a.T + rng.standard_normal((n, nuisance.shape[1])) @ nuisance.T + noise * rng.standard_normal((n, rows))
        inverse = np.linalg.inv(a @ a.T + nuisance @ nuisance.T + noise**2 * np.eye(rows))
        truth.append(np.trace(w.T @ a.T @ inverse @ a @ w) / np.trace(w.T @ w))
        layers.append(x[:, np.arange(WIDTH) % rows] + 1e-3 * rng.standard_normal((n, WIDTH)) * (rows < WIDTH))
    return layers, z @ w, np.array(truth)


@pytest.mark.parametrize("n", [300, 1000])
@pytest.mark.parametrize("kind", ["noise", "redundant", "part", "nuisance"])
def test_it_ranks_constructed_layers_as_their_known_informativeness_does(kind, n):
    for seed in range(6):
        layers, y, truth = constructed(kind, n, seed)
        found = [explained(x, y) for x in layers]
        assert np.asarray(spearmanr(found, truth))[0] >= 0.8, (kind, seed)
        np.testing.assert_allclose(found, truth, atol=0.15)


def test_the_plainer_definition_does_not():
    layers, y, truth = constructed("nuisance", 1000, 2)
    assert np.asarray(spearmanr([plainer(x, y) for x in layers], truth))[0] < 0.5


def test_it_is_the_formula_by_plain_inverses():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 2))
    x[:, 0] += y[:, 0]
    xs, ys = (x - x.mean(0)) / x.std(0), y - y.mean(0)
    among, r = xs.T @ xs / 40, xs.T @ ys / 40
    values = []
    for penalty in np.logspace(-4, 2, 13):
        inverse = np.linalg.inv(among + penalty * np.eye(6))
        q = np.trace(r.T @ inverse @ r) / np.trace(ys.T @ ys / 40)
        d = np.trace(among @ inverse) / 39
        values.append((q - d) / (1 - d))
    assert explained(x, y) == pytest.approx(max(values))


def test_chance_is_zero_on_average_also_with_more_dimensions_than_utterances():
    rng = np.random.default_rng(0)
    for width in (20, 400):
        found = [explained(rng.standard_normal((100, width)), rng.standard_normal((100, 6))) for _ in range(30)]
        assert abs(np.mean(found)) < 0.03  # the largest over penalties is a little above zero


def test_nothing_that_varies_tells_nothing_and_unrated_dimensions_are_left_out():
    x, y = np.random.default_rng(0).standard_normal((30, 4)), np.eye(3)[np.arange(30) % 3]
    assert explained(np.ones((30, 4)), y) == 0
    assert explained(x, np.ones((30, 2))) == 0
    unrated = np.full((30, 1), np.nan)
    assert saliency(x, y, unrated) == explained(x, y)
    rated = np.where(np.arange(30) < 20, x[:, 0], np.nan)[:, None]
    assert saliency(x, y, rated) == pytest.approx((explained(x, y) + explained(x[:20], rated[:20])) / 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("saliency")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    return path


def make_encoder() -> SpeechEncoder:
    torch.manual_seed(0)
    return build_encoder(encoder_config("wavlm", "layer", num_hidden_layers=2).to_dict(), normalise=False)


def test_choosing_listens_to_each_utterance_once_and_says_what_it_found(place):
    fused = open_fused(place / "fused")
    sounds, given = Sounds(fused.corpus, shortest=720), {"seed": 0, "batch_seconds": 5.0}
    examples = training_examples(fused, ["valence"])
    choice = choose_layer(make_encoder(), examples, sounds, **given)
    assert choice.layer == int(np.argmax(choice.scores))
    assert len(choice.scores) == 3
    assert choice.utterances == len(examples)
    assert choose_layer(make_encoder(), examples, sounds, **given) == choice
    assert choose_layer(make_encoder(), examples, sounds, **given, most=10).utterances == 10
    single = training_examples(fused, [], targets="disaggregated")
    assert len(distinct(single)[0]) == len(np.unique(single.rows)) < len(single)
    x, heard = embeddings(make_encoder(), examples, sounds, np.arange(3), batch_seconds=5.0)
    sound = torch.from_numpy(sounds.read(examples.rows[1]))
    with torch.no_grad():
        alone = make_encoder().eval().hidden(sound[None], torch.tensor([len(sound)]))
    assert heard.all()
    np.testing.assert_allclose(x[:, 1], [frames.states[0].mean(0) for frames in alone], atol=1e-4)


def test_without_sound_it_cannot_choose(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40, speakers=10)
    fuse(corpus, [], strategy="human", out=tmp_path / "fused")
    fused = open_fused(tmp_path / "fused")
    with pytest.raises(AudioError, match=r"0 of the 24 utterances that 'auto' listens to .* it needs three at least"):
        choose_layer(
            make_encoder(), training_examples(fused, []), Sounds(fused.corpus, shortest=720), seed=0, batch_seconds=5.0
        )
