"""Make a simulated corpus: `PYTHONPATH=tools python -m make_demo.make_corpus -o DIR`. Needs espeak-ng.

With no other option it rebuilds the embedded corpus. Every random number comes from the seed and a name, so the same
options (and the same espeak-ng) give the same sounds and votes. A larger one, with other voices, raters and sentences:

    PYTHONPATH=tools python -m make_demo.make_corpus -o big --utterances 5000 --voices 60 --seed 7 --sentences other
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import soundfile
from serann.data.corpus import Corpus, CorpusInfo, write_corpus
from serann.data.errors import OptionError, SerannError
from serann.data.files import hash_file, refuse_existing
from serann.data.holdout import divide_votes
from serann.data.labels import LABEL_SETS
from serann.data.tables import DISTRIBUTIONS, RATINGS, UTTERANCES, VOTES, from_rows, write_table

from .plan import SPLIT_SHARES, Utterance, plan_corpus
from .raters import SCALE, cast_ratings, cast_votes, expected_votes, make_raters
from .sentences import SENTENCE_SETS, sentences
from .synthesis import SAMPLE_RATE, Synthesiser, espeak_version, make_voice, synthesise, synthesiser

LICENCE = "CC0-1.0"
Progress = Callable[[int, int], None]


class Recorded(NamedTuple):
    """One sound file as it was written: its duration in seconds and the hash of its bytes."""

    duration: float
    content_hash: str


def speak(engine: Synthesiser, utterance: Utterance, *, seed: int) -> np.ndarray:
    """The simulated recording of one planned utterance: float32 mono at 16 kHz."""
    voice = make_voice(utterance.speaker, seed=seed)
    return synthesise(engine, utterance.sentence.text, voice, utterance.mix, seed=(seed, utterance.utterance_id))


def record_to_file(utterance: Utterance, *, engine: Synthesiser, folder: Path, seed: int) -> Recorded:
    """Speak one utterance and write it to `folder` as Opus in Ogg."""
    samples = speak(engine, utterance, seed=seed)
    path = folder / f"{utterance.utterance_id}.ogg"
    soundfile.write(path, samples, SAMPLE_RATE, format="OGG", subtype="OPUS")
    return Recorded(len(samples) / SAMPLE_RATE, hash_file(path))


def record_all(
    plan: Sequence[Utterance], folder: Path, *, seed: int, workers: int, progress: Progress | None = None
) -> list[Recorded]:
    """Speak a whole plan into `folder` with `workers` processes; the order of the results is that of the plan."""
    recorded = []
    with synthesiser() as engine, ProcessPoolExecutor(workers) as pool:
        task = partial(record_to_file, engine=engine, folder=folder, seed=seed)
        for result in pool.map(task, plan, chunksize=8):
            recorded.append(result)
            if progress:
                progress(len(recorded), len(plan))
    return recorded


def utterance_rows(plan: Sequence[Utterance], recorded: Sequence[Recorded], *, seed: int) -> Iterator[dict[str, Any]]:
    """The utterances table, a row at a time; which mix was acted is not among the columns, only the dominant label."""
    for utterance, sound in zip(plan, recorded, strict=True):
        voice = make_voice(utterance.speaker, seed=seed)
        yield {
            "utterance_id": utterance.utterance_id,
            "audio": f"audio/{utterance.utterance_id}.ogg",
            "duration": sound.duration,
            "speaker": voice.name,
            "gender": voice.gender,
            "split": utterance.split,
            "script": utterance.sentence.script,
            "transcript": utterance.sentence.text,
            "language": "en",
            "intended": utterance.intended,
            "content_hash": sound.content_hash,
        }


def truth_table(plan: Sequence[Utterance], *, seed: int) -> pa.Table:
    """What the votes were drawn from, as a distributions table: the vote of a rater picked at random."""
    raters = make_raters(seed=seed)
    rows = [
        {"utterance_id": u.utterance_id, "p": expected_votes(raters, u).tolist(), "source": "simulation"} for u in plan
    ]
    return from_rows(rows, DISTRIBUTIONS, labels=LABEL_SETS["demo6"])


def make_corpus(
    out: str | Path,
    *,
    utterances: int = 480,
    voices: int = 32,
    seed: int = 1,
    sentence_set: str = "corpus",
    seen: int = 2,
    workers: int | None = None,
    name: str = "demo",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Corpus:
    """Write a simulated corpus, its votes divided (`seen` votes per utterance, seed 0), with `truth.parquet` beside it.

    Raises OptionError for a plan that cannot be made, OutputError for an existing output, and SerannError where
    espeak-ng is absent.
    """
    if voices < 2 * len(SPLIT_SHARES) or utterances < 10 * voices:
        raise OptionError(
            f"{utterances} utterances of {voices} voices; expected at least {2 * len(SPLIT_SHARES)} voices (two a "
            "split) and ten utterances per voice"
        )
    refuse_existing(Path(out), what="corpus", overwrite=overwrite)
    plan = plan_corpus(utterances=utterances, voices=voices, seed=seed, sentences=sentences(sentence_set))
    provenance = _provenance(seed=seed, voices=voices, sentence_set=sentence_set)
    with _audio_folder(Path(out)) as folder:
        recorded = record_all(plan, folder, seed=seed, workers=workers or os.cpu_count() or 1, progress=progress)
        rows = list(utterance_rows(plan, recorded, seed=seed))
        corpus = _in_memory(name, plan, rows, provenance, seed=seed)
        divided = divide_votes(corpus, seen=seen, seed=0)

        def add_files(partial_corpus: Path) -> None:
            os.rename(folder, partial_corpus / "audio")
            truth = truth_table(plan, seed=seed)
            path = partial_corpus / "truth.parquet"
            write_table(truth, path, DISTRIBUTIONS, labels=corpus.labels, provenance=provenance)

        return write_corpus(
            out, name=name, labels=corpus.labels, utterances=corpus.utterances, votes=divided.votes,
            ratings=divided.ratings, licence=LICENCE, provenance=provenance, simulated=True, scale=SCALE,
            division=divided.division, overwrite=overwrite, extra=add_files,
        )  # fmt: skip


@contextmanager
def _audio_folder(out: Path) -> Iterator[Path]:
    """A folder on the output's file system, so that the sounds can be renamed into the corpus."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".audio", dir=out.parent) as name:
        folder = Path(name) / "audio"
        folder.mkdir()
        yield folder


def _in_memory(
    name: str, plan: Sequence[Utterance], rows: Sequence[dict[str, Any]], provenance: dict[str, Any], *, seed: int
) -> Corpus:
    labels = LABEL_SETS["demo6"]
    raters = make_raters(seed=seed)
    votes = [row for utterance in plan for row in cast_votes(raters, utterance, seed=seed)]
    ratings = [row for utterance in plan for row in cast_ratings(raters, utterance, seed=seed)]
    info = CorpusInfo(
        name=name, labels=labels.to_json(), licence=LICENCE, provenance=provenance, simulated=True, scale=SCALE
    )
    return Corpus(
        Path(), info, labels, from_rows(rows, UTTERANCES, labels=labels), from_rows(votes, VOTES, labels=labels),
        from_rows(ratings, RATINGS, labels=labels),
    )  # fmt: skip


def _provenance(*, seed: int, voices: int, sentence_set: str) -> dict[str, Any]:
    return {
        "simulated": True,
        "made_by": "python -m make_demo.make_corpus",
        "speech": f"{espeak_version()}, voices and emotions of serann's own voice variants",
        "votes": "drawn from a known distribution an utterance by simulated raters; no person listened",
        "seed": seed,
        "voices": voices,
        "sentences": sentence_set,
    }


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="python -m make_demo.make_corpus",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--out", required=True, help="the corpus directory to write")
    parser.add_argument("--utterances", type=int, default=480, help="how many (default 480)")
    parser.add_argument("--voices", type=int, default=32, help="how many speakers (default 32)")
    parser.add_argument("--seed", type=int, default=1, help="another seed: other voices, raters and votes (default 1)")
    parser.add_argument("--sentences", choices=SENTENCE_SETS, default="corpus", help="which set of sentences is said")
    parser.add_argument("--seen", type=int, default=2, help="votes an utterance that are seen in train (default 2)")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: all cores)")
    parser.add_argument("--name", default="demo", help="the corpus's name (default demo)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 when the corpus is written, 2 with one sentence on stderr when it cannot be."""
    options = parse_arguments(argv)
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            seconds = time.monotonic() - started
            print(f"{done}/{total} utterances, {done / seconds:.0f} a second", file=sys.stderr)

    try:
        corpus = make_corpus(
            options.out, utterances=options.utterances, voices=options.voices, seed=options.seed,
            sentence_set=options.sentences, seen=options.seen, workers=options.workers, name=options.name,
            overwrite=options.overwrite, progress=progress,
        )  # fmt: skip
    except SerannError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{corpus.path}: {corpus.info.counts}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
