"""The utterances where a panel and the humans agree most and least, to be heard."""

from __future__ import annotations

import numpy as np

from ...data.corpus import Corpus
from ...data.scores.divergences import as_distribution, jsd_bits
from ...data.scores.proper_scores import sq_unbiased
from .result import Example
from .scorer import Reference

EACH = 10


def choose_examples(corpus: Corpus, reference: Reference, q: np.ndarray, *, each: int = EACH) -> list[Example]:
    """The `each` utterances of lowest and of highest squared error against all their human votes, ties by id.

    All human votes are shown, scored or not: this is a picture, chosen by its outcome, and no figure rests on it.
    """
    votes = reference.scored + reference.other
    error, divergence = sq_unbiased(q, votes), jsd_bits(q, votes)
    order = np.lexsort((np.array(reference.ids), error))
    each = min(each, len(order) // 2)
    speakers, transcripts = (corpus.utterances[name].to_pylist() for name in ("speaker", "transcript"))
    human, panel = as_distribution(votes), as_distribution(q)
    chosen = [("most", i) for i in order[:each]] + [("least", i) for i in order[::-1][:each]]
    return [
        Example(
            utterance_id=reference.ids[i],
            agreement=agreement,
            human=human[i].tolist(),
            panel=panel[i].tolist(),
            votes=int(votes[i].sum()),
            sq_unbiased=float(error[i]),
            jsd_bits=float(divergence[i]),
            speaker=speakers[int(reference.rows[i])],
            transcript=transcripts[int(reference.rows[i])],
        )
        for agreement, i in chosen
    ]
