"""The new utterances of a fusion: how many, of which labels, how long, how large on disk, and some to be heard.

Before they are written, seconds follow from the parents' and the tempo (a mixture lasts as long as the shorter parent),
and bytes from a few takes, drawn by the seed and made in memory: a guess, and said to be one. Afterwards both are
those of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...data.audio import SAMPLE_RATE, utterance_audio
from ...data.seeds import rng_from
from .augmented import flac, new_sound
from .describe import Fusion, new_distributions
from .dime.paper import NewUtterance, turn_seconds

SHOWN = 6
MEASURED = 8


class Take(NamedTuple):
    """One new utterance: its id and how it was made, its parents' ids and places, their distributions and its own."""

    utterance_id: str
    how: str
    parents: list[str]
    rows: list[int]
    parents_p: list[list[float]]
    p: list[float]


class Added(NamedTuple):
    """Number of new utterances, in all and by dominant label; their seconds and bytes (`measured`: of the files, else
    a guess; NaN bytes: not guessed); expected mass by label before, aimed at and after; some of them, by the seed."""

    form: str
    new: int
    by_label: dict[str, int]
    seconds: float
    bytes: float
    measured: bool
    masses: dict[str, dict[str, float]]
    takes: list[Take]


def added(fusion: Fusion, *, guess_bytes: bool) -> Added | None:
    """What a plan comes to; None where nothing is to be added."""
    plan, labels = fusion.plan, fusion.evidence.labels
    if plan is None:
        return None
    p = new_distributions(fusion.blend, plan.items)
    dominant = np.bincount(p.argmax(axis=1), minlength=len(labels))
    seconds = float(sum(take_seconds(fusion, item) for item in plan.items))
    order = rng_from("fusion report", "takes", fusion.options.seed).permutation(len(plan.items))
    a_second = bytes_a_second(fusion, [plan.items[i] for i in order[:MEASURED]]) if guess_bytes else np.nan
    return Added(
        form=fusion.options.dime,
        new=len(plan.items),
        by_label=dict(zip(labels, dominant.tolist(), strict=True)),
        seconds=seconds,
        bytes=a_second * seconds,
        measured=False,
        masses={name: plan.details[name] for name in ("mass", "target", "reached") if name in plan.details},
        takes=[_take(fusion, plan.items[i], p[i]) for i in order[:SHOWN]],
    )


def take_seconds(fusion: Fusion, item: NewUtterance) -> float:
    """How long a new utterance will be."""
    longest = fusion.options.max_seconds
    parents = [turn_seconds(fusion.corpus, i, longest=longest) for i in dict.fromkeys((item.first, item.second))]
    return min(parents) if item.perturbation is None else sum(parents) / item.perturbation.tempo


def bytes_a_second(fusion: Fusion, items: Sequence[NewUtterance]) -> float:
    """Mean bytes of FLAC a second of some new utterances, made in memory; 0 for none."""
    longest, size, seconds = fusion.options.max_seconds, 0, 0.0
    for item in items:
        sound = new_sound(item, lambda i: utterance_audio(fusion.corpus, i, max_seconds=longest))
        size += len(flac(sound))
        seconds += len(sound) / SAMPLE_RATE
    return size / seconds if seconds else 0.0


def as_written(found: Added, rows: Sequence[dict[str, Any]], directory: Path) -> Added:
    """The same with the seconds and bytes of the files below `directory`."""
    size = sum((directory / row["audio"]).stat().st_size for row in rows)
    return found._replace(seconds=float(sum(row["duration"] for row in rows)), bytes=float(size), measured=True)


def _take(fusion: Fusion, item: NewUtterance, p: np.ndarray) -> Take:
    rows = list(dict.fromkeys((item.first, item.second)))
    ids = fusion.evidence.ids
    parents_p = [fusion.blend.p[i].tolist() for i in rows]
    return Take(item.utterance_id, how_made(item), [ids[i] for i in rows], rows, parents_p, p.tolist())


def how_made(item: NewUtterance) -> str:
    """The parameters of one take in words."""
    how = item.perturbation
    if how is None:
        return f"two voices mixed, {1 - item.alpha:.2f} of the first and {item.alpha:.2f} of the second"
    parts = [f"pitch {how.pitch_semitones:+.2f} semitones", f"tempo {how.tempo:.3f}", f"gain {how.gain_db:+.1f} dB"]
    if how.snr_db is not None:
        parts.append(f"noise at {how.snr_db:.0f} dB")
    if how.room_rt60 is not None:
        parts.append(f"a room of {how.room_rt60:.2f} s")
    if item.first != item.second:
        parts.insert(0, "two turns of one speaker joined")
    return ", ".join(parts)
