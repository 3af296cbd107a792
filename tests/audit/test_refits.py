"""Jackknife with fits of its own in every replicate, against fits and means made one by one."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fixtures.simulated_speakers import reference_of, simulated_speakers
from serann.annotator.audit import baselines, calibration
from serann.annotator.audit.baselines import REFIT_STEPS, curve_votes, fit_people
from serann.annotator.audit.calibration import CALIBRATIONS, calibrations, chosen
from serann.annotator.audit.effective_votes import HumanCurve, effective_votes
from serann.annotator.audit.scorer import Scorer
from serann.annotator.proxies import Panel
from serann.data.scores.intervals import BLOCKS, blocks_of, replicates
from serann.data.scores.proper_scores import log_score, sq_unbiased
from serann.data.vote_models.calibrated_prior import fit_empirical_bayes
from serann.data.vote_models.dirichlet_mixture import fit_dirichlet_mixture, fit_latent_mixture


def placed_on(speakers, *, draws=2, seed=0):
    """A simulated panel's place on the human curve, with the reference's draws and the panel."""
    heard = simulated_speakers(speakers, seed)
    ref = reference_of(heard, "u")
    scorer = Scorer([ref.redrawn(draw) for draw in range(draws)], level=0.95)
    people = fit_people(ref)
    points = [baselines.curve_predictions(draw, people) for draw in scorer.draws]
    points = [(same[0][0], same[0][1], np.concatenate([q for *_, q in same])) for same in zip(*points, strict=True)]
    corpus: Any = SimpleNamespace(
        utterances=pa.table({"utterance_id": ref.ids, "room": [i % 2 for i in range(len(ref.ids))]})
    )
    panel = Panel("p", heard.q, np.zeros_like(heard.q))
    curve = HumanCurve(scorer, people, points, corpus)
    return curve, curve.place(calibrations(panel, ref)), panel


def test_every_replicate_is_the_mean_under_fits_without_that_speaker():
    curve, placed, panel = placed_on(6)
    draws, ref, people = curve.scorer.draws, curve.scorer.reference, curve.people
    human = ref.scored + ref.other
    whole = {name: calibration_fits(name, human, panel.q, ref.folds) for name in CALIBRATIONS}
    speakers, seen = sorted(set(ref.groups)), set()
    for score, loss in (("log_score", lambda q, v: -log_score(q, v)), ("sq_unbiased", sq_unbiased)):
        _, _, again = curve.overall(score, placed)
        assert again is not None
        assert (again.blocks, again.method) == (6, "jackknife-t")
        for g, speaker in enumerate(speakers):
            outside = ref.groups != speaker
            made = {name: np.empty(human.shape) for name in CALIBRATIONS}
            mixtures = dict(people.fits)
            for fold in people.fits:
                others, here = ref.folds != fold, ref.folds == fold
                taught = outside & others
                if taught.sum() < others.sum():
                    mixtures[fold] = fit_dirichlet_mixture(human[taught], steps=REFIT_STEPS, begin=mixtures[fold])
                for name, fits in whole.items():
                    again_fit = fits[fold]
                    if taught.sum() < others.sum():
                        again_fit = calibration_fit(name, human[taught], panel.q[taught], again_fit)
                    made[name][here] = predicted(name, again_fit, panel.q[here])
            sums, rows = np.zeros(again.means.shape[1]), 0
            for draw in draws:
                votes = curve_votes(draw, curve.most)
                used = chosen({name: q[outside] for name, q in made.items()}, draw.only(outside))
                seen.add(used)
                for fold, mixture in mixtures.items():
                    here = outside & (ref.folds == fold) & curve.kept
                    points = [made[used][here], *(mixture.posterior_mean(v[here]) for v in votes)]
                    sums += [loss(q, draw.scored[here]).sum() for q in points]
                    rows += int(here.sum())
            np.testing.assert_allclose(again.means[g], sums / rows, rtol=1e-9)
    assert seen == set(CALIBRATIONS)


def calibration_fit(name, human, q, begin=None):
    if name == "calibrated prior":
        return fit_empirical_bayes(human, q, begin=begin)
    return fit_latent_mixture(human, q, counts=False, steps=REFIT_STEPS if begin else 40, begin=begin)


def calibration_fits(name, human, q, folds):
    return {int(f): calibration_fit(name, human[folds != f], q[folds != f]) for f in np.unique(folds)}


def predicted(name, fit, q):
    return fit.calibrate(q) if name == "calibrated prior" else fit.posterior_mean(np.zeros_like(q), q)


def test_the_errors_of_the_fits_widen_the_interval():
    curve, placed, _ = placed_on(10, draws=1)
    sums, rows, again = curve.overall("jsd_bits", placed)
    without = replicates(sums, rows)
    assert again is not None
    gap = again.means[:, 0] - again.means[:, 2]
    fixed = without.means[:, 0] - without.means[:, 2]
    assert gap.std() > 1.05 * fixed.std()


def test_sixty_speakers_make_thirty_groups():
    curve, placed, _ = placed_on(60, draws=1)
    row = effective_votes(curve, placed).overall("log_score")
    assert row.method == f"jackknife-t over {BLOCKS} groups of speakers"
    assert row.groups == 60
    assert row.low < row.value < row.high
    codes = np.repeat(np.arange(75), 4)
    blocks = blocks_of(codes, 0)
    assert len(set(blocks)) == BLOCKS
    assert all(len(set(blocks[codes == code])) == 1 for code in range(75))
    np.testing.assert_array_equal(blocks_of(codes[:236], 0), codes[:236])


def test_blocks_without_rows_of_a_part_add_what_their_fits_move():
    rng = np.random.default_rng(0)
    sums, rows = rng.normal(size=(4, 1)) * 5, np.array([5, 3, 0, 0])
    sums[2:] = 0
    effects = rng.normal(size=(4, 1)) * 0.1
    found = replicates(sums, rows, effects=effects)
    means = np.array([sums[1] / 3, sums[0] / 5, *[sums.sum(axis=0) / 8] * 2]) + effects
    np.testing.assert_allclose(found.means, means)
    low, high = found.band(found.means, np.zeros(1), 0.95)
    away = (means[:, 0] - means.mean()) ** 2
    # Student's quantile with one degree of freedom, two blocks with rows
    assert high[0] == pytest.approx(12.7062 * np.sqrt((away[0] + away[1]) / 2 + away[2] + away[3]), rel=1e-5)
    assert low[0] == -high[0]


def test_of_many_utterances_refits_read_a_part(monkeypatch):
    curve, placed, _ = placed_on(20, draws=2)
    _, _, all_of_them = curve.overall("log_score", placed)
    monkeypatch.setattr(calibration, "REFITTED_ON", 250)
    curve, placed, _ = placed_on(20, draws=2)
    _, _, some = curve.overall("log_score", placed)
    assert all_of_them is not None
    assert some is not None
    assert np.isfinite(some.means).all()
    assert not np.allclose(some.means, all_of_them.means, rtol=1e-6)
    # fits to fewer utterances err more
    assert 0.8 < (some.means[:, 0].std() / all_of_them.means[:, 0].std()) < 3


def test_two_speakers_have_an_interval_though_no_fit_can_be_repeated():
    curve, placed, _ = placed_on(2, draws=1)
    row = effective_votes(curve, placed).overall("log_score")
    assert row.reason is not None or row.method == "jackknife-t"
