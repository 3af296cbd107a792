"""`auto` on an encoder trained on the embedded corpus: a linear probe of its layer is as good as the best layer's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.fused import open_fused
from serann.data.scores.proper_scores import log_score
from serann.data.votes import count_votes
from serann.trainer import open_model, train
from serann.trainer.dataset import Sounds
from serann.trainer.network.loading import fresh_encoder, small_config
from serann.trainer.network.saliency import choose_layer, embeddings
from serann.trainer.targets import training_examples

pytestmark = pytest.mark.slow
DEMO = Path(__file__).parents[2] / "data" / "demo" / "corpus"
LAYERS, TRAINED = 6, 3
PENALTY = 0.1  # the best on the development split for nearly every layer


def probe(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights [D + 1, K] of multinomial regression on distributions y, with an L2 penalty."""
    n, width = x.shape

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        w = w.reshape(width + 1, -1)
        log_q = log_softmax(x, w)
        error = (np.exp(log_q) - y) / n
        gradient = np.vstack([x.T @ error + 2 * PENALTY * w[:-1], error.sum(0)])
        return -(y * log_q).sum() / n + PENALTY * np.square(w[:-1]).sum(), gradient.ravel()

    start = np.zeros((width + 1) * y.shape[1])
    return minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(width + 1, -1)


def log_softmax(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    logits = x @ w[:-1] + w[-1]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An encoder of six layers, of which three were trained on the embedded corpus."""
    path = tmp_path_factory.mktemp("embedded")
    fuse(open_corpus(DEMO), [], strategy="human", out=path / "fused")
    config = small_config()
    config.update(
        {"num_hidden_layers": LAYERS, "do_stable_layer_norm": False, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    )
    config.save_pretrained(path / "encoder")
    model = train(
        path / "fused", model=str(path / "encoder"), out=path / "model", from_scratch=True, layer=str(TRAINED),
        epochs=30, device="cpu",
    ).path  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = fresh_encoder(str(path / "encoder"))
    encoder.load_state_dict(open_model(model).network.encoder.state_dict(), strict=False)
    return encoder, open_fused(path / "fused")


def scores_of_probes(encoder, fused) -> list[float]:
    """Each layer's log score a vote: a probe of the train split's layers, on development's and test's human votes."""
    corpus = fused.corpus
    votes = count_votes(corpus.votes, corpus.ids, corpus.labels)
    everything = dataclasses.replace(
        training_examples(fused, []),
        rows=np.arange(len(corpus.ids)),
        seconds=corpus.column("duration").astype(float),
    )
    sounds = Sounds(corpus, shortest=encoder.shortest)
    layers, heard = embeddings(encoder, everything, sounds, np.arange(len(corpus.ids)), batch_seconds=60.0)
    assert heard.all()
    taught, found = corpus.in_split("train"), []
    for layer in layers:
        x = (layer - layer[taught].mean(0)) / layer[taught].std(0)
        w = probe(x[taught], fused.distributions[taught])
        found.append(float(np.nanmean(log_score(np.exp(log_softmax(x[~taught], w)), votes[~taught]))))
    return found


@pytest.mark.parametrize("spread", [0.02, 0.3])
def test_the_chosen_layers_probe_is_within_two_hundredths_of_the_best_layers(trained, spread):
    """`spread` is of the weights above the trained layers: as transformers draws them, when a layer changes little, and
    so large that what is told is scrambled.
    """
    encoder, fused = trained
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for layer in encoder.transformer.layers[TRAINED:]:
            for parameter in (p for p in layer.parameters() if p.dim() == 2):
                torch.nn.init.normal_(parameter, 0, spread)
    choice = choose_layer(
        encoder,
        training_examples(fused, []),
        Sounds(fused.corpus, shortest=encoder.shortest),
        seed=0,
        batch_seconds=60.0,
    )
    found = scores_of_probes(encoder, fused)
    print(f"spread {spread}: chosen {choice.layer}, saliency {choice.scores}, log score of probes {found}")
    assert found[choice.layer] >= 1.02 * max(found)  # both are below zero
    if spread > 0.1:  # else it could not fail
        assert min(found) < 1.02 * max(found)
        assert choice.layer <= TRAINED
