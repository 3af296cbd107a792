"""A report stays below 5 MB without its sounds however large the corpus: what is listed is bounded, and said to be."""

import re

import numpy as np
import pyarrow as pa
import pytest
from fixtures.simulated import _run_info, _write_listeners, _write_scores
from serann.annotator.audit import audit
from serann.annotator.report.files import write_report
from serann.annotator.run.run import open_run
from serann.data.corpus import write_corpus
from serann.data.files import write_json
from serann.data.holdout import divide_votes, write_division
from serann.data.labels import LabelSet
from serann.data.tables import FAILURES, UTTERANCES, VOTES, from_rows, validate, write_table

MOST = 5_000_000
LABELS = LabelSet("nine", ("neutral", "happy", "angry", "sad", "fear", "disgust", "contempt", "surprise", "other"))


def synthesise(path, utterances, *, speakers=500, votes=6, columns=8):
    """A divided corpus of 500 speakers, long transcripts and columns of 20 values; its truth [U, 9]."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(len(LABELS), 0.4), utterances)
    ids = [f"a-recording-with-a-long-name/utterance_{i:07d}" for i in range(utterances)]
    at = np.arange(utterances)
    table = {
        "utterance_id": ids,
        "duration": rng.uniform(0.5, 12, utterances),
        "speaker": [f"speaker-{i % speakers:04d}" for i in at],
        "gender": [("female", "male")[i % 2] for i in at % speakers],
        "split": ["train"] * utterances,
        "transcript": ["what was said, at length, " * 40] * utterances,
    }
    table |= {f"column_{c}": [f"value {i % 20} of column {c}" for i in at // (c + 1)] for c in range(columns)}
    u = rng.random((utterances, votes))
    codes = (u[..., None] > np.cumsum(truth, axis=1)[:, None, :-1]).sum(axis=2).ravel()
    ballots = {
        "utterance_id": np.repeat(ids, votes),
        "rater_id": [f"rater-{i % 97:02d}-{i % votes}" for i in range(utterances * votes)],
        "source": ["human"] * (utterances * votes),
        "draw": np.zeros(utterances * votes, dtype=np.int32),
        "label": np.array(LABELS.labels)[codes],
        "rank": ["primary"] * (utterances * votes),
        "weight": np.ones(utterances * votes),
    }
    corpus = write_corpus(
        path,
        name="large",
        labels=LABELS,
        utterances=validate(pa.table(table), UTTERANCES),
        votes=validate(pa.table(ballots), VOTES, labels=LABELS),
        licence="CC0-1.0",
        provenance={},
        simulated=True,
    )
    return write_division(corpus, divide_votes(corpus, seen=1), None), truth


def large_run(path, corpus, truth, seed):
    """A run of two listeners' exact scores, without votes."""
    path.mkdir()
    names = ["voice", "words"]
    write_json(path / "run.json", _run_info(path.name, corpus, 0, seed))
    scattered = np.log(truth + 0.02)[:, None] + np.random.default_rng(seed).normal(0, 0.5, (len(truth), 2, len(LABELS)))
    _write_scores(path, corpus, corpus.ids, names, scattered - np.log(np.exp(scattered).sum(axis=2, keepdims=True)))
    _write_listeners(path, corpus.labels, names)
    write_table(from_rows([], VOTES, labels=LABELS), path / "votes.parquet", VOTES, labels=LABELS)
    write_table(from_rows([], FAILURES), path / "failures.parquet", FAILURES)
    return open_run(path)


@pytest.mark.parametrize("utterances", [3_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_three_panels_and_five_hundred_speakers_stay_small(tmp_path, utterances):
    corpus, truth = synthesise(tmp_path / "corpus", utterances)
    runs = [large_run(tmp_path / f"a-run-with-a-name-{seed}", corpus, truth, seed) for seed in range(3)]
    result = audit(corpus, runs, draws=2)
    page = write_report(result, tmp_path / "report.html", corpus).read_text()
    without = re.sub(r"base64,[^\"]+", "", page)
    assert len(without.encode()) < MOST / 3
    assert (tmp_path / "report.json").stat().st_size < MOST
    assert (tmp_path / "report.parquet").stat().st_size < MOST / 5
    assert all(len(found.sections["failures"].speakers) == 20 for found in result.details)
    assert "The speakers of smallest p out of 500" in page
