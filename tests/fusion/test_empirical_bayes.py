"""Empirical Bayes: the likelihood and its gradient, recovery of known parameters, cross-fitting, and real votes."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from fixtures.evidence import evidence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from scipy.special import gammaln
from scipy.stats import dirichlet_multinomial
from serann.annotator.fusion import blend_by, fit_empirical_bayes, posterior
from serann.annotator.fusion.cross_fit import FOLDS, CrossFit
from serann.annotator.fusion.empirical_bayes import MARGINAL, NAME, fits
from serann.annotator.fusion.evidence import Evidence
from serann.annotator.proxies import Panel
from serann.data.errors import CorpusError, OptionError
from serann.data.labels import LabelSet
from serann.data.scores.divergences import jsd_bits
from serann.data.scores.groups import group_folds
from serann.data.scores.proper_scores import log_score as score_of_votes
from serann.data.scores.proper_scores import sq_unbiased
from serann.data.vote_models import calibrated_prior
from serann.data.vote_models.calibrated_prior import Votes, calibrated, confusion_map, log_score, objective, weak_priors
from serann.data.votes import frequencies, split_counts


def drawn_votes(seed, *, rows=4000, labels=4, strength=3.0, temperature=1.0, bias=None, most=4):
    """Proxy distributions and human votes from the model itself, so that the parameters are known."""
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.full(labels, 0.7), rows)
    g = calibrated(np.log(q), temperature, np.zeros(labels) if bias is None else np.array(bias))
    p = np.array([rng.dirichlet(strength * row) for row in g + 1e-9])
    return rng.multinomial(rng.integers(2, most + 1, rows), p).astype(float), q, p


def test_posterior_by_hand():
    # votes (2, 0) and prior 2 x (.5, .5): (3, 1) / 4; no votes: the prior itself
    fused = posterior(
        np.array([[2.0, 0.0], [0.0, 0.0], [np.nan, np.nan]]), 2 * np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    )
    np.testing.assert_allclose(fused.p, [[0.75, 0.25], [0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_allclose(fused.effective_votes, [4, 2, 2])


def test_log_score_is_the_dirichlet_multinomial_without_its_coefficient():
    counts, prior = np.array([[3, 1, 0], [0, 2, 2]]), np.array([[0.5, 1.2, 2.0], [1.0, 1.0, 0.1]])
    n = counts.sum(axis=1)
    coefficient = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)
    witness = [dirichlet_multinomial.logpmf(c, a, m) for c, a, m in zip(counts, prior, n, strict=True)]
    np.testing.assert_allclose(log_score(counts, prior), (witness - coefficient) / n, rtol=1e-12)
    assert np.isnan(log_score(np.zeros((1, 3)), np.ones((1, 3)))).all()


def test_the_objective_is_the_likelihood_and_its_gradient_is_right():
    counts, q, _ = drawn_votes(0, rows=50)
    other = np.random.default_rng(1).dirichlet(np.ones(4), 50)
    said = np.ones((50, 2), bool)
    said[::3, 1] = False  # the second proxy lacks some
    votes = Votes.of(counts, said)
    log_m = [np.log(q @ confusion_map(counts, q)), np.log(other)]
    x = np.array([[0.7, -0.3, 0.2, -0.5, 0.1, 0.4], [-0.2, 0.4, 0.0, 0.3, -0.2, 0.1]])
    value, gradient = objective(x.reshape(-1), votes, log_m, True)
    parts = [np.exp(y[0]) * calibrated(m, np.exp(y[1]), y[2:]) for m, y in zip(log_m, x, strict=True)]
    prior = parts[0] + parts[1] * said[:, 1:]
    likelihood = (log_score(counts, prior) * counts.sum(axis=1)).sum()
    assert value == pytest.approx((weak_priors(x)[0] - likelihood) / counts.sum(), rel=1e-12)
    numeric = approx_fprime(x.reshape(-1), lambda y: objective(y, votes, log_m, True)[0], 1e-7)
    np.testing.assert_allclose(gradient, np.asarray(numeric), atol=1e-6)
    assert not objective(x.reshape(-1), votes, log_m, False)[1].reshape(2, -1)[:, 0].any()


def two_proxies(rows: int, seed: int = 0) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Votes whose distributions are a sum of what two proxies say, each of which knows its half."""
    rng = np.random.default_rng(seed)
    q = tuple(rng.dirichlet(np.full(4, 0.5), rows) for _ in range(2))
    p = np.array([rng.dirichlet(row) for row in np.maximum(4 * q[0] + 2 * q[1], 1e-3)])
    return np.array([rng.multinomial(3, row) for row in p]).astype(float), q, p  # pyright: ignore[reportReturnType]


def test_several_proxies_are_a_sum_of_priors():
    counts, q, p = two_proxies(6000)
    fit = fit_empirical_bayes(counts, q)
    assert fit.converged
    assert [proxy.strength for proxy in fit.proxies] == pytest.approx([4, 2], rel=0.15)
    first, second = fit.proxies
    np.testing.assert_allclose(
        fit.prior(q), first.strength * first.calibrate(q[0]) + second.strength * second.calibrate(q[1])
    )

    def error(prior: np.ndarray) -> float:
        return float(((posterior(counts, prior).p - p) ** 2).sum(axis=1).mean())

    mean = (q[0] + q[1]) / 2
    others = [fit_empirical_bayes(counts, one).prior(one) for one in (*q, mean)]
    assert error(fit.prior(q)) < 0.97 * min(error(prior) for prior in others)
    turned = fit_empirical_bayes(counts, q[::-1])
    np.testing.assert_allclose(turned.prior(q[::-1]), fit.prior(q), rtol=0.02, atol=2e-3)


def test_a_proxy_that_lacks_an_utterance_adds_nothing_there():
    counts, q, _ = two_proxies(800)
    part = q[1].copy()
    part[::2] = np.nan
    fit = fit_empirical_bayes(counts, (q[0], part))
    prior = fit.prior((q[0], part))
    np.testing.assert_allclose(prior[::2].sum(axis=1), fit.proxies[0].strength)
    np.testing.assert_allclose(prior[1::2].sum(axis=1), fit.strength)
    assert np.isnan(fit.prior((part, part))[::2]).all()
    fixed = fit_empirical_bayes(counts, (q[0], part), strength=3.0)
    assert [proxy.strength for proxy in fixed.proxies] == pytest.approx([1.5, 1.5])
    # a proxy that says nothing at all changes nothing but the share of the strength it might have had
    none = fit_empirical_bayes(counts, (q[0], np.full_like(part, np.nan)))
    alone = fit_empirical_bayes(counts, q[0])
    silent = none.prior((q[0], np.full_like(part, np.nan)))
    np.testing.assert_allclose(silent, alone.prior(q[0]), rtol=0.02)


def test_confusion_map_rows_are_how_humans_voted_where_the_proxy_said_so():
    counts, q = np.array([[4.0, 0.0], [1.0, 3.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    # pseudo-votes: two a row, spread as the marginal (5, 3) / 8, five on the diagonal; a sure q leaves EM no choice:
    # (4 + 1.25 + 5, 0 + .75) / 11 and (1 + 1.25, 3 + .75 + 5) / 11
    np.testing.assert_allclose(confusion_map(counts, q), np.array([[10.25, 0.75], [2.25, 8.75]]) / 11)


def test_the_confusion_map_of_a_soft_proxy_is_not_blurred():
    """A proxy that knows every vote's distribution has the identity as its map; counting by q alone does not."""
    rng = np.random.default_rng(0)
    q = rng.dirichlet([1, 1, 1], 20_000)
    counts = np.array([rng.multinomial(3, row) for row in q]).astype(float)
    assert np.diag(confusion_map(counts, q, steps=0)).max() < 0.6
    np.testing.assert_allclose(confusion_map(counts, q, steps=200), np.eye(3), atol=0.03)
    swapped = confusion_map(counts[:, [1, 0, 2]], q, steps=200)
    np.testing.assert_allclose(swapped, np.eye(3)[[1, 0, 2]], atol=0.03)


def test_a_known_strength_and_calibration_are_found_again():
    counts, q, p = drawn_votes(1, rows=20_000, strength=3.0, temperature=0.8, bias=[0.6, -0.2, -0.2, -0.2])
    fit = fit_empirical_bayes(counts, q)
    assert fit.converged
    assert fit.strength == pytest.approx(3.0, rel=0.1)
    np.testing.assert_allclose(fit.proxies[0].confusion.sum(axis=1), 1)
    exact = calibrated(np.log(q), 0.8, np.array([0.6, -0.2, -0.2, -0.2]))
    fused = posterior(counts, fit.prior(q)).p
    best = posterior(counts, 3.0 * exact).p
    # within 2 % of what the true parameters achieve, far below the votes alone
    assert ((fused - p) ** 2).sum() < 1.02 * ((best - p) ** 2).sum()
    assert ((fused - p) ** 2).sum() < 0.5 * ((frequencies(counts) - p) ** 2).sum()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 50))
def test_permuting_labels_or_rows_permutes_the_result(order, seed):
    counts, q, _ = drawn_votes(seed, rows=120)
    p = posterior(counts, fit_empirical_bayes(counts, q).prior(q)).p
    turned = posterior(counts[:, order], fit_empirical_bayes(counts[:, order], q[:, order]).prior(q[:, order])).p
    np.testing.assert_allclose(turned, p[:, order], atol=2e-3)
    rows = np.random.default_rng(seed).permutation(len(q))
    shuffled = fit_empirical_bayes(counts[rows], q[rows]).prior(q)
    np.testing.assert_allclose(posterior(counts, shuffled).p, p, atol=2e-3)


def test_rows_without_votes_or_proxy_are_left_out_of_the_fit():
    counts, q, _ = drawn_votes(3, rows=200)
    more_counts = np.vstack([counts, np.zeros((1, 4)), [[5, 0, 0, 0]], [[np.nan] * 4]])
    more_q = np.vstack([q, [[0.25] * 4], [[np.nan] * 4], [[0.25] * 4]])
    fit, same = fit_empirical_bayes(counts, q), fit_empirical_bayes(more_counts, more_q)
    assert (fit.rows, fit.strength) == (same.rows, same.strength)
    with pytest.raises(OptionError, match="no utterance has both seen human votes and a proxy distribution"):
        fit_empirical_bayes(np.zeros((2, 4)), q[:2])


def test_single_votes_do_not_identify_the_strength():
    q = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    single = np.eye(3)[q.argmax(axis=1)]
    with pytest.raises(OptionError, match=r"strength not identifiable from single votes: .*\(--strength 2\)"):
        fit_empirical_bayes(single, q)
    fit = fit_empirical_bayes(single, q, strength=2.0)
    assert fit.strength == pytest.approx(2.0, rel=1e-12)
    assert fit.proxies[0].temperature < 1  # the calibration is identifiable: the votes are surer than the proxy


def test_a_label_nobody_chose_keeps_a_chance():
    counts, q, _ = drawn_votes(4, rows=300)
    counts[:, 3] = 0
    p = posterior(counts, fit_empirical_bayes(counts, q).prior(q)).p
    assert np.isfinite(p).all()
    assert (p[:, 3] > 0).all()
    assert p[:, 3].mean() < 0.05


def evidence_of(counts: np.ndarray, q: np.ndarray, speakers: list[str], seed: int = 0) -> Evidence:
    """Votes and one proxy's distributions, every utterance in train."""
    labels = LabelSet("drawn", tuple("abcdef"[: counts.shape[1]]))
    return Evidence(
        ids=tuple(f"u{i:05d}" for i in range(len(q))),
        labels=labels,
        seen=counts,
        train=np.ones(len(q), bool),
        speakers=np.array(speakers, dtype=object),
        runs=(Panel("proxy", q, np.zeros_like(q)),),
        seed=seed,
    )


def test_an_utterances_parameters_never_saw_its_speaker():
    counts, q, _ = drawn_votes(5, rows=200)
    speakers = [f"s{i % 20}" for i in range(200)]
    changed = counts.copy()
    changed[0] = [0, 0, 0, 40]
    evidences = [evidence_of(c, q, speakers) for c in (counts, changed)]
    fold = evidences[0].folds(folds=FOLDS)
    np.testing.assert_array_equal(fold, group_folds(speakers, seed=0))
    same = fold == fold[0]
    assert same.sum() >= 30
    unread = np.zeros_like(counts)
    for name in (NAME, MARGINAL):
        before, after = (CrossFit(e, fits()) for e in evidences)
        for f in range(FOLDS):
            p, q = (cross.model(name, f).posterior(unread, cross.proxies)[0] for cross in (before, after))
            assert (p == q).all() == (f == fold[0])


def test_a_shuffled_proxy_is_found_out_by_the_cross_fitted_log_score():
    counts, q, _ = drawn_votes(6, rows=2000)
    speakers = [f"s{i % 50}" for i in range(2000)]
    informed, deaf = (
        blend_by(NAME, evidence_of(counts, said, speakers)).parameters["cross_fitted_log_score_per_seen_vote"]
        for said in (q, np.roll(q, 7, axis=0))
    )
    assert informed[NAME] > informed[MARGINAL] + 0.05
    assert deaf[NAME] == pytest.approx(deaf[MARGINAL], abs=0.01)


def test_the_strategy_covers_every_kind_of_utterance():
    """Votes and proxy; proxy alone, outside train; votes alone (falls back); neither (undefined)."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], 64)
    seen = rng.multinomial(3, p).astype(float)
    train = np.arange(64) < 48
    seen[~train] = 0
    p[10], p[60] = np.nan, np.nan
    given_evidence = evidence(seen, p=p, train=train, speakers=[f"s{i // 4}" for i in range(64)])
    blend = blend_by(NAME, given_evidence)
    assert blend.source[[0, 50, 10, 60]].tolist() == ["empirical-bayes", "empirical-bayes", "class-marginal", None]
    assert np.isnan(blend.p[60]).all()
    assert np.isfinite(np.delete(blend.p, 60, axis=0)).all()
    whole = blend.parameters["all_train_speakers"]
    assert blend.effective_votes[50] == pytest.approx(whole["strength"])
    assert len(blend.parameters["folds"]) == 5
    text = "\n".join(blend.warnings)
    assert "utterances with human votes and no proxy, whose prior is the class marginal: 1" in text
    assert "utterances with neither seen votes nor a proxy, and so without a distribution: 1" in text


def test_a_single_speaker_cannot_be_cross_fitted():
    with pytest.raises(CorpusError, match="needs two or more speakers in the train split; this corpus has one"):
        blend_by(NAME, evidence([[1, 1], [2, 0]], speakers=["s", "s"]))


# fusion.md's table, CREMA-D voice votes: (sq_unbiased, JSD bits @4) of human votes alone, pooled votes, empirical Bayes
REFERENCE = {
    ("AV", 2): [(0.261, 0.312), (0.177, 0.260), (0.059, 0.220)],
    ("AV", 3): [(0.175, 0.268), (0.153, 0.247), (0.053, 0.215)],
    ("AV", 5): [(0.105, 0.229), (0.119, 0.229), (0.044, 0.207)],
    ("face", 2): [(0.261, 0.312), (0.225, 0.303), (0.081, 0.242)],
    ("face", 3): [(0.175, 0.268), (0.194, 0.284), (0.070, 0.233)],
    ("face", 5): [(0.105, 0.229), (0.149, 0.259), (0.055, 0.219)],
}


def crema_d() -> tuple[list[str], dict[str, np.ndarray]]:
    """Clips with nine voice-only votes or more, and their voice, AV and face votes [U, 6]."""
    path = Path(os.environ["SERANN_CORPORA"]) / "crema-d" / "processedResults" / "tabulatedVotes.csv"
    votes: dict[str, dict[str, list[int]]] = {}
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            votes.setdefault(row["fileName"], {})[row[""][0]] = [int(row[label]) for label in "ADFHNS"]
    clips = sorted(clip for clip, by_kind in votes.items() if sum(by_kind["1"]) >= 9)
    return clips, {
        name: np.array([votes[clip][kind] for clip in clips], float)
        for name, kind in (("voice", "1"), ("face", "2"), ("AV", "3"))
    }


@pytest.mark.corpora
@pytest.mark.skipif("SERANN_CORPORA" not in os.environ, reason="SERANN_CORPORA names no folder of real corpora")
def test_on_real_votes_the_table_of_the_design_is_reproduced():
    """Four voice votes held out, k others seen, five folds of speakers, mean of two seeds; printed with -s."""
    clips, votes = crema_d()
    assert len(clips) == 5903
    for (proxy, k), expected in REFERENCE.items():
        q = frequencies(votes[proxy])
        scores = []
        for seed in (0, 1):
            heldout, rest = split_counts(votes["voice"], 4, clips, "crema-d", seed)
            seen = split_counts(rest, k, clips, "crema-d seen", seed)[0]
            fused = blend_by(NAME, evidence_of(seen, q, [clip[:4] for clip in clips], seed)).p
            rows = [frequencies(seen), frequencies(seen + votes[proxy]), fused]
            scores.append([(mean_score(sq_unbiased, p, heldout), mean_score(jsd_bits, p, heldout)) for p in rows])
            log = mean_score(score_of_votes, fused, heldout)
        mean = np.mean(scores, axis=0)
        print(proxy, k, "human, pool, empirical Bayes (sq, bits@4):", mean.round(4).tolist(), "log", round(log, 3))
        # a seed's figures scatter by .001 to .004 over draws of the votes
        assert np.abs(mean - expected).max(axis=1) == pytest.approx([0, 0, 0], abs=0.006)
        assert np.abs(mean - expected)[[0, 2]].max() < 0.003
        assert mean[2, 0] < mean[0, 0]
        assert mean[2, 0] < mean[1, 0]


def mean_score(score, p: np.ndarray, heldout: np.ndarray) -> float:
    return float(np.nanmean(score(p, heldout)))


def test_fewer_votes_sharpen_the_temperature_as_heavier_pseudo_votes_do(monkeypatch):
    """Why the folds' temperatures lie below that of all speakers: the confusion map's pseudo-votes blur a small fit."""
    counts, q, _ = drawn_votes(3, rows=500, strength=20.0, most=2)
    whole = fit_empirical_bayes(counts, q).proxies[0].temperature
    kept = [np.random.default_rng(i).permutation(len(q))[:250] for i in range(12)]
    halves = np.mean([fit_empirical_bayes(counts[k], q[k]).proxies[0].temperature for k in kept])
    for name in ("MARGINAL_VOTES", "DIAGONAL_VOTES"):
        monkeypatch.setattr(calibrated_prior, name, 2 * getattr(calibrated_prior, name))
    heavier = fit_empirical_bayes(counts, q).proxies[0].temperature
    assert halves < whole - 0.01
    assert heavier == pytest.approx(halves, abs=0.02)
