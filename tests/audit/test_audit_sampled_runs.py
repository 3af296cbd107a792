"""A run of sampled texts is made of votes, as another human panel is, and is audited as one."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fixtures.pages import words
from fixtures.simulated import biased, simulated_corpus, simulated_run
from serann.annotator.audit import audit
from serann.annotator.report.audit_page import methods, render
from serann.annotator.report.page import fill
from serann.annotator.run.run import open_run, synthetic_counts
from serann.data.corpus import write_corpus
from serann.data.scores.proper_scores import unbiased_ambiguity
from serann.data.tables import VOTES, from_rows

GOOD = {f"good-{i}": 0.0 for i in range(9)}


def texts(run):
    """The run as if its votes had been read from texts and no probability had been."""
    identity = {**run.info["identity"], "mode": "sample"}
    return replace(run, info={**run.info, "identity": identity}, scores=run.scores.slice(0, 0))


def people(path, corpus, counts):
    one = {"source": "human", "draw": 0, "rank": "primary", "weight": 1.0}
    rows = [
        {"utterance_id": corpus.ids[u], "label": corpus.labels.labels[k], **one}
        for u, k in zip(*np.nonzero(counts), strict=True)
        for _ in range(int(counts[u, k]))
    ]
    votes = from_rows(rows, VOTES, labels=corpus.labels)
    about = {"labels": corpus.labels, "licence": "CC0-1.0", "provenance": {}, "utterances": corpus.utterances}
    return write_corpus(path, name="people", votes=votes, **about)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("w")
    corpus, truth = simulated_corpus(place / "corpus", utterances=360, speakers=18, raters=GOOD)
    run = texts(open_run(simulated_run(place / "texts", corpus, biased(truth), votes=8)))
    panel = people(place / "panel", corpus, synthetic_counts(run, corpus.ids))
    return corpus, run, panel, audit(corpus, [run, panel], draws=4)


def test_the_same_votes_score_the_same_whoever_gave_them(world):
    run, panel = world[3].panels
    scores = [world[3].system("panel", found.name).scores for found in (run, panel)]
    assert scores[0] == scores[1]
    assert np.isfinite(world[3].system("panel", run.name).score("log_score").value)
    assert run.effective_votes == panel.effective_votes
    assert run.strata == panel.strata
    assert run.non_inferiority == panel.non_inferiority
    tables = {table.name: table.scores for table in world[3].sections["variants"].systems}
    assert tables[run.name] == tables[panel.name]
    first, second = (detail.sections["saturation"].curves for detail in world[3].details)
    assert first == second


def test_its_votes_are_not_given_twice_and_the_methods_say_what_it_is(world):
    assert not any(system.kind == "sampled" for system in world[3].systems)
    assert "a run of sampled texts, is scored by its raw vote frequencies" in words(
        fill("methods", **methods(world[3]))
    )
    assert "exact answer distributions" not in words(fill("methods", **methods(world[3])))


def test_the_ambiguity_of_thirds_is_counted_in_pairs_of_votes(world):
    corpus, run, _, found = world
    own = unbiased_ambiguity(synthetic_counts(run, corpus.ids))
    thirds = {row.third: row for row in found.panels[0].strata}
    weighted = sum(row.panel_ambiguity.value * row.utterances for row in thirds.values())
    assert weighted / sum(row.utterances for row in thirds.values()) == pytest.approx(own.mean(), abs=0.005)
    np.testing.assert_allclose(found.rows.panel_ambiguity[found.panels[0].name], own, atol=1e-12)


def test_one_vote_an_utterance_has_no_ambiguity_and_a_page_all_the_same(world, tmp_path):
    corpus = world[0]
    counts = np.eye(6)[np.random.default_rng(0).integers(0, 6, len(corpus.ids))]
    found = audit(corpus, [people(tmp_path / "one", corpus, counts)], draws=2)
    assert all(np.isnan(row.panel_ambiguity.value) for row in found.panels[0].strata)
    page = render(found, corpus)
    drawn = re.findall(r"<(?:polyline|line|circle|rect|text)\b[^>]*>", page)
    assert drawn
    assert not [piece for piece in drawn if "nan" in piece]
    assert not re.search(r">\s*nan\b", page)
