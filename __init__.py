"""Synthetic perceptual votes for speech-emotion corpora: drawn from audio-language models, audited, fused, trained on.

Each name is imported when it is first used, so that `import serann` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .annotator.audit import audit
    from .annotator.fusion import fuse
    from .annotator.listening import listener
    from .annotator.run.annotate import annotate
    from .annotator.run.run import open_run
    from .data.corpus import open_corpus
    from .data.frames import corpus_from_frames
    from .data.holdout import hold_out
    from .data.importing import import_corpus
    from .data.labels import LABEL_SETS, LabelSet
    from .trainer import compare, evaluate, predict, train

# Public name, and the module that it comes from.
NAMES = {
    "LABEL_SETS": "data.labels",
    "LabelSet": "data.labels",
    "annotate": "annotator.run.annotate",
    "audit": "annotator.audit",
    "compare": "trainer",
    "corpus_from_frames": "data.frames",
    "evaluate": "trainer",
    "fuse": "annotator.fusion",
    "hold_out": "data.holdout",
    "import_corpus": "data.importing",
    "listener": "annotator.listening",
    "open_corpus": "data.corpus",
    "open_run": "annotator.run.run",
    "predict": "trainer",
    "train": "trainer",
}

__all__ = [
    "LABEL_SETS",
    "LabelSet",
    "__version__",
    "annotate",
    "audit",
    "compare",
    "corpus_from_frames",
    "evaluate",
    "fuse",
    "hold_out",
    "import_corpus",
    "listener",
    "open_corpus",
    "open_run",
    "predict",
    "train",
]

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value = version("serann")
    elif name in NAMES:
        value = getattr(import_module(f".{NAMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module 'serann' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
