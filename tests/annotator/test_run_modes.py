"""Runs whose answers are words: sampled and stated in shares, with attribute ratings beside; resumed like the rest."""

import dataclasses

import numpy as np
import pytest
from fixtures.scripted_runs import LABELS, TABLES, corpus_of, interrupted, panel_of, run_scripted, scripted, tables_of
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.generation import Generated
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.panel import attributes as attributes_module
from serann.annotator.run.run import panel_distribution, synthetic_counts
from serann.data.errors import OptionError, OutputError
from serann.data.files import read_json, write_json
from serann.data.labels import LabelSet
from serann.data.seeds import rng_from
from serann.data.tables import ANSWERS, RATINGS, distribution_array, read_table


class Stop(Exception):
    pass


class Writer(ScriptedEngine):
    """Writes a label, a distribution or nonsense, by the sound, the question and the first chance."""

    def __init__(self, stop_after=10**6):
        super().__init__(EngineSpec("scripted", "scripted"))
        self.stop_after = stop_after

    def generate(self, waves, requests, *, max_new_tokens):
        if len(self.batches) >= self.stop_after:
            raise Stop
        self.batches.append(len(waves))
        return [[self._write(wave, request) for request in own] for wave, own in zip(waves, requests, strict=True)]

    def _write(self, wave, request):
        self.asked.append(request.question.text)
        rng = rng_from("writer", len(wave), request.question.text, request.chances[0])
        if rng.random() < 0.1:
            return Generated("I would rather not say.", True)
        if "%" in request.question.text or "JSON" in request.question.text:
            shares = rng.multinomial(100, np.ones(6) / 6)
            pairs = ", ".join(f'"{label}": {share}' for label, share in zip(LABELS, shares, strict=True))
            return Generated(f"{{{pairs}}}", True)
        return Generated(str(rng.choice(list(LABELS))), True)


Writer.__name__ = "ScriptedEngine"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 8, break_audio=(3,))


def all_of(run):
    return {path.name: path.read_bytes() for path in run.path.glob("*.parquet")}


def test_sampled_answers_are_the_votes(corpus, tmp_path):
    engine = Writer()
    run = run_scripted(corpus, tmp_path / "run", engine=engine, mode="sample", votes=10)
    answers = read_table(run.path / "answers.parquet", ANSWERS, labels=LABELS).to_pylist()
    votes = run.votes.to_pylist()
    assert len(engine.asked) == len(answers) == len(votes) == 7 * 10
    told = {(a["utterance_id"], a["listener"], a["draw"]): (a["label"], a["reason"]) for a in answers}
    cast = {(v["utterance_id"], v["rater_id"], v["draw"]): (v["label"], v["reason"]) for v in votes}
    assert told == cast
    assert run.votes["label"].null_count > 0
    assert all(vote["reason"] for vote in votes if vote["label"] is None)
    counts = synthetic_counts(run, run.ids)
    np.testing.assert_allclose(panel_distribution(run, run.ids), counts / counts.sum(axis=1, keepdims=True))
    assert len(run.ids) == 7
    assert run.failures["utterance_id"].to_pylist() == ["u003"]


def test_stated_distributions_are_scores_and_votes(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", engine=Writer(), mode="verbalized", votes=20)
    p = distribution_array(run.scores["p"])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert run.votes["label"].null_count == 7 * 20 - run.scores.num_rows  # one answer a listener
    row, votes = run.scores.to_pylist()[0], run.votes.to_pylist()
    mine = [v["label"] for v in votes if (v["utterance_id"], v["rater_id"]) == (row["utterance_id"], row["listener"])]
    assert all(row["p"][LABELS.index(label)] > 0 for label in mine)


@pytest.mark.parametrize("mode", ["sample", "verbalized"])
def test_answers_in_words_are_resumed_and_extended(corpus, tmp_path, mode):
    options = {"mode": mode, "attributes": ("valence", "arousal"), "batch_size": 2}
    straight = all_of(run_scripted(corpus, tmp_path / "straight", engine=Writer(), votes=50, **options))
    assert {*TABLES, "answers.parquet", "ratings.parquet", "rating_scores.parquet"} == straight.keys()
    first, second, third = Writer(stop_after=3), Writer(), Writer()
    with pytest.raises(Stop):
        run_scripted(corpus, tmp_path / "run", engine=first, votes=10, **options)
    run_scripted(corpus, tmp_path / "run", engine=second, votes=10, **options)
    asked = len(first.asked) + len(second.asked)
    run = run_scripted(corpus, tmp_path / "run", engine=third, votes=50, **options)
    assert len(third.asked) == 7 * 40  # forty more texts, and no rating
    assert asked == 7 * (10 + 5 * 2)
    found = all_of(run)
    failures = [tables.pop("failures.parquet") for tables in (found, straight)]
    assert found == straight
    assert failures[0] != failures[1]  # the broken sound was tried once more


def test_ratings_lie_beside_exact_scores(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", attributes=("valence",), votes=2)
    ratings = read_table(run.path / "ratings.parquet", RATINGS)
    assert ratings.num_rows == 7 * 20  # every listener has its own temperature
    assert set(ratings["source"].to_pylist()) == {"synthetic"}
    values = ratings["value"].to_numpy()
    assert 1 <= values.min() < values.max() <= 7
    with pytest.raises(OutputError, match=r"attributes is \['valence'\] there and None here"):
        run_scripted(corpus, tmp_path / "run", votes=2)


@pytest.mark.parametrize("stop_after", [None, 2])
def test_listeners_that_join_a_rated_run_ask_for_themselves_alone(corpus, tmp_path, stop_after):
    """A new focus is a new judge; a new temperature is a listener of a judge that has answered."""
    small = panel_of(tmp_path / "small.toml", focus=("voice", "cues"))
    focuses = ("contrast", "cues", "voice", "words")
    large = panel_of(tmp_path / "large.toml", focus=focuses, temperature=(0.5, 1.0), name="many")
    options = {"attributes": ("valence", "arousal"), "batch_size": 2}
    straight = all_of(run_scripted(corpus, tmp_path / "straight", panel=large, **options))
    first, second = Writer(), Writer()
    if stop_after is None:
        run_scripted(corpus, tmp_path / "run", panel=small, engine=first, **options)
    else:
        first = interrupted(corpus, tmp_path / "run", stop_after, panel=small, **options)
    run = run_scripted(corpus, tmp_path / "run", panel=large, engine=second, **options)
    assert len(first.asked) + len(second.asked) == 7 * 4 * (1 + 2)  # each focus once: the emotion, two dimensions
    found = all_of(run)
    for tables in (found, straight):
        tables.pop("failures.parquet")  # the broken sound was tried once more
    assert found == straight


def test_what_listeners_are_asked_on_attributes_is_theirs(corpus, tmp_path, monkeypatch):
    """Changed words refuse the run, also where it would be extended; another scale is named as such."""
    small = panel_of(tmp_path / "small.toml", focus=("voice",))
    large = panel_of(tmp_path / "large.toml", focus=("voice", "cues"), name="many")
    run_scripted(corpus, tmp_path / "run", panel=small, attributes=("valence",))
    with pytest.raises(
        OutputError, match=r"holds another run \(attributes is \['valence'\] there and None here; scale is"
    ):
        run_scripted(corpus, tmp_path / "run", panel=small)
    with pytest.raises(OutputError, match=r"attributes is \['valence'\] there and \['valence', 'arousal'\] here"):
        run_scripted(corpus, tmp_path / "run", panel=small, attributes=("valence", "arousal"))
    real = attributes_module.load_attributes

    def reworded(name):
        asked = real(name)
        return asked.model_copy(update={"template": asked.template.replace("Answer", "Reply")})

    monkeypatch.setattr(attributes_module, "load_attributes", reworded)
    for panel in (small, large):
        with pytest.raises(OutputError, match="attribute_questions is"):
            run_scripted(corpus, tmp_path / "run", panel=panel, attributes=("valence",))


def test_examples_of_a_panel_are_not_asked_about(corpus, tmp_path):
    panel = tmp_path / "shown.toml"
    panel.write_text(
        'name = "shown"\nquestion = "emotion"\nform = "label"\n'
        '[[examples]]\nutterance = "u001"\nlabel = "sad"\n[[listeners]]\nfocus = "voice"\ntemperature = 1\n'
    )
    run = run_scripted(corpus, tmp_path / "run", panel=panel, votes=2)
    assert len(run.ids) == 6
    silent = [vote for vote in run.votes.to_pylist() if vote["label"] is None]
    assert {(vote["utterance_id"], vote["reason"]) for vote in silent} == {
        ("u001", "the utterance is one of the panel's examples")
    }


def test_wrong_modes_are_refused(corpus, tmp_path):
    with pytest.raises(OptionError, match="mode exact has no reasoning"):
        run_scripted(corpus, tmp_path / "run", reason=True)
    with pytest.raises(OptionError, match="unknown dimension 'joy'"):
        run_scripted(corpus, tmp_path / "run", attributes=("joy",))
    assert not (tmp_path / "run").exists()


def respelt(corpus, **aliases):
    """The corpus with other spellings of its labels."""
    return dataclasses.replace(corpus, labels=LabelSet(corpus.labels.name, corpus.labels.labels, aliases))


@pytest.mark.parametrize("mode", ["sample", "verbalized"])
def test_other_spellings_of_the_labels_read_texts_otherwise_and_are_refused(corpus, tmp_path, mode):
    run = run_scripted(corpus, tmp_path / "run", mode=mode, limit=3)
    expected = (
        r"holds another run \(texts are read with other spellings of the labels \(only there .*only here glad=happy"
    )
    for _ in range(2):
        with pytest.raises(OutputError, match=expected):
            run_scripted(respelt(corpus, glad="happy"), tmp_path / "run", mode=mode, limit=3)
        info = read_json(run.path / "run.json", what="run")  # as an older serann wrote it
        info["identity"].pop("spellings", None)
        write_json(run.path / "run.json", info)
    run_scripted(corpus, tmp_path / "run", mode=mode, limit=3)


def test_exact_answers_know_no_other_spellings(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", limit=3)
    engine = scripted()
    run_scripted(respelt(corpus, glad="happy"), tmp_path / "run", engine=engine, limit=3)
    assert engine.asked == []
    straight = run_scripted(respelt(corpus, glad="happy"), tmp_path / "straight", limit=3)
    assert run.scores.equals(straight.scores)
    assert tables_of(tmp_path / "run") == tables_of(straight.path)  # label set in the metadata included
