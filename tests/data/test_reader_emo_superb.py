"""EMO-SUPERB's label files: the smoothing undone, and what is not in them left out."""

import json
from fractions import Fraction
from math import gcd
from pathlib import Path

import numpy as np
import pytest
from fixtures.mutated import damaged, damages
from fixtures.releases import (
    EMO_SUPERB,
    EMO_SUPERB_LABELS,
    POINTER,
    accounted,
    csv_text,
    laid_out,
    reader,
    release,
    smoothed,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data.errors import CorpusError, OptionError, SerannError
from serann.data.readers import load_reader
from serann.data.readers.emo_superb import whole_votes

READER = load_reader("emo-superb")
read = reader("emo-superb")
SIX = EMO_SUPERB_LABELS


def counted(found) -> dict[str, dict]:
    counts: dict[str, dict] = {}
    for row in found.votes.to_pylist():
        mine = counts.setdefault(row["utterance_id"], {})
        mine[row["label"]] = mine.get(row["label"], 0) + 1
    return counts


def table(header, rows) -> str:
    return csv_text([header, *rows])


def crema(place: Path, rows, *, header=("FileName", *SIX, "SpkrID", "Gender", "Split_Set")) -> Path:
    return release(place / "CREMA-D", {"Primary/labels_consensus_1.csv": table(header, rows)})


def test_smoothing_is_undone_to_whole_votes(tmp_path):
    rows = [
        ["1001_IEO_ANG_HI.wav", *smoothed((3, 0, 1, 0, 0, 0)), "1001", "Male", "Train"],
        ["1002_IEO_ANG_HI.wav", *smoothed((0, 0, 0, 0, 9, 0)), "1002", "Female", "Development"],
        ["1003_IEO_ANG_HI.wav", *smoothed((2, 0, 2, 0, 0, 0)), "1003", "Female", "Test"],
        ["1004_IEO_ANG_HI.wav", *smoothed((1, 2, 3, 4, 1, 1)), "1004", "Female", "Test"],
    ]
    found = read(crema(tmp_path, rows))
    assert found.labels.labels == SIX
    assert counted(found) == {
        "1001_IEO_ANG_HI": {"angry": 3, "fear": 1},
        "1002_IEO_ANG_HI": {"neutral": 1},  # nine of nine and one of one are the same share
        "1003_IEO_ANG_HI": {"angry": 1, "fear": 1},
        "1004_IEO_ANG_HI": dict(zip(SIX, (1, 2, 3, 4, 1, 1), strict=True)),
    }
    assert set(found.votes["rater_id"].to_pylist()) == {None}
    assert set(found.votes["rank"].to_pylist()) == {"primary"}
    assert found.votes_in == 4 + 1 + 2 + 12
    assert found.ratings is None
    rows = found.utterances.to_pylist()
    assert [row["split"] for row in rows] == ["train", "development", "test", "test"]
    assert [(row["speaker"], row["gender"]) for row in rows[:2]] == [("1001", "male"), ("1002", "female")]
    assert {row["audio"] for row in rows} == {None}
    assert found.release == "EMO-SUPERB label file of CREMA-D, primary emotions, fold 1"
    assert "at least so many were given" in found.notes[0]


def test_a_row_that_no_small_denominator_gives_is_a_problem(tmp_path):
    rows = [
        ["a.wav", *smoothed((1, 1, 0, 0, 0, 0)), "1", "Male", "Train"],
        ["b.wav", *smoothed((np.pi, 1, 0, 0, 0, 0)), "1", "Male", "Train"],
        ["c.wav", *smoothed((4, 1, 0, 0, 0, 0), 4), "1", "Male", "Train"],  # more than all
        ["d.wav", "NaN", *smoothed((1, 0, 0, 0, 0, 0))[1:], "1", "Male", "Train"],
        ["a.wav", *smoothed((3, 2, 0, 0, 0, 0)), "1", "Male", "Train"],
        ["", *smoothed((1, 0, 0, 0, 0, 0)), "1", "Male", "Train"],
        ["e.wav", "0.1"],
    ]
    found = read(crema(tmp_path, rows))
    assert counted(found) == {"a": {"angry": 1, "disgust": 1}}
    assert found.utterances["utterance_id"].to_pylist() == ["a", "b", "c", "d"]
    problems = {(row["line"], row["reason"], row["votes"]) for row in found.problems.to_pylist()}
    assert problems == {
        (3, "no small denominator gives this row's shares", 1),
        (4, "no small denominator gives this row's shares", 1),
        (5, "no small denominator gives this row's shares", 1),
        (6, "an utterance that is listed already", 5),
        (7, "a row that names no utterance", 1),
        (8, "not a record of the table", 1),
    }
    assert found.votes_in == 2 + 3 + 5 + 1 + 1


def test_shares_that_are_not_all_there_are_votes_for_no_label(tmp_path):
    found = read(crema(tmp_path, [["a.wav", *smoothed((3, 1, 0, 0, 0, 0), 5), "1", "Male", "Train"]]))
    assert counted(found) == {"a": {"angry": 3, "disgust": 1, None: 1}}
    reasons = [row["reason"] for row in found.votes.to_pylist() if row["label"] is None]
    assert reasons == ["outside the label set: the row's shares sum to less than one"]


def test_iemocaps_session_is_no_speaker(tmp_path):
    nine = ("frustrated", "angry", "sad", "disgust", "excited", "fear", "neutral", "surprise", "happy")
    header = ("FileName", *nine, "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
    rows = [
        ["Ses01F_impro01_M000.wav", *smoothed((0, 1, 0, 0, 0, 0, 3, 0, 0)), 2.5, 3, 2, 1, "Male", "Train"],
        ["Ses02F_impro01_F000.wav", *smoothed((5, 0, 0, 0, 0, 0, 0, 0, 0)), "", "NaN", 2, 2, "Female", "Test"],
    ]
    found = read(release(tmp_path / "IEMOCAP", {"Primary/labels_consensus_1.csv": table(header, rows)}))
    first, second = found.utterances.to_pylist()
    assert (first["speaker"], first["session"], first["gender"]) == (None, "1", "male")
    assert (first["consensus_arousal"], first["consensus_valence"], first["consensus_dominance"]) == (2.5, 3, 2)
    assert (second["consensus_arousal"], second["consensus_valence"]) == (None, None)
    assert any("SpkrID is IEMOCAP's session here" in note for note in found.notes)
    assert counted(found)["Ses01F_impro01_M000"] == {"angry": 1, "neutral": 3}


def test_improvs_speakers_need_their_gender_and_its_scale_stays(tmp_path):
    header = ("FileName", "angry", "sad", "happy", "neutral", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender")
    rows = [
        ["MSP-IMPROV-S01A-F01-P-FM01.wav", *smoothed((1, 0, 0, 0)), 1, 3, 3, "01", "Female"],
        ["MSP-IMPROV-S01A-M01-P-FM01.wav", *smoothed((0, 0, 0, 1)), 4, 3, 3, "01", "Male"],
        ["MSP-IMPROV-S01A-M02-P-FM01.wav", *smoothed((0, 0, 0, 1)), 4, 3, 3, "02", ""],
    ]
    config = {"categorical": {"emo_type": ["neutral", "happy", "sad", "angry"]}, "dimensional": {"flip_aro": True}}
    files = {"Primary/labels_consensus_1.csv": table(header, rows), "config.json": json.dumps(config)}
    found = read(release(tmp_path / "IMPROV", files))
    assert found.utterances["speaker"].to_pylist() == ["F01", "M01", None]
    assert found.labels.labels == ("neutral", "happy", "sad", "angry")
    assert counted(found)["MSP-IMPROV-S01A-F01-P-FM01"] == {"angry": 1}
    assert found.utterances["consensus_arousal"].to_pylist() == [1, 4, 4]
    assert any("flip_aro: ignored" in note for note in found.notes)
    assert any("mean 1.00 behind votes for angry, 4.00 behind votes for neutral" in note for note in found.notes)


def test_tables_are_chosen_by_rule(tmp_path):
    def rows(label):
        counts = [int(name == label) for name in SIX]
        return table(("", *SIX, "Split_Set"), [["a.wav", *smoothed(counts), "Train"]])

    source = release(
        tmp_path / "NNIME",
        {
            "Primary/labels_consensus_1.csv": rows("sad"),
            "Primary/labels_consensus_2.csv": rows("fear"),
            "Secondary/labels_consensus_2.csv": rows("happy"),
            "Secondary/config.json": "{}",
        },
    )
    first = read(source)
    assert counted(first) == {"a": {"sad": 1}}
    assert counted(read(source, rule="fold 2")) == {"a": {"fear": 1}}
    second = read(source, rule="Secondary fold 2")
    assert counted(second) == counted(read(source / "Secondary")) == {"a": {"happy": 1}}
    assert second.votes["rank"].to_pylist() == ["secondary"]
    assert "NNIME, secondary emotions, fold 2" in second.release
    assert counted(read(source / "Primary" / "labels_consensus_2.csv")) == {"a": {"fear": 1}}
    with pytest.raises(OptionError, match=r"no fold 7 in .*; there is 1, 2"):
        read(source, rule="fold 7")
    with pytest.raises(OptionError, match="'the best' names no table; expected 'fold 1'"):
        read(source, rule="the best")
    with pytest.raises(OptionError, match=r"asks for secondary, but .* holds Primary"):
        read(source / "Primary", rule="secondary")
    (tmp_path / "wav").mkdir()
    heard = read(source, audio=tmp_path / "wav")
    assert heard.utterances["audio"].to_pylist() == [str((tmp_path / "wav").resolve() / "a.wav")]


def test_what_is_no_label_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="nothing is there"):
        read(tmp_path / "none")
    release(tmp_path / "other", {"a.txt": "x"})
    with pytest.raises(CorpusError, match=r"(?s)found a\.txt.*it looked for.*labels_consensus_FOLD\.csv.*Secondary"):
        read(tmp_path / "other")
    with pytest.raises(CorpusError, match="expected the columns FileName"):
        read(release(tmp_path / "short", {"labels_consensus_1.csv": "FileName,angry\na,1\n"}))
    plain = table(("FileName", *SIX), [["a.wav", 1 / 3, 2 / 3, 0, 0, 0, 0]])
    with pytest.raises(CorpusError, match=r"no row holds smoothed shares, q = p\(1 - K e\) \+ e with K = 6"):
        read(release(tmp_path / "plain", {"labels_consensus_1.csv": plain}))
    with pytest.raises(SerannError, match="EMO-SUPERB configuration"):
        read(release(tmp_path / "config", {"labels_consensus_1.csv": plain, "config.json": "{"}))


def test_shares_that_were_never_smoothed_make_no_votes(tmp_path):
    """Of shares of five votes, .2 would pass for 19 of 94 smoothed ones."""
    rows = [["a.wav", 0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 5], ["b.wav", 1, 0, 0, 0, 0, 0, 4]]
    rows += [["c.wav", 1 / 3, 2 / 3, 0, 0, 0, 0, 3]]
    plain = table(("FileName", *SIX, "num_votes"), rows)
    with pytest.raises(CorpusError, match=r"2 of 3 rows hold a share below .*corpus import table .*counts:num_votes"):
        read(release(tmp_path / "plain", {"labels_consensus_1.csv": plain}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_configuration_in_another_encoding_is_read(tmp_path, encoding):
    source = crema(tmp_path, [["a.wav", *smoothed([0, 1, 0, 0, 2, 0]), "1", "Male", "Train"]])
    order = [name.capitalize() for name in reversed(SIX)]
    text = json.dumps({"categorical": {"emo_type": order}})
    (source / "config.json").write_bytes(text.encode(encoding))
    assert read(source).labels.labels == tuple(reversed(SIX))
    (source / "config.json").write_text(POINTER)
    with pytest.raises(SerannError, match="Git-LFS pointer"):
        read(source)


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4).filter(any), min_size=1, max_size=8),
    decimals=st.sampled_from([5, 8, 12, None]),
)
def test_any_votes_come_back_without_their_common_factor(drawn, decimals):
    """The witness is arithmetic with fractions: n over the greatest common divisor."""
    rows = [[f"u{i}.wav", *smoothed(counts)] for i, counts in enumerate(drawn)]
    if decimals is not None:
        rows = [[name, *(f"{value:.{decimals}f}" for value in values)] for name, *values in rows]
    text = table(("FileName", "neutral", "sad", "happy", "angry"), rows)
    with laid_out({"labels_consensus_1.csv": text}) as place:
        found = read(place)
    assert found.problems.num_rows == 0
    labels = ("neutral", "sad", "happy", "angry")
    for i, counts in enumerate(drawn):
        common = gcd(*counts)
        assert counted(found)[f"u{i}"] == {k: n // common for k, n in zip(labels, counts, strict=True) if n}
    assert found.votes_in == sum(sum(counts) // gcd(*counts) for counts in drawn)


def test_few_decimals_allow_small_denominators_alone():
    # Three decimals leave half a thousandth: fractions of denominators up to 30 lie far enough apart, 1/31 does not.
    eight = np.array([smoothed((1, 2, 5, 0))])
    found = whole_votes(np.round(eight, 3), 3)
    assert found.counts.tolist() == [[1, 2, 5, 0]]
    assert found.most == int(np.sqrt((1 - 4 * 0.05 / 3) / (2 * (0.0005 + 1e-12))))
    assert Fraction(1, found.most * (found.most - 1)) > 2 * Fraction(0.0005)
    forty = np.array([smoothed((1, 0, 0, 40))])
    assert whole_votes(np.round(forty, 3), 3).denominators.tolist() == [0]
    assert whole_votes(forty, 17).denominators.tolist() == [41]


@settings(max_examples=150, deadline=None)
@given(chosen=st.lists(damages(), min_size=1, max_size=3), which=st.booleans())
def test_a_broken_file_is_imported_or_refused_in_a_sentence(chosen, which):
    """`Imported` itself asserts that no vote was lost."""
    name = "labels_consensus_1.csv" if which else "config.json"
    with laid_out({**EMO_SUPERB, name: damaged(EMO_SUPERB[name], *chosen)}) as place:
        found = accounted(read, place)
    if found is not None:
        assert set(found.votes["utterance_id"].to_pylist()) <= set(found.utterances["utterance_id"].to_pylist())


def test_the_readers_page_says_what_it_does():
    assert 20 <= len(READER.page.splitlines()) <= 60
    for word in ("fold 1", "smallest denominator", "session", "flip_aro", "serann corpus import emo-superb"):
        assert word in READER.page
