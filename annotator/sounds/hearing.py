"""One utterance from its file to model input: read, hashed, resampled, cut if it is too long, and prepared."""

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...data.audio import ROUNDING, TOO_LONG, load_recording, recording_of
from ...data.errors import AudioError, OptionError
from ...data.seeds import rng_from

# From mono samples [T] at the engine's rate to whatever its model takes.
FrontEnd = Callable[[np.ndarray], Any]


class Sound(NamedTuple):
    """What an utterance's answers were given to: the file's hash with the segment, and its size and time of change.

    `whole_seconds` is how long it is where only a part of it was heard, or windows of it; None if it was not cut.
    `spoken` is the transcript's fingerprint, "" where there is none; None where it was not recorded.
    """

    content: str
    size: int
    mtime_ns: int
    whole_seconds: float | None = None
    spoken: str | None = None


class Job(NamedTuple):
    """One utterance to be heard; without a `path` it has a `problem`. `known` is the file's hash, if it is known.

    What is done with more than `max_seconds` says `too_long` (`data.audio.load_recording`). Reasons of failures call
    the file `name`, so that they are the same wherever the corpus lies (None: its path). `control` says what is heard
    in the place of the utterance's own sound (`controls.CONTROLS`; None: nothing else); in another's voice, the file
    is that of the utterance `voice`. A sound that is no file is a `wave`: its samples and their rate.
    """

    utterance: str
    path: str | None
    start: float | None
    end: float | None
    sample_rate: int
    max_seconds: float
    known: Sound | None = None
    problem: str | None = None
    too_long: str = "reject"
    name: str | None = None
    control: str | None = None
    voice: str | None = None
    wave: tuple[np.ndarray, int] | None = None

    @property
    def mark(self) -> str:
        """What a sound's fingerprint says of the control; nothing where there is none."""
        return "" if self.control is None else f"#{self.control}{'' if self.voice is None else f':{self.voice}'}"


class Windows(NamedTuple):
    """A sound that was cut: what the front end made of each window, and the seconds of each."""

    prepared: tuple[Any, ...]
    seconds: tuple[float, ...]


class Heard(NamedTuple):
    """An utterance made ready: what the front end made of it, or why there is nothing (`failure`), and its file.

    `prepared` is `Windows` if it was cut into several; `seconds` are those that are heard.
    """

    utterance: str
    prepared: Any
    failure: str | None
    sound: Sound | None
    seconds: float = 0.0


def unchanged(wave: np.ndarray) -> np.ndarray:
    """The front end of an engine that takes samples as they are."""
    return wave


def hear(job: Job, frontend: FrontEnd = unchanged) -> Heard:
    """Read one utterance and prepare it; an `AudioError`, or whatever the front end raises, becomes its failure."""
    return prepare(_read(job), frontend)


def prepare(read: Heard, frontend: FrontEnd) -> Heard:
    """Let the front end make model input of the samples."""
    if read.failure is not None:
        return read
    sound = read.prepared
    try:
        if isinstance(sound, Windows):
            return read._replace(prepared=sound._replace(prepared=tuple(map(frontend, sound.prepared))))
        return read._replace(prepared=frontend(sound))
    except Exception as error:  # a library's own code, on a sound that it may never have met
        told = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")
        return read._replace(prepared=None, failure=f"the model's front end cannot take this sound ({told})")


def first_window(heard: Heard) -> Heard:
    """An utterance's first window alone, for who only looks; the utterance itself where it was not cut."""
    cut = heard.prepared
    return heard._replace(prepared=cut.prepared[0], seconds=cut.seconds[0]) if isinstance(cut, Windows) else heard


def _read(job: Job) -> Heard:
    sound = None
    limits: dict[str, Any] = {
        "sample_rate": job.sample_rate,
        "max_seconds": job.max_seconds,
        "too_long": job.too_long,
    }
    try:
        if job.wave is not None:
            found = recording_of(*job.wave, **limits)
        elif job.path is None:
            return Heard(job.utterance, None, job.problem or "no audio", None)
        else:
            sound = fingerprint_sound(job.path, job.start, job.end, job.known, mark=job.mark)
            found = load_recording(job.path, start=job.start, end=job.end, name=job.name, **limits)
    except AudioError as error:
        return Heard(job.utterance, None, str(error), sound)
    windows = replaced(found.windows, job.control, job.utterance)
    first, several = windows[0], len(windows) > 1
    cut = several or found.whole > job.max_seconds + ROUNDING
    sound = None if sound is None else sound._replace(whole_seconds=found.whole if cut else None)
    heard = Windows(windows, found.seconds) if several else first
    return Heard(job.utterance, heard, None, sound, sum(found.seconds))


def replaced(windows: tuple[np.ndarray, ...], control: str | None, utterance: str) -> tuple[np.ndarray, ...]:
    """What a control lets the model hear instead of samples, window by window, as long as they are.

    `silence` and `transcript-only`: zeros. `noise`: white Gaussian noise whose root mean square is that of all that is
    heard of the utterance, seeded by its id. Else the samples themselves (another's voice is another file).
    """
    if control in ("silence", "transcript-only"):
        return tuple(np.zeros_like(window) for window in windows)
    if control != "noise":
        return windows
    rng, size = rng_from("noise", utterance), sum(len(window) for window in windows)
    loudness = np.sqrt(sum(float(np.square(window, dtype=np.float64).sum()) for window in windows) / size)
    noise = [rng.standard_normal(len(window)) for window in windows]
    scale = loudness / np.sqrt(sum(float(np.square(part).sum()) for part in noise) / size)
    return tuple((scale * part).astype(np.float32) for part in noise)


def fingerprint_sound(
    path: str, start: float | None, end: float | None, known: Sound | None = None, *, mark: str = ""
) -> Sound | None:
    """What the file and the segment are; read only if size or time of change differ from `known`. None if unreadable.

    `content` is the SHA-256 of the file's bytes, followed by the segment's ends and a control's `mark`.
    """
    segment = "" if start is None and end is None else f"#{start or 0:g}-{'' if end is None else format(end, 'g')}"
    segment += mark
    try:
        found = os.stat(path)
        if known is not None and (known.size, known.mtime_ns) == (found.st_size, found.st_mtime_ns):
            return known._replace(content=known.content.partition("#")[0] + segment)
        if not stat.S_ISREG(found.st_mode):
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    return Sound(f"sha256:{digest}{segment}", found.st_size, found.st_mtime_ns)


# --------------------
# How much of an utterance is heard, and what is done with a longer one: part of what a run is.

# Sounds below this are refused as too short, so nothing is cut to less.
LEAST_SECONDS = 0.1


class Duration(NamedTuple):
    """At most so many `seconds` are heard at once; `too_long` (`reject`, `truncate`, `windows`) is done with more."""

    seconds: float
    too_long: str


def check_duration(max_seconds: float | None, too_long: str, mode: str) -> None:
    """Refuse with `OptionError` what no model could be asked."""
    if too_long not in TOO_LONG:
        raise OptionError(f"unknown policy '{too_long}' for utterances that are too long; expected {_listed(TOO_LONG)}")
    if too_long == "windows" and mode != "exact":
        raise OptionError(
            f"windows in mode {mode}: answers in words have no mean over windows; use --mode exact, or "
            "--too-long truncate"
        )
    # A window is longer than half of the most that it may be.
    least = 2 * LEAST_SECONDS if too_long == "windows" else LEAST_SECONDS
    if max_seconds is not None and not least <= max_seconds < float("inf"):
        raise OptionError(
            f"{max_seconds:g} seconds of an utterance at most; expected at least {least:g}, with --too-long {too_long}"
        )


def duration_for(max_seconds: float | None, too_long: str, hears: float) -> Duration:
    """The policy with a model that `hears` so many seconds; `OptionError` if more were to be heard."""
    if max_seconds is not None and max_seconds > hears:
        raise OptionError(
            f"{max_seconds:g} seconds of an utterance at most, and the model hears {hears:g}; give --max-seconds "
            f"{hears:g} or less, or leave it out"
        )
    return Duration(float(hears if max_seconds is None else max_seconds), too_long)


def duration_identity(duration: Duration, hears: float) -> Mapping[str, Any]:
    """What a run's identity has to hold of the policy: nothing of the usual one, which runs had before there were any.

    `identity.USUALLY` names what is not said.
    """
    found: dict[str, Any] = {} if duration.too_long == "reject" else {"too_long": duration.too_long}
    return found if duration.seconds == hears else {**found, "max_seconds": duration.seconds}


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
