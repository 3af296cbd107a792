"""Panels side by side: paired differences against a loop over utterances, and who is told apart."""

import json

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.simulated import biased, simulated_corpus, simulated_run
from serann.annotator.audit import audit
from serann.annotator.audit.scorer import build_reference
from serann.annotator.report.audit_sections import differences_section
from serann.annotator.run.run import open_run, panel_distribution
from serann.data.scores.intervals import by_group
from serann.data.scores.proper_scores import log_score, sq_unbiased

GOOD = {f"good-{i}": 0.0 for i in range(9)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("w")
    corpus, truth = simulated_corpus(place / "corpus", utterances=360, speakers=18, raters=GOOD)
    made = {"near": biased(truth, share=0.2), "far": biased(truth, share=0.35), "again": biased(truth, share=0.2)}
    runs = [
        open_run(simulated_run(place / name, corpus, p, missing=["u0007"] if name == "far" else [], seed=len(name)))
        for name, p in made.items()
    ]
    return corpus, runs, audit(corpus, runs, draws=3)


def test_a_difference_is_the_mean_over_the_same_utterances_with_its_paired_interval(world):
    corpus, runs, found = world
    ref = build_reference(corpus)
    kept = np.array([name != "u0007" for name in ref.ids])
    q = [panel_distribution(run, ref.ids)[kept] for run in runs[:2]]
    for score in (sq_unbiased, log_score):
        rows = [[score(p, ref.redrawn(draw).scored[kept]) for draw in range(3)] for p in q]
        expected = by_group(np.mean(rows[0], axis=0) - np.mean(rows[1], axis=0), ref.groups[kept])
        row = next(row for row in found.sections["differences"][0].scores if row.metric == score.__name__)
        assert (row.value, row.low, row.high) == pytest.approx(tuple(expected[:3]), abs=1e-9)
        assert (row.utterances, row.groups) == (359, 18)


def test_every_two_panels_are_compared_and_like_ones_are_not_told_apart(world):
    _, _, found = world
    pairs = {(d.panel, d.other): {row.metric: row for row in d.scores} for d in found.sections["differences"]}
    assert list(pairs) == [("near", "far"), ("near", "again"), ("far", "again")]
    apart, same = pairs["near", "far"], pairs["near", "again"]
    assert apart["sq_unbiased"].high < 0
    assert apart["log_score"].low > 0
    assert same["sq_unbiased"].low < 0 < same["sq_unbiased"].high
    one, other = (found.system("panel", name) for name in ("near", "far"))
    for metric, row in apart.items():
        name = metric.split("@")[0]
        assert row.value == pytest.approx(one.score(name).value - other.score(name).value, abs=1e-9)
    # paired by utterance: narrower than either panel's own interval
    assert (
        apart["sq_unbiased"].high - apart["sq_unbiased"].low
        < one.score("sq_unbiased").high - one.score("sq_unbiased").low
    )


def test_the_page_and_the_json_have_them_and_one_panel_has_none(world):
    corpus, runs, found = world
    assert len(json.loads(json.dumps(found.to_json(), allow_nan=False))["differences"]) == 3
    page = html(differences_section(found.sections["differences"]))
    assert page.count("<tr") == 1 + 3
    assert "near − far" in page
    alone = audit(corpus, runs[:1], draws=1)
    assert alone.sections["differences"] == []
    assert differences_section(alone.sections["differences"]) == []
