"""CREMA-D's single responses, with the raters' identity and the authors' filter of slow ones."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import CorpusError
from .base import Gatherer
from .crema_d_clips import CLIP, LETTERS, MODALITIES, columns_of
from .text import Row

RESPONSES = ("localid", "ttr", "queryType", "questNum", "clipNum", "clipName", "sessionNums", "respEmo", "respLevel")
TIMES = ("sessionNums", "queryType", "questNum", "ttr")
SLOWEST_MS = 10_000


def gather_responses(gatherer: Gatherer, path: Path, code: str, times: Sequence[Path]) -> set[str]:
    """Gather one modality's responses, each a vote of its rater; `times` is the file of first clicks, to filter by."""
    _, rows, odd = columns_of(path, RESPONSES)
    slow = {key for file in times for key in _slow(gatherer, file)}
    clips: set[str] = set()
    cast: set[tuple[str, str]] = set()
    for row in rows:
        query = row.fields["queryType"].strip()
        if query != code and query in MODALITIES.values() and "\n" not in row.content:
            continue
        fields = {name: row.fields[name].strip() for name in RESPONSES}
        rater = fields["localid"] or (f"session-{fields['sessionNums']}" if fields["sessionNums"] else None)
        clip = fields["clipName"]
        reason = _unwanted(row, fields, code, slow)
        if not reason and rater and (rater, clip) in cast:
            reason = f"rater {rater} voted on this clip already"
        if reason:
            _lose(gatherer, path, row, reason)
            continue
        clips.add(clip)
        gatherer.utterance(clip)
        gatherer.vote(clip, fields["respEmo"], file=path.name, line=row.line, rater=rater)
        cast |= {(rater, clip)} if rater else set()
        for odd_value in _odd_values(fields):
            gatherer.problem(path.name, row.line, odd_value, content=row.content, utterance=clip, rater=rater)
    for row in odd:
        _lose(gatherer, path, row, "another number of fields than the header's")
    return clips


def _lose(gatherer: Gatherer, path: Path, row: Row, reason: str) -> None:
    """List a response that is no vote; a quotation mark that swallowed lines swallowed a vote with each."""
    votes = 1 + row.content.count("\n")
    gatherer.count_in(votes)
    clip, rater = (row.fields.get(name, "").strip() or None for name in ("clipName", "localid"))
    gatherer.problem(path.name, row.line, reason, content=row.content, votes=votes, utterance=clip, rater=rater)


def _unwanted(row: Row, fields: dict[str, str], code: str, slow: set[int]) -> str:
    """Why a response is no vote of this modality; empty where it is one."""
    if "\n" in row.content:
        return "a quoted field that goes on over several lines"
    if fields["queryType"] != code:
        return f"queryType {fields['queryType']!r} is no modality (expected 1, 2 or 3)"
    if fields["clipNum"] in ("7443", "7444"):
        return "a practice clip"
    if not CLIP.fullmatch(fields["clipName"]):
        return f"{fields['clipName']!r} is no clip's name"
    if fields["respEmo"] not in LETTERS:
        return f"unknown label {fields['respEmo']!r}; expected one of {', '.join(LETTERS)}"
    if _key(fields) in slow:
        return f"the first click came after more than {SLOWEST_MS:,} ms (the authors' filter)"
    return ""


def _odd_values(fields: dict[str, str]) -> list[str]:
    """What is wrong with a response whose vote stands."""
    problems = []
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", fields["respLevel"]):
        problems.append(f"respLevel is {fields['respLevel']!r}, not a number; the vote is kept")
    if fields["ttr"].startswith("-"):
        problems.append(f"ttr is negative ({fields['ttr']} ms); the vote is kept")
    return problems


def _slow(gatherer: Gatherer, path: Path) -> set[int]:
    """The keys of responses whose first click took too long, as processFinishedResponses.R computes them."""
    if not path.is_file():
        raise CorpusError(
            f"the official filter needs {path}, which is missing; copy it there, or import every response with "
            "--filter none"
        )
    _, rows, odd = columns_of(path, TIMES)
    slow: set[int] = set()
    for row in rows:
        key, time = _key(row.fields), re.fullmatch(r"(-?[0-9]+)(\.[0-9]+)?", row.fields["ttr"].strip())
        if key is None or time is None:
            odd.append(row)
        elif float(time[0]) > SLOWEST_MS:
            slow.add(key)
    for row in odd:
        gatherer.problem(path.name, row.line, "a time the filter cannot use", content=row.content)
    return slow


def _key(fields: dict[str, str]) -> int | None:
    numbers = [fields[name].strip() for name in ("sessionNums", "queryType", "questNum")]
    if not all(re.fullmatch("[0-9]{1,9}", text) for text in numbers):
        return None
    session, query, question = map(int, numbers)
    return session * 1000 + query * 100 + question
