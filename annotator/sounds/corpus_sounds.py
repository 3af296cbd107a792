"""Where the sound of each utterance is, how long it lasts, and whether it is still the one that was heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...data.audio import window_count
from ...data.corpus import Corpus
from ...data.errors import CorpusError
from ..panel.controls import other_voices
from .hearing import Duration, Job, Sound, fingerprint_sound

if TYPE_CHECKING:
    from ..engines.base import Engine
    from ..run.segments import Results

# --------------------
# Which utterances are asked together: like with like, and no more sound at once than the memory holds.

# What an utterance of unknown length is taken for.
UNKNOWN_SECONDS = 30.0


def plan_batches(
    rows: Sequence[int],
    durations: np.ndarray,
    size: int,
    *,
    seconds: float | None = None,
    extra: float = 0.0,
    windows: np.ndarray | None = None,
) -> list[list[int]]:
    """Cut `rows` into batches of similar length, longest first: at most `size` sounds, at most `seconds` of sound.

    The longest come first so that a batch too large for the memory shows at once. Sound counts as it is computed: every
    sound of a batch as long as its longest, plus `extra` for its text. `durations` [all utterances] in seconds, NaN
    where unknown (those come last). An utterance is one sound, or as many as it is cut into equal `windows` [all
    utterances]; these stay together, and one utterance is always allowed. Equal input gives equal batches.
    """
    pieces = np.ones(len(durations), dtype=int) if windows is None else windows
    keys = np.nan_to_num(durations, nan=0.0) / pieces
    cost = np.nan_to_num(durations, nan=UNKNOWN_SECONDS) / pieces + extra
    batches: list[list[int]] = []
    longest, held = 0.0, 0
    for row in sorted(rows, key=lambda row: (-keys[row], -pieces[row], row)):
        widest, count = max(longest, float(cost[row])), held + int(pieces[row])
        if not batches or count > size or (seconds is not None and widest * count > seconds):
            batches.append([row])
            longest, held = float(cost[row]), int(pieces[row])
        else:
            batches[-1].append(row)
            longest, held = widest, count
    return batches


NO_VOICE = "no other voice: the corpus does not name this utterance's speaker, so nobody's is known to be another's"


class CorpusSounds:
    """The sounds of a corpus as an engine hears them, no more of each than the policy on `duration` says.

    Under a `control` something else is heard in their place (`controls.CONTROLS`). `matched` counts the utterances
    heard in another's voice by how their words were matched; None under no such control.
    """

    def __init__(self, corpus: Corpus, engine: Engine, duration: Duration, control: str | None = None):
        self._corpus, self._engine, self._duration, self._control = corpus, engine, duration, control
        self.ids = corpus.ids
        voices = other_voices(corpus) if control == "other-voice" else None
        self.matched = None if voices is None else voices.matched
        # The row whose sound is heard, -1 for none.
        self._heard = np.arange(len(self.ids)) if voices is None else voices.rows
        self._row = {utterance: row for row, utterance in enumerate(self.ids)}
        self._starts, self._ends = (corpus.utterances[name].to_pylist() for name in ("start", "end"))
        self._names = corpus.utterances["audio"].to_pylist()
        self._durations = np.asarray(corpus.utterances["duration"].to_numpy(zero_copy_only=False), dtype=float)
        self._durations = np.where(self._heard >= 0, self._durations[self._heard], np.nan)
        if duration.too_long == "truncate":
            self._durations = np.minimum(self._durations, duration.seconds)
        self._windows = np.ones(len(self._durations), dtype=int)
        if duration.too_long == "windows":
            known = np.nan_to_num(self._durations, nan=UNKNOWN_SECONDS)
            self._windows = np.array([window_count(float(seconds), duration.seconds) for seconds in known], dtype=int)

    def __contains__(self, utterance: str) -> bool:
        return utterance in self._row

    def job(self, utterance: str, known: Sound | None = None) -> Job:
        """What a decoder has to do for an utterance."""
        row = int(self._heard[self._row[utterance]])
        rate, (longest, too_long) = self._engine.sample_rate, self._duration
        if row < 0:
            return Job(utterance, None, None, None, rate, longest, known, NO_VOICE, control=self._control)
        try:
            path, problem = str(self._corpus.audio_path(row)), None
        except CorpusError as error:  # no audio named, or a remote address: this utterance's failure
            path, problem = None, str(error)
        start, end, name = self._starts[row], self._ends[row], self._names[row]
        voice = self.ids[row] if self._control == "other-voice" else None
        return Job(utterance, path, start, end, rate, longest, known, problem, too_long, name, self._control, voice)

    def seconds(self, ids: Sequence[str]) -> np.ndarray:
        """Durations of utterances; an unknown one is taken for the longest there may be."""
        return np.nan_to_num(self._durations[self._rows(ids)], nan=UNKNOWN_SECONDS)

    def windows(self, ids: Sequence[str]) -> np.ndarray:
        """Into how many windows each of the utterances is cut, by its stated duration."""
        return self._windows[self._rows(ids)]

    def unknown_durations(self, ids: Sequence[str]) -> int:
        """How many of the utterances have no known duration."""
        return int(np.isnan(self._durations[self._rows(ids)]).sum())

    def spread(self, ids: Sequence[str], count: int) -> list[str]:
        """Up to `count` utterances of different lengths, from the shortest to the longest."""
        ordered = sorted(self._rows(ids), key=lambda row: (self._durations[row], row))
        places = np.unique(np.linspace(0, len(ordered) - 1, count).round().astype(int)) if ordered else []
        return [self.ids[ordered[place]] for place in places]

    def batches(self, ids: Sequence[str], size: int, seconds: float | None) -> list[list[str]]:
        """`plan_batches` of utterances."""
        batches = plan_batches(self._rows(ids), self._durations, size, seconds=seconds, windows=self._windows)
        return [[self.ids[row] for row in batch] for batch in batches]

    def changed(self, results: Results) -> list[str]:
        """Utterances whose sound is not the one that was answered or failed; a file that is away changes nothing.

        A sound that was touched and is the same gets its new time of change in `results`.
        """
        found = []
        for utterance in [*results.sounds, *results.failed.keys() - results.sounds.keys()]:
            job = self.job(utterance) if utterance in self else None
            if job is None or job.path is None:
                continue
            known = results.sounds.get(utterance)
            sound = fingerprint_sound(job.path, job.start, job.end, known, mark=job.mark)
            if sound is not None and (known is None or sound.content != known.content):
                found.append(utterance)
            elif sound is not None and known is not None:
                results.sounds[utterance] = known._replace(size=sound.size, mtime_ns=sound.mtime_ns)
        return found

    def _rows(self, ids: Sequence[str]) -> list[int]:
        return [self._row[utterance] for utterance in ids]
