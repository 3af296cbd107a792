"""The report of a fusion: distances and intervals against independent witnesses, the page, and the dry run."""

import json
import math
import re
from dataclasses import replace
from functools import partial
from html import unescape

import numpy as np
import pytest
import soundfile
from fixtures.present import present
from fixtures.simulated import simulated_corpus, simulated_run
from fixtures.simulated_fusion import simulated_evidence
from fixtures.tones import tone_corpus
from scipy import stats
from scipy.spatial.distance import jensenshannon
from serann.annotator.cli.fuse import FuseCommand
from serann.annotator.cli.fuse import fuse as fuse_command
from serann.annotator.fusion import STRATEGIES, blend_by, fuse, preview
from serann.annotator.fusion.accounts import distances, fallback, moved, reason
from serann.annotator.fusion.auto import MARGIN
from serann.annotator.fusion.base import Fitted, Models
from serann.annotator.fusion.cross_fit import CrossFit
from serann.annotator.fusion.models import FittedMixture, fit_human_mixture
from serann.annotator.fusion.strategies import ask, blends
from serann.annotator.fusion.strengths import by_label, kinds_of
from serann.annotator.report.fusion_page import render
from serann.annotator.run.run import open_run
from serann.data.errors import OptionError
from serann.data.scores.intervals import POSITIVE, delete_a_group
from serann.data.vote_models.dirichlet_mixture import DirichletMixture, LatentMixture
from typer import Typer
from typer.testing import CliRunner

app = Typer()
app.command("fuse", cls=FuseCommand)(fuse_command)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a divided corpus with sound, and a run over it."""
    place = tmp_path_factory.mktemp("report")
    corpus, truth = simulated_corpus(place / "corpus", audio=True)
    simulated_run(place / "run", corpus, truth)
    return place, corpus, open_run(place / "run")


def fit(strategy: str, evidence, **given) -> Fitted:
    asked = ask(strategy, given)
    return asked.strategy.fit(evidence, asked.options, Models(STRATEGIES))


# --- intervals


def test_the_jackknife_by_hand_and_its_scales():
    folds = [2.0, 2.5, 1.5, 2.2, 1.9]
    error = math.sqrt(4 / 5 * sum((value - 2.0) ** 2 for value in folds))
    found = delete_a_group(2.0, folds)
    half = 2.7764451051977987 * error  # t(4) at .975
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    spread = math.sqrt(4 / 5 * sum(math.log(value / 2) ** 2 for value in folds))
    found = delete_a_group(2.0, folds, limits=POSITIVE)
    assert math.log(found.high / 2) == pytest.approx(2.7764451051977987 * spread)
    assert found.low * found.high == pytest.approx(4)


def test_the_jackknife_of_a_mean_is_the_usual_interval():
    groups = np.random.default_rng(0).normal(size=5)
    found = delete_a_group(groups.mean(), [np.delete(groups, g).mean() for g in range(5)])
    low, high = stats.t.interval(0.95, 4, groups.mean(), stats.sem(groups))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_what_cannot_be_had_is_nan_with_its_reason():
    assert delete_a_group(1.0, [1.0]).method == "none: fewer than two folds of speakers"
    found = delete_a_group(1.0, [1.0, math.nan])
    assert math.isnan(found.low)
    assert found.method == "none: undefined without one of the folds"


# --- what moved


def test_distances_against_scipy_and_by_hand():
    seen = np.array([[3.0, 0, 0], [1, 1, 0], [0, 2, 1], [0, 0, 0], [1, 1, 0]])
    p = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4], [np.nan] * 3])
    found = distances(seen, p)
    for i in range(3):
        h = seen[i] / seen[i].sum()
        assert found.jsd_bits[i] == pytest.approx(jensenshannon(h, p[i], base=2) ** 2)
        assert found.l2[i] == pytest.approx(math.dist(h, p[i]))
    assert np.isnan(found.jsd_bits[3:]).all()
    assert found.both.tolist() == [True, True, True, False, False]
    assert found.changed.tolist() == [False, False, True, False, False]  # the third's two votes lose to p
    assert found.settled.tolist() == [False, True, False, False, False]  # of the second's tie p chose the first


def test_strata_and_examples_are_those_of_a_naive_loop():
    evidence, _ = simulated_evidence(rows=240)
    blend = blend_by("opinion-pool", evidence)
    found = moved(evidence, blend)
    far = {}
    for i, name in enumerate(evidence.ids):
        far[name] = jensenshannon(evidence.seen[i] / evidence.seen[i].sum(), blend.p[i], base=2) ** 2
    assert [e.utterance_id for e in found.most] == sorted(far, key=lambda name: -far[name])[: len(found.most)]
    rows = {s.stratum: s for s in found.strata}
    genders = zip(evidence.ids, present(evidence.genders), strict=True)
    women = [far[name] for name, gender in genders if gender == "female"]
    assert rows["gender:female"].utterances == len(women)
    assert rows["gender:female"].jsd_bits.value == pytest.approx(np.mean(women))
    assert rows["gender:female"].jsd_bits.low < np.mean(women) < rows["gender:female"].jsd_bits.high
    assert rows["all"].utterances == 240
    assert "seen votes: 3" not in rows  # all have three, and all are told once
    assert len({e.utterance_id for e in found.random}) == 8


def test_the_examples_do_not_depend_on_the_order_of_rows():
    evidence, _ = simulated_evidence(rows=120)
    order = np.random.default_rng(1).permutation(120)
    run = evidence.runs[0]
    turned = replace(
        evidence,
        ids=tuple(evidence.ids[i] for i in order),
        seen=evidence.seen[order],
        speakers=evidence.speakers[order],
        genders=present(evidence.genders)[order],
        runs=(replace(run, q=run.q[order], drawn=run.drawn[order]),),
    )
    first, second = (moved(e, blend_by("pool", e)) for e in (evidence, turned))
    for one, other in ((first.most, second.most), (first.random, second.random)):
        assert [e.utterance_id for e in one] == [e.utterance_id for e in other]


# --- strengths


def test_strengths_of_empirical_bayes_are_its_folds():
    evidence, _ = simulated_evidence(rows=300, exact=True)
    fitted = fit("empirical-bayes", evidence)
    blend, found = fitted.blend(evidence), fitted.figures()
    strength = next(e for e in found.estimates if e.name.startswith("strength"))
    folds = [fold["proxies"][0]["strength"] for fold in blend.parameters["folds"]]
    assert strength.of_folds == folds
    assert strength.value == blend.parameters["all_train_speakers"]["proxies"][0]["strength"]
    assert strength.low < strength.value < strength.high
    assert "5 folds of speakers, t(4)" in found.method
    assert {e.name for e in found.estimates} > {"temperature", "bias for sad"}
    stated = fit("empirical-bayes", evidence, strength=2.0).figures().estimates[0]
    assert (stated.value, stated.reason) == (2.0, "stated, not estimated")


def test_kinds_do_not_depend_on_the_order_of_classes():
    pi, alpha = np.array([0.5, 0.2, 0.3]), np.array([[4.0, 1, 1], [3, 0.5, 0.5], [1, 1, 6]])
    turned = [2, 0, 1]
    fits = [
        FittedMixture(LatentMixture(DirichletMixture(pi[o], alpha[o], 0.0, 1), (), 0.0, ()))
        for o in ([0, 1, 2], turned)
    ]
    np.testing.assert_allclose(by_label(fits[0]), by_label(fits[1]))
    weight, mass, votes = by_label(fits[0])
    np.testing.assert_allclose(weight, [0.7, 0, 0.3])
    assert mass[0] == pytest.approx((0.5 * 4 / 6 + 0.2 * 3 / 4) / 0.7)
    assert votes[0] == pytest.approx(math.exp((0.5 * math.log(6) + 0.2 * math.log(4)) / 0.7))
    assert np.isnan(mass[1])
    kinds = kinds_of(("a", "b", "c"), [fits[0], *fits])
    assert [kind.label for kind in kinds] == ["a", "c"]
    assert kinds[0].weight.low == kinds[0].weight.high == pytest.approx(0.7)  # no fold differs


def test_the_votes_a_mixture_adds_are_its_posteriors():
    evidence, _ = simulated_evidence(rows=200, runs=0)
    found = fit("auto", evidence).figures()
    (added,) = found.estimates
    cross = CrossFit(evidence, {"human-mixture": fit_human_mixture})
    mixture = cross.model("human-mixture", -1)
    _, effective = mixture.posterior(evidence.seen, evidence.proxies())
    assert added.value == pytest.approx(float(np.mean(effective - evidence.seen.sum(axis=1))))
    rest = cross.fold != 2
    _, effective = cross.model("human-mixture", 2).posterior(evidence.seen[rest], evidence.proxies().rows(rest))
    assert added.of_folds[2] == pytest.approx(float(np.mean(effective - evidence.seen[rest].sum(axis=1))))
    assert sum(kind.weight.value for kind in found.kinds["human-mixture"]) == pytest.approx(1)


@pytest.mark.parametrize("strategy", sorted(blends()))
def test_every_strategy_has_something_to_say(strategy):
    if strategy in ("dawid-skene", "mace", "glad"):
        pytest.importorskip("crowdkit")
    evidence, _ = simulated_evidence(rows=120, speakers=10)
    fitted = fit(strategy, evidence)
    blend, found = fitted.blend(evidence), fitted.figures()
    assert found.reason or (found.method and found.estimates)
    assert all(e.reason or e.low <= e.value <= e.high for e in found.estimates)
    assert fallback(evidence, blend).sentences


# --- where it fell back


def test_reasons_say_what_decided():
    won = {"gain": 0.1, "low": 0.05, "high": 0.2, "brier_high": 0.0, "won": True}
    assert reason(won) == "shown to help"
    lost = won | {"won": False}
    assert reason(lost | {"low": -0.01}) == "not shown to help: the gain's interval reaches 0"
    assert reason(lost | {"low": -0.2, "high": -0.1}) == "harms: people alone predict better"
    assert reason(lost | {"brier_high": MARGIN}) == "surer, and squared error may rise by 0.005 or more"
    assert reason(lost | {"low": None}) == "too few speakers for an interval"
    assert reason(lost | {"gain": None}) == "no seen vote to judge by"


def test_the_fallback_of_auto_counts_what_it_made():
    evidence, _ = simulated_evidence(rows=600)
    blend = blend_by("auto", evidence)
    found = fallback(evidence, blend)
    assert sum(found.sources.values()) == 600
    whole = next(s for s in found.strata if s.stratum == "all")
    assert whole.proxy_taken == sum(n for name, n in found.sources.items() if name != "human-mixture")
    assert found.sentences[0].startswith(f"the proxy was taken for {whole.proxy_taken} of 600 train utterances")


# --- the page, the figures beside it, and the dry run


def test_the_page_is_one_offline_file_with_the_figures_of_the_json(place, tmp_path):
    _, corpus, run = place
    fused = fuse(corpus, [run], out=tmp_path / "fused", page=render)
    page = (fused.path / "report.html").read_text(encoding="utf-8")
    figures = json.loads((fused.path / "report.json").read_text())
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    assert len(re.sub(r"base64,[^\"]+", "", page)) < 400_000
    assert page.count("<audio") == 16  # eight that moved most, eight drawn evenly
    whole = figures["moved"]["strata"][0]
    for value in (whole["jsd_bits"]["value"], whole["l2"]["value"], figures["strengths"]["estimates"][0]["value"]):
        assert f"{value:.3f}" in page
    for stratum in figures["fallback"]["strata"]:
        assert f"{stratum['gain']:.4f}".replace("-", "−") in page
    assert figures["shares"] == fused.info.shares
    quiet = fuse(corpus, [run], strategy="pool", out=tmp_path / "quiet", page=partial(render, sounds=False))
    assert "<audio" not in (quiet.path / "report.html").read_text(encoding="utf-8")


def test_the_page_says_how_its_models_were_fitted_and_compared(place, tmp_path):
    _, corpus, run = place
    said = {
        "human": "nothing was fitted",
        "empirical-bayes": "a speaker's utterances were fused by parameters that never saw that speaker",
        "dawid-skene": "one model was fitted to all train ballots, not cross-fitted",
    }
    for strategy, words in said.items():
        fused = fuse(corpus, [run], strategy=strategy, out=tmp_path / strategy, page=partial(render, sounds=False))
        page = unescape((fused.path / "report.html").read_text(encoding="utf-8"))
        assert f"Only seen votes of train speakers were used; {words}. " in page
        scores = fused.info.parameters.get("cross_fitted_log_score_per_seen_vote", {})
        assert ("Models compared" in page) == bool(scores)
        for score in scores.values():
            assert f"{score:.4f}".replace("-", "−") in page
        outside = int((~corpus.in_split("train") & fused.defined).sum())
        assert (f"{outside} utterances outside train: the proxies alone" in page) == (outside > 0)
    assert outside == 0  # a crowd model says nothing there


def test_new_utterances_are_heard_beside_their_parents(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    for dime, parents in (("serann", 1), ("paper", 2)):
        options = {"strategy": "dime-aug", "blend": "human", "rho": 0.9, "dime": dime}
        _, planned = preview(corpus, **options)
        added = present(planned.added)
        fused = fuse(corpus, **options, out=tmp_path / dime, page=render)
        figures = json.loads((fused.path / "report.json").read_text())["added"]
        page = (fused.path / "report.html").read_text(encoding="utf-8")
        files = list((fused.path / "audio").iterdir())
        assert figures["new"] == len(files) == fused.info.counts["new"] == added.new > 0
        assert figures["bytes"] == sum(file.stat().st_size for file in files)
        assert figures["seconds"] == pytest.approx(sum(soundfile.info(file).duration for file in files))
        # planned: seconds follow from the parents, bytes from up to eight takes
        assert added.seconds == pytest.approx(figures["seconds"], abs=0.001 * len(files))
        assert added.bytes == pytest.approx(figures["bytes"], rel=0.1)
        shown = min(6, len(files))
        assert len(figures["takes"]) == shown
        assert page.count("<audio") >= shown * 2
        assert all(1 <= len(take["parents"]) <= parents for take in figures["takes"])
        assert figures["measured"]
        assert not added.measured


def test_a_dry_run_writes_nothing_and_says_what_would_be(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _, _ = place
    words = [str(folder / "corpus"), str(folder / "run"), "--strategy", "dime-aug", "--blend", "pool", "--rho", "0.6"]
    before = sorted(path for path in folder.rglob("*"))
    shown = CliRunner().invoke(app, [*words, "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "dry run: nothing is written; fused by dime-aug after pool" in shown.stderr
    for text in ("What moved", "Shares in the train split", "fused, augmented", "new utterances: ", "a guess"):
        assert text in shown.stdout
    document = json.loads(CliRunner().invoke(app, [*words, "--dry-run", "--json"]).stdout)
    assert (document["fused"], document["dry_run"]) == (None, True)
    assert document["report"]["added"]["new"] == document["counts"]["new"] > 0
    assert list(tmp_path.iterdir()) == []
    assert sorted(path for path in folder.rglob("*")) == before
    out = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "fused"), "--json"])
    written = json.loads(out.stdout)
    for name in ("counts", "shares", "warnings", "parameters"):
        assert written[name] == document[name]
    assert written["report"]["moved"] == document["report"]["moved"]


def test_a_dry_run_and_a_list_exclude_each_other_and_an_output_is_needed(place):
    folder, _, _ = place
    shown = CliRunner().invoke(app, [str(folder / "corpus"), "--dry-run", "--next", "5"])
    assert isinstance(shown.exception, OptionError)
    assert "--dry-run shows the report of a fusion, and --next fuses nothing" in str(shown.exception)
    shown = CliRunner().invoke(app, [str(folder / "corpus")])
    assert "nowhere to write: name a folder with -o FUSED, or look without writing with --dry-run" in str(
        shown.exception
    )


def test_without_a_renderer_there_are_the_figures_alone(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40)
    fused = fuse(corpus, strategy="human", out=tmp_path / "fused")
    assert (fused.path / "report.json").exists()
    assert not (fused.path / "report.html").exists()


def test_a_corpus_without_sounds_has_a_report_that_says_so(tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40)
    fused = fuse(corpus, strategy="human", out=tmp_path / "fused", page=render)
    page = (fused.path / "report.html").read_text(encoding="utf-8")
    assert "The corpus names no sounds" in page
    assert "<audio" not in page
