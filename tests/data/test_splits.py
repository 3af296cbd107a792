"""Speaker-disjoint splits: disjoint, deterministic, as large and as mixed as asked; and the leaks of others' splits."""

from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fixtures.simulated import simulated_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.data import splits as splits_module
from serann.data.corpus import write_corpus
from serann.data.errors import CorpusError, OptionError, OutputError
from serann.data.labels import LABEL_SETS
from serann.data.scores.groups import conversation_groups
from serann.data.splits import leaks, split_corpus, split_tables, write_split
from serann.data.tables import UTTERANCES, VOTES, from_rows

FOUR = LABEL_SETS["iemocap4"]


@st.composite
def tables(draw):
    speakers = [f"s{k}" for k in range(draw(st.integers(3, 9)))]
    utterances, votes = [], []
    for speaker in speakers:
        for k in range(draw(st.integers(1, 6))):
            name = f"{speaker}-{k}"
            utterances.append({"utterance_id": name, "speaker": speaker, "intended": draw(st.sampled_from(["x", "y"]))})
            labels = draw(st.lists(st.sampled_from(FOUR.labels), max_size=3))
            votes += [{"utterance_id": name, "rater_id": f"r{r}", "label": label} for r, label in enumerate(labels)]
    return utterances, votes


def built(utterances, votes):
    return from_rows(utterances, UTTERANCES), from_rows(votes, VOTES, labels=FOUR)


def splits_of(utterances, split):
    return dict(zip(utterances["utterance_id"].to_pylist(), split.utterances["split"].to_pylist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(drawn=tables(), seed=st.integers(0, 3), rng=st.randoms())
def test_splits_are_disjoint_complete_deterministic_and_about_as_large_as_asked(drawn, seed, rng):
    utterances, votes = built(*drawn)
    split = split_tables(utterances, votes, FOUR, seed=seed)
    where = splits_of(utterances, split)
    by_speaker = {}
    for row in drawn[0]:
        by_speaker.setdefault(row["speaker"], set()).add(where[row["utterance_id"]])
    assert all(len(splits) == 1 for splits in by_speaker.values())
    assert set(where.values()) == {"train", "development", "test"}
    shuffled = [rng.sample(rows, len(rows)) for rows in drawn]
    again, _ = built(*shuffled)
    assert splits_of(again, split_tables(*built(*shuffled), FOUR, seed=seed)) == where
    largest = max(sum(row["speaker"] == s for row in drawn[0]) for s in by_speaker) / len(where)
    for name, got in split.report["splits"].items():  # what test and development miss, train misses together
        assert abs(got["share"] - got["asked"]) <= largest * (2 if name == "train" else 1) + 1e-9


def test_the_best_of_all_assignments_is_found_for_few_speakers(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60, speakers=7, seen=None)
    split = split_corpus(corpus)
    speakers = sorted(set(corpus.column("speaker")))
    p = np.array([np.bincount(row, minlength=6) / 8 for row in voted_labels(corpus)])
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
    third = np.searchsorted(np.quantile(entropy, [1 / 3, 2 / 3]), entropy)
    features = np.column_stack([np.ones(60), p, np.eye(3)[third]])
    asked = np.array([0.7, 0.1, 0.2])
    total = features.sum(axis=0)
    weight = np.concatenate([[3.0], total[1:7] / 60, total[7:] / 60])
    distances = []
    for of in product(range(3), repeat=7):
        if set(of) == {0, 1, 2}:
            place = np.array([of[speakers.index(s)] for s in corpus.column("speaker")])
            x = np.array([features[place == k].sum(axis=0) for k in range(3)]) / np.where(total > 0, total, 1)
            distances.append(((((x - asked[:, None]) ** 2) * weight).sum(axis=1) / asked).sum())
    assert split.report["distance"] == pytest.approx(min(distances))


def voted_labels(corpus):
    rows = {}
    for row in corpus.votes.to_pylist():
        rows.setdefault(row["utterance_id"], []).append(corpus.labels.index(row["label"]))
    return [rows[u] for u in corpus.ids]


def test_labels_and_entropy_are_mixed_better_than_by_chance(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=600, speakers=40, seen=None)
    split = split_corpus(corpus, seed=1)
    assert split.report["splits"]["test"]["share"] == pytest.approx(0.2, abs=0.03)
    labels = np.array([np.bincount(row, minlength=6) / 8 for row in voted_labels(corpus)])
    place = np.array(split.utterances["split"].to_pylist())
    rng = np.random.default_rng(0)
    speakers = corpus.column("speaker")

    def gap(mask):
        return np.abs(labels[mask].mean(axis=0) - labels.mean(axis=0)).sum()

    by_chance = [gap(np.isin(speakers, rng.permutation(sorted(set(speakers)))[:8])) for _ in range(200)]
    assert gap(place == "test") < np.quantile(by_chance, 0.1)
    assert split.report["stratified_by"] == "votes"
    assert splits_differ(split, split_corpus(corpus, seed=2))


def splits_differ(one, other):
    return one.utterances["split"] != other.utterances["split"]


def test_unknown_speakers_go_with_their_dialogue_and_intended_labels_stand_for_votes():
    rows = [
        {"utterance_id": f"u{k}", "dialogue": f"d{k // 4}" if k < 40 else None, "intended": "xy"[k % 2]}
        for k in range(44)
    ]
    utterances, votes = built(rows, [])
    split = split_tables(utterances, votes, FOUR)
    where = splits_of(utterances, split)
    assert all(len({where[f"u{4 * d + k}"] for k in range(4)}) == 1 for d in range(10))
    assert split.report["unit"] == "dialogue (utterance where unknown)"
    assert split.report["unknown_speakers"] == 44
    assert split.report["stratified_by"] == "intended labels"
    bare = utterances.set_column(utterances.column_names.index("intended"), "intended", pa.nulls(44, pa.string()))
    assert split_tables(bare, votes, FOUR).report["stratified_by"] == "the number of utterances alone"


def test_too_few_speakers_and_impossible_shares_are_refused():
    two = built([{"utterance_id": f"u{k}", "speaker": f"s{k % 2}"} for k in range(9)], [])
    with pytest.raises(
        CorpusError,
        match=r"are 2 groups that must stay whole \(by speaker\), and train, development, test need at least 3",
    ):
        split_tables(*two, FOUR)
    assert set(split_tables(*two, FOUR, development=0.0).utterances["split"].to_pylist()) == {"train", "test"}
    wrong: list[dict[str, Any]] = [{"test": 0.9, "development": 0.1}, {"test": -0.1}, {"test": float("nan")}]
    for shares in wrong:
        with pytest.raises(OptionError, match="must be 0 or more and leave some for train"):
            split_tables(*two, FOUR, **shares)


def test_more_groups_than_can_be_searched_are_moved_in_bundles(monkeypatch):
    rows = [{"utterance_id": f"u{k:04d}", "speaker": f"s{k // 2}", "intended": "abcd"[k % 4]} for k in range(1200)]
    tables = built(rows, [])
    monkeypatch.setattr(splits_module, "MOST_BUNDLES", 100)
    split = split_tables(*tables, FOUR)
    where = splits_of(tables[0], split)
    assert all(where[f"u{2 * k:04d}"] == where[f"u{2 * k + 1:04d}"] for k in range(600))
    for got in split.report["splits"].values():
        assert got["share"] == pytest.approx(got["asked"], abs=0.011)
    assert split_tables(*built(rows[::-1], []), FOUR).report == split.report


def test_thousands_of_speakers_are_divided_in_seconds():
    rng = np.random.default_rng(0)
    rows = [{"utterance_id": f"u{k:05d}", "speaker": f"s{rng.integers(2000)}", "intended": "abcd"[rng.integers(4)]}
            for k in range(20_000)]  # fmt: skip
    split = split_tables(*built(rows, []), FOUR)
    for got in split.report["splits"].values():
        assert got["share"] == pytest.approx(got["asked"], abs=0.002)


def written(path, rows):
    return write_corpus(
        path,
        name="small",
        labels=FOUR,
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows([], VOTES, labels=FOUR),
        licence="CC0-1.0",
        provenance={},
    )


def test_leaks_are_named_with_their_ids(tmp_path):
    columns = ("utterance_id", "speaker", "dialogue", "script", "content_hash", "start", "split")
    rows = [
        ("u0", "a", "d0", "It's  eleven o'clock", "h0", 0.0, "train"),
        ("u1", "a", "d1", "hello", "h1", None, "test1"),
        ("u2", "b", "d1", "it's eleven O'CLOCK ", "h0", 0.0, "test2"),
        ("u3", "c", "d2", None, "h0", 1.0, "development"),
        ("u4", "a", "d3", None, None, None, None),
        ("u5", None, None, "bye", "h3", None, "train"),
        ("u6", None, None, "so long", "h4", None, "test"),
    ]
    corpus = written(tmp_path / "c", [dict(zip(columns, row, strict=True)) for row in rows])
    assert leaks(corpus) == [
        {"kind": "speaker", "value": "a", "splits": {"test": 1, "train": 1}, "ids": {"test": ["u1"], "train": ["u0"]}},
        {"kind": "sound", "value": "h0 0", "splits": {"test": 1, "train": 1}, "ids": {"test": ["u2"], "train": ["u0"]}},
        {
            "kind": "script",
            "value": "it's eleven o'clock",
            "splits": {"test": 1, "train": 1},
            "ids": {"test": ["u2"], "train": ["u0"]},
        },
    ]


def test_a_split_of_ours_leaks_no_speaker_and_long_lists_are_cut(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60, seen=None)
    assert leaks(corpus) == []
    rows = [{"utterance_id": f"u{k}", "speaker": "a", "split": ("train", "test")[k % 2]} for k in range(20)]
    (leak,) = leaks(written(tmp_path / "d", rows))
    assert leak["splits"] == {"test": 10, "train": 10}
    assert [len(ids) for ids in leak["ids"].values()] == [5, 5]
    (whole,) = leaks(written(tmp_path / "e", rows), most=None)
    assert len(whole["ids"]["test"]) == 10


def test_a_written_split_is_undivided_and_reads_the_sounds_where_they_lie(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=24, audio=True)
    split = split_corpus(corpus, development=0.0, seed=3)
    written = write_split(corpus, split, tmp_path / "d")
    assert written.utterances["split"].to_pylist() == split.utterances["split"].to_pylist()
    assert written.info.division is None
    assert written.votes["part"].null_count == written.votes.num_rows
    assert written.audio_path(0).exists()
    assert written.info.provenance["split"]["splits"]["test"]["asked"] == 0.2
    assert leaks(written) == []
    with pytest.raises(OutputError, match="exists already"):
        write_split(corpus, split, tmp_path / "d")


def test_speakers_who_talk_to_each_other_stay_together():
    rows = [
        {"utterance_id": f"u{s}{d}{i}", "speaker": f"Ses{s}_{'FM'[i % 2]}", "dialogue": f"Ses{s}_{d}"}
        for s in range(5)
        for d in range(3)
        for i in range(4)
    ]
    utterances = from_rows(rows, UTTERANCES)
    groups = conversation_groups(utterances)
    assert groups.names == [f"speaker Ses{s}_F" for s in range(5)]
    assert groups.unit == "speaker, joined by dialogues"
    made = split_tables(utterances, from_rows([], VOTES, labels=FOUR), FOUR)
    session = {row["utterance_id"][:2]: set() for row in rows}
    for row in made.utterances.to_pylist():
        session[row["utterance_id"][:2]].add(row["split"])
    assert all(len(splits) == 1 for splits in session.values())


def test_one_conversation_of_all_is_divided_by_speaker():
    rows = [{"utterance_id": f"u{i}", "speaker": f"s{i % 6}", "dialogue": "the only one"} for i in range(36)]
    made = split_tables(from_rows(rows, UTTERANCES), from_rows([], VOTES, labels=FOUR), FOUR)
    assert made.report["unit"] == "speaker"
    assert len(set(made.utterances["split"].to_pylist())) == 3
