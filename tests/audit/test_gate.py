"""The gate: what can be required, how it is read, what misses, and the exit code."""

import json
from contextlib import suppress
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from fixtures.pages import html
from fixtures.real_panels import GOOD
from fixtures.simulated import shuffled, simulated_corpus, simulated_run
from hypothesis import given
from hypothesis import strategies as st
from serann.annotator.audit import audit
from serann.annotator.audit.gate import COMPARISONS, Requirement, check, figures, gated, parse_requirements
from serann.annotator.cli import app
from serann.annotator.report.audit_page import worth_section
from serann.annotator.report.audit_words import check_in_words
from serann.annotator.report.figures import worth_figure
from serann.annotator.run.run import open_run
from serann.data.errors import OptionError
from serann.data.holdout import divide_votes, write_division
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("gate")
    corpus, truth = simulated_corpus(place / "corpus", utterances=360, speakers=18, raters=GOOD)
    paths = {
        "true": simulated_run(place / "true", corpus, truth, spread=0.3),
        "deaf": simulated_run(place / "deaf", corpus, shuffled(truth)),
    }
    return corpus, paths, audit(corpus, [open_run(path) for path in paths.values()], draws=2)


def outcomes(result, text):
    return [(c.panel, c.met) for c in check(result, parse_requirements(text))]


def test_requirements_are_read_with_and_without_spaces():
    assert parse_requirements("sq_unbiased<=0.08, effective_votes.low >= 1,gap>-5e1") == [
        Requirement("sq_unbiased", "value", "<=", 0.08, "sq_unbiased<=0.08"),
        Requirement("effective_votes", "low", ">=", 1.0, "effective_votes.low >= 1"),
        Requirement("gap", "value", ">", -50.0, "gap>-5e1"),
    ]


def test_all_that_cannot_be_read_is_told_at_once():
    with pytest.raises(OptionError) as refused:
        parse_requirements("sq<=0.1, effective_votes, gap.middle>=1, log_score>=much,, uar>=nan, uar=>1")
    words = str(refused.value)
    for problem in (
        "'sq<=0.1': there is no figure 'sq'",
        "'effective_votes' is no comparison",
        "'.middle' is no bound, expected .low or .high",
        "'much' is no number",
        "a part is empty",
        "'nan' is no number",
        "'uar=>1' is no comparison",
        "Figures: sq_unbiased, log_score",
        "effective_votes_sq",
    ):
        assert problem in words


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    with suppress(OptionError):
        assert parse_requirements(text)


@given(st.sampled_from(sorted(figures())), st.sampled_from(sorted(COMPARISONS)), st.floats(-1e6, 1e6))
def test_what_is_written_is_what_is_read(figure, comparison, bound):
    (found,) = parse_requirements(f"{figure}.high {comparison} {bound!r}")
    assert (found.figure, found.part, found.comparison, found.bound) == (figure, "high", comparison, bound)


def test_a_panel_that_knows_passes_and_a_deaf_one_misses(world):
    text = "effective_votes>=1, sq_unbiased<=0.1, gap>0, non_inferior>=1, effective_votes.low>=1"
    found = outcomes(world[2], text)
    assert found == [(panel, panel == "true") for _ in range(5) for panel in ("true", "deaf")]


def test_every_figure_is_that_of_the_result(world):
    result = world[2]
    panel = result.panels[0]
    row = result.system("panel", "true").score("log_score")
    expected = {
        "log_score": row.value,
        "log_score.low": row.low,
        "gap.high": panel.gap.high,
        "effective_votes_sq.low": panel.effective_votes.overall("sq_unbiased").low,
        "independent_listeners": panel.independence.independent_listeners.value,
        "label_mass": panel.label_mass,
        "vote_difference.high": panel.non_inferiority.difference.high,
    }
    for name, value in expected.items():
        first, _ = check(result, parse_requirements(f"{name}>=0"))
        assert first.found == value, name
    for name in figures():
        for outcome in check(result, parse_requirements(f"{name}>=-1e9")):
            assert outcome.met or outcome.reason, name


def test_what_is_not_defined_or_only_at_least_is_missed(world):
    result = world[2]
    panel = result.panels[0]
    rows = [replace(row, value=4.0, at_least=True, high=np.inf) for row in panel.effective_votes.rows]
    open_end = replace(panel, effective_votes=replace(panel.effective_votes, rows=rows), independence=None)
    changed = replace(result, panels=[open_end])
    text = "effective_votes>=4, effective_votes>=5, effective_votes<=5, effective_votes.high<=9"
    assert [met for _, met in outcomes(changed, text)] == [True, False, False, False]
    (lacking,) = check(changed, parse_requirements("independent_listeners>=1"))
    assert not lacking.met
    assert "nothing defined (not a run of two listeners" in check_in_words(lacking)
    (beyond,) = check(changed, parse_requirements("effective_votes>=5"))
    assert check_in_words(beyond) == (
        "true: effective_votes>=5 is missed, found 4 (at least that much: the human curve ends there)"
    )
    (bare,) = check(changed, parse_requirements("label_mass.low>=0"))
    assert "nothing defined" in check_in_words(bare)


def test_the_checks_are_in_the_result_and_its_json(world):
    result = gated(world[2], parse_requirements("effective_votes>=1"))
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [c["met"] for c in plain["checks"]] == [True, False]
    assert plain["checks"][1]["requirement"] == "effective_votes>=1"


def test_the_command_ends_with_3_and_says_which_figure_missed(world, tmp_path):
    corpus, paths, _ = world
    common = ["audit", str(corpus.path), "--draws", "2", "--require"]
    passed = CliRunner().invoke(app, [*common, "effective_votes>=1, sq_unbiased<=0.2", str(paths["true"])])
    assert passed.exit_code == 0, passed.output
    assert "true: effective_votes>=1 is met, found" in passed.stderr
    report = tmp_path / "r.html"
    missed = CliRunner().invoke(app, [*common, "effective_votes>=1", str(paths["deaf"]), "-o", str(report)])
    assert missed.exit_code == 3
    assert "deaf: effective_votes>=1 is missed, found 0" in missed.stderr
    # what was measured is there all the same
    assert json.loads(report.with_suffix(".json").read_text())["checks"][0]["met"] is False
    as_json = CliRunner().invoke(app, [*common, "effective_votes>=1", str(paths["deaf"]), "--json"])
    assert as_json.exit_code == 3
    assert json.loads(as_json.stdout)["checks"][0]["met"] is False


def test_a_requirement_that_cannot_be_read_is_refused_before_anything_is_opened(tmp_path):
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "nowhere"), "r", "--require", "worth>=1"])
    assert isinstance(done.exception, OptionError)
    assert "there is no figure 'worth'" in str(done.exception)
    assert done.exception.exit_code == 2


def test_the_section_shows_curve_worth_votes_and_gate(world):
    result = gated(world[2], parse_requirements("effective_votes>=1"))
    page = html(worth_section(result))
    ElementTree.fromstring(page.replace("&nbsp;", " "))
    assert page.count("<svg") == 2
    for words in ("at least 4 [4.0, …]", "ambiguity third: low", "subgroup: gender=female", "<strong>missed</strong>"):
        assert words in page, words
    assert worth_figure(result.panels[1].effective_votes.overall()) in page
    assert "required to show" not in html(worth_section(world[2]))


def test_the_section_without_a_curve_says_why(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=60, votes=3, seen=None)
    corpus = write_division(corpus, divide_votes(corpus, seen=1), None)
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], m=3, draws=1)
    page = html(worth_section(found))
    assert "<svg" not in page
    assert "not identifiable, no human votes are left" in page
    assert "cannot be told" in page
