"""One sound without a corpus: bit for bit what a run writes, whatever the mode, the sound's form, and its company."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fixtures.scripted_runs import LABELS, corpus_of, run_scripted, scripted
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.generation import Generated
from serann.annotator.engines.scripted import ScriptedEngine
from serann.annotator.listening import Listened, listener
from serann.annotator.run.annotate import annotate
from serann.annotator.run.run import panel_distribution
from serann.data.audio import load_recording, recording_of
from serann.data.errors import AudioError, LabelError, ModelError, OptionError
from serann.data.files import hash_file
from serann.data.labels import LabelSet
from serann.data.seeds import rng_from
from serann.data.tables import ANSWERS, distribution_array, read_table
from serann.prompts.loader import load_panel


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated", 6)


def assert_same(found: Listened, run, *, answers=None):
    """Everything that is told of one sound is what the run's tables hold of it, to the last bit."""
    name = found.utterance_id
    np.testing.assert_array_equal(found.p, panel_distribution(run, [name])[0])
    rows = run.scores.filter(np.array([one == name for one in run.scores["utterance_id"].to_pylist()], dtype=bool))
    assert list(found.listeners) == list(found.log_mass) == rows["listener"].to_pylist()
    np.testing.assert_array_equal(np.array([*found.listeners.values()]).reshape(-1, 6), distribution_array(rows["p"]))
    assert list(found.log_mass.values()) == rows["log_mass"].to_pylist()
    votes = [row for row in run.votes.to_pylist() if row["utterance_id"] == name]
    assert [{**row, "run": None} for row in found.votes.to_pylist()] == [{**row, "run": None} for row in votes]
    if answers is not None:
        assert found.answers is not None
        assert found.answers.to_pylist() == [row for row in answers.to_pylist() if row["utterance_id"] == name]


class Mute(ScriptedEngine):
    """An engine that scores alone."""

    generate = None  # type: ignore[assignment]


class Stating(ScriptedEngine):
    """States shares that depend on the sound, the question and the chance; now and then nothing that can be read."""

    def generate(self, sounds, requests, *, max_new_tokens):
        return [[self._stated(len(wave), own) for own in asked] for wave, asked in zip(sounds, requests, strict=True)]

    def _stated(self, samples, request):
        rng = rng_from("stated", samples, request.question.text, request.chances[0])
        shares = rng.multinomial(100, np.ones(6) / 6)
        pairs = ", ".join(f'"{label}": {share}' for label, share in zip(LABELS, shares, strict=True))
        return Generated("I would rather not say." if rng.random() < 0.2 else f"{{{pairs}}}", True)


def engine_of(mode):
    return Stating(EngineSpec("scripted", "scripted")) if mode == "verbalized" else scripted()


def paths_of(corpus):
    return [str(corpus.audio_path(row)) for row in range(len(corpus.ids))]


@pytest.mark.parametrize("mode", ["exact", "sample", "verbalized"])
@pytest.mark.parametrize("panel", ["crossed", "letters"])
def test_it_is_what_a_run_writes(corpus, tmp_path, mode, panel):
    if (mode, panel) == ("verbalized", "letters"):
        pytest.skip("the question of letters is asked in letters alone")
    run = run_scripted(corpus, tmp_path / "run", engine=engine_of(mode), mode=mode, panel=panel, votes=7, seed=3)
    answers = None if mode == "exact" else read_table(run.path / "answers.parquet", ANSWERS, labels=LABELS)
    heard = listener(engine_of(mode), panel, "demo6", mode=mode, votes=7, seed=3)
    together = heard.listen(paths_of(corpus), ["where is it"] * 6, utterance_id=corpus.ids)
    assert [item.utterance_id for item in together] == corpus.ids
    for item, path in zip(together, paths_of(corpus), strict=True):
        assert_same(item, run, answers=answers)
        wave, rate = soundfile.read(path, dtype="float32")
        alone = heard.listen(wave, "where is it", sample_rate=rate, utterance_id=item.utterance_id)
        assert_same(alone, run, answers=answers)
    # Another id is another listener's chance; the same sound has the same p in mode exact.
    other = heard.listen(paths_of(corpus)[0], "where is it", utterance_id="another")
    assert other.votes["label"].to_pylist() != together[0].votes["label"].to_pylist()


@pytest.mark.parametrize("mode", ["exact", "sample", "verbalized"])
def test_the_embedded_checkpoint_answers_as_in_a_run(tmp_path, mode):
    """In the same company: a batch's shape may change the last bits of a sum."""
    from serann.data.corpus import open_corpus

    demo, options = open_corpus("demo"), {"mode": mode, "votes": 3, "panel": "crossed"}
    with listener("demo", "crossed", demo.labels, mode=mode, votes=3, device="cpu") as heard:
        run = annotate(demo, "demo", out=tmp_path / "run", limit=3, device="cpu", **options)
        rows, words = range(3), demo.column("transcript")
        paths = [str(demo.audio_path(row)) for row in rows]
        found = heard.listen(paths, [words[row] for row in rows], utterance_id=demo.ids[:3])
        for item in found:
            assert_same(item, run)
        if mode == "exact":
            one = annotate(demo, "demo", out=tmp_path / "one", limit=1, device="cpu", **options)
            wave, rate = soundfile.read(paths[0], dtype="float32")
            assert_same(heard.listen(wave, words[0], sample_rate=rate, utterance_id=demo.ids[0]), one)


def test_a_long_sound_is_heard_in_windows_as_in_a_run(corpus, tmp_path):
    run = run_scripted(corpus, tmp_path / "run", max_seconds=0.4, too_long="windows")
    heard = listener(scripted(), "crossed", "demo6", max_seconds=0.4, too_long="windows")
    for item in heard.listen(paths_of(corpus), ["where is it"] * 6, utterance_id=corpus.ids):
        assert_same(item, run)
    with pytest.raises(AudioError, match=r"u00\d.wav is too long: .* s, and the model hears at most 0.2 s"):
        listener(scripted(), "crossed", "demo6", max_seconds=0.2).listen(paths_of(corpus)[0])


def test_without_an_id_chances_come_from_the_content(corpus, tmp_path):
    heard, path = listener(scripted(), "crossed", "demo6"), paths_of(corpus)[0]
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(path).read_bytes())
    first, again, moved = heard.listen(path), heard.listen(path), heard.listen(copy)
    assert first.utterance_id == hash_file(path) == moved.utterance_id
    assert first.votes.equals(again.votes)
    assert first.votes.equals(moved.votes)
    named = heard.listen(path, utterance_id=hash_file(path))
    assert named.votes.equals(first.votes)
    wave, rate = soundfile.read(path, dtype="float32")
    of_samples, slower = heard.listen(wave, sample_rate=rate), heard.listen(wave, sample_rate=rate // 2)
    assert of_samples.utterance_id.startswith("sha256:")
    assert of_samples.utterance_id != slower.utterance_id
    np.testing.assert_array_equal(of_samples.p, first.p)
    assert heard.listen((wave * 2**15).astype(np.int16), sample_rate=rate).utterance_id == of_samples.utterance_id


def test_samples_are_heard_as_a_file_of_them(tmp_path):
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (30000, 2))
    path = tmp_path / "stereo.wav"
    soundfile.write(path, wave, 44100, subtype="PCM_16")
    whole, rate = soundfile.read(path, dtype="int16")
    for too_long in ("reject", "truncate", "windows"):
        limits = {"too_long": too_long, "max_seconds": 0.3 if too_long != "reject" else 30.0, "sample_rate": 16000}
        one, other = load_recording(path, **limits), recording_of(whole, rate, **limits)
        assert (one.seconds, one.whole) == (other.seconds, other.whole)
        for a, b in zip(one.windows, other.windows, strict=True):
            np.testing.assert_array_equal(a, b)
    for odd in (np.zeros((2, 3, 4)), np.zeros(4, dtype=complex), np.array(["a"])):
        with pytest.raises(AudioError, match="expected samples"):
            recording_of(odd, 16000)
    with pytest.raises(AudioError, match=r"the wave is too short: 0.06 s, expected at least 0.1 s"):
        recording_of(np.zeros(1000), 16000)
    with pytest.raises(AudioError, match="the wave: 1 of 4000 samples are not finite numbers"):
        recording_of(np.array([np.nan, *np.zeros(3999)]), 16000)


def test_what_is_told_of_a_sound(corpus):
    path = paths_of(corpus)[0]
    with listener(scripted(), load_panel("letters"), LabelSet("two", ("calm <b>", "upset")), votes=5) as heard:
        assert repr(heard) == (
            "scripted listens as panel letters, 4 listeners\nmode exact, 5 votes per sound over calm <b>, upset"
        )
        found = heard.listen(path, utterance_id="u0")
    assert found.labels == ("calm <b>", "upset")
    assert len(repr(found).splitlines()) == 2
    assert repr(found).startswith("u0: ")
    assert "5 votes (" in repr(found)
    assert "90.0% on labels" in repr(found)
    assert sum(found.counts.values()) == 5 - found.votes["label"].null_count
    assert "calm &lt;b&gt;" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    table = found.to_pandas()
    assert list(table.columns) == ["calm <b>", "upset", "log_mass"]
    assert list(table.index) == ["panel", *found.listeners]
    np.testing.assert_allclose(table.loc["panel"][["calm <b>", "upset"]].astype(float), found.p)


def test_what_cannot_be_heard_is_an_error_alone_and_a_failure_among_others(corpus):
    heard, path = listener(scripted(), "crossed", "demo6"), paths_of(corpus)[0]
    with pytest.raises(AudioError, match=r"gone.wav is missing; expected a sound file"):
        heard.listen("gone.wav")
    good, bad = heard.listen([path, "gone.wav"])
    assert good.failure is None
    assert bad.failure == "gone.wav is missing; expected a sound file"
    assert np.isnan(bad.p).all()
    assert (bad.votes.num_rows, bad.listeners, bad.log_mass) == (0, {}, {})
    assert repr(bad) == "gone.wav: no answer\ngone.wav is missing; expected a sound file"
    broken = listener(scripted(lambda wave, question: np.full(6, np.nan)), "letters", "demo6")
    with pytest.raises(ModelError, match="no numbers"):
        broken.listen(path)


def test_what_cannot_be_asked_is_a_sentence(corpus):
    heard, wave = listener(scripted(), "crossed", "demo6"), np.zeros(16000, dtype=np.float32)
    with pytest.raises(OptionError, match="samples without their rate; give sample_rate=16000"):
        heard.listen(wave)
    with pytest.raises(OptionError, match="2 sounds and 1 for transcripts; expected one for each sound"):
        heard.listen([wave, wave], ["a"], sample_rate=16000)
    with pytest.raises(OptionError, match="2 sounds and one text for transcripts; expected one for each"):
        heard.listen([wave, wave], "ab", sample_rate=16000)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="expected a sound as the path of a file or a numpy array"):
        heard.listen([1.0, 2.0])  # type: ignore[list-item]
    with pytest.raises(LabelError, match="unknown label set 'emo'"):
        listener(scripted(), "crossed", "emo")
    with pytest.raises(OptionError, match="unknown mode 'guess'"):
        listener(scripted(), "crossed", "demo6", mode="guess")
    with pytest.raises(OptionError, match="examples, which have to be loaded from a corpus"):
        listener(scripted(), "few-shot", "demo6")
    with pytest.raises(OptionError, match="this engine cannot write texts"):
        listener(Mute(EngineSpec("scripted", "scripted")), "crossed", "demo6", mode="sample")


def test_a_panel_that_may_not_speak_abstains(corpus, tmp_path):
    """Words only, and no words: what a run writes, too."""
    heard = listener(scripted(), "crossed", "demo6")
    found = heard.listen(paths_of(corpus)[0], utterance_id="u000")
    words = [row["reason"] for row in found.votes.to_pylist() if row["label"] is None]
    assert words
    assert all("transcript" in reason for reason in words)


def test_an_engine_that_came_from_outside_stays_open(corpus):
    engine = scripted()
    with listener(engine, "letters", "demo6"):
        pass
    assert not engine.closed
