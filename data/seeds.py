"""Random numbers that depend on what is drawn, never on the order in which it is drawn."""

import hashlib
from collections.abc import Sequence

import numpy as np


def seed_from(*parts: object) -> int:
    """Derive a 64-bit seed from the parts' text: equal parts give equal seeds on every machine, in every order of work.

    >>> seed_from("holdout", 0, "utt_1") == seed_from("holdout", 0, "utt_1")
    True
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def rng_from(*parts: object) -> np.random.Generator:
    """Return a generator seeded by `seed_from(*parts)`."""
    return np.random.default_rng(seed_from(*parts))


def uniforms(names: Sequence[str], n: int, *parts: object) -> np.ndarray:
    """Return [len(names), n] numbers uniform in [0, 1): entry (i, j) depends on names[i], j and the parts alone.

    So row i is the same in any company and its first entries stay when n grows. The stream is SplitMix64 (Steele, Lea
    and Flood, OOPSLA 2014) started at `seed_from(*parts, name)`.
    """
    prefix = "\x1f".join(str(part) for part in parts) + "\x1f"
    digests = b"".join([hashlib.sha256(f"{prefix}{name}".encode()).digest() for name in names])
    start = np.frombuffer(digests, dtype=">u8").reshape(-1, 4)[:, 0].astype(np.uint64)
    with np.errstate(over="ignore"):
        z = start[:, None] + np.arange(1, n + 1, dtype=np.uint64)[None, :] * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
