"""What annotate tells at its end: warnings where numbers are worth little, and lists that stay short."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from fixtures.scripted_runs import break_reading, corpus_of, run_scripted, scripted
from serann.annotator.cli import annotate as module
from serann.annotator.cli import app
from serann.annotator.engines.base import ENGINES
from serann.annotator.engines.scripted import loudness_and_text
from serann.annotator.panel.attributes import RATING_SCORES
from serann.data.corpus import open_corpus
from serann.data.tables import RATINGS, read_table
from typer.testing import CliRunner


def annotate(*call):
    return CliRunner().invoke(app, ["annotate", *map(str, call)])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 4)


def unsure(wave, question):
    """A scale's points have hardly any probability; labels have nearly all."""
    share = 0.9 if "very" not in question.text else 0.01
    return loudness_and_text(wave, question) + np.log(share / 0.9)


def told(run, capsys):
    found = module.summarise(run)
    module.show(found)
    return found, capsys.readouterr()


def test_ratings_have_their_mass_and_a_warning_where_it_is_low(corpus, tmp_path, capsys):
    options = {"attributes": ("valence", "arousal"), "votes": 2}
    run = run_scripted(corpus, tmp_path / "run", engine=scripted(unsure), **options)
    mass = read_table(run.path / "rating_scores.parquet", RATING_SCORES)["log_mass"].to_numpy()
    np.testing.assert_allclose(np.exp(mass), 0.01, rtol=1e-5)
    found, shown = told(run, capsys)
    ratings = read_table(run.path / "ratings.parquet", RATINGS).to_pylist()
    valence = [row["value"] for row in ratings if row["dimension"] == "valence"]
    rated = found["ratings"]["valence"]
    assert rated["scale"] == [1.0, 7.0]
    assert (rated["mean"], rated["mean_mass"]) == pytest.approx((np.mean(valence), 0.01), rel=1e-5)
    assert "Mean ratings" in shown.out
    assert "warning: most of the probability fell on no point of the scale (valence, arousal), so these" in shown.err
    sound, shown = told(run_scripted(corpus, tmp_path / "sound", **options), capsys)
    assert sound["ratings"]["arousal"]["mean_mass"] == pytest.approx(0.9)
    assert "warning" not in shown.err


def test_ratings_of_an_older_run_have_no_mass(corpus, tmp_path, capsys):
    run = run_scripted(corpus, tmp_path / "run", attributes=("valence",), votes=2)
    before = [(run.path / name).read_bytes() for name in ("ratings.parquet", "scores.parquet")]
    for name in ("rating_scores.parquet", ".ledger/judged.parquet"):
        table = pq.read_table(run.path / name)
        pq.write_table(table.drop_columns(["log_mass"]), run.path / name)
    found, shown = told(run, capsys)
    assert found["ratings"]["valence"]["mean_mass"] is None
    assert "warning" not in shown.err
    run = run_scripted(corpus, tmp_path / "run", attributes=("valence",), votes=3)  # the tables are written anew
    assert (run.path / "ratings.parquet").read_bytes() == before[0]
    assert (run.path / "scores.parquet").read_bytes() == before[1]
    masses = read_table(run.path / "rating_scores.parquet", RATING_SCORES)["log_mass"]
    assert masses.null_count == len(masses)


def test_a_run_of_abstentions_warns(corpus, tmp_path, capsys):
    def mumbles(wave, question):
        return np.full(len(question.answers), -30.0)

    run = run_scripted(corpus, tmp_path / "run", engine=scripted(mumbles), mode="sample", votes=5)
    found, shown = told(run, capsys)
    assert (found["votes"], found["abstained"]) == (0, 20)
    assert "warning: 20 of 20 votes are abstentions, so there is next to nothing in this run; the mo" in shown.err
    assert found["warnings"][0].startswith("20 of 20 votes are abstentions")
    assert found["reasons"] == {"the answer is empty": 20}
    assert "abstained:\n  20 times: the answer is empty\n" in shown.err


def test_reasons_are_counted_and_the_rarest_are_left_to_the_table():
    reasons = {f"it names {n} labels: sad, angry": 9 - n for n in range(7)}
    lines = module._reason_lines(reasons)
    assert lines[0] == "abstained:"
    assert lines[1] == "  9 times: it names 0 labels: sad, angry"
    assert lines[-1] == "  … and for 2 more reasons (see votes.parquet)"
    assert len(lines) == 7
    assert module._reason_lines({}) == []


def test_failures_are_counted_by_reason_and_the_table_lists_them(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 25, break_audio=range(23))
    call = [corpus.path, "--model", "scripted", "--engine", "scripted", "-o", tmp_path / "run"]
    shown = annotate(*call)
    assert shown.exit_code == 1
    assert f"23 utterances of {corpus.path} failed (the same command tries each at most 3 times):" in shown.stderr
    assert shown.stderr.count("not audio that can be decoded") == 1
    assert "  23 x its sound: not audio that can be decoded (" in shown.stderr
    assert " (u000, u001, u002 and 20 more)\n" in shown.stderr
    assert f"  each with its reason is in {tmp_path / 'run' / 'failures.parquet'}" in shown.stderr
    as_json = annotate(*call, "--json")
    assert len(json.loads(as_json.stdout)["failures"]) == 23


def test_too_long_ones_lead_to_the_policies(corpus, tmp_path):
    call = [corpus.path, "--model", "scripted", "--engine", "scripted", "--max-seconds", "0.4"]
    shown = annotate(*call, "-o", tmp_path / "run")
    assert shown.exit_code == 1
    assert "utterances that are too long can be cut, in another run: --too-long truncate, or windows" in shown.stderr
    cut = annotate(*call, "--too-long", "windows", "-o", tmp_path / "cut")
    assert cut.exit_code == 0, cut.stderr
    assert "utterances were too long and heard in windows; their answers are means over these" in cut.stderr
    again = annotate(*call, "--too-long", "windows", "-o", tmp_path / "cut", "--json")
    found = json.loads(again.stdout)
    assert (found["max_seconds"], found["too_long"]) == (0.4, "windows")
    first = annotate(*call, "--too-long", "truncate", "-o", tmp_path / "first")
    assert "utterances were too long, and only their beginning was heard" in first.stderr
    again = annotate(*call, "--too-long", "truncate", "-o", tmp_path / "first")
    assert "nothing was left to ask" in again.stderr


@pytest.mark.parametrize("workers", [0, -3])
def test_workers_are_checked_before_anything_is_loaded(corpus, tmp_path, monkeypatch, workers):
    monkeypatch.setitem(ENGINES, "scripted", ("nowhere", "Nobody"))
    shown = annotate(
        corpus.path, "--model", "scripted", "--engine", "scripted", "-o", tmp_path / "run", "--workers", workers
    )
    assert str(shown.exception) == f"{workers} workers to decode sounds; expected at least 1"
    assert not (tmp_path / "run").exists()


def test_failures_are_the_same_bytes_wherever_the_corpus_lies(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path / "here" / "corpus", 6, break_audio=(0,))
    sounds = corpus.path / "audio"
    (sounds / "u001.wav").unlink()
    (sounds / "u002.wav").write_bytes(b"")
    (sounds / "u003.wav").write_bytes((sounds / "u003.wav").read_bytes()[:2000])
    (sounds / "u004.wav").write_bytes(b"fLaC" + bytes(50))
    shutil.copytree(corpus.path, tmp_path / "there" / "and further" / "corpus")
    monkeypatch.chdir(tmp_path / "here")
    places = ["corpus", str(corpus.path), str(tmp_path / "there" / "and further" / "corpus")]
    found = set()
    for place, name in enumerate(places):
        run = run_scripted(open_corpus(name), tmp_path / f"run{place}")
        assert run.failures.num_rows == 5
        assert all(row["reason"].startswith("audio/u00") for row in run.failures.to_pylist())
        found.add((run.path / "failures.parquet").read_bytes())
    assert len(found) == 1


def test_a_decoder_that_dies_names_the_sound_as_the_table_does(tmp_path, monkeypatch):
    corpus = corpus_of(tmp_path / "corpus", 3)
    monkeypatch.setattr("serann.annotator.run.session.MANY", 1)
    break_reading(tmp_path, monkeypatch, "if name.endswith('u001.wav'): os._exit(11)")
    run = run_scripted(corpus, tmp_path / "run")
    assert run.failures["reason"].to_pylist() == ["audio/u001.wav: the decoder died on it (exit status 11)"]


def test_the_examples_of_the_helps_lead_on_to_each_other():
    """Of annotate's run fuse's example can be made: it needs the train split's utterances, so no --limit."""
    examples = {name: CliRunner().invoke(app, [*name.split(), "--help"]).stdout for name in ("annotate", "fuse")}
    assert "serann annotate demo --model demo -o run\n" in re.sub(r"[ │]*\n", "\n", examples["annotate"])
    assert "serann fuse divided run " in examples["fuse"]
