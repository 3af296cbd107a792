"""Any table: long, wide, nested, in two files; guessed, mapped, and broken in every way."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.mutated import damaged, damages
from fixtures.present import present
from fixtures.releases import POINTER, SOUND, TABLE, accounted, long_table, reader, release, votes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, LabelError, OptionError
from serann.data.labels import LABEL_SETS

read = reader("table")

FOUR = LABEL_SETS["iemocap4"]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def problems(found):
    return [(row["line"], row["reason"], row["votes"]) for row in found.problems.to_pylist()]


def test_a_long_table_is_read_by_its_usual_names(tmp_path):
    found = read(long_table(tmp_path) / "v.csv", columns={"scale": "1-7"})
    assert votes(found) == [("a", "w1", "angry"), ("a", "w2", "angry"), ("a", "w2", "sad"), ("b", "w1", "neutral")]
    assert found.labels.labels == ("angry", "neutral", "sad")
    assert found.scale == (1.0, 7.0)
    a, b = found.utterances.to_pylist()
    assert (a["speaker"], a["gender"], a["split"], a["age"]) == ("s1", "female", "train", "31")
    assert (b["speaker"], b["gender"], b["split"]) == (None, "male", "development")
    assert a["audio"] == str((tmp_path / "wav" / "a.wav").resolve())
    assert [(row["rater_id"], row["value"]) for row in present(found.ratings).to_pylist()] == [
        ("w1", 2.0),
        ("w2", 3.0),
        ("w1", 5.0),
    ]
    assert any("utterance_id=FileName, rater_id=worker, label=emotion" in note for note in found.notes)
    assert any("angry, neutral, sad" in note for note in found.notes)


def test_flags_a_mapping_file_and_aliases_say_what_is_what(tmp_path):
    text = "clip;who;what;set\nx;1;Wut;A\nx;2;Trauer;A\ny;1;Wut;B\n"
    table = write(tmp_path / "v.csv", text)
    flags = {"utterance_id": "clip", "rater_id": "who", "label": "what", "split": "set"}
    aliases = {"wut": "angry", "Trauer": "sad"}
    by_flags = read(table, columns=flags, aliases=aliases, labels=FOUR)
    columns = "\n".join(f'{key} = "{name}"' for key, name in flags.items())
    mapping = write(
        tmp_path / "m.toml",
        f'licence = "CC0"\n[columns]\n{columns}\n'
        '[aliases]\nwut = "angry"\nTrauer = "sad"\n[splits]\nA = "train"\nB = "test"\n',
    )
    by_file = read(table, mapping=mapping, labels=FOUR)
    assert votes(by_flags) == votes(by_file) == [("x", "1", "angry"), ("x", "2", "sad"), ("y", "1", "angry")]
    assert by_file.licence == "CC0"
    assert by_file.utterances["split"].to_pylist() == ["train", "test"]
    assert votes(by_file, "text") == [("Trauer",), (None,), (None,)]
    with pytest.raises(LabelError, match="aliases for labels that are none of neutral, happy"):
        read(table, columns=flags, aliases={"wut": "rage"}, labels=FOUR)


def test_unknown_keys_and_columns_are_refused_by_name(tmp_path):
    table = write(tmp_path / "v.csv", TABLE)
    with pytest.raises(OptionError, match="names 'labell'; expected FIELD=COLUMN"):
        read(table, columns={"labell": "emotion"})
    with pytest.raises(OptionError, match="no column for label=feeling; found the columns FileName, worker"):
        read(table, columns={"label": "feeling"})
    with pytest.raises(OptionError, match="scale=high: expected the two ends"):
        read(table, columns={"scale": "high"})
    mapping = write(tmp_path / "m.json", json.dumps({"colums": {}, "columns": {"labell": "x"}, "scale": [7, 1]}))
    with pytest.raises(OptionError, match=r"(?s)3 problems.*unknown field 'labell'.*from its lower end.*colums"):
        read(table, mapping=mapping)
    spelt = write(tmp_path / "s.toml", 'license = "ours"')
    with pytest.raises(OptionError, match=r"license: unknown key; expected one of utterances, votes, .*licence"):
        read(table, mapping=spelt)
    with pytest.raises(OptionError, match="no TOML that can be read"):
        read(table, mapping=write(tmp_path / "m.toml", "= ["))


def test_a_guess_that_could_be_two_things_is_a_question(tmp_path):
    table = write(tmp_path / "v.csv", "file,clip,rater,label\na,b,r,x\n")
    with pytest.raises(OptionError, match="utterance_id may be any of file, clip; say utterance_id=file, or another"):
        read(table)
    with pytest.raises(OptionError, match="no column names the utterances; say which does"):
        read(write(tmp_path / "w.csv", "rater,label\na,b\nc,d\n"))


def test_a_published_label_is_no_vote(tmp_path):
    table = write(tmp_path / "v.csv", "file,emotion,gold\na,angry,sad\nb,sad,sad\n")
    found = read(table, labels=FOUR)
    assert found.utterances["consensus"].to_pylist() == ["sad", "sad"]
    table = write(tmp_path / "w.csv", "file,emotion\na,angry\nb,sad\n")
    found = read(table)
    assert found.votes.num_rows == found.votes_in == 0
    assert found.utterances["consensus"].to_pylist() == ["angry", "sad"]
    assert any("makes no votes" in note for note in found.notes)
    said = read(table, columns={"label": "emotion"})
    assert votes(said) == [("a", None, "angry"), ("b", None, "sad")]


def test_counts_in_a_column_a_label(tmp_path):
    text = "file,n_Angry,n_sad,emotion,numResponses\na,2,1,angry,3\nb,0,4,sad,4\nc,-1,1,sad,1\nb,0,4,sad,4\n"
    found = read(write(tmp_path / "v.csv", text))
    assert votes(found) == [("a", None, "angry")] * 2 + [("a", None, "sad")] + [("b", None, "sad")] * 4 + [
        ("c", None, "sad")
    ]
    assert found.utterances["consensus"].to_pylist() == ["angry", "sad", "sad"]
    assert problems(found) == [
        (4, "column n_Angry: -1 is no count of votes", 1),
        (5, "a second row of this utterance's counts", 4),
    ]
    letters = write(tmp_path / "w.csv", "file,A,H,N,S\na,2,0,0,1\nb,1,1,1,1\n")
    assert votes(read(letters, labels=FOUR)) == votes(read(letters, labels=FOUR, columns={"counts": "A,H,N,S"}))
    patterned = write(tmp_path / "x.csv", "file,count::x,count::y\na,2,0\nb,1,1\n")
    assert read(patterned, columns={"counts": "count::*"}).labels.labels == ("x", "y")


def test_a_distribution_is_not_votes(tmp_path):
    table = write(tmp_path / "v.csv", "file,angry,sad,n\na,0.67,0.33,3\nb,0.5,0.5,2\nc,.3,.7,2\n")
    with pytest.raises(CorpusError, match=r"hold fractions .*a distribution is not votes"):
        read(table, columns={"counts": "angry,sad"})
    found = read(table, rule="counts:n")
    assert votes(found) == [("a", None, "angry")] * 2 + [("a", None, "sad"), ("b", None, "angry"), ("b", None, "sad")]
    assert problems(found) == [
        (4, f"column {c}: {x} of 2 votes is no count of votes", 1) for c, x in (("angry", 0.3), ("sad", 0.7))
    ]
    with pytest.raises(OptionError, match=r"expected counts:N .* or counts:COLUMN"):
        read(table, rule="counts:many")
    one_hot = write(tmp_path / "w.csv", "file,angry,sad\na,1,0\nb,0,1\n")
    with pytest.raises(CorpusError, match="a single 1 a row: that is one label, not votes"):
        read(one_hot)
    assert votes(read(one_hot, columns={"counts": "angry,sad"})) == [("a", None, "angry"), ("b", None, "sad")]


def test_a_column_a_rater_and_a_rater_with_a_column_a_label(tmp_path):
    found = read(write(tmp_path / "v.csv", "file,rater_1,rater_2,majority\na,angry,,angry\nb,sad,angry|sad,sad\n"))
    assert votes(found) == [
        ("a", "rater_1", "angry"),
        ("b", "rater_1", "sad"),
        ("b", "rater_2", "angry"),
        ("b", "rater_2", "sad"),
    ]
    chosen = read(write(tmp_path / "w.csv", "file,rater,angry,sad\na,r1,1,0\na,r2,1,1\nb,r1,0,3\n"))
    assert votes(chosen) == [("a", "r1", "angry"), ("a", "r2", "angry"), ("a", "r2", "sad")]
    assert problems(chosen) == [(4, "3 for sad: one rater's strength is no count of votes", 1)]


def test_a_row_with_an_odd_count_gives_no_votes_at_all(tmp_path):
    """The rest of such a row would be another distribution than the file's."""
    counted = read(write(tmp_path / "v.csv", "file,angry,sad\na,2,1\nb,3,0\nc,1.5,1\nd,many,2\n"))
    assert votes(counted) == [("a", None, "angry")] * 2 + [("a", None, "sad")] + [("b", None, "angry")] * 3
    assert problems(counted) == [
        (4, "column angry: 1.5 is no count of votes", 1),
        (4, "column sad: 1 beside what is no count of votes", 1),
        (5, "column angry: could not convert string to float: 'many' is no count of votes", 1),
        (5, "column sad: 2 beside what is no count of votes", 2),
    ]
    strengths = read(write(tmp_path / "w.csv", "file,rater,angry,sad\na,r1,1,0\na,r2,1,3\n"))
    assert votes(strengths) == [("a", "r1", "angry")]
    assert problems(strengths) == [
        (3, "1 for angry beside what is no choice", 1),
        (3, "3 for sad: one rater's strength is no count of votes", 1),
    ]


def test_columns_that_nobody_recognised_are_named(tmp_path):
    table = write(tmp_path / "v.csv", "id,R1,R2\na,angry,sad\nb,sad,sad\n")
    with pytest.raises(OptionError, match=r"no column was taken for votes \(found id, R1, R2\).*raters=R1,R2"):
        read(table)
    notes = read(table, labels=FOUR).notes
    assert any("no column was taken for votes" in note and "R1, R2" in note for note in notes)


def test_strengths_beside_a_rater_s_label_are_no_counts(tmp_path):
    found = read(write(tmp_path / "v.csv", "file,rater,emotion,angry,sad\na,r1,sad,0.1,0.9\na,r2,angry,1,0\n"))
    assert votes(found) == [("a", "r1", "sad"), ("a", "r2", "angry")]


def test_windows_of_one_sound_are_utterances_of_their_own(tmp_path):
    text = "path,start,end,rater,label\nx.wav,0,1.5,r1,angry\nx.wav,0,1.5,r2,sad\nx.wav,2,3,r1,sad\ny.wav,0,1,r1,sad\n"
    found = read(write(tmp_path / "v.csv", text))
    assert votes(found) == [
        ("x_0-1.5", "r1", "angry"),
        ("x_0-1.5", "r2", "sad"),
        ("x_2-3", "r1", "sad"),
        ("y", "r1", "sad"),
    ]
    assert found.utterances["end"].to_pylist() == [1.5, 3.0, 1.0]
    assert found.utterances["audio"].to_pylist()[0] == str(tmp_path.resolve() / "x.wav")
    assert any("each window is an utterance of its own" in note for note in found.notes)


def test_two_files_and_ratings(tmp_path):
    write(tmp_path / "utterances.csv", "utterance,path,speaker,EmoVal\na,sub/a.wav,s1,3.5\nb,http://x/b.wav,s2,2\n")
    write(
        tmp_path / "votes.tsv",
        "utterance\trater\tlabel\tnote\na\tr1\tangry\t?\nb\tr1\t\t\nz\tr1\tsad\t\na\tr2\tsad\t\n",
    )
    write(tmp_path / "ratings.jsonl", '{"utterance": "a", "rater": "r1", "dimension": "valence", "value": 3}\n')
    found = read(tmp_path)
    assert votes(found) == [("a", "r1", "angry"), ("a", "r2", "sad"), ("b", "r1", None)]
    assert problems(found) == [(4, "a vote on an utterance that the table of utterances does not list", 1)]
    assert found.votes_in == 4
    assert found.utterances["audio"].to_pylist() == [str(tmp_path.resolve() / "sub" / "a.wav"), "http://x/b.wav"]
    assert found.utterances["EmoVal"].to_pylist() == ["3.5", "2"]
    assert [tuple(row.values())[:5] for row in present(found.ratings).to_pylist()] == [
        ("a", "r1", "human", "valence", 3.0)
    ]
    write(tmp_path / "more.csv", "x,y\n1,2\n")
    with pytest.raises(OptionError, match="holds several tables"):
        read(tmp_path)
    said = {"utterances": "utterances.csv", "votes": "votes.tsv"}
    assert votes(read(tmp_path, columns=said)) == votes(found)


def test_nested_lists_in_json_and_parquet(tmp_path):
    rows = [
        {"id": "a", "votes": [{"rater": 1, "label": "angry"}, {"rater": 2, "label": "sad"}], "speaker": "s"},
        {"id": "b", "votes": [], "speaker": "t"},
    ]
    table = write(tmp_path / "v.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    found = read(table)
    assert votes(found) == [("a", "1", "angry"), ("a", "2", "sad")]
    assert found.utterances["speaker"].to_pylist() == ["s", "t"]
    side = {
        "id": ["a", "b", "c"],
        "rater": [["1", "2"], ["1"], ["1"]],
        "label": [["angry", "sad"], ["sad"], ["a", "b"]],
    }
    pq.write_table(pa.table(side), tmp_path / "v.parquet")
    found = read(tmp_path / "v.parquet")
    assert votes(found) == [("a", "1", "angry"), ("a", "2", "sad"), ("b", "1", "sad")]
    assert problems(found) == [(3, "the lists of raters and of labels differ in length", 2)]


def test_odd_rows_are_listed_with_their_votes(tmp_path):
    text = "file,rater,label,valence,start\na,r1,angry,3,0\na,r1,angry,3,0\na,r2,sad\nb,r1,sad,9,x\n"
    text += ",r3,sad,1,\nc,r1,sad,1,\n"
    found = read(write(tmp_path / "v.csv", text), columns={"scale": "1-7"})
    assert sorted(problems(found)) == [
        (3, "rater r1 gave this vote already", 1),
        (4, "3 fields where the header has 5", 1),
        (5, "start is no number", 0),
        (5, "valence 9 lies outside the scale of 1 to 7", 0),
        (6, "the utterance's name is empty", 1),
    ]
    assert found.votes_in == 6
    torn = write(tmp_path / "w.csv", 'file,rater,label\na,r1,angry\nb,r1,"sad\nc,r2,sad\nd,r2,angry\n')
    found = read(torn, labels=FOUR)
    assert problems(found) == [(5, "column label runs over several lines (an unclosed quote?)", 3)]
    conflict = write(tmp_path / "x.csv", "file,rater,label,speaker\na,r1,angry,s1\na,r2,sad,s2\n")
    assert problems(read(conflict)) == [(3, "speaker is 's2' here and was 's1' before", 0)]


def test_further_columns_may_have_any_name(tmp_path):
    text = "clip,utterance,self,rater,label\na,well,1,r1,angry\nb,so,2,r1,sad\n"
    found = read(write(tmp_path / "v.csv", text), columns={"utterance_id": "clip"})
    assert found.utterances.select(["utterance_id", "utterance", "self"]).to_pylist() == [
        {"utterance_id": "a", "utterance": "well", "self": "1"},
        {"utterance_id": "b", "utterance": "so", "self": "2"},
    ]


def test_labels_outside_a_named_set(tmp_path):
    table = write(tmp_path / "v.csv", "file,rater,label\na,r1,angry\na,r2,bemused\n")
    nine = read(table, labels=LABEL_SETS["msp9"])
    assert votes(nine, "label", "text") == [("angry", None), ("other", "bemused")]
    assert problems(read(table, labels=FOUR)) == [(3, "unknown label 'bemused'", 1)]
    free = write(tmp_path / "w.csv", "file,rater,label\n" + "".join(f"a,r{i},word{i}\n" for i in range(50)))
    with pytest.raises(OptionError, match="50 different labels were found"):
        read(free)
    with pytest.raises(OptionError, match="only the label 'x' was found"):
        read(write(tmp_path / "x.csv", "file,rater,label\na,r,x\n"))


def test_sounds_lie_where_the_user_says(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "a.flac").write_bytes(b"fLaC")
    table = write(tmp_path / "v.csv", "utterance,rater,label\na,r1,x\nb,r1,y\n")
    assert read(table).utterances["audio"].to_pylist() == [None, None]
    assert any("no sound of any utterance was found" in note for note in read(table).notes)
    expected = [str(folder.resolve() / name) for name in ("a.flac", "b.flac")]
    assert read(table, audio=folder).utterances["audio"].to_pylist() == expected


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.csv", b"", "is empty"),
        ("v.csv", POINTER.encode(), "Git-LFS pointer"),
        ("v.parquet", POINTER.encode(), "Git-LFS pointer"),
        ("v.csv", b"a\0b", "not text"),
        ("v.csv", b"file,file,label\na,b,c\n", "column 'file' appears twice"),
        ("v.csv", b"file,rater,label\n", "holds no row below its header"),
        ("v.json", b"{}", "expected an array of objects, one a row, found an object"),
        ("v.jsonl", b"[1]\n2\n", "no line of it is a JSON object"),
        ("v.parquet", b"PAR1nothingPAR1", "cannot be read as Parquet"),
        ("v.xlsx", b"PK", "is no table that serann reads"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        read(tmp_path / name)


def test_a_folder_without_a_table_is_refused(tmp_path):
    release(tmp_path, {"a.wav": SOUND})
    with pytest.raises(CorpusError, match=r"is no table release that serann knows \(found a\.wav\)"):
        read(tmp_path)


names = st.text(alphabet="abcxyz0189_-é", min_size=1, max_size=6)
corpora = st.dictionaries(
    names,
    st.dictionaries(
        names, st.tuples(st.sampled_from(FOUR.labels), st.none() | st.integers(1, 7)), min_size=1, max_size=4
    ),
    min_size=1,
    max_size=5,
)
FORMS = ("csv", "tsv", "jsonl", "parquet")


def as_table(rows, path):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corpora, st.sampled_from(FORMS), st.booleans())
def test_what_is_written_is_read_again(tmp_path, corpus, form, wide):
    flat = [(u, r, label, value) for u, given in corpus.items() for r, (label, value) in given.items()]
    if wide:
        rows = [
            {"utterance": u, **{name: sum(answer[0] == name for answer in given.values()) for name in FOUR}}
            for u, given in corpus.items()
        ]
        found = read(as_table(rows, tmp_path / f"v.{form}"), labels=FOUR, columns={"counts": ",".join(FOUR)})
        assert votes(found) == sorted(((u, None, label) for u, _, label, _ in flat))
    else:
        rows = [{"utterance": u, "rater": r, "label": label, "valence": v} for u, r, label, v in flat]
        found = read(as_table(rows, tmp_path / f"v.{form}"), labels=FOUR)
        assert votes(found) == sorted((u, r, label) for u, r, label, _ in flat)
        rated = present(found.ratings).to_pylist() if found.ratings is not None else []
        assert sorted((row["utterance_id"], row["rater_id"], row["value"]) for row in rated) == sorted(
            (u, r, float(v)) for u, r, _, v in flat if v is not None
        )
    assert found.problems.num_rows == 0
    assert found.utterances["utterance_id"].to_pylist() == sorted(corpus)


def fixtures():
    long = TABLE.encode()
    wide = b'file,angry,sad,speaker\na.wav,2,1,"s,1"\nb.wav,0,3,s2\nc.wav,1,1,s2\n'
    nested = b'{"id": "a", "votes": [{"rater": 1, "label": "angry"}]}\n'
    nested += b'{"id": "b", "votes": [{"rater": 2, "label": "sad"}]}\n'
    out = io.BytesIO()
    pq.write_table(pa.table({"utterance": ["a", "b"], "rater": ["r", "s"], "label": ["angry", "sad"]}), out)
    return [("v.csv", long), ("v.csv", wide), ("v.jsonl", nested), ("v.parquet", out.getvalue())]


# Damages to a table, beside those of any file.
FURTHER = (
    lambda data: data.replace(b"angry", "\xe4rger".encode("latin-1")),
    lambda data: b"\n".join(line for line in data.split(b"\n") for _ in range(2)),
    lambda data: data.replace(b"1", b"NaN").replace(b"2", b"1e999"),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(fixtures()), st.booleans())
def test_broken_tables_are_read_in_part_or_refused_in_words(tmp_path, data, fixture, named):
    name, content = fixture
    chosen = data.draw(st.lists(damages() | st.sampled_from(FURTHER), min_size=1, max_size=2))
    (tmp_path / name).write_bytes(damaged(content, *chosen))
    accounted(read, tmp_path / name, labels=FOUR if named else None)
