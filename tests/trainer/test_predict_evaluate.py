"""Prediction and evaluation: the same answer in any batch, unseen human votes alone, the same reference for all."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import soundfile
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.cli import app
from serann.annotator.fusion import fuse
from serann.data.corpus import open_corpus
from serann.data.errors import CorpusError, LabelError, ModelError, OptionError, OutputError
from serann.data.labels import LABEL_SETS
from serann.data.scores.metrics import ccc, macro_f1
from serann.data.scores.proper_scores import log_score, sq_unbiased
from serann.data.scores.scoring import THIRDS, strata_thirds
from serann.data.seeds import seed_from
from serann.data.tables import DISTRIBUTIONS, RATINGS, distribution_array, read_table, table_labels
from serann.data.votes import count_votes, split_counts
from serann.trainer import evaluate, open_model, predict, read_model_info, read_prediction, train
from serann.trainer.predict import predict_corpus
from serann.trainer.scoring.ambiguity import redraw, score_thirds
from serann.trainer.scoring.evaluate import CONSTANT, check_fit
from typer.testing import CliRunner

MODEL = {"from_scratch": True, "epochs": 1, "batch_seconds": 3.0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus of tones, a model trained on it for an epoch, and its prediction."""
    path = tmp_path_factory.mktemp("predict")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=20, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder")
    train(path / "fused", model=str(path / "encoder"), out=path / "model", **MODEL)
    predict(path / "model", corpus, out=path / "prediction", device="cpu")
    return path


def test_a_prediction_holds_a_distribution_and_ratings_of_every_utterance(place):
    corpus, prediction = open_corpus(place / "corpus"), place / "prediction"
    table = read_table(prediction / "distributions.parquet", DISTRIBUTIONS)
    assert table_labels(table).labels == corpus.labels.labels
    assert table["utterance_id"].to_pylist() == corpus.ids
    assert set(table["source"].to_pylist()) == {"model"}
    np.testing.assert_allclose(distribution_array(table["p"]).sum(axis=1), 1)
    ratings = read_table(prediction / "ratings.parquet", RATINGS)
    assert set(ratings["source"].to_pylist()) == {"synthetic"}
    assert set(ratings["dimension"].to_pylist()) == {"valence"}
    assert 1 <= min(ratings["value"].to_pylist()) <= max(ratings["value"].to_pylist()) <= 5
    read = read_prediction(prediction)
    assert read.model == read_model_info(place / "model")
    np.testing.assert_array_equal(read.distributions, distribution_array(table["p"]))


def test_a_batch_predicts_what_each_utterance_predicts_alone(place, tmp_path):
    trained = open_model(place / "model")
    rng = np.random.default_rng(0)
    files = []
    for i, seconds in enumerate((0.2, 1.7, 0.9, 3.0)):
        files.append(tmp_path / f"{i}.wav")
        soundfile.write(files[-1], 0.1 * rng.standard_normal(int(16000 * seconds)), 16000)
    together = predict(place / "model", files, out=tmp_path / "p", device="cpu")
    alone = [predict(place / "model", [file], out=tmp_path / file.stem, device="cpu") for file in files]
    np.testing.assert_allclose(together.distributions, np.concatenate([a.distributions for a in alone]), atol=1e-5)
    np.testing.assert_allclose(together.ratings, np.concatenate([a.ratings for a in alone]), atol=1e-4)
    corpus = open_corpus(place / "corpus")
    backwards = predict_corpus(trained, corpus, rows=range(59, -1, -1), device="cpu", batch_seconds=1.0)
    np.testing.assert_allclose(
        backwards.distributions[::-1], read_prediction(place / "prediction").distributions, atol=1e-5
    )


def test_sounds_that_cannot_be_heard_are_listed(place, tmp_path):
    tone, rate = np.sin(np.arange(16000) / 10), 16000
    good, short, empty, broken = (tmp_path / name for name in ("good.wav", "short.wav", "empty.wav", "broken.wav"))
    soundfile.write(good, tone, rate)
    soundfile.write(short, tone[:320], rate)
    empty.write_bytes(b"")
    soundfile.write(broken, np.full(8000, np.nan, np.float32), rate, subtype="FLOAT")
    found = predict(place / "model", [good, short, empty, broken], out=tmp_path / "out", device="cpu")
    assert list(found.failures) == [str(short), str(empty), str(broken)]
    reasons = list(found.failures.values())
    assert "too short" in reasons[0]
    assert "zero bytes" in reasons[1]
    assert "not finite" in reasons[2]
    assert np.isnan(found.distributions[1:]).all()
    read = read_prediction(tmp_path / "out")
    assert read.failures == found.failures
    table = read_table(tmp_path / "out" / "distributions.parquet", DISTRIBUTIONS)
    assert table["utterance_id"].to_pylist() == [str(good)]


def test_the_scores_are_those_of_the_held_out_votes(place):
    corpus = open_corpus(place / "corpus")
    found = evaluate(place / "model", corpus, device="cpu")
    rows = np.flatnonzero(corpus.in_split("test"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    q = read_prediction(place / "prediction").distributions[rows]
    assert found.utterances == 12
    assert found.speakers == 4
    assert found.value("sq_unbiased") == pytest.approx(sq_unbiased(q, counts).mean(), abs=1e-5)
    assert found.value("log_score") == pytest.approx(log_score(q, counts).mean(), abs=1e-5)
    assert found.value("macro_f1") == pytest.approx(macro_f1(q, counts))
    constant = np.tile(read_model_info(place / "model").marginal, (len(rows), 1))
    assert found.value("log_score", system=CONSTANT) == pytest.approx(log_score(constant, counts).mean())
    ratings = present(corpus.ratings).to_pylist()
    human = [np.mean([r["value"] for r in ratings if r["utterance_id"] == corpus.ids[row]]) for row in rows]
    rated = read_prediction(place / "prediction").ratings[rows, 0]
    assert found.value("ccc_valence") == pytest.approx(ccc(rated, np.array(human)), abs=1e-4)
    with pytest.raises(KeyError):
        found.value("ccc_valence", system=CONSTANT)


def test_class_balanced_scores_correct_the_prior_that_was_taught(place):
    corpus = open_corpus(place / "corpus")
    found = evaluate(place / "model", corpus, device="cpu").to_json()["class_balanced"]
    rows = np.flatnonzero(corpus.in_split("test"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    q = read_prediction(place / "prediction").distributions[rows]
    taught = np.array(list(found["prior"]["taught"].values()))
    f = counts / counts.sum(axis=1, keepdims=True)
    there = f.sum(axis=0) > 0

    def balanced(p):
        return ((f * np.log(p)).sum(axis=0)[there] / f.sum(axis=0)[there]).mean()

    level = q / taught / (q / taught).sum(axis=1, keepdims=True)
    expected = {("model", "none"): q, ("model", "to equal shares"): level}
    expected["constant", "to equal shares"] = np.full(q.shape, 1 / q.shape[1])
    scores = {(s["system"], s["correction"]): s for s in found["scores"] if s["metric"] == "log_score_balanced"}
    assert set(scores) == {*expected, ("constant", "none")}
    for key, p in expected.items():
        assert scores[key]["value"] == pytest.approx(balanced(p), abs=1e-5)
    assert list(found["prior"]["test"].values()) == pytest.approx(f.mean(axis=0).tolist())
    # an epoch teaches next to nothing: every answer is nearly the same, and implies no shares
    assert "implied" not in found["prior"]
    assert "the answers tell the labels apart too little" in found["implied_undetermined"]


def test_answers_that_tell_labels_apart_imply_their_shares(place, tmp_path):
    corpus = open_corpus(place / "corpus")
    shutil.copytree(place / "prediction", tmp_path / "sharp")
    table = read_table(tmp_path / "sharp" / "distributions.parquet", DISTRIBUTIONS)
    rng = np.random.default_rng(0)
    sharp = 0.8 * np.eye(6)[rng.integers(0, 6, table.num_rows)] + 0.2 / 6
    at = table.column_names.index("p")
    column = pa.array(sharp.astype(np.float32).tolist(), type=table["p"].type)
    parquet.write_table(table.set_column(at, "p", column), tmp_path / "sharp" / "distributions.parquet")
    found = evaluate(tmp_path / "sharp", corpus).to_json()["class_balanced"]
    assert found["implied_undetermined"] is None
    assert sum(found["prior"]["implied"].values()) == pytest.approx(1)


def test_the_taught_prior_is_moved_to_that_of_the_seen_votes(place):
    corpus, info = open_corpus(place / "corpus"), read_model_info(place / "model")
    found = evaluate(place / "prediction", corpus)
    rows = np.flatnonzero(corpus.in_split("test"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    moved = read_prediction(place / "prediction").distributions[rows] * info.marginal / np.array(info.fused.shares)
    moved /= moved.sum(axis=1, keepdims=True)
    row = next(row for row in found.to_json()["prior_corrected"] if row["metric"] == "log_score")
    assert row["correction"] == "to the seen votes' shares"
    naive = [
        np.mean([np.log(p[c]) for c in range(6) for _ in range(int(n[c]))]) for p, n in zip(moved, counts, strict=True)
    ]
    assert row["value"] == pytest.approx(np.mean(naive))


def test_thirds_are_scored_by_votes_that_do_not_cut(place):
    corpus = open_corpus(place / "corpus")
    found = evaluate(place / "model", corpus, device="cpu")
    rows = np.flatnonzero(corpus.in_split("test"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    ids, speakers = [corpus.ids[row] for row in rows], corpus.column("speaker")[rows]
    q = read_prediction(place / "prediction").distributions[rows]
    values, naive = {}, {name: [] for name in THIRDS}
    for number in range(50):
        scored, others = split_counts(counts, 4, ids, "evaluate", 0, number)
        np.testing.assert_array_equal(scored + others, counts)
        thirds = strata_thirds(others, ids, seed_from("evaluate", 0, number))
        for third, name in enumerate(THIRDS):
            naive[name] += list(zip(speakers[thirds == third], sq_unbiased(q, scored)[thirds == third], strict=True))
    by_third = {
        row.stratum: row.score for row in found.rows if row.system == "model" and row.score.metric == "sq_unbiased"
    }
    assert list(by_third) == ["all", *THIRDS]
    assert [score.utterances for score in by_third.values()] == [12, 4, 4, 4]
    for name in THIRDS:
        values[name] = np.mean([value for _, value in naive[name]])
        assert by_third[name].value == pytest.approx(values[name], abs=1e-5)
        # the jackknife over the 4 speakers by hand: leave one out of every draw at once
        without = np.array([np.mean([v for s, v in naive[name] if s != left]) for left in sorted(set(speakers))])
        half = 3.1824 * np.sqrt(3 / 4 * ((without - np.mean(without)) ** 2).sum())  # t(.975, 3)
        assert by_third[name].high - by_third[name].value == pytest.approx(half, rel=1e-3)
    # every subset of the votes is as likely, so their unbiased scores average to that of all votes
    assert np.mean(list(values.values())) == pytest.approx(found.value("sq_unbiased"), abs=0.015)
    assert "drawn anew 50 times" in found.to_json()["thirds"]
    assert {"low", "high", "method"} <= set(found.to_json()["scores"][-1])


def test_a_third_is_what_it_is_whatever_the_seed():
    """A clear model on clear and vague utterances: the order of its thirds is that of the truth for every seed."""
    rng = np.random.default_rng(0)
    clear = np.arange(90) % 3
    truth = np.full((90, 6), 1 / 6) * clear[:, None] / 2 + np.eye(6)[0] * (1 - clear[:, None] / 2)
    counts = np.array([rng.multinomial(12, p) for p in truth]).astype(float)
    ids, groups = [f"u{i}" for i in range(90)], np.array([f"s{i % 15}" for i in range(90)], object)
    q, common = np.tile(np.eye(6)[0] * 0.9 + 0.1 / 6, (90, 1)), {"labels": LABEL_SETS["demo6"], "ids": ids}
    for seed in range(6):
        draws = redraw(counts, ids, m=4, seed=seed)
        table = score_thirds(q, counts, draws, **common, groups=groups, m=4, seed=seed)
        values = [next(row for row in table[name] if row.metric == "sq_unbiased") for name in THIRDS]
        assert values[0].value < values[1].value < values[2].value
        assert all(row.low < row.value < row.high and row.utterances == 30 for row in values)


def test_the_votes_scored_fit_the_votes_there_are(place, tmp_path):
    three, _ = simulated_corpus(tmp_path / "three", utterances=60, speakers=20, votes=3, name="three")
    found = evaluate(place / "prediction", three)
    assert found.votes_scored == 3
    assert np.isfinite(found.value("jsd_bits@3"))
    assert found.thirds is None
    assert any(note.startswith("3 votes per utterance are scored") for note in found.notes)
    assert evaluate(place / "prediction", three, votes_scored=2).votes_scored == 2
    asked = evaluate(place / "prediction", three, votes_scored=4)  # an explicit number is obeyed
    assert np.isnan(asked.value("jsd_bits@4"))
    assert not any("votes per utterance are scored" in note for note in asked.notes)
    assert evaluate(place / "prediction", open_corpus(place / "corpus")).votes_scored == 4


def test_a_speaker_who_was_trained_on_is_named(place):
    corpus = open_corpus(place / "corpus")
    assert evaluate(place / "prediction", corpus).warnings == []
    speakers = ["sp16" if s == "sp00" else s for s in corpus.column("speaker")]  # sp16 is a test speaker
    at = corpus.utterances.column_names.index("speaker")
    both = replace(corpus, utterances=corpus.utterances.set_column(at, "speaker", pa.array(speakers)))
    assert evaluate(place / "prediction", both).warnings == [
        "1 of the 4 speakers of the split 'test' were trained on (sp16): these scores are too good for a voice that "
        "the model has not heard"
    ]
    assert (
        "trained on the utterances of this split" in evaluate(place / "prediction", corpus, split="train").warnings[0]
    )


def test_a_prediction_scores_as_its_model(place):
    corpus = open_corpus(place / "corpus")
    model = evaluate(place / "model", corpus, device="cpu").to_json()["scores"]
    prediction = evaluate(place / "prediction", corpus).to_json()["scores"]
    assert [s["metric"] for s in model] == [s["metric"] for s in prediction]
    np.testing.assert_allclose([s["value"] for s in model], [s["value"] for s in prediction], atol=1e-4)


def test_the_constant_is_scored_where_the_model_is(place, tmp_path):
    shutil.copytree(place / "corpus", tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    for row in np.flatnonzero(corpus.in_split("test"))[:3]:
        corpus.audio_path(int(row)).write_bytes(b"")
    found = evaluate(place / "model", corpus, device="cpu")
    skipped = {(row.system, row.score.skipped) for row in found.rows if row.score.metric == "sq_unbiased"}
    assert {(system, n) for system, n in skipped if n} >= {(CONSTANT, 3), ("model", 3)}


def test_in_the_train_split_only_held_out_votes_are_scored(place):
    corpus = open_corpus(place / "corpus")
    found = evaluate(place / "prediction", corpus, split="train")
    rows = np.flatnonzero(corpus.in_split("train"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part="heldout")[rows]
    assert (counts.sum(axis=1) == 6).all()
    q = read_prediction(place / "prediction").distributions[rows]
    assert found.value("log_score") == pytest.approx(log_score(q, counts).mean())


def test_another_division_or_label_set_is_refused(place, tmp_path):
    for seen, seed in ((2, 1), (3, 0), (None, 0)):
        other, _ = simulated_corpus(tmp_path / f"{seen}{seed}", utterances=60, speakers=20, seen=seen, seed=seed)
        with pytest.raises(CorpusError, match=r"divided otherwise \(.*\) than those that the model model learnt from"):
            evaluate(place / "prediction", other)
    other, _ = simulated_corpus(tmp_path / "labels", utterances=60, speakers=20, labels=LABEL_SETS["crema6"])
    with pytest.raises(LabelError, match=r"has the labels .*; the model model answers with neutral, happy"):
        evaluate(place / "prediction", other)
    # another corpus has a division of its own, and no vote of it was seen
    check_fit(read_model_info(place / "model"), simulated_corpus(tmp_path / "o", name="other", seed=3)[0])


def test_wrong_questions_get_clear_words(place, tmp_path):
    corpus = open_corpus(place / "corpus")
    with pytest.raises(CorpusError, match="has no split 'validation'; its splits are development, test, train"):
        evaluate(place / "prediction", corpus, split="validation")
    with pytest.raises(OptionError, match="--votes-scored is 1; expected 2 or more"):
        evaluate(place / "prediction", corpus, votes_scored=1)
    with pytest.raises(ModelError, match=r"no trained model at .*absent: no such directory"):
        evaluate(tmp_path / "absent", corpus)
    with pytest.raises(OutputError, match="exists already, so no prediction was written there"):
        predict(place / "model", corpus, out=place / "prediction", device="cpu")
    with pytest.raises(OptionError, match=r"a\.wav is named twice"):
        predict(place / "model", ["a.wav", "a.wav"], out=tmp_path / "p", device="cpu")
    newer = tmp_path / "newer"
    shutil.copytree(place / "model", newer)
    info = json.loads((newer / "model.json").read_text())
    (newer / "model.json").write_text(json.dumps({**info, "format": 99}))
    with pytest.raises(ModelError, match="model format 99 was written by a newer serann"):
        open_model(newer)
    (newer / "model.json").write_text(json.dumps({**info, "pooling": "max"}))
    with pytest.raises(ModelError, match=r"pooling: Extra inputs are not permitted"):
        open_model(newer)
    (newer / "model.json").write_text(json.dumps(info))
    (newer / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="these weights cannot be loaded"):
        open_model(newer)


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_the_commands_print_one_document_and_exit_by_what_happened(place, tmp_path):
    done = run("evaluate", place / "prediction", place / "corpus", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["split"] == "test"
    assert {row["stratum"] for row in document["scores"]} == {"all", "low", "medium", "high"}
    (tmp_path / "empty.wav").write_bytes(b"")
    sound = next(Path(place / "corpus" / "audio").iterdir())
    done = run("predict", place / "model", sound, tmp_path / "empty.wav", "-o", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 1
    assert "neutral" in done.stdout
    assert "valence (1-5)" in done.stdout
    done = run("evaluate", place / "model", place / "corpus", "--split", "train", "--device", "cpu")
    assert done.exit_code == 0
    for word in ("sq_unbiased", "constant", "By ambiguity (4 votes scored", "low (n = 12)", "drawn anew 50 times"):
        assert word in done.stdout
    assert re.search(r"log_score +−\d\.\d{3} \[−\d\.\d{3}, −\d\.\d{3}\]", done.stdout)
    assert "warning: the model was trained on the utterances of this split" in done.stderr


def test_every_help_has_an_example_that_parses():
    for name in ("train", "predict", "evaluate", "compare"):
        text = run(name, "--help").stdout
        assert f"Example: serann {name} " in " ".join(text.split())
