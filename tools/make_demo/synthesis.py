"""Simulated speech with espeak-ng: voices, and emotions realised in pitch, range, rate, contour and voice quality.

A voice is an espeak-ng variant file of our own (base pitch, formants, spectral tilt, breath, …); an emotion moves
those parameters; an ambiguous utterance lies between the parameters of two emotions. Absolute loudness is
realised too, but a log-mel that is normalised per clip loses it, so no emotion rests on it alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from serann.data.errors import SerannError
from serann.data.seeds import rng_from

SAMPLE_RATE = 16000
ESPEAK_RATE = 22050
MAX_SECONDS = 2.9
ACCENTS = ("en-us", "en-us-nyc", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")

# What an emotion does to a voice: pitch and rise in semitones, range and rate as log2 factors, tilt from dark (-1)
# to bright (+1), smile in steps of 8 % of the formants, breath and rough from 0 to 1, tremor in espeak-ng's flutter
# units, gap in 10 ms between words, level in dB.
PARAMETERS = ("pitch", "range", "rate", "rise", "tilt", "smile", "breath", "rough", "tremor", "gap", "level")
EMOTIONS: Mapping[str, Mapping[str, float]] = {
    "neutral": {},
    "happy": {"pitch": 6, "range": 1.5, "rate": 0.2, "rise": 2, "tilt": 0.4, "smile": 1.5, "level": 3},
    "angry": {"pitch": 1, "range": 0.3, "rate": 0.35, "rise": -6, "tilt": 1.2, "rough": 1.0, "level": 7},
    "sad": {
        "pitch": -3,
        "range": -1.5,
        "rate": -0.45,
        "rise": -2,
        "tilt": -0.8,
        "smile": -0.3,
        "breath": 0.3,
        "gap": 3,
        "level": -6,
    },
    "fear": {"pitch": 6, "range": -0.7, "rate": 0.4, "tilt": -0.2, "breath": 1.0, "tremor": 25, "level": -2},
    "surprise": {"pitch": 3, "range": 0.4, "rate": -0.1, "rise": 10, "tilt": 0.2, "level": 2},
}
JITTER = {"pitch": 0.5, "range": 0.1, "rate": 0.05, "rise": 0.8, "tilt": 0.1, "smile": 0.1, "breath": 0.06,
          "rough": 0.06, "tremor": 1.5, "gap": 0.3, "level": 1.0}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Voice:
    """A simulated speaker; the same (seed, index) is always the same voice."""

    name: str
    gender: str
    accent: str
    base_hz: float
    pitch_ratio: float
    words_per_minute: float
    formants: tuple[float, ...]
    tilt: float
    breath: float
    rough: float
    expressivity: float


def make_voice(index: int, *, seed: int, prefix: str = "voice") -> Voice:
    """The voice number `index` (from 1) of the family `seed`; odd numbers are female, even ones male."""
    rng = rng_from("voice", seed, index)
    female = index % 2 == 1
    tract = rng.uniform(1.06, 1.19) if female else rng.uniform(0.91, 1.03)
    return Voice(
        name=f"{prefix}-{index:02d}",
        gender="female" if female else "male",
        accent=str(rng.choice(ACCENTS)),
        base_hz=float(rng.uniform(165, 235) if female else rng.uniform(85, 135)),
        pitch_ratio=float(rng.uniform(1.35, 1.55)),
        words_per_minute=float(rng.uniform(168, 192)),
        formants=tuple(float(tract * rng.uniform(0.96, 1.04)) for _ in range(5)),
        tilt=float(rng.uniform(-0.2, 0.2)),
        breath=float(rng.uniform(0.0, 0.15)),
        rough=float(rng.uniform(0.0, 0.15)),
        expressivity=float(rng.uniform(0.85, 1.15)),
    )


def emotion_vector(mix: Mapping[str, float]) -> np.ndarray:
    """The prosody of a mix of emotions: sum over emotions of weight times parameters.

    `mix` maps emotions to weights (their sum is at most 1; the rest is neutral). Returns [len(PARAMETERS)].

    >>> dict(zip(PARAMETERS, emotion_vector({"happy": 0.5}).tolist()))["pitch"]
    3.0
    """
    rows = [[weight * EMOTIONS[emotion].get(name, 0.0) for name in PARAMETERS] for emotion, weight in mix.items()]
    return np.sum(rows, axis=0) if rows else np.zeros(len(PARAMETERS))


def realise(voice: Voice, mix: Mapping[str, float], *, seed: object) -> dict[str, float]:
    """The parameters of one utterance: the mix, scaled by the speaker's expressivity, with a small jitter."""
    rng = rng_from("prosody", seed)
    spread = np.array([JITTER[name] for name in PARAMETERS])
    values = voice.expressivity * emotion_vector(mix) + spread * np.clip(rng.standard_normal(len(spread)), -2, 2)
    return dict(zip(PARAMETERS, values.tolist(), strict=True))


def variant_text(voice: Voice, prosody: Mapping[str, float]) -> str:
    """The espeak-ng voice variant that speaks with this voice and prosody."""
    centre = voice.base_hz * 2 ** (prosody["pitch"] / 12)
    half_range = voice.pitch_ratio ** (0.5 * 2 ** prosody["range"])
    tilt = float(np.clip(voice.tilt + prosody["tilt"], -1.4, 1.4))
    breath = float(np.clip(voice.breath + prosody["breath"], 0, 1.3))
    rough = float(np.clip(voice.rough + prosody["rough"], 0, 1))
    tone = [(600, 150 * 2 ** (-0.4 * tilt)), (1200, 120 * 2 ** (0.3 * tilt)), (2000, 95 * 2 ** (0.8 * tilt)),
            (3000, 85 * 2 ** (1.1 * tilt))]  # fmt: skip
    lines = [
        "language variant",
        f"name {voice.name}",
        f"gender {voice.gender}",
        f"pitch {round(centre / half_range)} {round(centre * half_range)}",
        f"flutter {round(max(0.0, prosody['tremor']) + 1)}",
        f"roughness {round(7 * rough)}",
        "tone " + " ".join(f"{hz} {min(255, round(level))}" for hz, level in tone),
        f"voicing {round(100 - 35 * breath)}",
        "breath " + " ".join(str(round(breath * level)) for level in (4, 14, 18, 18, 14, 10, 6, 4)),
    ]
    smile = 1 + 0.08 * prosody["smile"]
    lines += [f"formant {n} {round(100 * smile * scale)} 100 100" for n, scale in enumerate(voice.formants)]
    return "\n".join(lines) + "\n"


def contour_text(text: str, rise: float) -> str:
    """SSML of a sentence whose pitch glides by `rise` semitones over its second half, word by word."""
    words = text.split()
    onset = len(words) // 2
    marked = []
    for i, word in enumerate(words):
        share = max(0.0, (i + 1 - onset) / (len(words) - onset))
        percent = round(100 * (2 ** (rise * share / 12) - 1))
        marked.append(f'<prosody pitch="{percent:+d}%">{escape(word)}</prosody>' if percent else escape(word))
    return " ".join(marked)


def find_espeak() -> tuple[str, Path]:
    """The espeak-ng program and its data folder; an error with the install line where it is absent."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise SerannError(
            "espeak-ng was not found; making simulated speech needs it (the embedded corpus itself does not): "
            "install it with `apt install espeak-ng`, `brew install espeak-ng` or `dnf install espeak-ng`"
        )
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    folder = Path(version.partition("Data at:")[2].strip())
    if not (folder / "phontab").is_file():
        raise SerannError(
            f"espeak-ng says its data is at {str(folder)!r}, but there is no phontab; reinstall espeak-ng"
        )
    return program, folder


def espeak_version() -> str:
    """The first line of `espeak-ng --version`, without the folder."""
    program, _ = find_espeak()
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return version.partition("Data at:")[0].strip()


@dataclass(frozen=True, slots=True)
class Synthesiser:
    """espeak-ng with a data folder of our own, in which the variants of our voices are written."""

    program: str
    folder: Path

    def speak(self, text: str, voice: Voice, prosody: Mapping[str, float]) -> np.ndarray:
        """float32 mono at 16 kHz, at most MAX_SECONDS long (spoken faster until it fits)."""
        variant = f"v{os.getpid()}"
        path = self.folder / "espeak-ng-data" / "voices" / "!v" / variant
        path.write_text(variant_text(voice, prosody), encoding="utf-8")
        speed = voice.words_per_minute * 2 ** prosody["rate"]
        for _ in range(12):
            options = [
                "-v",
                f"{voice.accent}+{variant}",
                "-s",
                str(round(speed)),
                "-g",
                str(max(0, round(prosody["gap"]))),
            ]
            samples = self._run(options, contour_text(text, prosody["rise"]))
            if len(samples) <= MAX_SECONDS * SAMPLE_RATE:
                return samples
            speed *= 1.07
        raise SerannError(f"{text!r} does not fit into {MAX_SECONDS} s; shorten the sentence")

    def _run(self, options: list[str], ssml: str) -> np.ndarray:
        import soxr

        command = [self.program, "--path", str(self.folder), *options, "-a", "90", "-m", "--stdout", ssml]
        done = subprocess.run(command, capture_output=True, check=False)
        pcm = np.frombuffer(done.stdout[44:], dtype="<i2")
        if done.returncode or not np.any(pcm):
            raise SerannError(f"espeak-ng failed on {ssml!r}: {done.stderr.decode(errors='replace').strip()}")
        return trim_silence(soxr.resample(pcm.astype(np.float32) / 32768, ESPEAK_RATE, SAMPLE_RATE))


@contextmanager
def synthesiser() -> Iterator[Synthesiser]:
    """An espeak-ng ready to speak; its temporary data folder goes when the context ends."""
    program, data = find_espeak()
    with tempfile.TemporaryDirectory(prefix="serann-espeak-") as name:
        own = Path(name) / "espeak-ng-data"
        (own / "voices" / "!v").mkdir(parents=True)
        for entry in data.iterdir():
            if entry.name != "voices":
                (own / entry.name).symlink_to(entry)
        yield Synthesiser(program, Path(name))


def trim_silence(samples: np.ndarray, *, threshold: float = 0.01) -> np.ndarray:
    """Cut what lies before the first and after the last sample louder than `threshold` of the peak."""
    loud = np.flatnonzero(np.abs(samples) > threshold * np.max(np.abs(samples)))
    return samples[loud[0] : loud[-1] + 1]


def record(samples: np.ndarray, *, level: float, seed: object) -> np.ndarray:
    """A simulated recording: the utterance at its level (dB), short silences around it, and room noise."""
    rng = rng_from("room", seed)
    before, after = (int(SAMPLE_RATE * rng.uniform(0.03, 0.08)) for _ in range(2))
    rms = float(np.sqrt(np.mean(samples**2)))
    scaled = samples * (0.06 * 10 ** (level / 20) / rms)
    padded = np.pad(scaled, (before, after))
    noise = rng.standard_normal(len(padded)) * 0.06 * 10 ** (-rng.uniform(38, 48) / 20)
    return np.clip(padded + noise, -0.99, 0.99).astype(np.float32)


def synthesise(engine: Synthesiser, text: str, voice: Voice, mix: Mapping[str, float], *, seed: object) -> np.ndarray:
    """One simulated recording of `text` in `voice` with the emotions of `mix`: float32 mono at 16 kHz."""
    prosody = realise(voice, mix, seed=seed)
    return record(engine.speak(text, voice, prosody), level=prosody["level"], seed=seed)
