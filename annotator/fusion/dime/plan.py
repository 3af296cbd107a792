"""A plan of new utterances: what each is made of, and the sounds and distributions that two parents give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ....data.audio import ROUNDING, sound_seconds, utterance_audio
from ....data.corpus import Corpus
from ....data.errors import AudioError, CorpusError, OptionError
from ..base import Progress

SAMPLE_RATE = 16_000
PAPER_FORMULA = (
    "x = x_i + alpha (x_j - x_i); P = P_i + alpha (P_j - P_i), renormalised; t = t_i if alpha < 0.5 else t_j; "
    "alpha ~ U(0, 1); i uniform in its class, j among its nearest neighbours; target = floor(rho * largest class)"
)


@dataclass(frozen=True, slots=True)
class Perturbation:
    """What is done to a sound; None where it is not done."""

    pitch_semitones: float
    tempo: float
    gain_db: float
    snr_db: float | None = None
    room_rt60: float | None = None
    room_direct_db: float | None = None

    def columns(self) -> dict[str, float | None]:
        """The parameters by name, as an utterance's row keeps them."""
        return asdict(self)


PARAMETERS = tuple(field.name for field in fields(Perturbation))


class NewUtterance(NamedTuple):
    """One utterance to make: its id, its label's index, its parents' rows in the corpus, alpha, and its seed.

    A take of a single parent has it twice, alpha 0, and the `perturbation` that makes it; joined turns have both, and
    the second's share of the length as alpha.
    """

    utterance_id: str
    label: int
    first: int
    second: int
    alpha: float
    seed: int
    perturbation: Perturbation | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Which utterances to make; sizes of the classes by dominant label [K]; parents that failed; what to tell.

    `described`: sounds read while planning. `formula`: how they are made, by which `form`, of parents of at most
    `max_seconds`. `details`: what the report adds.
    """

    items: tuple[NewUtterance, ...]
    sizes: np.ndarray
    failures: tuple[dict[str, str], ...]
    warnings: tuple[str, ...]
    described: int = 0
    formula: str = PAPER_FORMULA
    details: dict[str, Any] = field(default_factory=dict)
    form: str = ""
    max_seconds: float = 30.0


# --------------------
# Parents and what two of them give.


def parent_sound(corpus: Corpus, i: int, *, max_seconds: float) -> np.ndarray:
    """The sound [T] of utterance i, 16 kHz; AudioError where it cannot be read or lasts more than `max_seconds`."""
    start, end = (corpus.utterances[name][i].as_py() for name in ("start", "end"))
    try:
        path = corpus.audio_path(i)
    except CorpusError as error:
        raise AudioError(str(error)) from None
    whole = start is None and end is None
    seconds = (sound_seconds(path) or 0.0) if whole else float((end or 0.0) - (start or 0.0))
    if seconds > max_seconds + ROUNDING:
        raise AudioError(
            f"{path} lasts {seconds:.1f} s, and a parent at most {max_seconds:g} s; where training "
            "hears more, say so (--max-seconds)"
        )
    return utterance_audio(corpus, i, max_seconds=max_seconds)


def turn_seconds(corpus: Corpus, i: int, *, longest: float = 30.0) -> float:
    """How long utterance i is, by its times, its stated duration or its file; `longest` where nothing tells."""
    start, end, duration = (corpus.utterances[name][i].as_py() for name in ("start", "end", "duration"))
    if start is not None and end is not None:
        return float(end - start)
    return float(duration or sound_seconds(corpus.audio_path(i)) or longest)


def mix_sounds(first: np.ndarray, second: np.ndarray, alpha: float) -> np.ndarray:
    """x_i + alpha (x_j - x_i) at the shorter length; scaled down only where it would clip.

    >>> mix_sounds(np.array([1.0, 0.0]), np.array([0.0, 0.5, 9.0]), 0.5)
    array([0.5 , 0.25])
    """
    length = min(len(first), len(second))
    mixed = first[:length] + alpha * (second[:length] - first[:length])
    peak = np.abs(mixed).max(initial=0.0)
    return mixed * (0.999 / peak) if peak > 0.999 else mixed


def mix_distributions(first: np.ndarray, second: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    """P_i + alpha (P_j - P_i), renormalised; rows [..., K]."""
    mixed = first + np.asarray(alpha)[..., None] * (second - first)
    return mixed / mixed.sum(axis=-1, keepdims=True)


# --------------------
# While it is made.


def load_librosa(what: str = "its audio features") -> ModuleType:
    """Import librosa, or say how to install it and that dime-aug needs it for `what`."""
    try:
        import librosa
    except ImportError as error:
        raise OptionError(
            f"dime-aug needs librosa for {what}, and it is not installed; run: pip install 'serann[augment]'"
        ) from error
    return librosa


def counter(progress: Progress | None, total: int, *, start: int = 0) -> Callable[[], None]:
    """A function that counts one more done each time it is called, from `start`, and tells `progress`."""
    done = start

    def report() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return report
