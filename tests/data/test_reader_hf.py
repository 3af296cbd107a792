"""Hugging Face datasets on disk: saved, as Parquet with a card, with sounds as paths and as bytes, and broken."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.present import present
from fixtures.releases import POINTER, accounted, dataset, encoded_sound, hf, reader, votes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LABEL_SETS

read = reader("hf")
FOUR = LABEL_SETS["iemocap4"]


def test_a_saved_dataset_with_class_labels(tmp_path):
    found = read(hf(tmp_path / "d"), labels=FOUR)
    assert votes(found) == [("a", "x", "angry"), ("a", "y", "sad"), ("b", "x", None)]
    assert found.utterances["audio"].to_pylist() == ["audio/000000-a.wav", "audio/000001-b.wav"]
    assert votes(read(hf(tmp_path / "e", emotion=[-1, 2, 1]), labels=FOUR))[0] == ("a", "x", None)


def test_splits_become_the_split_and_sounds_inside_are_written(tmp_path):
    import datasets

    parts = {}
    for split, names in (("train", ["a", "b"]), ("validation", ["c"])):
        columns = {
            "sound": [{"bytes": encoded_sound(0.25 if name == "a" else 0.5), "path": f"{name}.wav"} for name in names],
            "votes": [[{"rater": "1", "label": "angry"}, {"rater": "2", "label": "sad"}] for _ in names],
        }
        struct = [{"rater": datasets.Value("string"), "label": datasets.Value("string")}]
        parts[split] = dataset(columns, {"sound": datasets.Audio(), "votes": struct})
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    found = read(tmp_path / "d")
    assert votes(found) == [(name, rater, label) for name in "abc" for rater, label in (("1", "angry"), ("2", "sad"))]
    assert found.utterances["split"].to_pylist() == ["train", "train", "development"]
    assert found.utterances["duration"].to_pylist() == [0.25, 0.5, 0.5]
    present(found.extra)(tmp_path)
    for path, seconds in zip(found.utterances["audio"].to_pylist(), (0.25, 0.5, 0.5), strict=True):
        assert (tmp_path / path).read_bytes() == encoded_sound(seconds)
        assert path.startswith("audio/")
        assert path.endswith(".wav")


def test_sounds_without_a_name_take_their_row_s(tmp_path):
    cells = [{"bytes": encoded_sound(kind="FLAC"), "path": None}, {"bytes": b"no sound", "path": None}]
    table = pa.table({"audio": cells, "label": ["angry", "sad"]})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet")
    found = read(tmp_path)
    assert found.utterances["utterance_id"].to_pylist() == ["train-000000", "train-000001"]
    assert found.utterances["consensus"].to_pylist() == ["angry", "sad"]
    assert found.votes_in == 0
    assert found.utterances["split"].to_pylist() == ["train", "train"]
    assert found.utterances["duration"].to_pylist() == [0.25, None]
    present(found.extra)(tmp_path)
    assert sorted(path.suffix for path in (tmp_path / "audio").iterdir()) == [".bin", ".flac"]


def card(path, configs, **head):
    lines = json.dumps({"configs": configs, **head})  # JSON is YAML
    (path / "README.md").write_text(f"---\n{lines}\n---\n# A dataset\n", encoding="utf-8")


def test_the_card_says_which_files_belong_together(tmp_path):
    rows = {"utterance": ["a", "b"], "speaker": ["s", "t"]}
    pq.write_table(pa.table(rows), tmp_path / "clips.parquet")
    cast = {"utterance": ["a", "b"], "rater": ["1", "1"], "label": ["angry", "sad"]}
    pq.write_table(pa.table(cast), tmp_path / "answers.parquet")
    with pytest.raises(OptionError, match="no column for rater_id=nobody"):
        read(tmp_path, columns={"label": "label", "rater_id": "nobody"})
    configs = [
        {"config_name": "utterances", "data_files": [{"split": "test", "path": "clips*.parquet"}]},
        {"config_name": "votes", "data_files": "answers.parquet"},
    ]
    card(tmp_path, configs, license="cc-by-4.0")
    found = read(tmp_path)
    assert votes(found) == [("a", "1", "angry"), ("b", "1", "sad")]
    assert found.utterances["split"].to_pylist() == ["test", "test"]
    assert found.licence == "cc-by-4.0"
    assert votes(read(tmp_path, columns={"config": "votes"})) == votes(found)
    with pytest.raises(OptionError, match="no configuration 'x'; expected one of votes, utterances"):
        read(tmp_path, columns={"config": "x"})
    card(tmp_path, [{**configs[0], "config_name": "clean"}, configs[1]])
    with pytest.raises(OptionError, match="choose one: --columns config=NAME"):
        read(tmp_path)


def test_relative_paths_start_at_the_dataset_and_counts_are_counts(tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").write_bytes(encoded_sound())
    table = pa.table({"path": ["audio/a.wav"], "angry": [2], "sad": [1]})
    pq.write_table(table, tmp_path / "d.parquet")
    for source in (tmp_path, tmp_path / "d.parquet"):
        found = read(source)
        assert votes(found) == [("a", None, "angry"), ("a", None, "angry"), ("a", None, "sad")]
        assert found.utterances["audio"].to_pylist() == [str((tmp_path / "audio" / "a.wav").resolve())]


def test_what_is_no_dataset_is_refused_in_words(tmp_path):
    with pytest.raises(CorpusError, match=r"(?s)is no hf release.*dataset_info.json or dataset_dict.json"):
        (tmp_path / "x.wav").write_bytes(encoded_sound())
        read(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(CorpusError, match=r"cannot be read by datasets.load_from_disk"):
        read(tmp_path)
    (tmp_path / "state.json").unlink()
    (tmp_path / "d.parquet").write_text(POINTER)
    with pytest.raises(CorpusError, match="Git-LFS pointer"):
        read(tmp_path)
    pq.write_table(pa.table({"utterance": pa.array([], pa.string())}), tmp_path / "d.parquet")
    with pytest.raises(CorpusError, match="hold no row"):
        read(tmp_path)


cast = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b b", "ç"]), st.sampled_from(["1", "2", "x"])),
    st.sampled_from(FOUR.labels),
    min_size=1,
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cast, st.booleans())
def test_what_is_saved_is_read_again(tmp_path_factory, cast, as_parquet):
    import datasets

    path = tmp_path_factory.mktemp("hf")
    columns = {
        "utterance_id": [utterance for utterance, _ in cast],
        "rater": [rater for _, rater in cast],
        "label": [FOUR.index(label) for label in cast.values()],
    }
    text = datasets.Value("string")
    made = dataset(columns, {"utterance_id": text, "rater": text, "label": datasets.ClassLabel(names=list(FOUR))})
    if as_parquet:
        pq.write_table(made.data.table, path / "train.parquet")
    else:
        made.save_to_disk(path / "d")
    found = read(path if as_parquet else path / "d", labels=FOUR)
    assert votes(found) == sorted(((u, r, label) for (u, r), label in cast.items()), key=str)
    assert found.problems.num_rows == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_broken_datasets_are_read_in_part_or_refused_in_words(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("hf")
    if data.draw(st.booleans()):
        hf(path / "d")
    else:
        (path / "d").mkdir()
        cells = [{"bytes": encoded_sound(), "path": "a.wav"}, {"bytes": None, "path": "b.wav"}]
        pq.write_table(
            pa.table({"audio": cells, "rater": ["1", "2"], "label": ["angry", "sad"]}), path / "d" / "x.parquet"
        )
        card(path / "d", [{"config_name": "votes", "data_files": "x.parquet"}])
    for _ in range(data.draw(st.integers(1, 2))):
        file = data.draw(st.sampled_from(sorted((path / "d").iterdir())))
        content = file.read_bytes()
        place = data.draw(st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["cut", "bytes", "swap", "remove", "twice"]))
        if kind == "remove" and len(list((path / "d").iterdir())) > 1:
            file.unlink()
        elif kind == "bytes":
            file.write_bytes(content[:place] + data.draw(st.binary(min_size=1, max_size=8)) + content[place:])
        elif kind == "swap":
            file.write_bytes(content.replace(b"label", b"lable").replace(b"null", b"7"))
        else:
            file.write_bytes(content + content if kind == "twice" else content[:place])
    accounted(read, path / "d", labels=FOUR)
