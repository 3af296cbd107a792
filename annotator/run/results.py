"""What a run knows: every answer so far by utterance, the failures, and the sound each answer was given to."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# One text of the modes that generate: listener, draw, text, label, reason, p over the label set (or None).
Text = tuple[str, int, str | None, str | None, str | None, tuple[float, ...] | None]


class Failed(NamedTuple):
    """An utterance without an answer: the last reason, and how often it was tried."""

    reason: str
    attempts: int


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


class Judged(NamedTuple):
    """One judge's answer on an attribute: log P1 of the scale's points (`attributes` says who is a judge).

    `log_mass` is the log-probability of any point at all; None in what an older serann has written.
    """

    judge: str
    dimension: str
    logp: tuple[float, ...]
    log_mass: float | None = None


class Readers(NamedTuple):
    """Those of a panel whose questions hold the transcript: raters, listeners and judges by name."""

    raters: tuple[str, ...]
    listeners: tuple[str, ...]
    judges: tuple[str, ...]


class Unit(NamedTuple):
    """One durable unit: a batch of B utterances with everything that asking it gave.

    `logp` [B, R, K] and `log_mass` [B, R] belong to `ids` and the panel's R raters, NaN where a rater was not asked.
    `failures` hold each utterance's attempts in all, so that a unit can be read twice without counting twice.
    """

    key: str
    ids: Sequence[str] = ()
    logp: np.ndarray | None = None
    log_mass: np.ndarray | None = None
    texts: Mapping[str, Sequence[Text]] = {}
    judged: Mapping[str, Sequence[Judged]] = {}
    failures: Mapping[str, Failed] = {}
    sounds: Mapping[str, Sound] = {}


@dataclass(slots=True)
class Results:
    """All units together. Scores lie in arrays [U, R, K] and [U, R] (float32) that grow by doubling."""

    raters: int
    labels: int
    failed: dict[str, Failed] = field(default_factory=dict)
    sounds: dict[str, Sound] = field(default_factory=dict)
    texts: dict[str, list[Text]] = field(default_factory=dict)
    judged: dict[str, dict[tuple[str, str], Judged]] = field(default_factory=dict)
    _place: dict[str, int] = field(default_factory=dict)
    _logp: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    _log_mass: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def apply(self, unit: Unit) -> None:
        """Take in one unit; where it is silent, what was known stays."""
        if unit.logp is not None and len(unit.ids):
            self.set_scores(unit.ids, unit.logp, np.asarray(unit.log_mass))
        for utterance, texts in unit.texts.items():
            known = {text[:2]: text for text in self.texts.get(utterance, ())}
            self.texts[utterance] = list((known | {text[:2]: text for text in texts}).values())
        for utterance, judged in unit.judged.items():
            self.judged.setdefault(utterance, {}).update({item[:2]: item for item in judged})
        self.sounds.update(unit.sounds)
        for utterance in unit.ids:
            self.failed.pop(utterance, None)
        self.failed.update(unit.failures)

    def drop(self, ids: Iterable[str]) -> None:
        """Forget utterances whose sound has changed: their answers and their failures."""
        for utterance in ids:
            if utterance in self._place:
                self._logp[self._place[utterance]] = np.nan
                self._log_mass[self._place[utterance]] = np.nan
            for known in (self.failed, self.sounds, self.texts, self.judged):
                known.pop(utterance, None)

    def drop_part(
        self, ids: Iterable[str], raters: Sequence[int], listeners: Container[str], judges: Container[str]
    ) -> None:
        """Forget what some of those who were asked have answered on utterances, and failures, which may be theirs."""
        for utterance in ids:
            if utterance in self._place:
                self._logp[self._place[utterance], raters] = np.nan
                self._log_mass[self._place[utterance], raters] = np.nan
            self.texts[utterance] = [text for text in self.texts.get(utterance, ()) if text[0] not in listeners]
            judged = self.judged.get(utterance, {})
            self.judged[utterance] = {key: own for key, own in judged.items() if key[0] not in judges}
            for known in (self.texts, self.judged):
                if not known[utterance]:
                    del known[utterance]
            self.failed.pop(utterance, None)

    def set_scores(self, ids: Sequence[str], logp: np.ndarray, log_mass: np.ndarray) -> None:
        """Store log P1 [U, R, K] and log mass [U, R] of utterances; NaN leaves what is there."""
        self._grow(len(self._place) + len(ids))
        for utterance in ids:
            self._place.setdefault(utterance, len(self._place))
        rows = np.fromiter((self._place[utterance] for utterance in ids), dtype=np.int64, count=len(ids))
        known = np.isnan(log_mass)
        self._logp[rows] = np.where(known[:, :, None], self._logp[rows], logp)
        self._log_mass[rows] = np.where(known, self._log_mass[rows], log_mass)

    def scores(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """log P1 [U, R, K] and log mass [U, R] (float32) of utterances, NaN where nothing is known."""
        rows = np.fromiter((self._place.get(utterance, -1) for utterance in ids), dtype=np.int64, count=len(ids))
        logp = np.full((len(rows), self.raters, self.labels), np.nan, dtype=np.float32)
        log_mass = np.full((len(rows), self.raters), np.nan, dtype=np.float32)
        there = rows >= 0
        if there.any():
            logp[there], log_mass[there] = self._logp[rows[there]], self._log_mass[rows[there]]
        return logp, log_mass

    def answered(self) -> list[str]:
        """Utterances with at least one answer, sorted."""
        if self._place:
            silent = np.isnan(self._log_mass[: len(self._place)]).all(axis=1).reshape(-1)
            found = {utterance for utterance, row in self._place.items() if not silent[row]}
        else:
            found = set()
        return sorted(found | self.texts.keys() | self.judged.keys())

    def cut(self) -> int:
        """How many utterances were too long: answered to a part of their sound, or to windows of it."""
        return sum(s.whole_seconds is not None and name not in self.failed for name, s in self.sounds.items())

    def _grow(self, size: int) -> None:
        have = len(self._logp)
        if size <= have and self._logp.shape[1:] == (self.raters, self.labels):
            return
        room = max(1024, size, 2 * have)
        logp = np.full((room, self.raters, self.labels), np.nan, dtype=np.float32)
        log_mass = np.full((room, self.raters), np.nan, dtype=np.float32)
        if have:
            logp[:have], log_mass[:have] = self._logp, self._log_mass
        self._logp, self._log_mass = logp, log_mass
