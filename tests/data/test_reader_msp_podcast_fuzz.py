"""MSP-Podcast's files, drawn, written, read again, and broken in every way that files break."""

import csv
import json
import os
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import accounted, csv_text, laid_out, reader
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.readers.base import votes_of
from serann.data.readers.msp_labels import FOLDED
from serann.data.readers.tables.sheets import distinct, numbers, parse_records, read_lines
from serann.data.tables import combine, occurrence, row_keys

read = reader("msp-podcast")
QUESTIONS = ("EmoClass_Major", "EmoClass_Second", "EmoAct", "EmoVal", "EmoDom")
OWN = {"Neutral": "neutral", "Happy": "happy", "Angry": "angry", "Sad": "sad", "Fear": "fear", "Disgust": "disgust"}
WORDS = {**OWN, "Contempt": "contempt", "Surprise": "surprise"}
SECONDARY = {**WORDS, **{word.capitalize(): label for word, label in FOLDED.items()}}

free = (
    st.text(alphabet="abcz \"',.;é", min_size=1, max_size=8)
    .map(str.strip)
    .filter(lambda text: text and text.lstrip(" -:_") == text and ";" not in text)
)
primary = st.sampled_from(sorted(WORDS)) | free.map(lambda text: f"Other-{text}")
answer = st.fixed_dictionaries(
    {
        "EmoClass_Major": primary,
        "EmoClass_Second": st.lists(st.sampled_from(sorted(SECONDARY)), max_size=3, unique=True),
        "vad": st.tuples(*[st.sampled_from([1.0, 3.5, 7.0, None])] * 3),
    }
)
corpora = st.dictionaries(
    st.tuples(st.integers(1, 6), st.integers(1, 5)), answer, min_size=1, max_size=12
)  # (utterance, rater) to answer


def name(utterance: int) -> str:
    return f"MSP-PODCAST_0001_{utterance:04d}"


def consensus(drawn) -> str:
    lines = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    lines += [f"{name(u)}.wav,N,4,4,4,{u},Male,Train" for u in sorted({u for u, _ in drawn})]
    return "\n".join(lines) + "\n"


def fields(said) -> list[str]:
    numbers = ["NaN" if value is None else str(value) for value in said["vad"]]
    act, val, dom = numbers
    return [said["EmoClass_Major"], ",".join(said["EmoClass_Second"]), act, val, dom]


def packed(rater: int, said) -> str:
    word, words, act, val, dom = fields(said)
    listed = f" {words};" if words else ""
    return f"WORKER{rater:08d}; {word};{listed} A:{act}; V:{val}; D:{dom};"


def wide(drawn, column: str) -> str:
    rows = [[f"{name(u)}.wav", f"WORKER{r:08d}", *fields(said)] for (u, r), said in drawn.items()]
    return csv_text([["FileName", column, *QUESTIONS], *rows])


def two_columns(drawn) -> str:
    return csv_text(
        [["FileName", "EmoDetail"], *([f"{name(u)}.wav", packed(r, said)] for (u, r), said in drawn.items())]
    )


def blocks(drawn) -> str:
    utterances = sorted({u for u, _ in drawn})
    said = {u: [packed(r, one) for (v, r), one in drawn.items() if v == u] for u in utterances}
    return "\n\n".join(f"{name(u)}.wav; N; A:4; V:4; D:4;\n" + "\n".join(said[u]) for u in utterances) + "\n"


def tree(drawn) -> str:
    found: dict = {}
    for (u, r), said in drawn.items():
        answer = dict(zip(QUESTIONS, fields(said), strict=True))
        found.setdefault(f"{name(u)}.wav", {})[f"WORKER{r:08d}"] = answer
    return json.dumps(found)


LAYOUTS = {
    "2.0": lambda drawn: {"labels_consensus.csv": consensus(drawn), "labels_detailed.csv": wide(drawn, "WorkerID")},
    "1.6": lambda drawn: {"labels_concensus.csv": consensus(drawn), "labels_detailed.csv": wide(drawn, "Workers")},
    "1.6 json": lambda drawn: {"labels_concensus.csv": consensus(drawn), "labels_detailed.json": tree(drawn)},
    "1.12": lambda drawn: {"labels_consensus.csv": consensus(drawn), "labels_detailed.csv": two_columns(drawn)},
    "1.0": lambda drawn: {"labels.txt": blocks(drawn)},
}


def read_files(files):
    with laid_out(files) as folder:
        return read(folder)


@settings(max_examples=40, deadline=None)
@given(drawn=corpora, layout=st.sampled_from(sorted(LAYOUTS)))
def test_what_is_written_is_read(drawn, layout):
    found = read_files(LAYOUTS[layout](drawn))
    assert found.problems.num_rows == 0
    expected_votes, expected_ratings = set(), set()
    for (u, r), said in drawn.items():
        who = (name(u), f"WORKER{r:08d}")
        word = said["EmoClass_Major"]
        expected_votes.add((*who, "primary", *((WORDS[word], None) if word in WORDS else ("other", word[6:]))))
        for word in said["EmoClass_Second"]:
            text = word if word.casefold() in FOLDED else None
            expected_votes.add((*who, "secondary", SECONDARY[word], text))
        for dimension, value in zip(("arousal", "valence", "dominance"), said["vad"], strict=True):
            if value is not None:
                expected_ratings.add((*who, dimension, value))
    columns = ("utterance_id", "rater_id", "rank", "label", "text")
    votes = [tuple(row[column] for column in columns) for row in found.votes.to_pylist()]
    assert len(votes) == found.votes_in == len(expected_votes)
    assert set(votes) == expected_votes
    rated = found.ratings.to_pylist() if found.ratings is not None else []
    ratings = [(row["utterance_id"], row["rater_id"], row["dimension"], row["value"]) for row in rated]
    assert len(ratings) == len(set(ratings))
    assert set(ratings) == expected_ratings


FIXTURE = {
    (1, 1): {"EmoClass_Major": "Angry", "EmoClass_Second": ["Angry", "Annoyed"], "vad": (5.0, 2.0, None)},
    (1, 2): {"EmoClass_Major": 'Other-a "b", c', "EmoClass_Second": ["Confused"], "vad": (1.0, 7.0, 4.0)},
    (2, 1): {"EmoClass_Major": "Neutral", "EmoClass_Second": [], "vad": (4.0, 4.0, 4.0)},
    (3, 3): {"EmoClass_Major": "Happy", "EmoClass_Second": ["Excited", "Amused"], "vad": (6.0, 6.0, 4.0)},
}
AGGREGATED = "FileName,count::Angry,count::Happy,num_other_annotations\n" + "".join(
    f"{name(u)}.wav,{u},0,1\n" for u in (1, 2, 3)
)
FILES = {
    **{layout: {file: text.encode() for file, text in write(FIXTURE).items()} for layout, write in LAYOUTS.items()},
    "aggregated": {
        "labels_consensus.csv": consensus(FIXTURE).encode(),
        "labels_detailed_aggregated.csv": AGGREGATED.encode(),
    },
}


@settings(max_examples=150, deadline=None)
@given(data=st.data(), layout=st.sampled_from(sorted(FILES)), alone=st.booleans())
def test_a_broken_file_is_imported_or_refused_in_a_sentence(data, layout, alone):
    """`Imported` itself asserts that no vote was lost."""
    files = dict(FILES[layout])
    if alone:  # a release that lacks one of its files
        files.pop(data.draw(st.sampled_from(sorted(files))))
    files["Partition.txt"] = b"Train; MSP-PODCAST_0001_0001.wav\nTest1; MSP-PODCAST_0001_0002.wav\n"
    which = data.draw(st.sampled_from(sorted(files)))
    files[which] = damaged(files[which], *data.draw(st.lists(damages(), min_size=1, max_size=3)))
    with laid_out(files) as folder:
        found = accounted(read, folder)
    if found is not None:
        assert set(found.votes["utterance_id"].to_pylist()) <= set(found.utterances["utterance_id"].to_pylist())


def test_a_line_that_is_duplicated_costs_its_votes_and_no_other(tmp_path):
    files = dict(FILES["2.0"])
    files["labels_detailed.csv"] += files["labels_detailed.csv"].split(b"\n")[1] + b"\n"
    once, twice = read_files(FILES["2.0"]), read_files(files)
    assert twice.votes.equals(once.votes)
    assert votes_of(twice.problems) == 3
    assert twice.votes_in == once.votes_in + 3


def test_a_rater_who_is_named_twice_in_json_is_not_lost():
    one = json.dumps({question: "Sad" if question == "EmoClass_Major" else "" for question in QUESTIONS})
    text = f'{{"{name(1)}.wav": {{"W1": {one}, "W1": {one.replace("Sad", "Happy")}, "W1": {one}}}}}'
    found = read_files({"labels_concensus.csv": consensus({(1, 1): 0}).encode(), "labels_detailed.json": text.encode()})
    assert sorted(found.votes["label"].to_pylist()) == ["happy", "sad"]
    assert found.problems["reason"].to_pylist() == ["this rater gave this vote already"]
    assert found.votes_in == 3


def test_many_answers_are_counted_as_a_plain_loop_counts_them(tmp_path):
    """The witness is Python's csv module and sets, row by row, over the benchmark's own files."""
    path = Path(__file__).parents[1] / "benchmarks" / "import_msp.py"
    benchmark = runpy.run_path(str(path))
    benchmark["synthesise"](tmp_path / "release", 3000)
    found = read(tmp_path / "release")
    votes_in, distinct_votes, ratings = 0, set(), set()
    with (tmp_path / "release" / "Labels" / "labels_detailed.csv").open() as file:
        for row in csv.DictReader(file):
            who = (row["FileName"], row["WorkerID"])
            said = [("primary", row["EmoClass_Major"])]
            said += [("secondary", word) for word in row["EmoClass_Second"].split(",") if word]
            votes_in += len(said)
            distinct_votes |= {(*who, *vote) for vote in said}
            ratings |= {(*who, dimension) for dimension in ("EmoAct", "EmoVal", "EmoDom")}
    assert found.votes_in == votes_in
    assert found.votes.num_rows == len(distinct_votes)
    assert votes_of(found.problems) == votes_in - len(distinct_votes) > 0
    assert found.ratings is not None
    assert found.ratings.num_rows == len(ratings)
    others = sum(label == "other" for label in found.votes["label"].to_pylist())
    assert others == sum(word.startswith("Other") or word == "Confused" for *_, word in distinct_votes)


records = st.lists(
    st.lists(st.text(alphabet='ab",\n;é ', max_size=6), min_size=3, max_size=3).filter(
        lambda row: any(map(str.strip, row))
    ),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(rows=records)
def test_records_are_what_the_csv_module_reads_where_no_field_spans_lines(rows):
    rows = [row for row in rows if not any("\n" in field for field in row)]
    with laid_out({"t.csv": csv_text([["a", "", "c"], *rows])}) as place:
        found = parse_records(*read_lines(place / "t.csv"))
    assert found.odd.num_rows == 0
    assert [list(row) for row in zip(*(column.to_pylist() for column in found.table.columns), strict=True)] == rows
    assert found.lines.tolist() == list(range(2, len(rows) + 2))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 2)), max_size=20))
def test_row_keys_are_equal_where_rows_are(rows):
    found = pa.table({"x": pa.array([x for x, _ in rows]), "y": pa.array([y for _, y in rows], pa.int32())})
    keys = row_keys(pa.concat_tables([found.slice(0, 3), found.slice(3)]), ["x", "y"])
    assert [(keys == key).tolist() for key in keys] == [[a == b for a in rows] for b in rows]
    assert occurrence(keys).tolist() == [rows[:i].count(row) for i, row in enumerate(rows)]


def test_keys_too_large_for_a_number_are_still_told_apart():
    many = np.array([0, 1 << 40, 1 << 40, 5])
    key = combine((many, 1 << 41), (np.array([0, 7, 7, 7]), 1 << 30), (np.array([0, 1, 1, 1]), 2))
    assert occurrence(key).tolist() == [0, 0, 1, 0]


def test_numbers_of_texts():
    values, strange = numbers(distinct(pa.array(["1.5", " 2 ", "", None, "NaN", "x", "inf", "1,5"])))
    assert values[:2].tolist() == [1.5, 2]
    assert np.isnan(values[2:]).all()
    assert strange.tolist() == [False] * 5 + [True] * 3


@pytest.mark.skipif(not os.environ.get("SERANN_CORPORA"), reason="SERANN_CORPORA is not set")
@pytest.mark.corpora
def test_the_real_release():
    source = Path(os.environ["SERANN_CORPORA"]) / "msp-podcast"
    if not source.is_dir():
        pytest.skip("no msp-podcast there")
    found = read(source)
    assert found.votes.num_rows > 0
    assert votes_of(found.problems) < 0.001 * found.votes_in
