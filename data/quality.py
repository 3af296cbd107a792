"""What is wrong with a corpus, or worth knowing of it, one finding a row: `serann corpus check`."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .arrow import pc
from .audio import load_audio
from .corpus import Corpus
from .errors import AudioError, CorpusError
from .importing import arousal_doubts
from .scores.agreement import answers_by_utterance
from .scores.reliability import rater_reliability
from .splits import leaks, sound_keys

# --------------------
# What can be heard to be wrong with a sound: unreadable, of the wrong length, silent, clipped, or heard before.

# Sounds that are read or wait for it, a worker: memory is bounded by them, not by the corpus.
AHEAD = 4
# A task of so many sounds costs its handing over once.
TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What is wrong with a sound, in figures.

    Lengths are seconds; longer than `max_seconds` is refused by annotate unless it is told otherwise. Silent: the peak,
    or the root mean square, without the mean, is below -60 or -70 dB of full scale. Clipped: more than `clipped_share`
    of a channel's samples are in runs of three or more at `full_scale` or beyond (where a peak is scaled to 1, one or
    two samples are there).
    """

    min_seconds: float = 0.1
    max_seconds: float = 30.0
    silent_peak: float = 10.0 ** (-60 / 20)
    silent_rms: float = 10.0 ** (-70 / 20)
    full_scale: float = 0.999
    clipped_share: float = 0.001


class Excerpt(NamedTuple):
    """A sound file and the seconds of it that are an utterance."""

    path: Path
    start: float | None = None
    end: float | None = None


class SoundReport(NamedTuple):
    """What is wrong with a sound (`kind` and `sentence`, None for nothing), and the digest of its samples if read."""

    kind: str | None
    sentence: str | None
    digest: bytes | None = None


def inspect_sound(excerpt: Excerpt, limits: Limits) -> SoundReport:
    """Read an excerpt at its own rate and say what is wrong with it.

    Kinds: missing, broken, too short, too long (with `load_audio`'s sentence), silent, clipped. Equal digests are equal
    samples, in whatever format: mono, float32, at the same rate.
    """
    rate, channels, seconds = _header(excerpt)
    try:
        samples = load_audio(
            excerpt.path,
            start=excerpt.start,
            end=excerpt.end,
            sample_rate=rate,
            min_seconds=limits.min_seconds,
            max_seconds=limits.max_seconds,
        )
    except AudioError as error:
        return SoundReport(_kind(excerpt, seconds, limits), str(error))
    digest = hashlib.blake2b(samples.tobytes(), digest_size=16, key=str(rate).encode()).digest()
    moving = samples - samples.mean()
    peak, rms = float(np.abs(moving).max()), float(np.sqrt(np.mean(np.square(moving, dtype=np.float64))))
    if peak < limits.silent_peak or rms < limits.silent_rms:
        return SoundReport("silent", f"{excerpt.path} is silent: peak {_decibels(peak)}, mean {_decibels(rms)}", digest)
    share = _clipped_share(excerpt, samples, rate, channels, limits.full_scale)
    if share > limits.clipped_share:
        return SoundReport("clipped", f"{excerpt.path} is clipped: {share:.2%} of its samples are full scale", digest)
    return SoundReport(None, None, digest)


def _header(excerpt: Excerpt) -> tuple[int, int, float]:
    """Rate, channels and the excerpt's seconds; whatever is wrong with the file is found when it is read."""
    import soundfile

    if not excerpt.path.is_file():
        return 16000, 1, float("nan")
    try:
        info = soundfile.info(str(excerpt.path))
    except (soundfile.SoundFileError, OSError):
        return 16000, 1, float("nan")
    whole = info.frames / info.samplerate
    return info.samplerate, info.channels, (whole if excerpt.end is None else excerpt.end) - (excerpt.start or 0.0)


def _kind(excerpt: Excerpt, seconds: float, limits: Limits) -> str:
    if not excerpt.path.exists():
        return "missing audio"
    if 0 <= seconds < limits.min_seconds:
        return "too short"
    return "too long" if seconds > limits.max_seconds else "broken audio"


def _clipped_share(excerpt: Excerpt, mono: np.ndarray, rate: int, channels: int, full_scale: float) -> float:
    """The largest share over the channels; averaging two channels hides that one is clipped."""
    samples = mono[:, None]
    if channels > 1:
        import soundfile

        first = round((excerpt.start or 0.0) * rate)
        samples, _ = soundfile.read(excerpt.path, frames=len(mono), start=first, dtype="float32", always_2d=True)
    full = np.abs(samples) >= full_scale
    middle = full[:-2] & full[1:-1] & full[2:]
    run = np.zeros(full.shape, dtype=bool)
    for shift in range(3):
        run[shift : shift + len(middle)] |= middle
    return float(run.mean(axis=0).max())


def _decibels(amplitude: float) -> str:
    return f"{20 * np.log10(amplitude):.0f} dB" if amplitude > 0 else "nothing"


def inspect_sounds(
    excerpts: Sequence[Excerpt],
    limits: Limits,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[SoundReport]:
    """Inspect many excerpts with `workers` threads (as many as cores), in order; `progress(done, total)` is called.

    Threads do it: decoding, hashing and sums release the interpreter. What is in flight is bounded.
    """
    workers = workers or os.cpu_count() or 1
    found: list[SoundReport] = []
    with ThreadPoolExecutor(workers) as pool:

        def tasks() -> Iterator[Future[list[SoundReport]]]:
            for k in range(0, len(excerpts), TOGETHER):
                yield pool.submit(_inspect_some, excerpts[k : k + TOGETHER], limits)

        todo = tasks()
        waiting = deque(islice(todo, workers * AHEAD))
        while waiting:
            found += waiting.popleft().result()
            waiting.extend(islice(todo, 1))
            if progress is not None:
                progress(len(found), len(excerpts))
    return found


def _inspect_some(excerpts: Sequence[Excerpt], limits: Limits) -> list[SoundReport]:
    return [inspect_sound(excerpt, limits) for excerpt in excerpts]


SEVERITIES = ("error", "warning", "note")
# An error is what a command stumbles over or what makes scores wrong; the rest is for the reader to judge.
SEVERITY = {
    "no audio": "error",
    "missing audio": "error",
    "broken audio": "error",
    "too short": "error",
    "too long": "error",
    "silent": "error",
    "sound across splits": "error",
    "speaker across splits": "error",
    "no votes": "warning",
    "few votes": "warning",
    "clipped": "warning",
    "duplicate": "warning",
    "dialogue across splits": "warning",
    "script across splits": "warning",
    "unknown speaker": "warning",
    "no split": "warning",
    "unused split": "warning",
    "suspicious rater": "warning",
    "ratings": "warning",
    "licence": "note",
}
SCHEMA = pa.schema([(n, pa.string()) for n in ("severity", "kind", "utterance_id", "rater_id", "speaker", "sentence")])
SHOWN = 3
LEAST_ANSWERS = 2

Finding = dict[str, str | None]


class Checked(NamedTuple):
    """The findings (columns severity, kind, utterance_id, rater_id, speaker, sentence, the worst first), how many there
    are of each severity and kind, and how many sounds were read.
    """

    findings: pa.Table
    counts: dict[str, dict[str, int]]
    sounds: int

    @property
    def wrong(self) -> bool:
        """Whether there is an error among the findings."""
        return bool(self.counts["error"])


def check_corpus(
    corpus: Corpus,
    *,
    limits: Limits | None = None,
    least_votes: int = LEAST_ANSWERS,
    sounds: bool = True,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Look for everything in a corpus that a later command would stumble over or a reader of its results should know.

    Sounds are all read (unless `sounds` is false) and held against `limits`; further: equal sounds (by file, content
    hash or samples), sounds, speakers, dialogues and scripts in several splits, utterances with fewer than
    `least_votes` human answers, suspicious raters (`reliability.rater_reliability`), unknown speakers, ratings off
    their scale or upside down, and the licence. `SEVERITY` says what is an error. `progress(done, total)` is told of
    the sounds read.
    """
    excerpts = [_excerpt(corpus, i) for i in range(len(corpus.ids))] if sounds else []
    local = {i: excerpt for i, excerpt in enumerate(excerpts) if isinstance(excerpt, Excerpt)}
    reports = inspect_sounds(list(local.values()), limits or Limits(), workers=workers, progress=progress)
    heard = dict(zip(local, reports, strict=True))
    found = [
        *_sound_findings(corpus, excerpts, heard),
        *_duplicates(corpus, heard),
        *_leak_findings(corpus),
        *_split_findings(corpus),
        *_vote_findings(corpus, least_votes),
        *_speaker_findings(corpus),
        *_rating_findings(corpus),
        _licence(corpus),
    ]
    found.sort(key=lambda row: tuple(str(row[n] or "") for n in ("kind", "utterance_id", "rater_id", "speaker")))
    found.sort(key=lambda row: SEVERITIES.index(str(row["severity"])))
    counts: dict[str, dict[str, int]] = {severity: {} for severity in SEVERITIES}
    for row in found:
        of = counts[str(row["severity"])]
        of[str(row["kind"])] = of.get(str(row["kind"]), 0) + 1
    return Checked(pa.Table.from_pylist(found, schema=SCHEMA), counts, len(reports))


def _finding(kind: str, sentence: str, **of: str | None) -> Finding:
    empty: Finding = {"utterance_id": None, "rater_id": None, "speaker": None}
    return {"severity": SEVERITY[kind], "kind": kind, **empty, **of, "sentence": sentence}


def _excerpt(corpus: Corpus, i: int) -> Excerpt | str:
    """The utterance's sound, or the sentence that says why there is none."""
    try:
        path = corpus.audio_path(i)
    except CorpusError as error:
        return str(error)
    return Excerpt(path, *(corpus.utterances[name][i].as_py() for name in ("start", "end")))


def _sound_findings(
    corpus: Corpus, excerpts: Sequence[Excerpt | str], heard: dict[int, SoundReport]
) -> Iterator[Finding]:
    if excerpts and corpus.utterances["audio"].null_count == len(excerpts):
        yield _finding("no audio", "no utterance names a sound: votes can be examined, nothing can be annotated")
        return
    speakers, missing = corpus.column("speaker"), corpus.places.missing
    if missing is not None and (below := [excerpt for excerpt in excerpts if excerpt == missing]):
        yield _finding("missing audio", f"{len(below)} of {len(excerpts)} utterances: {missing}")
    for i, excerpt in enumerate(excerpts):
        if missing is not None and excerpt == missing:  # said once
            continue
        of = {"utterance_id": corpus.ids[i], "speaker": speakers[i]}
        if isinstance(excerpt, str):
            yield _finding("missing audio", excerpt, **of)
        elif heard[i].kind is not None:
            yield _finding(str(heard[i].kind), str(heard[i].sentence), **of)


def _duplicates(corpus: Corpus, heard: dict[int, SoundReport]) -> Iterator[Finding]:
    """Utterances whose sound an earlier one (by id) has; found across splits these are errors."""
    table = corpus.utterances
    window = [pc.fill_null(pc.cast(table[name], pa.string()), "") for name in ("start", "end")]
    named = pc.binary_join_element_wise(table["audio"], *window, "\x1f").to_pylist()
    samples = [r.digest if (r := heard.get(i)) and r.kind != "silent" else None for i in range(len(corpus.ids))]
    ways = {"file": named, "content hash": sound_keys(table).to_pylist(), "samples": samples}
    speakers, splits, told = corpus.column("speaker"), corpus.column("split"), set()
    for way, keys in ways.items():
        first: dict[Any, int] = {}
        for i in sorted(range(len(keys)), key=corpus.ids.__getitem__):
            if keys[i] is None or (before := first.setdefault(keys[i], i)) == i or i in told:
                continue
            told.add(i)
            across = None not in (splits[i], splits[before]) and _split(splits[i]) != _split(splits[before])
            kind = "sound across splits" if across else "duplicate"
            where = f" ({splits[i]} and {splits[before]})" if across else ""
            sentence = f"{corpus.ids[i]} has the {way} of {corpus.ids[before]}{where}"
            yield _finding(kind, sentence, utterance_id=corpus.ids[i], speaker=speakers[i])


def _split(name: str) -> str:
    return "test" if name.startswith("test") else name


def _leak_findings(corpus: Corpus) -> Iterator[Finding]:
    for leak in leaks(corpus, most=SHOWN):
        if leak["kind"] == "sound":  # each is among the duplicates
            continue
        where = ", ".join(f"{n} of {split}" for split, n in leak["splits"].items())
        ids = "; ".join(", ".join(ids) for ids in leak["ids"].values())
        of = {"speaker": leak["value"]} if leak["kind"] == "speaker" else {}
        sentence = f"{leak['kind']} {leak['value']!r} is in several splits: {where} (first {ids})"
        yield _finding(f"{leak['kind']} across splits", sentence, **of)


def _split_findings(corpus: Corpus) -> Iterator[Finding]:
    splits = corpus.column("split")
    without = sum(split is None for split in splits)
    if without:
        yield _finding("no split", f"{without} of {len(splits)} utterances are in no split")
    for name in sorted({s for s in splits if s is not None and _split(s) not in ("train", "development", "test")}):
        sentence = f"split {name!r} is neither train, development nor test…: no command uses it"
        yield _finding("unused split", sentence)


def _vote_findings(corpus: Corpus, least: int) -> Iterator[Finding]:
    answers = answers_by_utterance(corpus)
    if not answers.any():
        yield _finding("no votes", "no utterance has a human vote: nothing can be audited, fused or scored")
        return
    speakers = corpus.column("speaker")
    for i in np.flatnonzero(answers < least):
        sentence = f"{corpus.ids[i]} has {answers[i]} human votes, fewer than {least}"
        yield _finding("few votes", sentence, utterance_id=corpus.ids[i], speaker=speakers[i])
    raters = rater_reliability(corpus)
    for row in raters.filter(pc.is_valid(raters["flag"])).to_pylist():
        yield _finding("suspicious rater", f"{row['flag']}: {row['sentence']}", rater_id=row["rater_id"])


def _speaker_findings(corpus: Corpus) -> Iterator[Finding]:
    unknown = corpus.utterances.filter(pc.is_null(corpus.utterances["speaker"]))["utterance_id"]
    if len(unknown):
        first = ", ".join(unknown.slice(0, SHOWN).to_pylist())
        yield _finding(
            "unknown speaker",
            f"{len(unknown)} of {len(corpus.ids)} utterances have no speaker (first {first}): that no speaker is in "
            "several splits cannot be checked for them",
        )


def _rating_findings(corpus: Corpus) -> Iterator[Finding]:
    if corpus.ratings is None or not corpus.ratings.num_rows:
        return
    if corpus.info.scale is None:
        yield _finding("ratings", "the ratings' scale is not stated; write the corpus with scale=(lowest, highest)")
    else:
        low, high = corpus.info.scale
        inside = pc.and_(pc.greater_equal(corpus.ratings["value"], low), pc.less_equal(corpus.ratings["value"], high))
        off = corpus.ratings.filter(pc.invert(inside))
        for row in off.group_by("dimension").aggregate([("value", "count"), ("utterance_id", "min")]).to_pylist():
            yield _finding(
                "ratings",
                f"{row['value_count']} ratings of {row['dimension']} are off the scale {low:g}-{high:g} "
                f"(first {row['utterance_id_min']})",
            )
    yield from (
        _finding("ratings", sentence) for sentence in arousal_doubts(corpus.votes, corpus.ratings, corpus.labels)
    )


def _licence(corpus: Corpus) -> Finding:
    stated = corpus.info.licence.strip()
    return _finding("licence", f"licence: {stated}" if stated else "no licence is stated: find it before you share it")
