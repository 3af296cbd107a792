"""Which utterances are asked together: like with like, and no more sound at once than the memory holds."""

from collections.abc import Sequence

import numpy as np

# What an utterance of unknown length is taken for.
UNKNOWN_SECONDS = 30.0


def plan_batches(
    rows: Sequence[int],
    durations: np.ndarray,
    size: int,
    *,
    seconds: float | None = None,
    extra: float = 0.0,
    windows: np.ndarray | None = None,
) -> list[list[int]]:
    """Cut `rows` into batches of similar length, longest first: at most `size` sounds, at most `seconds` of sound.

    The longest come first so that a batch too large for the memory shows at once. Sound counts as it is computed: every
    sound of a batch as long as its longest, plus `extra` for its text. `durations` [all utterances] in seconds, NaN
    where unknown (those come last). An utterance is one sound, or as many as it is cut into equal `windows` [all
    utterances]; these stay together, and one utterance is always allowed. Equal input gives equal batches.
    """
    pieces = np.ones(len(durations), dtype=int) if windows is None else windows
    keys = np.nan_to_num(durations, nan=0.0) / pieces
    cost = np.nan_to_num(durations, nan=UNKNOWN_SECONDS) / pieces + extra
    batches: list[list[int]] = []
    longest, held = 0.0, 0
    for row in sorted(rows, key=lambda row: (-keys[row], -pieces[row], row)):
        widest, count = max(longest, float(cost[row])), held + int(pieces[row])
        if not batches or count > size or (seconds is not None and widest * count > seconds):
            batches.append([row])
            longest, held = float(cost[row]), int(pieces[row])
        else:
            batches[-1].append(row)
            longest, held = widest, count
    return batches
