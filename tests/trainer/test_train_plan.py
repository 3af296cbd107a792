"""`train --plan`: a frozen encoder hears once, every stage of unfreezing has its own time, and the last is reached."""

import time

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.fused import open_fused
from serann.trainer import loop, read_model_info, train
from serann.trainer import plan as plan_module
from serann.trainer.dataset import Sounds, bucketed_batches
from serann.trainer.network.encoders import SpeechEncoder
from serann.trainer.plan import plan
from serann.trainer.targets import training_examples, validation_examples

QUICK = {"batch_seconds": 3.0, "device": "cpu"}
# Seconds that the slowed encoder takes for a padded second of sound.
SLOW = 0.03


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("plan")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer", num_hidden_layers=3)
    return path


@pytest.fixture
def slow(monkeypatch):
    """An encoder that takes its time."""
    read = SpeechEncoder.read

    def slowly(self, waveforms, lengths):
        time.sleep(SLOW * waveforms.numel() / 16000)
        return read(self, waveforms, lengths)

    monkeypatch.setattr(SpeechEncoder, "read", slowly)


def padded(place) -> tuple[float, float]:
    """Padded seconds of both splits' batches, by hand."""
    train_seconds = training_examples(open_fused(place / "fused"), []).seconds
    judged = validation_examples(open_corpus(place / "corpus"), []).seconds
    return tuple(  # pyright: ignore[reportReturnType]
        sum(
            seconds[batch].max() * len(batch) for batch in bucketed_batches(seconds, batch_seconds=3.0, seed=0, epoch=0)
        )
        for seconds in (train_seconds, judged)
    )


def test_a_frozen_encoder_is_charged_once(place, tmp_path, slow):
    given = {"model": str(place / "encoder"), "frozen": True, **QUICK}
    one, twelve = (plan(place / "fused", epochs=epochs, **given) for epochs in (1, 12))
    once = SLOW * sum(padded(place))
    for found in (one, twelve):
        assert once * 0.8 < found.seconds_once < once * 2.5
        assert found.seconds == pytest.approx(found.seconds_once + found.epochs * found.seconds_an_epoch)
        assert found.seconds_an_epoch < once / 2
    start = time.perf_counter()
    train(place / "fused", out=tmp_path / "m", epochs=12, **given)
    assert twelve.seconds / (time.perf_counter() - start) == pytest.approx(1, abs=0.6)


def test_an_encoder_that_learns_is_charged_every_epoch(place, slow):
    found = plan(place / "fused", model=str(place / "encoder"), epochs=4, **QUICK)
    each = SLOW * sum(padded(place))
    assert each * 0.8 < found.seconds_an_epoch < each * 2.5
    assert found.seconds == pytest.approx(found.seconds_once + 4 * found.seconds_an_epoch)
    assert len(found.stages) == 1


def test_each_stage_of_unfreezing_is_measured_and_the_last_reached(place, monkeypatch):
    learn, epochs = plan_module.learn, []

    def slower(training, batch, epoch, weights):
        epochs.append(epoch + 1)
        time.sleep({1: 0.0, 3: 0.05, 4: 0.1}[epoch + 1])
        return learn(training, batch, epoch, weights)

    monkeypatch.setattr(plan_module, "learn", slower)
    given = {"model": str(place / "encoder"), "unfreeze": "1:1,3:2,4:3,9:0", "epochs": 6, **QUICK}
    found = plan(place / "fused", **given)
    assert sorted(set(epochs)) == [1, 3, 4]  # the ninth epoch is never reached
    assert [stage.epoch for stage in found.stages] == [1, 3, 4]
    trained = [stage.trained for stage in found.stages]
    assert trained[0] == found.trained < trained[1] < trained[2] < found.parameters
    first, second, third = (stage.seconds_an_epoch for stage in found.stages)
    assert found.seconds == pytest.approx(found.seconds_once + 2 * first + second + 3 * third)
    assert found.seconds_an_epoch == max(first, second, third)
    assert second - first > 0.05 * found.batches * 0.6
    assert third - second > 0.05 * found.batches * 0.6


def test_the_disk_is_what_a_training_then_takes(place, tmp_path, monkeypatch):
    make_encoder_checkpoint(tmp_path / "wider", norm="layer", num_hidden_layers=3, hidden_size=128)
    for options in ({"frozen": True}, {"unfreeze": "1:1,2:3"}, {}):
        given, sizes, record = {"model": str(tmp_path / "wider"), "epochs": 2, **options, **QUICK}, [], loop._record

        def recorded(training, *args, record=record, sizes=sizes):
            record(training, *args)
            files = [training.out / "weights.safetensors", training.out / "checkpoint" / "state.pt"]
            sizes.append(sum(file.stat().st_size for file in files))

        monkeypatch.setattr(loop, "_record", recorded)
        out = train(place / "fused", out=tmp_path / "m", overwrite=True, **given).path
        monkeypatch.undo()
        assert read_model_info(out).finished
        found = plan(place / "fused", **given)
        assert found.disk_bytes == pytest.approx(sizes[-1], rel=0.05)


def test_the_batches_that_are_measured_are_the_dearest_the_longest_and_others_evenly_spread(place):
    examples = training_examples(open_fused(place / "fused"), [])
    seconds = np.array([1.0, 1.0, 1.0, 1.0, 3.9, 2.0, 2.0, 0.5, 0.4, 0.3, 0.2, 0.1])
    examples = plan_module.replace(examples, seconds=seconds, rows=examples.rows[:12])
    batches = [np.array(b) for b in ([0, 1, 2, 3], [4], [5, 6], [7], [8], [9], [10], [11])]
    found = plan_module._split(examples, batches)
    assert found.cost.tolist() == [4, 3.9, 4, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert found.chosen[:2] == [0, 1]  # of equal padded seconds the first; the utterance of 3.9 s
    assert 7 in found.chosen
    assert len(found.chosen) <= plan_module.MEASURED + 1


def test_sounds_that_stay_in_memory_are_read_from_disk_once(place, monkeypatch):
    """Reading that takes 20 ms an utterance: once where all stay in memory, in every epoch where none does."""
    read = Sounds.read

    def slowly(self, row):
        if row not in self._kept:
            time.sleep(0.02)
        return read(self, row)

    monkeypatch.setattr(Sounds, "read", slowly)
    given = {"model": str(place / "encoder"), "epochs": 3, "perturb": False, **QUICK}
    kept = plan(place / "fused", **given)
    monkeypatch.setattr(plan_module, "MEMORY_SECONDS", 1e-9)
    never = plan(place / "fused", **given)
    all_of_it = 0.02 * (kept.utterances + kept.development)
    assert kept.seconds_once - never.seconds_once > all_of_it * 0.5
    assert never.seconds_an_epoch - kept.seconds_an_epoch > all_of_it * 0.5
