"""Layers, freezing and Whisper in a training: what is chosen is saved, reopened exactly, and taken up after a stop."""

from typing import Any

import numpy as np
import pytest
import torch
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint, whisper_config
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError, OutputError
from serann.trainer import loop, open_model, preparing, read_model_info, train
from serann.trainer.dataset import Sounds, pad
from serann.trainer.network.features import answer

FROZEN: dict[str, Any] = {"epochs": 2, "batch_seconds": 3.0, "device": "cpu", "head_learning_rate": 1e-2}
QUICK: dict[str, Any] = {**FROZEN, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("layers")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="group", num_hidden_layers=3)
    whisper_config().save_pretrained(path / "whisper")
    return path


def samples(sounds: Sounds, row: int) -> np.ndarray:
    """A sound that can be read."""
    found = sounds.read(row)
    assert not isinstance(found, str), found
    return found


@pytest.fixture
def networks(monkeypatch):
    """The networks of trainings, as they were at the end of every epoch."""
    found, record = [], loop._record

    def recording(training, epoch, rows):
        record(training, epoch, rows)
        found.append({name: tensor.clone() for name, tensor in training.network.state_dict().items()})

    monkeypatch.setattr(loop, "_record", recording)
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"layer": "1"},
        {"layer": "0"},
        {"layer": "weighted"},
        {"layer": "auto", "frozen": True, "head": "tc-gru", "dimensional_loss": "nll-ccc"},
        {"unfreeze": "1:1,2:3", "unfreeze_rates": "1:1,2:.8", "layer_decay": 0.9},
        {"layer": "2", "unfreeze": "1:0"},
    ],
    ids=lambda given: " ".join(f"{name}={value}" for name, value in given.items()),
)
def test_what_was_trained_is_what_opens(place, tmp_path, networks, options):
    quick = FROZEN if options.get("frozen") else QUICK
    out = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **quick, **options).path
    info = read_model_info(out)
    opened, kept = open_model(out).network.state_dict(), networks[(info.best_epoch or 0) - 1]
    assert list(opened) == list(kept)
    assert all(torch.equal(kept[name], tensor) for name, tensor in opened.items())
    if options.get("layer") == "auto":
        assert info.options.layer == "auto"
        saliency = present(info.architecture.saliency)
        assert info.architecture.layer == str(int(np.argmax(saliency)))
        assert len(saliency) == 4
        assert info.architecture.saliency_utterances == info.fused.utterances["train"]
    else:
        assert info.architecture.layer == options.get("layer", "last")
        assert info.architecture.saliency is None
    sounds = Sounds(open_corpus(place / "corpus"), shortest=720)
    with torch.no_grad():
        output = open_model(out).network(*pad([samples(sounds, row) for row in range(3)]))
    assert torch.isfinite(output.logits).all()


def test_auto_is_chosen_once_also_when_the_training_is_taken_up(place, tmp_path, monkeypatch):
    given = {**FROZEN, "model": str(place / "encoder"), "layer": "auto", "frozen": True}
    straight = train(place / "fused", out=tmp_path / "straight", **given).path

    def stopped(*args, **given):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_run_epochs", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(place / "fused", out=tmp_path / "m", **given)
    monkeypatch.undo()
    monkeypatch.setattr(preparing, "choose_layer", stopped)
    out = train(place / "fused", out=tmp_path / "m", **given).path
    assert train(place / "fused", out=out, **given).path == out
    assert (out / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
    with pytest.raises(OutputError, match=r"finished model of another training .*: seed was 0, now 1"):
        train(place / "fused", out=out, **given, seed=1)  # refused before anything is listened to
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="exists and is no model directory"):
        train(place / "fused", out=tmp_path / "mine", overwrite=True, **given)
    with pytest.raises(KeyboardInterrupt):
        train(place / "fused", out=out, overwrite=True, **given)


def test_progressive_unfreezing_stopped_between_its_stages_goes_on_to_the_same_bits(place, tmp_path, monkeypatch):
    given = {**QUICK, "model": str(place / "encoder"), "unfreeze": "1:1,2:2,3:3", "epochs": 3, "layer_decay": 0.8}
    straight = train(place / "fused", out=tmp_path / "straight", **given).path
    train_epoch = loop._train_epoch

    def stopped(training, epoch, *rest, **more):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(training, epoch, *rest, **more)

    monkeypatch.setattr(loop, "_train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(place / "fused", out=tmp_path / "m", **given)
    monkeypatch.undo()
    out = train(place / "fused", out=tmp_path / "m", **given).path
    assert (out / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert (out / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


def test_only_what_is_unfrozen_moves(place, tmp_path, networks):
    train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK, unfreeze="1:1,2:2")
    first, second = networks
    moved = {name for name, tensor in second.items() if not torch.equal(tensor, first[name])}
    assert any(name.startswith("encoder.model.encoder.layers.1") for name in moved)
    assert not any(name.startswith(("encoder.model.encoder.layers.0", "encoder.model.feature")) for name in moved)


def test_whisper_trains_and_opens(place, tmp_path):
    out = train(
        place / "fused", model=str(place / "whisper"), out=tmp_path / "m", from_scratch=True, layer="2",
        **{**QUICK, "epochs": 1},
    ).path  # fmt: skip
    encoder = open_model(out).network.encoder
    assert encoder.depth == 2
    assert encoder.config.model_type == "whisper"


def test_a_layer_that_is_not_there_leaves_nothing_behind(place, tmp_path):
    wrong: list[dict[str, Any]] = [{"layer": "4"}, {"unfreeze": "1:4"}]
    for options in wrong:
        with pytest.raises(OptionError, match=r"4"):
            train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK, **options)
        assert not (tmp_path / "m").exists()


def test_an_answer_is_the_same_of_sounds_and_of_stored_states(place, tmp_path):
    from serann.trainer.dataset import Batch

    out = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK, layer="weighted").path
    network, sounds = open_model(out).network, Sounds(open_corpus(place / "corpus"), shortest=720)
    waveforms, lengths = pad([samples(sounds, row) for row in range(4)])
    with torch.no_grad():
        states, mask = network.encoder.read(waveforms, lengths)
        one = answer(network, Batch(np.arange(4), waveforms, lengths, []), torch.device("cpu"))
        other = answer(network, Batch(np.arange(4), states, mask.sum(1), []), torch.device("cpu"))
    assert torch.equal(one.logits, other.logits)
