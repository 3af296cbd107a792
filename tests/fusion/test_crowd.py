"""Crowd strategies through crowd-kit: who a worker is, that draws of one p are one ballot, and what is refused."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from fixtures.simulated import simulated_corpus, simulated_run
from fixtures.simulated_fusion import simulated_evidence
from serann.annotator.ballots import Ballots
from serann.annotator.fusion import blend_by, gather
from serann.annotator.fusion.crowd import ballots
from serann.annotator.run.run import open_run
from serann.data.errors import CorpusError, OptionError

CROWD = ("dawid-skene", "mace", "glad")


def careful_and_careless(rows: int = 200, seed: int = 0) -> tuple[np.ndarray, Ballots]:
    """True labels of two, and ballots of three careful raters and two that guess."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, rows)
    right = {"a": 0.95, "b": 0.95, "c": 0.9, "d": 0.5, "e": 0.5}
    said = {rater: np.where(rng.random(rows) < p, truth, 1 - truth) for rater, p in right.items()}
    row = np.tile(np.arange(rows), len(said))
    rater = np.repeat(np.array(list(said), dtype=object), rows)
    return truth, Ballots(row, rater, np.concatenate(list(said.values())))


@pytest.mark.parametrize("strategy", CROWD)
def test_careful_raters_outweigh_careless_ones(strategy):
    pytest.importorskip("crowdkit")
    truth, cast = careful_and_careless()
    evidence, _ = simulated_evidence(rows=len(truth))
    seen = np.zeros((len(truth), 4))
    np.add.at(seen, (cast.row, cast.label), 1)
    found = blend_by(strategy, replace(evidence, seen=seen, ballots=cast, runs=()))
    plain = (seen.argmax(axis=1) == truth).mean()
    assert (found.p.argmax(axis=1) == truth).mean() >= plain
    np.testing.assert_allclose(found.p.sum(axis=1), 1)
    assert found.parameters["workers"] == 5
    assert (found.effective_votes == 5).all()


def test_dawid_and_skene_against_their_own_steps():
    pytest.importorskip("crowdkit")
    truth, cast = careful_and_careless(rows=80)
    evidence, _ = simulated_evidence(rows=80)
    seen = np.zeros((80, 4))
    np.add.at(seen, (cast.row, cast.label), 1)
    found = blend_by("dawid-skene", replace(evidence, seen=seen, ballots=cast, runs=())).p
    names, worker = np.unique(cast.rater.astype(str), return_inverse=True)
    p = seen[:, :2] / seen.sum(axis=1, keepdims=True)
    for _ in range(100):
        errors = np.zeros((len(names), 2, 2))
        for r, w, y in zip(cast.row, worker, cast.label, strict=True):
            errors[w, :, y] += p[r]
        errors /= errors.sum(axis=2, keepdims=True)
        log_p = np.tile(np.log(p.mean(axis=0)), (80, 1))
        for r, w, y in zip(cast.row, worker, cast.label, strict=True):
            log_p[r] += np.log(errors[w, :, y])
        p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
    # crowd-kit stops a little before these hundred steps do
    np.testing.assert_allclose(found[:, :2], p, atol=0.02)
    assert (p.argmax(axis=1) == truth).mean() > 0.9


def test_a_listener_is_one_row_however_many_votes_were_drawn(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "corpus", utterances=60)
    run = open_run(simulated_run(tmp_path / "run", corpus, truth, listeners=4, votes=20))
    evidence = gather(corpus, [run])
    row, worker, _ = ballots(evidence)
    synthetic = np.array([name.startswith("run 1") for name in worker])
    assert set(worker[synthetic]) == {f"run 1: listener-{i}" for i in range(4)}
    pairs = list(zip(row[synthetic], worker[synthetic], strict=True))
    assert len(pairs) == len(set(pairs)) == 4 * int(evidence.train.sum())
    assert (~synthetic).sum() == evidence.seen.sum()
    assert evidence.train[row].all()
    same = replace(
        run,
        listeners=run.listeners.set_column(
            run.listeners.column_names.index("rater"), "rater", [["one", "one", "two", "two"]]
        ),
    )
    _, worker, _ = ballots(gather(corpus, [same]))
    assert {name for name in worker if name.startswith("run 1")} == {"run 1: one", "run 1: two"}


def test_votes_without_a_rater_are_one_workers_and_that_is_said():
    pytest.importorskip("crowdkit")
    evidence, _ = simulated_evidence(rows=60)
    found = blend_by("dawid-skene", replace(evidence, runs=()))
    assert found.parameters["workers"] == 1
    assert found.warnings == ("votes without a rater, taken for one worker's: 180",)
    with pytest.raises(CorpusError, match="crowd models read whole votes, and some votes here weigh a share of one"):
        blend_by("dawid-skene", replace(evidence, seen=evidence.seen / 2, runs=()))


@pytest.mark.parametrize("strategy", CROWD)
def test_without_crowd_kit_the_install_line_is_given(strategy, monkeypatch):
    monkeypatch.setitem(sys.modules, "crowdkit.aggregation", None)
    with pytest.raises(OptionError, match=rf"strategy '{strategy}' needs crowd-kit, .*pip install 'serann\[crowd\]'"):
        blend_by(strategy, simulated_evidence(rows=20)[0])
