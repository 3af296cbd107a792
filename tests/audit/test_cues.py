"""Identity cues: what was put into the answers is found and tested, by hand and by scipy; nothing else is."""

import dataclasses
import json

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.scripted_runs import corpus_of, run_scripted
from fixtures.simulated import simulated_corpus
from scipy import stats
from serann.annotator.audit.listening import listening
from serann.annotator.audit.result import plain
from serann.annotator.audit.sensitivity import cues_of
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.report.audit_sections import cues_section, listening_section
from serann.annotator.report.audit_words import cues_in_words
from serann.data.holdout import divide_votes, write_division


class Prejudiced(ScriptedEngine):
    """Told of a woman it moves `moved` (by the sound's loudness, where `by` is set) from neutral to sad."""

    def __init__(self, moved, by=None):
        super().__init__(EngineSpec("scripted", "scripted"), script=self.answer)
        self.moved, self.by = moved, by

    def answer(self, wave, question):
        p = np.full(len(question.answers), 0.5 / (len(question.answers) - 1))
        p[0] = 0.5
        if "woman" in question.text:
            moved = self.moved if self.by is None else self.by(wave)
            p[0], p[3] = p[0] - moved, p[3] + moved
        return np.log(p)


def some(wave):
    """Between -.05 and .25, by the sound."""
    return 0.1 + 0.15 * np.sin(1e4 * float(np.abs(wave).mean()))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    made, _ = simulated_corpus(tmp_path_factory.mktemp("cues") / "c", utterances=48, speakers=8, audio=True)
    return made


def run_of(corpus, path, engine):
    return run_scripted(corpus, path, engine=engine, panel="identity-cues", votes=0)


def test_a_shift_is_what_was_put_in_and_its_p_that_of_scipy(corpus, tmp_path):
    run = run_of(corpus, tmp_path / "run", Prejudiced(0, by=some))
    found = present(cues_of(run, corpus))
    pairs = {pair.part: pair for pair in found.pairs if pair.factor == "gender cue"}
    assert pairs.keys() == {"woman instead of nothing", "man instead of nothing", "man instead of woman"}
    sad = next(s for s in pairs["man instead of woman"].shifts if s.label == "sad")
    # by speaker: as many utterances each, so the jackknife is the t-test of the speakers' means
    rows = run.scores.to_pylist()
    told = {}
    for row in rows:
        level = "woman" if "woman" in row["listener"] else "man" if "man" in row["listener"] else "none"
        told.setdefault((row["utterance_id"], level), []).append(np.exp(row["logp"][3]))
    shifts = np.array([np.mean(told[u, "man"]) - np.mean(told[u, "woman"]) for u in corpus.ids])
    means = [shifts[corpus.column("speaker") == s].mean() for s in sorted(set(corpus.column("speaker")))]
    test = stats.ttest_1samp(means, 0)
    assert sad.difference.value == pytest.approx(shifts.mean(), abs=1e-6)
    assert sad.p == pytest.approx(test.pvalue, rel=1e-3)  # pyright: ignore[reportAttributeAccessIssue]
    assert (sad.difference.low, sad.difference.high) == pytest.approx(tuple(test.confidence_interval()), abs=1e-5)
    assert sad.p <= sad.p_adjusted <= 1
    # what leaves neutral goes to sad, so the total variation is the shift's size, utterance by utterance
    assert pairs["man instead of woman"].moved.value == pytest.approx(np.abs(shifts).mean(), abs=1e-6)
    assert (sad.difference.rows, sad.difference.groups) == (48, 8)
    json.dumps(plain(found), allow_nan=False)


def test_what_moves_every_answer_alike_is_told_and_accents_that_move_none_are_not(corpus, tmp_path):
    found = present(cues_of(run_of(corpus, tmp_path / "run", Prejudiced(0.2)), corpus))
    assert found.tested == 2 * 3 * 6
    moved = {(p.factor, p.part, s.label) for p in found.pairs for s in p.shifts if s.p_adjusted < 0.05}
    told = ("woman instead of nothing", "man instead of woman")
    assert moved == {("gender cue", part, label) for part in told for label in ("neutral", "sad")}
    assert cues_in_words(found, 0.95).startswith(
        "Between two genders or accents that the prompt states, 2 shifts to the same sound are told from 0 ("
    )
    assert cues_in_words(found, 0.95).endswith("might do (of 36 tested shifts of a label's probability, Holm, 95 %).")
    assert "sad −20.0 [−20.0, −20.0] points for man instead of woman" in cues_in_words(found, 0.95)
    assert "; between one stated and none, 2 shifts to the same sound are told from 0 (" in cues_in_words(found, 0.95)
    assert "sad +20.0 [20.0, 20.0] points for woman instead of nothing" in cues_in_words(found, 0.95)
    assert "man instead of woman" in html(cues_section(found, 0.95))


def test_no_shift_and_no_cue(corpus, tmp_path):
    fair = present(cues_of(run_of(corpus, tmp_path / "fair", Prejudiced(0)), corpus))
    assert all(s.p == 1 for p in fair.pairs for s in p.shifts)
    assert cues_in_words(fair, 0.95) == (
        "No gender or accent that the prompt states is told to move answers to the same sound (of 36 tested shifts of "
        "a label's probability, Holm, 95 %)."
    )
    letters = run_scripted(corpus, tmp_path / "letters", panel="letters")
    assert cues_of(letters, corpus) is None
    assert cues_section(None, 0.95) == []
    sampled = run_scripted(corpus, tmp_path / "sampled", panel="identity-cues", mode="sample")
    assert cues_of(sampled, corpus) is None


def test_one_speaker_tests_nothing(tmp_path):
    one = corpus_of(tmp_path / "one", 6)
    run = run_of(one, tmp_path / "run", Prejudiced(0.2))
    column = one.utterances.column_names.index("speaker")
    same = dataclasses.replace(one, utterances=one.utterances.set_column(column, "speaker", [["a"] * 6]))
    found = present(cues_of(run, same))
    assert found.tested == 0
    assert (
        cues_in_words(found, 0.95) == "Whether the cues move answers cannot be tested: the speakers are fewer than two."
    )


def test_the_reports_section_tests_every_run_that_states_cues(corpus, tmp_path):
    divided = write_division(corpus, divide_votes(corpus, seen=2), None, overwrite=True)
    plain = run_scripted(divided, tmp_path / "plain", panel="letters")
    cued = run_of(divided, tmp_path / "cued", Prejudiced(0.2))
    asked = {"m": 4, "draws": 1, "seed": 0, "level": 0.95}
    found = listening(divided, [plain, cued], [], **asked)
    assert [c.run for c in found.cues] == ["cued"]
    assert [present(s).run for s in (found.sensitivity, *found.others)] == ["plain", "cued"]
    page = html(listening_section(found, 0.95))
    assert "Identity cues in the prompt: cued" in page
    assert "Sensitivity: cued" in page
    without = html(listening_section(listening(divided, [plain], [], **asked), 0.95))
    assert "Identity cues are not tested" in without
