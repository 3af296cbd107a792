"""Training: targets from seen votes alone, killed and resumed to the bit, clear words for what is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fixtures.present import present
from fixtures.simulated import simulated_corpus
from fixtures.small_encoders import make_encoder_checkpoint
from serann.annotator.cli import app
from serann.annotator.fusion import fuse
from serann.data.corpus import Corpus, open_corpus
from serann.data.errors import CorpusError, ModelError, OptionError, OutputError, SerannError
from serann.data.fused import open_fused
from serann.data.scores.proper_scores import log_score
from serann.data.seeds import rng_from
from serann.data.votes import count_votes
from serann.trainer import loop, open_model, read_model_info, train
from serann.trainer.checkpoint import save_weights
from serann.trainer.dataset import Sounds, bucketed_batches, collate, heard, perturb
from serann.trainer.options import check_options
from serann.trainer.preparing import own_state, seed_torch
from serann.trainer.resume import load_state, save_state
from serann.trainer.schedule import set_rates
from serann.trainer.targets import (
    CURRICULA,
    from_unit,
    mean_ratings,
    rated_dimensions,
    seen_marginal,
    shared_speakers,
    to_unit,
    training_examples,
    validation_examples,
)
from serann.trainer.validation import best_epoch, has_stalled
from typer.testing import CliRunner

QUICK = {"from_scratch": True, "epochs": 2, "batch_seconds": 3.0, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus of 60 short tones, fused from its seen human votes, and a tiny WavLM's configuration."""
    path = tmp_path_factory.mktemp("train")
    corpus, _ = simulated_corpus(path / "corpus", utterances=60, speakers=10, audio=True)
    fuse(corpus, [], strategy="human", out=path / "fused")
    make_encoder_checkpoint(path / "encoder", norm="layer")
    return path


@pytest.fixture(scope="module")
def trained(place):
    return train(place / "fused", model=str(place / "encoder"), out=place / "model", **QUICK).path


def metrics(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_model_directory_holds_what_it_learnt_and_from_what(place, trained):
    assert sorted(p.name for p in trained.iterdir()) == ["metrics.jsonl", "model.json", "weights.safetensors"]
    info, corpus, fused = read_model_info(trained), open_corpus(place / "corpus"), open_fused(place / "fused")
    assert info.finished
    assert info.label_set.labels == corpus.labels.labels
    assert info.division == corpus.info.division
    assert info.fused.fingerprint == fused.fingerprint
    assert info.fused.strategy == "human"
    assert info.dimensions == ["valence"]
    assert info.scale == (1.0, 5.0)
    assert [row["epoch"] for row in metrics(trained)] == [1, 2]
    assert info.best["log_score"] == max(row["log_score"] for row in metrics(trained))
    opened = open_model(trained)
    assert not opened.network.training
    assert sum(p.numel() for p in opened.network.parameters()) == info.architecture.parameters


def test_targets_come_from_the_train_split_and_ratings_from_seen_raters(place):
    fused = open_fused(place / "fused")
    corpus = fused.corpus
    examples = training_examples(fused, ["valence"])
    assert set(corpus.column("split")[examples.rows]) == {"train"}
    np.testing.assert_allclose(examples.targets, fused.distributions[examples.rows])
    ratings = present(corpus.ratings).to_pylist()
    for place_of, row in enumerate(examples.rows[:5]):
        seen = [r["value"] for r in ratings if r["utterance_id"] == corpus.ids[row] and r["part"] == "seen"]
        assert len(seen) == 2
        assert examples.ratings[place_of, 0] == pytest.approx((np.mean(seen) - 3) / 2)  # the scale is 1 to 5


def test_the_reference_of_validation_is_every_human_vote_of_development(place):
    corpus = open_corpus(place / "corpus")
    examples = validation_examples(corpus, ["valence"])
    assert set(corpus.column("split")[examples.rows]) == {"development"}
    assert (examples.targets.sum(axis=1) == 8).all()


def test_the_constant_is_the_share_of_seen_train_votes(place):
    fused = open_fused(place / "fused")
    train_ids = {i for i, inside in zip(fused.corpus.ids, fused.corpus.in_split("train"), strict=True) if inside}
    counts = dict.fromkeys(fused.corpus.labels, 0.5)
    for vote in fused.corpus.votes.to_pylist():
        if vote["utterance_id"] in train_ids and vote["part"] == "seen":
            counts[vote["label"]] += 1
    expected = np.array([counts[label] for label in fused.corpus.labels]) / sum(counts.values())
    np.testing.assert_allclose(seen_marginal(fused), expected)


def test_unit_scale_and_back():
    values = np.array([1.0, 2.5, 7.0])
    np.testing.assert_allclose(from_unit(to_unit(values, (1, 7)), (1, 7)), values)
    assert to_unit(np.array([1.0, 7.0]), (1, 7)).tolist() == [-1, 1]


def test_only_dimensions_that_were_rated_are_learnt(place):
    corpus = open_corpus(place / "corpus")
    assert rated_dimensions(corpus) == ["valence"]
    assert np.isnan(mean_ratings(corpus, ["arousal"])).all()


def test_batches_are_bounded_complete_seeded_and_differ_by_epoch():
    seconds = np.abs(rng_from("lengths").normal(3, 2, 200)) + 0.3
    seconds[7] = 40.0  # longer than a batch: alone
    batches = bucketed_batches(seconds, batch_seconds=20, seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(seconds[b].max() * len(b) <= 20 or len(b) == 1 for b in batches)
    padding = sum(seconds[b].max() * len(b) for b in batches) / seconds.sum()
    assert padding < 1.25
    again, other = (bucketed_batches(seconds, batch_seconds=20, seed=0, epoch=e) for e in (0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert [b.tolist() for b in batches] != [b.tolist() for b in other]


def test_perturbing_depends_on_its_seed_and_keeps_enough_sound():
    wave = np.sin(np.arange(8000) / 20).astype(np.float32)
    one, same, other = (perturb(wave, rng_from(seed), shortest=7000) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.dtype == np.float32
    assert len(one) >= 7000 - 1
    assert len(one) != len(other) or not np.array_equal(one, other)


BARE = {"model": "m", "epochs": 9, "batch_seconds": 1, "learning_rate": 2.0, "head_learning_rate": 1.0}


def test_a_warm_up_and_a_cosine_reach_their_ends():
    options = check_options({**BARE, "warm_up": 0.2})
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([{"params": [weight], "lr": 2.0, "base": 2.0, "part": "encoder"}])
    rates = []
    for step in range(10):
        set_rates(optimiser, options, step=step, steps=10, epoch=1, history=[])
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(1 + np.cos(np.pi * 7 / 8))


def test_newbob_and_the_stages_of_unfreezing_scale_the_rates():
    options = check_options(
        {**BARE, "schedule": "newbob", "warm_up": 0, "unfreeze": "1:2,4:4", "unfreeze_rates": "1:1,4:.8"}
    )
    parts = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1.0, "base": 1.0, "part": p} for p in "eh"]
    parts[0]["part"], parts[1]["part"] = "encoder", "heads"
    optimiser = torch.optim.SGD(parts)
    history = [{"log_score": -v} for v in (2.0, 1.5, 1.499)]  # the third falls by less than .25 %
    set_rates(optimiser, options, step=9, steps=90, epoch=4, history=history)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.9 * 0.8, 0.9])


def test_what_cannot_be_together_is_all_named():
    wrong = {
        **BARE, "layer": "first", "frozen": True, "unfreeze": "1:2", "skip": True, "loss": "dirichlet-multinomial",
        "targets": "disaggregated",
    }  # fmt: skip
    with pytest.raises(OptionError) as caught:
        check_options(wrong)
    for words in ("layer is 'first'", "a frozen encoder is not unfrozen", "hears each sound once", "skip is a part of"):
        assert words in str(caught.value)
    assert "single votes do not tell a strength" in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": loss, "targets": targets}
        for loss, targets in (
            ("ce", "hard"), ("cb-ce", "hard"), ("kl", "primary"), ("weighted-kl", "merged"), ("jsd", "smoothed"),
            ("dirichlet-multinomial", "primary"), ("ce", "disaggregated"),
        )
    ]
    + [{"curriculum": c, "curriculum_over": o} for c in CURRICULA[1:] for o in ("batch", "epoch")]
    + [{"head": "tc-gru", "skip": True, "dimensional_loss": "nll-ccc"}, {"pooling": "attentive", "batch_size": 4}],
)  # fmt: skip
def test_every_choice_trains_and_its_model_opens(place, tmp_path, options):
    out = train(
        place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **{**QUICK, "epochs": 1, **options}
    ).path
    assert all(np.isfinite(value) for row in metrics(out) for value in row.values())
    assert open_model(out).info.options.model_dump().items() >= options.items()


def test_accumulated_batches_descend_as_one(place, tmp_path):
    """Two batches of n/2 with one step give the step of their common batch, where all utterances are as long."""
    options = {
        **QUICK,
        "epochs": 1,
        "perturb": False,
        "dropout": 0.0,
        "dimensional_weight": 0.0,
        "batch_seconds": 100.0,
    }
    options |= {"model": str(place / "small"), "warm_up": 0.0, "schedule": "constant"}
    still = dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0)
    make_encoder_checkpoint(place / "small", norm="layer", **still)
    one = train(place / "fused", out=tmp_path / "one", **options, batch_size=36).path
    two = train(place / "fused", out=tmp_path / "two", **options, batch_size=18, accumulate=2).path
    assert metrics(one)[0]["log_score"] == pytest.approx(metrics(two)[0]["log_score"], rel=1e-4)


def test_the_best_epoch_and_when_to_stop():
    history = [{"log_score": v, "sq_unbiased": -v} for v in (-2.0, float("nan"), -1.0, -1.0, -1.5)]
    assert best_epoch(history, "log_score") == best_epoch(history, "sq_unbiased") == 2
    options = {"model": "m", "epochs": 9, "batch_seconds": 1, "learning_rate": 1, "head_learning_rate": 1}
    assert has_stalled(history, check_options({**options, "patience": 2}))
    assert not has_stalled(history, check_options({**options, "patience": 3}))
    assert not has_stalled(history, check_options(options))


def test_early_stopping_ends_a_training(place, tmp_path):
    out = train(
        place / "fused", model=str(place / "encoder"), out=tmp_path / "m",
        **{**QUICK, "epochs": 30}, learning_rate=1e-12, head_learning_rate=1e-12, best_by="accuracy", patience=2,
    ).path  # fmt: skip
    assert len(metrics(out)) == 3
    assert read_model_info(out).best_epoch == 1


def test_training_twice_gives_the_same_weights_and_leaves_the_global_generator(place, trained, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "model", **QUICK).path
    assert torch.equal(torch.rand(3), expected)
    assert (again / "weights.safetensors").read_bytes() == (trained / "weights.safetensors").read_bytes()
    assert metrics(again) == metrics(trained)


def test_it_learns(place, tmp_path):
    out = train(
        place / "fused", model=str(place / "encoder"), out=tmp_path / "m",
        **{**QUICK, "epochs": 12}, perturb=False, learning_rate=1e-2, head_learning_rate=1e-2, dropout=0.0,
    ).path  # fmt: skip
    history = metrics(out)
    assert history[-1]["categorical_loss"] < history[0]["categorical_loss"] - 0.05
    parts = [row["categorical_loss"] + 0.3 * row["dimensional_loss"] for row in history]
    assert [row["loss"] for row in history] == pytest.approx(parts)


def command(place: Path, out: Path) -> list[str]:
    code = "from serann.annotator.cli import main; main()"
    options = "--from-scratch --epochs 12 --batch-seconds 3 --device cpu --dimensional-weight 0.5"
    paths = [str(place / "fused"), "--model", str(place / "encoder"), "-o", str(out)]
    return [sys.executable, "-c", code, "train", *paths, *options.split(" ")]


def test_killed_it_goes_on_to_the_same_bits(place, tmp_path):
    out, straight = tmp_path / "killed", tmp_path / "straight"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command(place, out), env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as run:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(metrics(out) if (out / "metrics.jsonl").exists() else []) < 3:
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
    assert not read_model_info(out).finished
    assert 2 <= len(present(load_state(out))["history"]) < 12
    with pytest.raises(ModelError, match="its training is not finished; run the same 'serann train' command again"):
        open_model(out)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = {**QUICK, "epochs": 12, "model": str(place / "encoder"), "dimensional_weight": 0.5}
        with pytest.raises(OutputError, match=r"unfinished training of another kind .*: seed was 0, now 1"):
            train(place / "fused", out=out, **options, seed=1)
        seen = []
        train(place / "fused", out=out, **options, progress=lambda done, total: seen.append((done, total)))
        train(place / "fused", out=straight, **options)
    finally:
        torch.set_num_threads(threads)
    assert seen[0][0] > 1  # it did not begin at the beginning
    assert metrics(out) == metrics(straight)
    assert (out / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


def test_stopped_within_an_epoch_it_goes_on_within_it(place, tmp_path, monkeypatch):
    options = {**QUICK, "epochs": 2, "model": str(place / "encoder"), "batch_size": 3, "accumulate": 2}
    options["save_minutes"] = 0.0
    straight = train(place / "fused", out=tmp_path / "straight", **options).path
    learn, calls = loop.learn, []

    def stopped(*args):
        calls.append(args)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return learn(*args)

    monkeypatch.setattr(loop, "learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(place / "fused", out=tmp_path / "stopped", **options)
    monkeypatch.undo()
    begun = present(load_state(tmp_path / "stopped"))
    assert len(begun["begun"]) == 6
    assert not begun["history"]
    out = train(place / "fused", out=tmp_path / "stopped", **options).path
    assert metrics(out) == metrics(straight)
    assert (out / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


def test_an_output_that_is_no_unfinished_training_is_kept(place, trained, tmp_path):
    options = {**QUICK, "model": str(place / "encoder")}
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.iterdir()}
    with pytest.raises(OutputError, match=r"finished model of another training \(choose .*\): 2 problems") as caught:
        train(place / "fused", out=trained, **{**options, "epochs": 3}, seed=1)
    assert "epochs was 2, now 3\n  - seed was 0, now 1" in str(caught.value)
    assert train(place / "fused", out=trained, **options).path == trained  # the same options: it is finished
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in trained.iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="exists and is no model directory"):
            train(place / "fused", out=tmp_path / "mine", **options, overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    with pytest.raises(OutputError, match="'constant' is the baseline's name"):
        train(place / "fused", out=tmp_path / "constant", **options)


def test_weights_can_be_read_by_others(trained):
    modes = {path.name: path.stat().st_mode & 0o777 for path in trained.iterdir()}
    assert set(modes.values()) == {0o644}, modes


def test_a_full_disk_is_one_sentence_and_costs_nothing_that_was_finished(trained, tmp_path):
    import resource

    network, limits = open_model(trained).network, resource.getrlimit(resource.RLIMIT_FSIZE)
    save_state(tmp_path, {"epoch": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"weights\.safetensors cannot be written: File too large"):
            save_weights(network, tmp_path / "weights.safetensors")
        with pytest.raises(OutputError, match=r"state\.pt cannot be written"):
            save_state(tmp_path, {"epoch": 2, "network": network.state_dict()})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_state(tmp_path) == {"epoch": 1}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["state.pt"]


def test_the_command_names_its_figures_and_is_calm_about_a_finished_model(place, trained):
    words = ["train", place / "fused", "--model", place / "encoder", "-o", trained, "--from-scratch"]
    words += ["--epochs", 2, "--batch-seconds", 3, "--device", "cpu"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert f"{trained} is finished already: nothing was done" in done.stderr
    kept = read_model_info(trained).best_epoch
    assert f"kept epoch {kept} of 2, best by log_score on the development split" in done.stdout
    for name in (
        "train loss (mean of",
        "train dimensional loss, 1 - CCC (mini",
        "development log_score",
        "t ccc_valence",
        "constant",
        "on the development split (n = 12)",
    ):
        assert name in done.stdout
    corpus, info = open_corpus(place / "fused"), read_model_info(trained)
    rows = np.flatnonzero(corpus.in_split("development"))
    counts = count_votes(corpus.votes, corpus.ids, corpus.labels)[rows]
    flat = log_score(np.tile(info.marginal, (len(rows), 1)), counts).mean()
    line = next(line for line in done.stdout.splitlines() if line.startswith("development log_score"))
    assert line.split()[2:] == [f"{info.best['log_score']:.4f}", f"{flat:.4f}"]
    assert "saliency" not in done.stdout
    assert json.loads(CliRunner().invoke(app, [*map(str, words), "--json"]).stdout)["constant"]["log_score"] == (
        pytest.approx(flat)
    )


def test_the_command_says_which_layer_was_chosen_and_by_what(place, tmp_path):
    words = ["train", place / "fused", "--model", place / "encoder", "-o", tmp_path / "m", "--from-scratch"]
    words += ["--epochs", 1, "--batch-seconds", 3, "--device", "cpu", "--layer", "auto"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    built = read_model_info(tmp_path / "m").architecture
    scores = ", ".join(f"{layer}: {score:.3f}" for layer, score in enumerate(present(built.saliency)))
    assert (
        f"layer {built.layer}, chosen by saliency over {built.saliency_utterances} utterances ({scores};"
        in " ".join(done.stdout.split())
    )


def test_without_ratings_no_dimensional_row_is_shown(place, tmp_path):
    words = ["train", place / "fused", "--model", place / "encoder", "-o", tmp_path / "m", "--from-scratch"]
    words += ["--epochs", 1, "--batch-seconds", 3, "--device", "cpu", "--dimensional-weight", 0]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "kept epoch 1 of 1" in done.stdout
    assert "dimensional" not in done.stdout
    assert "finished already" not in done.stderr


def test_a_path_without_a_fused_corpus_says_how_to_make_one(place, tmp_path):
    with pytest.raises(CorpusError, match=r"no fused corpus at .*absent: nothing is there; make one with 'serann fuse"):
        train(tmp_path / "absent", model=str(place / "encoder"), out=tmp_path / "m", **QUICK)
    with pytest.raises(CorpusError, match=r"no fusion\.json here, so this is not a fused corpus"):
        train(place / "corpus", model=str(place / "encoder"), out=tmp_path / "m", **QUICK)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(CorpusError, match=r"run is a run, not a fused corpus; .*'serann fuse CORPUS .*run -o fused'"):
        train(tmp_path / "run", model=str(place / "encoder"), out=tmp_path / "m", **QUICK)


def test_a_sound_that_cannot_be_heard_is_listed_and_left_out(place, tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40, speakers=10, audio=True)
    (tmp_path / "corpus" / "audio" / "u0000.wav").write_bytes(b"")
    (tmp_path / "corpus" / "audio" / "u0006.wav").unlink()  # speaker 6: development
    fuse(corpus, [], strategy="human", out=tmp_path / "fused")
    out = train(tmp_path / "fused", model=str(place / "encoder"), out=tmp_path / "model", **QUICK).path
    failures = read_model_info(out).failures
    assert [f["utterance_id"] for f in failures] == ["u0000", "u0006"]
    assert "is empty (zero bytes)" in failures[0]["reason"]
    assert "is missing" in failures[1]["reason"]


def test_without_any_sound_nothing_is_left_behind(place, tmp_path):
    corpus, _ = simulated_corpus(tmp_path / "corpus", utterances=40, speakers=10)
    fuse(corpus, [], strategy="human", out=tmp_path / "fused")
    with pytest.raises(
        SerannError, match=r"none of the 24 training utterances can be heard; the first: .* names no audio"
    ):
        train(tmp_path / "fused", model=str(place / "encoder"), out=tmp_path / "model", **QUICK)
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_no_number_stops_with_the_batch_named(place, tmp_path):
    with pytest.raises(ModelError, match=r"is not a finite number in epoch \d, for the batch of utterances u00\d\d, "):
        train(
            place / "fused", model=str(place / "encoder"), out=tmp_path / "m",
            **QUICK, learning_rate=1e30, head_learning_rate=1e30,
        )  # fmt: skip


def test_wrong_options_are_all_named(place, tmp_path):
    with pytest.raises(OptionError) as caught:
        train(place / "fused", out=tmp_path / "m", **{**QUICK, "epochs": 0}, schedule="steps", momentum=3)
    assert all(name in str(caught.value) for name in ("epochs is 0", "schedule is 'steps'", "momentum is 3"))
    with pytest.raises(OptionError, match="--device is 'tpu'; expected one of auto, cpu, cuda, mps"):
        train(place / "fused", out=tmp_path / "m", **{**QUICK, "device": "tpu"})
    assert not (tmp_path / "m").exists()


def test_a_corpus_without_development_or_with_a_speaker_on_both_sides_is_refused(place):
    corpus = open_corpus(place / "corpus")
    splits, speakers = corpus.column("split"), corpus.column("speaker")

    def changed(name: str, values: list) -> Corpus:
        at = corpus.utterances.column_names.index(name)
        table = corpus.utterances.set_column(at, name, pa.array(values, pa.string()))
        return type(corpus)(corpus.path, corpus.info, corpus.labels, table, corpus.votes, corpus.ratings)

    with pytest.raises(CorpusError, match="no utterance of split 'development' has human votes"):
        validation_examples(changed("split", ["train" if s == "development" else s for s in splits]), [])
    with pytest.raises(
        CorpusError, match="1 speakers are in the train and in the development split, 'sp06' among them"
    ):
        validation_examples(changed("speaker", ["sp06" if s == "sp00" else s for s in speakers]), [])
    assert shared_speakers(corpus) == []
    both = changed("speaker", ["sp08" if s == "sp00" else s for s in speakers])  # sp08 is a test speaker
    assert shared_speakers(both) == [
        "speakers of the split 'test' who are trained on: 1, 'sp08' among them; scores on their utterances will be too "
        "good: give each speaker one split"
    ]


def test_a_test_speaker_who_is_trained_on_is_a_warning(place, tmp_path):
    shutil.copytree(place / "fused", tmp_path / "fused")
    file = tmp_path / "fused" / "utterances.parquet"
    table = pq.read_table(file)
    speakers = ["sp08" if s == "sp00" else s for s in table["speaker"].to_pylist()]
    at = table.column_names.index("speaker")
    pq.write_table(table.set_column(at, table.field("speaker"), pa.array(speakers)), file)
    words = ["train", tmp_path / "fused", "--model", place / "encoder", "-o", tmp_path / "m", "--from-scratch"]
    words += ["--epochs", 1, "--batch-seconds", 3, "--device", "cpu"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "warning: speakers of the split 'test' who are trained on: 1, 'sp08' among them" in done.stderr
    assert len(read_model_info(tmp_path / "m").warnings) == 1


def test_sounds_too_short_for_the_encoder_are_a_reason_not_a_crash(place):
    assert heard(lambda: np.zeros(100, np.float32), shortest=720) == (
        "0.006 s are too short: the encoder's first frame takes 0.045 s"
    )
    sounds = Sounds(open_corpus(place / "corpus"), shortest=720)
    assert isinstance(sounds.read(0), np.ndarray)
    assert sounds.read(0) is sounds.read(0)
    batch = collate([(0, "a reason"), (1, np.zeros(5, np.float32))])
    assert batch.failures == [(0, "a reason")]
    assert batch.places.tolist() == [1]


def test_seeding_inside_own_state_leaves_the_outer_generator():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with own_state():
        seed_torch("anything")
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


def test_a_plan_measures_and_writes_nothing(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(place / "fused"), "--model", str(place / "encoder"), "--from-scratch", "--epochs", "3"]
    result = CliRunner().invoke(app, [*words, "--batch-seconds", "3", "--device", "cpu", "--plan", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    network = open_model(train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", **QUICK).path).network
    assert found["parameters"] == found["trained"] == sum(p.numel() for p in network.parameters())
    assert (found["utterances"], found["development"]) == (36, 12)
    assert found["steps"] == 3 * found["batches"]
    assert 0 < found["seconds_an_epoch"] < found["seconds"]
    assert found["memory_bytes"] > 1e8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    shown = CliRunner().invoke(app, [*words, "--frozen", "--plan"])
    assert shown.exit_code == 0, shown.output
    assert "disk, frozen features" in shown.stdout


def test_what_is_missing_in_the_call_is_said():
    for words, said in ((["train"], "FUSED is missing"), (["train", "fused"], "--output is missing")):
        result = CliRunner().invoke(app, words)
        assert result.exit_code != 0
        assert said in str(result.exception)


def test_tensorboard_gets_the_figures_of_every_epoch(place, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", tensorboard=True, **QUICK).path
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    found = [event.value for event in events.Scalars("log_score")]
    assert found == pytest.approx([row["log_score"] for row in metrics(out)], rel=1e-6)


def test_a_sound_that_is_gone_at_a_later_epoch_is_listed_and_training_goes_on(place, tmp_path, monkeypatch):
    fused = tmp_path / "fused"
    shutil.copytree(place / "fused", fused)
    corpus = open_corpus(fused)
    audio = corpus.audio_path(0)
    own = tmp_path / "own.wav"
    shutil.copy(audio, own)
    table = pq.read_table(fused / "utterances.parquet")
    paths = [str(own), *(str(corpus.audio_path(i)) for i in range(1, table.num_rows))]
    at = table.schema.get_field_index("audio")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(paths)), fused / "utterances.parquet")
    validated = loop.validate

    def then_gone(*args, **options):
        own.unlink(missing_ok=True)
        return validated(*args, **options)

    monkeypatch.setattr(loop, "validate", then_gone)
    monkeypatch.setattr("serann.trainer.dataset.Sounds._room", 0, raising=False)
    read = Sounds.read
    monkeypatch.setattr(Sounds, "read", lambda self, row: (self._kept.clear(), read(self, row))[1])
    out = train(fused, model=str(place / "encoder"), out=tmp_path / "m", **QUICK).path
    info = read_model_info(out)
    assert info.finished
    assert [failure["utterance_id"] for failure in info.failures] == [corpus.ids[0]]


def test_a_label_that_nothing_teaches_is_a_warning(place, tmp_path):
    fused = tmp_path / "fused"
    corpus, _ = simulated_corpus(tmp_path / "c", utterances=40, speakers=10, audio=True)
    rare = corpus.labels.labels[-1]
    kept = [row for row in corpus.votes.to_pylist() if row["label"] != rare]
    table = pq.read_table(corpus.path / "votes.parquet")
    pq.write_table(pa.Table.from_pylist(kept, table.schema), corpus.path / "votes.parquet")
    fuse(open_corpus(corpus.path), [], strategy="human", out=fused)
    out = train(fused, model=str(place / "encoder"), out=tmp_path / "m", **{**QUICK, "epochs": 1}).path
    assert any(f"no training utterance has any of the label {rare}" in words for words in read_model_info(out).warnings)


def test_a_folder_for_frames_needs_a_frozen_encoder(place, tmp_path):
    with pytest.raises(OptionError, match="--features keeps what a frozen encoder hears"):
        train(place / "fused", model=str(place / "encoder"), out=tmp_path / "m", features=tmp_path / "f", **QUICK)
    assert not (tmp_path / "m").exists()
