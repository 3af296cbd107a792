"""Annotate a corpus: every utterance, every listener of a panel, exact answer distributions and seeded votes."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..data.audio import utterance_audio
from ..data.corpus import Corpus, open_corpus
from ..data.errors import OptionError
from ..data.files import fingerprint, read_json, write_json
from ..prompts.loader import Rendered, load_panel, panel_fingerprint
from .batching import Heard, heard_batches, plan_batches
from .compaction import read_answers, write_tables
from .engines.base import Engine, EngineSpec, Scores, make_engine
from .ledger import FORMAT, RUN_FILE, Ledger, check_identity, check_place, remove_run
from .models.label_tree import normalise
from .panel import ListeningPanel, asks_anything
from .runs import Run, open_run

MODES = ("exact",)
# An utterance that failed this often is listed and left alone.
MAX_ATTEMPTS = 3
# On a CPU larger batches pad more and gain nothing; a GPU wants work.
BATCH_SIZE = {"cpu": 8, "gpu": 32}
NOT_A_NUMBER = "the model gave log-probabilities that are no numbers (NaN); try --dtype float32"

Progress = Callable[[int, int], None]


def annotate(
    corpus: Corpus | str | Path,
    model: str,
    *,
    out: str | Path,
    panel: str | Path = "crossed",
    votes: int = 20,
    engine: str | Engine = "transformers",
    mode: str = "exact",
    limit: int | None = None,
    seed: int = 0,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    workers: int = 2,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Annotate the first `limit` utterances of a corpus (all, if None) into the run directory `out`.

    A run that is already there is continued if it has the same identity (corpus, labels, engine, model, weights,
    dtype, mode, panel, seed): finished utterances are not asked again, failed ones are tried again, at most three
    times in all, and more utterances or votes extend it. `progress(done, total)` is called after each batch. One
    utterance that cannot be heard is one row of `Run.failures`; the rest goes on.
    Raises `OptionError`, `OutputError` (the place is taken, by what, and how it differs), `ModelError`, `PromptError`,
    `CorpusError`.
    """
    _check_options(votes, mode, limit, batch_size)
    corpus = corpus if isinstance(corpus, Corpus) else open_corpus(corpus)
    listening = ListeningPanel(load_panel(panel), corpus.labels)
    path = Path(out)
    former = None if overwrite and _is_run(path) else check_place(path)
    running = make_engine(EngineSpec(engine, model, revision, device, dtype)) if isinstance(engine, str) else engine
    try:
        identity = run_identity(corpus, listening, running, engine, mode=mode, seed=seed)
        if former is not None:
            check_identity(path, former["identity"], identity)
        elif overwrite and _is_run(path):
            remove_run(path)
        votes = max(votes, former["votes"] if former else 0)
        info = {"format": FORMAT, "run": run_name(identity), "identity": identity, "votes": votes}
        info["labels"] = corpus.labels.to_json()
        session = _Session(corpus, listening, running, batch_size or _default_batch(running), workers, progress)
        ledger = Ledger(
            path,
            info,
            labels=len(corpus.labels),
            raters=len(listening.raters),
            former=lambda: read_answers(path, listening),
        )
        with ledger:
            session.run(ledger, limit)
            silent = session.silent(limit)
            write_tables(path, ledger.answers, listening, votes=votes, seed=seed, run=info["run"], silent=silent)
            ledger.clear_segments()
            record_session(path, session.record())
    finally:
        if isinstance(engine, str):
            running.close()
    return open_run(path)


def run_identity(
    corpus: Corpus, listening: ListeningPanel, running: Engine, engine: str | Engine, *, mode: str, seed: int
) -> dict[str, Any]:
    """What may not change while a run is continued: everything that decides its numbers, but no machine or time."""
    return {
        "corpus": corpus.name,
        "labels": list(corpus.labels.labels),
        "engine": engine if isinstance(engine, str) else type(engine).__name__,
        **running.identity,
        "mode": mode,
        "question": listening.panel.question.name,
        "panel": listening.panel.name,
        "panel_fingerprint": panel_fingerprint(listening.panel),
        "seed": seed,
    }


def run_name(identity: Mapping[str, Any]) -> str:
    """The name that a run's votes carry: readable, and different for different identities."""
    digest = fingerprint(dict(identity)).removeprefix("sha256:")[:8]
    return f"{identity['model']}/{identity['panel']}/{digest}"


class _Session:
    """One sitting of `annotate`: asks what is not yet answered, batch by batch, into the ledger."""

    def __init__(
        self,
        corpus: Corpus,
        listening: ListeningPanel,
        engine: Engine,
        batch_size: int,
        workers: int,
        progress: Progress | None,
    ):
        self._corpus, self._listening, self._engine = corpus, listening, engine
        self._batch_size, self._workers, self._progress = batch_size, workers, progress
        self._transcripts = corpus.utterances["transcript"].to_pylist()
        self._started, self._clock = datetime.now(UTC), time.perf_counter()
        self._asked, self._model_seconds = 0, 0.0

    def run(self, ledger: Ledger, limit: int | None) -> None:
        """Ask every utterance that needs it; each batch is durable before it is counted."""
        ids = self._corpus.ids
        rows = [row for row in self._rows(limit) if asks_anything(self._questions(row))]
        pending = {row for row in rows if _needs_asking(ledger, ids[row])}
        durations = np.asarray(self._corpus.utterances["duration"].to_numpy(zero_copy_only=False), dtype=float)
        # Planned over all rows and then thinned, so that a resumed run asks its open batches in the same company.
        planned = plan_batches(rows, durations, self._batch_size)
        batches = [kept for batch in planned if (kept := [row for row in batch if row in pending])]
        done = len(rows) - len(pending)
        self._report(done, len(rows))
        with closing(heard_batches(batches, self._load, workers=self._workers)) as coming:
            for heard in coming:
                self._finish(ledger, heard)
                done += len(heard.rows) + len(heard.failures)
                self._report(done, len(rows))

    def silent(self, limit: int | None) -> list[str]:
        """Utterances on which the whole panel abstains."""
        return [self._corpus.ids[row] for row in self._rows(limit) if not asks_anything(self._questions(row))]

    def record(self) -> dict[str, Any]:
        """What belongs beside the run and not into its identity."""
        seconds = time.perf_counter() - self._clock
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "utterances": self._asked,
            "utterances_per_second": round(self._asked / seconds, 3),
            "model_share": round(self._model_seconds / seconds, 3),
            "batch_size": self._batch_size,
            "device": self._engine.device,
            "corpus": str(self._corpus.path),
            **environment(),
        }

    def _rows(self, limit: int | None) -> range:
        return range(len(self._corpus.ids))[:limit]

    def _questions(self, row: int) -> list[Rendered | None]:
        return self._listening.questions(self._transcripts[row])

    def _load(self, row: int) -> np.ndarray:
        return utterance_audio(
            self._corpus, row, sample_rate=self._engine.sample_rate, max_seconds=self._engine.max_seconds
        )

    def _finish(self, ledger: Ledger, heard: Heard) -> None:
        ids, questions = self._corpus.ids, [self._questions(row) for row in heard.rows]
        clock = time.perf_counter()
        scores = self._engine.score(heard.waves, questions) if heard.rows else []
        self._model_seconds += time.perf_counter() - clock
        self._asked += len(heard.rows)
        failures = {ids[row]: reason for row, reason in heard.failures.items()}
        good, logp, log_mass = [], [], []
        for row, asked, found in zip(heard.rows, questions, scores, strict=True):
            normalised = _checked(found, asked)
            if normalised is None:
                failures[ids[row]] = NOT_A_NUMBER
            else:
                good.append(ids[row])
                logp.append(normalised[0])
                log_mass.append(normalised[1])
        ledger.finish(good, np.array(logp), np.array(log_mass), failures)

    def _report(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)


def _checked(scores: Scores, asked: Sequence[Rendered | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """log P1 [Q, K] and log mass [Q]; None if a question that was asked has an answer that is no number."""
    logp, log_mass = normalise(scores.answer_logp)
    expected = np.array([question is not None for question in asked])
    sound = ~np.isnan(logp).any(axis=1) & np.isfinite(log_mass)
    return (logp, log_mass) if (sound | ~expected).all() else None


def _needs_asking(ledger: Ledger, utterance: str) -> bool:
    failed = ledger.answers.failed.get(utterance)
    return utterance not in ledger.answers.logp and (failed is None or failed.attempts < MAX_ATTEMPTS)


def environment() -> dict[str, Any]:
    """Software and hardware of this process."""
    packages = {}
    for name in ("serann", "torch", "transformers", "numpy", "soundfile", "soxr", "pyarrow"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": packages,
    }


def record_session(path: Path, record: Mapping[str, Any]) -> None:
    """Append one sitting to the run's environment.json."""
    file = path / "environment.json"
    former = read_json(file, what="environment record")["sessions"] if file.exists() else []
    write_json(file, {"sessions": [*former, dict(record)]})


def _check_options(votes: int, mode: str, limit: int | None, batch_size: int | None) -> None:
    if mode not in MODES:
        raise OptionError(f"unknown mode '{mode}'; expected one of {', '.join(MODES)}")
    if votes < 0:
        raise OptionError(f"{votes} votes; expected 0 (scores alone) or more")
    if limit is not None and limit < 1:
        raise OptionError(f"a limit of {limit} utterances; expected at least 1")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"a batch of {batch_size} utterances; expected at least 1")


def _is_run(path: Path) -> bool:
    return (path / RUN_FILE).is_file()


def _default_batch(engine: Engine) -> int:
    return BATCH_SIZE["cpu" if engine.device in ("cpu", "none") else "gpu"]
