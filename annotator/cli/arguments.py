"""What was given where something else belongs: found out by what lies there, and said with the order that holds."""

from pathlib import Path

from ...data.corpus import Corpus, open_corpus
from ...data.errors import CorpusError
from ...data.files import kind_of

# Kinds of directories that answer, as `evaluate` and `compare` want them first.
ANSWERING = {"model": "a trained model", "prediction": "a prediction"}


def open_last(path: str, *, command: str) -> Corpus:
    """Open the corpus that a command takes last; CorpusError with the command's order where a model lies there."""
    found = ANSWERING.get(kind_of(Path(path)) or "")
    if found is not None:
        raise CorpusError(f"{path} is {found}, and the corpus comes last: serann {command}")
    return open_corpus(path)
