"""Readers of the field's corpora: each turns a release's own files into serann's tables, and loses no vote."""

from importlib import import_module

from ..errors import OptionError
from .base import Imported, Options, Reader

# Name to the module here; imported when chosen. Each module holds its `READER`.
READERS: dict[str, str] = {
    "msp-podcast": "msp_podcast",
    "iemocap": "iemocap",
    "crema-d": "crema_d",
    "msp-improv": "msp_improv",
    "emo-db": "emo_db",
    "emo-superb": "emo_superb",
    "ravdess": "ravdess",
    "esd": "esd",
    "meld": "meld",
    "cmu-mosei": "cmu_mosei",
    "label-studio": "label_studio",
    "table": "table",
    "hf": "hf",
}


def load_reader(name: str) -> Reader:
    """The reader of that name; `OptionError` listing the names there are."""
    if name not in READERS:
        raise OptionError(f"unknown reader {name!r}; expected one of {', '.join(READERS)}")
    return import_module(f".{READERS[name]}", __name__).READER


def takers(option: str) -> dict[str, str]:
    """The readers that take an option, each with what it may be there ("" where the reader's page says it)."""
    found = {name: load_reader(name) for name in READERS}
    return {name: reader.values.get(option, "") for name, reader in found.items() if option in reader.options}


__all__ = ["READERS", "Imported", "Options", "Reader", "load_reader", "takers"]
