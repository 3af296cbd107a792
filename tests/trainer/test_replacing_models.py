"""`train --overwrite`: the former model stays until the new one is finished; a stop anywhere loses neither."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.fusion import fuse
from serann.data import files
from serann.data.errors import ModelError, OutputError
from serann.trainer import loop, open_model, read_model_info, train
from serann.trainer.checkpoint import beside
from serann.trainer.resume import load_state

QUICK = {"from_scratch": True, "epochs": 2, "batch_seconds": 3.0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("replacing")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer")
    for name, seed in (("old", 0), ("new", 1)):
        train(path / "fused", model=str(path / "encoder"), out=path / name, seed=seed, **QUICK)
    return path


@pytest.fixture
def out(place, tmp_path):
    """The old model, where the new one shall be."""
    return Path(shutil.copytree(place / "old", tmp_path / "m"))


def weights(path: Path) -> bytes:
    return (path / "weights.safetensors").read_bytes()


def renew(place: Path, out: Path, **options):
    return train(
        place / "fused", model=str(place / "encoder"), out=out, overwrite=True, **{**QUICK, "seed": 1, **options}
    ).path


def test_the_new_model_takes_the_place_of_the_former_when_it_is_finished(place, out, monkeypatch):
    seen, record = [], loop._record

    def recorded(training, *args):
        record(training, *args)
        seen.append((open_model(out).info.options.seed, len(present(load_state(beside(out)))["history"])))

    monkeypatch.setattr(loop, "_record", recorded)
    assert renew(place, out) == out
    assert seen == [(0, 1), (0, 2)]
    assert weights(out) == weights(place / "new")
    assert read_model_info(out).name == "m"
    assert [path.name for path in out.parent.iterdir()] == ["m"]
    assert not (out / "checkpoint").exists()


def test_a_training_that_cannot_go_on_leaves_the_former_model(place, out):
    before = weights(out)
    with pytest.raises(ModelError, match="is not a finite number in epoch 1"):
        renew(place, out, learning_rate=1e30, head_learning_rate=1e30)
    assert weights(out) == before
    assert read_model_info(out).options.seed == 0
    assert [path.name for path in out.parent.iterdir()] == ["m"]


def test_stopped_the_same_command_goes_on_and_another_begins_anew(place, out, monkeypatch):
    record = loop._record

    def stopped(training, epoch, rows):
        record(training, epoch, rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_record", stopped)
    with pytest.raises(KeyboardInterrupt):
        renew(place, out)
    monkeypatch.undo()
    with pytest.raises(OutputError, match="finished model of another training"):
        train(place / "fused", model=str(place / "encoder"), out=out, **{**QUICK, "seed": 1})
    epochs, trained = [], loop._train_epoch

    def counted(training, epoch, *args, **named):
        epochs.append(epoch)
        return trained(training, epoch, *args, **named)

    monkeypatch.setattr(loop, "_train_epoch", counted)
    shutil.copytree(beside(out), out.parent / ".n.training")
    shutil.copytree(place / "old", out.parent / "n")
    renew(place, out)
    assert epochs == [1]
    assert weights(out) == weights(place / "new")
    renew(place, out.parent / "n", seed=2)
    assert epochs == [1, 0, 1]
    assert sorted(path.name for path in out.parent.iterdir()) == ["m", "n"]


KILLED = """
import os, signal, sys
from serann.data import files
from serann.trainer import checkpoint, loop, train
left = int(sys.argv[1])

def counted(holder, name):
    function = getattr(holder, name)
    def call(*args, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **options)
    setattr(holder, name, call)

def finish(training, function=loop._finish):
    for holder, name in ((os, "replace"), (files, "_exchange"), (files.shutil, "rmtree"), (loop, "settle")):
        counted(holder, name)
    function(training)

if {simple}:
    files._exchange = lambda one, other: False
loop._finish = finish
train({fused!r}, model={model!r}, out={out!r}, overwrite=True, **{options})
"""


@pytest.fixture(scope="module")
def about_to_finish(place):
    """The old model, and beside it the new one after its last epoch."""
    out = Path(shutil.copytree(place / "old", place / "ready" / "m"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_finish", None)
        with pytest.raises(TypeError):
            renew(place, out)
    return out.parent


# Killed before model.json says finished, before settling, before the names change, and before each removal.
EXCHANGED = ["old", "old", "old", "new", "new", "done"]
RENAMED = ["old", "old", "old", "old", None, "new", "new", "done"]
MOMENTS = [
    pytest.param(simple, moment, name, marks=() if moment in (3, 4) and not simple else pytest.mark.slow)
    for simple, held in ((False, EXCHANGED), (True, RENAMED))
    for moment, name in enumerate(held, 1)
]


@pytest.mark.parametrize(("simple", "moment", "name"), MOMENTS)
def test_killed_at_any_moment_one_is_whole_and_the_same_command_gives_the_new_one(
    place, about_to_finish, tmp_path, simple, moment, name
):
    out = Path(shutil.copytree(about_to_finish, tmp_path / "there")) / "m"
    given = {"fused": str(place / "fused"), "model": str(place / "encoder"), "options": {**QUICK, "seed": 1}}
    code = KILLED.format(simple=simple, out=str(out), **given)
    done = subprocess.run([sys.executable, "-c", code, str(moment)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == (0 if name == "done" else -signal.SIGKILL)
    if name is None:  # both lie beside, for the moment between two renamings
        assert not out.exists()
        assert open_model(beside(out)).info.options.seed == 1
    else:
        assert open_model(out).info.options.seed == (0 if name == "old" else 1)
        assert weights(out) == weights(place / ("old" if name == "old" else "new"))
    renew(place, out)
    assert weights(out) == weights(place / "new")
    assert not (out / "checkpoint").exists()
    assert not beside(out).exists()


def test_a_plain_call_after_a_kill_between_two_renamings_finds_the_new_model(place, tmp_path):
    out = tmp_path / "m"
    shutil.copytree(place / "new", beside(out))
    assert train(place / "fused", model=str(place / "encoder"), out=out, **{**QUICK, "seed": 1}).path == out
    assert weights(out) == weights(place / "new")
    assert not beside(out).exists()


def test_what_is_learnt_from_is_not_replaced(place, tmp_path):
    root = tmp_path / "m"
    shutil.copytree(place / "old", root)
    shutil.copytree(place / "fused", root / "fused")
    shutil.copytree(place / "encoder", root / "encoder")
    given = {**QUICK, "overwrite": True, "out": root}
    with pytest.raises(OutputError, match=r"m holds the input .*fused, which would be lost"):
        train(root / "fused", model=str(place / "encoder"), **given)
    with pytest.raises(OutputError, match=r"m holds the input .*encoder, which would be lost"):
        train(place / "fused", model=str(root / "encoder"), **given)
    (root / "frames").mkdir()
    with pytest.raises(OutputError, match=r"m holds the input .*frames, which would be lost"):
        train(place / "fused", model=str(place / "encoder"), features=root / "frames", frozen=True, **given)
    assert json.loads((root / "model.json").read_text())["finished"]


def test_names_are_exchanged_in_one_step_where_the_system_can(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system exchanges no names")
    assert (tmp_path / "one" / "other").exists()
    assert (tmp_path / "other" / "one").exists()
    assert not files._exchange(tmp_path / "one", tmp_path / "absent")
