"""`serann corpus check|info|split`: tables, JSON and exit codes."""

import json

import pytest
import typer
from serann.annotator.cli.corpus_checks import check, info, split
from serann.data.corpus import absolute_audio, open_corpus, write_corpus
from serann.data.leaks import leaks
from simulated import simulated_corpus
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
