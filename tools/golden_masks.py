"""What may differ between two records and means nothing: times, places, versions, speeds, memory.

Every mask is narrow. In JSON a value is masked by the keys above it, in a table by its column, in text by the words
around it; what stands in its place says what it was, so that a value that goes missing is still seen.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Mask = Callable[[str], str]

# The last keys of a value's place in a JSON document, by dots, places in lists left out; `*` is any one key.
KEYS = {
    # environment.json: each session's machine and speed
    "sessions.started": "time",
    "sessions.seconds": "seconds",
    "sessions.utterances_per_second": "speed",
    "sessions.model_share": "speed",
    "sessions.python": "version",
    "sessions.system": "host",
    "sessions.machine": "host",
    "sessions.cores": "host",
    "sessions.packages.*": "version",
    # serann annotate --json
    "session.seconds": "seconds",
    "session.utterances_per_second": "speed",
    "session.model_share": "speed",
    "versions.*": "version",
    # model.json, prediction.json, fusion.json, corpus.json
    "software.*": "version",
    "packages.*": "version",
    "encoder.transformers_version": "version",
    "serann": "version",
    "date": "date",
}
# Of a document that is a plan or a measure of speed, told by a key that it has: more keys.
MEASURES = {
    # serann annotate --plan --json: hours are what it will take
    "memory_gb": {"hours": "time", "memory_gb": "memory", "within_hours": "speed"},
    # serann train --plan --json: hours are of sound, and not masked
    "memory_bytes": {"memory_bytes": "memory", "seconds": "time", "seconds_once": "time", "seconds_an_epoch": "time"},
    # serann benchmark annotate --json
    "stock_ratios": {"ratios.*": "speed", "stock_ratios.*": "speed", "seconds.*": "time", "setting.torch": "version"},
}
# When a file was written: in a run's ledger, to tell whether it has changed.
COLUMNS = {"mtime_ns": 0}

_PACKAGES = "serann|torch|transformers|accelerate|numpy|soundfile|soxr|pyarrow|librosa|audformat|crowd-kit|python"
_TEXT: list[tuple[str, str]] = [
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", "<time>"),
    (r"\b20\d\d-\d\d-\d\d\b", "<date>"),
    (rf"\b({_PACKAGES})(:? )\d+(\.\d+)+[\w.+-]*", r"\1\2<version>"),
    (r'"(serann|transformers_version)": "\d+(\.\d+)+[\w.+-]*"', r'"\1": "<version>"'),
    # modules of serann, which move
    (r"\bserann(\.\w+){2,}", "<module>"),
    (r"<tree>/[\w/]+\.py\b", "<module>"),
    # serann annotate: this time 480 utterances in 6.5 s (73.9/s, the model's share 91%, cpu)
    (
        r"( utterances in )[\d.]+ s \([\d.]+/s, the model's share \d+%",
        r"\1<seconds> (<speed>, the model's share <speed>",
    ),
    # serann annotate --plan and serann train --plan
    (r"(?m)^(time\b[\w ()-]*?) +[\d.]+ (seconds|minutes|hours|s|min|h) *$", r"\1 <time>"),
    (r"(?m)^(memory(?:, peak)?) +[\d.]+ GB *$", r"\1 <memory>"),
    # an audit's page says under which version it was made
    (r"(?m)^serann\n\d+(\.\d+)+\w*$", "serann\n<version>"),
    # of a crash, what was raised; the way there is code
    (r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*", "<traceback>\n"),
    # warnings of libraries
    (r"(?m)^(\S+\.py|<module>):\d+: ", r"\1:<line>: "),
]
# A plan's table is as wide as the time that it tells.
_PLAN = re.compile(r"^(The plan, from|Plan of a training) .*", flags=re.M | re.S)
_BARS = re.compile(r"━|\r|\d+%\||it/s\]|^\s*$|\"event\": \"progress\"")
_DONE = re.compile(r"^(.*?) [━╸╺ ]+ (\d+/\d+)\b.*$")


def text_mask(places: dict[Path, str]) -> Mask:
    """A mask of text; `places` are folders of this machine, with the name that stands for each."""
    named = sorted(((str(path), name) for path, name in places.items()), key=lambda one: -len(one[0]))

    def mask(text: str) -> str:
        for path, name in named:
            text = text.replace(path, name).replace(path.lstrip("/"), name)
        for pattern, put in _TEXT:
            text = re.sub(pattern, put, text)
        return _PLAN.sub(lambda plan: re.sub(" +", " ", plan[0]), text)

    return mask


def without_bars(text: str) -> str:
    """What a command said on stderr, each progress bar as what was done of how many, those of libraries left out."""
    return "".join(f"{line}\n" for line in map(_without_bar, text.splitlines()) if line is not None)


def _without_bar(line: str) -> str | None:
    if done := _DONE.match(line):
        return f"{done[1]} {done[2]}"
    return None if _BARS.search(line) else line.rstrip()


def masked_document(document: Any, mask: Mask) -> Any:
    """A JSON document with its masks."""
    found = document.keys() if isinstance(document, dict) else ()
    more = [masks for key, masks in MEASURES.items() if key in found]
    return _masked(document, mask, KEYS | more[0] if more else KEYS, ())


def _masked(value: Any, mask: Mask, masks: dict[str, str], keys: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {mask(key): _masked(part, mask, masks, (*keys, key)) for key, part in value.items()}
    if isinstance(value, list):
        return [_masked(part, mask, masks, keys) for part in value]
    if value is not None and (name := _name_of(keys, masks)):
        return f"<{name}>"
    return mask(value) if isinstance(value, str) else value


def _name_of(keys: tuple[str, ...], masks: dict[str, str]) -> str | None:
    for known, name in masks.items():
        parts = known.split(".")
        last = keys[-len(parts) :]
        if len(last) == len(parts) and all(part in ("*", key) for part, key in zip(parts, last, strict=True)):
            return name
    return None
