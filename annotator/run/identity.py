"""Whose run it is: what decides its numbers may never change, and more of everything extends it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...data.corpus import Corpus
from ...data.errors import OutputError, few
from ...data.files import fingerprint
from ...data.labels import LABEL_SETS
from ...prompts.loader import panel_fingerprint
from ..panel.attributes import Attributes
from ..panel.panel import ListeningPanel
from .place import FORMAT, Info

# What is not said of a run that is as usual.
USUALLY = {"too_long": "reject", "max_seconds": "what the model hears", "control": "none"}
# What a panel decides; the rest of an identity may never change.
PANEL_KEYS = ("question", "panel", "panel_fingerprint", "attribute_questions")
# How many names a refusal lists.
LISTED = 5


def run_identity(
    corpus: Corpus,
    listening: ListeningPanel,
    engine: Mapping[str, str],
    *,
    mode: str,
    seed: int,
    attributes: Attributes | None = None,
    duration: Mapping[str, Any] = MappingProxyType({}),
    control: str | None = None,
) -> Info:
    """What may not change while a run is continued: everything that decides its numbers, but no machine or time.

    `engine` is its name and what it says of itself: model, weights, dtype. `duration` is what is said of how much of an
    utterance is heard (`hearing.duration_identity`), `control` what is heard instead of it, if anything is.
    """
    # A text is read with the other spellings of a label, too; an exact answer is the label's own word. Nothing is said
    # of the spellings that come with serann, as of all that is usual; `check_identity` compares those as well.
    usual = mode == "exact" or LABEL_SETS.get(corpus.labels.name) == corpus.labels
    read = {} if usual else {"spellings": spellings(corpus.labels.to_json())}
    return {
        "corpus": corpus.name,
        "labels": list(corpus.labels.labels),
        **read,
        **engine,
        "mode": mode,
        "question": listening.panel.question.name,
        "panel": listening.panel.name,
        "panel_fingerprint": panel_fingerprint(listening.panel),
        "seed": seed,
        **(attributes.identity if attributes is not None else {}),
        **duration,
        **({} if control is None else {"control": control}),
    }


def spellings(labels: Mapping[str, Any]) -> str:
    """`sha256:…` of a label set (as JSON) with the other spellings of its labels."""
    return fingerprint([labels["labels"], dict(labels.get("aliases") or {})])


def run_name(identity: Mapping[str, Any]) -> str:
    """The name that a run's votes carry: readable, and different for different identities."""
    digest = fingerprint(dict(identity)).removeprefix("sha256:")[:8]
    control = f"{identity['control']}/" if "control" in identity else ""
    return f"{identity['model']}/{identity['panel']}/{control}{digest}"


def run_info(
    identity: Info, listening: ListeningPanel, *, votes: int, limit: int | None, attributes: Attributes | None = None
) -> Info:
    """The `run.json` of a new run; `listeners` are fingerprints of all that each of them is asked."""
    rows = {row["listener"]: row for row in listening.table().drop_columns(["panel"]).to_pylist()}
    if attributes is not None:
        for listener in listening.listeners:
            rows[listener.listener]["attributes"] = attributes.texts(listener)
    return {
        "format": FORMAT,
        "run": run_name(identity),
        "identity": identity,
        "votes": votes,
        "limit": limit,
        "labels": listening.labels.to_json(),
        "listeners": {name: fingerprint(row) for name, row in rows.items()},
        "versions": [],
    }


def joined(path: Path, former: Info | None, wanted: Info, versions: Mapping[str, str]) -> Info:
    """run.json of a run that is continued under these `versions`: more of everything, never less.

    `OutputError` if it is another run.
    """
    if former is None:
        return {**wanted, "versions": [versions]}
    check_identity(path, former, wanted)
    first, second = former.get("limit"), wanted["limit"]
    known = former.get("versions", [])
    return {
        **former,
        **wanted,
        "votes": max(former["votes"], wanted["votes"]),
        "limit": None if first is None or second is None else max(first, second),
        "versions": known if versions in known else [*known, versions],
    }


def check_identity(path: Path, former: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse by name to continue a run as another one; `OutputError` says what differs.

    `former` and `wanted` are run.json's contents. A panel that holds all of the run's listeners, asked the same, is
    no difference: it extends the run.
    """
    found, asked = _compared(former, wanted), _compared(wanted, wanted)
    missing = _missing_listeners(former, wanted)
    keys = [key for key in dict.fromkeys([*found, *asked]) if missing or key not in PANEL_KEYS]
    differing = [
        _spelt_otherwise(former["labels"].get("aliases") or {}, wanted["labels"]["aliases"])
        if key == "spellings"
        else f"{key} is {_shown(key, found)} there and {_shown(key, asked)} here"
        for key in keys
        if found.get(key) != asked.get(key)
    ]
    if missing:
        differing.insert(
            0,
            f"this panel lacks its listeners {few(missing, LISTED)}, or asks them otherwise: "
            "a larger panel must keep them all",
        )
    if differing:
        raise OutputError(
            f"{path} holds another run ({'; '.join(differing)}); choose another output folder, or pass --overwrite"
        )


def _compared(info: Mapping[str, Any], wanted: Mapping[str, Any]) -> Info:
    """An identity with the spellings by which the texts are read that are `wanted`; without any for exact answers."""
    identity = {key: value for key, value in info["identity"].items() if key != "spellings"}
    exact = wanted["identity"]["mode"] == "exact"
    return identity if exact else {**identity, "spellings": spellings(info["labels"])}


def _shown(key: str, identity: Mapping[str, Any]) -> str:
    """A value of an identity; of a digest its beginning tells two apart."""
    value = identity.get(key, USUALLY.get(key))
    if isinstance(value, str) and value.startswith("sha256:"):
        value = f"{value[: len('sha256:') + 8]}…"
    return repr(value)


def _spelt_otherwise(found: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """Which other spellings of the labels differ, by which texts are read."""
    differing = [f"{text}={label}" for text, label in found.items() if asked.get(text) != label]
    new = [f"{text}={label}" for text, label in asked.items() if found.get(text) != label]
    told = [f"{name} {few(some, LISTED)}" for name, some in (("only there", differing), ("only here", new)) if some]
    return f"texts are read with other spellings of the labels ({'; '.join(told) or 'in another order'})"


def _missing_listeners(former: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Listeners of the run that the wanted panel does not have, or asks otherwise."""
    found, asked = former["identity"], wanted["identity"]
    # Other attributes or another scale are a difference of their own, not the listeners'.
    same = [key for key in ("attributes", "scale") if found.get(key) == asked.get(key)]
    telling = ("panel_fingerprint", "attribute_questions") if len(same) == 2 else ("panel_fingerprint",)
    if all(found.get(key) == asked.get(key) for key in telling):
        return []
    known = former.get("listeners") or {"any listener": None}
    return [name for name, asked in known.items() if wanted["listeners"].get(name) != asked]
