"""Which utterances are asked together: like with like, and no more sound at once than the memory holds."""

from collections.abc import Sequence

import numpy as np

# What an utterance of unknown length is taken for.
UNKNOWN_SECONDS = 30.0


def plan_batches(
    rows: Sequence[int], durations: np.ndarray, size: int, *, seconds: float | None = None, extra: float = 0.0
) -> list[list[int]]:
    """Cut `rows` into batches of similar length, longest first: at most `size` utterances, at most `seconds` of sound.

    The longest come first so that a batch too large for the memory shows at once. Sound counts as it is computed: every
    utterance of a batch as long as its longest, plus `extra` for its text. One utterance is always allowed. `durations`
    [all utterances] in seconds, NaN where unknown (those come last). Equal input gives equal batches.
    """
    keys = np.nan_to_num(durations, nan=0.0)
    cost = np.nan_to_num(durations, nan=UNKNOWN_SECONDS) + extra
    batches: list[list[int]] = []
    longest = 0.0
    for row in sorted(rows, key=lambda row: (-keys[row], row)):
        batch = batches[-1] if batches else None
        widest = max(longest, float(cost[row]))
        full = batch is None or len(batch) >= size or (seconds is not None and widest * (len(batch) + 1) > seconds)
        if batch is None or full:
            batches.append([row])
            longest = float(cost[row])
        else:
            batch.append(row)
            longest = widest
    return batches
