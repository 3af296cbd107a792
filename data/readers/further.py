"""Columns of a table that serann has no field for: kept with the utterances, where they belong to these."""

import json
from collections.abc import Sequence
from typing import Any

from ..schemas import UTTERANCES
from .tables.sheets import Sheet, plain_text, text_of


def further_columns(
    sheet: Sheet, claimed: set[str], ids: Sequence[str | None]
) -> tuple[dict[str, list[Any]], list[str]]:
    """The values, by row, of columns that no field claims; and the columns that are left.

    Left are those that differ within an utterance, or hold bytes. Numbers stay numbers where the whole column holds
    numbers; anything else is text.
    """
    kept, left = {}, []
    for name in sheet.columns:
        column = plain_text(name)
        if name in claimed or column == "content_hash":  # a fact of the sound, found again from the sound
            continue
        values = [None if line.broken else line.fields.get(name) for line in sheet.lines]
        if column in UTTERANCES.columns or not column.strip() or any(isinstance(v, bytes | bytearray) for v in values):
            left.append(name)
            continue
        plain = _alike(values)
        if _differs(plain, ids):
            left.append(name)
        elif any(value is not None for value in plain):
            kept[column] = plain
    return kept, left


def _alike(values: Sequence[Any]) -> list[Any]:
    """The values as one type: whole numbers, numbers, truth values, or text."""
    kinds = {type(value) for value in values if text_of(value) is not None}
    numbers = kinds <= {int, float} and all(not isinstance(v, int) or abs(v) < 2**53 for v in values)
    if kinds == {bool} or (kinds and numbers):
        whole = kinds == {int}
        return [None if text_of(v) is None else v if whole or kinds == {bool} else float(v) for v in values]
    return [text_of(value) for value in values]


def _differs(values: Sequence[Any], ids: Sequence[str | None]) -> bool:
    seen: dict[str, str] = {}
    for name, value in zip(ids, values, strict=True):
        if name is not None and value is not None:
            text = json.dumps(value)
            if seen.setdefault(name, text) != text:
                return True
    return False
