"""What survives of a run under its controls: simulated runs of known worth, by hand, refusals, and the report."""

import json

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import sharpened, shuffled, simulated_corpus, simulated_run
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from serann.annotator.audit.controls import audit_controls, check_controls
from serann.annotator.audit.effective_votes import crossing, meets
from serann.annotator.audit.result import plain
from serann.annotator.report.audit_sections import controls_section
from serann.annotator.report.audit_words import controls_in_words
from serann.annotator.run.run import open_run
from serann.data.errors import OptionError
from serann.data.files import read_json, write_json
from serann.data.seeds import rng_from


def controlled_run(path, corpus, p, control, **identity):
    """A simulated run that says it was made under a control."""
    simulated_run(path, corpus, p)
    info = read_json(path / "run.json", what="run")
    info["identity"] |= {**({} if control is None else {"control": control}), **identity}
    write_json(path / "run.json", info)
    return open_run(path)


def worded(truth, share, seed=3):
    """What words tell: the truth of some utterances, the mean of all for the others."""
    rng = rng_from("words", seed)
    known = rng.random(len(truth)) < share
    return np.where(known[:, None], truth, truth.mean(axis=0))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    corpus, truth = simulated_corpus(folder / "corpus", utterances=600, speakers=30, votes=9, seed=4)
    mean = np.tile(truth.mean(axis=0), (len(truth), 1))
    heard = 0.6 * truth + 0.4 * shuffled(truth)
    runs = {
        "main": controlled_run(folder / "main", corpus, heard, None),
        "words": controlled_run(folder / "words", corpus, worded(heard, 0.4), "transcript-only"),
        "silence": controlled_run(folder / "silence", corpus, mean, "silence"),
        "other": controlled_run(folder / "other", corpus, shuffled(sharpened(truth, 1.5), 9), "other-voice"),
        "same": controlled_run(folder / "same", corpus, heard, "transcript-only"),
    }
    return corpus, runs


@pytest.fixture(scope="module")
def found(made):
    corpus, runs = made
    return audit_controls(corpus, runs["main"], [runs[name] for name in ("words", "silence", "other", "same")], draws=4)


def row(found, name):
    return next(r for r in found.rows if r.name == name)


def test_what_is_left_without_the_voice(found):
    assert found.worth.value > 0.5
    words, silence, other, same = (row(found, name) for name in ("words", "silence", "other", "same"))
    assert silence.worth.value < 0.15
    assert silence.share.value < 0.2
    assert other.worth.value < 0.15
    assert 0.1 < words.share.value < 0.7
    assert words.share.low < words.share.value < words.share.high
    assert words.share.value == pytest.approx(words.worth.value / found.worth.value, rel=1e-6)
    assert (words.share.method, words.share.groups) == ("jackknife-t", 30)
    # a control that answers as the run does loses nothing, and no speaker tells otherwise
    assert same.share.value == pytest.approx(1, abs=0.05)
    assert found.gap.value > words.gap.value > silence.gap.value - 5
    assert found.utterances == 600


def test_it_is_said_in_words_and_as_html(found):
    assert "the lexical share is" in controls_in_words(found)
    assert "From silence it is worth" in controls_in_words(found)
    assert "With the words in another's voice" in controls_in_words(found)
    page = html(controls_section(found))
    assert all(control in page for control in ("transcript-only", "silence", "other-voice", "the utterances"))
    json.dumps(plain(found), allow_nan=False)


def test_a_run_that_is_worth_nothing_has_no_share(made, tmp_path):
    corpus, runs = made
    deaf = controlled_run(tmp_path / "deaf", corpus, shuffled(worded(np.eye(6)[np.arange(600) % 6], 1.0)), None)
    found = audit_controls(corpus, deaf, [runs["silence"]], draws=2)
    assert "not told from worth nothing" in present(found.rows[0].reason)
    assert np.isnan(found.rows[0].share.value)
    assert "undefined" in html(controls_section(found)) or "not told" in html(controls_section(found))


def test_only_utterances_that_all_have_answered(made, tmp_path):
    corpus, runs = made
    lacking = simulated_run(tmp_path / "part", corpus, np.full((600, 6), 1 / 6), missing=corpus.ids[:250])
    info = read_json(lacking / "run.json", what="run")
    info["identity"]["control"] = "noise"
    write_json(lacking / "run.json", info)
    found = audit_controls(corpus, runs["main"], [open_run(lacking)], draws=2)
    assert found.utterances == 350
    assert found.rows[0].control == "noise"


def test_many_levels_meet_their_curves_where_the_crossing_is():
    rng = np.random.default_rng(0)
    curves = np.sort(rng.uniform(0, 1, (40, 5)), axis=1)[:, ::-1]
    levels = rng.uniform(-0.1, 1.1, 40)
    for level, curve, value in zip(levels, curves, meets(levels, curves)[0], strict=True):
        one = crossing(np.full(12, level), np.tile(curve, (12, 1)), np.ones(12), confidence=0.95)
        assert value == pytest.approx(one.value, abs=1e-9)
        line = PchipInterpolator(range(5), curve)
        if curve[-1] < level < curve[0]:
            assert value == pytest.approx(brentq(lambda n, at=level, of=line: of(n) - at, 0, 4, xtol=1e-14), abs=1e-9)
    # two points have one cubic, the line: .9 - .3 n = .75 at n = .5; above the line at once, below it never
    line = np.tile([0.9, 0.6], (3, 1))
    np.testing.assert_allclose(meets(np.array([0.75, 1.0, 0.5]), line)[0], [0.5, 0, 1], atol=1e-9)


def test_what_is_no_control_is_refused(made, tmp_path):
    corpus, runs = made
    with pytest.raises(OptionError, match=r"is a control itself \(silence\)"):
        check_controls(runs["silence"], [runs["words"]])
    other = controlled_run(tmp_path / "big", corpus, np.full((600, 6), 1 / 6), "noise", model="big", seed=3)
    with pytest.raises(OptionError) as told:
        check_controls(runs["main"], [runs["main"], other])
    assert "was made without --control" in str(told.value)
    assert "has model 'big', the run 'simulated'" in str(told.value)
    assert "seed" not in str(told.value)
