"""The audit on simulated corpora with a known truth, on CREMA-D's real panels, and what it refuses."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from fixtures.pages import words
from fixtures.present import present
from fixtures.real_panels import GOOD, crema
from fixtures.simulated import biased, shuffled, simulated_corpus, simulated_run, simulated_truth
from serann.annotator.audit import audit, baselines
from serann.annotator.audit.scorer import build_reference
from serann.annotator.cli import app
from serann.annotator.proxies import open_panel
from serann.annotator.report.audit_page import methods, render
from serann.annotator.report.audit_words import answer_in_words, answers, nearest_human_votes, notes_in_words
from serann.annotator.report.page import fill
from serann.annotator.run.run import open_run, panel_distribution
from serann.data.corpus import write_corpus
from serann.data.errors import CorpusError, LabelError, OptionError, RunError
from serann.data.holdout import divide_votes, write_division
from serann.data.labels import LABEL_SETS, LabelSet
from serann.data.scores.divergences import jsd_bits
from serann.data.scores.groups import cross_fitted
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.scores.scoring import choose_votes_scored
from serann.data.tables import VOTES, from_rows
from serann.data.vote_models.dirichlet_multinomial import fit_dirichlet_multinomial, posterior_mean
from serann.data.votes import count_votes
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A corpus of good raters only, its truth, and runs that know the truth, distort it, or are deaf."""
    place = tmp_path_factory.mktemp("world")
    corpus, truth = simulated_corpus(place / "corpus", utterances=360, speakers=18, raters=GOOD)
    runs = {
        "true": simulated_run(place / "true", corpus, truth, spread=0.01, missing=["u0003", "u0100"]),
        "biased": simulated_run(place / "biased", corpus, biased(truth)),
        "deaf": simulated_run(place / "deaf", corpus, shuffled(truth)),
    }
    return corpus, truth, {name: open_run(path) for name, path in runs.items()}


@pytest.fixture(scope="module")
def found(world):
    corpus, _, runs = world
    return audit(corpus, [runs["true"], runs["biased"], runs["deaf"]])


def value(system, metric):
    return system.score(metric).value


def test_the_reference_is_never_used_to_cut_or_to_predict(world):
    corpus, _, _ = world
    ref = build_reference(corpus, seed=3)
    human = count_votes(corpus.votes, corpus.ids, corpus.labels)
    heldout = count_votes(corpus.votes, corpus.ids, corpus.labels, part="heldout")
    assert ref.m == 4
    np.testing.assert_array_equal(ref.scored + ref.other, human[ref.rows])
    assert (ref.scored <= heldout[ref.rows]).all()
    assert (ref.scored.sum(axis=1) == 4).all()
    before = baselines.constant(ref), baselines.human_votes(ref, 3)
    ref.scored[:] = np.roll(ref.scored, 1, axis=1)
    for was, now in zip(before, (baselines.constant(ref), baselines.human_votes(ref, 3)), strict=True):
        np.testing.assert_array_equal(was, now)


def test_the_constant_has_not_heard_the_speakers_it_predicts(world):
    ref = build_reference(world[0])
    constant = baselines.constant(ref)
    for u in (0, 7):
        others = ref.folds != ref.folds[u]
        assert ref.groups[u] not in set(ref.groups[others])
        raised = ref.other[others].sum(axis=0) + 0.5
        np.testing.assert_allclose(constant[u], raised / raised.sum(), atol=1e-12)


def test_a_run_that_knows_the_truth_closes_the_gap(found):
    true, biased_run, deaf = found.panels
    assert true.gap.low < 100 < true.gap.high
    assert 90 < true.gap.value < 110
    assert 0 < biased_run.gap.high < 60
    assert deaf.gap.high < 0
    assert true.over_shuffled.low > 0.2
    assert deaf.over_shuffled.low < 0 < deaf.over_shuffled.high


def test_figures_equal_a_naive_computation(world, found):
    corpus, _, runs = world
    ref = build_reference(corpus)
    q = np.mean([panel_distribution(runs["biased"], [u])[0] for u in ref.ids], axis=0)
    assert found.panels[1].labels[0].panel.value == pytest.approx(q[0], abs=0.01)
    kept = [i for i, u in enumerate(ref.ids) if u not in ("u0003", "u0100")]
    panel_distribution_of = dict(zip(ref.ids, panel_distribution(runs["biased"], ref.ids), strict=True))
    rows = []
    assert found.settings["draws"] == 20
    for draw in map(ref.redrawn, range(20)):
        for i in kept:
            p = panel_distribution_of[ref.ids[i]]
            votes = np.repeat(np.arange(6), draw.scored[i].astype(int))
            agree = np.mean([votes[a] == votes[b] for a in range(4) for b in range(4) if a != b])
            rows.append(np.sum(p**2) - 2 * np.mean(p[votes]) + agree)
    assert value(found.system("panel", "biased"), "sq_unbiased") == pytest.approx(np.mean(rows), abs=1e-6)


def test_every_system_meets_the_same_utterances_and_the_missing_are_counted(found):
    for system in found.systems:
        for row in system.scores:
            assert row.utterances + row.skipped == 358
    assert [panel.skipped for panel in found.panels] == [2, 0, 0]
    assert found.panels[0].failures == {"audio: zero bytes": 2}
    assert any("true has no distribution for 2 utterances" in note for note in notes_in_words(found.notes))


def test_the_perfect_prediction_is_what_the_truth_scores(found):
    """The floor by posterior draws against the truth's own scores, which a real corpus never shows."""
    true, perfect = found.system("panel", "true"), found.system("perfect")
    for metric in ("jsd_bits", "bhattacharyya", "total_variation", "log_score"):
        row = true.score(metric)
        assert row.low - 0.02 < value(perfect, metric) < row.high + 0.02, metric


def test_the_human_curve_falls_towards_perfection(found):
    raw = [point.scores[0].value for point in found.curve if point.kind == "raw"]
    smooth = [point.scores[0].value for point in found.curve if point.kind == "smoothed"]
    assert raw == sorted(raw, reverse=True)
    assert smooth == sorted(smooth, reverse=True)
    assert len(smooth) == len(raw) + 1
    assert all(s < r for s, r in zip(smooth[1:], raw, strict=True))
    assert smooth[0] == pytest.approx(value(found.system("constant"), "sq_unbiased"), abs=0.02)


def test_n_raw_votes_score_what_theory_says(world, found):
    """E sq of n votes' frequencies = mean (1 - sum p^2) / n over the utterances."""
    _, truth, _ = world
    spread = (1 - (truth**2).sum(axis=1)).mean()
    for point in found.curve:
        if point.kind == "raw":
            assert point.scores[0].value == pytest.approx(spread / point.n, abs=0.06)


def test_the_log_score_is_minus_infinity_where_it_is(found):
    sampled = found.system("sampled", "true").score("log_score")
    assert sampled.value == -np.inf
    assert sampled.method == "none: infinite value"
    assert np.isfinite(value(found.system("panel", "true"), "log_score"))
    assert "true, 20 sampled votes" in " ".join(notes_in_words(found.notes))


def test_the_labels_errors_add_up_and_the_confusion_has_rows_of_one(found):
    for panel in found.panels:
        total = sum(row.sq_unbiased.value for row in panel.labels)
        assert total == pytest.approx(value(found.system("panel", panel.name), "sq_unbiased"), abs=1e-9)
        np.testing.assert_allclose(np.sum(panel.confusion, axis=1), 1, atol=1e-6)
    # the biased run hears half of every label as the next one
    bent, true = np.array(found.panels[1].confusion), np.array(found.panels[0].confusion)
    assert bent[0, 1] - true[0, 1] > 0.2


def test_thirds_are_cut_by_other_votes_so_the_low_third_is_not_won_by_chance(found):
    strata = found.panels[0].strata
    assert [s.third for s in strata] == ["low", "medium", "high"]
    human = [s.human_ambiguity.value for s in strata]
    assert human == sorted(human)
    # on the scored votes the true panel is as ambiguous as people are, in each third
    for s in strata:
        assert s.human_ambiguity.low - 0.05 < s.panel_ambiguity.value < s.human_ambiguity.high + 0.05
        assert s.gap.low < 100 < s.gap.high


def test_the_answer_says_it_in_words(found):
    assert "the gap between the two" in answers(found)[0]
    assert "what it says belongs to the single utterance" in answers(found)[0]
    assert "worse than answering without listening" in answers(found)[2]
    assert "is not shown" in answers(found)[2]


def test_the_same_seed_gives_the_same_audit_and_another_does_not(world, found):
    corpus, _, runs = world
    chosen = [runs["true"], runs["biased"], runs["deaf"]]
    assert audit(corpus, chosen).to_json() == found.to_json()
    first, second = (audit(corpus, [runs["deaf"]], draws=2, seed=seed).to_json()["panels"] for seed in (0, 1))
    assert first != second


def test_the_result_is_json(found):
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["settings"]["votes_scored"] == 4
    assert "rows" not in found.to_json()


def test_progress_is_told(world):
    corpus, _, runs = world
    seen = []
    audit(corpus, [runs["deaf"]], draws=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("held", "seen", "m"),
    [
        ([8, 8, 8, 6], [0, 0, 0, 2], 4),  # plenty
        ([4] * 10, [2] * 10, 4),  # the seen ones cut the strata
        ([4] * 10, [0] * 10, 2),  # two are kept to cut the strata
        ([3] * 10, [0] * 10, 3),  # nothing left to cut with, so all are scored
        ([2] * 10 + [9], [1] * 11, 2),
    ],
)
def test_how_many_votes_are_scored(held, seen, m):
    assert choose_votes_scored(np.array(held), np.array(seen)) == m


def test_utterances_with_too_few_held_out_votes_are_left_out_and_counted(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=60, seen=5, votes=8)
    ref = build_reference(corpus, m=4)
    # train keeps 3 held-out votes, development and test all 8
    train = int(corpus.in_split("train").sum())
    assert ref.left_out == {"fewer than 4 held-out human votes": train}
    assert len(ref.ids) == 60 - train
    assert build_reference(corpus).m == 3


def test_another_human_panel_is_audited_like_a_run(tmp_path):
    truth = simulated_truth(240, 12, 6, 5)
    corpus, _ = simulated_corpus(tmp_path / "heard", utterances=240, truth=truth, raters=GOOD)
    panel, _ = simulated_corpus(tmp_path / "seen", utterances=240, truth=truth, raters=GOOD, seed=9, votes=6, seen=None)
    found = audit(corpus, [open_panel(panel.path, "audit")])
    system = found.system("panel", "seen")
    assert found.panels[0].kind == "humans"
    # six raw votes cost (1 - sum p^2) / 6; their log score is of the smoothed form, so it is finite
    assert value(system, "sq_unbiased") == pytest.approx((1 - (truth**2).sum(1)).mean() / 6, abs=0.03)
    assert np.isfinite(value(system, "log_score"))
    assert "posterior mean" in present(system.note)


def test_labels_in_another_order_are_lined_up(world, tmp_path):
    corpus, truth, _ = world
    turned = LabelSet("turned", tuple(reversed(corpus.labels.labels)))
    people, _ = simulated_corpus(
        tmp_path / "c", truth=truth, utterances=360, speakers=18, raters=GOOD, seed=7, seen=None
    )
    human = people.votes.drop_columns(["part"])
    other = write_corpus(
        tmp_path / "panel",
        name="panel",
        labels=turned,
        utterances=corpus.utterances,
        votes=human.slice(0, human.num_rows // 2),
        licence="CC0-1.0",
        provenance={},
        simulated=True,
    )
    found = audit(corpus, [other], draws=4)
    assert np.trace(np.array(found.panels[0].confusion)) > 2.5


def test_one_speaker_has_no_intervals_and_it_is_said(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=40, speakers=1)
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))])
    assert {row.method for row in found.system("panel", "r").scores} == {"none: one group"}
    assert any("one speaker" in note and "no interval" in note for note in notes_in_words(found.notes))
    assert 0 < found.panels[0].gap.value <= 120


def test_a_run_over_one_speaker_of_many_is_audited_by_utterance(world, tmp_path):
    """`annotate --limit` takes the first utterances, often of one speaker: alone, and beside a whole run."""
    corpus, truth, runs = world
    speakers = corpus.column("speaker")
    for heard in (["sp00"], ["sp03", "sp07"]):
        missing = [u for u, s in zip(corpus.ids, speakers, strict=True) if s not in heard]
        part = open_run(simulated_run(tmp_path / heard[0], corpus, truth, missing=missing))
        for chosen in ([part], [runs["biased"], part]):
            found = audit(corpus, chosen, draws=2)
            assert found.reference["speakers"] == len(heard)
            assert found.panels[-1].covered == 20 * len(heard)
            assert found.settings["folds_of"] == ("utterances" if len(heard) == 1 else "speakers")
            one = any("one speaker" in note and "no interval" in note for note in notes_in_words(found.notes))
            assert one == (len(heard) == 1)
            assert np.isnan(found.panels[0].over_shuffled.low) == one


def test_two_speakers_that_shared_a_fold_are_told_apart(world, tmp_path):
    corpus, truth, _ = world
    ref = build_reference(corpus)
    together = sorted({g for g, f in zip(ref.groups, ref.folds, strict=True) if f == 0})[:2]
    missing = [u for u, s in zip(corpus.ids, corpus.column("speaker"), strict=True) if s not in together]
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth, missing=missing))])
    assert found.settings["folds"] == 2


def test_a_single_utterance_is_refused_in_a_sentence(world, tmp_path):
    corpus, truth, _ = world
    run = simulated_run(tmp_path / "r", corpus, truth, missing=corpus.ids[1:])
    with pytest.raises(RunError, match=r"only 1 utterance .* an audit needs two or more"):
        audit(corpus, [open_run(run)])


def test_another_human_panel_of_one_speaker_has_a_finite_log_score(tmp_path):
    truth = simulated_truth(120, 6, 6, 5)
    corpus, _ = simulated_corpus(tmp_path / "heard", utterances=120, speakers=6, truth=truth)
    panel, _ = simulated_corpus(tmp_path / "seen", utterances=120, speakers=6, truth=truth, seed=9, votes=6, seen=None)
    first = {u for u, s in zip(panel.ids, panel.column("speaker"), strict=True) if s == "sp00"}
    kept = [v["utterance_id"] in first for v in panel.votes.to_pylist()]
    table = write_corpus(
        tmp_path / "part",
        name="part",
        labels=panel.labels,
        utterances=panel.utterances,
        votes=panel.votes.filter(kept),
        licence="CC0-1.0",
        provenance={},
    )
    assert np.isfinite(value(audit(corpus, [table]).system("panel", "part"), "log_score"))


def test_one_draw_of_votes_moves_a_score_more_than_the_mean_of_many(world):
    """Over seeds, with independent draws the mean of 16 spreads a quarter as much as one."""
    corpus, truth, _ = world
    q, spread = biased(truth), {}
    for draws in (1, 16):
        found = []
        for seed in range(20):
            ref = build_reference(corpus, seed=seed)
            found.append(np.mean([sq_unbiased(q, ref.redrawn(draw).scored).mean() for draw in range(draws)]))
        spread[draws] = np.std(found)
    assert spread[16] < 0.45 * spread[1]


def test_a_redraw_keeps_all_votes_and_leaves_the_seen_ones_alone(world):
    corpus, _, _ = world
    ref = build_reference(corpus)
    seen = count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen")[ref.rows]
    for draw in range(3):
        other = ref.redrawn(draw)
        np.testing.assert_array_equal(other.scored + other.other, ref.scored + ref.other)
        assert (other.other >= seen).all()
        assert (other.scored.sum(axis=1) == ref.m).all()
        assert (draw == 0) == (other.scored == ref.scored).all()


def unanimous(path, *, label="happy"):
    """A corpus whose every vote is the same label: the constant is all but perfect, and one raw vote is perfect."""
    corpus, _ = simulated_corpus(path, utterances=48, seen=None, raters=GOOD)
    votes = corpus.votes.to_pylist()
    for row in votes:
        row["label"] = label
    same = write_corpus(
        path.parent / f"{path.name}-same",
        name="simulated",
        labels=corpus.labels,
        utterances=corpus.utterances,
        votes=from_rows([{k: v for k, v in row.items() if k != "part"} for row in votes], VOTES, labels=corpus.labels),
        licence="CC0-1.0",
        provenance={},
        simulated=True,
    )
    return write_division(same, divide_votes(same, seen=2), None)


def test_a_panel_worse_than_the_constant_matches_no_human_votes(tmp_path):
    """Raw frequencies of a vote or two are worse than a constant, so beating them is nothing to praise."""
    truth = 0.4 * simulated_truth(120, 12, 6, 5) + 0.1
    corpus, _ = simulated_corpus(tmp_path / "c", truth=truth, raters=GOOD)
    vague = audit(corpus, [open_run(simulated_run(tmp_path / "vague", corpus, shuffled(truth), spread=0.01))])
    panel, words = vague.panels[0], answers(vague)[0]
    raw = [p.scores[0].value for p in vague.curve if p.kind == "raw"]
    assert value(vague.system("constant"), "sq_unbiased") < value(vague.system("panel", "vague"), "sq_unbiased")
    assert value(vague.system("panel", "vague"), "sq_unbiased") < raw[0]
    assert nearest_human_votes(vague, panel) == "0"
    assert "worse than answering without listening" in words
    assert "no larger than" not in words
    assert "raw" not in words


def test_without_a_gap_it_is_still_said_whether_the_panel_is_worse(tmp_path):
    corpus = unanimous(tmp_path / "c")
    flat = np.full((len(corpus.ids), 6), 1 / 6)
    found = audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, flat, spread=0.01))], draws=2)
    constant = present(found.system("constant").score("sq_unbiased"))
    for level in (constant.value, -0.055):
        row = constant._replace(value=level)
        panel = replace(found.panels[0], gap=found.panels[0].gap._replace(value=np.nan))
        changed = replace(found, systems=[replace(found.systems[0], scores=[row]), *found.systems[1:]])
        words = answer_in_words(changed, panel)
        assert "leaves no gap to close" in words
        assert "worse than answering without listening, by 0.8" in words
        assert nearest_human_votes(changed, panel) == "0"


def test_the_human_votes_matched_are_smoothed_ones_and_stop_at_the_first_that_is_better(found):
    true, biased_run, _ = found.panels
    smooth = [p.scores[0].value for p in found.curve if p.kind == "smoothed" and p.n]
    error = value(found.system("panel", "biased"), "sq_unbiased")
    assert nearest_human_votes(found, true) == f"{len(smooth)}+"
    assert nearest_human_votes(found, biased_run) == str(sum(e >= error for e in smooth))
    assert "smoothed" in answers(found)[0]
    assert ". That " not in answers(found)[0]


def test_little_mass_on_the_labels_is_warned_of_loudly(world, tmp_path):
    corpus, truth, _ = world
    path = simulated_run(tmp_path / "r", corpus, truth)
    run = open_run(path)
    low = run.scores["log_mass"].to_numpy() * 0 + np.log(0.12)
    place = run.scores.column_names.index("log_mass")
    scores = run.scores.set_column(place, "log_mass", pa.array(low, pa.float32()))
    warned = audit(corpus, [replace(run, scores=scores)], draws=2)
    assert warned.panels[0].label_mass == pytest.approx(0.12, abs=1e-6)
    assert "Warning: on average only 12.0 % of the model's probability fell on any label" in answers(warned)[0]
    assert "12.0 %" in fill("methods", **methods(warned))
    assert "<strong>Warning: on average only 12.0 %" in render(warned, corpus)
    calm = audit(corpus, [run], draws=2)
    assert calm.panels[0].label_mass == pytest.approx(np.exp(-0.01), abs=1e-6)
    assert "Warning" not in answers(calm)[0]
    assert "On average 99.0 % of the probability of r fell on a label" in words(fill("methods", **methods(calm)))
    assert calm.to_json()["panels"][0]["label_mass"] == pytest.approx(0.990, abs=1e-3)


def test_a_corpus_that_is_not_divided_is_refused(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=20, seen=None)
    with pytest.raises(CorpusError, match="serann corpus holdout"):
        audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))])


def test_one_human_vote_an_utterance_cannot_be_audited(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "c", utterances=20, votes=1, seen=1)
    with pytest.raises(CorpusError, match="no utterance has two held-out human votes"):
        audit(corpus, [open_run(simulated_run(tmp_path / "r", corpus, truth))])


def test_runs_that_do_not_fit_are_refused(world, tmp_path):
    corpus, _, _ = world
    strange, truth = simulated_corpus(tmp_path / "strange", utterances=20, prefix="x")
    with pytest.raises(RunError, match=r"shares no utterance with .* its first is 'x0000'"):
        audit(corpus, [open_run(simulated_run(tmp_path / "r", strange, truth))])
    named, truth = simulated_corpus(tmp_path / "named", utterances=20, name="elsewhere")
    with pytest.raises(RunError, match="a run over the corpus 'elsewhere', not over 'simulated'"):
        audit(corpus, [open_run(simulated_run(tmp_path / "n", named, truth))])
    four, truth = simulated_corpus(tmp_path / "four", utterances=20, labels=LABEL_SETS["iemocap4"])
    with pytest.raises(LabelError, match="lacks fear, surprise"):
        audit(corpus, [open_run(simulated_run(tmp_path / "f", four, truth))])
    with pytest.raises(RunError, match="cannot be its own panel"):
        audit(corpus, [corpus])
    with pytest.raises(RunError, match="no run at"):
        open_panel(tmp_path / "nowhere", "audit")


def test_options_out_of_range_are_refused(world):
    corpus, _, runs = world
    with pytest.raises(OptionError, match="votes-scored is 1; expected 2 or more"):
        audit(corpus, [runs["deaf"]], m=1)
    with pytest.raises(OptionError, match=r"no utterance of .* has more than 8 held-out"):
        audit(corpus, [runs["deaf"]], m=9)
    with pytest.raises(OptionError, match="between 0 and 1"):
        audit(corpus, [runs["deaf"]], level=95)
    with pytest.raises(OptionError, match="needs a run"):
        audit(corpus, [])
    with pytest.raises(OptionError, match="number of draws is 0"):
        audit(corpus, [runs["deaf"]], draws=0)


def test_the_command_prints_the_table_and_writes_the_report(world, tmp_path):
    corpus, _, runs = world
    paths = [str(corpus.path), str(runs["true"].path), str(runs["deaf"].path)]
    done = CliRunner().invoke(app, ["audit", *paths, "-o", str(tmp_path / "report.html")])
    assert done.exit_code == 0, done.output
    assert "358 utterances of 18 speakers, 4 held-out human votes each (simulated corpus)" in done.stdout
    assert f"report: {tmp_path / 'report.html'}" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["settings"]["votes_scored"] == 4
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 100
    assert re.search(r"^true +-?0\.\d{3} \[-0\.\d{3}, 0\.\d{3}\] +-\d\.\d{3} \[-\d\.\d{3}, -", done.stdout, flags=re.M)
    assert re.search(r"\d+ \[\d+, \d+\] % \(low\)", done.stderr)
    as_json = CliRunner().invoke(app, ["audit", *paths, "--json", "--votes-scored", "3", "--draws", "2"])
    settings = json.loads(as_json.stdout)["settings"]
    assert (settings["votes_scored"], settings["draws"]) == (3, 2)


def test_a_report_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "nowhere"), "r", "-o", str(tmp_path / "rep.pdf")])
    assert isinstance(done.exception, OptionError)
    assert "rep.pdf does not end in .html" in str(done.exception)


@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA does not name the real corpora")
def test_real_panels_against_real_voice_votes(tmp_path):
    """Figures measured apart on the same votes: raw, class-marginal-prior and human-mixture votes at n = 2, 3, 5."""
    voice = crema(tmp_path, "1", "voice")
    voice = write_division(voice, divide_votes(voice, seen=3), None)
    panels = [crema(tmp_path, "3", "both"), crema(tmp_path, "2", "face")]
    found = audit(voice, panels)
    assert found.reference["utterances"] == 5903
    curve = {(p.kind, p.n): {r.metric: r.value for r in p.scores} for p in found.curve}
    ref = build_reference(voice)
    alpha = cross_fitted(ref.folds, lambda others: fit_dirichlet_multinomial(ref.other[others]), width=6)
    # raw, class-marginal prior, human mixture: squared errors, then JSD. The mixture is fitted to all votes of other
    # speakers here, and was to n votes per utterance there: a little better at 2 and 3.
    for n, squared, bits in (
        (2, (0.261, 0.116, 0.100), (0.312, 0.278, 0.257)),
        (3, (0.175, 0.095, 0.080), (0.268, 0.258, 0.238)),
        (5, (0.105, 0.070, 0.058), (0.229, 0.235, 0.219)),
    ):
        marginal = posterior_mean(baselines.human_votes(ref, n), alpha)
        assert curve["raw", n]["sq_unbiased"] == pytest.approx(squared[0], abs=0.012)
        assert sq_unbiased(marginal, ref.scored).mean() == pytest.approx(squared[1], abs=0.006)
        assert curve["smoothed", n]["sq_unbiased"] == pytest.approx(squared[2], abs=0.006)
        assert curve["raw", n]["jsd_bits@4"] == pytest.approx(bits[0], abs=0.006)
        assert jsd_bits(marginal, ref.scored).mean() == pytest.approx(bits[1], abs=0.006)
        assert curve["smoothed", n]["jsd_bits@4"] == pytest.approx(bits[2], abs=0.006)
    assert curve["smoothed", 2]["log_score"] == pytest.approx(-1.288, abs=0.012)
    assert curve["smoothed", 3]["log_score"] == pytest.approx(-1.240, abs=0.012)
    both, face = (value(found.system("panel", name), "sq_unbiased") for name in ("both", "face"))
    assert both < face
    assert all(panel.over_shuffled.low > 0.2 for panel in found.panels)


def test_a_panel_without_common_utterances_beside_another_is_refused(world, tmp_path):
    corpus, truth, _ = world
    half = [
        simulated_run(tmp_path / n, corpus, truth, missing=m)
        for n, m in (("a", corpus.ids[:180]), ("b", corpus.ids[180:]))
    ]
    with pytest.raises(RunError, match="audit these panels one by one"):
        audit(corpus, [open_run(path) for path in half])
