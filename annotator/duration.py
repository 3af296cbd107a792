"""How much of an utterance is heard, and what is done with a longer one: part of what a run is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..data.audio import TOO_LONG
from ..data.errors import OptionError

# Sounds below this are refused as too short, so nothing is cut to less.
LEAST_SECONDS = 0.1


class Duration(NamedTuple):
    """At most so many `seconds` are heard at once; `too_long` (`reject`, `truncate`, `windows`) is done with more."""

    seconds: float
    too_long: str


def check_duration(max_seconds: float | None, too_long: str, mode: str) -> None:
    """Refuse with `OptionError` what no model could be asked."""
    if too_long not in TOO_LONG:
        raise OptionError(f"unknown policy '{too_long}' for utterances that are too long; expected {_listed(TOO_LONG)}")
    if too_long == "windows" and mode != "exact":
        raise OptionError(
            f"windows in mode {mode}: answers in words have no mean over windows; use --mode exact, or "
            "--too-long truncate"
        )
    # A window is longer than half of the most that it may be.
    least = 2 * LEAST_SECONDS if too_long == "windows" else LEAST_SECONDS
    if max_seconds is not None and not least <= max_seconds < float("inf"):
        raise OptionError(
            f"{max_seconds:g} seconds of an utterance at most; expected at least {least:g}, with --too-long {too_long}"
        )


def duration_for(max_seconds: float | None, too_long: str, hears: float) -> Duration:
    """The policy with a model that `hears` so many seconds; `OptionError` if more were to be heard."""
    if max_seconds is not None and max_seconds > hears:
        raise OptionError(
            f"{max_seconds:g} seconds of an utterance at most, and the model hears {hears:g}; give --max-seconds "
            f"{hears:g} or less, or leave it out"
        )
    return Duration(float(hears if max_seconds is None else max_seconds), too_long)


def duration_identity(duration: Duration, hears: float) -> Mapping[str, Any]:
    """What a run's identity has to hold of the policy: nothing of the usual one, which runs had before there were any.

    `identity.USUALLY` names what is not said.
    """
    found: dict[str, Any] = {} if duration.too_long == "reject" else {"too_long": duration.too_long}
    return found if duration.seconds == hears else {**found, "max_seconds": duration.seconds}


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
