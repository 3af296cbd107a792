"""Controls: what is heard and read instead, that it is the run's own, and that resuming and workers change nothing."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from fixtures.present import present
from fixtures.scripted_runs import LABELS, corpus_of, run_scripted, scripted, tables_of
from hypothesis import given, settings
from hypothesis import strategies as st
from serann.annotator.cli import app
from serann.annotator.engines.base import EngineSpec
from serann.annotator.engines.scripted import ScriptedEngine, loudness_and_text
from serann.annotator.panel.controls import CONTROLS, controlled, other_voices
from serann.annotator.panel.panel import ListeningPanel
from serann.annotator.run import session as session_module
from serann.annotator.sounds import decoding
from serann.annotator.sounds.hearing import Job, Windows, hear
from serann.data.audio import load_audio
from serann.data.errors import OptionError, OutputError
from serann.data.files import read_json
from serann.data.tables import UTTERANCES, from_rows
from serann.prompts.loader import load_panel
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return corpus_of(tmp_path_factory.mktemp("corpora") / "simulated")


class Listening(ScriptedEngine):
    """Remembers the sounds and the texts it was asked, by the sound's length."""

    def __init__(self):
        super().__init__(EngineSpec("scripted", "scripted"), script=self.heard_and_asked)
        self.sounds = []

    def heard_and_asked(self, wave, question):
        self.sounds.append(wave)
        return loudness_and_text(wave, question)


def job(corpus, i, **more):
    return Job(f"u{i:03d}", str(corpus.audio_path(i)), None, None, 16000, 30.0, **more)


def test_silence_is_as_long_as_the_sound(corpus):
    own = load_audio(corpus.audio_path(3))
    for control in ("silence", "transcript-only"):
        heard = hear(job(corpus, 3, control=control))
        assert heard.prepared.shape == own.shape
        assert heard.prepared.dtype == own.dtype
        assert not heard.prepared.any()
        assert present(heard.sound).content.endswith(f"#{control}")


def test_noise_is_as_loud_as_the_sound_white_and_seeded_by_the_id(corpus):
    own = load_audio(corpus.audio_path(3)).astype(float)
    noise = hear(job(corpus, 3, control="noise")).prepared
    assert noise.shape == own.shape
    assert np.sqrt((noise.astype(float) ** 2).mean()) == pytest.approx(np.sqrt((own**2).mean()), rel=1e-6)
    power = np.abs(np.fft.rfft(noise)) ** 2
    halves = power[1 : len(power) // 2].mean(), power[len(power) // 2 :].mean()
    assert halves[0] == pytest.approx(halves[1], rel=0.2)  # as much below as above 4 kHz
    np.testing.assert_array_equal(noise, hear(job(corpus, 3, control="noise")).prepared)
    other = hear(job(corpus, 3, control="noise")._replace(utterance="another")).prepared
    assert np.corrcoef(noise, other)[0, 1] < 0.1


def test_windows_of_noise_are_as_loud_as_the_whole(corpus):
    cut = job(corpus, 3, control="noise")._replace(max_seconds=0.3, too_long="windows")
    heard = hear(cut).prepared
    assert isinstance(heard, Windows)
    whole = np.concatenate(heard.prepared).astype(float)
    own = load_audio(corpus.audio_path(3)).astype(float)
    assert len(whole) == len(own)
    assert np.sqrt((whole**2).mean()) == pytest.approx(np.sqrt((own**2).mean()), rel=1e-6)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_is_a_run_of_its_own(corpus, tmp_path, control):
    plain = run_scripted(corpus, tmp_path / "plain")
    run = run_scripted(corpus, tmp_path / "run", control=control)
    assert run.info["identity"]["control"] == control
    assert "control" not in plain.info["identity"]
    assert f"/{control}/" in run.name
    assert set(run.votes["run"].to_pylist()) == {run.name}
    assert run.name != plain.name
    assert run.ids == corpus.ids
    with pytest.raises(OutputError, match=rf"control is '{control}' there and 'none' here"):
        run_scripted(corpus, tmp_path / "run")
    with pytest.raises(OutputError, match=rf"control is 'none' there and '{control}' here"):
        run_scripted(corpus, tmp_path / "plain", control=control)


@pytest.mark.parametrize(
    ("control", "silent", "words"),
    [("silence", True, False), ("noise", False, False), ("transcript-only", True, True), ("other-voice", False, True)],
)
def test_what_is_heard_and_read(corpus, tmp_path, control, silent, words):
    engine = Listening()
    run = run_scripted(corpus, tmp_path / "run", engine=engine, control=control)
    lengths = sorted({len(load_audio(corpus.audio_path(i))) for i in range(12)})
    assert all(wave.any() != silent for wave in engine.sounds)
    assert {len(wave) for wave in engine.sounds} <= set(lengths)
    assert any("where is it" in text for text in engine.asked) == words
    focuses = set(run.listeners["focus"].to_pylist())
    assert focuses == {"words"} if control == "transcript-only" else len(focuses) == 5
    if control == "transcript-only":
        assert all("where is it" in text for text in engine.asked)
        assert run.votes.num_rows == 12 * 20  # dealt over those who read


def voices(rows):
    """The other voices of utterances (id, speaker, script, transcript)."""
    table = from_rows(
        [
            {"utterance_id": i, "speaker": speaker, "script": script, "transcript": said, "audio": f"{i}.wav"}
            for i, speaker, script, said in rows
        ],
        UTTERANCES,
    )
    return table


def corpus_with(corpus, rows):
    return dataclasses.replace(corpus, utterances=voices(rows))


def test_the_same_script_comes_first_then_the_same_words_then_any(corpus):
    rows = [
        ("a1", "a", "s1", "Eleven o'clock."),
        ("b1", "b", "s1", "something else"),  # the only other one of a1's script
        ("b2", "b", None, "eleven   O'clock"),
        ("a2", "a", None, "nobody else says this"),
        ("x", None, "s1", "eleven o'clock"),  # nobody knows whose voice it is
    ]
    found = other_voices(corpus_with(corpus, rows))
    assert found.rows[0] == 1
    assert found.rows[1] == 0
    assert found.rows[2] == 0  # by the words, for it has no script
    assert found.rows[3] in (1, 2)
    assert found.rows[4] == -1
    assert found.matched == {"script": 2, "transcript": 1, "nothing": 1}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([None, "a", "b", "c"]), st.sampled_from([None, "s1", "s2"]), st.sampled_from("xyz")),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_never_the_same_speaker_and_independent_of_the_order(corpus, drawn, shuffle):
    rows = [(f"u{n}", *row) for n, row in enumerate(drawn)]
    found = other_voices(corpus_with(corpus, rows))
    heard = {}
    for n, row in enumerate(found.rows):
        speaker, script, said = drawn[n]
        others = [other for other in drawn if other[0] not in (None, speaker)]
        if speaker is None or not others:
            assert row == -1
            continue
        partner = drawn[row]
        assert partner in others
        same_script = [other for other in others if script and other[1] == script]
        same_words = [other for other in others if other[2] == said]
        assert partner in (same_script or same_words or others)  # the naive rule
        heard[rows[n][0]] = rows[row][0]
    assert sum(found.matched.values()) == len(heard)
    moved = rows[:]
    shuffle.shuffle(moved)
    again = other_voices(corpus_with(corpus, moved))
    assert heard == {moved[n][0]: moved[row][0] for n, row in enumerate(again.rows) if row >= 0}


def test_other_voices_are_spread_over_the_candidates(corpus):
    rows = [(f"u{n}", f"sp{n % 40}", "s", "w") for n in range(400)]
    used = np.bincount(other_voices(corpus_with(corpus, rows)).rows, minlength=400)
    assert (used > 0).sum() > 150  # of 400 drawn with replacement 253 would be; the circle's gaps make it fewer
    assert used.max() < 12


def test_another_voice_is_the_other_utterances_sound(corpus, tmp_path):
    engine = Listening()
    run = run_scripted(corpus, tmp_path / "run", engine=engine, control="other-voice", panel="letters")
    partner = other_voices(corpus).rows
    loudness = {
        u: round(float(np.sqrt((load_audio(corpus.audio_path(r)) ** 2).mean())), 4) for u, r in enumerate(partner)
    }
    plain = run_scripted(corpus, tmp_path / "plain", panel="letters")
    logp = {(r["utterance_id"], r["listener"]): r["logp"] for r in plain.scores.to_pylist()}
    assert len(set(loudness.values())) > 3
    for row in run.scores.to_pylist():  # the scripted answers depend on loudness and question alone
        heard = corpus.ids[partner[corpus.ids.index(row["utterance_id"])]]
        assert row["logp"] == logp[heard, row["listener"]]
    recorded = read_json(run.path / "environment.json", what="record")["sessions"][-1]["voices_matched_by"]
    assert recorded == {"script": 0, "transcript": 12, "nothing": 0}


@pytest.mark.parametrize("control", CONTROLS)
def test_resuming_and_workers_give_the_same_bytes(corpus, tmp_path, monkeypatch, control):
    straight = run_scripted(corpus, tmp_path / "straight", control=control, batch_size=3)
    run_scripted(corpus, tmp_path / "resumed", control=control, batch_size=3, limit=5)
    resumed = run_scripted(corpus, tmp_path / "resumed", control=control, batch_size=3)
    assert tables_of(resumed.path) == tables_of(straight.path)
    engine = scripted()
    run_scripted(corpus, tmp_path / "resumed", control=control, engine=engine)
    assert engine.asked == []
    if control in ("silence", "transcript-only"):  # zeros need no seed, and workers take seconds to start
        return
    monkeypatch.setattr(session_module, "MANY", 1)
    monkeypatch.setattr(decoding, "LOAD_AFTER", 2)
    by_processes = run_scripted(corpus, tmp_path / "processes", control=control, batch_size=3)
    assert tables_of(by_processes.path) == tables_of(straight.path)


def test_a_changed_sound_is_asked_anew_in_whoever_hears_it(tmp_path):
    corpus = corpus_of(tmp_path / "corpus")
    partner = other_voices(corpus).rows
    run_scripted(corpus, tmp_path / "run", control="other-voice")
    changed = int(partner[0])
    soundfile.write(corpus.audio_path(changed), 0.2 * np.random.default_rng(1).normal(size=9000), 16000)
    engine = scripted()
    run_scripted(corpus, tmp_path / "run", control="other-voice", engine=engine)
    assert len(engine.asked) == 5 * (partner == changed).sum()
    fresh = run_scripted(corpus, tmp_path / "fresh", control="other-voice")
    assert tables_of(fresh.path) == tables_of(tmp_path / "run")


def test_changed_words_do_not_matter_to_whoever_is_given_none(tmp_path):
    corpus = corpus_of(tmp_path / "corpus")
    run_scripted(corpus, tmp_path / "run", control="silence")
    place = corpus.utterances.column_names.index("transcript")
    words = pa.array(["other words"] * 12, pa.string())
    reworded = dataclasses.replace(corpus, utterances=corpus.utterances.set_column(place, "transcript", words))
    engine = scripted()
    run_scripted(reworded, tmp_path / "run", control="silence", engine=engine)
    assert engine.asked == []


def test_degenerate_answers_are_no_alarm_where_nothing_is_heard(tmp_path):
    corpus = corpus_of(tmp_path / "corpus", 120)
    run = run_scripted(corpus, tmp_path / "run", control="silence", panel="letters", selfcheck=True)
    assert len(run.ids) == 120


def test_what_shows_nothing_is_refused(corpus):
    panel = ListeningPanel(load_panel("letters"), LABELS)
    with pytest.raises(OptionError, match="no listener of panel letters reads the transcript; choose a panel"):
        controlled(corpus, panel, "transcript-only")
    mute, _ = controlled(corpus, panel, "silence")
    assert mute.utterances["transcript"].null_count == 12
    crossed = ListeningPanel(load_panel("crossed"), LABELS)
    with pytest.raises(OptionError, match="no utterance of corpus simulated has a transcript"):
        controlled(mute, crossed, "transcript-only")
    alone = corpus_with(corpus, [("a", "a", None, "x"), ("b", "a", None, "x")])
    with pytest.raises(OptionError, match="names fewer than two speakers"):
        controlled(alone, panel, "other-voice")


def test_the_command_line(tmp_path):
    wrong = CliRunner().invoke(
        app, ["annotate", "demo", "--model", "demo", "-o", str(tmp_path / "r"), "--control", "x"]
    )
    assert "unknown control 'x'; expected one of transcript-only, silence, noise, other-voice" in str(wrong.exception)
    call = ["annotate", "demo", "--model", "demo", "-o", str(tmp_path / "run"), "--limit", "4", "--panel", "letters"]
    done = CliRunner().invoke(app, [*call, "--control", "other-voice"])
    assert done.exit_code == 0
    assert "control other-voice: nobody heard the utterances themselves (matched: " in done.stderr
