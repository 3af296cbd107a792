"""Systems side by side: on the utterances that all heard, paired; and what cannot be compared is refused in words."""

import json
import os
import re
import shutil
import signal
import sys
from datetime import date
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import soundfile
import torch
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from scipy import stats
from serann import trainer
from serann.annotator.cli import main
from serann.annotator.fusion import fuse
from serann.annotator.report.figures import figure
from serann.data.audio import utterance_audio
from serann.data.corpus import open_corpus, write_corpus
from serann.data.labels import LABEL_SETS
from serann.data.scores.proper_scores import log_score
from serann.data.tables import DISTRIBUTIONS, read_table
from serann.data.votes import count_votes
from serann.trainer import compare, evaluate, open_model, predict, read_model_info, read_prediction, train
from serann.trainer.network.losses import class_weights
from serann.trainer.scoring.measures import taught_prior

MODEL = {"from_scratch": True, "batch_seconds": 3.0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus of tones, two models trained on it, the second an evidential one, and predictions of both."""
    path = tmp_path_factory.mktemp("compare")
    corpus, _ = simulated_corpus(path / "corpus", utterances=120, speakers=20, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder")
    evidential = {"loss": "dirichlet-multinomial", "targets": "primary"}
    for name, options in (("first", {"loss": "kl", "epochs": 1}), ("second", {**evidential, "epochs": 3})):
        train(path / "fused", model=str(path / "encoder"), out=path / name, **options, **MODEL)
        predict(path / name, corpus, out=path / f"of-{name}", device="cpu")
    return path


@pytest.fixture
def serann(monkeypatch, capsys):
    """Run a command as a user does: exit code, stdout, stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["serann", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return int(stop.value.code or 0), shown.out, " ".join(shown.err.split())

    return run


def rows_of(found, name):
    return {row.metric: row for row in found.scores[name]}


def test_a_comparison_holds_each_systems_scores_and_paired_differences(place):
    corpus = open_corpus(place / "corpus")
    found = compare([place / "of-first", place / "of-second"], corpus)
    assert found.systems == ["of-first", "of-second"]
    assert found.against == "of-first"
    assert found.left_out == 0
    for name in found.systems:
        alone = evaluate(place / name, corpus)
        for metric, row in rows_of(found, name).items():
            if not metric.startswith("pauar"):
                assert row.value == pytest.approx(alone.value(metric, system=alone.model.name), abs=1e-12)
    rows = np.flatnonzero(corpus.in_split("test"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    each = [log_score(read_prediction(place / name).distributions[rows], counts) for name in found.systems]
    speakers = corpus.column("speaker")[rows]
    gain = np.array([(each[1] - each[0])[speakers == s].mean() for s in sorted(set(speakers))])
    test = stats.ttest_1samp(gain, 0).confidence_interval()  # every speaker has as many utterances
    gap = {row.metric: row for row in found.differences["of-second"]}["log_score"]
    assert (gap.value, gap.low, gap.high) == pytest.approx((gain.mean(), test.low, test.high), abs=1e-9)
    turned = compare([place / "of-first", place / "of-second"], corpus, against="of-second")
    back = {row.metric: row for row in turned.differences["of-first"]}["log_score"]
    assert (back.value, back.low, back.high) == pytest.approx((-gap.value, -gap.high, -gap.low))


def test_models_compare_as_their_predictions(place):
    corpus = open_corpus(place / "corpus")
    heard = compare([place / "first", place / "second"], corpus, device="cpu")
    read = compare([place / "of-first", place / "of-second"], corpus)
    for one, other in zip(heard.scores.values(), read.scores.values(), strict=True):
        np.testing.assert_allclose([x.value for x in one], [x.value for x in other], atol=1e-4)


def without_rows(source, out, lost, tables=("distributions", "ratings")):
    shutil.copytree(source, out)
    for name in tables:
        path = out / f"{name}.parquet"
        table = parquet.read_table(path)
        kept = [name not in set(lost) for name in table["utterance_id"].to_pylist()]
        parquet.write_table(table.filter(pa.array(kept)), path)
    return out


def test_tables_of_a_prediction_that_do_not_fit_each_other_are_refused(place, tmp_path, serann):
    odd = without_rows(place / "of-first", tmp_path / "odd", ["u0016"], tables=("distributions",))
    code, _, shown = serann("evaluate", odd, place / "corpus")
    assert (code, "ratings.parquet: does not fit its prediction; predict again: utterance 'u0016'" in shown) == (
        2,
        True,
    )


def test_only_what_all_heard_is_scored(place, tmp_path):
    corpus = open_corpus(place / "corpus")
    ids = [corpus.ids[row] for row in np.flatnonzero(corpus.in_split("test"))]
    less = without_rows(place / "of-second", tmp_path / "less", ids[:5])
    found = compare([place / "of-first", less], corpus)
    assert found.utterances == len(ids) - 5
    assert found.left_out == 5
    assert rows_of(found, "of-first")["brier"].utterances == len(ids) - 5
    assert rows_of(found, "less")["brier"].utterances == len(ids) - 5


def test_what_cannot_be_compared_is_said(place, tmp_path, serann):
    corpus, first, second = place / "corpus", place / "of-first", place / "of-second"
    ids = open_corpus(corpus).ids
    test = [ids[row] for row in np.flatnonzero(open_corpus(corpus).in_split("test"))]
    half = without_rows(first, tmp_path / "half", test[: len(test) // 2])
    rest = without_rows(first, tmp_path / "rest", test[len(test) // 2 :])
    none = without_rows(first, tmp_path / "none", test)
    other = simulated_corpus(tmp_path / "labels", utterances=60, speakers=20, labels=LABEL_SETS["crema6"])[0]
    divided = simulated_corpus(tmp_path / "divided", utterances=120, speakers=20, seen=3)[0]
    for words, said in [
        ([first, corpus], "compare takes two or more models or predictions and then the corpus"),
        ([first, first, corpus], "is named twice: a system does not differ from itself"),
        ([first, second, corpus, "--against", "third"], "--against is third, which is none of the systems compared"),
        ([half, rest, corpus], "was heard by every system (half 12, rest 12 of 24)"),
        ([first, none, corpus], "holds none of the utterances that are to be scored (the split 'test' of"),
        ([first, second, other.path], "2 of 2 systems cannot be compared here: 2 problems - of-first:"),
        ([first, second, divided.path], "its votes are divided otherwise (seen 3, seed 0) than those that the model"),
        ([first, second, corpus, "--votes-scored", "1"], "--votes-scored is 1; expected 2 or more"),
        ([first, second, corpus, "--speaker-support", "0"], "--speaker-support is 0; expected 1 or more"),
        ([first, tmp_path / "absent", corpus], "no such directory"),
    ]:
        code, _, shown = serann("compare", *words)
        assert (code, said in shown) == (2, True), shown


def test_the_command_prints_a_table_or_one_document(place, serann):
    words = ("compare", place / "of-first", place / "of-second", place / "corpus", "--speaker-support", 1)
    code, table, _ = serann(*words)
    assert code == 0
    for word in ("24 utterances of 4 speakers that all 2 systems heard", "less of-first", "constant: the best answer"):
        assert word in table
    rows = [line for line in table.splitlines() if line.startswith("sq_unbiased ")]
    assert [line.split()[1:3] for line in rows] == [["lower", name] for name in ("of-first", "of-second", "constant")]
    assert [line.count("[") for line in rows] == [1, 2, 2]  # its own interval, and that of the difference
    code, text, _ = serann(*words, "--json")
    assert code == 0
    document = json.loads(text)
    assert document["against"] == "of-first"
    assert {row["system"] for row in document["differences"]} == {"of-second", "constant"}
    assert {row["metric"] for row in document["scores"]} >= {"kl_nats@4", "ece", "pauar_50", "accuracy_3best"}


def test_the_constant_of_a_comparison_is_that_of_the_evaluation(place):
    corpus = open_corpus(place / "corpus")
    found, alone = compare([place / "of-first", place / "of-second"], corpus), evaluate(place / "of-first", corpus)
    rows = {metric: row for metric, row in rows_of(found, "constant").items() if not metric.startswith("pauar")}
    assert {"sq_unbiased", "log_score", "ece"} <= rows.keys()
    assert not any(metric.startswith("ccc") for metric in rows)
    for metric, row in rows.items():
        own = next(r.score for r in alone.rows if (r.system, r.stratum, r.score.metric) == ("constant", "all", metric))
        np.testing.assert_allclose([row.value, row.low, row.high], [own.value, own.low, own.high])
    gaps = {row.metric: row.value for row in found.differences["constant"]}
    assert gaps["brier"] == pytest.approx(rows["brier"].value - rows_of(found, "of-first")["brier"].value)


def test_five_systems_piped_keep_each_row_on_a_line(place, tmp_path, serann):
    systems = [shutil.copytree(place / "of-first", tmp_path / name) for name in ("a", "b", "c", "d")]
    code, table, _ = serann("compare", *systems, place / "of-second", place / "corpus")
    assert code == 0
    rows = [line for line in table.splitlines() if line.startswith("kl_nats@4 ")]
    assert len(rows) == 6
    assert all(line.count("[") == line.count("]") == 2 for line in rows[1:])


def test_a_page_of_a_comparison_holds_its_figures(place, tmp_path, serann):
    page = tmp_path / "comparison.html"
    words = ("compare", place / "of-first", place / "of-second", place / "corpus", "-o", page)
    code, shown, _ = serann(*words)
    assert (code, f"page: {page}" in shown) == (0, True)
    text, document = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "http" not in text.replace("http://www.w3.org", "")
    assert text.count("<svg") == 4
    row = next(r for r in document["scores"] if (r["system"], r["metric"]) == ("constant", "log_score"))
    assert figure(row["value"]) in text
    for metric in {row["metric"] for row in document["scores"]}:
        assert f"<dt>{metric} (" in text
    code, _, shown = serann(*words)
    assert (code, "are there already, so no comparison was written" in shown) == (2, True)
    assert serann(*words, "--overwrite")[0] == 0
    code, _, shown = serann("evaluate", place / "of-first", place / "corpus", "-o", page, "--overwrite")
    assert (code, "is no evaluation's; choose another name" in shown) == (2, True)


def test_a_copied_model_goes_by_its_path(place, tmp_path, serann):
    copied = shutil.copytree(place / "first", tmp_path / "copied")
    found = evaluate(copied, open_corpus(place / "corpus"), device="cpu")
    assert found.to_json()["model"] == "copied"
    assert found.value("log_score") == evaluate(place / "first", open_corpus(place / "corpus")).value("log_score")
    constant = shutil.copytree(place / "first", tmp_path / "constant")  # the baseline's name
    found = evaluate(constant, open_corpus(place / "corpus"), device="cpu")
    assert found.value("log_score") != found.value("log_score", system="constant")


def test_arguments_in_another_order_are_said(place, serann):
    for words, said in [
        (["evaluate", place / "corpus", place / "first"], "first is a trained model, and the corpus comes last"),
        (["evaluate", place / "corpus", place / "of-first"], "of-first is a prediction, and the corpus comes last"),
        (["evaluate", place / "corpus", place / "first"], "serann evaluate MODEL CORPUS"),
        (["compare", place / "corpus", place / "first", place / "second"], "second is a trained model, and the corpus"),
    ]:
        code, _, shown = serann(*words)
        assert (code, said in shown) == (2, True), shown


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_an_interrupted_scoring_says_that_nothing_is_kept(place, serann, monkeypatch, command):
    monkeypatch.setattr(trainer, command, lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    code, _, shown = serann(
        command, place / "of-first", *[place / "of-second"] * (command == "compare"), place / "corpus"
    )
    assert code == 130
    assert "stopped; nothing was written; run it again" in shown
    assert "kept" not in shown


def test_absent_and_negative_figures_have_one_style(place, serann):
    _, table, _ = serann("evaluate", place / "of-first", place / "corpus")
    thirds = table.partition("By ambiguity")[2].partition("A third scores")[0]
    assert re.findall(r"log_score .*", thirds)[0].count("−") == 12
    assert not re.search(r"\d\.\d{4}", table)
    assert not re.search(r"(?<=\s)-(?=\s|\d)", table)


def test_the_evaluation_page_opens_offline_and_holds_its_figures(place, tmp_path, serann):
    page = tmp_path / "page.html"
    words = ("evaluate", place / "first", place / "corpus", "-o", page, "--device", "cpu", "--snr", "5")
    words = (*words, "--speaker-support", "1", "--noise", "white,babble")
    code, table, _ = serann(*words)
    assert code == 0
    for word in ("By label", "pauar_50", "if answers were blind", "female less male", "to the seen votes' shares"):
        assert word in table
    assert "Under noise" in table
    text = page.read_text()
    assert text.count("<svg") == text.count("</svg>") >= 7
    assert "human plurality" in text
    assert "likeliest answer" in text
    assert "mass on" not in text
    assert f"Made by serann {version('serann')} on {date.today().isoformat()}." in text
    # each picture's line of what there is without noise is named
    assert len(re.findall(r'class="label constant"[^>]*>without noise −?\d', text)) == 3
    assert "<h2>What the scores are</h2>" in text
    assert "low (n = " in text
    assert "these are not given here, for the answers tell the labels apart too little" in text
    assert "http" not in text.replace("http://www.w3.org", "")
    document = json.loads(page.with_suffix(".json").read_text())
    for metric in {row["metric"] for row in [*document["scores"], *document["class_balanced"]["scores"]]}:
        assert re.search(rf"<dt>{metric} \((higher|lower) is better\)</dt><dd>.{{20,}}</dd>", text)
    for key in ("classes", "by_speaker", "genders", "calibration", "prior_corrected", "noise", "class_balanced"):
        assert document[key]
    assert {(row["noise"], row["snr"]) for row in document["noise"]} == {("white", 5.0), ("babble", 5.0)}
    brier = next(r for r in document["noise"] if r["metric"] == "sq_unbiased" and r["noise"] == "white")
    clean = next(r for r in document["scores"] if r["metric"] == "sq_unbiased" and r["stratum"] == "all")
    assert brier["change"]["value"] == pytest.approx(brier["value"] - clean["value"])
    code, _, shown = serann(*words)
    assert (code, "are there already, so no evaluation was written" in shown) == (2, True)
    assert serann(*words, "--overwrite")[0] == 0
    (tmp_path / "other.json").write_text("{}")
    code, _, shown = serann(*words[:3], "-o", tmp_path / "other.html")
    assert (code, "is no evaluation's; choose another name" in shown) == (2, True)
    code, _, shown = serann(*words[:3], "-o", tmp_path / "page.pdf")
    assert (code, "does not end in .html" in shown) == (2, True)


def test_wrong_evaluations_are_sentences(place, tmp_path, serann):
    corpus, first = place / "corpus", place / "of-first"
    labels = simulated_corpus(tmp_path / "labels", utterances=60, speakers=20, labels=LABEL_SETS["crema6"])[0]
    strange = simulated_corpus(tmp_path / "strange", utterances=60, speakers=20, name="strange", prefix="v")[0]
    divided = simulated_corpus(tmp_path / "divided", utterances=60, speakers=20, seed=1)[0]
    sound = open_corpus(corpus).audio_path(0)
    predict(place / "first", [sound], out=tmp_path / "of-files", device="cpu")
    for words, said in [
        ([first, labels.path], "the model first answers with neutral, happy"),
        ([first, strange.path], "holds none of the utterances that are to be scored (the split 'test' of"),
        ([first, strange.path], "it was made of the corpus simulated; predict this corpus"),
        ([tmp_path / "of-files", corpus], "it was made of one sound file; predict this corpus"),
        ([first, divided.path], "its votes are divided otherwise ("),
        ([first, corpus, "--snr", "5"], "is a prediction, which cannot listen again: give the model itself for --snr"),
        ([place / "first", corpus, "--snr", "loud"], "--snr is 'loud'; expected levels in dB between commas"),
        ([place / "first", corpus, "--snr", "5", "--noise", "rain"], "--noise names 'rain'; expected some of white"),
        ([first, corpus, "--split", "validation"], "has no split 'validation'"),
    ]:
        code, _, shown = serann("evaluate", *words)
        assert (code, said in shown) == (2, True), shown


def test_a_prediction_of_another_corpus_with_the_same_ids_is_warned_of(place, tmp_path):
    other = simulated_corpus(tmp_path / "other", utterances=120, speakers=20, name="other")[0]
    found = evaluate(place / "of-first", other)
    assert "the prediction was made of the corpus simulated, and other is scored" in found.warnings[0]


def rewritten(corpus, path, **tables):
    """The corpus with other tables, under another name: nobody's training has a division of it."""
    return write_corpus(
        path,
        name="rewritten",
        labels=corpus.labels,
        utterances=tables.get("utterances", corpus.utterances),
        votes=tables.get("votes", corpus.votes),
        ratings=corpus.ratings,
        licence="CC0-1.0",
        provenance={"made by": "a test"},
        scale=corpus.info.scale,
    )


def test_one_speaker_has_values_without_intervals(place, tmp_path, serann):
    corpus = open_corpus(place / "corpus")
    at = corpus.utterances.column_names.index("speaker")
    test = corpus.in_split("test")
    names = ["alone" if test[i] else s for i, s in enumerate(corpus.column("speaker"))]
    one = rewritten(corpus, tmp_path / "one", utterances=corpus.utterances.set_column(at, "speaker", pa.array(names)))
    code, table, shown = serann("evaluate", place / "of-first", one.path)
    assert code == 0
    assert "no interval: one group" in table
    assert "one speaker, so no interval" in shown
    assert "Women and men: no gap, for fewer than two" in table


def test_one_vote_an_utterance_leaves_what_it_leaves(place, tmp_path, serann):
    corpus = open_corpus(place / "corpus")
    first = ~np.array(corpus.votes["utterance_id"].to_pandas().duplicated())
    single = rewritten(corpus, tmp_path / "single", votes=corpus.votes.filter(pa.array(first)))
    code, text, shown = serann("evaluate", place / "of-first", single.path, "--json")
    assert code == 0
    assert "no utterance has two votes: sq_unbiased, every divergence and the thirds are undefined" in shown
    document = json.loads(text)
    scores = {row["metric"]: row["value"] for row in document["scores"] if row["system"] == "first"}
    assert scores["sq_unbiased"] is None
    assert scores["kl_nats@2"] is None
    assert scores["log_score"] < 0
    assert 0 < scores["brier"] < 2
    assert serann("compare", place / "of-first", place / "of-second", single.path)[0] == 0


def test_an_evidential_model_says_how_many_votes_it_is_worth(place):
    assert read_prediction(place / "of-first").effective_votes is None
    found = read_prediction(place / "of-second")
    table = read_table(place / "of-second" / "distributions.parquet", DISTRIBUTIONS)
    np.testing.assert_array_equal(found.effective_votes, table["effective_votes"].to_numpy())
    trained, corpus = open_model(place / "second"), open_corpus(place / "corpus")
    sound = torch.tensor(utterance_audio(corpus, 5))[None]
    with torch.inference_mode():
        logits = trained.network(sound, torch.tensor([sound.shape[1]])).logits[0].double().numpy()
    assert present(found.effective_votes)[5] == pytest.approx(np.exp(logits).sum(), rel=1e-4)
    np.testing.assert_allclose(found.distributions[5], np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_a_long_sound_is_heard_in_windows(place, tmp_path):
    rng = np.random.default_rng(0)
    long = 0.1 * rng.standard_normal(16_000 * 70)  # three windows of 23.3 s
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    edges = [len(long) * i // 3 for i in range(4)]
    parts = []
    for i in range(3):
        parts.append(tmp_path / f"{i}.wav")
        soundfile.write(parts[-1], long[edges[i] : edges[i + 1]], 16_000)
    whole = predict(place / "second", [tmp_path / "long.wav", parts[0]], out=tmp_path / "whole", device="cpu")
    each = predict(place / "second", parts, out=tmp_path / "parts", device="cpu")
    assert not whole.failures
    np.testing.assert_allclose(whole.distributions[0], each.distributions.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(whole.ratings[0], each.ratings.mean(axis=0), atol=1e-4)
    votes, of_parts = present(whole.effective_votes), present(each.effective_votes)
    np.testing.assert_allclose(votes[0], of_parts.mean(), rtol=1e-4)
    np.testing.assert_allclose(whole.distributions[1], each.distributions[0], atol=1e-5)


def test_class_weights_are_part_of_the_prior_that_was_taught(place, tmp_path):
    info = read_model_info(place / "first")
    shares, trained_on = np.array(info.fused.shares), info.fused.utterances["train"]
    np.testing.assert_allclose(present(taught_prior(info)), shares)
    weighed = info.model_copy(update={"options": info.options.model_copy(update={"loss": "cb-ce"})})
    wanted = shares * class_weights("cb-ce", shares * trained_on)
    np.testing.assert_allclose(present(taught_prior(weighed)), wanted / wanted.sum())
    unknown = info.model_copy(update={"fused": info.fused.model_copy(update={"shares": None})})
    assert taught_prior(unknown) is None
    corpus = open_corpus(place / "corpus")
    assert evaluate(described_as(unknown, place / "of-first", tmp_path / "unknown"), corpus).corrected == []


def test_the_prior_of_single_votes_is_that_of_the_votes(place, tmp_path):
    """Class-balanced cross-entropy on every vote by itself: the prior is n_c (1 - beta) / (1 - beta^n_c), normalised,
    n_c the seen votes of the train split."""
    out = train(
        place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **MODEL,
        epochs=1, loss="cb-ce", targets="disaggregated",
    ).path  # fmt: skip
    info, corpus = read_model_info(out), open_corpus(place / "corpus")
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen")[corpus.in_split("train")]
    n = counts.sum(axis=0)
    assert info.fused.utterances["train"] < present(info.fused.examples) == n.sum()
    wanted = n / (1 - 0.9999**n)
    np.testing.assert_allclose(present(taught_prior(info)), wanted / wanted.sum(), rtol=1e-9)


def test_the_prior_of_the_votes_own_loss_is_the_mean_of_their_shares(place):
    info, corpus = read_model_info(place / "second"), open_corpus(place / "corpus")
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels, part="seen")[corpus.in_split("train")]
    np.testing.assert_allclose(present(taught_prior(info)), (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0))


def described_as(info, prediction, out):
    """A prediction of the same answers whose model is described as `info`."""
    shutil.copytree(prediction, out)
    described = json.loads((out / "prediction.json").read_text())
    described["model"] = info.model_dump(mode="json")
    (out / "prediction.json").write_text(json.dumps(described))
    return out
