"""The evidence, the plain strategies, and the fused corpus on disk."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures.evidence import evidence, with_votes
from fixtures.simulated import simulated_corpus, simulated_run
from serann.annotator.fusion import blend_by, fuse, gather
from serann.annotator.fusion.strategies import blends
from serann.annotator.proxies import Panel
from serann.annotator.run.run import open_run
from serann.data.corpus import open_corpus
from serann.data.errors import CorpusError, LabelError, OptionError, OutputError, RunError
from serann.data.files import read_json, write_json
from serann.data.fused import open_fused
from serann.data.labels import LABEL_SETS


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A divided corpus, its truth, and a run over it."""
    place = tmp_path_factory.mktemp("simulated")
    corpus, truth = simulated_corpus(place / "corpus")
    run = open_run(simulated_run(place / "run", corpus, truth))
    return corpus, truth, run


def test_human_is_the_frequencies_of_the_seen_votes():
    blend = blend_by("human", replace(evidence([[2, 1], [0, 0], [0, 4]]), runs=()))
    np.testing.assert_allclose(blend.p, [[2 / 3, 1 / 3], [np.nan, np.nan], [0, 1]])
    np.testing.assert_array_equal(blend.effective_votes, [3, np.nan, 4])
    assert blend.source.tolist() == ["human", None, "human"]
    assert blend.warnings == ("train utterances without a seen human vote, and so without a distribution: 1",)


def test_synthetic_averages_the_runs_that_cover_an_utterance():
    two = evidence([[1, 0]] * 3, p=[[0.8, 0.2], [0.6, 0.4], [np.nan] * 2])
    other = Panel("other", np.array([[0.4, 0.6], [np.nan] * 2, [np.nan] * 2]), np.zeros((3, 2)))
    blend = blend_by("synthetic", replace(two, runs=(*two.runs, other)))
    # (.8 + .4) / 2; the one run that has the second; nobody has the third
    np.testing.assert_allclose(blend.p, [[0.6, 0.4], [0.6, 0.4], [np.nan, np.nan]])
    assert blend.source.tolist() == ["synthetic", "synthetic", None]
    assert np.isnan(blend.effective_votes).all()


def test_pool_counts_every_vote_alike():
    blend = blend_by("pool", evidence([[2, 1], [1, 0], [0, 0], [0, 0]], drawn=[[1, 6], [0, 0], [3, 1], [0, 0]]))
    np.testing.assert_allclose(blend.p, [[0.3, 0.7], [1, 0], [0.75, 0.25], [np.nan, np.nan]])
    np.testing.assert_array_equal(blend.effective_votes, [10, 1, 4, np.nan])
    assert blend.source.tolist() == ["human+synthetic", "human", "synthetic", None]
    assert blend.parameters["synthetic_share_where_both"] == pytest.approx(7 / 11)
    assert "whose human votes stand alone: 1" in blend.warnings[0]


@pytest.mark.parametrize("strategy", ["pool", "synthetic", "empirical-bayes"])
def test_strategies_that_need_a_run_say_so(strategy):
    with pytest.raises(OptionError, match=f"strategy '{strategy}' needs one or more runs, and none was given"):
        blend_by(strategy, replace(evidence([[1, 1]]), runs=()))


@pytest.mark.parametrize("strategy", ["human", "pool", "empirical-bayes"])
def test_strategies_that_need_human_votes_say_so(strategy):
    with pytest.raises(CorpusError, match="no train utterance has one; divide the corpus with more seen votes"):
        blend_by(strategy, evidence([[0, 0], [0, 0]], drawn=[[1, 0], [1, 0]]))


def test_pool_refuses_a_run_without_drawn_votes():
    with pytest.raises(RunError, match="run run holds no drawn votes, and pooling counts votes; annotate again"):
        blend_by("pool", evidence([[1, 1]]))


def test_every_strategy_writes_a_fused_corpus_that_reads_back(simulated, tmp_path):
    corpus, _, run = simulated
    for strategy in blends():
        fused = fuse(corpus, [] if strategy == "human" else [run], strategy=strategy, out=tmp_path / strategy)
        assert fused.corpus.ids == corpus.ids
        assert fused.info.strategy == strategy
        assert fused.info.division == corpus.info.division.model_dump()
        np.testing.assert_allclose(fused.distributions[fused.defined].sum(axis=1), 1)
        assert (
            not fused.effective_votes[~fused.defined].tolist() or np.isnan(fused.effective_votes[~fused.defined]).all()
        )
        assert fused.fingerprint == open_fused(tmp_path / strategy).fingerprint
        assert fused.info.shares["seen_votes"].keys() == set(corpus.labels)
    train = corpus.in_split("train")
    human = open_fused(tmp_path / "human")
    np.testing.assert_array_equal(human.defined, train)  # outside train every vote is reference, none is evidence
    assert open_fused(tmp_path / "pool").fingerprint != human.fingerprint


def test_fused_distributions_are_nearer_to_the_truth_than_human_votes(simulated, tmp_path):
    corpus, truth, run = simulated
    train = corpus.in_split("train")
    error = {}
    for strategy in ("human", "empirical-bayes"):
        fused = fuse(corpus, [run] * (strategy != "human"), strategy=strategy, out=tmp_path / strategy)
        error[strategy] = float(((fused.distributions - truth)[train] ** 2).sum(axis=1).mean())
    assert error["empirical-bayes"] < 0.5 * error["human"]


@pytest.mark.parametrize("strategy", blends())
def test_held_out_votes_and_other_splits_change_nothing(simulated, tmp_path, strategy):
    """Planted: every held-out vote says 'sad', every vote outside train too, and these claim to be seen."""
    corpus, _, run = simulated
    split = dict(zip(corpus.ids, corpus.column("split"), strict=True))

    def plant(row):
        outside = split[row["utterance_id"]] != "train"
        if row["part"] == "seen" and not outside:
            return row
        return row | {"label": "sad", "part": "seen" if outside else "heldout"}

    def turn(row):
        return row | {"label": "sad"} if row["part"] == "seen" else row

    planted, turned = with_votes(corpus, tmp_path / "planted", plant), with_votes(corpus, tmp_path / "turned", turn)
    p, leaked, moved = (blend_by(strategy, gather(c, [run])).p for c in (corpus, planted, turned))
    np.testing.assert_array_equal(p, leaked)
    if strategy != "synthetic":  # the test would see a leak: the seen votes do change the result
        assert np.nanmax(np.abs(p - moved)) > 0.05


def test_a_strategy_that_reads_sounds_gets_no_vote_with_them(simulated):
    corpus, _, run = simulated
    sounds = gather(corpus, [run]).sounds
    assert sounds is not None
    assert sounds.ids == corpus.ids
    assert sounds.votes.num_rows == 0
    assert sounds.ratings is None


def test_an_undivided_corpus_is_refused(simulated, tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "undivided", seen=None)
    with pytest.raises(
        CorpusError, match=r"not divided into seen and held-out ones yet; run 'serann corpus holdout .*--seen 2'"
    ):
        fuse(corpus, [simulated[2]], out=tmp_path / "fused")
    assert not (tmp_path / "fused").exists()


def test_runs_that_do_not_fit_are_refused(simulated, tmp_path):
    run = simulated[2]
    strange, _ = simulated_corpus(tmp_path / "strange", prefix="x")
    with pytest.raises(RunError, match=r"holds none of the 120 utterances of .*strange: it is a run of another corpus"):
        fuse(strange, [run], out=tmp_path / "fused")
    # the same ids and labels, other sounds: nothing but the corpus's name tells
    other, _ = simulated_corpus(tmp_path / "other", name="other", seed=1)
    with pytest.raises(RunError, match=r"run is a run over the corpus 'simulated', not over 'other' \(.*other\); utt"):
        fuse(other, [run], out=tmp_path / "fused")
    assert not (tmp_path / "fused").exists()
    nameless = replace(run, info={**run.info, "identity": {}})
    assert fuse(other, [nameless], out=tmp_path / "accepted").info.strategy == "auto"
    four, _ = simulated_corpus(tmp_path / "four", labels=LABEL_SETS["iemocap4"])
    with pytest.raises(LabelError, match="its labels are neutral, happy, angry, sad, fear, surprise; the corpus's are"):
        fuse(four, [run], out=tmp_path / "fused")


def test_a_run_that_did_not_hear_the_utterances_is_refused(simulated, tmp_path):
    corpus, run = simulated[0], simulated[2]
    deaf = replace(run, info={**run.info, "identity": {**run.info["identity"], "control": "silence"}})
    with pytest.raises(RunError, match="made with --control silence: its model did not hear"):
        fuse(corpus, [deaf], out=tmp_path / "fused")


def test_options_out_of_range_are_refused(simulated, tmp_path):
    corpus, _, run = simulated
    out = tmp_path / "fused"
    with pytest.raises(
        OptionError,
        match="unknown strategy 'magic'; expected one of auto, empirical-bayes, latent-class, human-mixture, human",
    ):
        fuse(corpus, [run], strategy="magic", out=out)
    with pytest.raises(OptionError, match="unknown blend 'dime-aug'; dime-aug first blends by one of"):
        fuse(corpus, [run], strategy="dime-aug", blend="dime-aug", out=out)
    with pytest.raises(OptionError, match="unknown form 'ours' of dime-aug; expected one of serann, paper"):
        fuse(corpus, [run], strategy="dime-aug", dime="ours", out=out)
    with pytest.raises(OptionError, match="strength is -1; expected a number of votes above 0"):
        fuse(corpus, [run], strategy="empirical-bayes", strength=-1, out=out)


def test_an_existing_output_is_kept_unless_overwritten(simulated, tmp_path):
    corpus, _, run = simulated
    first = fuse(corpus, [run], strategy="synthetic", out=tmp_path / "fused")
    with pytest.raises(OutputError, match="exists already"):
        fuse(corpus, [run], strategy="pool", out=tmp_path / "fused")
    assert open_fused(tmp_path / "fused").fingerprint == first.fingerprint
    assert fuse(corpus, [run], strategy="pool", out=tmp_path / "fused", overwrite=True).info.strategy == "pool"
    assert [p.name for p in tmp_path.iterdir()] == ["fused"]  # nothing half-written is left beside it


def test_an_input_is_never_overwritten(simulated):
    corpus, _, run = simulated
    for out in (corpus.path, run.path):
        with pytest.raises(OutputError, match=r"holds the input .*, which would be lost; choose another output"):
            fuse(corpus, [run], out=out, overwrite=True)
    assert open_corpus(corpus.path).ids == corpus.ids


def test_remarks_count_what_a_run_lacks_and_name_silent_labels(simulated, tmp_path):
    corpus, truth, _ = simulated
    part = open_run(simulated_run(tmp_path / "part", corpus, truth, missing=corpus.ids[:30]))
    silent = with_votes(
        corpus, tmp_path / "silent", lambda row: row | {"label": "neutral"} if row["label"] == "surprise" else row
    )
    fused = fuse(silent, [part], strategy="empirical-bayes", out=tmp_path / "fused")
    text = "\n".join(fused.info.warnings)
    assert "no seen human vote names surprise" in text
    assert "covers 90 of 120 utterances" in text
    train = int(corpus.in_split("train")[:30].sum())
    assert f"whose prior is the class marginal: {train}" in text
    assert fused.info.counts["from class-marginal"] == train
    assert fused.info.counts["defined"] == 90 + train


def test_a_fused_corpus_cannot_be_read_where_there_is_none(simulated, tmp_path):
    with pytest.raises(
        CorpusError, match=r"no fusion.json here, so this is not a fused corpus; make one with 'serann fuse"
    ):
        open_fused(simulated[0].path)
    corpus, _, run = simulated
    fuse(corpus, [run], strategy="synthetic", out=tmp_path / "fused")
    described = read_json(tmp_path / "fused" / "fusion.json", what="fusion")
    write_json(tmp_path / "fused" / "fusion.json", described | {"format": 99})
    with pytest.raises(CorpusError, match="format 99 was written by a newer serann; this one reads up to 1"):
        open_fused(tmp_path / "fused")
    write_json(tmp_path / "fused" / "fusion.json", described | {"colour": "red"})
    with pytest.raises(CorpusError, match=r"not a fusion\.json of format 1: colour: Extra inputs are not permitted"):
        open_fused(tmp_path / "fused")


def test_a_fused_corpus_reads_the_originals_below_the_corpus_s_root(tmp_path):
    corpus, truth = simulated_corpus(tmp_path / "corpus", utterances=24, audio=True)
    run = open_run(simulated_run(tmp_path / "run", corpus, truth))
    fused = fuse(corpus, [run], strategy="synthetic", out=tmp_path / "elsewhere" / "fused")
    assert [fused.corpus.audio_path(i).is_file() for i in range(24)] == [True] * 24
    assert fused.corpus.info.audio_root == str(corpus.path)
    assert fused.corpus.utterances["audio"].equals(corpus.utterances["audio"])
    assert open_corpus(fused.path).info.simulated
