"""What every export writes, gathered once: distributions, synthetic votes, mean ratings, and where the sounds lie."""

import io
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..arrow import pc
from ..corpus import Corpus
from ..errors import CorpusError
from ..policies import distributions
from ..schemas import DIMENSIONS
from ..sound_paths import absolute_audio
from ..tables import VOTES, validate


@dataclass(frozen=True)
class Content:
    """A corpus ready to go out. `p` [U, K] has NaN rows where the policy gives no distribution; `mass` [U] is the
    number of votes behind it.
    """

    corpus: Corpus
    policy: str
    p: np.ndarray
    mass: np.ndarray
    synthetic: pa.Table
    copy: bool
    notes: tuple[str, ...] = ()

    @cached_property  # exports ask for it by utterance
    def has_distribution(self) -> np.ndarray:
        """Mask [U]."""
        return np.asarray(~np.isnan(self.p).any(axis=1))

    @cached_property
    def audio(self) -> list[str | None]:
        """Each utterance's sound by absolute path (or remote address)."""
        return absolute_audio(self.corpus)["audio"].to_pylist()

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The utterances as dicts, in the corpus's order."""
        return self.corpus.utterances.to_pylist()

    @property
    def votes(self) -> pa.Table:
        """Human and synthetic votes in one table."""
        return pa.concat_tables([_plain(self.corpus.votes), _plain(self.synthetic)])

    def mean_ratings(self) -> dict[str, np.ndarray]:
        """Each rated dimension's mean over human ratings [U], NaN where there is none."""
        found: dict[str, np.ndarray] = {}
        if self.corpus.ratings is None:
            return found
        human = self.corpus.ratings.filter(pc.equal(self.corpus.ratings["source"], "human"))
        ids = pa.array(self.corpus.ids)
        means = human.group_by(["utterance_id", "dimension"]).aggregate([("value", "mean")])
        for name in DIMENSIONS:
            of = means.filter(pc.equal(means["dimension"], name))
            if of.num_rows:
                found[name] = np.full(len(ids), np.nan)
                place = pc.index_in(of["utterance_id"], value_set=ids).to_numpy(zero_copy_only=False)
                found[name][place] = of["value_mean"].to_numpy(zero_copy_only=False)
        return found

    def sound(self, i: int) -> tuple[str, bytes] | None:
        """The i-th utterance's sound as a file's name and bytes: the file as it is, or its window cut out as wav.

        None where it cannot be read on this disk. Names begin with the utterance's place, so that no two are the same.
        """
        row = self.rows[i]
        try:
            path = self.corpus.audio_path(i)
        except CorpusError:  # no sound, a remote one, or one that must not be opened
            return None
        if not path.is_file():
            return None
        stem = f"{i:06d}-" + re.sub(r"[^\w.-]+", "_", row["utterance_id"])[:80]
        if row["start"] is None and row["end"] is None:
            return stem + path.suffix, path.read_bytes()
        return f"{stem}.wav", _window(path, row["start"], row["end"])


def gather(corpus: Corpus, run_votes: pa.Table | None, *, policy: str, copy: bool) -> Content:
    """Check a run's votes and turn the human ones into distributions."""
    found = distributions(corpus.votes, corpus.ids, corpus.labels, policy=policy)
    notes = []
    synthetic = corpus.votes.slice(0, 0)
    if run_votes is not None:
        synthetic = validate(run_votes, VOTES, labels=corpus.labels, where="the run's votes")
        known = pc.is_in(synthetic["utterance_id"], value_set=pa.array(corpus.ids))
        strange = synthetic.num_rows - pc.sum(known).as_py() if synthetic.num_rows else 0
        if strange:
            notes.append(f"{strange} votes of the run are on utterances that the corpus does not have: left out")
        synthetic = synthetic.filter(known)
    without = int(np.isnan(found.p).any(axis=1).sum())
    if without:
        notes.append(f"{without} utterances have no distribution by the policy {policy!r}")
    return Content(corpus, policy, found.p, np.asarray(found.votes, dtype=float), synthetic, copy, tuple(notes))


def copied(content: Content, folder: Path) -> tuple[dict[int, str], list[str]]:
    """Put every sound that is there into folder/audio: each one's path from the folder, a remark on those absent."""
    (folder / "audio").mkdir()
    paths: dict[int, str] = {}
    for i in range(len(content.rows)):
        sound = content.sound(i)
        if sound is not None:
            (folder / "audio" / sound[0]).write_bytes(sound[1])
            paths[i] = f"audio/{sound[0]}"
    return paths, absent(len(content.rows) - len(paths))


def absent(many: int) -> list[str]:
    """A remark on sounds that could not be copied."""
    return [f"{many} sounds are not on this disk and were not copied"] if many else []


def _plain(votes: pa.Table) -> pa.Table:
    return votes.replace_schema_metadata(None)


def _window(path: Path, start: float | None, end: float | None) -> bytes:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            first = round((start or 0.0) * file.samplerate)
            last = file.frames if end is None else min(file.frames, round(end * file.samplerate))
            file.seek(min(first, file.frames))
            samples, kind = file.read(max(0, last - first), dtype="float64", always_2d=True), file.subtype
            rate = file.samplerate
    except soundfile.SoundFileError as error:
        raise CorpusError(f"{path}: its window cannot be cut out ({error}); see serann corpus check") from None
    out = io.BytesIO()
    subtype = kind if soundfile.check_format("WAV", kind) else "PCM_16"
    soundfile.write(out, samples, rate, format="WAV", subtype=subtype)
    return out.getvalue()
