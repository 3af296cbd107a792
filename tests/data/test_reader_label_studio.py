"""Label Studio's JSON and JSON-MIN: annotators, multiple choices, ratings, what was skipped, what is no vote."""

import json

import pytest
from fixtures.mutated import damaged, damages
from fixtures.present import present
from fixtures.releases import (
    POINTER,
    SOUND,
    accounted,
    ls_answer,
    ls_choice,
    ls_number,
    ls_tasks,
    reader,
    release,
    votes,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LABEL_SETS

read = reader("label-studio")

NINE = LABEL_SETS["msp9"]


def write(path, tasks):
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def test_an_export_keeps_annotators_and_every_choice(tmp_path):
    found = read(write(tmp_path / "e.json", ls_tasks()), labels=NINE, columns={"scale": "1-7"})
    assert votes(found, "utterance_id", "rater_id", "label", "reason") == [
        ("s01_u1", "7", "happy", None),
        ("s01_u1", "7", "surprise", None),
        ("s01_u1", "9", None, "skipped"),
        ("s01_u1", "x@y.org", "other", None),
        ("s02 u2", "7", None, "submitted without a label"),
        ("s02 u2", "9", None, "submitted without a label"),
    ]
    rated = [(row["rater_id"], row["dimension"], row["value"]) for row in present(found.ratings).to_pylist()]
    assert sorted(rated) == [("7", "arousal", 5.0), ("7", "valence", 6.0), ("8", "valence", 2.0)]
    assert sorted((row["reason"], row["votes"]) for row in found.problems.to_pylist()) == [
        ("a label of a part of the sound, not of the utterance", 1),
        ("valence 9 lies outside the scale of 1 to 7", 0),
    ]
    assert found.utterances["utterance_id"].to_pylist() == ["s01_u1", "s02 u2", "u3"]
    assert found.utterances["audio"].to_pylist()[1:] == ["/sounds/s02 u2.wav", "s3://bucket/u3.wav"]
    assert found.utterances["gender"].to_pylist() == ["female", "male", None]
    assert found.utterances["split"].to_pylist() == ["development", None, None]
    assert any("1 predictions are a model's and no votes" in note for note in found.notes)
    assert found.release == "Label Studio JSON export"


def test_uploads_are_found_by_their_names(tmp_path):
    folder = release(tmp_path / "wav", {"s01_u1.wav": SOUND})
    found = read(write(tmp_path / "e.json", ls_tasks()), labels=NINE, audio=folder)
    assert found.utterances["audio"].to_pylist()[0] == str((folder / "s01_u1.wav").resolve())


def test_several_controls_are_told_apart_or_asked_about(tmp_path):
    given = [
        {
            "id": 1,
            "data": {"audio": "a.wav"},
            "annotations": [ls_answer(1, ls_choice("sad", name="q1"), ls_choice("angry", name="q2"))],
        }
    ]
    path = write(tmp_path / "e.json", given)
    said = read(path, labels=NINE, columns={"label": "q1", "secondary": "q2"})
    assert votes(said, "label", "rank") == [("angry", "secondary"), ("sad", "primary")]
    one = [{"id": 1, "data": {"audio": "a.wav"}, "annotations": [ls_answer(1, ls_choice("sad", name="q1"))]}]
    assert votes(read(write(tmp_path / "f.json", one), labels=NINE)) == [("a", "1", "sad")]
    free = {"from_name": "free_text", "type": "textarea", "value": {"text": ["bemused", "a bit"]}}
    one[0]["annotations"].append(ls_answer(2, ls_choice("other", name="q1"), free))
    assert votes(read(write(tmp_path / "g.json", one), labels=NINE), "label", "text") == [
        ("other", "bemused a bit"),
        ("sad", None),
    ]


def test_two_controls_of_which_none_is_named_like_a_label_are_asked_about(tmp_path):
    given = [
        {
            "id": 1,
            "data": {"audio": "a.wav"},
            "annotations": [ls_answer(1, ls_choice("sad", name="q1"), ls_choice("b", name="q2"))],
        }
    ]
    with pytest.raises(OptionError, match="several controls hold choices: q1, q2; say which is the label"):
        read(write(tmp_path / "e.json", given), labels=NINE)


def test_names_from_the_data_or_the_task(tmp_path):
    given = [
        {"id": i, "data": {"audio": f"{i}/same.wav", "clip": f"c{i}"}, "annotations": [ls_answer(1, ls_choice("sad"))]}
        for i in (1, 2)
    ]
    path = write(tmp_path / "e.json", given)
    assert read(path, labels=NINE).utterances["utterance_id"].to_pylist() == ["c1", "c2"]
    for task in given:
        del task["data"]["clip"]
    path = write(tmp_path / "e.json", given)
    assert read(path, labels=NINE).utterances["utterance_id"].to_pylist() == ["task-1", "task-2"]
    with pytest.raises(OptionError, match="no key 'nr' in the tasks' data; found audio"):
        read(path, labels=NINE, columns={"utterance_id": "nr"})


def test_json_min_is_a_row_an_annotation(tmp_path):
    common = {"id": 5, "audio": "/data/upload/1/0a1b2c3d-u1.wav", "speaker": "s", "annotation_id": 1, "lead_time": 2.5}
    rows = [
        {**common, "mood": {"choices": ["Happy", "Sad"]}, "annotator": 1, "valence": 3},
        {**common, "mood": {"choices": ["Sad"]}, "annotator": 2, "valence": [{"rating": 4}]},
        {**common, "audio": "u2.wav", "mood": "Sad", "annotator": 2},
    ]
    found = read(write(tmp_path / "m.json", rows), labels=NINE)
    assert votes(found) == [("u1", "1", "happy"), ("u1", "1", "sad"), ("u1", "2", "sad"), ("u2", "2", "sad")]
    assert [row["value"] for row in present(found.ratings).to_pylist()] == [3.0, 4.0]
    assert found.utterances["speaker"].to_pylist() == ["s", "s"]
    assert found.release == "Label Studio JSON-MIN export"


def test_tasks_that_nobody_annotated_yet(tmp_path):
    given = [{"id": 1, "data": {"audio": "a.wav"}, "annotations": []}]
    found = read(write(tmp_path / "e.json", given), labels=NINE)
    assert found.votes_in == 0
    assert "no task has an annotation yet" in found.notes
    cancelled = [{"id": 1, "data": {"audio": "a.wav"}, "annotations": [ls_answer(1, was_cancelled=True)]}]
    assert votes(read(write(tmp_path / "e.json", cancelled), labels=NINE)) == [("a", "1", None)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[", "no valid JSON"),
        (b"{}", "is no Label Studio export; expected an array of tasks"),
        (b"[]", "is no Label Studio export"),
        (b"[1, 2]", "is no Label Studio export"),
        (b"", "is empty"),
        (POINTER.encode(), "Git-LFS pointer"),
    ],
)
def test_files_that_are_no_exports(tmp_path, content, words):
    (tmp_path / "e.json").write_bytes(content)
    with pytest.raises(CorpusError, match=words):
        read(tmp_path)


def test_folders_hold_one_export(tmp_path):
    with pytest.raises(CorpusError, match=r"a JSON or JSON-MIN export"):
        read(tmp_path)
    write(tmp_path / "a.json", ls_tasks())
    assert read(tmp_path, labels=NINE).votes_in == 7
    write(tmp_path / "b.json", ls_tasks())
    with pytest.raises(OptionError, match=r"holds a.json, b.json; name one of them"):
        read(tmp_path)


given_votes = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.integers(1, 4)),
    st.tuples(
        st.lists(st.sampled_from(NINE.labels), min_size=1, max_size=3, unique=True), st.none() | st.integers(1, 7)
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_votes, st.booleans())
def test_what_was_annotated_is_read(tmp_path, cast, minimal):
    if minimal:
        made = [
            {"id": 1, "audio": f"{u}.wav", "annotator": r, "emotion": {"choices": labels}, "valence": value}
            for (u, r), (labels, value) in cast.items()
        ]
    else:
        made = [{"id": i, "data": {"audio": f"{u}.wav"}, "annotations": []} for i, u in enumerate("abc")]
        for (u, r), (labels, value) in cast.items():
            rated = [] if value is None else [ls_number("valence", value)]
            made["abc".index(u)]["annotations"].append(ls_answer(r, ls_choice(*labels), *rated))
    found = read(write(tmp_path / "e.json", made), labels=NINE)
    assert votes(found) == sorted(
        ((u, str(r), label) for (u, r), (labels, _) in cast.items() for label in labels), key=str
    )
    rated = present(found.ratings).to_pylist() if found.ratings is not None else []
    expected = [(u, str(r), float(value)) for (u, r), (_, value) in cast.items() if value is not None]
    assert sorted((row["utterance_id"], row["rater_id"], row["value"]) for row in rated) == sorted(expected)
    assert found.problems.num_rows == 0


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["choices", "Sad", 7]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "id", "email", "x"]), inner, max_size=3)
    ),
    max_leaves=4,
)


def spoilt(draw, value):
    """The value with one part of it, somewhere inside, replaced by anything."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: spoilt(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], spoilt(draw, value[place]), *value[place + 1 :]]
    return draw(anything)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans(), st.booleans())
def test_broken_exports_are_read_in_part_or_refused_in_words(tmp_path, data, named, minimal):
    made = ls_tasks()
    if minimal:
        made = [{"id": 1, "audio": "a.wav", "annotator": r, "emotion": {"choices": ["Sad"]}} for r in (1, 2, 2)]
    for _ in range(data.draw(st.integers(0, 3))):
        made = spoilt(data.draw, made)
    content = damaged(json.dumps(made).encode(), *data.draw(st.lists(damages(), max_size=1)))
    (tmp_path / "e.json").write_bytes(content)
    accounted(read, tmp_path / "e.json", labels=NINE if named else None)
