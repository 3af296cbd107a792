"""One session of a run: asks what is not yet answered, batch by batch, into the ledger, and counts where time goes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data.errors import SerannError
from ..engines.base import Engine, Reason
from ..engines.memory import fit_to_memory, if_it_fits, memory_in_a_sentence, memory_of
from ..listener import Answered, ask
from ..sounds.corpus_sounds import CorpusSounds
from ..sounds.decoding import Decoders
from ..sounds.hearing import Heard, first_window, hear
from .asking import Ready
from .ledger import Batch, Ledger
from .open_questions import OpenQuestions, Questions
from .segments import Failed, Readers, Results, Unit
from .selfcheck import WINDOW, Endurance

# On a CPU larger batches pad more and gain nothing; a GPU, whose memory they are to fill, wants work.
BATCH_SIZE = {"cpu": 8, "gpu": 256}
# Seconds of sound (padded) in a batch on a CPU: the activations of two minutes take about a gigabyte in a 7B model.
CPU_SECONDS = 120.0
# From this many utterances on, processes that decode are worth their start (`decoding` says what it takes).
MANY = 200
TOO_LARGE = (
    "{seconds:.1f} s of sound do not fit into the memory of {device}; use a smaller --batch-size or fewer raters"
)


def batch_limits(engine: Engine, batch_size: int | None) -> tuple[int, float | None]:
    """How many utterances, and padded seconds of sound, a batch holds at most before anything is measured."""
    size = batch_size or BATCH_SIZE["gpu" if memory_of(engine).total else "cpu"]
    return size, CPU_SECONDS if batch_size is None and engine.device == "cpu" else None


class Status(NamedTuple):
    """How far a session is: utterances (durable ones alone count), failures, and where the time went."""

    done: int
    total: int
    failures: int
    seconds: float
    per_second: float
    seconds_left: float | None
    device_share: float


Watch = Callable[[Status], None]
Progress = Callable[[int, int], None]
Monitoring = Callable[[Sequence[Answered]], None]


class Tally:
    """Counts a session's units from its start on."""

    def __init__(self) -> None:
        self.started, self._clock = datetime.now(UTC), time.perf_counter()
        self.counted, self.failed, self.total = 0, 0, 0
        self._before, self._model_seconds = 0, 0.0

    @property
    def seconds(self) -> float:
        """Since the session began."""
        return time.perf_counter() - self._clock

    @property
    def remaining(self) -> int:
        """Utterances of this session's plan that are neither answered nor failed."""
        return self.total - min(self._before + self.counted, self.total)

    def begin(self, *, open_ones: int, total: int) -> None:
        """Say how much there is to be done, of how much in all."""
        self._before, self.total = total - open_ones, total

    def count(self, unit: Unit) -> None:
        """Count a unit that is durable."""
        self.counted += len(unit.ids) + len(unit.failures)
        self.failed += len(unit.failures)

    @contextmanager
    def model_at_work(self) -> Iterator[None]:
        """Count the time as the model's."""
        clock = time.perf_counter()
        try:
            yield
        finally:
            self._model_seconds += time.perf_counter() - clock

    def status(self) -> Status:
        seconds, remaining = self.seconds, self.remaining
        rate = self.counted / seconds
        left = remaining / rate if rate else None
        share = self._model_seconds / seconds
        return Status(self.total - remaining, self.total, self.failed, seconds, rate, left, share)


def watching(progress: Progress | None, watch: Watch | None) -> Watch:
    """One watcher for both: `progress` wants done and total alone."""

    def both(status: Status) -> None:
        if progress is not None:
            progress(status.done, status.total)
        if watch is not None:
            watch(status)

    return both


class Known(Protocol):
    """What a session reads of a ledger: all that is known, and what an earlier session left open."""

    @property
    def results(self) -> Results: ...
    def open_batches(self) -> list[Batch]: ...
    def drop(self, ids: Sequence[str]) -> None: ...
    def drop_readers(self, ids: Sequence[str], readers: Readers) -> None: ...


class Session:
    """Plans, asks and counts. After `most_failures` utterances in a row on which the model failed it stops the run.

    What a caller may read: `changed` and `reworded` (utterances whose sound or transcript is another one than was
    answered), `batch_size` and `batch_seconds` (what a batch holds at most).
    """

    def __init__(
        self,
        ready: Ready,
        *,
        workers: int = 2,
        max_hours: float | None = None,
        most_failures: int = WINDOW,
        watch: Watch = lambda status: None,
    ):
        self.ready, self.engine = ready, ready.engine
        self._workers, self._max_hours, self._watch = workers, max_hours, watch
        self.sounds = CorpusSounds(ready.corpus, ready.engine, ready.duration, ready.asking.control)
        self.questions = OpenQuestions(ready)
        self.tally = Tally()
        self.changed: list[str] = []
        self.reworded: list[str] = []
        self._endurance = Endurance(most_failures)
        self._monitor: Monitoring | None = None
        self._asked_ids: set[str] = set()
        self._not_in_corpus, self._halvings = 0, 0
        self._memory = memory_of(self.engine)
        self.batch_size, self.batch_seconds = batch_limits(self.engine, ready.asking.batch_size)

    def forget_changed(self, ledger: Known) -> None:
        """Drop what was answered to a sound that has changed since, or to other words: what comes first in a session.

        An utterance that is no longer in the corpus keeps its answers, and is counted.
        """
        known = {*ledger.results.answered(), *ledger.results.failed}
        self._not_in_corpus = sum(utterance not in self.sounds for utterance in known)
        self.changed = self.sounds.changed(ledger.results)
        if self.changed:
            ledger.drop(self.changed)
        readers, reworded = self.questions.readers, self.questions.reworded(ledger.results)
        if reworded and any(readers):
            self.reworded = reworded
            ledger.drop_readers(reworded, readers)

    def fit_batches(self, ledger: Known) -> None:
        """Let batches fill a GPU's memory, measured with the longest utterances that are to be asked.

        Elsewhere, and with a batch size that was asked for, they stay as they are. Where nothing can be measured they
        have no budget of seconds: then halving on out-of-memory has to find it.
        """
        if not self._memory.total or self.ready.asking.batch_size is not None:
            return
        missing = self.questions.missing(ledger.results, retry=False)
        longest = sorted(missing, key=lambda utterance: -self.sounds.seconds([utterance])[0])[:8]
        heard = [item for item in (first_window(self.hear(name)) for name in longest) if item.failure is None]
        if not heard:
            return

        def ask_of(count: int) -> float:
            batch = [heard[i % len(heard)] for i in range(count)]
            self.answers(ledger, batch, at_once=True)
            return count * max(item.seconds for item in batch)

        self.answers(ledger, heard[:1])
        self.batch_seconds = fit_to_memory(ask_of, self._memory, most=self.batch_size)

    def run(self, ledger: Ledger, *, monitor: Monitoring | None = None) -> None:
        """Finish the plan that is open, then plan and ask whatever is missing.

        Failures of earlier sessions are tried again; a session that takes up an unfinished one is part of it.
        `monitor` is shown every batch's answers, and may raise to stop the run.
        """
        self._monitor = monitor
        retry = not ledger.resumed
        batches = ledger.open_batches()
        planned = {utterance for batch in batches for utterance in batch.ids}
        missing = self.questions.missing(ledger.results, retry=retry)
        open_ones = len(planned | set(missing))
        self.tally.begin(open_ones=open_ones, total=len(planned | set(self.questions.wanted())))
        self._report()
        with (
            Decoders(self.engine.frontend, workers=self._workers, processes=open_ones >= MANY) as decoders,
            self._telling_what_remains(ledger),
            memory_in_a_sentence(),
        ):
            while batches or missing:
                finished = self._ask_all(ledger, batches or ledger.plan(self.grouped(missing)), decoders)
                ledger.flush()
                if not finished:
                    break
                # What an open plan did not hold comes after it; what failed now waits for the next session.
                batches, missing = [], self.questions.missing(ledger.results, retry=retry)
                missing = [utterance for utterance in missing if utterance not in self._asked_ids]
        self._report()

    def extent(self, ledger: Known) -> int:
        """How many utterances are to be asked now."""
        planned = {utterance for batch in ledger.open_batches() for utterance in batch.ids}
        return len(planned | set(self.questions.missing(ledger.results, retry=False)))

    def sample(self, ledger: Known, count: int) -> tuple[list[str], list[Any], list[Questions]]:
        """Ids, prepared sounds and questions of up to `count` audible utterances, of different lengths, to be asked."""
        missing = self.questions.missing(ledger.results, retry=False)
        looked_at = (first_window(self.hear(utterance)) for utterance in self.sounds.spread(missing, 2 * count))
        heard = [item for item in looked_at if item.failure is None]
        good = heard[:: max(1, len(heard) // count)][:count]
        ids = [item.utterance for item in good]
        return ids, [item.prepared for item in good], [self.questions.of(utterance) for utterance in ids]

    def hear(self, utterance: str) -> Heard:
        """An utterance made ready here and now, for a look before the run."""
        return hear(self.sounds.job(utterance), self.engine.frontend)

    def grouped(self, missing: Sequence[str]) -> list[list[str]]:
        """The batches in which utterances are asked."""
        return self.sounds.batches(missing, self.batch_size, self.batch_seconds)

    def answers(self, ledger: Known, good: Sequence[Heard], *, at_once: bool = False) -> list[Answered]:
        """Ask what is open of utterances that could be heard; `at_once` as in `listener.ask`."""
        if not good:
            return []
        ids = [item.utterance for item in good]
        questions, draws, rated = self.questions.open(ledger.results, ids)
        with self.tally.model_at_work():
            return ask(
                self.engine,
                self.ready.asking.mode,
                [item.prepared for item in good],
                questions,
                panel=self.ready.listening,
                ids=ids,
                draws=draws,
                seed=self.ready.asking.seed,
                attributes=self.ready.attributes,
                rated=rated,
                at_once=at_once,
            )

    def record(self) -> dict[str, Any]:
        """What belongs beside the run and not into its identity."""
        status = self.tally.status()
        return {
            "started": self.tally.started.isoformat(timespec="seconds"),
            "seconds": round(status.seconds, 2),
            "utterances": self.tally.counted - self.tally.failed,
            "failures": self.tally.failed,
            "utterances_per_second": round(status.per_second, 3),
            "model_share": round(status.device_share, 3),
            "batch_size": self.batch_size,
            "batch_seconds": self.batch_seconds,
            "halvings": self._halvings,
            "changed_sounds": len(self.changed),
            "changed_transcripts": len(self.reworded),
            "not_in_corpus": self._not_in_corpus,
            "remaining": self.tally.remaining,
            "device": self.engine.device,
            "corpus": str(self.ready.corpus.path),
            **({} if self.sounds.matched is None else {"voices_matched_by": self.sounds.matched}),
        }

    def _report(self) -> None:
        self._watch(self.tally.status())

    def _ask_all(self, ledger: Ledger, batches: Sequence[Batch], decoders: Decoders) -> bool:
        """Ask the batches in their order; whether there was time for all of them."""
        known = ledger.results.sounds
        here = [batch._replace(ids=tuple(i for i in batch.ids if i in self.sounds)) for batch in batches]
        jobs = ((batch, [self.sounds.job(i, known.get(i)) for i in batch.ids]) for batch in here)
        asked = 0
        with closing(decoders.heard(jobs)) as coming:
            for batch, heard in self._until_time(coming):
                self._ask(ledger, batch, heard)
                self._report()
                asked += 1
        return asked == len(here)

    def _until_time(self, coming: Iterator[tuple[Batch, list[Heard]]]) -> Iterator[tuple[Batch, list[Heard]]]:
        hours = self._max_hours
        while hours is None or self.tally.seconds < 3600 * hours:
            found = next(coming, None)
            if found is None:
                return
            yield found

    @contextmanager
    def _telling_what_remains(self, ledger: Ledger) -> Iterator[None]:
        """Say in what ends the run, an error or Ctrl-C, how many utterances are not durable."""
        try:
            yield
        except (SerannError, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt):
                ledger.flush()
            told = [str(error)] if str(error) else []
            left = f"{self.tally.remaining} of {self.tally.total} utterances remain"
            error.args = ("; ".join([*told, left]),)
            raise

    def _ask(self, ledger: Ledger, batch: Batch, heard: Sequence[Heard]) -> None:
        self._asked_ids.update(batch.ids)
        good = [item for item in heard if item.failure is None]
        failures = {item.utterance: item.failure for item in heard if item.failure is not None}
        answered = if_it_fits(lambda: self.answers(ledger, good, at_once=True))
        if answered is None and len(batch.ids) > 1:
            self._halve(ledger, batch, heard)
            return
        if answered is None:
            told = TOO_LARGE.format(seconds=good[0].seconds, device=self.engine.device)
            answered = [Answered(failure=Reason(told, "model", again=True))]
        self._endurance(answered, [item.utterance in ledger.results.failed for item in good])
        if self._monitor is not None:
            self._monitor(answered)
        sounds = {
            item.utterance: item.sound._replace(spoken=self.questions.spoken(item.utterance))
            for item in heard
            if item.sound is not None
        }
        unit = unit_of(batch, [item.utterance for item in good], answered, failures, ledger.results)
        ledger.finish(unit._replace(sounds=sounds), self.tally.count)

    def _halve(self, ledger: Ledger, batch: Batch, heard: Sequence[Heard]) -> None:
        self._halvings += 1
        by_id = {item.utterance: item for item in heard}
        for half in ledger.halve(batch):
            self._ask(ledger, half, [by_id[utterance] for utterance in half.ids])


def unit_of(
    batch: Batch, ids: Sequence[str], answered: Sequence[Answered], failures: Mapping[str, str], results: Results
) -> Unit:
    """What asking a batch gave, as the ledger takes it; `failures` are those of the sounds."""
    refused = {i: answer.failure.text for i, answer in zip(ids, answered, strict=True) if answer.failure}
    reasons = {**failures, **refused}
    sound = {i: answer for i, answer in zip(ids, answered, strict=True) if answer.failure is None}
    former = results.failed
    scored = [(answer.logp, answer.log_mass) for answer in sound.values()]
    exact = [(logp, log_mass) for logp, log_mass in scored if logp is not None and log_mass is not None]
    return Unit(
        key=batch.key,
        ids=tuple(sound),
        logp=np.array([logp for logp, _ in exact]) if exact else None,
        log_mass=np.array([log_mass for _, log_mass in exact]) if exact else None,
        texts={
            utterance: [(a.listener, a.draw, a.text, a.label, a.reason, a.p) for a in answer.answers]
            for utterance, answer in sound.items()
            if answer.answers
        },
        judged={utterance: list(answer.judged) for utterance, answer in sound.items() if answer.judged},
        failures={
            utterance: Failed(reason, 1 + (former[utterance].attempts if utterance in former else 0))
            for utterance, reason in reasons.items()
        },
    )
