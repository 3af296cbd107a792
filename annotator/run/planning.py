"""What a run will cost, before it is made: utterances, sound, tokens, time and memory from a measured probe."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...data.errors import OptionError
from ..engines.base import TokenCounter
from ..engines.memory import memory_of
from ..sounds.hearing import Heard
from .asking import Ready
from .identity import check_identity
from .ledger import Batch
from .place import check_place
from .segments import Readers, Results
from .session import Known, Session
from .tables import read_results

# The probe asks at most this many utterances of a batch; a GPU's memory shows only at the full batch.
PROBE = 4
GIGABYTE = 1e9


class Estimate(NamedTuple):
    """What is still to be done, and what it takes; `tokens` is None where the engine does not count them.

    `within_hours` are the utterances that `max_hours` suffice for (None: no such limit).
    """

    utterances: int
    answered: int
    hours_of_audio: float
    unknown_durations: int
    batches: int
    batch_size: int
    batch_seconds: float | None
    questions: int
    tokens: int | None
    hours: float
    memory_gb: float
    probed: int
    device: str
    within_hours: int | None = None


class Reading:
    """The results of a run that is only looked at, in the place of its ledger."""

    def __init__(self, results: Results, raters: Sequence[str]):
        self.results, self._raters = results, raters

    def open_batches(self) -> list[Batch]:
        return []

    def drop(self, ids: Sequence[str]) -> None:
        self.results.drop(ids)

    def drop_readers(self, ids: Sequence[str], readers: Readers) -> None:
        self.results.drop_readers(ids, readers, self._raters)


def read_only(path: Path | None, ready: Ready) -> Reading:
    """What the run at `path` holds in its tables; nothing if there is none. Nothing is written, and no lock taken.

    Raises `OutputError` as `annotate` would, were it another run.
    """
    results = Results(len(ready.listening.raters), len(ready.listening.labels))
    former = None if path is None else check_place(path)
    if path is not None and former is not None:
        check_identity(path, former, ready.info)
        read_results(path, ready.listening, results)
    return Reading(results, [item.rater for item in ready.listening.raters])


def estimate(session: Session, ledger: Known, *, max_hours: float | None = None) -> Estimate:
    """Measure a batch of the longest utterances and one of the middle ones, and extrapolate to the plan.

    A batch of n utterances as long as its longest, l seconds, is taken to need n (a + b l) seconds; a and b from the
    two measured batches. Memory is the peak after the longest batch, which the plan asks first.
    """
    missing = session.questions.missing(ledger.results, retry=True)
    batches = session.grouped(missing)
    durations = session.sounds.seconds(missing)
    rates, probed, memory = _probe(session, ledger, batches)
    longest = np.array([session.sounds.seconds(batch).max() for batch in batches])
    sizes = np.array([len(batch) for batch in batches], dtype=float)
    taken = sizes * (rates[0] + rates[1] * longest)
    # A session begins no batch after its time, and finishes the one it is at.
    begun = np.cumsum(taken) - taken < 3600 * (np.inf if max_hours is None else max_hours)
    asked = [(utterance, [q for q in session.questions.of(utterance) if q is not None]) for utterance in missing]
    tokens = None
    if isinstance(session.engine, TokenCounter):
        count, windows = session.engine.count_tokens, session.sounds.windows(missing)
        tokens = sum(
            int(n) * int(count(float(s) / n, own)) for s, n, (_, own) in zip(durations, windows, asked, strict=True)
        )
    return Estimate(
        utterances=len(missing),
        answered=len(session.questions.wanted()) - len(missing),
        hours_of_audio=float(durations.sum()) / 3600,
        unknown_durations=session.sounds.unknown_durations(missing),
        batches=len(batches),
        batch_size=session.batch_size,
        batch_seconds=session.batch_seconds,
        questions=sum(len(own) for _, own in asked),
        tokens=tokens,
        hours=float(taken.sum()) / 3600,
        memory_gb=memory / GIGABYTE,
        probed=probed,
        device=session.engine.device,
        within_hours=None if max_hours is None else int(sizes[begun].sum()),
    )


def _probe(session: Session, ledger: Known, batches: Sequence[Sequence[str]]) -> tuple[tuple[float, float], int, int]:
    """Seconds an utterance and a second of sound, how many utterances were asked, and the peak of memory."""
    memory = memory_of(session.engine)
    if not batches:
        return (0.0, 0.0), 0, memory.peak()
    most = None if memory.total else PROBE
    memory.reset()
    measured = []
    for batch in (batches[len(batches) // 2][:most], batches[0][:most]):
        heard = [item for item in map(session.hear, batch) if item.failure is None]
        if heard:
            measured.append(_measure(session, ledger, heard))
    if not measured:
        raise OptionError("none of the utterances that were to be probed can be heard; see serann annotate's failures")
    middle, long = measured[0], measured[-1]
    slope = max(0.0, (long[0] - middle[0]) / (long[1] - middle[1])) if long[1] > 1.05 * middle[1] else 0.0
    constant = max(0.0, long[0] - slope * long[1])
    return (constant, slope), sum(int(item[2]) for item in measured), memory.peak()


def _measure(session: Session, ledger: Known, heard: Sequence[Heard]) -> tuple[float, float, int]:
    """Seconds an utterance, the longest sound, and the number of utterances; asked twice, the first to warm up."""
    session.answers(ledger, heard[:1])
    clock = time.perf_counter()
    session.answers(ledger, heard)
    seconds = (time.perf_counter() - clock) / len(heard)
    return seconds, max(item.seconds for item in heard), len(heard)
