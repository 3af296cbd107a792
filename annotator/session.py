"""One sitting of a run: asks what is not yet answered, batch by batch, into the ledger."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..data.corpus import Corpus
from ..data.errors import CorpusError, SerannError
from ..prompts.loader import Rendered
from .answering import Answered, Draw, ask
from .attributes import Attributes
from .batching import UNKNOWN_SECONDS, plan_batches
from .compaction import dealt_votes
from .decoding import Heard, Job, fingerprint_sound, hear, heard_batches
from .engines.base import Engine
from .ledger import Batch, Ledger
from .panel import ListeningPanel, asks_anything
from .results import Failed, Results, Sound, Unit

# An utterance that failed this often is listed and left alone.
MAX_ATTEMPTS = 3
# On a CPU larger batches pad more and gain nothing; a GPU wants work.
BATCH_SIZE = {"cpu": 8, "gpu": 256}
# Seconds of sound (padded) in a batch on a CPU: the activations of two minutes take about a gigabyte in a 7B model.
CPU_SECONDS = 120.0
# From this many utterances on, processes that decode are worth their start.
MANY = 200
TOO_LARGE = "{seconds:.1f} s of sound do not fit into the memory of {device}; use a panel with fewer raters"


class Known(Protocol):
    """What a session reads of a ledger: all that is known, and what an earlier session left open."""

    @property
    def results(self) -> Results: ...
    def open_batches(self) -> list[Batch]: ...


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


@dataclass(frozen=True, slots=True)
class Options:
    """How a session asks; nothing here decides what the answers are."""

    mode: str = "exact"
    votes: int = 20
    seed: int = 0
    batch_size: int | None = None
    batch_seconds: float | None = None
    workers: int = 2
    max_hours: float | None = None
    attributes: Attributes | None = None


class Session:
    """Plans, asks and counts. `monitor` is shown every batch's answers, and may raise to stop the run."""

    def __init__(
        self,
        corpus: Corpus,
        listening: ListeningPanel,
        engine: Engine,
        options: Options,
        *,
        watch: Watch = lambda status: None,
    ):
        self._corpus, self._listening, self.engine, self.options = corpus, listening, engine, options
        self._watch = watch
        self.monitor: Callable[[Sequence[Answered]], None] = lambda answered: None
        self.ids = corpus.ids
        self._row = {utterance: row for row, utterance in enumerate(self.ids)}
        self._starts, self._ends = (corpus.utterances[name].to_pylist() for name in ("start", "end"))
        self._transcripts = corpus.utterances["transcript"].to_pylist()
        self.durations = np.asarray(corpus.utterances["duration"].to_numpy(zero_copy_only=False), dtype=float)
        self._render = lru_cache(maxsize=4096)(listening.questions)
        if options.attributes is not None:
            self._rating_questions = lru_cache(maxsize=4096)(options.attributes.questions)
        self._started, self._clock = datetime.now(UTC), time.perf_counter()
        self._before, self._total, self._asked_ids = 0, 0, set[str]()
        self._counted, self._failed, self._model_seconds = 0, 0, 0.0
        self.changed: list[str] = []
        self.halvings = 0
        self.stopped = False
        default = BATCH_SIZE["cpu" if self.on_cpu else "gpu"]
        self.batch_size = options.batch_size or default
        self.batch_seconds = options.batch_seconds
        if self.batch_seconds is None and options.batch_size is None and engine.device == "cpu":
            self.batch_seconds = CPU_SECONDS

    def run(self, ledger: Ledger, limit: int | None) -> None:
        """Finish the plan that is open, then plan and ask whatever is missing among the first `limit` utterances.

        Failures of earlier sessions are tried again; a session that takes up an unfinished one is part of it.
        """
        if hasattr(self.engine, "halves"):
            setattr(self.engine, "halves", False)  # noqa: B010 - not every engine has it
        retry = not ledger.resumed
        self._forget_changed(ledger)
        batches = ledger.open_batches()
        planned = {utterance for batch in batches for utterance in batch.ids}
        missing = self.missing(ledger, limit, retry=retry)
        wanted = self.wanted(limit)
        self._total = len(planned | set(wanted))
        self._before = self._total - len(planned | set(missing))
        self.report()
        while batches or missing:
            if not batches:
                batches = ledger.plan(self.grouped(missing))
            self._ask_all(ledger, batches)
            ledger.flush()
            if self.stopped:
                break
            # What an open plan did not hold comes after it; what failed now waits for the next session.
            batches = []
            missing = [u for u in self.missing(ledger, limit, retry=retry) if u not in self._asked_ids]
        self.report()

    def missing(self, ledger: Known, limit: int | None, *, retry: bool) -> list[str]:
        """Utterances of the first `limit` with an unanswered question, and without a failure that stands."""
        wanted = self.wanted(limit)
        found = []
        for utterance, is_open in zip(wanted, self._open(ledger, wanted), strict=True):
            failed = ledger.results.failed.get(utterance)
            stands = failed is not None and not (retry and failed.attempts < MAX_ATTEMPTS)
            if not stands and (is_open or failed is not None):
                found.append(utterance)
        return found

    def wanted(self, limit: int | None) -> list[str]:
        return [self.ids[row] for row in range(len(self.ids))[:limit] if asks_anything(self.questions(row))]

    def extent(self, ledger: Known, limit: int | None) -> int:
        """How many utterances are to be asked now."""
        planned = {utterance for batch in ledger.open_batches() for utterance in batch.ids}
        return len(planned | set(self.missing(ledger, limit, retry=False)))

    def sample(
        self, ledger: Known, limit: int | None, count: int
    ) -> tuple[list[str], list[np.ndarray], list[list[Rendered | None]]]:
        """Ids, sounds and questions of up to `count` audible utterances of different lengths that are to be asked."""
        missing = self.missing(ledger, limit, retry=False)
        rows = sorted((self._row[utterance] for utterance in missing), key=lambda row: (self.durations[row], row))
        places = np.unique(np.linspace(0, len(rows) - 1, 2 * count).round().astype(int)) if rows else []
        heard = [hear(self.job(rows[place])) for place in places]
        good = [(item.utterance, item.wave) for item in heard if item.wave is not None]
        good = good[:: max(1, len(good) // count)][:count]
        return [i for i, _ in good], [w for _, w in good], [self.questions(self._row[i]) for i, _ in good]

    def seconds(self, ids: Sequence[str]) -> np.ndarray:
        """Durations of utterances; an unknown one is taken for the longest there may be."""
        return np.nan_to_num(self.durations[[self._row[utterance] for utterance in ids]], nan=UNKNOWN_SECONDS)

    def unknown_durations(self, ids: Sequence[str]) -> int:
        return int(np.isnan(self.durations[[self._row[utterance] for utterance in ids]]).sum())

    def questions_of(self, utterance: str) -> list[Rendered | None]:
        return self.questions(self._row[utterance])

    def job_of(self, utterance: str) -> Job:
        return self.job(self._row[utterance])

    def silent(self, limit: int | None) -> list[str]:
        """Utterances on which the whole panel abstains."""
        return [self.ids[row] for row in range(len(self.ids))[:limit] if not asks_anything(self.questions(row))]

    def questions(self, row: int) -> list[Rendered | None]:
        """What each rater is asked about an utterance."""
        utterance = self.ids[row]
        return self._render(self._transcripts[row], utterance if utterance in self._listening.example_ids else None)

    def status(self) -> Status:
        """How far this session is."""
        seconds = time.perf_counter() - self._clock
        rate = self._counted / seconds
        done = min(self._before + self._counted, self._total)
        left = (self._total - done) / rate if rate else None
        return Status(done, self._total, self._failed, seconds, rate, left, self._model_seconds / seconds)

    @property
    def on_cpu(self) -> bool:
        return self.engine.device in ("cpu", "none")

    @property
    def remaining(self) -> int:
        """Utterances of this session's plan that are neither answered nor failed."""
        status = self.status()
        return status.total - status.done

    def record(self) -> dict[str, Any]:
        """What belongs beside the run and not into its identity."""
        status = self.status()
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(status.seconds, 2),
            "utterances": self._counted - self._failed,
            "failures": self._failed,
            "utterances_per_second": round(status.per_second, 3),
            "model_share": round(status.device_share, 3),
            "batch_size": self.batch_size,
            "batch_seconds": self.batch_seconds,
            "halvings": self.halvings,
            "changed_sounds": len(self.changed),
            "remaining": self.remaining,
            "device": self.engine.device,
            "corpus": str(self._corpus.path),
        }

    def report(self) -> None:
        self._watch(self.status())

    def job(self, row: int, known: Sound | None = None) -> Job:
        """What a decoder has to do for an utterance."""
        try:
            path, problem = str(self._corpus.audio_path(row)), None
        except CorpusError as error:  # no audio named, or a remote address: this utterance's failure
            path, problem = None, str(error)
        engine = self.engine
        start, end = self._starts[row], self._ends[row]
        return Job(self.ids[row], path, start, end, engine.sample_rate, engine.max_seconds, known, problem)

    def grouped(self, missing: Sequence[str]) -> list[list[str]]:
        rows = [self._row[utterance] for utterance in missing]
        batches = plan_batches(rows, self.durations, self.batch_size, seconds=self.batch_seconds)
        return [[self.ids[row] for row in batch] for batch in batches]

    def _forget_changed(self, ledger: Ledger) -> None:
        """Drop what was answered to a sound that has changed since; a file that is away changes nothing."""
        changed = []
        for utterance in [*ledger.results.sounds, *ledger.results.failed.keys() - ledger.results.sounds.keys()]:
            row = self._row.get(utterance)
            job = self.job(row) if row is not None else None
            if job is None or job.path is None:
                continue
            known = ledger.results.sounds.get(utterance)
            found = fingerprint_sound(job.path, job.start, job.end, known)
            if found is not None and (known is None or found.content != known.content):
                changed.append(utterance)
            elif found is not None:
                ledger.results.sounds[utterance] = found
        if changed:
            ledger.drop(changed)
        self.changed = changed

    def _open(self, ledger: Known, ids: Sequence[str]) -> list[bool]:
        """Whether each utterance has a question that was not answered yet."""
        unrated = [self._is_unrated(ledger, utterance) for utterance in ids]
        if self.options.mode != "exact":
            return [bool(draws) or more for draws, more in zip(self._draws(ledger, ids), unrated, strict=True)]
        if not ids:
            return []
        unanswered = np.isnan(ledger.results.scores(ids)[1])
        asked = np.array([[q is not None for q in self.questions(self._row[utterance])] for utterance in ids])
        return [bool(row.any()) or more for row, more in zip(unanswered & asked, unrated, strict=True)]

    def _is_unrated(self, ledger: Known, utterance: str) -> bool:
        attributes = self.options.attributes
        if attributes is None:
            return False
        asked = self._rating_questions(self._transcripts[self._row[utterance]])
        by_judge = np.array([question is not None for question in asked]).reshape(len(attributes.judges), -1)
        return len(ledger.results.ratings.get(utterance, ())) < int(by_judge[attributes.judge_of].sum())

    def _draws(self, ledger: Known, ids: Sequence[str]) -> list[list[Draw]]:
        """Answers in words that are dealt and not given yet."""
        panel = self._listening
        dealt: list[list[Draw]] = [[] for _ in ids]
        votes = dealt_votes(ids, len(panel.listeners), votes=self.options.votes, seed=self.options.seed)
        known = [{text[:2] for text in ledger.results.texts.get(utterance, ())} for utterance in ids]
        rater_of = panel.rater_of
        asked = [self.questions(self._row[utterance]) for utterance in ids]
        for u, listener, draw in zip(*votes, strict=True):
            silent = asked[u][rater_of[listener]] is None
            if not silent and (panel.listeners[listener].listener, int(draw)) not in known[u]:
                dealt[u].append(Draw(int(listener), int(draw)))
        return dealt

    def _ask_all(self, ledger: Ledger, batches: Sequence[Batch]) -> None:
        known = ledger.results.sounds
        here = [batch._replace(ids=tuple(i for i in batch.ids if i in self._row)) for batch in batches]
        jobs = ((batch, [self.job(self._row[i], known.get(i)) for i in batch.ids]) for batch in here)
        many = sum(len(batch.ids) for batch in here) >= MANY
        coming = heard_batches(jobs, workers=self.options.workers, processes=many)
        try:
            with closing(coming):
                for batch, heard in self._until_time(coming):
                    self._ask(ledger, batch, heard)
                    self.report()
        except SerannError as error:
            error.args = (f"{error}; {self.remaining} of {self._total} utterances remain",)
            raise

    def _until_time(self, coming: Iterator[tuple[Batch, list[Heard]]]) -> Iterator[tuple[Batch, list[Heard]]]:
        hours = self.options.max_hours
        while True:
            if hours is not None and time.perf_counter() - self._clock >= 3600 * hours:
                self.stopped = True
                return
            found = next(coming, None)
            if found is None:
                return
            yield found

    def _ask(self, ledger: Ledger, batch: Batch, heard: Sequence[Heard]) -> None:
        self._asked_ids.update(batch.ids)
        good = [item for item in heard if item.wave is not None]
        failures = {item.utterance: item.failure or "" for item in heard if item.wave is None}
        try:
            answered = self.answers(ledger, good)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if len(batch.ids) > 1:
                self._halve(ledger, batch, heard)
                return
            seconds = len(good[0].wave) / self.engine.sample_rate  # type: ignore[arg-type]
            failures[good[0].utterance] = TOO_LARGE.format(seconds=seconds, device=self.engine.device)
            good, answered = [], []
        self.monitor(answered)
        ledger.finish(self._unit(ledger, batch, good, answered, failures, heard), self._count)

    def _halve(self, ledger: Ledger, batch: Batch, heard: Sequence[Heard]) -> None:
        release_memory()
        self.halvings += 1
        by_id = {item.utterance: item for item in heard}
        for half in ledger.halve(batch):
            self._ask(ledger, half, [by_id[utterance] for utterance in half.ids])

    def answers(self, ledger: Known, good: Sequence[Heard]) -> list[Answered]:
        if not good:
            return []
        ids, waves = [item.utterance for item in good], [item.wave for item in good if item.wave is not None]
        questions = [self.questions(self._row[utterance]) for utterance in ids]
        options, draws = self.options, []
        if options.mode == "exact":
            known = ~np.isnan(ledger.results.scores(ids)[1])
            if known.any():
                questions = [
                    [None if there else q for q, there in zip(asked, row, strict=True)]
                    for asked, row in zip(questions, known, strict=True)
                ]
        else:
            draws = self._draws(ledger, ids)
        clock = time.perf_counter()
        try:
            return ask(
                self.engine,
                options.mode,
                waves,
                questions,
                panel=self._listening,
                ids=ids,
                draws=draws,
                seed=options.seed,
                attributes=options.attributes if any(self._is_unrated(ledger, name) for name in ids) else None,
                transcripts=[self._transcripts[self._row[utterance]] for utterance in ids],
            )
        finally:
            self._model_seconds += time.perf_counter() - clock

    def _unit(
        self,
        ledger: Ledger,
        batch: Batch,
        good: Sequence[Heard],
        answered: Sequence[Answered],
        failures: Mapping[str, str],
        heard: Sequence[Heard],
    ) -> Unit:
        failures = dict(failures)
        sound: dict[str, Answered] = {}
        for item, answer in zip(good, answered, strict=True):
            if answer.failure is not None:
                failures[item.utterance] = answer.failure
            else:
                sound[item.utterance] = answer
        scored = [_scores_of(answer, ledger.results.raters, ledger.results.labels) for answer in sound.values()]
        exact = self.options.mode == "exact" and bool(scored)
        former = ledger.results.failed
        return Unit(
            key=batch.key,
            ids=tuple(sound),
            logp=np.array([logp for logp, _ in scored]) if exact else None,
            log_mass=np.array([log_mass for _, log_mass in scored]) if exact else None,
            texts={
                utterance: [(a.listener, a.draw, a.text, a.label, a.reason, a.p) for a in answer.answers]
                for utterance, answer in sound.items()
                if answer.answers
            },
            ratings={utterance: list(answer.ratings) for utterance, answer in sound.items() if answer.ratings},
            failures={
                utterance: Failed(reason, 1 + (former[utterance].attempts if utterance in former else 0))
                for utterance, reason in failures.items()
            },
            sounds={item.utterance: item.sound for item in heard if item.sound is not None},
        )

    def _count(self, unit: Unit) -> None:
        self._counted += len(unit.ids) + len(unit.failures)
        self._failed += len(unit.failures)


def _scores_of(answer: Answered, raters: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """An utterance's scores; NaN where it was not asked for any."""
    if answer.logp is None or answer.log_mass is None:
        return np.full((raters, labels), np.nan), np.full(raters, np.nan)
    return answer.logp, answer.log_mass


def out_of_memory(error: BaseException) -> bool:
    """A GPU's error has a class; the CPU allocator's has only its words."""
    words = ("can't allocate memory", "out of memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "OutOfMemory")
        or (isinstance(error, RuntimeError) and any(word in str(error) for word in words))
    )


def release_memory() -> None:
    """Give what torch has cached on a GPU back, if torch is there at all."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
