"""The audit's table of further variants: which system it is of, its intervals, and its ambiguity without noise."""

import json

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.simulated import sharpened, simulated_corpus
from serann.annotator.audit import variants
from serann.annotator.audit.baselines import fit_people, fitted_part, perfect
from serann.annotator.audit.result import plain
from serann.annotator.audit.scorer import Scorer, build_reference
from serann.annotator.report.audit_sections import variants_section
from serann.data.scores import divergences as d
from serann.data.scores.calibration import distribution_ece, ece
from serann.data.scores.intervals import by_group, holm, jackknife_of
from serann.data.scores.metric import metrics_at
from serann.data.scores.metrics import item_r2_rows, r2_by_class
from serann.data.scores.proper_scores import log_score
from serann.data.scores.scoring import ScoreRow

DIVERGENCES = (d.jsd_bits, d.jsd_nats, d.jsd_root, d.bhattacharyya, d.total_variation, d.hellinger, d.manhattan)
GOOD = {f"good-{i}": 0.0 for i in range(9)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    corpus, truth = simulated_corpus(tmp_path_factory.mktemp("w") / "c", utterances=600, speakers=20, raters=GOOD)
    ref = build_reference(corpus)
    return Scorer([ref.redrawn(draw) for draw in range(4)], level=0.95), truth[ref.rows]


def test_every_variant_is_that_of_the_pooled_draws(world):
    scorer, truth = world
    q = scorer.repeat(truth)
    found = {row.metric: row for row in variants.variants(scorer, q)}
    assert [name.split("@")[0] for name in found] == [metric.name for metric in metrics_at("variants")]
    for name, value in (
        *((f"{f.__name__}@4", f(q, scorer.scored).mean()) for f in DIVERGENCES),
        ("item_r2@4", np.nanmean(item_r2_rows(q, scorer.scored))),
        ("r2_by_class@4", r2_by_class(q, scorer.scored)),
        ("ece_10", ece(q, scorer.scored)),
        ("ece_5", ece(q, scorer.scored, bins=5)),
        ("distribution_ece_10", distribution_ece(q, scorer.scored)),
    ):
        assert found[name].value == pytest.approx(value, abs=1e-9), name
    for row in found.values():
        assert row.low < row.value < row.high, row.metric
        assert (row.groups, row.method, row.utterances + row.skipped) == (20, "jackknife-t", 600)


def test_the_ambiguity_without_noise_is_that_of_the_truth(world):
    """Four votes hide most of the correlation; the correction gives back what the truth itself has."""
    scorer, truth = world
    sure = sharpened(truth, 1.5)
    own, panel = 1 - (truth**2).sum(1), 1 - (sure**2).sum(1)
    found = {row.metric: row for row in variants.variants(scorer, scorer.repeat(sure))}
    true = np.corrcoef(own, panel)[0, 1]
    assert found["ambiguity_correlation@4"].value < 0.8 * true
    row = found["ambiguity_correlation_true"]
    assert row.low < true < row.high
    assert found["ambiguity_bias"].low < (panel - own).mean() < found["ambiguity_bias"].high
    assert found["ambiguity_bias"].high < 0


def test_a_human_panels_ambiguity_is_counted_in_pairs_of_its_votes(world):
    scorer, truth = world
    votes = np.random.default_rng(0).multinomial(5, truth).astype(float)
    q = scorer.repeat(votes / 5)
    plain, paired = ({row.metric: row for row in variants.variants(scorer, q, own=own)} for own in (None, votes))
    assert plain["ambiguity_bias"].high < 0  # five votes' frequencies look surer than the people behind them are
    assert paired["ambiguity_bias"].low < 0 < paired["ambiguity_bias"].high
    assert paired["ambiguity_correlation_true"].low < 1 < paired["ambiguity_correlation_true"].high


def test_with_fewer_than_four_votes_nothing_is_said_of_the_ambiguity_behind_them(world):
    scorer, truth = world
    few = scorer.scored.copy()
    few[np.arange(len(few)), few.argmax(axis=1)] -= 1
    found = {row.metric: row for row in variants.variants(scorer, scorer.repeat(truth), scored=few)}
    assert np.isnan(found["ambiguity_correlation_true"].value)
    assert found["ambiguity_correlation_true"].method == "none: no rows"


def test_the_section_has_the_floor_and_is_json_and_html(world):
    scorer, truth = world
    made = variants.section(scorer, {"a <b>": scorer.repeat(truth)}, people=fit_people(scorer.reference))
    assert [system.name for system in made.systems] == ["a <b>", "perfect prediction"]
    for own, floor in zip(*(system.scores for system in made.systems), strict=True):
        assert own.metric == floor.metric
        if own.metric.startswith(("jsd", "hellinger", "brier")):
            assert own.value == pytest.approx(floor.value, abs=0.06)
    page = html(variants_section(made))
    assert "a &lt;b&gt;" in page
    assert page.count("<tr") == 1 + len(metrics_at("variants"))
    json.dumps(plain(made), allow_nan=False)
    assert (
        variants.section(scorer, {"a": scorer.repeat(truth)}, people=fit_people(scorer.reference)).systems[1]
        == made.systems[1]
    )


def test_a_wide_table_leaves_the_shuffles_to_the_json():
    names = ["a", "b", "c", "constant", "a, shuffled", "b, shuffled", "c, shuffled", "2 human votes, raw"]
    tables = [variants.VariantTable(name, []) for name in [*names, "perfect prediction"]]
    tables[0].scores.append(ScoreRow("brier", 0.5, 0.4, 0.6, "jackknife-t", 10, 0, 3))
    page = html(variants_section(variants.Variants(4, [10], tables)))
    assert "shuffled</th>" not in page
    assert "The shuffled panels are in the JSON." in page
    assert page.count('<th scope="col">') == 1 + 6
    narrow = html(variants_section(variants.Variants(4, [10], [tables[0], *tables[3:5]])))
    assert "a, shuffled</th>" in narrow
    assert "in the JSON" not in narrow


def test_the_floor_is_what_the_truth_itself_scores(tmp_path):
    """Where the truth is known: a single Dirichlet's posterior has a floor of .0917 bits here, the truth .1011."""
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=3000, speakers=30, raters=GOOD)
    ref = build_reference(corpus)
    draws = [ref.redrawn(draw) for draw in range(8)]
    people = fit_people(ref)
    floor = [perfect(draw, people, draws=2) for draw in draws]
    for name, score, near in (
        ("jsd_bits@4", d.jsd_bits, 0.004),
        ("bhattacharyya@4", d.bhattacharyya, 0.004),
        ("total_variation@4", d.total_variation, 0.004),
        ("log_score", log_score, 0.015),
    ):
        own = np.mean([score(truth[ref.rows], draw.scored).mean() for draw in draws])
        assert np.mean([scores[name].mean() for scores in floor]) == pytest.approx(own, abs=near), name


def test_what_stands_between_is_of_a_seeded_part_of_a_large_corpus(world, monkeypatch):
    scorer, truth = world
    q = scorer.repeat(truth)
    monkeypatch.setattr("serann.annotator.audit.baselines.FITTED_ON", 400)
    made = variants.section(scorer, {"all": q}, between={"part": q})
    whole, part = (table.scores for table in made.systems)
    assert [row.utterances + row.skipped for row in (whole[0], part[0])] == [600, 400]
    rows = scorer.repeat(fitted_part(scorer.reference))
    expected = d.jsd_bits(q[rows], scorer.scored[rows]).mean()
    assert part[0].value == pytest.approx(expected, abs=1e-9)


def test_the_jackknife_is_the_one_of_the_intervals_and_its_p_agrees_with_them():
    rng = np.random.default_rng(1)
    x, groups = rng.normal(0.1, 1, 300), np.arange(300) % 12
    totals = np.column_stack([np.bincount(groups, weights=w) for w in (x, np.ones(300))])

    def mean(t):
        return t[..., 0] / t[..., 1]

    found, p = jackknife_of(totals, mean, 0.95)
    expected = by_group(x, groups)
    assert (found.value, found.low, found.high) == pytest.approx(tuple(expected[:3]), abs=1e-12)
    edge = jackknife_of(totals, mean, 1 - p)[0]
    assert min(abs(edge.low), abs(edge.high)) == pytest.approx(0, abs=1e-9)
    alone, none = jackknife_of(totals[:1], mean, 0.95)
    assert alone.method == "none: one group"
    assert np.isnan(none)
    assert jackknife_of(np.zeros((3, 2)), mean, 0.95)[0].method == "none: no rows"


def test_holm_by_hand():
    # ascending .01 .02 .03 .5: 4 · .01, 3 · .02, 2 · .03, .5
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.5, 0.02])), [0.06, 0.04, 0.5, 0.06])
    np.testing.assert_allclose(holm(np.array([np.nan, 0.9, 0.8])), [np.nan, 1, 1])
    assert len(holm(np.array([]))) == 0
