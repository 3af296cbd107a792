"""tests/benchmarks/arms.py: its parts against witnesses, a quick run, and (slow) the comparison it stands for."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t
from serann.data.corpus import open_corpus
from serann.data.errors import OptionError
from serann.trainer.scoring.held_out import held_out, reference
from serann.trainer.scoring.measures import difference, measures, scored

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import arms
from fixtures.simulated import simulated_corpus


@pytest.fixture
def scene(tmp_path):
    """A reference of six test speakers, the truth, and two seeds' answers of two systems."""
    corpus, truth = simulated_corpus(tmp_path / "corpus", utterances=240, speakers=30)
    rows, counts = reference(corpus, "test")
    ref = held_out(corpus, "test", rows, counts, (), m=4, seed=0)
    rng = np.random.default_rng(0)

    def system(noise):
        return [(1 - noise) * truth[rows] + noise * rng.dirichlet(np.ones(6), len(rows)) for _ in range(2)]

    return ref, counts, system(0.3), system(0.6)


def test_mean_over_seeds_is_the_mean_of_the_seeds_scores(scene):
    ref, _, good, _ = scene
    averaged = arms.over_seeds([measures(p, None, ref) for p in good])
    each = [{x.name: scored(x, ref).value for x in measures(p, None, ref)} for p in good]
    assert set(averaged) == set(arms.METRICS)
    for name, x in averaged.items():
        assert scored(x, ref).value == pytest.approx(np.mean([row[name] for row in each]))


def test_paired_interval_is_the_jackknife_over_speakers_of_the_mean_difference(scene):
    ref, counts, good, bad = scene
    one, other = (arms.over_seeds([measures(p, None, ref) for p in found]) for found in (good, bad))
    found = difference(one["log_score"], other["log_score"], ref)

    votes = counts.sum(axis=1)

    def rows_of(found):
        return np.mean([(counts * np.log(p)).sum(axis=1) / votes for p in found], axis=0)

    gap, speakers = rows_of(good) - rows_of(bad), sorted(set(ref.speakers))
    left = np.array([gap[ref.speakers != s].mean() for s in speakers])
    size = len(speakers)
    half = t.ppf(0.975, size - 1) * np.sqrt((size - 1) / size * np.square(left - left.mean()).sum())
    assert (found.value, found.high - found.low) == pytest.approx((gap.mean(), 2 * half))


def test_smaller_train_splits_are_nested_and_leave_the_other_splits_alone():
    corpus = open_corpus("demo")
    inside = corpus.in_split("train")
    few, many = arms.smaller(corpus, 50), arms.smaller(corpus, 100)
    assert (few[inside].sum(), many[inside].sum()) == (50, 100)
    assert not (few & ~many).any()
    assert few[~inside].all()
    assert arms.smaller(corpus, None).all()


def test_the_panel_errs_alike_and_is_nearer_to_the_truth_than_nothing(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "corpus", utterances=600, speakers=30)
    heard = arms.panel_of(truth, corpus, seed=0)
    np.testing.assert_allclose(heard.sum(axis=1), 1)
    np.testing.assert_array_equal(heard, arms.panel_of(truth, corpus, seed=0))
    assert np.abs(heard - arms.panel_of(truth, corpus, seed=1)).max() > 0.1
    error = np.square(heard - truth).sum(axis=1).mean()
    assert 0.02 < error < np.square(truth.mean(axis=0) - truth).sum(axis=1).mean()
    shared, own = arms.SHARED_ERROR**2 + arms.SPEAKER_ERROR**2, arms.OWN_ERROR**2
    assert shared / (shared + own) == pytest.approx(0.76, abs=0.005)


def test_quick_run_trains_every_arm_and_goes_on_from_what_it_kept(tmp_path, monkeypatch):
    few = ("hard", "disaggregated", "soft", "human-mixture", "fused")
    found = arms.run(tmp_path, seeds=1, arms=few, sizes=(), quick=True)
    assert found["about"] == arms.SIMULATION
    assert set(found["arms"]) == {*few, "panel", "constant", "truth"}
    assert {(row["arm"], row["less"]) for row in found["differences"]} >= {
        ("hard", "soft"),
        ("fused", "human-mixture"),
    }
    assert [row["arm"] for row in found["curve"]] == list(arms.CURVE)
    assert all(np.isfinite(row["log_score"]["value"]) for row in found["arms"].values())
    monkeypatch.setattr(arms, "train", None)  # nothing is trained again
    again = arms.run(tmp_path, seeds=1, arms=few, sizes=(), quick=True)
    assert again["arms"] == found["arms"]
    monkeypatch.setattr(arms, "EPOCHS", arms.EPOCHS + 1)
    with pytest.raises(OptionError, match="other settings"):
        arms.run(tmp_path, seeds=1, arms=few, sizes=(), quick=True)


@pytest.mark.slow
def test_soft_targets_beat_hard_ones_in_log_score(tmp_path):
    """Of 2,000 generated utterances of 40 voices; needs espeak-ng. Whether fused beats human-mixture is printed."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    found = arms.run(tmp_path, seeds=5, sizes=(), say=print)
    arms.show(found)
    assert found["utterances"]["train"] + found["utterances"]["development"] + found["utterances"]["test"] >= 2000
    gaps = {(row["arm"], row["less"]): row for row in found["differences"]}
    assert gaps["hard", "soft"]["log_score"]["high"] < 0
