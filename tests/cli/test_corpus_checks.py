"""`serann corpus check|info|split`: tables, JSON and exit codes."""

import json

import pytest
import typer
from fixtures.simulated import simulated_corpus
from serann.annotator.cli.corpus import check, info, split
from serann.data.corpus import open_corpus, write_corpus
from serann.data.labels import LABEL_SETS
from serann.data.sound_paths import absolute_audio
from serann.data.splits import leaks
from serann.data.tables import RATINGS, UTTERANCES, VOTES, from_rows
from typer.testing import CliRunner

app = typer.Typer()
for command in (check, info, split):
    app.command()(command)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_good_corpus_passes_and_a_leaking_one_does_not(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "good", utterances=40, audio=True)
    result = run("check", corpus.path)
    assert result.exit_code == 0, result.output
    assert "0 errors" in result.output
    splits = ["train", "test"] * 20
    place = corpus.utterances.column_names.index("split")
    write_corpus(
        tmp_path / "bad",
        name="bad",
        labels=corpus.labels,
        utterances=absolute_audio(corpus).set_column(place, "split", [splits]),
        votes=corpus.votes,
        licence="CC0-1.0",
        provenance={},
    )
    (corpus.path / "audio" / "u0003.wav").unlink()
    leaking = run("check", tmp_path / "bad", "--json")
    assert leaking.exit_code == 1
    document = json.loads(leaking.stdout)
    assert document["counts"]["error"]["missing audio"] == 1
    assert document["sounds"] == 40
    (missing,) = [row for row in document["findings"] if row["kind"] == "missing audio"]
    assert missing["utterance_id"] == "u0003"
    assert "u0003.wav is missing; expected a sound file" in missing["sentence"]
    shown = run("check", tmp_path / "bad", "--most", 1, "--no-sounds")
    assert "(--most, or --json)" in shown.output or document["counts"]["error"].get("speaker across splits", 0) < 2


def test_info_shows_agreement_and_raters(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60)
    shown = run("info", corpus.path)
    assert shown.exit_code == 0, shown.output
    for words in ("krippendorff alpha nominal", "gwet ac1", "Raters", "entropy over ln k", "licence"):
        assert words in shown.output
    document = json.loads(run("info", corpus.path, "--json").stdout)
    assert document["agreement"][0]["coefficient"] == "krippendorff_alpha_nominal"
    assert document["label_shares"].keys() == set(corpus.labels)


def test_info_of_a_corpus_without_votes_shows_what_it_states(tmp_path):
    rows = [
        {"utterance_id": f"u{i}", "speaker": f"s{i % 3}", "intended": label, "consensus": "angry" if i else None}
        for i, label in enumerate(["sad", "angry", "sad", "calm"])
    ]
    labels = LABEL_SETS["iemocap4"]
    write_corpus(
        tmp_path / "c",
        name="c",
        labels=labels,
        utterances=from_rows(rows, UTTERANCES),
        votes=from_rows([], VOTES),
        licence="ours",
        provenance={},
    )
    document = json.loads(run("info", tmp_path / "c", "--json").stdout)
    assert set(document["label_shares"].values()) == {None}
    assert document["stated_labels"] == {"intended": {"angry": 1, "sad": 2, "calm": 1}, "consensus": {"angry": 3}}
    shown = run("info", tmp_path / "c").output
    assert "Labels that the corpus states" in shown
    assert "0.0000" not in shown


def test_info_of_one_answer_an_utterance_has_no_agreement(tmp_path):
    labels = LABEL_SETS["iemocap4"]
    utterances = [{"utterance_id": f"u{i}", "speaker": f"s{i}"} for i in range(3)]
    votes = [{"utterance_id": f"u{i}", "rater_id": "r", "label": "sad" if i else "angry"} for i in range(3)]
    rated = [{"utterance_id": f"u{i}", "rater_id": "r", "dimension": "valence", "value": 1.0 + i} for i in range(3)]
    write_corpus(
        tmp_path / "c",
        name="c",
        labels=labels,
        utterances=from_rows(utterances, UTTERANCES),
        votes=from_rows(votes, VOTES, labels=labels),
        ratings=from_rows(rated, RATINGS),
        scale=(1, 7),
        licence="ours",
        provenance={},
    )
    rows = json.loads(run("info", tmp_path / "c", "--json").stdout)["agreement"]
    assert [(row["of"], row["value"], row["utterances"]) for row in rows] == [
        *[("votes", None, 0)] * 3,
        *[("valence", None, 0)] * 2,
    ]


def test_info_counts_shared_votes_and_votes_without_a_label(tmp_path):
    """Three raters: one halves a vote between two labels, one has a half outside the label set, one abstains."""
    rows = [("r1", "sad", 0.5), ("r1", "angry", 0.5), ("r2", "angry", 0.5), ("r2", None, 0.5), ("r3", None, 1.0)]
    votes = [{"utterance_id": "u", "rater_id": r, "label": label, "weight": w} for r, label, w in rows]
    votes = [row | ({} if row["label"] else {"reason": "outside the label set"}) for row in votes]
    utterances = from_rows([{"utterance_id": "u", "speaker": "s"}], UTTERANCES)
    labels = LABEL_SETS["iemocap4"]
    write_corpus(
        tmp_path / "c",
        name="c",
        labels=labels,
        utterances=utterances,
        votes=from_rows(votes, VOTES, labels=labels),
        licence="ours",
        provenance={},
    )
    document = json.loads(run("info", tmp_path / "c", "--json").stdout)
    assert document["primary_human_votes"] == document["votes_min"] == document["votes_max"] == 1.5
    assert document["without_label"] == 1.5
    whole, _ = simulated_corpus(tmp_path / "w", utterances=10)
    assert isinstance(json.loads(run("info", whole.path, "--json").stdout)["primary_human_votes"], int)


def test_split_writes_a_corpus_that_leaks_no_speaker(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60)
    result = run("split", corpus.path, "-o", tmp_path / "d", "--seed", 1, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["split"]["splits"]) == {"train", "development", "test"}
    assert [leak for leak in leaks(open_corpus(tmp_path / "d")) if leak["kind"] == "speaker"] == []
    assert "stratified by votes" in run("split", corpus.path, "-o", tmp_path / "e").output


@pytest.mark.parametrize("command", ["check", "info", "split"])
def test_help_has_an_example(command):
    assert "Example: serann corpus" in run(command, "--help").output
