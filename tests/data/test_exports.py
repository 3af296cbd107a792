"""Corpora in other tools' formats, and the same votes when our readers read them back."""

import csv
import json
import sys
import time
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from fixtures.present import present
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serann.data.corpus import open_corpus, write_corpus
from serann.data.errors import CorpusError, OptionError, OutputError
from serann.data.exports import EXPORTS, export_corpus
from serann.data.exports.content import gather
from serann.data.labels import LABEL_SETS
from serann.data.readers import Options, load_reader
from serann.data.tables import RATINGS, UTTERANCES, VOTES, from_rows
from serann.data.votes import count_votes, frequencies

NINE = LABEL_SETS["msp9"]


def vote(utterance, rater, label, **further):
    return {"utterance_id": utterance, "rater_id": rater, "label": label, **further}


VOTED = [
    vote("a", "r1", "happy"),
    vote("a", "r2", "happy"),
    vote("a", "r3", "other", text="bemused"),
    vote("a", "r1", "surprise", rank="secondary"),
    vote("b", "r1", "sad"),
    vote("b", "r2", None, reason="the listener was not sure"),
    vote("b", None, "angry"),
    vote("b", "speaker", "neutral", source="self"),
]


def corpus_of(path, votes=VOTED, *, ratings=True, windows=False):
    sounds = path / "sounds"
    sounds.mkdir(parents=True)
    for name in "abc":
        soundfile.write(sounds / f"{name}.wav", np.linspace(-0.5, 0.5, 8000), 8000, subtype="PCM_16")
    rows = [
        {"utterance_id": "a", "speaker": "s1", "gender": "female", "split": "train", "transcript": 'so, "well"'},
        {"utterance_id": "b", "speaker": "s2", "gender": "male", "split": "development", "consensus": "sad"},
        {"utterance_id": "c", "split": "test1", "intended": "fear", "take": 3},
    ]
    rows = [{**row, "audio": str(sounds / f"{row['utterance_id']}.wav")} for row in rows]
    rows = [{**row, "start": 0.25, "end": 0.75} for row in rows] if windows else rows
    rated = [
        {"utterance_id": "a", "rater_id": rater, "dimension": name, "value": value}
        for rater, name, value in (("r1", "valence", 5.0), ("r2", "valence", 6.0), ("r1", "arousal", 2.0))
    ]
    return write_corpus(
        path / "corpus",
        name="small corpus",
        labels=NINE,
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=NINE),
        ratings=from_rows(rated, RATINGS) if ratings else None,
        licence="CC BY 4.0",
        provenance={"made by": "a test"},
        scale=(1.0, 7.0),
    )


def synthetic():
    rows = [
        vote("a", "m:1", "happy"),
        vote("a", "m:1", "happy", draw=1),
        vote("a", "m:2", "sad"),
        vote("z", "m:2", "sad"),
    ]
    return from_rows([{"source": "synthetic", **row} for row in rows], VOTES, labels=NINE)


def ballots(votes, *columns):
    named = columns or ("utterance_id", "rater_id", "source", "label", "rank")
    return sorted((tuple(row[name] for name in named) for row in votes.to_pylist()), key=str)


def ratings(table):
    return sorted(
        tuple(row[n] for n in ("utterance_id", "rater_id", "dimension", "value")) for row in table.to_pylist()
    )


def read(reader, path, **options):
    return load_reader(reader).read(path, Options(**options))


def test_the_content_of_many_utterances_grows_with_their_number(tmp_path):
    """Work for all utterances that was done again for each took a minute here."""
    names = [f"u{i:05d}" for i in range(40_000)]
    values = np.arange(len(names)) % 7 + 1.0
    corpus = write_corpus(
        tmp_path / "c",
        name="many",
        labels=NINE,
        utterances=pa.table({"utterance_id": names}),
        votes=pa.table({"utterance_id": names, "rater_id": ["r"] * len(names), "label": ["sad"] * len(names)}),
        ratings=pa.table(
            {
                "utterance_id": names,
                "rater_id": ["r"] * len(names),
                "dimension": ["valence"] * len(names),
                "value": values,
            }
        ),
        scale=(1.0, 7.0),
        licence="ours",
        provenance={},
    )
    content = gather(corpus, None, policy="primary", copy=False)
    start = time.process_time()
    assert sum(bool(content.has_distribution[i]) for i in range(len(names))) == len(names)
    np.testing.assert_array_equal(content.mean_ratings()["valence"], values)
    assert time.process_time() - start < 2


def test_a_hugging_face_folder_comes_back_whole(tmp_path):
    corpus = corpus_of(tmp_path)
    done = export_corpus(corpus, "hf", tmp_path / "out", run_votes=synthetic())
    assert (done.utterances, done.distributions, done.human_votes, done.synthetic_votes) == (3, 2, 8, 3)
    assert any("1 votes of the run are on utterances that the corpus does not have" in note for note in done.notes)
    assert any("1 utterances have no distribution by the policy 'primary'" in note for note in done.notes)
    found = read("hf", tmp_path / "out")
    assert found.labels == NINE
    assert found.scale == (1.0, 7.0)
    both = pa.concat_tables([corpus.votes.replace_schema_metadata(None), synthetic().slice(0, 3)])
    assert ballots(found.votes) == ballots(both)
    assert ballots(found.votes, "text", "reason") == ballots(both, "text", "reason")
    assert ratings(found.ratings) == ratings(corpus.ratings)
    names = ["utterance_id", "audio", "speaker", "gender", "split", "transcript", "intended", "consensus", "take"]
    assert found.utterances.select(names).to_pylist() == corpus.utterances.select(names).to_pylist()
    assert found.problems.num_rows == 0
    assert found.licence == "CC BY 4.0"
    assert "distribution" not in found.utterances.column_names
    said = read("hf", tmp_path / "out", labels=LABEL_SETS["iemocap4"], columns={"scale": "0-10"})
    assert (said.labels.name, said.scale) == ("iemocap4", (0.0, 10.0))


def test_a_hugging_face_folder_is_what_datasets_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    corpus = corpus_of(tmp_path)
    export_corpus(corpus, "hf", tmp_path / "out")
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(tmp_path / "out"), "utterances", cache_dir=cache)
    assert {name: part.num_rows for name, part in loaded.items()} == {"train": 1, "validation": 1, "test1": 1}
    row = loaded["train"].cast_column("audio", datasets.Audio(decode=False))[0]
    # three primary votes: two happy, one other (the ninth label)
    assert row["distribution"] == pytest.approx([0, 2 / 3, 0, 0, 0, 0, 0, 0, 1 / 3])
    assert row["distribution_votes"] == 3
    assert row["audio"]["path"] == str(tmp_path / "sounds" / "a.wav")
    assert loaded["test1"].remove_columns("audio")["distribution"][:] == [None]
    votes = datasets.load_dataset(str(tmp_path / "out"), "votes", split="train", cache_dir=cache)
    assert votes.features["label"].names == list(NINE)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "in this order: neutral, happy, angry" in card
    assert "Check that it lets you publish" in card
    assert str(tmp_path) not in card


def test_copied_sounds_lie_in_the_parquet_files_and_come_out_again(tmp_path):
    corpus = corpus_of(tmp_path, windows=True)
    export_corpus(corpus, "hf", tmp_path / "out", copy=True)
    found = read("hf", tmp_path / "out", labels=NINE)
    assert found.utterances["start"].null_count == found.utterances["end"].null_count == 3
    assert found.utterances["duration"].to_pylist() == [0.5] * 3
    new = tmp_path / "new"
    new.mkdir()
    present(found.extra)(new)
    for path, name in zip(found.utterances["audio"].to_pylist(), "abc", strict=True):
        samples, rate = soundfile.read(new / path, dtype="int16")
        whole, _ = soundfile.read(tmp_path / "sounds" / f"{name}.wav", dtype="int16")
        assert rate == 8000
        assert np.array_equal(samples, whole[2000:6000])
    assert any("3 sounds lie inside the dataset" in note for note in found.notes)


def test_label_studio_tasks_hold_predictions_and_votes(tmp_path):
    corpus = corpus_of(tmp_path)
    done = export_corpus(corpus, "label-studio", tmp_path / "out", run_votes=synthetic())
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["utterance_id"] for task in tasks] == ["a", "b", "c"]
    assert all("annotations" not in task for task in tasks)
    scores = [(p["model_version"], p["result"][0]["value"]["choices"], p["score"]) for p in tasks[0]["predictions"]]
    assert scores == [("m:1", ["happy"], pytest.approx(2 / 3)), ("m:2", ["sad"], pytest.approx(1 / 3))]
    interface = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    controls = {node.get("name") for node in interface if node.get("toName") == "audio"}
    full = json.loads((tmp_path / "out" / "annotated.json").read_text(encoding="utf-8"))
    used = {result["from_name"] for task in full for answer in task["annotations"] for result in answer["result"]}
    assert used <= controls
    assert {node.get("value") for node in interface.iter("Choice")} == set(NINE)
    assert any("1 self-reports were left out" in note for note in done.notes)

    found = read("label-studio", tmp_path / "out" / "annotated.json")
    assert (found.labels, found.scale) == (NINE, (1.0, 7.0))
    human = [row for row in ballots(corpus.votes) if row[2] == "human"]
    assert ballots(found.votes) == human
    assert ratings(found.ratings) == ratings(corpus.ratings)
    assert found.utterances["audio"].to_pylist() == corpus.utterances["audio"].to_pylist()
    assert found.utterances["speaker"].to_pylist() == ["s1", "s2", None]
    assert any("2 predictions are a model's and no votes" in note for note in found.notes)


def test_emo_superb_labels_turn_back_into_counts(tmp_path):
    corpus = corpus_of(tmp_path)
    done = export_corpus(corpus, "emo-superb", tmp_path / "out", run_votes=synthetic())
    assert any("3 synthetic votes were left out" in note for note in done.notes)
    table = tmp_path / "out" / "Primary" / "labels_consensus_1.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["FileName", *NINE, "EmoAct", "EmoVal", "SpkrID", "Gender", "Split_Set", "num_votes"]
    assert [row["FileName"] for row in rows] == ["a.wav", "b.wav"]
    assert (rows[0]["EmoVal"], rows[0]["EmoAct"], rows[0]["Gender"], rows[0]["Split_Set"]) == (
        "5.5",
        "2",
        "Female",
        "Train",
    )
    assert rows[1]["Split_Set"] == "Development"
    found = read("table", table, labels=NINE, rule="counts:num_votes", columns={"scale": "1-7"})
    expected = count_votes(corpus.votes, ["a", "b"], NINE)
    assert np.array_equal(count_votes(found.votes, ["a", "b"], NINE), expected)
    config = json.loads((tmp_path / "out" / "Primary" / "config.json").read_text(encoding="utf-8"))
    assert config["categorical"]["emo_type"] == list(NINE)
    assert config["dimensional"] == {"min": 1.0, "max": 7.0, "flip_aro": False}


@pytest.mark.parametrize("windows", [False, True])
def test_an_audformat_database_is_one_that_audformat_loads(tmp_path, windows):
    audformat = pytest.importorskip("audformat")
    corpus = corpus_of(tmp_path, windows=windows)
    export_corpus(corpus, "audformat", tmp_path / "out", run_votes=synthetic(), copy=not windows)
    database = audformat.Database.load(str(tmp_path / "out"))
    assert database.schemes["emotion"].labels == list(NINE)
    assert {name: split.type for name, split in database.splits.items()} == {
        "train": "train",
        "development": "dev",
        "test1": "test",
    }
    frame = database["utterances"].get()
    assert database["utterances"].type == ("segmented" if windows else "filewise")
    assert frame["utterance"].tolist() == ["a", "b", "c"]
    assert frame["p.happy"].tolist()[0] == pytest.approx(2 / 3)
    assert frame["p.happy"].isna().tolist() == [False, False, True]
    votes = database["votes"].get()
    assert len(votes) == 8 + 3
    assert votes["label"].isna().sum() == 1
    assert database["ratings"].get()["value"].tolist() == [5.0, 6.0, 2.0]
    if not windows:
        assert database.is_portable
        assert (tmp_path / "out" / database.files[0]).is_file()


def test_audformat_absent_or_two_utterances_in_one_sound_is_one_sentence(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "audformat", None)
        with pytest.raises(OptionError, match=r"pip install 'serann\[audformat\]'"):
            export_corpus(corpus, "audformat", tmp_path / "out")
    pytest.importorskip("audformat")
    same = corpus.utterances.set_column(1, "audio", pa.array(["/x.wav"] * 3))
    twice = write_corpus(
        tmp_path / "twice", name="t", labels=NINE, utterances=same, votes=corpus.votes, licence="", provenance={}
    )
    with pytest.raises(CorpusError, match="several utterances are the same sound"):
        export_corpus(twice, "audformat", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", EXPORTS)
def test_exports_replace_only_themselves_and_only_when_told(tmp_path, kind):
    if kind == "audformat":
        pytest.importorskip("audformat")
    corpus = corpus_of(tmp_path, ratings=False)
    export_corpus(corpus, kind, tmp_path / "out")
    with pytest.raises(OutputError, match=f"no {kind} export was written there"):
        export_corpus(corpus, kind, tmp_path / "out")
    done = export_corpus(corpus, kind, tmp_path / "out", overwrite=True, policy="plurality")
    made = json.loads((tmp_path / "out" / "export.json").read_text(encoding="utf-8"))
    assert (made["kind"], made["policy"], made["corpus"]) == (kind, "plurality", "small corpus")
    assert str(tmp_path) not in json.dumps(made)
    # b has one vote for sad and one for angry: a tie, and no plurality
    assert done.distributions == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="nothing that serann wrote"):
        export_corpus(corpus, kind, tmp_path / "mine", overwrite=True)


def test_unknown_kinds_and_policies_are_refused_by_name(tmp_path):
    corpus = corpus_of(tmp_path)
    with pytest.raises(
        OptionError, match="unknown export 'csv'; expected one of hf, emo-superb, audformat, label-studio"
    ):
        export_corpus(corpus, "csv", tmp_path / "out")
    with pytest.raises(OptionError, match="unknown vote policy 'best'"):
        export_corpus(corpus, "hf", tmp_path / "out", policy="best")


def test_sounds_that_are_not_there_are_counted(tmp_path):
    corpus = corpus_of(tmp_path)
    (tmp_path / "sounds" / "b.wav").unlink()
    done = export_corpus(corpus, "emo-superb", tmp_path / "out", copy=True)
    assert "1 sounds are not on this disk and were not copied" in done.notes
    assert sorted(path.name for path in (tmp_path / "out" / "audio").iterdir()) == ["000000-a.wav", "000002-c.wav"]


def test_the_demo_goes_out_and_comes_back(tmp_path):
    corpus = open_corpus("demo")
    export_corpus(corpus, "hf", tmp_path / "hf")
    found = read("hf", tmp_path / "hf", labels=corpus.labels)
    assert ballots(found.votes) == ballots(corpus.votes)
    assert found.simulated
    export_corpus(corpus, "emo-superb", tmp_path / "es")
    table = tmp_path / "es" / "Primary" / "labels_consensus_1.csv"
    found = read("table", table, labels=corpus.labels, rule="counts:num_votes")
    # File names tell the demo's utterances apart as their ids do.
    there = dict(zip(corpus.ids, count_votes(corpus.votes, corpus.ids, corpus.labels), strict=True))
    ids = found.utterances["utterance_id"].to_pylist()
    assert np.array_equal(count_votes(found.votes, ids, corpus.labels), np.array([there[i] for i in ids]))


raters = st.sampled_from(["r1", "r2", "7", "é@x.org", "a b"])
drawn = st.dictionaries(
    st.tuples(st.sampled_from("abc"), raters), st.sampled_from(NINE.labels), min_size=1, max_size=12
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn, st.sampled_from(["hf", "label-studio", "emo-superb"]))
def test_votes_survive_the_way_out_and_back(tmp_path_factory, cast, kind):
    tmp_path = tmp_path_factory.mktemp("way")
    corpus = corpus_of(tmp_path, [vote(u, r, label) for (u, r), label in cast.items()], ratings=False)
    export_corpus(corpus, kind, tmp_path / "out")
    if kind == "hf":
        assert ballots(read("hf", tmp_path / "out", labels=NINE).votes) == ballots(corpus.votes)
    elif kind == "label-studio":
        found = read("label-studio", tmp_path / "out" / "annotated.json", labels=NINE)
        assert ballots(found.votes) == ballots(corpus.votes)
    else:
        table = tmp_path / "out" / "Primary" / "labels_consensus_1.csv"
        found = read("table", table, labels=NINE, rule="counts:num_votes")
        counts = count_votes(found.votes, corpus.ids, NINE)
        assert np.array_equal(counts, count_votes(corpus.votes, corpus.ids, NINE))
        assert np.array_equal(
            frequencies(counts), frequencies(count_votes(corpus.votes, corpus.ids, NINE)), equal_nan=True
        )
