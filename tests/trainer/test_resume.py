"""Going on: never with another network's state or another encoder, and with clear words where something is gone."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.fusion import fuse
from serann.data.errors import ModelError, OutputError, SerannError
from serann.trainer import loop, preparing, read_model_info, train
from serann.trainer.resume import load_state, save_state, state_file

QUICK = {"epochs": 3, "batch_seconds": 3.0, "device": "cpu", "head_learning_rate": 1e-2}
FROZEN = {**QUICK, "frozen": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("resume")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer", num_hidden_layers=2)
    return path


def stopped(place: Path, out: Path, monkeypatch, *, model: str = "encoder", **options) -> Path:
    """A training that was stopped after its first epoch."""
    record = loop._record

    def stop(training, epoch, rows):
        record(training, epoch, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_record", stop)
        with pytest.raises(KeyboardInterrupt):
            train(place / "fused", model=str(place / model), out=out, **options)
    return out


def weights(path: Path) -> bytes:
    return (path / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("given", [FROZEN, QUICK])
def test_another_networks_state_is_refused_by_what_differs(place, tmp_path, monkeypatch, given):
    out = stopped(place, tmp_path / "m", monkeypatch, **given)
    other = stopped(place, tmp_path / "other", monkeypatch, head="tc-gru", **given)
    shutil.copy(state_file(other), state_file(out))
    with pytest.raises(ModelError, match=r"state\.pt: it is of another network, remove that file to begin .* anew"):
        train(place / "fused", model=str(place / "encoder"), out=out, **given)
    state = present(load_state(stopped(place, tmp_path / "labels", monkeypatch, **given)))
    name = next(name for name in state["network"] if name.endswith("categorical.linear.weight"))
    rows, columns = state["network"][name].shape
    state["network"][name] = torch.zeros(rows + 2, columns)
    save_state(out, state)
    with pytest.raises(ModelError, match=rf"{name} is \[{rows + 2}, \d+\], and \[{rows}, \d+\] in this network"):
        train(place / "fused", model=str(place / "encoder"), out=out, **given)
    state = present(load_state(tmp_path / "labels"))
    state["optimiser"]["param_groups"] = []
    save_state(out, state)
    with pytest.raises(ModelError, match=r"state\.pt: it is no state of this training \(loaded state dict has a diff"):
        train(place / "fused", model=str(place / "encoder"), out=out, **given)
    save_state(out, {"network": {}})
    with pytest.raises(ModelError, match="this checkpoint lacks begun, failures, history, optimiser, scaler"):
        train(place / "fused", model=str(place / "encoder"), out=out, **given)
    state_file(out).unlink()
    assert read_model_info(train(place / "fused", model=str(place / "encoder"), out=out, **given).path).finished


def test_a_frozen_encoder_whose_weights_were_replaced_is_refused(place, tmp_path, monkeypatch):
    (tmp_path / "place").symlink_to(place)
    model = shutil.copytree(place / "encoder", tmp_path / "encoder")
    given = {"model": str(model), **FROZEN}
    out = stopped(place, tmp_path / "m", monkeypatch, **given)
    make_encoder_checkpoint(tmp_path / "encoder", norm="layer", num_hidden_layers=2, seed=1)
    with pytest.raises(OutputError, match=r"the frozen encoder's weights, of .*encoder, are others than it began with"):
        train(place / "fused", out=out, **given)
    shutil.copytree(place / "encoder", tmp_path / "encoder", dirs_exist_ok=True)
    train(place / "fused", out=out, **given)
    straight = train(place / "fused", out=tmp_path / "straight", **given).path
    assert weights(out) == weights(straight)
    make_encoder_checkpoint(tmp_path / "encoder", norm="layer", num_hidden_layers=2, seed=1)
    with pytest.raises(OutputError, match="finished model of another training"):
        train(place / "fused", out=out, **given)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_frames_that_are_gone_are_a_sentence_and_are_made_anew(place, tmp_path, monkeypatch, harm, workers):
    given = {**FROZEN, "features": tmp_path / "frames", "workers": workers, "model": str(place / "encoder")}
    straight = train(place / "fused", out=tmp_path / "straight", **given).path
    record = loop._record

    def harmed(training, epoch, rows):
        record(training, epoch, rows)
        for shard in (tmp_path / "frames").rglob("*.safetensors"):
            os.truncate(shard, shard.stat().st_size // 2) if harm == "cut" else shard.unlink()

    monkeypatch.setattr(loop, "_record", harmed)
    said = {"gone": r"cannot be read any more \(No such file or directory\)", "cut": "has been cut short"}[harm]
    with pytest.raises(
        ModelError, match=rf"^[^\n]*\.safetensors: this file .* heard {said}; run the same command again"
    ):
        train(place / "fused", out=tmp_path / "m", **given)
    monkeypatch.undo()
    assert len(present(load_state(tmp_path / "m"))["history"]) == 1
    assert weights(train(place / "fused", out=tmp_path / "m", **given).path) == weights(straight)


@pytest.mark.parametrize(
    ("saves", "said"),
    [
        (1, "nothing of this training was kept yet: the same command begins it anew"),
        (2, "what was learnt in 1 epoch is kept, and the same"),
        (3, "what was learnt in 2 epochs is kept"),
    ],
)
def test_a_full_disk_at_a_checkpoint_says_what_is_kept_and_how_to_go_on(place, tmp_path, monkeypatch, saves, said):
    given, out, save, calls = {"model": str(place / "encoder"), **QUICK}, tmp_path / "m", loop.save, []

    def full(*args):
        calls.append(args)
        if len(calls) < saves:
            return save(*args)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", _no_space)
            return save(*args)

    monkeypatch.setattr(loop, "save", full)
    with pytest.raises(
        SerannError, match=rf"state\.pt cannot be written: No space .*; the disk is full: free.*; {said}"
    ):
        train(place / "fused", out=out, **given)
    monkeypatch.undo()
    assert out.exists() == (saves > 1)
    straight = train(place / "fused", out=tmp_path / "straight", **given).path
    assert weights(train(place / "fused", out=out, **given).path) == weights(straight)


def _no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_scale_of_half_precisions_gradients_is_gone_on_with(place, tmp_path, monkeypatch):
    """A scaler that doubles its scale every second step, on the CPU: gradients are cut at that scale, so a fresh one
    would train otherwise.
    """
    make, scales = preparing.make_accelerator, []

    def scaled(device, precision):
        accelerator = make(device, precision)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=0.25, growth_interval=2)
        return accelerator

    monkeypatch.setattr(preparing, "make_accelerator", scaled)
    record = loop._record
    monkeypatch.setattr(
        loop,
        "_record",
        lambda training, *a: (record(training, *a), scales.append(training.accelerator.scaler.get_scale())),
    )
    given = {"model": str(place / "encoder"), **QUICK}
    straight = train(place / "fused", out=tmp_path / "straight", **given).path
    assert scales == sorted(set(scales))
    assert scales[0] > 0.25
    out = stopped(place, tmp_path / "m", monkeypatch, **QUICK)
    assert present(load_state(out))["scaler"]["scale"] == scales[0]
    train(place / "fused", out=out, **given)
    assert weights(out) == weights(straight)
    without = stopped(place, tmp_path / "without", monkeypatch, **QUICK)
    save_state(without, {**present(load_state(without)), "scaler": None})
    train(place / "fused", out=without, **given)
    assert weights(without) != weights(straight)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="half precision's scaler needs a GPU")
@pytest.mark.parametrize("given", [FROZEN, QUICK])
def test_half_precision_goes_on_with_its_scale_and_to_the_same_bits(place, tmp_path, monkeypatch, given):
    given = {**given, "precision": "fp16", "device": "cuda", "epochs": 6}
    straight = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "straight", **given).path
    out = stopped(place, tmp_path / "m", monkeypatch, **given)
    scaler = present(load_state(out))["scaler"]
    assert scaler["_growth_tracker"] > 0 or scaler["scale"] != 65536.0  # it has moved, so a fresh one would differ
    train(place / "fused", model=str(place / "encoder"), out=out, **given)
    assert (out / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
    assert weights(out) == weights(straight)
