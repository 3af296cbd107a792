"""The self-check: sound engines pass, leaking batches, drifted back ends and degenerate answers stop the run."""

import numpy as np
import pytest
from fixtures.scripted_runs import corpus_of, run_scripted, scripted, tables_of
from fixtures.small_models import make_checkpoint
from serann.annotator.engines.base import NOT_A_NUMBER, EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.listener import Answer, Answered
from serann.annotator.run.annotate import annotate
from serann.annotator.run.run import open_run
from serann.annotator.run.selfcheck import WINDOW, Endurance, Monitor, canary_waves
from serann.data.errors import RunError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 120)


def test_a_sound_engine_passes_and_the_tables_are_the_same(corpus, tmp_path):
    engine = scripted()
    run = run_scripted(corpus, tmp_path / "run", engine=engine, selfcheck=True)
    straight = run_scripted(corpus, tmp_path / "straight", selfcheck=False)
    assert tables_of(run.path) == tables_of(straight.path)
    assert len(engine.asked) == 5 * (120 + 2 * 4 + 3)  # a sample of four in a batch and alone, three canaries
    assert len(run.info["canaries"]) == 5


def test_it_is_on_by_default_only_for_many(corpus, tmp_path, monkeypatch):
    assert "canaries" not in run_scripted(corpus, tmp_path / "few").info
    monkeypatch.setattr("serann.annotator.run.annotate.FROM_UTTERANCES", 100)
    assert "canaries" in run_scripted(corpus, tmp_path / "many").info
    assert "canaries" not in run_scripted(corpus, tmp_path / "none", selfcheck=False).info


class Leaking(ScriptedEngine):
    """In a batch every sound is heard as the first."""

    def score(self, waves, questions):
        return super().score([waves[0]] * len(waves), questions)


def test_a_batch_that_leaks_is_refused_before_anything_is_written(corpus, tmp_path):
    engine = Leaking(EngineSpec("scripted", "scripted"))
    with pytest.raises(RunError, match=r"in a batch of 4 the model answers otherwise than alone \(utterance u\d+"):
        run_scripted(corpus, tmp_path / "run", engine=engine, selfcheck=True)
    assert not (tmp_path / "run").exists()


def test_a_back_end_that_drifted_is_refused(corpus, tmp_path):
    run_scripted(corpus, tmp_path / "run", limit=10, selfcheck=True)
    with pytest.raises(RunError, match="answers the canary sounds otherwise than when this run began"):
        run_scripted(
            corpus, tmp_path / "run", engine=scripted(lambda w, q: loudness_and_text(-w[:50], q)), selfcheck=True
        )
    assert len(open_run(tmp_path / "run").ids) == 10


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda w, q: loudness_and_text(w, q) - 12, r"only 5\.5e-06 of the model's probability falls on a label"),
        (lambda w, q: np.log([0.9, 0.02, 0.02, 0.02, 0.02, 0.02]), "the answer is the same whatever is heard"),
    ],
)
def test_degenerate_answers_stop_the_run_and_keep_what_is_there(corpus, tmp_path, script, message):
    with pytest.raises(RunError, match=message) as told:
        run_scripted(corpus, tmp_path / "run", engine=scripted(script), selfcheck=True)
    assert "--no-selfcheck goes on anyway" in str(told.value)
    engine = scripted(script)
    run_scripted(corpus, tmp_path / "run", engine=engine, selfcheck=False)
    assert 0 < sum(engine.batches) <= 120 - WINDOW + 16  # the former answers are kept


def answered(text, label):
    return Answered(answers=(Answer("voice@1", 0, text, label, None if label else "no label"),))


def test_texts_without_labels_stop_the_run():
    monitor = Monitor()
    monitor([answered("Sad.", "sad")] * WINDOW)
    with pytest.raises(RunError, match="100% of the answers name no label; they are empty or special tokens"):
        monitor([answered("", None)] * WINDOW)
    with pytest.raises(RunError, match="the last one is 'I cannot"):
        Monitor()([answered("I cannot hear audio.", None)] * WINDOW)


def test_canaries_never_change():
    tone, noise, fading = canary_waves()
    assert (len(tone), len(noise), len(fading)) == (16000, 32000, 8000)
    # Uniform in [-.2, .2]: the standard deviation is .4 / sqrt(12) = .11547.
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.11547], atol=2e-3)
    np.testing.assert_allclose(tone[[0, 20]], [0, 0.3 * np.sin(2 * np.pi * 220 * 20 / 16000)], atol=1e-6)
    np.testing.assert_allclose(fading[4000], 0.75 * tone[4000], atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(canary_waves(), (tone, noise, fading), strict=True))


def test_a_real_model_passes(corpus, tmp_path):
    checkpoint = make_checkpoint(tmp_path / "small")
    run = annotate(corpus, str(checkpoint), out=tmp_path / "run", limit=6, device="cpu", selfcheck=True)
    assert len(run.info["canaries"]) == 5
    annotate(corpus, str(checkpoint), out=tmp_path / "run", limit=9, device="cpu", selfcheck=True)


def nan(wave, question):
    return np.full(6, np.nan)


@pytest.mark.parametrize("selfcheck", [None, True])
def test_a_model_that_fails_on_everything_stops_the_run(corpus, tmp_path, selfcheck):
    with pytest.raises(
        RunError, match=r"the model failed on 10\d utterances in a row, .*no numbers \(NaN\); try --dtype"
    ):
        run_scripted(corpus, tmp_path / "run", engine=scripted(nan), selfcheck=selfcheck)
    engine = scripted()  # what failed stands in the session that goes on, and is asked again in the next one
    assert len(run_scripted(corpus, tmp_path / "run", engine=engine).ids) < 120
    assert len(run_scripted(corpus, tmp_path / "run", engine=engine).ids) == 120
    assert sum(engine.batches) == 120


def test_a_failure_that_is_old_counts_for_nothing_and_who_wants_no_check_waits_for_a_thousand(corpus, tmp_path):
    endurance = Endurance(3)
    bad, good = Answered(failure=NOT_A_NUMBER), answered("Sad.", "sad")
    endurance([bad, bad, good, bad], [False] * 4)
    endurance([bad, bad], [False, True])  # it failed before: it may
    with pytest.raises(
        RunError, match=r"failed on 3 utterances in a row, so nothing more is asked; the last time: .*NaN"
    ):
        endurance([bad], [False])
    run = run_scripted(corpus, tmp_path / "run", engine=scripted(nan), selfcheck=False)
    assert run.failures.num_rows == 120
    again = run_scripted(corpus, tmp_path / "run", engine=scripted(nan))  # all have failed before
    assert set(again.failures["attempts"].to_pylist()) == {2}
