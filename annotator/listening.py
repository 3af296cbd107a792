"""One sound in, a distribution out: a panel listens to sounds without a corpus on disk.

The same questions, chances and numbers as a run's (`run/annotate.py`): of a sound with the same utterance id, asked in
the same company, `listen` gives bit for bit what `annotate` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np
import pyarrow as pa

from ..data.audio import hash_wave, sound_seconds, window_count
from ..data.errors import AudioError, ModelError, OptionError
from ..data.files import hash_file
from ..data.labels import LabelSet, as_label_set
from ..data.options import as_options
from ..data.tables import SCORES, VOTES, distribution_array, validate
from ..prompts.loader import Panel, load_panel
from .engines.base import Engine
from .listener import Answered, ask, check_engine, panel_for
from .panel.panel import ListeningPanel
from .run.asking import running_engine
from .run.ledger import Batch
from .run.open_questions import dealt_draws
from .run.options import AnnotateOptions
from .run.run import distribution_of
from .run.segments import Results
from .run.session import batch_limits, unit_of
from .run.tables import block_tables
from .sounds.corpus_sounds import plan_batches
from .sounds.hearing import Heard, Job, duration_for, hear

if TYPE_CHECKING:
    import pandas as pd

Sound = str | Path | np.ndarray
# Options of `annotate` that say something of a corpus.
CORPUS_ALONE = ("panel", "limit", "control", "attributes")


@dataclass(frozen=True, slots=True, eq=False)
class Listened:
    """What a panel of listeners answered on one sound.

    `p` [K] is the panel's distribution over `labels`: the unweighted mean of its listeners' (mode `sample`: the shares
    of the votes); NaN where nobody could answer. `listeners` hold each listener's own p [K] at its temperature, and
    `log_mass` the log-probability that its answer is a label at all; both are empty in mode `sample`. `votes` are rows
    as a run's `votes.parquet` has them, `answers` the texts behind them (None in mode `exact`). `failure` says why
    there is nothing.
    """

    utterance_id: str
    labels: tuple[str, ...]
    p: np.ndarray
    votes: pa.Table
    log_mass: dict[str, float]
    listeners: dict[str, np.ndarray]
    answers: pa.Table | None = None
    failure: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many votes each label has."""
        given = self.votes["label"].to_pylist()
        return {label: given.count(label) for label in self.labels}

    def to_pandas(self) -> pd.DataFrame:
        """A row for the panel (index "panel") and one for each listener, with the labels as columns, and log_mass."""
        import pandas as pd

        rows = np.array([self.p, *self.listeners.values()])
        table = pd.DataFrame(rows, index=["panel", *self.listeners], columns=list(self.labels))
        return table.assign(log_mass=[np.nan, *(self.log_mass[name] for name in self.listeners)])

    def _lines(self) -> tuple[str, str]:
        if self.failure is not None:
            return f"{self.utterance_id}: no answer", self.failure
        order = np.argsort(-self.p, kind="stable")
        shares = ", ".join(f"{self.labels[k]} {self.p[k]:.2f}" for k in order)
        voted = ", ".join(f"{label} {n}" for label, n in self.counts.items() if n)
        silent = self.votes["label"].null_count
        cast = f"{self.votes.num_rows} votes ({voted or 'none for a label'}{f', {silent} abstained' if silent else ''})"
        mass = f", {np.exp(list(self.log_mass.values())).mean():.1%} on labels" if self.log_mass else ""
        return f"{self.utterance_id}: {shares}", f"{cast}{mass}"

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        first, second = map(escape, self._lines())
        if self.failure is not None:
            return f"<p>{first}<br>{second}</p>"
        heads = "".join(f"<th>{escape(label)}</th>" for label in self.labels)
        cells = "".join(f"<td>{share:.3f}</td>" for share in self.p)
        return f"<table><tr>{heads}</tr><tr>{cells}</tr></table><p>{second}</p>"


class _Asked(NamedTuple):
    """A sound, its utterance id, and the words that listeners of transcripts read."""

    utterance: str
    sound: Sound
    transcript: str | None


class SoundListener:
    """A loaded model and a panel, ready to `listen`; `close` it, or use it as a context manager, to free the model."""

    def __init__(self, model: str, asking: AnnotateOptions, listening: ListeningPanel):
        self._asking, self._panel, self._stack = asking, listening, ExitStack()
        self._engine = self._stack.enter_context(running_engine(model, asking))
        self._model = self._engine.identity.get("model", model)
        try:
            check_engine(self._engine, asking.mode)
            self._duration = duration_for(asking.max_seconds, asking.too_long, self._engine.max_seconds)
        except Exception:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model, if it was loaded here."""
        self._stack.close()

    def __repr__(self) -> str:
        asking = self._asking
        return (
            f"{self._model} listens as panel {self._panel.panel.name}, {len(self._panel.listeners)} listeners\n"
            f"mode {asking.mode}, {asking.votes} votes per sound over {', '.join(self._panel.labels)}"
        )

    @overload
    def listen(
        self,
        sound: Sound,
        transcript: str | None = None,
        *,
        sample_rate: int | None = None,
        utterance_id: str | None = None,
    ) -> Listened: ...
    @overload
    def listen(
        self,
        sound: Sequence[Sound],
        transcript: Sequence[str | None] | None = None,
        *,
        sample_rate: int | None = None,
        utterance_id: Sequence[str] | None = None,
    ) -> list[Listened]: ...
    def listen(self, sound: Any, transcript: Any = None, *, sample_rate: int | None = None, utterance_id: Any = None):
        """Ask the panel about a sound, or about several (a list) in batches.

        A sound is the path of a file, or samples [T] or [T, channels] at `sample_rate` hertz. Chances of votes and
        texts depend on the seed, the `utterance_id`, the listener and the draw alone; without an id, the SHA-256 of the
        file, or of the samples and their rate, is taken for it.

        Raises `AudioError` for a sound that cannot be heard and `ModelError` where the model gave no answer; of several
        sounds such a one has its `failure` instead. `OptionError` for samples without a rate, and lists of unlike
        lengths.

        >>> import numpy as np
        >>> wave = np.random.default_rng(0).uniform(-0.1, 0.1, 16000).astype("float32")
        >>> with listener("scripted", "letters", "demo6", engine="scripted", votes=4) as heard:
        ...     found = heard.listen(wave, sample_rate=16000, utterance_id="u1")
        >>> found.p.shape, found.votes.num_rows, round(float(found.p.sum()), 6)
        ((6,), 4, 1.0)
        """
        several = isinstance(sound, list | tuple)
        sounds = list(sound) if several else [sound]
        words = transcript if several and transcript is not None else [transcript] * len(sounds)
        ids = utterance_id if several and utterance_id is not None else [utterance_id] * len(sounds)
        _check_lists(sounds, words, ids)
        asked = [
            _Asked(_content_hash(one, sample_rate) if name is None else name, one, said)
            for one, said, name in zip(sounds, words, ids, strict=True)
        ]
        found = self._listen(asked, sample_rate)
        if several:
            return [listened for listened, _ in found]
        listened, error = found[0]
        if error is not None:
            raise error
        return listened

    def _listen(self, asked: Sequence[_Asked], sample_rate: int | None) -> list[tuple[Listened, Exception | None]]:
        jobs = [self._job(item, sample_rate) for item in asked]
        seconds = np.array([_seconds(job) for job in jobs])
        windows, longest = None, self._duration.seconds
        if self._duration.too_long == "truncate":
            seconds = np.minimum(seconds, longest)
        if self._duration.too_long == "windows":
            windows = np.array([window_count(float(s), longest) for s in np.nan_to_num(seconds, nan=longest)])
        size, most = batch_limits(self._engine, self._asking.batch_size)
        found: dict[int, tuple[Listened, Exception | None]] = {}
        for batch in plan_batches(range(len(jobs)), seconds, size, seconds=most, windows=windows):
            heard = [hear(jobs[place], self._engine.frontend) for place in batch]
            answered = iter(self._answers([asked[i] for i in batch], heard))
            for place, item in zip(batch, heard, strict=True):
                own = next(answered) if item.failure is None else None
                found[place] = self._listened(asked[place].utterance, item, own)
        return [found[place] for place in range(len(jobs))]

    def _job(self, item: _Asked, sample_rate: int | None) -> Job:
        path, wave = None, None
        if isinstance(item.sound, np.ndarray):
            wave = item.sound, int(sample_rate or 0)
        else:
            path = str(Path(item.sound).expanduser())
        rate, (longest, too_long) = self._engine.sample_rate, self._duration
        return Job(item.utterance, path, None, None, rate, longest, too_long=too_long, wave=wave)

    def _answers(self, asked: Sequence[_Asked], heard: Sequence[Heard]) -> list[Answered]:
        """What those of a batch that could be heard are answered."""
        good = [(item, own) for item, own in zip(asked, heard, strict=True) if own.failure is None]
        ids, asking = [item.utterance for item, _ in good], self._asking
        questions = [self._panel.questions(item.transcript) for item, _ in good]
        draws = []
        if asking.mode != "exact":
            draws = dealt_draws(self._panel, ids, questions, votes=asking.votes, seed=asking.seed)
        sounds = [own.prepared for _, own in good]
        return ask(
            self._engine, asking.mode, sounds, questions, panel=self._panel, ids=ids, draws=draws, seed=asking.seed
        )

    def _listened(self, utterance: str, heard: Heard, answered: Answered | None) -> tuple[Listened, Exception | None]:
        results, labels = Results(len(self._panel.raters), len(self._panel.labels)), self._panel.labels
        mode, seed, ids = self._asking.mode, self._asking.seed, [utterance]
        error: Exception | None = None
        if answered is None:
            error = AudioError(str(heard.failure))
        elif answered.failure is not None:
            error = ModelError(answered.failure.text)
        else:
            results.apply(unit_of(Batch("", (utterance,)), ids, [answered], {}, results))
        made = block_tables(
            ids if error is None else [],
            results,
            self._panel,
            votes=self._asking.votes,
            seed=seed,
            run=f"{self._model}/{self._panel.panel.name}",
            mode=mode,
        )
        scores = validate(made.scores, SCORES, labels=labels, where="scores")
        votes = validate(made.votes, VOTES, labels=labels, where="votes")
        names = scores["listener"].to_pylist()
        listened = Listened(
            utterance_id=utterance,
            labels=labels.labels,
            p=distribution_of(scores, votes, ids, labels, mode=mode)[0],
            votes=votes,
            log_mass=dict(zip(names, scores["log_mass"].to_pylist(), strict=True)),
            listeners=dict(zip(names, distribution_array(scores["p"]), strict=True)),
            answers=made.answers,
            failure=None if error is None else str(error),
        )
        return listened, error


def listener(
    model: str | Path | Engine,
    panel: str | Path | Panel,
    labels: str | Sequence[str] | LabelSet,
    options: AnnotateOptions | None = None,
    **keywords: Any,
) -> SoundListener:
    """Load a model that listens as a panel to single sounds, without a corpus: `listener(…).listen(sound)`.

    `model` is a short name, a checkpoint folder or a hub id, or an engine that is running (and stays so). `panel` is a
    name, a `.toml` file, or a panel. `labels` is the name of a label set, a label set, or a list of labels. The
    options are those of `annotate`, as a model or as keywords, but for what needs a corpus (`CORPUS_ALONE`).

    Raises `OptionError`, `LabelError`, `PromptError` and `ModelError` for what cannot be asked; panels with examples
    need a corpus.

    >>> heard = listener("scripted", "letters", ["calm", "upset"], engine="scripted")
    >>> print(heard)
    scripted listens as panel letters, 4 listeners
    mode exact, 20 votes per sound over calm, upset
    """
    asking = as_options(AnnotateOptions, options, keywords)
    needless = [name for name in CORPUS_ALONE if getattr(asking, name) != AnnotateOptions.model_fields[name].default]
    if needless:
        raise OptionError(f"a listener of single sounds takes no {', '.join(needless)}; annotate does, over a corpus")
    if isinstance(model, str | Path):
        name = str(model)
    else:
        name, asking = (
            str(model.identity.get("model", type(model).__name__)),
            asking.model_copy(update={"engine": model}),
        )
    chosen = panel if isinstance(panel, Panel) else load_panel(panel)
    listening = ListeningPanel(panel_for(chosen, asking.mode, reason=asking.reason), as_label_set(labels))
    return SoundListener(name, asking, listening)


def _check_lists(sounds: Sequence[Any], words: Sequence[Any], ids: Sequence[Any]) -> None:
    for what, own in (("transcripts", words), ("utterance ids", ids)):
        if isinstance(own, str) or len(own) != len(sounds):
            found = "one text" if isinstance(own, str) else f"{len(own)}"
            raise OptionError(f"{len(sounds)} sounds and {found} for {what}; expected one for each sound, in a list")
    if not all(isinstance(sound, str | Path | np.ndarray) for sound in sounds):
        raise OptionError("expected a sound as the path of a file or a numpy array of samples, or a list of these")


def _content_hash(sound: Sound, sample_rate: int | None) -> str:
    """`sha256:…` of a file's bytes, as corpora have it in `content_hash`, or of samples and their rate."""
    if isinstance(sound, np.ndarray):
        if sample_rate is None:
            raise OptionError("samples without their rate; give sample_rate=16000, or what it is")
        return hash_wave(sound, sample_rate)
    path = Path(sound).expanduser()
    return hash_file(path) if path.is_file() else str(sound)


def _seconds(job: Job) -> float:
    """How long a sound is, NaN where its header does not tell."""
    if job.wave is not None:
        return len(job.wave[0]) / max(job.wave[1], 1)
    found = sound_seconds(str(job.path))
    return np.nan if found is None else found
