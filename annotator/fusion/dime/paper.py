"""`dime-aug --dime paper`: distribution-aware multimodal augmentation as its authors' released code does it.

    group the train utterances by dominant label, arg max p_u;   target = floor(rho * size of the largest group)
    a group of size s gets max(0, target - s) new utterances; each:
        i uniform in the group; j uniform among i's nearest neighbours in the group; alpha ~ U(0, 1)
        sound         x = x_i + alpha (x_j - x_i), sample by sample, both cut to the shorter
        distribution  P = P_i + alpha (P_j - P_i), renormalised
        transcript    t_i if alpha < 0.5, else t_j

Neighbours are Euclidean, on 82 features, standardised within the group: 72 of the sound, mean and standard deviation
over time of 13 MFCC, 12 chroma, 7 spectral contrasts, zero-crossing rate, roll-off, centroid and RMS (librosa's
defaults at 16 kHz; shorter sounds padded with silence to 0.5 s); and 10 of the words: characters, words, '!', '?', '.',
',', share of vowels, share of consonants, mean word length, share of upper-case letters. Source: Zhang et al., ICASSP
2026 (arXiv 2601.14620), released code and training script. What it does not say in words, kept here and named:

- The query utterance is among its own k neighbours and is then skipped, so k = 3 means two neighbours.
  `true_neighbours=True` looks for k others.
- Equation 2 of the paper, P_k = alpha P_i + (1 - alpha) P_j, runs opposite to the code. Both have the same law; we
  follow the code, with which the text rule agrees.
- The sound is two voices at once. The new utterance bears the speaker of i, and `parents` lists both.
- Its authors keep i's prompt, which holds t_i; here the transcript column holds the text chosen by the rule.

Only train utterances are parents and only train rows are made. Draws are seeded by label and number, and parents taken
in the order of their ids, so the result does not depend on the order of rows.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from ....data.corpus import Corpus
from ....data.errors import AudioError, CorpusError, OptionError
from ....data.labels import LabelSet
from ....data.seeds import seed_from
from .plan import SAMPLE_RATE, NewUtterance, Plan, Progress, counter, load_librosa, parent_sound

DISTANCES_AT_ONCE = 4_000_000
SHORTEST = 8_000
AUDIO_FEATURES = 72
TEXT_FEATURES = 10
VOWELS = frozenset("aeiouAEIOU")

# --------------------
# The 82 numbers by which two utterances are called alike.


def audio_features(samples: np.ndarray, librosa: ModuleType) -> np.ndarray:
    """The 72 statistics of a sound at 16 kHz: the 36 means, then the 36 standard deviations.

    One short-time Fourier transform serves chroma, contrast, roll-off and centroid, which librosa would otherwise
    compute four times over.
    """
    y = np.asarray(samples, dtype=np.float32)
    if len(y) < SHORTEST:
        y = np.pad(y, (0, SHORTEST - len(y)))
    with warnings.catch_warnings():
        # Sounds without a pitch (silence, whispers) have no tuning to estimate; librosa takes 0 and says so each time.
        warnings.filterwarnings("ignore", message="Trying to estimate tuning from empty frequency set")
        tracks = _tracks(y, librosa)
    return np.concatenate([t.mean(axis=1) for t in tracks] + [t.std(axis=1) for t in tracks]).astype(float)


def _tracks(y: np.ndarray, librosa: ModuleType) -> list[np.ndarray]:
    magnitude = np.abs(librosa.stft(y))
    power = magnitude**2
    mel = librosa.feature.melspectrogram(S=power, sr=SAMPLE_RATE)
    return [
        librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=SAMPLE_RATE, n_mfcc=13),
        librosa.feature.chroma_stft(S=power, sr=SAMPLE_RATE),
        librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.zero_crossing_rate(y),
        librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.rms(y=y),
    ]


def text_features(text: str | None) -> np.ndarray:
    """The 10 lexical counts; shares are of all characters. No transcript counts as an empty text.

    >>> text_features("Oh no!").round(3).tolist()
    [6.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.333, 0.333, 2.5, 0.167]
    """
    text = text or ""
    words = text.split()
    length = max(1, len(text))
    vowels = sum(c in VOWELS for c in text)
    letters = sum(c.isalpha() for c in text)
    return np.array(
        [
            len(text),
            len(words),
            *(text.count(mark) for mark in "!?.,"),
            vowels / length,
            (letters - vowels) / length,
            float(np.mean([len(word) for word in words])) if words else 0.0,
            sum(c.isupper() for c in text) / length,
        ],
        dtype=float,
    )


def standardise(features: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance a column [U, F]; a constant column becomes 0."""
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


# --------------------
# The plan.


def check_options(*, rho: float, neighbours: int, true_neighbours: bool) -> None:
    """Raise OptionError for rho outside (0, 1] and for a number of neighbours that leaves none."""
    if not 0 < rho <= 1:
        raise OptionError(f"rho is {rho:g}; expected a share of the largest class, above 0 and at most 1 (--rho 0.3)")
    least = 1 if true_neighbours else 2
    if neighbours < least:
        raise OptionError(
            f"neighbours is {neighbours}; expected {least} or more"
            + ("" if true_neighbours else ", for the published procedure counts the utterance among its own neighbours")
        )


def plan(
    corpus: Corpus,
    p: np.ndarray,
    *,
    rho: float = 0.3,
    neighbours: int = 3,
    true_neighbours: bool = False,
    max_seconds: float = 30.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """Choose parents and alpha of every new utterance for distributions `p` [U, K] (NaN where undefined).

    Sounds are read and described only in the classes that are to grow. A sound that cannot be read, or is longer than
    `max_seconds`, is left out as a parent and listed among the failures; a class with a single readable utterance
    cannot grow and is a warning.
    """
    check_options(rho=rho, neighbours=neighbours, true_neighbours=true_neighbours)
    librosa = load_librosa()
    groups = dominant_groups(corpus, p)
    sizes = np.array([len(group) for group in groups])
    needed = new_counts(sizes, rho)
    report = counter(progress, int(sizes[needed > 0].sum()) + int(needed.sum()))
    items, failures, warnings = [], [], []
    for label in np.flatnonzero(needed):
        features, failed = describe(corpus, groups[label], librosa, report, max_seconds=max_seconds)
        failures += failed
        members = np.array([i for i in groups[label] if i in features], dtype=int)
        if len(members) < 2:
            warnings.append(_too_few(corpus.labels, int(label), int(sizes[label]), len(members), int(needed[label])))
            continue
        described = standardise(np.array([features[i] for i in members]))
        items += draw(
            corpus.labels, int(label), int(needed[label]), members, described, neighbours, true_neighbours, seed
        )
    described = int(sizes[needed > 0].sum())
    return Plan(tuple(items), sizes, tuple(failures), tuple(warnings), described)


def dominant_groups(corpus: Corpus, p: np.ndarray) -> list[list[int]]:
    """Rows of the train utterances by dominant label (ties: the first label), each group in the order of its ids."""
    usable = corpus.in_split("train") & ~np.isnan(p).any(axis=1)
    rows = sorted(np.flatnonzero(usable).tolist(), key=lambda i: corpus.ids[i])
    groups: list[list[int]] = [[] for _ in corpus.labels]
    for i in rows:
        groups[int(np.argmax(p[i]))].append(i)
    return groups


def new_counts(sizes: np.ndarray, rho: float) -> np.ndarray:
    """max(0, floor(rho * largest) - size) for every class.

    >>> new_counts(np.array([10, 2, 5]), 0.5)
    array([0, 3, 0])
    """
    # in binary 0.29 * 100 is a hair below 29; twenty-nine is meant
    target = int(np.floor(rho * sizes.max(initial=0) + 1e-9))
    return np.maximum(0, target - sizes)


def describe(
    corpus: Corpus, rows: Sequence[int], librosa, report: Callable[[], None], *, max_seconds: float = 30.0
) -> tuple[dict[int, np.ndarray], list[dict[str, str]]]:
    """Features [82] of every row whose sound can be read, and the failures of the others."""
    transcripts = corpus.utterances["transcript"]
    features, failures = {}, []
    for i in rows:
        try:
            samples = parent_sound(corpus, i, max_seconds=max_seconds)
            features[i] = np.concatenate([audio_features(samples, librosa), text_features(transcripts[i].as_py())])
        except (AudioError, CorpusError) as error:
            failures.append({"utterance_id": corpus.ids[i], "reason": str(error)})
        report()
    return features, failures


def draw(
    labels: LabelSet,
    label: int,
    count: int,
    members: np.ndarray,
    features: np.ndarray,
    neighbours: int,
    true_neighbours: bool,
    seed: int,
) -> list[NewUtterance]:
    """Draw parents and alpha of `count` new utterances of one class; `members` are rows, `features` theirs."""
    name = labels.labels[label]
    seeds = [seed_from(seed, "dime-aug", name, number) >> 1 for number in range(1, count + 1)]
    rngs = [np.random.default_rng(s) for s in seeds]
    first = [int(rng.integers(len(members))) for rng in rngs]
    near = nearest(features, sorted(set(first)), k=neighbours, true_neighbours=true_neighbours)
    items = []
    for number, (i, rng, item_seed) in enumerate(zip(first, rngs, seeds, strict=True), start=1):
        j = int(near[i][int(rng.integers(len(near[i])))])
        alpha = float(rng.random())
        utterance = f"dime-aug-{label:02d}-{re.sub('[^A-Za-z0-9]+', '_', name)}-{number:05d}"
        items.append(NewUtterance(utterance, label, int(members[i]), int(members[j]), alpha, item_seed))
    return items


def nearest(
    features: np.ndarray, queries: Sequence[int], *, k: int, true_neighbours: bool = False
) -> dict[int, np.ndarray]:
    """Nearest rows of each query, itself skipped: of the k nearest rows with it among them, or k others.

    Equal distances keep the order of rows. (Where more than k rows are equal to the query, it may not be among the k.)
    """
    from scipy.spatial.distance import cdist

    k = min(k + 1 if true_neighbours else k, len(features))
    step = max(1, DISTANCES_AT_ONCE // len(features))
    near = {}
    for start in range(0, len(queries), step):
        chunk = list(queries[start : start + step])
        distances = cdist(features[chunk], features)
        if true_neighbours:
            distances[np.arange(len(chunk)), chunk] = -1.0
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        near |= {query: row[row != query] for query, row in zip(chunk, order, strict=True)}
    return near


def _too_few(labels: LabelSet, label: int, size: int, readable: int, needed: int) -> str:
    return (
        f"'{labels.labels[label]}' was to grow by {needed}, and none was made: an utterance needs a neighbour of its "
        f"class (train utterances it dominates: {size}, of which can be read: {readable})"
    )
