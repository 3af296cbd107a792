"""How results show themselves: two lines in a terminal, those and the first rows of their table in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

# Rows of its table that a notebook shows of a result, and names that a line lists.
ROWS = 5
NAMES = 6


class Displayed(ABC):
    """A result that is shown by two lines and a table; it stands for its folder wherever a path is taken."""

    __slots__ = ()

    path: Path | None

    @abstractmethod
    def lines(self) -> tuple[str, str]:
        """What it is, and what is in it."""
        ...

    @abstractmethod
    def to_pandas(self, limit: int | None = None) -> pd.DataFrame:
        """Its table, or the first `limit` rows of it."""
        ...

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        said, further = (escape(line) for line in self.lines())
        table = self.to_pandas(ROWS).to_html(max_rows=ROWS, border=0, index=False)
        return f"<p><strong>{said}</strong><br>{further}</p>{table}"

    def __fspath__(self) -> str:
        if self.path is None:
            raise OptionError(f"this {type(self).__name__} lies in no folder, and a path is needed; write it first")
        return str(self.path)


def number(count: int, word: str, words: str | None = None) -> str:
    """A count with its word: 1 vote, 2,880 votes."""
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def columns_of(labels: Sequence[str], values: np.ndarray, taken: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Columns of a table, one a label by its name, from values [U, K]; `label:NAME` where a column has that name."""
    return {(f"label:{name}" if name in taken else name): values[:, k] for k, name in enumerate(labels)}


def frame(columns: dict[str, Any]) -> pd.DataFrame:
    """A pandas table of columns."""
    import pandas

    return pandas.DataFrame(columns)


def records(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A pandas table of rows."""
    import pandas

    return pandas.DataFrame.from_records(list(rows))
