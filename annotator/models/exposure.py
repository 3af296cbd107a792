"""What is publicly stated about a model having met a corpus: an audit on data that a model was trained on says little.

Nothing is inferred. Where a model's makers say nothing, the exposure is unknown, which is no statement that there was
none.
"""

from __future__ import annotations

import re
from typing import NamedTuple

UNKNOWN = "unknown"


class Exposure(NamedTuple):
    """What is stated of one corpus: `status` in a few words, `stated` in a sentence, and the `source` of both."""

    status: str
    stated: str
    source: str


# Corpora that audits meet, and how the names begin that they are given: no letter may follow, signs in between may.
CORPORA = {
    "IEMOCAP": ("iemocap",),
    "MELD": ("meld",),
    "MSP-Podcast": ("msppodcast",),
    "MSP-IMPROV": ("mspimprov",),
    "CREMA-D": ("cremad",),
    "Emo-DB": ("emodb",),
    "RAVDESS": ("ravdess",),
    "ESD": ("esd",),
    "CMU-MOSEI": ("cmumosei", "mosei"),
    "EMO-SUPERB": ("emosuperb",),
    "serann-demo": ("seranndemo", "demo"),
}

QWEN2_AUDIO: dict[str, Exposure] = {
    "MELD": Exposure(
        "evaluated on its test split",
        "its makers report accuracy on the test split of MELD, and state that their evaluation datasets were excluded "
        "from the training data; whether that holds for MELD's other splits is not stated",
        "Qwen2-Audio Technical Report, arXiv 2407.10759, section 3.1, tables 1 and 2",
    ),
    "IEMOCAP": Exposure(
        "in a benchmark it was evaluated on",
        "its makers list IEMOCAP among the sources of the AIR-Bench chat benchmark that they evaluate on, and state "
        "that their evaluation datasets were excluded from the training data; whether that holds for all of IEMOCAP "
        "is not stated, and a public question about it has no answer from them",
        "Qwen2-Audio Technical Report, arXiv 2407.10759, section 3.1, table 1; github.com/QwenLM/Qwen2-Audio, issue 77",
    ),
}

DEMO: dict[str, Exposure] = {
    "serann-demo": Exposure(
        "trained on its kind",
        "it was trained on 6,000 simulated utterances of other voices, made by the program that made this corpus, with "
        "half of its sentences among what they say",
        "data/demo/README.md",
    ),
    **{
        name: Exposure(
            "none", "it was trained on simulated utterances alone, and has never met it", "data/demo/README.md"
        )
        for name in CORPORA
        if name != "serann-demo"
    },
}


def corpus_called(name: str) -> str | None:
    """The corpus of `CORPORA` that a name begins like (CREMA-D of `crema-d-voice`); None for none of them.

    >>> corpus_called("CREMA_D, voice"), corpus_called("democracy")
    ('CREMA-D', None)
    """
    for corpus, starts in CORPORA.items():
        spelt = "|".join(r"[^a-z0-9]*".join(start) for start in starts)
        if re.match(rf"({spelt})(?![a-z])", name.casefold()):
            return corpus
    return None


def exposure_in_words(known: dict[str, Exposure], model: str, corpus: str) -> str:
    """One sentence on what is stated of a model having met a corpus, with its source; or that nothing is known here."""
    called = corpus_called(corpus)
    found = None if called is None else known.get(called)
    if found is not None:
        return f"Exposure of {model} to {called}: {found.stated} ({found.source})."
    name = called or corpus
    why = (
        "no public statement about it is known to serann"
        if called
        else "serann knows no public corpus by that name, and the model may have met it under another"
    )
    return f"Exposure of {model} to {name}: {UNKNOWN}; {why}. It may have been trained on it."
