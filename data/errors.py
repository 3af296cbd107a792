"""The sentences a user reads when something is wrong: what was found, what was expected, what to do."""

from collections.abc import Sequence


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
