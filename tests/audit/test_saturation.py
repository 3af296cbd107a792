"""Saturation: the fit against scipy and the paper's own figures, the expectation against all possible votes."""

import json
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.present import present
from fixtures.simulated import shuffled, simulated_corpus, simulated_run
from scipy.optimize import curve_fit
from serann.annotator.audit import saturation
from serann.annotator.audit.result import CurvePoint, plain
from serann.annotator.audit.saturation import DrawnVotes, expected_sq, fit_saturating, saturation_point
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.proxies import line_up
from serann.annotator.report.audit_sections import saturation_section
from serann.annotator.report.audit_words import saturation_in_words
from serann.annotator.run.run import open_run
from serann.data.scores.divergences import jsd_bits
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.scores.scoring import ScoreRow

GOOD = {f"good-{i}": 0.0 for i in range(9)}
X = np.arange(1, 21.0)
# mean JS of n = 1..20 synthetic votes in arXiv 2601.14620, Fig. 2, read off the published vector paths
IEMOCAP = [
    *(0.4224, 0.3965, 0.3826, 0.3746, 0.3716, 0.3696, 0.3696, 0.3679, 0.3657, 0.3635),
    *(0.3637, 0.3627, 0.3624, 0.3623, 0.3618, 0.3611, 0.3611, 0.3601, 0.3607, 0.3603),
]
MSP = [
    *(0.3843, 0.3752, 0.3648, 0.3691, 0.3658, 0.3614, 0.3660, 0.3599, 0.3605, 0.3577),
    *(0.3565, 0.3562, 0.3554, 0.3554, 0.3549, 0.3540, 0.3554, 0.3556, 0.3557, 0.3553),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("w")
    corpus, truth = simulated_corpus(place / "c", utterances=240, speakers=12, raters=GOOD)
    runs = [open_run(simulated_run(place / "true", corpus, truth, spread=0.01))]
    runs.append(open_run(simulated_run(place / "deaf", corpus, shuffled(truth), spread=0.01)))
    ref = build_reference(corpus)
    return Scorer([ref.redrawn(draw) for draw in range(3)], level=0.95), line_up(
        runs, corpus, "audit", ids=ref.ids, m=ref.m
    )


@pytest.mark.parametrize(
    # printed by the paper's notebook: a and the threshold; its figure's saturation is about 6 and 10
    ("curve", "a", "threshold", "about"),
    [(IEMOCAP, 0.05998, 0.36837, 6), (MSP, 0.02945, 0.35778, 10)],
)
def test_the_papers_curves_give_the_papers_saturation(curve, a, threshold, about):
    fit = fit_saturating(X, np.array(curve))
    assert float(fit.drop) == pytest.approx(a, abs=1e-4)
    assert float(fit.level + 0.1 * fit.drop) == pytest.approx(threshold, abs=2e-5)
    assert round(float(saturation_point(fit, X))) == about


@pytest.mark.parametrize("curve", [np.array(IEMOCAP), np.array(MSP), 1 / X, 2 - np.exp(-0.3 * X)])
def test_the_fit_is_scipys_least_squares(curve):
    fit = fit_saturating(X, curve)
    start = [curve.max() - curve[-1] or 0.1, 0.1, 0.3]
    a, b, c = curve_fit(lambda x, a, b, c: a - b * np.exp(-c * x), X, curve.max() - curve, p0=start, maxfev=20_000)[0]
    assert (float(fit.drop), float(fit.b), float(fit.rate)) == pytest.approx((a, b, c), rel=2e-5, abs=1e-9)
    if b > 0 and a > 0:
        grid = np.linspace(1, 20, 100)
        fitted = curve.max() - a + b * np.exp(-c * grid)
        assert float(saturation_point(fit, X)) == grid[np.argmax(fitted <= curve.max() - 0.9 * a)]
        assert float(fit.crossing()) <= float(saturation_point(fit, X)) <= float(fit.crossing()) + 19 / 99


def test_many_curves_are_fitted_as_one_by_one_and_unbent_ones_not_at_all():
    curves = np.stack([IEMOCAP, MSP, 1 / X, np.ones(20), -X])
    together = fit_saturating(X, curves.reshape(5, 1, 20))
    for i in range(3):
        alone = fit_saturating(X, curves[i])
        assert [float(part[i, 0]) for part in together] == pytest.approx([float(part) for part in alone], abs=1e-12)
    assert np.isnan(together.rate[3:]).all()
    with pytest.raises(ValueError, match="expected four or more"):
        fit_saturating(X[:3], curves[:, :3])


def test_the_expected_squared_error_is_that_of_all_possible_votes():
    p, h = np.array([[0.5, 0.3, 0.2]]), np.array([[2.0, 1.0, 1.0]])
    limit, spread = expected_sq(p, h, exact=True)
    for n in (1, 2, 3):
        mean = 0.0
        for votes in product(range(3), repeat=n):
            mean += np.prod(p[0, list(votes)]) * sq_unbiased(np.bincount(votes, minlength=3), h[0])
        assert float(limit[0] + spread[0] / n) == pytest.approx(float(mean), abs=1e-12)
    assert limit[0] == pytest.approx(float(sq_unbiased(p[0], h[0])), abs=1e-12)
    own = np.array([[3.0, 1.0, 2.0]])
    limit, spread = expected_sq(own, h, exact=False)
    ballots = [0, 0, 0, 1, 2, 2]
    for n in (1, 2, 4, 6):
        chosen = [np.bincount([ballots[i] for i in some], minlength=3) for some in combinations(range(6), n)]
        mean = np.mean([sq_unbiased(votes, h[0]) for votes in chosen])
        assert float(limit[0] + spread[0] / n) == pytest.approx(float(mean), abs=1e-12)


def test_all_of_the_squared_errors_fall_is_averaging_for_a_deaf_panel_too(world):
    scorer, panels = world
    true, deaf = (saturation.section(scorer, panel) for panel in panels)
    for found in (true, deaf):
        sq = found.curves[0]
        assert found.most_votes == 20
        assert sq.limit is not None
        assert sq.shuffled_share.value == pytest.approx(1, abs=1e-9)
        assert sq.fit.point == pytest.approx(found.averaging_point, abs=1e-9)
        spread = sq.values[0].value - sq.limit.value
        assert [v.value for v in sq.values] == pytest.approx(list(sq.limit.value + spread / X), abs=1e-9)
    # the point of saturation tells nothing of the panel; the level does
    assert true.curves[0].fit.point == deaf.curves[0].fit.point
    assert present(deaf.curves[0].limit).value > present(true.curves[0].limit).value + 0.3
    q = scorer.repeat(panels[0].q)
    assert present(true.curves[0].limit).value == pytest.approx(sq_unbiased(q, scorer.scored).mean(), abs=1e-9)
    assert "All of it is averaging" in saturation_in_words(true)
    assert "100 % as much" in saturation_in_words(true)


def test_sampled_scores_are_those_of_the_votes_drawn(world):
    scorer, panels = world
    found = saturation.section(scorer, panels[0])
    curve = found.curves[1]
    assert curve.score == "jsd_bits@4"
    draw = DrawnVotes(scorer, panels[0].q, panels[0].covers, exact=True, most=20)
    expected = []
    for r, reference in enumerate(scorer.draws):
        votes = draw.labels(np.arange(240), r)[:, :7]
        counts = np.stack([np.bincount(row, minlength=6) for row in votes])
        expected.append(jsd_bits(counts, reference.scored).mean())
    assert curve.values[6].value == pytest.approx(np.mean(expected), abs=1e-9)
    limit = present(curve.limit).value
    assert limit == pytest.approx(jsd_bits(scorer.repeat(panels[0].q), scorer.scored).mean(), abs=1e-9)
    assert curve.values[0].value > curve.values[6].value > curve.values[19].value > limit
    assert curve.fit.level.low < curve.fit.level.value < curve.fit.level.high
    assert curve.fit.crossing.low < curve.fit.crossing.value < curve.fit.crossing.high


def test_drawn_votes_have_the_panels_distribution_and_depend_on_the_id_alone(world):
    scorer, panels = world
    draw = DrawnVotes(scorer, panels[0].q, panels[0].covers, exact=True, most=20)
    votes = draw.labels(np.arange(240), 0)
    share = np.stack([np.bincount(row, minlength=6) for row in votes]) / 20
    assert np.abs((share - panels[0].q).mean(axis=0)).max() < 0.02
    np.testing.assert_array_equal(draw.labels(np.array([7, 3]), 0), votes[[7, 3]])
    assert (draw.labels(np.arange(240), 1) != votes).any()


def test_votes_without_replacement_end_at_the_whole(world):
    scorer, panels = world
    sampled = panels[0].drawn
    texts = replace(panels[0], exact=False)
    found = saturation.section(scorer, texts)
    assert found.votes_from == "drawn without replacement from its votes"
    assert found.curves[1].limit is None
    last = found.curves[1].values[-1].value
    assert last == pytest.approx(jsd_bits(scorer.repeat(sampled), scorer.scored).mean(), abs=1e-9)
    expected = sq_unbiased(scorer.repeat(sampled), scorer.scored).mean()
    assert found.curves[0].values[-1].value == pytest.approx(expected, abs=1e-9)


def test_too_few_votes_are_a_sentence(world):
    scorer, panels = world
    few = np.zeros_like(panels[0].drawn)
    few[:, 0] = 2
    found = saturation.section(scorer, replace(panels[0], drawn=few, exact=False))
    assert found.reason == "most utterances have 2 synthetic votes; a curve is fitted to 4 or more"
    assert "Not shown" in html(saturation_section(found))


def test_the_human_curve_stands_beside_it_and_the_page_is_html(world):
    scorer, panels = world
    row = ScoreRow("sq_unbiased", 0.3, 0.2, 0.4, "jackknife-t", 240, 0, 12)
    curve = [CurvePoint("raw", 2, [row]), CurvePoint("smoothed", 2, [row]), CurvePoint("raw", 1, [row])]
    found = saturation.section(scorer, panels[0], curve=curve)
    assert found.curves[0].human == [(1, 0.3), (2, 0.3)]
    assert found == saturation.section(scorer, panels[0], curve=curve)
    page = html(saturation_section(found))
    assert page.count("<svg") == 2
    assert "human votes" in page
    json.dumps(plain(found), allow_nan=False)
