"""The audit's tables: each figure of the JSON with its place, each utterance's scores, read by pandas and datasets."""

import json
import math

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from fixtures.simulated import biased, shuffled, simulated_corpus, simulated_run, simulated_truth
from serann.annotator.audit import audit
from serann.annotator.audit.gate import gated, parse_requirements
from serann.annotator.audit.scorer import build_reference
from serann.annotator.proxies import line_up
from serann.annotator.report.figure_table import FIGURES, figure_table, utterance_table
from serann.annotator.report.files import write_report
from serann.annotator.run.run import open_run
from serann.data.arrow import pc
from serann.data.corpus import open_corpus
from serann.data.files import read_json, write_json
from serann.data.scores.divergences import jsd_bits
from serann.data.scores.proper_scores import log_score, sq_unbiased


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs, people as a panel, and a control, with a gate."""
    place = tmp_path_factory.mktemp("tables")
    truth = simulated_truth(240, 12, 6, 5)
    corpus, _ = simulated_corpus(place / "corpus", utterances=240, truth=truth)
    people, _ = simulated_corpus(place / "people", utterances=240, truth=truth, seed=9, seen=None)
    simulated_run(place / "silence", corpus, shuffled(truth))
    info = read_json(place / "silence" / "run.json", what="run")
    info["identity"]["control"] = "silence"
    write_json(place / "silence" / "run.json", info)
    runs = [
        open_run(simulated_run(place / "mild", corpus, truth)),
        open_run(simulated_run(place / "bent", corpus, biased(truth), missing=corpus.ids[:3])),
    ]
    found = audit(corpus, [*runs, people, open_run(place / "silence")], draws=3)
    result = gated(found, parse_requirements("sq_unbiased<=0.1, effective_votes>=1"))
    write_report(result, place / "report.html", corpus)
    return corpus, result, place


def cells(table):
    return {(r["section"], r["panel"], r["part"], r["metric"]): r for r in table.to_pylist()}


def test_each_figure_has_a_key_of_its_own(made):
    table = figure_table(made[1])
    assert table.schema.equals(FIGURES)
    assert len(cells(table)) == table.num_rows > 1500
    assert {p for p in table["panel"].to_pylist() if p} == {"mild", "bent", "people"}
    assert not pc.any(pc.is_nan(pc.drop_null(table["value"].combine_chunks()))).as_py()


def test_figures_by_hand(made):
    _, result, _ = made
    at = cells(figure_table(result))
    row = result.system("panel", "bent").score("sq_unbiased")
    found = at["systems.scores", "bent", "kind=panel", "sq_unbiased"]
    assert (found["value"], found["low"], found["high"], found["method"]) == row[1:5]
    assert (found["n"], found["skipped"], found["groups"]) == (237, 0, 12)
    panel = result.panels[0]
    assert at["panels", "mild", "", "gap"]["value"] == panel.gap.value
    assert at["panels.strata.scores", "mild", "third=low", "log_score"]["value"] == panel.strata[0].scores[1].value
    label = panel.labels[2]
    assert at["panels.labels", "mild", "label=angry", "bias"]["high"] == label.bias.high
    assert at["panels", "mild", "human=angry", "mass on sad"]["value"] == panel.confusion[2][3]
    worth = panel.effective_votes.overall()
    found = at["panels.effective_votes.rows", "mild", "where=overall; part=all; score=log_score", "worth"]
    assert (found["value"], found["low"]) == (worth.value, worth.low)
    assert (found["at_least"], found["open_above"]) == (worth.at_least, worth.open_above)
    assert found["high"] is None if math.isinf(worth.high) else found["high"] == worth.high
    part = next(p for p in result.details[1].sections["failures"].parts if p.factor == "gender")
    key = ("details.failures.parts", "bent", f"score=sq_unbiased; factor=gender; part={part.part}")
    assert at[*key, "difference"]["value"] == part.difference.value
    assert at[*key, "p_adjusted"]["value"] == part.p_adjusted
    curve = result.details[0].sections["saturation"].curves[0]
    key = ("details.saturation.curves.values", "mild", f"how={curve.how}; score=sq_unbiased; n=3", "values")
    assert at[key]["value"] == curve.values[2].value
    pair = result.sections["differences"][0]
    found = at["differences.scores", "mild", "other=bent", "sq_unbiased"]
    assert (pair.panel, pair.other, found["value"]) == ("mild", "bent", pair.scores[0].value)
    share = result.sections["listening"].controls.rows[0].share
    assert at["listening.controls.rows", "mild", "name=silence; control=silence", "share"]["value"] == share.value
    assert at["checks", "mild", "requirement=sq_unbiased<=0.1", "met"]["value"] == 1
    assert at["checks", "bent", "requirement=sq_unbiased<=0.1", "found"]["value"] == result.checks[1].found


def intervals(value, path=()):
    """Every interval of the JSON: its path of names, and its value."""
    if isinstance(value, dict):
        if {"value", "low", "high", "method"} <= value.keys():
            yield path, value
        else:
            for name, held in value.items():
                yield from intervals(held, (*path, name))
    elif isinstance(value, list):
        for held in value:
            yield from intervals(held, path)


def test_no_interval_of_the_json_is_lost(made):
    """By section, the JSON's intervals are the table's rows that have a method: the same values, as often."""
    _, result, _ = made
    expected, found = {}, {}
    for path, held in intervals(json.loads(json.dumps(result.to_json()))):
        expected.setdefault(path[0], []).append(held["value"])  # pyright: ignore[reportGeneralTypeIssues]
    for row in figure_table(result).to_pylist():
        if row["method"] is not None:
            found.setdefault(row["section"].split(".")[0], []).append(row["value"])
    assert found.keys() == expected.keys() >= {"systems", "curve", "panels", "human_curve", "details", "variants"}
    for name, values in expected.items():
        key = [(x is None, x) for x in values], [(x is None, x) for x in found[name]]
        assert sorted(key[0], key=repr) == sorted(key[1], key=repr), name


def test_what_is_undefined_is_null_with_its_reason(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=40, votes=3, seen=1)
    result = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))], m=3, draws=1)
    at = cells(figure_table(result))
    found = at["panels.effective_votes.rows", "r", "where=overall; part=all; score=log_score", "worth"]
    assert found["value"] is None
    assert found["reason"].startswith("no human votes are left beside the scored ones")
    sampled = at["systems.scores", "r", "kind=sampled; name=r, 20 sampled votes", "log_score"]
    assert (sampled["value"], sampled["method"]) == (None, "none: infinite value")


def test_every_utterance_has_its_scores_by_a_naive_loop(made):
    corpus, result, place = made
    table = utterance_table(result, corpus)
    assert table.num_rows == 4 * 237
    rows = {(r["kind"], r["panel"], r["utterance_id"]): r for r in table.to_pylist()}
    assert len(rows) == table.num_rows
    sources = [open_run(place / "mild"), open_run(place / "bent"), open_corpus(place / "people")]
    whole = build_reference(corpus)
    lined_up = line_up(sources, corpus, "audit", ids=whole.ids, m=whole.m)
    common = np.all([panel.covers for panel in lined_up], axis=0)
    ref = whole.part(common)
    panels = [panel.part(common, ref.folds) for panel in lined_up]
    draws, at = [ref.redrawn(draw) for draw in range(3)], ref.ids.index("u0042")
    for panel in panels:
        q = panel.q[at : at + 1]
        own = rows[panel.kind, panel.name, "u0042"]
        counts = [draw.scored[at : at + 1] for draw in draws]
        assert own["sq_unbiased"] == pytest.approx(np.mean([sq_unbiased(q, h)[0] for h in counts]), abs=1e-12)
        q_log = q if panel.q_log is None else panel.q_log[at : at + 1]
        assert own["log_score"] == pytest.approx(np.mean([log_score(q_log, h)[0] for h in counts]), abs=1e-12)
        assert own["jsd_bits@4"] == pytest.approx(np.mean([jsd_bits(q, h)[0] for h in counts]), abs=1e-12)
        assert (own["speaker"], own["gender"], own["votes_scored"], own["other_votes"]) == ("sp06", "male", 4, 4)
        assert "third" not in own  # the first draw's thirds are cut by votes that other draws score
    exact = panels[0].q[at]
    assert rows["run", "mild", "u0042"]["ambiguity"] == pytest.approx(1 - (exact**2).sum())


def test_utterances_average_to_the_headline(made):
    corpus, result, _ = made
    frame = utterance_table(result, corpus).to_pandas()
    for panel in ("mild", "bent", "people"):
        own = frame[frame.panel == panel]
        for metric in ("sq_unbiased", "log_score", "jsd_bits@4", "accuracy"):
            score = result.system("panel", panel).score(metric.split("@")[0])
            assert own[metric].mean() == pytest.approx(score.value, abs=1e-9)
    constant = frame[frame.kind == "constant"]
    assert constant.sq_unbiased.mean() == pytest.approx(result.system("constant").score("sq_unbiased").value, abs=1e-9)


def test_pandas_and_datasets_read_them(made):
    datasets = pytest.importorskip("datasets")
    _, result, place = made
    figures = pandas.read_parquet(place / "report.parquet")
    worth = figures[(figures.section == "panels.effective_votes.rows") & figures.part.str.startswith("where=overall")]
    assert sorted(worth.panel.unique()) == ["bent", "mild", "people"]
    for name, rows in (("report.parquet", len(figures)), ("report.utterances.parquet", 4 * 237)):
        loaded = datasets.load_dataset(
            "parquet", data_files=str(place / name), split="train", cache_dir=str(place / "cache")
        )
        assert len(loaded) == rows
    described = json.loads(pq.read_schema(place / "report.parquet").metadata[b"serann"])
    assert described["table"] == "audit figures"
    assert described["provenance"]["settings"] == result.settings
    assert described["labels"] == result.corpus["labels"]


def test_a_panel_that_is_called_as_the_constant_is_keeps_its_rows_apart(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=24, speakers=4)
    result = audit(corpus, [open_run(simulated_run(tmp_path / "constant", corpus, truth))], draws=1)
    keys = utterance_table(result, corpus).select(["kind", "panel", "utterance_id"]).to_pylist()
    assert len({tuple(row.values()) for row in keys}) == len(keys) == 48
    assert len(cells(figure_table(result))) == figure_table(result).num_rows
