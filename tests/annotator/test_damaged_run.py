"""A run whose files are damaged, whose disk is full or whose place is taken: one sentence each, and nothing is lost."""

import json
import os
import subprocess
import sys

import pytest
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, run_scripted, scripted, tables_of
from serann.annotator.run import tables as write_module
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.annotator.run.ledger import Ledger
from serann.annotator.run.run import open_run
from serann.data.errors import OutputError, RunError
from serann.data.files import read_json, write_json


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda info: {"format": 1}, r"4 problems(.|\n)*run: Field required(.|\n)*identity: Field required"),
        (lambda info: info | {"surprise": 1}, r"surprise: Extra inputs are not permitted"),
        (lambda info: info | {"votes": "many"}, r"votes: Input should be a valid integer"),
        (lambda info: info | {"format": "one"}, r"format: Input should be a valid integer"),
        (lambda info: info | {"labels": {"name": "x"}}, r"labels: not a label set"),
        (lambda info: info | {"identity": {"corpus": "x"}}, r"identity\.panel: Field required"),
        (lambda info: info | {"plan": {"number": 1}}, r"plan\.batches: Field required"),
        (lambda info: [], r"expected a JSON object, found a list"),
    ],
)
def test_a_run_file_that_is_none(corpus, tmp_path, change, expected):
    run = run_scripted(corpus, tmp_path / "run")
    changed = change(read_json(run.path / "run.json", what="run"))
    (run.path / "run.json").write_text(json.dumps(changed))
    calls = (
        lambda: open_run(run.path),
        lambda: run_scripted(corpus, run.path),
        lambda: plan_annotation(corpus, "scripted", engine=scripted(), out=run.path),
    )
    for call in calls:
        with pytest.raises(RunError, match=expected) as told:
            call()
        assert "annotate anew with --overwrite" in str(told.value)
    assert len(run_scripted(corpus, run.path, overwrite=True).ids) == 6


@pytest.mark.parametrize("cut", [0, 100, -40])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scores.parquet", {}),
        ("failures.parquet", {}),
        (".ledger/sounds.parquet", {}),
        (".ledger/judged.parquet", {"attributes": ("valence",)}),
        ("answers.parquet", {"mode": "verbalized", "votes": 2}),
        (".ledger/stated.parquet", {"mode": "verbalized", "votes": 2}),
    ],
)
def test_a_table_that_is_damaged_is_named(corpus, tmp_path, name, options, cut):
    run = run_scripted(corpus, tmp_path / "run", limit=2, **options)
    whole = (run.path / name).read_bytes()
    (run.path / name).write_bytes(whole[:cut])
    with pytest.raises(RunError, match=rf"{name}.*: restore the file from a copy, or annotate anew with --overwrite"):
        run_scripted(corpus, tmp_path / "run", **options)
    (run.path / name).write_bytes(whole)
    assert set(run_scripted(corpus, tmp_path / "run", **options).votes["utterance_id"].to_pylist()) == set(corpus.ids)


def test_an_environment_record_that_is_none(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run")
    write_json(run.path / "environment.json", {})
    with pytest.raises(RunError, match=r"environment\.json: no environment record.*delete it, nothing depends on it"):
        run_scripted(corpus, tmp_path / "run")


def test_a_disk_that_fills_while_the_tables_are_made(corpus, tmp_path, monkeypatch):
    straight = tables_of(run_scripted(corpus, tmp_path / "straight").path)

    def full(*_, **__):
        raise OutputError("RUN/.ledger/staged/votes.parquet cannot be written") from OSError(
            28, "No space left on device"
        )

    with monkeypatch.context() as patched:
        patched.setattr(write_module, "write_table", full)
        with pytest.raises(OutputError) as told:
            run_scripted(corpus, tmp_path / "run")
    assert str(told.value) == (
        f"the run at {tmp_path / 'run'} cannot be continued: No space left on device; free some space and run the same "
        "command again, finished utterances are kept"
    )
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", engine=engine)
    assert engine.asked == []
    assert tables_of(tmp_path / "run") == straight


def test_a_place_is_looked_at_before_a_model_is_loaded(corpus, tmp_path, monkeypatch):
    def never(spec):
        raise AssertionError("the model is loaded")

    run = run_scripted(corpus, tmp_path / "run")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years")
    monkeypatch.setattr("serann.annotator.run.asking.make_engine", never)
    with Ledger(run.path, lambda former: dict(present(former)), labels=6, raters="abcde"):
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="is being written by another serann annotate"):
                annotate(corpus, "scripted", engine="scripted", out=run.path, overwrite=overwrite)
    for call in (annotate, plan_annotation):
        with pytest.raises(OutputError, match="holds something that is not a run"):
            call(corpus, "scripted", engine="scripted", out=tmp_path / "thesis")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match=r"cannot be written to .*new: Permission denied"):
        annotate(corpus, "scripted", engine="scripted", out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_command_line_says_that_nothing_was_left_to_ask(corpus, tmp_path):
    call = [sys.executable, "-m", "serann.annotator.cli", "annotate", str(corpus.path), "--engine", "scripted"]
    call += ["--model", "scripted", "-o", str(tmp_path / "run")]
    first, second = (subprocess.run(call, capture_output=True, text=True, check=True) for _ in range(2))
    assert "this time 6 utterances" in first.stderr
    assert "nothing was left to ask" not in first.stderr
    assert "nothing was left to ask" in second.stderr
    assert "this time" not in second.stderr
