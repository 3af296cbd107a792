"""`--plan`: what is to be done and what it costs, measured without writing; what stops a run; the display."""

import json
import time

import numpy as np
import pytest
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, run_scripted, scripted
from fixtures.small_models import make_checkpoint
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.memory import FILL, fit_to_memory
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.run.annotate import annotate, plan_annotation
from serann.data.errors import OptionError, OutputError
from serann.data.files import read_json
from serann.data.tables import UTTERANCES, from_rows, write_table
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 40)


class Slow(ScriptedEngine):
    """Takes 2 ms an utterance and 20 ms a second of the longest sound."""

    def score(self, sounds, questions):
        time.sleep(len(sounds) * (0.002 + 0.02 * max(map(len, sounds)) / 16000))
        return super().score(sounds, questions)


def test_the_plan_predicts_what_a_run_takes(corpus, tmp_path):
    engine = Slow(EngineSpec("scripted", "scripted"))
    found = plan_annotation(corpus, "scripted", engine=engine, out=tmp_path / "run", batch_size=4)
    assert not (tmp_path / "run").exists()
    durations = corpus.column("duration").astype(float)
    assert (found.utterances, found.answered, found.batches) == (40, 0, 10)
    assert found.hours_of_audio == pytest.approx(durations.sum() / 3600)
    assert found.questions == 40 * 5
    longest = np.sort(durations)[::-1][::4]  # a batch is as long as its longest
    true = (4 * (0.002 + 0.02 * longest)).sum()
    assert true * 0.9 < found.hours * 3600 < true * 2.5  # the machine may be busy; it is never faster
    assert found.memory_gb > 0.01


def test_what_a_run_holds_is_not_planned_again(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run", limit=30, engine=Slow(EngineSpec("scripted", "scripted"), script=_loud))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    found = plan_annotation(corpus, "scripted", engine=Slow(EngineSpec("scripted", "scripted")), out=tmp_path / "run")
    assert (found.utterances, found.answered) == (10, 30)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    with pytest.raises(OutputError, match="seed is 0 there and 1 here"):
        plan_annotation(
            corpus, "scripted", engine=Slow(EngineSpec("scripted", "scripted")), out=tmp_path / "run", seed=1
        )


def _loud(wave, question):
    return np.log(np.full(6, 0.15))


def test_nothing_left_costs_nothing(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run")
    found = plan_annotation(corpus, "scripted", engine=scripted(), out=tmp_path / "run")
    assert (found.utterances, found.hours, found.probed) == (0, 0, 0)


def test_sounds_that_cannot_be_heard_cannot_be_probed(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 3, break_audio=(0, 1, 2))
    with pytest.raises(OptionError, match="none of the utterances that were to be probed can be heard"):
        plan_annotation(corpus, "scripted", engine=scripted())


class Card:
    """A device of 1,000 bytes: 100 are taken, and a second of sound takes 10."""

    total = 1000

    def __init__(self):
        self.asked = []
        self._peak = 0

    def reset(self):
        self._peak = 100

    def peak(self):
        return self._peak

    def ask(self, count):
        if 100 + 10 * 5 * count > self.total:
            raise MemoryError
        self.asked.append(count)
        self._peak = 100 + 10 * 5 * count
        return 5.0 * count


def test_the_budget_fills_the_memory_but_for_a_reserve():
    card = Card()
    assert fit_to_memory(card.ask, card, most=64) == pytest.approx((FILL * 1000 - 100) / 10)
    assert card.asked == [1, 4]
    card.total = 290  # four do not fit: one at a time
    assert fit_to_memory(card.ask, card, most=64) == 5
    card.total = 120
    assert fit_to_memory(card.ask, card, most=64) is None


def test_command_line(tmp_path, corpus):
    from serann.annotator.cli import app

    checkpoint = make_checkpoint(tmp_path / "small")
    call = ["annotate", str(corpus.path), "--model", str(checkpoint), "-o", str(tmp_path / "run"), "--limit", "6"]
    told = CliRunner().invoke(app, [*call, "--plan", "--json"])
    assert told.exit_code == 0, told.stderr
    plan = json.loads(told.stdout)
    assert plan["utterances"] == 6
    assert plan["hours"] > 0
    # 6 sounds of at most 1.25 s (31 audio tokens), 5 questions of some 60 to 400 tokens (of a few letters each) apiece.
    assert 6 * 5 * 60 < plan["tokens"] < 6 * (31 + 5 * 400)
    assert not (tmp_path / "run").exists()
    table = CliRunner().invoke(app, [*call, "--plan"])
    assert "utterances to ask" in table.stdout
    assert not (tmp_path / "run").exists()
    stopped = CliRunner().invoke(app, [*call, "--max-hours", "1e-9"])
    assert stopped.exit_code == 1
    assert "stopped with 6 utterances to go; the same command goes on" in stopped.stderr
    done = CliRunner().invoke(app, [*call, "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["session"]["remaining"] == 0
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines[-1] | {"event": "progress", "done": 6, "total": 6, "failures": 0} == lines[-1]
    assert {"per_second", "seconds_left", "device_share"} <= lines[-1].keys()


def test_the_device_share_is_what_the_model_took(corpus, tmp_path):
    seen = []
    run = annotate(
        corpus,
        "scripted",
        out=tmp_path / "run",
        engine=Slow(EngineSpec("scripted", "scripted")),
        watch=seen.append,
        batch_size=4,
    )
    assert 0 < seen[-1].device_share <= 1
    assert seen[-1].seconds_left == 0
    assert seen[-1].per_second > 0
    session = read_json(run.path / "environment.json", what="record")["sessions"][-1]
    assert session["model_share"] == pytest.approx(seen[-1].device_share, abs=0.2)


def test_the_plan_says_what_fits_into_max_hours(corpus):
    calls = {"engine": Slow(EngineSpec("scripted", "scripted"), script=_loud), "batch_size": 4}
    whole = plan_annotation(corpus, "scripted", **calls)
    assert whole.within_hours is None
    none, half, more = (plan_annotation(corpus, "scripted", max_hours=h, **calls).within_hours for h in _hours(whole))
    # The first batch is begun in any case; the longest come first, so half of the time is less than half of them.
    assert (none, more) == (4, 40)
    assert 4 <= present(half) <= 28
    assert present(half) % 4 == 0
    with pytest.raises(OptionError, match="0 hours at most; expected more than 0"):
        plan_annotation(corpus, "scripted", max_hours=0.0, **calls)


def _hours(whole):
    return 1e-9, whole.hours / 2, 20 * whole.hours


def test_the_plan_on_the_command_line_honours_max_hours_and_shows_unknown_durations(tmp_path):
    from serann.annotator.cli import app

    corpus = corpus_of(tmp_path / "corpus", 4)
    rows = [row | {"duration": None} if i < 3 else row for i, row in enumerate(corpus.utterances.to_pylist())]
    write_table(from_rows(rows, UTTERANCES), corpus.path / "utterances.parquet", UTTERANCES)
    call = ["annotate", str(corpus.path), "--engine", "scripted", "--model", "scripted", "-o", str(tmp_path / "run")]
    told = CliRunner().invoke(app, [*call, "--plan", "--max-hours", "1"])
    assert told.exit_code == 0, told.stderr
    shown = [" ".join(line.split()) for line in told.stdout.splitlines()]
    assert "of unknown duration 3 (taken for the longest)" in shown
    assert "within --max-hours 4 utterances" in shown
    plain = CliRunner().invoke(app, [*call, "--plan"])
    assert "--max-hours" not in plain.stdout
