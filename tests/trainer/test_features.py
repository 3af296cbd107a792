"""Frozen features: made once, the same as the encoder's own, kept through kills and full disks."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.errors import OutputError
from serann.data.fused import open_fused
from serann.trainer import open_model, read_model_info, train
from serann.trainer.dataset import Listening, Sounds, load_batches
from serann.trainer.network import features as module
from serann.trainer.network.encoders import SpeechEncoder, choose
from serann.trainer.network.features import FrozenFeatures, encoder_fingerprint, layers_read, plan, stored_frames
from serann.trainer.network.loading import load_encoder
from serann.trainer.targets import training_examples, validation_examples

QUICK = {"epochs": 3, "batch_seconds": 3.0, "device": "cpu", "head_learning_rate": 1e-2, "frozen": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("features")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer", num_hidden_layers=2)
    return path


def make(place: Path, folder: Path, layer: str = "1") -> FrozenFeatures:
    encoder = choose(load_encoder(str(place / "encoder")), layer)
    sounds = Sounds(open_fused(place / "fused").corpus, shortest=encoder.shortest)
    return FrozenFeatures(folder, encoder, sounds, batch_seconds=1.0)


def examples(place: Path):
    return training_examples(open_fused(place / "fused"), ["valence"])


@pytest.mark.parametrize("layer", ["1", "last", "weighted"])
def test_stored_frames_are_the_encoders_own_to_half_precision(place, tmp_path, layer):
    found, given = make(place, tmp_path, layer), examples(place)
    found.extract([given])
    (batch,) = load_batches(Listening(given, found), [np.arange(5)])
    stored = stored_frames(found.encoder, batch.waveforms, batch.lengths)
    (heard,) = load_batches(Listening(given, found.sounds), [np.arange(5)])
    with torch.no_grad():
        own = found.encoder(heard.waveforms, heard.lengths)
    assert torch.equal(stored.mask, own.mask)
    difference = (stored.states - own.states)[own.mask].abs().max()
    assert 0 < difference < 2e-3  # half precision: 2^-11 of values below four


def test_the_plan_is_what_the_disk_then_holds(place, tmp_path):
    for layer, layers in (("1", 1), ("weighted", 3)):
        found, given = make(place, tmp_path / layer, layer), examples(place)
        assert layers_read(found.encoder) == layers
        found.extract([given])
        held = sum(kept.nbytes for kept in map(found.read, given.rows))  # pyright: ignore[reportAttributeAccessIssue]
        assert plan(found.encoder, given.seconds) == held
        taken = sum(file.stat().st_size for file in (tmp_path / layer).rglob("*.safetensors"))
        assert held < taken < held + 1000 * len(given)  # an entry of the index an utterance


def test_nothing_is_computed_twice_even_of_an_equal_sound_under_another_name(place, tmp_path, monkeypatch):
    found, given = make(place, tmp_path), examples(place)
    found.extract([given])
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.safetensors")}
    again = make(place, tmp_path)
    monkeypatch.setattr(again.encoder, "read", None)  # would raise if it were asked
    monkeypatch.setattr(again.sounds, "read", None)  # nor is a file read that has not changed
    again.extract([given])
    np.testing.assert_array_equal(again.read(given.rows[3]), found.read(given.rows[3]))
    monkeypatch.undo()
    for file in (place / "corpus" / "audio").iterdir():
        os.utime(file, ns=(1, file.stat().st_mtime_ns + 10**9))
    touched = make(place, tmp_path)
    monkeypatch.setattr(touched.encoder, "read", None)  # the sounds are the same
    touched.extract([given])
    assert {file: file.read_bytes() for file in before} == before


def test_another_encoder_layer_or_precision_has_a_folder_of_its_own(place, tmp_path):
    other = make_encoder_checkpoint(tmp_path / "encoder", norm="layer", num_hidden_layers=2, seed=1)
    encoders = [choose(load_encoder(str(place / "encoder")), layer) for layer in ("1", "2", "weighted")]
    fingerprints = [encoder_fingerprint(encoder) for encoder in (*encoders, load_encoder(str(other)))]
    fingerprints.append(encoder_fingerprint(encoders[0], precision="bf16"))
    assert len(set(fingerprints)) == 5
    assert encoder_fingerprint(choose(load_encoder(str(place / "encoder")), "1")) == fingerprints[0]


def test_shards_are_small_and_what_is_beyond_half_precision_is_kept_in_full(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 4096)
    found, given = make(place, tmp_path), examples(place)
    read = found.encoder.read
    monkeypatch.setattr(found.encoder, "read", lambda w, n: (read(w, n)[0] * 1e6, read(w, n)[1]))
    found.extract([given])
    assert len(list(tmp_path.rglob("*.safetensors"))) > 3
    assert found.read(given.rows[0]).dtype == np.float32  # pyright: ignore[reportAttributeAccessIssue]
    assert np.isfinite(found.read(given.rows[0])).all()


def test_a_broken_shard_is_made_again(place, tmp_path):
    found, given = make(place, tmp_path), examples(place)
    found.extract([given])
    (shard,) = tmp_path.rglob("*.safetensors")
    whole = shard.read_bytes()
    for broken in (whole[:-3], whole[:20], b"", b"not a shard at all"):
        shard.write_bytes(broken)
        again = make(place, tmp_path)
        again.extract([given])
        np.testing.assert_array_equal(again.read(given.rows[0]), found.read(given.rows[0]))


def test_a_sound_that_cannot_be_heard_is_its_reason(place, tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40, speakers=10, audio=True)
    (tmp_path / "corpus" / "audio" / "u0000.wav").write_bytes(b"")
    fuse(corpus, [], strategy="human", out=tmp_path / "fused")
    out = train(tmp_path / "fused", model=str(place / "encoder"), out=tmp_path / "model", **QUICK).path
    assert [failure["utterance_id"] for failure in read_model_info(out).failures] == ["u0000"]


def test_too_little_room_is_said_before_anything_is_heard(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(OutputError, match=r"frames take .* GB and 0.0 GB are free there; free some space, name"):
        make(place, tmp_path / "features").extract([examples(place)])
    assert not (tmp_path / "features").exists()


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
sys.path[:0] = {tests!r}
from pathlib import Path
from test_features import examples, make, module
try:
    make(Path({place!r}), Path({folder!r})).extract([examples(Path({place!r}))])
except module.OutputError as error:
    print(error)
"""


def test_a_full_disk_is_one_sentence_and_keeps_what_was_written(place, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 2000)
    make(place, tmp_path).extract([examples(place)])
    first = {file: file.read_bytes() for file in tmp_path.rglob("*.safetensors")}
    kept = sorted(first)[0]
    for file in set(first) - {kept}:
        file.unlink()
    code = LIMITED.format(
        tests=[str(Path(__file__).parents[1]), str(Path(__file__).parent)], place=str(place), folder=str(tmp_path)
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("\n") == 1
    assert "cannot be written: File too large; the system lets no file grow so large there: raise that limit" in said
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.safetensors")} == {kept: first[kept]}
    assert not [*tmp_path.rglob(".*")]


def test_training_from_features_equals_training_from_the_frozen_encoder_itself(place, tmp_path, monkeypatch):
    still = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    model = str(make_encoder_checkpoint(tmp_path / "encoder", norm="layer", num_hidden_layers=2, **still))
    given = {**QUICK, "layer": "weighted", "head": "tc-gru"}
    out = train(place / "fused", model=model, out=tmp_path / "m", features=tmp_path / "features", **given).path
    info = read_model_info(out)
    assert not (out / "checkpoint").exists()
    assert list((tmp_path / "features").rglob("*.safetensors"))
    from serann.trainer import loop

    monkeypatch.setattr(loop, "_hear_once", lambda training, folder, progress: progress)
    direct = read_model_info(train(place / "fused", model=model, out=tmp_path / "direct", **given).path)
    assert info.best["log_score"] == pytest.approx(direct.best["log_score"], abs=2e-3)
    encoder: SpeechEncoder = open_model(out).network.encoder
    before = choose(load_encoder(model), "weighted")
    assert all(torch.equal(a, b) for a, b in zip(encoder.model.parameters(), before.model.parameters(), strict=True))
    assert not torch.equal(present(encoder.layer_weights), present(before.layer_weights))


def test_processes_that_read_ahead_take_no_encoder_along(place, tmp_path):
    found, given = make(place, tmp_path), examples(place)
    found.extract([given])
    alone = pickle.loads(pickle.dumps(found))
    assert alone.encoder is None
    np.testing.assert_array_equal(alone.read(given.rows[0]), found.read(given.rows[0]))


def test_the_development_split_is_heard_once_too(place, tmp_path):
    seen = []
    out = train(
        place / "fused", model=str(place / "encoder"), out=tmp_path / "m", features=tmp_path / "f",
        progress=lambda done, total: seen.append((done, total)), **QUICK,
    ).path  # fmt: skip
    corpus = open_corpus(place / "corpus")
    found = make(place, tmp_path / "f", "last")
    assert not found.batches([validation_examples(corpus, [])])
    assert read_model_info(out).finished
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


ENDLESS = {**QUICK, "epochs": 6}
TINY_SHARD = 3000


@pytest.fixture(scope="module")
def straight(place):
    return train(place / "fused", model=str(place / "encoder"), out=place / "straight", **ENDLESS).path


@pytest.mark.parametrize("until", ["*.safetensors", "metrics.jsonl"])
def test_killed_while_it_hears_or_learns_it_goes_on_to_the_same_bits(place, straight, tmp_path, monkeypatch, until):
    fused, model, out = place / "fused", str(place / "encoder"), tmp_path / "killed"
    code = (
        "from serann.trainer import train; from serann.trainer.network import features; "
        f"features.SHARD_BYTES = {TINY_SHARD}; "
        f"train({str(fused)!r}, model={model!r}, out={str(out)!r}, **{ENDLESS})"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(out.rglob(until)):
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
    assert not read_model_info(out).finished
    assert [file for file in out.rglob("*.safetensors") if file.parent.parent.name == "features"]
    monkeypatch.setattr(module, "SHARD_BYTES", TINY_SHARD)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(fused, model=model, out=out, **ENDLESS)
    finally:
        torch.set_num_threads(threads)
    assert (out / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert (out / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()
