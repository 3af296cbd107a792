"""`--dime serann`: takes by prices against a general solver, perturbations against what they claim, and the corpus."""

import time

import librosa
import numpy as np
import pytest
from fixtures.tones import VOTES_OF, tone_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.signal import periodogram
from serann.annotator.fusion import fuse
from serann.annotator.fusion.dime import balance
from serann.annotator.fusion.dime.balance import CEILING, MOST, SPREAD, expected_takes, target_masses, whole_takes
from serann.annotator.fusion.dime.plan import NewUtterance, Perturbation
from serann.annotator.fusion.dime.sounds import (
    draw_perturbation,
    in_room,
    perturb,
    room_response,
    with_noise,
    write_sounds,
)
from serann.data.audio import utterance_audio
from serann.data.corpus import open_corpus
from serann.data.errors import CorpusError, OptionError

STILL = Perturbation(0.0, 1.0, 0.0)


def tone(hertz: float, seconds: float = 2.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def made(fused) -> list[dict]:
    return [row for row in fused.corpus.utterances.to_pylist() if row["parents"]]


# --- how many takes of whom


def test_targets_by_hand():
    masses = np.array([100.0, 40.0, 10.0, 0.0])
    assert target_masses(masses, rho=0.3).tolist() == [100, 40, 30, 0]
    # E(n) = (1 - .9^n) / .1: of 100 9.99973, of 40 9.85219, of 10 6.51322; T = m E(100) / E(m)
    np.testing.assert_allclose(target_masses(masses, beta=0.9), [100, 40.59899, 15.35296, 0], rtol=1e-5)
    np.testing.assert_allclose(target_masses(masses, beta=0.0), masses)
    np.testing.assert_allclose(target_masses(masses, beta=1 - 1e-9)[:3], 100, rtol=1e-5)


def test_whole_takes_keep_the_sum_and_are_floor_or_ceiling():
    x = np.random.default_rng(0).uniform(0, 4, 500)
    for u in (0.0, 0.3, 0.999):
        n = whole_takes(x, u)
        assert ((n == np.floor(x)) | (n == np.ceil(x))).all()
        assert abs(n.sum() - x.sum()) <= 1
    assert whole_takes(np.full(10, 0.1), 0.0).sum() == 1
    mean = np.mean([whole_takes(x, u) for u in (np.arange(2000) + 0.5) / 2000], axis=0)
    np.testing.assert_allclose(mean, x, atol=1e-3)


def bargain(x, p, deficit):
    """The primal, spelt out: repeats, unneeded mass, and what lacks at the ceiling's price."""
    gain = p.T @ x
    lacking = deficit > 0
    lack = CEILING * np.maximum(deficit - gain, 0)[lacking].sum()
    over = np.maximum(gain - deficit, 0)[lacking].sum() + gain[~lacking].sum()
    return SPREAD / 2 * (x**2).sum() + lack + over


@pytest.mark.parametrize("seed", range(5))
def test_takes_are_the_optimum_of_the_bargain(seed):
    rng = np.random.default_rng(seed)
    p, deficit = rng.dirichlet([0.4] * 3, 12), np.array([0.0, *rng.uniform(0.5, 9, 2)])
    found = expected_takes(p, deficit)
    value = bargain(found.x, p, deficit)

    # the epigraph form for a general solver: x, then s >= deficit - gain and t >= gain - deficit of the two lacking
    def objective(v):
        return SPREAD / 2 * (v[:12] ** 2).sum() + CEILING * v[12:14].sum() + v[14:].sum() + (p.T @ v[:12])[0]

    constraints = [
        {"type": "ineq", "fun": lambda v: v[12:14] - deficit[1:] + (p.T @ v[:12])[1:]},
        {"type": "ineq", "fun": lambda v: v[14:] + deficit[1:] - (p.T @ v[:12])[1:]},
    ]
    bounds = [(0, MOST)] * 12 + [(0, None)] * 4
    best = minimize(objective, np.ones(16), method="SLSQP", bounds=bounds, constraints=constraints, tol=1e-12)
    assert value == pytest.approx(best.fun, abs=1e-3)
    np.testing.assert_allclose(found.x, best.x[:12], atol=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 1.0))
def test_no_label_passes_its_target_but_where_it_is_carried_along(seed, labels, rho):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(rng.uniform(0.05, 1, labels), 200)
    masses = p.sum(axis=0)
    target = target_masses(masses, rho=rho)
    x, theta = expected_takes(p, target - masses)
    reached = masses + p.T @ x
    grown = target > masses
    assert (x >= 0).all()
    assert (x <= MOST).all()
    assert (reached[grown & (theta > -0.99)] <= target[grown & (theta > -0.99)] + 0.5).all()
    assert (reached[grown & (theta < CEILING - 0.01)] >= target[grown & (theta < CEILING - 0.01)] - 0.5).all()
    # only who pays is used: a parent of which too little lacks is not
    assert (p[x > 1e-9][:, grown].sum(axis=1) >= 1 / (1 + CEILING) - 1e-6).all()


def test_certain_utterances_balance_to_the_target():
    p = np.repeat(np.eye(3), [60, 12, 6], axis=0)
    masses = p.sum(axis=0)
    x = expected_takes(p, target_masses(masses, rho=0.5) - masses).x
    np.testing.assert_allclose(masses + p.T @ x, [60, 30, 30], atol=1e-2)
    np.testing.assert_allclose(x[60:72], 18 / 12, atol=1e-3)  # as evenly as can be
    np.testing.assert_allclose(x[72:], 24 / 6, atol=1e-3)


@pytest.mark.parametrize(
    ("rho", "beta", "said"),
    [
        (0, None, r"rho is 0; expected a share of the largest class, above 0 and at most 1"),
        (float("nan"), None, "rho is nan"),
        (0.3, 1.0, "beta is 1; expected 0 or more and below 1"),
        (0.3, -0.1, "beta is -0.1"),
    ],
)
def test_options_out_of_range_are_refused(rho, beta, said):
    with pytest.raises(OptionError, match=said):
        balance.check_options(rho=rho, beta=beta)


# --- what is done to a sound


def test_pitch_and_tempo_are_what_they_say():
    for semitones, tempo in ((1.0, 1.05), (-1.0, 0.95), (0.5, 0.97), (0.0, 1.05), (-0.7, 1.0)):
        sound = perturb(tone(300), Perturbation(semitones, tempo, 0.0), np.random.default_rng(0), librosa)
        assert abs(len(sound) - 32000 / tempo) <= 2
        frequency, power = periodogram(sound, 16000)
        assert frequency[power.argmax()] == pytest.approx(300 * 2 ** (semitones / 12), abs=1.5)
        assert np.abs(sound[2000:-2000]).max() == pytest.approx(0.3, rel=0.1)


def test_an_unchanged_sound_is_unchanged_and_gain_is_decibels():
    sound = tone(200)
    np.testing.assert_array_equal(perturb(sound, STILL, np.random.default_rng(0), librosa), sound)
    quiet = perturb(sound, Perturbation(0.0, 1.0, -6.0), np.random.default_rng(0), librosa)
    np.testing.assert_allclose(quiet, sound * 0.5011872, rtol=1e-5)
    loud = perturb(3 * sound, Perturbation(0.0, 1.0, 6.0), np.random.default_rng(0), librosa)
    assert np.abs(loud).max() == pytest.approx(0.999)


def test_noise_has_its_level_and_is_pink():
    sound = tone(200, 4.0)
    noise = with_noise(sound, 20.0, np.random.default_rng(1)) - sound
    assert 10 * np.log10((sound**2).mean() / (noise**2).mean()) == pytest.approx(20, abs=0.01)
    frequency, power = periodogram(noise, 16000)
    octave = [power[(frequency >= f) & (frequency < 2 * f)].sum() for f in (250, 500, 1000, 2000)]
    np.testing.assert_allclose(octave, np.mean(octave), rtol=0.25)  # equal power an octave
    assert not with_noise(np.zeros(100, np.float32), 20.0, np.random.default_rng(1)).any()


def test_a_room_has_its_reverberation_time_and_direct_sound():
    response = room_response(0.3, 9.0, np.random.default_rng(2))
    tail = response[1:]
    assert response[0] == 1
    assert not response[1:40].any()  # 2.5 ms of silence
    assert -10 * np.log10((tail**2).sum()) == pytest.approx(9.0)
    left = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / (tail**2).sum())  # Schroeder's backward integral
    early, late = (np.searchsorted(-left, level) / 16000 for level in (5, 25))
    assert 3 * (late - early) == pytest.approx(0.3, rel=0.15)
    sound = np.random.default_rng(3).normal(0, 0.1, 16000).astype(np.float32)
    wet = in_room(sound, 0.3, 9.0, np.random.default_rng(2))
    assert wet.shape == sound.shape
    assert (wet**2).mean() == pytest.approx((sound**2).mean(), rel=1e-4)


def test_draws_stay_in_their_ranges():
    drawn = [draw_perturbation(np.random.default_rng(i)) for i in range(300)]
    assert all(abs(d.pitch_semitones) <= 1 and 0.95 <= d.tempo <= 1.05 and abs(d.gain_db) <= 6 for d in drawn)
    assert all(15 <= d.snr_db <= 30 for d in drawn if d.snr_db is not None)
    assert all((d.room_rt60 is None) == (d.room_direct_db is None) for d in drawn)
    assert 100 < sum(d.snr_db is None for d in drawn) < 200
    assert 100 < sum(d.room_rt60 is None for d in drawn) < 200


def test_sounds_are_written_twenty_times_faster_than_they_last(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus", seconds=4.0)
    items = [
        NewUtterance(f"n{i}", 0, i % 10, i % 10, 0.0, i, draw_perturbation(np.random.default_rng(i))) for i in range(12)
    ]
    (tmp_path / "warm").mkdir()
    write_sounds(corpus, items[:2], tmp_path / "warm")
    (tmp_path / "out").mkdir()
    start = time.process_time()
    rows = write_sounds(corpus, items, tmp_path / "out")
    ratio = sum(row["duration"] for row in rows) / (time.process_time() - start)
    assert ratio > 20


# --- the fused corpus


def test_takes_have_one_parent_its_voice_words_and_distribution(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    fused = fuse(corpus, strategy="dime-aug", blend="human", rho=0.7, out=tmp_path / "fused", seed=4)
    row_of = {name: i for i, name in enumerate(fused.corpus.ids)}
    # mass: a 10 + 1/3, b 2 2/3; target .7 * 10 1/3 = 7.233, so 4.567 takes' worth
    details = fused.info.parameters["dime-aug"]
    assert details["mass"] == pytest.approx({"a": 31 / 3, "b": 8 / 3}, abs=1e-6)
    assert details["target"] == pytest.approx({"a": 31 / 3, "b": 7.2333333}, abs=1e-6)
    assert details["reached"]["b"] == pytest.approx(7.2333, abs=1)
    new = made(fused)
    assert len(new) == fused.info.counts["new"] >= 4
    for row in new:
        (parent,) = row["parents"]
        i = corpus.ids.index(parent)
        assert parent in ("b0", "b1", "b2")
        assert (row["split"], row["speaker"], row["alpha"]) == ("train", f"s-{parent}", None)
        assert row["transcript"] == (None if parent == "b2" else f"Words of {parent}!")
        place = row_of[row["utterance_id"]]
        np.testing.assert_array_equal(fused.distributions[place], fused.distributions[row_of[parent]])
        assert fused.effective_votes[place] == fused.effective_votes[row_of[parent]]
        assert abs(row["pitch_semitones"]) <= 1
        assert len(utterance_audio(fused.corpus, place)) == pytest.approx(
            len(utterance_audio(corpus, i)) / row["tempo"], abs=2
        )
    assert len({row["seed"] for row in new}) == len(new)
    assert len({row["content_hash"] for row in new}) == len(new)
    parents = [row for row in fused.corpus.utterances.to_pylist() if not row["parents"]]
    assert all(row["pitch_semitones"] is None and row["seed"] is None for row in parents)
    assert fused.corpus.votes.num_rows == corpus.votes.num_rows
    shares = fused.info.shares
    assert shares["augmented"]["b"] > shares["fused"]["b"]
    assert shares["augmented"]["b"] == pytest.approx(
        details["reached"]["b"] / sum(details["reached"].values()), abs=1e-6
    )


def test_the_order_of_rows_changes_nothing_and_the_seed_does(tmp_path):
    pedigrees = []
    for reverse, seed in ((False, 0), (True, 0), (False, 1)):
        corpus = tone_corpus(tmp_path / f"corpus{reverse}{seed}", reverse=reverse)
        out = tmp_path / f"fused{reverse}{seed}"
        new = made(fuse(corpus, strategy="dime-aug", blend="human", rho=0.9, out=out, seed=seed))
        pedigrees.append([(r["utterance_id"], r["parents"], r["seed"], r["content_hash"]) for r in new])
    assert pedigrees[0] == pedigrees[1] != pedigrees[2]


def test_one_utterance_of_a_label_gives_ten_takes_at_most_and_a_warning(tmp_path):
    votes = {name: vote for name, vote in VOTES_OF.items() if name not in ("b1", "b2")}
    votes |= {f"c{i}": "aa" for i in range(20)}
    corpus = tone_corpus(tmp_path / "corpus", votes_of=votes)
    fused = fuse(corpus, strategy="dime-aug", blend="human", rho=1.0, out=tmp_path / "fused")
    assert [row["parents"] for row in made(fused)] == [["b0"]] * MOST
    assert (
        "'b' was to grow from an expected mass of 1.0 to 30.0 utterances and reaches 11.0: a parent gives 10 takes at "
        "most" in fused.info.warnings[-1]
    )


def test_a_label_without_mass_is_told(tmp_path):
    votes = dict.fromkeys(VOTES_OF, "aa")
    fused = fuse(
        tone_corpus(tmp_path / "corpus", votes_of=votes), strategy="dime-aug", blend="human", out=tmp_path / "fused"
    )
    assert fused.info.counts["new"] == 0
    assert "no train utterance has any mass of b, so there is nothing to grow from" in fused.info.warnings


def test_a_parent_without_sound_is_replaced_and_listed(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    (corpus.path / "audio" / "b0.wav").unlink()
    fused = fuse(corpus, strategy="dime-aug", blend="human", rho=0.7, out=tmp_path / "fused")
    assert [failure["utterance_id"] for failure in fused.info.failures] == ["b0"]
    assert "b0.wav is missing" in fused.info.failures[0]["reason"]
    assert {row["parents"][0] for row in made(fused)} <= {"b1", "b2"}
    assert fused.info.parameters["dime-aug"]["reached"]["b"] == pytest.approx(7.2333, abs=1)


def test_without_any_sound_nothing_is_made_and_all_is_told(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus")
    for sound in (corpus.path / "audio").iterdir():
        sound.unlink()
    fused = fuse(corpus, strategy="dime-aug", blend="human", rho=1.0, out=tmp_path / "fused")
    assert fused.info.counts["new"] == 0
    assert {failure["utterance_id"] for failure in fused.info.failures} == {"b0", "b1", "b2"}
    assert any(warning.endswith("parents whose sound cannot be read: 3") for warning in fused.info.warnings)


def test_without_librosa_the_install_line_is_given(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "librosa", None)
    with pytest.raises(
        OptionError, match=r"needs librosa for its perturbations.* run: pip install 'serann\[augment\]'"
    ):
        fuse(tone_corpus(tmp_path / "corpus"), strategy="dime-aug", blend="human", out=tmp_path / "fused")


def test_turns_of_one_speaker_can_be_joined(tmp_path):
    corpus = tone_corpus(tmp_path / "corpus", speaker_of=lambda name: "one" if name in ("b0", "b1") else name)
    fused = fuse(corpus, strategy="dime-aug", blend="human", rho=0.9, concatenate=True, out=tmp_path / "fused", seed=2)
    row_of = {name: i for i, name in enumerate(fused.corpus.ids)}
    joined = [row for row in made(fused) if len(row["parents"]) == 2]
    assert joined
    for row in made(fused):
        if len(row["parents"]) == 1:
            assert row["parents"] == ["b2"]  # its speaker has no other turn
            continue
        assert set(row["parents"]) == {"b0", "b1"}
        first, second = (len(utterance_audio(corpus, corpus.ids.index(name))) for name in row["parents"])
        assert row["alpha"] == pytest.approx(second / (first + second))
        assert row["duration"] * 16000 == pytest.approx((first + second) / row["tempo"], abs=2)
        p, q = (fused.distributions[row_of[name]] for name in row["parents"])
        np.testing.assert_allclose(
            fused.distributions[row_of[row["utterance_id"]]], (first * p + second * q) / (first + second), atol=1e-9
        )
        assert row["transcript"] == " ".join(f"Words of {name}!" for name in row["parents"])
    assert fused.info.parameters["dime-aug"]["concatenate"] is True


def test_options_of_the_other_form_are_refused(tmp_path):
    corpus, out = tone_corpus(tmp_path / "corpus"), tmp_path / "fused"
    with pytest.raises(OptionError, match="--beta and --concatenate belong to --dime serann"):
        fuse(corpus, strategy="dime-aug", dime="paper", beta=0.9, blend="human", out=out)
    with pytest.raises(OptionError, match="--neighbours and --true-neighbours belong to --dime paper"):
        fuse(corpus, strategy="dime-aug", neighbours=5, blend="human", out=out)
    assert not out.exists()


def test_an_undivided_corpus_is_refused(tmp_path):
    tone_corpus(tmp_path / "corpus")
    undivided = tone_corpus(tmp_path / "plain", divided=False)
    with pytest.raises(CorpusError, match="serann corpus holdout"):
        fuse(undivided, strategy="dime-aug", blend="human", out=tmp_path / "fused")
    assert open_corpus(tmp_path / "corpus").info.division is not None
