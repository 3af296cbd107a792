"""IEMOCAP's evaluation files: per utterance a header line, the raters' and the actors' answers, a blank line."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .base import Gatherer
from .text import numbered_lines

SCALE = (1.0, 5.0)

_HEADER = re.compile(r"\[\s*([\d.]+)\s*-\s*([\d.]+)\s*\]\s+([\w.-]+)\s+(\S+)\s+\[([^\]]*)\]\s*")
_ANSWER = re.compile(r"([CA])-([EFM]\w*)\s*:(.*)")
_ATTRIBUTE = re.compile(r"(val|act|dom)\b\s*(\S*)")
_SPOKEN = re.compile(r"Ses(\d\d)[FM]_(\w+)_([FM])[^\W_]*")
_DIMENSIONS = {"val": "valence", "act": "arousal", "dom": "dominance"}


class Dialogue(NamedTuple):
    """A dialogue's evaluations: its name, its file's name in messages, and where an utterance's sound lies."""

    name: str
    file: str
    sound: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class _Block:
    """The utterance that lines belong to and who has voted on it, or (`why`) the reason that they belong to none."""

    utterance: str | None = None
    session: str = ""
    why: str = "an evaluation without an utterance above it"
    voted: set[str] = field(default_factory=set)


def read_evaluations(gatherer: Gatherer, source: Dialogue, text: str, remarks: dict[str, list[str]]) -> None:
    """Read one dialogue's blocks; what raters wrote beside attributes goes to `remarks`, by utterance."""
    block, file = _Block(), source.file
    for number, raw in numbered_lines(text):
        line = raw.strip()
        answer = _ANSWER.fullmatch(line)
        if not line or line.startswith("%"):
            block = _Block()
        elif line.startswith("["):
            block = _header(gatherer, source, number, line)
        elif answer is None:
            _unread(gatherer, block, file, number, line)
        elif answer[1] == "C":
            _votes(gatherer, block, file, number, answer)
        else:
            _ratings(gatherer, block, file, number, answer, remarks)


def _unread(gatherer: Gatherer, block: _Block, file: str, number: int, line: str) -> None:
    """List a line that is no answer; unless it speaks of attributes, a vote may have been in it."""
    seen = 0 if _ATTRIBUTE.search(line.partition("(")[0]) else len(_labels(line.partition(":")[2])) or 1
    gatherer.count_in(seen)
    reason = "neither an utterance nor an answer"
    gatherer.problem(file, number, reason, content=line, votes=seen, utterance=block.utterance)


def _header(gatherer: Gatherer, source: Dialogue, number: int, line: str) -> _Block:
    match, file, dialogue = _HEADER.fullmatch(line), source.file, source.name
    if match is None:
        gatherer.problem(file, number, "an utterance's header that cannot be read", content=line)
        return _Block(why="an evaluation below a header that cannot be read")
    start, end, utterance, code, means = match.groups()
    if utterance in gatherer:
        reason = f"utterance {utterance} is there twice; its first evaluation is kept"
        gatherer.problem(file, number, reason, content=line, utterance=utterance)
        return _Block(why=reason)
    # The letter after the session wears the markers; who speaks is said by the last part of the id.
    spoken = _SPOKEN.fullmatch(utterance)
    session, letter = (f"Ses{spoken[1]}", spoken[3]) if spoken else ("", None)
    scene = spoken[2] if spoken else dialogue
    scripted = "script" in scene
    valence, arousal, dominance = _means(means)
    gatherer.utterance(
        utterance,
        speaker=f"{session}{letter}" if letter else None,
        gender={"F": "female", "M": "male", None: None}[letter],
        audio=source.sound(utterance),
        dialogue=dialogue,
        session=session or None,
        scenario="scripted" if scripted else "improvised" if "impro" in scene else None,
        script=scene if scripted else None,
        consensus=None if code.casefold() == "xxx" else gatherer.label(code) or code,
        consensus_code=code,
        consensus_valence=valence,
        consensus_arousal=arousal,
        consensus_dominance=dominance,
        dialog_start=_number(start),
        dialog_end=_number(end),
    )
    return _Block(utterance, session)


def _means(text: str) -> list[float | None]:
    """The header's valence, activation and dominance, each null where it is not there."""
    values = [_number(field) for field in text.split(",")]
    return (values + [None] * 3)[:3]


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def _labels(text: str) -> list[str]:
    """The labels of an answer: what stands before the remark, between semicolons."""
    fields = (field.strip() for field in text.partition("(")[0].split(";"))
    return [field for field in fields if field]


def _remark(text: str) -> str | None:
    """What a rater wrote in the brackets at the end of an answer."""
    _, bracket, remark = text.partition("(")
    return remark.strip().removesuffix(")").strip() or None if bracket else None


def _rater(block: _Block, name: str) -> str:
    """Evaluators have one id throughout; the actors' ids start again in each session."""
    return name if name.startswith("E") or not block.session else f"{block.session}_{name}"


def _votes(gatherer: Gatherer, block: _Block, file: str, number: int, answer: re.Match[str]) -> None:
    """Take in a label line: each of its labels is a vote, all of them together weigh one."""
    labels = _labels(answer[3])

    def refuse_vote(reason: str, votes: int) -> None:
        gatherer.count_in(votes)
        where = {"utterance": block.utterance, "rater": answer[2]}
        gatherer.problem(file, number, reason, content=answer.string, votes=votes, **where)

    if block.utterance is None or not labels:
        refuse_vote("a vote that names no label" if block.utterance else block.why, len(labels) or 1)
        return
    if answer[2] in block.voted:
        refuse_vote(f"rater {answer[2]} voted already; the first line is kept", len(labels))
        return
    block.voted.add(answer[2])
    distinct: dict[str, str] = {}
    for label in labels:
        meant = gatherer.label(label) or label.casefold()
        if meant in distinct:
            refuse_vote(f"the vote names {label!r} twice", 1)
        distinct.setdefault(meant, label)
    for label in distinct.values():
        gatherer.vote(
            block.utterance,
            label,
            file=file,
            line=number,
            rater=_rater(block, answer[2]),
            source="human" if answer[2].startswith("E") else "self",
            weight=1 / len(distinct),
            free_text=_remark(answer[3]),
        )


def _ratings(
    gatherer: Gatherer, block: _Block, file: str, number: int, answer: re.Match[str], remarks: dict[str, list[str]]
) -> None:
    content, where = answer.string, {"utterance": block.utterance, "rater": answer[2]}
    if block.utterance is None:
        gatherer.problem(file, number, block.why, content=content, **where)
        return
    remark = _remark(answer[3])
    if remark:
        remarks.setdefault(block.utterance, []).append(f"A-{answer[2]}: {remark}")
    rated = _ATTRIBUTE.findall(answer[3].partition("(")[0].replace(";", " ; "))
    if not rated:
        gatherer.problem(file, number, "an attribute line without an attribute", content=content, **where)
    for short, text in rated:
        value = _number(text)
        if text in ("", ";"):  # 36 lines of the release stop before dominance's value
            continue
        if value is None or not SCALE[0] <= value <= SCALE[1]:
            reason = f"{_DIMENSIONS[short]} is {text!r}; expected a number from 1 to 5"
            gatherer.problem(file, number, reason, content=content, **where)
            continue
        gatherer.rating(
            block.utterance,
            _DIMENSIONS[short],
            value,
            file=file,
            line=number,
            rater=_rater(block, answer[2]),
            source="human" if answer[2].startswith("E") else "self",
        )
