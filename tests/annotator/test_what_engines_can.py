"""Engines that can less than all: what they cannot do is said before anything is written, the rest goes as ever."""

import os
import subprocess
import sys

import pytest
from fixtures.scripted_runs import corpus_of, run_scripted, scripted
from serann.annotator.engines.base import NOT_A_NUMBER, EngineSpec, Reason
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.run.annotate import plan_annotation
from serann.data.errors import OptionError
from serann.data.tables import ANSWERS, read_table


class Mute(ScriptedEngine):
    """An engine that scores alone."""

    generate = None  # type: ignore[assignment]


class WriterOnly(ScriptedEngine):
    """An engine that writes alone, as behind a server without log-probabilities."""

    score = None  # type: ignore[assignment]


def made(kind):
    return kind(EngineSpec("scripted", "scripted"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 4)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        (WriterOnly, {"mode": "exact"}, "this engine cannot score answers, which mode exact needs; use --mode sample"),
        (Mute, {"mode": "sample"}, "this engine cannot write texts, which mode sample needs; use --engine"),
        (Mute, {"mode": "verbalized"}, "this engine cannot write texts, which mode verbalized needs; use --engine"),
        (
            WriterOnly,
            {"mode": "sample", "attributes": ("valence",)},
            "cannot score answers, which ratings of attributes",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_a_sentence_before_anything_is_written(corpus, tmp_path, kind, options, told):
    with pytest.raises(OptionError, match=told):
        run_scripted(corpus, tmp_path / "run", engine=made(kind), **options)
    with pytest.raises(OptionError, match=told):
        plan_annotation(corpus, "scripted", engine=made(kind), **options)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_replaced_by_one_that_cannot_be_made(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run")
    with pytest.raises(OptionError, match="cannot score answers"):
        run_scripted(corpus, tmp_path / "run", engine=made(WriterOnly), overwrite=True)
    assert (tmp_path / "run" / "scores.parquet").is_file()


def test_an_engine_that_writes_alone_is_checked_by_what_it_writes(corpus, tmp_path):
    """The self-check compares scores; where there are none it has nothing to compare, and the texts are looked at."""
    run = run_scripted(corpus, tmp_path / "run", engine=made(WriterOnly), mode="sample", votes=2, selfcheck=True)
    assert run.votes.num_rows == 8
    assert run.failures.num_rows == 0


class Refusing(ScriptedEngine):
    """A server that refuses some of the texts, for `reason`."""

    reason = Reason("the server refuses this content", "server", again=False)

    def generate(self, sounds, requests, *, max_new_tokens):
        texts = super().generate(sounds, requests, max_new_tokens=max_new_tokens)
        return [[self.reason if place == 0 else text for place, text in enumerate(own)] for own in texts]


Refusing.__name__ = "ScriptedEngine"


def test_a_text_that_a_server_refused_is_no_nan(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", engine=made(Refusing), mode="sample", votes=3)
    assert run.failures.num_rows == 0
    refused = [row for row in run.votes.to_pylist() if row["reason"] == "the server refuses this content"]
    assert len(refused) == 4
    assert {row["label"] for row in refused} == {None}
    answers = read_table(run.path / "answers.parquet", ANSWERS, labels=corpus.labels).to_pylist()
    assert [row["reason"] for row in answers if row["text"] is None] == ["the server refuses this content"] * 4
    asked = made(Refusing)
    again = run_scripted(corpus, tmp_path / "run", engine=asked, mode="sample", votes=3)
    assert asked.asked == []  # it is as final as an answer
    assert again.votes.equals(run.votes)


def test_a_text_that_may_be_had_later_is_a_failure_of_that_reason(corpus, tmp_path):
    busy = made(Refusing)
    busy.reason = Reason("the server answered 429", "server", again=True)
    run = run_scripted(corpus, tmp_path / "run", engine=busy, mode="sample", votes=3)
    assert set(run.failures["reason"].to_pylist()) == {"the server answered 429"}
    assert NOT_A_NUMBER.text not in str(run.failures)
    again = run_scripted(corpus, tmp_path / "run", engine=scripted(), mode="sample", votes=3)
    assert again.failures.num_rows == 0


ELSEWHERE = """
import sys
from pathlib import Path
from fixtures.scripted_runs import corpus_of, run_scripted, scripted
from serann.annotator.run.annotate import plan_annotation

folder = Path(sys.argv[1])
corpus, engine = corpus_of(folder / "corpus", 4), scripted()
engine.device = "a machine elsewhere"
print(plan_annotation(corpus, "scripted", engine=engine).device)
run = run_scripted(corpus, folder / "run", engine=engine)
print(run.votes.num_rows, "torch" in sys.modules)
"""


def test_an_engine_whose_device_is_no_torch_device_needs_no_torch(tmp_path):
    paths = os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a machine elsewhere", "80 False"]
