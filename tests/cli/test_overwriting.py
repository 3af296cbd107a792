"""`--overwrite` replaces a former thing of the same kind: never another kind, nor what the new one is made of."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.fusion import fuse
from serann.annotator.report.page import AUDIT, check_page
from serann.annotator.run.annotate import annotate
from serann.data.corpus import open_corpus
from serann.data.errors import AudioError, OutputError
from serann.data.exports import export_corpus
from serann.data.files import KINDS, kind_of
from serann.data.holdout import divide_votes, write_division
from serann.data.importing import import_corpus
from serann.data.policies import write_distributions
from serann.data.splits import split_corpus, write_split
from serann.trainer import predict, read_prediction, train
from typer.testing import CliRunner

QUICK = {"from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("overwriting")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=20, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder")
    train(path / "fused", model=str(path / "encoder"), out=path / "model", **QUICK)
    predict(path / "model", corpus, out=path / "prediction", device="cpu")
    return path


@pytest.fixture
def mine(place, tmp_path):
    """A copy of all of it, to be tried on; the sounds of the fused corpus stay in `place`."""
    return Path(shutil.copytree(place, tmp_path / "mine"))


def contents(path: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_what_lies_there_is_told_by_its_files(place):
    assert kind_of(place / "corpus") == "corpus"
    assert kind_of(place / "fused") == "fused corpus"
    assert kind_of(place / "model") == "model"
    assert kind_of(place / "prediction") == "prediction"
    assert kind_of(place) is None
    assert list(KINDS.values()).index("fused corpus") < list(KINDS.values()).index("corpus")


@pytest.mark.parametrize("name", ["corpus", "fused", "model", "prediction"])
def test_no_command_replaces_another_kind_of_thing(mine, name):
    before = contents(mine)
    corpus, out = open_corpus(mine / "corpus"), mine / name
    commands = {
        "prediction": lambda: predict(mine / "model", corpus, out=out, overwrite=True, device="cpu"),
        "fused": lambda: fuse(corpus, [], strategy="human", out=out, overwrite=True),
        "corpus": lambda: write_division(
            open_corpus(mine / "fused"), divide_votes(corpus, seen=2), out, overwrite=True
        ),
        "model": lambda: train(mine / "fused", model=str(mine / "encoder"), out=out, overwrite=True, **QUICK).path,
        "export": lambda: export_corpus(corpus, "label-studio", out, overwrite=True),
        "run": lambda: annotate(corpus, "demo", out=out, overwrite=True),
    }
    assert len(commands) == 6
    for kind, command in commands.items():
        if kind != name:
            with pytest.raises(OutputError, match="choose another output"):
                command()
    assert contents(mine) == before


def test_a_former_prediction_is_replaced_and_its_source_and_model_are_not(mine):
    corpus, model = open_corpus(mine / "corpus"), mine / "model"
    with pytest.raises(OutputError, match=r"model holds the input .*model, which would be lost"):
        predict(model, corpus, out=model, overwrite=True, device="cpu")
    with pytest.raises(OutputError, match=r"corpus holds the input .*corpus, which would be lost"):
        predict(model, corpus, out=corpus.path, overwrite=True, device="cpu")
    sound = mine / "prediction" / "own.wav"
    shutil.copy(corpus.audio_path(0), sound)
    with pytest.raises(OutputError, match=r"prediction holds the input .*own\.wav"):
        predict(model, [sound], out=mine / "prediction", overwrite=True, device="cpu")
    kept = shutil.move(sound, mine / "own.wav")
    predict(model, [kept], out=mine / "prediction", overwrite=True, device="cpu")
    assert read_prediction(mine / "prediction").ids == [str(kept)]


def test_a_corpus_is_neither_written_over_its_own_source_nor_over_its_sounds(mine):
    corpus = open_corpus(mine / "corpus")
    before = contents(mine)
    split = split_corpus(corpus)
    for write in (
        lambda: write_division(corpus, divide_votes(corpus, seen=2), corpus.path, overwrite=True),
        lambda: write_split(corpus, split, corpus.path, overwrite=True),
        lambda: import_corpus("table", corpus.path / "votes.parquet", corpus.path, overwrite=True),
    ):
        with pytest.raises(OutputError, match="holds the input"):
            write()
    other = write_division(corpus, divide_votes(corpus, seen=1), mine / "other")  # it reads the sounds where they lie
    with pytest.raises(OutputError, match=r"holds the sound .*\.wav, which would be lost"):
        write_division(other, divide_votes(corpus, seen=2), corpus.path, overwrite=True)
    shutil.rmtree(other.path)
    assert contents(mine) == before


def test_a_fused_corpus_is_not_replaced_under_its_own_sounds(mine):
    corpus = open_corpus(mine / "corpus")
    (mine / "fused" / "audio").mkdir()
    own = mine / "fused" / "audio" / "own.wav"
    shutil.copy(corpus.audio_path(0), own)
    names = [str(own), *(str(corpus.path / name) for name in corpus.column("audio")[1:])]
    table = pq.read_table(corpus.path / "utterances.parquet")
    at = table.schema.get_field_index("audio")
    changed = table.set_column(at, table.schema.field(at), pa.array(names))
    pq.write_table(changed, corpus.path / "utterances.parquet")
    with pytest.raises(OutputError, match=r"fused holds the sound .*own\.wav, which would be lost"):
        fuse(open_corpus(corpus.path), [], strategy="human", out=mine / "fused", overwrite=True)
    assert own.is_file()


def test_tables_of_votes_are_no_reports_tables_and_no_policies(mine):
    corpus = open_corpus(mine / "corpus")
    before = contents(mine)
    with pytest.raises(OutputError, match=r"would go to .*votes\.parquet, which is there and is no audit's"):
        check_page(corpus.path / "votes.html", AUDIT, overwrite=True)
    for table in (corpus.path / "votes.parquet", mine / "prediction" / "distributions.parquet"):
        with pytest.raises(OutputError, match="holds no distributions by a policy, so it is not replaced"):
            write_distributions(corpus, table, overwrite=True)
    assert contents(mine) == before
    write_distributions(corpus, mine / "d.parquet")
    write_distributions(corpus, mine / "d.parquet", policy="plurality", ties="split", overwrite=True)


def test_where_nothing_is_heard_nothing_is_written(mine):
    from serann.annotator.cli import app

    with pytest.raises(AudioError, match=r"none of the 1 utterances can be heard, so nothing .*, nope: "):
        predict(mine / "model", ["nope"], out=mine / "p", device="cpu")
    for sound in (mine / "corpus" / "audio").iterdir():
        sound.unlink()
    with pytest.raises(AudioError, match=r"none of the 60 utterances can be heard, .*; the first, u0000: .*missing"):
        predict(mine / "model", open_corpus(mine / "corpus"), out=mine / "p", device="cpu")
    told = CliRunner().invoke(app, ["predict", str(mine / "model"), str(mine / "nope"), "-o", str(mine / "p")])
    assert told.exit_code != 0
    assert f"nothing is at {mine / 'nope'}: expected a corpus directory, 'demo', or sound files" in str(told.exception)
    assert not [path for path in mine.iterdir() if path.name == "p" or path.name.startswith(".")]
    soundfile.write(mine / "a.wav", np.full(16000, 0.1), 16000)
    found = predict(mine / "model", [mine / "a.wav", "nope"], out=mine / "p", device="cpu")
    assert list(found.failures) == ["nope"]


def test_a_run_is_not_replaced_with_the_corpus_in_it(mine):
    (mine / "run").mkdir()
    (mine / "run" / "run.json").write_text("{}")
    inside = Path(shutil.move(mine / "corpus", mine / "run" / "corpus"))
    before = contents(inside)
    with pytest.raises(OutputError, match=r"run holds the input .*corpus, which would be lost"):
        annotate(open_corpus(inside), "demo", out=mine / "run", overwrite=True)
    assert contents(inside) == before
