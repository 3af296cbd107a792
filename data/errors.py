"""The sentences a user reads when something is wrong: what was found, what was expected, what to do."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class SerannError(Exception):
    """A mistake that the user can mend; the command line prints it as one sentence and ends with `exit_code`."""

    exit_code = 2


class TableError(SerannError):
    """A table that breaks its schema; carries every problem found in it, not the first alone."""

    def __init__(self, where: str, problems: Sequence[str]):
        self.where = where
        self.problems = tuple(problems)
        super().__init__(list_problems(where, self.problems))


class CorpusError(SerannError):
    """A corpus that is absent, broken, of a newer format, or not fit for what was asked."""


class RunError(SerannError):
    """An annotation run that is absent, broken, or of another identity than the one asked for."""


class LabelError(SerannError):
    """A label or label set that is unknown, or does not fit another."""


class AudioError(SerannError):
    """Audio that cannot be listened to; one utterance's failure, not the run's."""


class ModelError(SerannError):
    """A model that cannot be found, loaded or used here."""


class PromptError(SerannError):
    """A question or panel file that is absent or wrong."""


class OptionError(SerannError):
    """Options that contradict each other or lie outside their range."""


class OutputError(SerannError):
    """An output that exists already, or a place that cannot be written."""


def list_problems(header: str, problems: Sequence[str], *, most: int = 20) -> str:
    """Compose one message of a header and its problems, the first `most` in full and the rest as a count.

    >>> list_problems("votes.parquet", ["row 3: unknown label 'anger'"])
    "votes.parquet: row 3: unknown label 'anger'"
    """
    if len(problems) == 1:
        return f"{header}: {problems[0]}"
    lines = [f"{header}: {len(problems)} problems", *(f"  - {problem}" for problem in problems[:most])]
    if len(problems) > most:
        lines.append(f"  … and {len(problems) - most} more")
    return "\n".join(lines)


def few(names: Sequence[object], most: int = 3) -> str:
    """The first `most` of the names, and how many more there are: no sentence lists what may have no end.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def alternatives(names: Iterable[str], *, default: str | None = None) -> str:
    """Names as a choice in a sentence.

    >>> alternatives(["kl", "ce", "jsd"], default="kl")
    'kl (default), ce or jsd'
    """
    *first, last = (f"{name} (default)" if name == default else name for name in names)
    return f"{', '.join(first)} or {last}" if first else last


# --------------------
# Utterances that failed, counted by reason.

# A sound's name at the start of a reason (folders, a name, an ending), and a number: these differ within a kind.
SOUND_NAME = re.compile(r"^(?:\S.*?[/\\])?[^/\\:]*?\.\w{2,5}(?=[ :])")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MOST_REASONS = 5


class Failing(NamedTuple):
    """A kind of reason, and the utterances that failed for it."""

    reason: str
    ids: tuple[str, ...]


def by_reason(failures: Iterable[tuple[str, str]]) -> list[Failing]:
    """(utterance, reason) pairs by kind of reason, the most frequent first.

    Of a kind are reasons that differ in the name of the sound, at their beginning, or in numbers. A reason that stands
    alone keeps both.

    >>> by_reason([("a", "audio/a.wav is missing"), ("b", "audio/b.wav is missing")])
    [Failing(reason='its sound is missing', ids=('a', 'b'))]
    """
    kinds: dict[str, list[tuple[str, str, str]]] = {}
    for utterance, reason in failures:
        words = SOUND_NAME.sub("its sound", reason)
        kinds.setdefault(NUMBER.sub("…", words), []).append((utterance, reason, words))
    found = []
    for own in kinds.values():
        ids, reasons, words = zip(*own, strict=True)
        found.append(Failing(reasons[0] if len(own) == 1 else _shared(words), ids))
    return sorted(found, key=lambda item: -len(item.ids))


def _shared(reasons: Sequence[str]) -> str:
    """Reasons that differ in numbers alone as one, with "…" for the numbers that differ."""
    numbers = zip(*(NUMBER.findall(reason) for reason in reasons), strict=True)
    shown = ["…" if len(set(own)) > 1 else own[0] for own in numbers]
    return NUMBER.sub(lambda _: shown.pop(0), reasons[0])


def failures_in_words(failures: Iterable[tuple[str, str]], *, table: str) -> list[str]:
    """A line for each kind of reason: how often, which, and three of the utterances; `table` says where all are."""
    found = by_reason(failures)
    lines = [f"{len(item.ids)} x {item.reason} ({few(item.ids)})" for item in found[:MOST_REASONS]]
    if len(found) > MOST_REASONS:
        lines.append(f"… and {len(found) - MOST_REASONS} more reasons")
    return [*lines, f"each with its reason is in {table}"] if sum(len(item.ids) for item in found) > 1 else lines
