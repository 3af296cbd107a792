"""A corpus is imported on a laptop and used on a server, where its sounds lie elsewhere: same votes, same numbers."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.scripted_runs import run_scripted, scripted, tables_of
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.cli import app
from serann.annotator.fusion import fuse
from serann.data.corpus import corpus_fingerprint, open_corpus, write_corpus
from serann.data.errors import CorpusError
from serann.data.files import read_json, write_json
from serann.data.fused import open_fused
from serann.data.holdout import divide_votes, write_division
from serann.data.importing import import_corpus
from serann.data.sound_paths import absolute_audio, relocate
from serann.trainer import predict, train
from typer.testing import CliRunner

QUICK = {"from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}
UTTERANCES = 24


def serann(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, f"{done.output}\n{done.exception or ''}"


def votes_of(run):
    """A run's votes without the run's own name."""
    table = pq.read_table(run / "votes.parquet").drop_columns(["run"])
    return table.sort_by([(name, "ascending") for name in ("utterance_id", "rater_id", "draw")]).to_pylist()


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A release with sounds and votes, imported, divided, fused, and annotated where it lies."""
    path = tmp_path_factory.mktemp("computers") / "laptop"
    made, _ = simulated_corpus(path / "made", utterances=UTTERANCES, speakers=8, seen=None, audio=True)
    release = path / "release"
    shutil.copytree(made.path / "audio", release / "wavs")
    speaker = dict(zip(made.ids, made.column("speaker"), strict=True))
    rows = [
        f"{v['utterance_id']},wavs/{v['utterance_id']}.wav,{speaker[v['utterance_id']]},{v['rater_id']},{v['label']}\n"
        for v in made.votes.to_pylist()
    ]
    (release / "votes.csv").write_text("utterance_id,path,speaker,rater,label\n" + "".join(rows))
    corpus, _ = import_corpus("table", release / "votes.csv", path / "corpus", labels=made.labels, seed=1)
    write_division(corpus, divide_votes(corpus, seen=2), None)
    corpus = open_corpus(path / "corpus")
    assert corpus.info.audio_root == str(release)
    run_scripted(corpus, path / "run")
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder")
    return path


@pytest.fixture
def server(laptop, tmp_path):
    """All of it but the release is copied; the sounds lie under another name, and on the laptop no more."""
    away = laptop.parent / "away"
    for name in ("corpus", "run", "fused", "encoder"):
        shutil.copytree(laptop / name, tmp_path / "server" / name)
    shutil.copytree(laptop / "release" / "wavs", tmp_path / "data" / "copy" / "wavs", copy_function=shutil.copyfile)
    shutil.move(laptop / "release", away)
    yield tmp_path / "server"
    shutil.move(away, laptop / "release")


def test_the_same_votes_are_drawn_with_a_root_for_once_and_after_relocate(server, laptop):
    corpus, root = server / "corpus", server.parent / "data" / "copy"
    with pytest.raises(CorpusError, match=r"the audio root .*release is not there.*serann corpus relocate"):
        run_scripted(open_corpus(corpus), server / "none")
    assert not (server / "none").exists()
    once = run_scripted(open_corpus(corpus, audio_root=root), server / "once")
    assert votes_of(once.path) == votes_of(laptop / "run")
    code, told = serann("corpus", "relocate", corpus, root)
    assert code == 0, told
    for_good = run_scripted(open_corpus(corpus), server / "for-good")
    assert votes_of(for_good.path) == votes_of(laptop / "run")


@pytest.mark.parametrize("older", [False, True])
def test_a_run_goes_on_after_the_move_and_asks_nothing_again(server, laptop, older):
    """The same bytes at another place, with another time of change, are the same sound."""
    corpus, root = server / "corpus", server.parent / "data" / "copy"
    if older:
        make_older(corpus, laptop)
    before = tables_of(server / "run")
    relocate(open_corpus(corpus), root)
    engine = scripted()
    run_scripted(open_corpus(corpus), server / "run", engine=engine)
    assert engine.asked == []
    assert tables_of(server / "run") == before
    session = read_json(server / "run" / "environment.json", what="record")["sessions"][-1]
    assert (session["changed_sounds"], session["not_in_corpus"]) == (0, 0)


def make_older(folder, laptop):
    """Give a corpus the absolute paths that earlier versions wrote."""
    corpus = open_corpus(folder)
    absolute = absolute_audio(corpus)
    assert absolute["audio"][0].as_py().startswith(str(laptop))
    info = corpus.info
    write_corpus(
        folder, name=corpus.name, labels=corpus.labels, utterances=absolute, votes=corpus.votes, licence="CC0",
        provenance=info.provenance, division=info.division, overwrite=True,
    )  # fmt: skip
    said = read_json(folder / "corpus.json", what="corpus")
    del said["audio_root"]
    write_json(folder / "corpus.json", said)


def test_a_corpus_of_an_earlier_version_is_converted(server, laptop):
    corpus, root = server / "corpus", server.parent / "data" / "copy"
    make_older(corpus, laptop)
    before = corpus_fingerprint(open_corpus(corpus))
    code, told = serann("corpus", "relocate", corpus, root, "--json")
    assert code == 0, told
    said = json.loads(told[: told.rindex("}") + 1])
    assert (said["names_changed"], said["kinds"]) == (UTTERANCES, {"below the audio root": UTTERANCES})
    assert corpus_fingerprint(open_corpus(corpus)) == before
    code, told = serann("corpus", "info", corpus)
    assert code == 0
    assert f"{UTTERANCES} below the audio root" in told


def test_sounds_that_are_not_there_are_counted_and_nothing_changes(server):
    corpus, root = server / "corpus", server.parent / "data" / "copy"
    (root / "wavs" / "u0003.wav").unlink()
    before = (corpus / "corpus.json").read_bytes()
    code, told = serann("corpus", "relocate", corpus, root)
    assert code != 0
    assert f"1 of {UTTERANCES} sounds cannot be read" in told
    assert "u0003.wav is missing" in told
    assert (corpus / "corpus.json").read_bytes() == before
    code, told = serann("corpus", "relocate", corpus, root, "--allow-missing")
    assert code == 1, told
    assert "u0003" in told
    assert open_corpus(corpus).audio_root == root


def test_training_and_prediction_on_the_moved_fused_corpus(server):
    root, model = server.parent / "data" / "copy", str(server / "encoder")
    with pytest.raises(CorpusError, match=r"the audio root .*release is not there"):
        train(server / "fused", model=model, out=server / "model", **QUICK)
    assert not (server / "model").exists()
    train(server / "fused", model=model, out=server / "once", audio_root=root, **QUICK)
    fused = open_fused(server / "fused", audio_root=root)
    assert fused.fingerprint == open_fused(server / "fused").fingerprint
    relocate(open_corpus(server / "fused"), root)
    train(server / "fused", model=model, out=server / "model", **QUICK)
    corpus = open_corpus(server / "corpus", audio_root=root)
    once, later = (predict(server / name, corpus, out=server / f"p-{name}", device="cpu") for name in ("once", "model"))
    assert not once.failures
    np.testing.assert_array_equal(once.distributions, later.distributions)
    code, told = serann("predict", server / "model", server / "corpus", "-o", server / "none", "--device", "cpu")
    assert "the audio root" in told
    assert code != 0
    told = serann("predict", server / "model", "a.wav", "b.wav", "--audio-root", root, "-o", server / "none")[1]
    assert "--audio-root is for a corpus" in told


def test_pages_checks_and_exports_read_below_the_root_that_is_named(server):
    corpus, root = server / "corpus", server.parent / "data" / "copy"
    code, told = serann("corpus", "check", corpus)
    assert code == 1
    assert told.count("is not there") == 1
    assert serann("corpus", "check", corpus, "--audio-root", root)[0] == 0
    assert serann("fuse", corpus, "--strategy", "human", "--audio-root", root, "-o", server / "again")[0] == 0
    assert "data:audio/" in (server / "again" / "report.html").read_text()
    assert open_corpus(server / "again").audio_root == root
    # Without its sounds a report is whole, and says why there is nothing to listen to.
    assert serann("fuse", corpus, "--strategy", "human", "-o", server / "silent")[0] == 0
    page = (server / "silent" / "report.html").read_text()
    assert "data:audio/" not in page
    assert "is not there" in page
    code, told = serann("corpus", "export", corpus, "hf", "--copy-audio", "--audio-root", root, "-o", server / "hf")
    assert code == 0, told
    assert "not on this disk" not in told
