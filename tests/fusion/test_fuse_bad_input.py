"""What `serann fuse` says of input that is not as it should be: one sentence and exit code 2, or listed by name."""

import re
import sys

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from fixtures.evidence import rewritten, with_votes
from fixtures.simulated import simulated_corpus, simulated_run
from fixtures.tones import VOTES_OF, tone_corpus
from serann.annotator.cli import main
from serann.data.corpus import open_corpus
from serann.data.fused import open_fused
from serann.data.labels import LABEL_SETS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A divided corpus, and a run over it."""
    place = tmp_path_factory.mktemp("bad-input")
    corpus, truth = simulated_corpus(place / "corpus")
    simulated_run(place / "run", corpus, truth)
    return place


@pytest.fixture
def serann(monkeypatch, capsys):
    """Type a command; its exit code and what it printed."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["serann", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return int(end.value.code or 0), shown.out, " ".join(shown.err.split())

    return call


def refused(found: tuple[int, str, str], sentence: str) -> None:
    code, out, err = found
    assert code == 2, err
    assert sentence in err
    assert err.startswith("error: ")
    assert out == ""


def test_human_votes_are_absent(place, tmp_path, serann):
    corpus = open_corpus(place / "corpus")
    silent = rewritten(corpus, tmp_path / "silent", votes=corpus.votes.slice(0, 0))
    for strategy in ("auto", "human-mixture", "pool", "dime-aug"):
        found = serann("fuse", silent.path, place / "run", "--strategy", strategy, "-o", tmp_path / "out")
        refused(found, "needs seen human votes, and no train utterance has one; divide the corpus with more seen votes")
    refused(serann("fuse", silent.path, place / "run", "--dry-run"), "no train utterance has one")
    refused(serann("fuse", silent.path, "--next", 3, "-o", tmp_path / "out"), "no train utterance has one")
    assert not (tmp_path / "out").exists()
    code, _, _ = serann("fuse", silent.path, place / "run", "--strategy", "synthetic", "-o", tmp_path / "synthetic")
    assert code == 0


def test_votes_are_all_single(tmp_path, serann):
    corpus, truth = simulated_corpus(tmp_path / "corpus", seen=1)
    run = simulated_run(tmp_path / "run", corpus, truth)
    for strategy in ("auto", "human-mixture", "latent-class", "empirical-bayes", "opinion-pool"):
        found = serann("fuse", corpus.path, run, "--strategy", strategy, "-o", tmp_path / "out")
        refused(found, "strength not identifiable from single votes")
        assert "keep two or more seen votes (serann corpus holdout --seen 2)" in found[2]
    words = ["--strategy", "empirical-bayes", "--strength", "2", "-o", tmp_path / "stated"]
    code, out, _ = serann("fuse", corpus.path, run, *words)
    assert code == 0
    assert "strength" in out


def test_a_label_without_any_vote_is_told_and_keeps_a_chance(place, tmp_path, serann):
    corpus = open_corpus(place / "corpus")
    unsad = with_votes(
        corpus, tmp_path / "unsad", lambda row: row | {"label": "happy" if row["label"] == "sad" else row["label"]}
    )
    code, _, err = serann("fuse", unsad.path, place / "run", "-o", tmp_path / "out")
    assert code == 0
    assert "warning: no seen human vote names sad" in err
    fused = open_fused(tmp_path / "out")
    sad = fused.distributions[fused.defined][:, list(fused.corpus.labels).index("sad")]
    assert (sad >= 0).all()
    assert sad.max() > 0


def test_a_proxy_that_covers_part_is_told(tmp_path, serann):
    corpus, truth = simulated_corpus(tmp_path / "corpus")
    missing = [corpus.ids[i] for i in np.flatnonzero(corpus.in_split("train"))[:20]]
    run = simulated_run(tmp_path / "run", corpus, truth, missing=missing)
    code, _, err = serann("fuse", corpus.path, run, "--strategy", "latent-class", "-o", tmp_path / "out")
    assert code == 0
    assert "warning: run simulated/simulated/run covers 100 of 120 utterances" in err
    assert "utterances with human votes and no proxy, which are smoothed without one: 20" in err
    fused = open_fused(tmp_path / "out")
    sources = dict(zip(fused.corpus.ids, fused.source, strict=True))
    assert {sources[name] for name in missing} == {"human-mixture"}


def test_label_sets_differ(place, tmp_path, serann):
    other, truth = simulated_corpus(tmp_path / "corpus", labels=LABEL_SETS["iemocap4"])
    run = simulated_run(tmp_path / "run", other, truth)
    refused(
        serann("fuse", place / "corpus", run, "-o", tmp_path / "out"),
        "annotate the corpus with its own labels, in its own order",
    )
    refused(serann("fuse", place / "corpus", other.path, "-o", tmp_path / "out"), "a proxy needs the corpus's labels")


def test_a_class_of_one_utterance(tmp_path, serann):
    votes = {name: vote for name, vote in VOTES_OF.items() if name not in ("b1", "b2")}
    votes |= {f"c{i}": "aa" for i in range(20)}
    corpus = tone_corpus(tmp_path / "corpus", votes_of=votes)
    words = ["fuse", corpus.path, "--strategy", "dime-aug", "--blend", "human", "--rho", "1"]
    code, _, err = serann(*words, "--dime", "paper", "-o", tmp_path / "paper")
    assert code == 0
    assert "warning: 'b' was to grow by 29, and none was made: an utterance needs a neighbour of its class" in err
    code, _, err = serann(*words, "-o", tmp_path / "serann")
    assert code == 0
    assert "warning: 'b' was to grow from an expected mass of 1.0 to 30.0 utterances and reaches 11.0" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--weight", "0.5"], "--weight belongs to opinion-pool, and the strategy is auto, which would pass it over"),
        (["--strength", "2", "--strategy", "pool"], "--strength belongs to empirical-bayes, and the strategy is pool"),
        (["--opinion", "logarithmic"], "--opinion belongs to opinion-pool, and the strategy is auto"),
        (["--rho", "0"], "--rho belongs to dime-aug, and the strategy is auto"),
        (["--blend", "human", "--strategy", "human"], "--blend belongs to dime-aug, and the strategy is human"),
        (
            ["--strategy", "dime-aug", "--blend", "pool", "--strength", "2"],
            "--strength belongs to empirical-bayes, and the strategy is pool",
        ),
        (["--weight", "0.5", "--next", "3"], "--weight belongs to opinion-pool, and the strategy is auto"),
    ],
)
def test_options_of_another_strategy_are_not_passed_over(place, tmp_path, serann, words, sentence):
    refused(serann("fuse", place / "corpus", place / "run", *words, "-o", tmp_path / "out"), sentence)
    assert not (tmp_path / "out").exists()


def test_a_run_over_a_few_utterances_of_one_speaker_is_no_reason_to_fail(tmp_path, serann):
    """What `annotate --limit` leaves behind: no other speaker's votes tell what such a run means."""
    corpus, truth = simulated_corpus(tmp_path / "corpus")
    speaker = corpus.column("speaker")
    first = speaker[np.flatnonzero(corpus.in_split("train"))[0]]
    missing = [name for name, who in zip(corpus.ids, speaker, strict=True) if who != first]
    run = simulated_run(tmp_path / "run", corpus, truth, missing=missing)
    for strategy in ("auto", "latent-class", "empirical-bayes"):
        code, _, err = serann("fuse", corpus.path, run, "--strategy", strategy, "-o", tmp_path / strategy)
        assert code == 0, err
        assert "of which nothing could be learnt outside a fold of speakers, is not used for" in err
        fused = open_fused(tmp_path / strategy)
        assert fused.defined[corpus.in_split("train")].all()
        assert set(fused.source[fused.defined]) <= {"human-mixture", "class-marginal"}


@pytest.mark.parametrize("rho", ["0", "-0.1", "1.01", "nan", "inf"])
def test_rho_out_of_range(place, tmp_path, serann, rho):
    for dime in ("serann", "paper"):
        words = ["--strategy", "dime-aug", "--dime", dime, "--rho", rho, "-o", tmp_path / "out"]
        refused(
            serann("fuse", place / "corpus", place / "run", *words),
            f"rho is {float(rho):g}; expected a share of the largest class, above 0 and at most 1 (--rho 0.3)",
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dime", ["serann", "paper"])
def test_the_sound_of_a_parent_is_missing(tmp_path, serann, dime):
    corpus = tone_corpus(tmp_path / "corpus")
    (corpus.path / "audio" / "b0.wav").unlink()
    words = ["fuse", corpus.path, "--strategy", "dime-aug", "--blend", "human", "--rho", "0.7", "--dime", dime]
    for end in (["-o", tmp_path / "out"], ["--dry-run"]):
        code, _, err = serann(*words, *end)
        assert code == 1  # the rest is there
        assert re.search(r"failed: 1 x .*b0\.wav is missing; expected a sound file \(b0\)", err)
    fused = open_fused(tmp_path / "out")
    assert fused.info.counts["new"] > 0
    assert not any("b0" in (row["parents"] or []) for row in fused.corpus.utterances.to_pylist())


def test_a_corpus_without_sounds_grows_by_nothing_and_says_why(place, tmp_path, serann):
    words = ["--strategy", "dime-aug", "--blend", "human", "--rho", "0.5", "-o", tmp_path / "out"]
    code, _, err = serann("fuse", place / "corpus", *words)
    assert code == 1
    assert "names no audio; its 'audio' column is empty" in err
    assert "parents whose sound cannot be read" in err
    assert open_fused(tmp_path / "out").info.counts["new"] == 0


def test_an_undivided_corpus(place, tmp_path, serann):
    corpus, _ = simulated_corpus(tmp_path / "corpus", seen=None)
    said = f"run 'serann corpus holdout {corpus.path} --seen 2' first"
    for words in (["-o", tmp_path / "out"], ["--dry-run"], ["--next", 3, "-o", tmp_path / "out"]):
        found = serann("fuse", corpus.path, place / "run", *words)
        refused(found, f"are not divided into seen and held-out ones yet; {said}")


def test_one_train_speaker(place, tmp_path, serann):
    corpus = open_corpus(place / "corpus")
    rows = [row | {"speaker": "one"} for row in corpus.utterances.to_pylist()]
    table = pa.Table.from_pylist(rows, schema=corpus.utterances.schema.remove_metadata())
    single = rewritten(corpus, tmp_path / "single", utterances=table)
    refused(
        serann("fuse", single.path, place / "run", "-o", tmp_path / "out"),
        "parameters are cross-fitted by speaker, which needs two or more speakers in the train split",
    )
    code, _, _ = serann("fuse", single.path, "--strategy", "human", "-o", tmp_path / "human")
    assert code == 0


# --- sounds longer than a model hears


def long_corpus(path):
    """A corpus whose rare label has utterances of 40 s."""
    corpus = tone_corpus(path)
    for name in ("b0", "b1", "b2"):
        noise = np.random.default_rng(0).normal(0, 0.05, 40 * 16000)
        soundfile.write(corpus.path / "audio" / f"{name}.wav", noise, 16000)
    return corpus


@pytest.mark.parametrize("dime", ["serann", "paper"])
def test_long_parents_are_listed_unless_they_may_be_long(tmp_path, serann, dime):
    corpus = long_corpus(tmp_path / "corpus")
    words = ["fuse", corpus.path, "--strategy", "dime-aug", "--blend", "human", "--rho", "0.4", "--dime", dime]
    code, _, err = serann(*words, "-o", tmp_path / "short")
    assert code == 1
    assert "3 x its sound lasts 40.0 s, and a parent at most 30 s; where training hears more, say so (--max-" in err
    assert open_fused(tmp_path / "short").info.counts["new"] == 0
    code, _, err = serann(*words, "--max-seconds", "45", "-o", tmp_path / "long")
    assert code == 0, err
    fused = open_fused(tmp_path / "long")
    assert fused.info.counts["new"] > 0
    assert fused.info.parameters["dime-aug"]["max_seconds"] == 45
    assert all(row["duration"] > 37 for row in fused.corpus.utterances.to_pylist() if row["parents"])
    page = (fused.path / "report.html").read_text(encoding="utf-8")
    assert page.count("<audio") >= 2  # the first seconds of them
    assert "No sound" not in page


def test_max_seconds_out_of_range(place, tmp_path, serann):
    words = ["--strategy", "dime-aug", "--max-seconds", "0", "-o", tmp_path / "out"]
    refused(serann("fuse", place / "corpus", *words), "max-seconds is 0; expected 0.1 or more (--max-seconds 30)")
