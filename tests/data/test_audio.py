"""Sound from disk: what is read as what, and one readable sentence for what cannot be."""

import numpy as np
import pytest
import soundfile
from serann.data.audio import load_audio, load_recording
from serann.data.errors import AudioError

RATE = 16000


def tone(seconds=1.0, rate=RATE, hertz=220.0, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.wav", {}, 1e-4),
        ("a24.wav", {"subtype": "PCM_24"}, 1e-6),
        ("af.wav", {"subtype": "FLOAT"}, 1e-7),
        ("ad.wav", {"subtype": "DOUBLE"}, 1e-7),
        ("a8.wav", {"subtype": "PCM_U8"}, 1e-2),
        ("a.flac", {}, 1e-4),
        ("a.ogg", {}, 0.05),
        ("a.mp3", {}, 0.05),
    ],
)
def test_formats(tmp_path, name, options, tolerance):
    samples = tone()
    read = load_audio(write(tmp_path / name, samples, **options))
    assert read.dtype == np.float32
    assert len(read) == len(samples)
    middle = slice(2000, -2000)
    np.testing.assert_allclose(read[middle], samples[middle], atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_other_rates_are_resampled(tmp_path, rate):
    read = load_audio(write(tmp_path / "a.wav", tone(rate=rate), rate, subtype="FLOAT"))
    assert len(read) == RATE
    np.testing.assert_allclose(read[1000:-1000], tone()[1000:-1000], atol=2e-3)


def test_stereo_is_averaged(tmp_path):
    left, right = tone(hertz=200), tone(hertz=300)
    read = load_audio(write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(read, (left + right) / 2, atol=1e-6)


def test_a_segment_is_cut_out_and_must_exist(tmp_path):
    samples = tone(2.0)
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path, start=0.5, end=1.25), samples[8000:20000])
    assert len(load_audio(path, start=1.5, end=2.005)) == 8000  # end rounded up in the table
    with pytest.raises(AudioError, match=r"lasts 2\.00 s and has no segment 1\.5 to 3 s; correct start and end"):
        load_audio(path, start=1.5, end=3)
    with pytest.raises(AudioError, match="no segment"):
        load_audio(path, start=1.0, end=0.5)


def test_a_long_recording_may_hold_a_short_segment(tmp_path):
    path = write(tmp_path / "a.flac", np.zeros(8000 * 600, np.float32), 8000)
    assert len(load_audio(path, start=300, end=301)) == RATE
    with pytest.raises(AudioError, match=r"too long: 600\.0 s, and the model hears at most 30 s; cut it"):
        load_audio(path)


def test_length_limits_are_named(tmp_path):
    with pytest.raises(AudioError, match=r"too short: 0\.02 s, expected at least 0\.1 s"):
        load_audio(write(tmp_path / "a.wav", tone(0.02)))
    with pytest.raises(AudioError, match="hears at most 4 s"):
        load_audio(write(tmp_path / "b.wav", tone(5)), max_seconds=4)
    with pytest.raises(AudioError, match=r"too short: 0\.00 s"):
        load_audio(write(tmp_path / "c.wav", tone(0)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    samples = tone()
    samples[7] = value
    with pytest.raises(AudioError, match="1 of 16000 samples are not finite"):
        load_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT"))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_file_that_was_cut_is_not_scored_on_the_fragment(tmp_path, name):
    path = write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32))
    whole = path.read_bytes()
    for share in (0.9, 0.5, 0.1):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(AudioError, match="truncated"):
            load_audio(path)


def test_a_wav_cut_inside_its_header(tmp_path):
    path = write(tmp_path / "a.wav", tone())
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(AudioError, match="the wav ends before its sound begins"):
        load_audio(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(zero bytes\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "is a Git-LFS pointer.*git lfs pull"),
        (b"<html>not found</html>" * 50, "not audio that can be decoded.*expected wav, flac, mp3 or ogg"),
        (bytes(range(256)) * 8, "not audio that can be decoded"),
    ],
)
def test_files_that_are_no_sound(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        load_audio(path)


def test_missing_and_folders(tmp_path):
    with pytest.raises(AudioError, match=r"b\.wav is missing; expected a sound file"):
        load_audio(tmp_path / "b.wav")
    with pytest.raises(AudioError, match="is a folder"):
        load_audio(tmp_path)


@pytest.mark.parametrize(("rate", "most"), [(RATE, 0.7), (22050, 0.3), (8000, 5.0)])
def test_windows_are_the_sounds_own_segments(tmp_path, rate, most):
    samples = np.random.default_rng(0).normal(0, 0.1, 3 * rate + 7).astype(np.float32)
    path = write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    found = load_recording(path, start=0.25, max_seconds=most, too_long="windows")
    assert len(found.windows) == len(found.seconds) == int(np.ceil(2.75 / most))
    assert sum(found.seconds) == pytest.approx(found.whole) == pytest.approx(2.75, abs=1e-3)
    assert max(found.seconds) - min(found.seconds) <= 1.01 / rate
    start = 0.25
    for window, seconds in zip(found.windows, found.seconds, strict=True):
        np.testing.assert_array_equal(window, load_audio(path, start=start, end=start + seconds))
        start += seconds


def test_a_sound_is_cut_only_where_it_is_too_long(tmp_path):
    path = write(tmp_path / "a.wav", tone(2.005), subtype="FLOAT")
    for policy in ("truncate", "windows"):  # a hundredth over is not too long
        (window,) = load_recording(path, max_seconds=2, too_long=policy).windows
        np.testing.assert_array_equal(window, load_audio(path))
    found = load_recording(path, start=0.5, max_seconds=1, too_long="truncate")
    np.testing.assert_array_equal(found.windows[0], load_audio(path, start=0.5, end=1.5))
    assert found.seconds == (1.0,)
    assert found.whole == pytest.approx(1.505)
    with pytest.raises(AudioError, match=r"^audio/a\.wav is too long: 2\.0 s, and the model hears at most 1 s; cut it"):
        load_recording(path, max_seconds=1, name="audio/a.wav")
