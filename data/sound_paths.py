"""Where the sounds of a corpus lie: names in the column `audio`, the root that they start from, and a move of both.

    Actor_01/u1.wav      below the audio root: what corpus.json calls `audio_root`, else the corpus's own folder
    ./audio/u1.flac      in the corpus's own folder, wherever the root is (sounds that serann made or copied)
    /data/u1.wav         an absolute path, as earlier versions wrote them; ~ is the user's home
    https://…            remote: kept, never opened

Names are written with `/`; backslashes of tables made on Windows are read as separators, too. A relative name that
leads out of the folder it starts from, by `..` or by a link, is not opened.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from .errors import CorpusError, OptionError, list_problems
from .files import write_json
from .tables import UTTERANCES, write_table

if TYPE_CHECKING:
    from .corpus import Corpus

OWN = "./"
FILE = "file://"
Kind = Literal["no sound", "remote", "own", "absolute", "relative"]
Parts = tuple[str, ...]

# --------------------
# One name.


def kind_of_name(name: str | None) -> Kind:
    """What a name in the column `audio` is.

    >>> [kind_of_name(n) for n in ("a/u1.wav", "./u1.wav", "C:\\\\a\\\\u1.wav", "file:///a/u1.wav", "s3://a/u1.wav")]
    ['relative', 'own', 'absolute', 'absolute', 'remote']
    """
    if name is None:
        return "no sound"
    if "://" in name and not name.startswith(FILE):
        return "remote"
    local = name.removeprefix(FILE)
    if local.startswith(("/", "~")) or PureWindowsPath(local).is_absolute():
        return "absolute"
    return "own" if local.startswith(OWN) else "relative"


def _parts(path: str | Path) -> Parts:
    """The folders and the file of an absolute path of this system, or of Windows."""
    local = os.path.expanduser(str(path).removeprefix(FILE))
    foreign = os.name != "nt" and PureWindowsPath(local).is_absolute()
    return (PureWindowsPath if foreign else PurePosixPath if os.name != "nt" else PureWindowsPath)(local).parts


class SoundPlaces:
    """Where names of a corpus in `folder` lead, with relative ones below `root`."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.root = folder, root
        self._real = {base: os.path.realpath(base) for base in (folder, root)}
        self.missing = None if root.is_dir() else missing_root(root, folder)

    def named(self, name: str) -> Path:
        """The absolute path that a local name stands for, whether or not it may be opened."""
        base, local = self._split(name)
        return Path(os.path.abspath(local)) if base is None else Path(os.path.abspath(base / local))

    def path(self, name: str) -> Path:
        """The file to be opened; CorpusError for a root that is absent, or a name that leads out of its folder."""
        base, local = self._split(name)
        if base is None:
            return _native(local)
        if base == self.root and self.missing is not None:
            raise CorpusError(self.missing)
        path = base / local
        real = os.path.realpath(path)
        if not _inside(real, self._real[base]):
            climbs = os.path.normpath(local).split(os.sep)[0] == ".."
            how = "leads" if climbs else "is a link that leads"
            raise CorpusError(
                f"audio {name} {how} to {real}, out of the audio root {base}, and is not opened; name a folder that "
                "holds it (--audio-root, or serann corpus relocate)"
            )
        return path

    def _split(self, name: str) -> tuple[Path | None, str]:
        """The folder where a name starts (None for an absolute one), and the name without its marks."""
        kind, local = kind_of_name(name), name.removeprefix(FILE)
        if kind == "absolute":
            return None, os.path.expanduser(local)
        base = self.folder if kind == "own" else self.root
        if "\\" in local and not (base / local).exists():
            local = local.replace("\\", "/")
        return base, local


def _inside(real: str, folder: str) -> bool:
    """Whether a path lies in a folder, links followed in both."""
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


def _native(local: str) -> Path:
    if os.name != "nt" and not local.startswith("/"):
        raise CorpusError(
            f"audio {local} is a path of another computer; say where the sounds lie now (--audio-root, or serann "
            "corpus relocate)"
        )
    return Path(local)


def missing_root(root: Path, folder: Path) -> str:
    """What is said where the audio root is no folder."""
    return (
        f"the audio root {root} is not there, so no sound below it can be read; name the folder that holds the sounds "
        f"with --audio-root, or once for all: serann corpus relocate {folder} ROOT"
    )


def stated_root(root: str | Path, folder: Path) -> str | None:
    """What corpus.json in `folder` says of a root: inside the folder a path relative to it, for the folder None."""
    full, home = Path(os.path.abspath(os.path.expanduser(root))), Path(os.path.abspath(folder))
    if full == home:
        return None
    return full.relative_to(home).as_posix() if full.is_relative_to(home) else str(full)


# --------------------
# The column `audio` of a corpus that is written anew, or elsewhere.


def below(utterances: pa.Table, folders: Sequence[Path]) -> tuple[pa.Table, Path | None]:
    """The utterances with absolute names made relative to a root, and that root (None: names stay as they are).

    The root is the first of `folders` that holds all of them, else the deepest folder that does. A link that leads out
    of the root keeps its absolute name. Names that were relative are the corpus's own.
    """
    names = utterances["audio"].to_pylist()
    absolute = [name for name in names if kind_of_name(name) == "absolute" and os.path.isabs(name)]
    root = _root_of(absolute, folders)
    if root is None:
        return utterances, None
    real = os.path.realpath(root)
    placed: dict[str, str] = {name: _below(name, root, real) for name in set(absolute)}
    own = {name: OWN + name for name in set(names) if kind_of_name(name) == "relative"}
    return with_names(utterances, [{**placed, **own}.get(name, name) for name in names]), root


def _root_of(absolute: Sequence[str], folders: Sequence[Path]) -> Path | None:
    if not absolute:
        return None
    together = Path(os.path.commonpath([os.path.dirname(name) for name in absolute]))
    holding = [folder for folder in folders if together.is_relative_to(folder)]
    found = [*holding, together][0]
    return found if len(found.parts) > 1 else None


def _below(name: str, root: Path, real: str) -> str:
    if not _inside(os.path.realpath(name), real):
        return name
    return Path(name).relative_to(root).as_posix()


def elsewhere(corpus: Corpus) -> tuple[pa.Table, str | None]:
    """The utterances for a corpus written in another folder that reads the same sounds, and its audio root.

    Names below the root stay as they are; what lies in this corpus's own folder beside another root gets its absolute
    path.
    """
    root, names = Path(os.path.abspath(corpus.audio_root)), corpus.utterances["audio"].to_pylist()
    here = root == Path(os.path.abspath(corpus.path))
    found = [
        name if kind_of_name(name) != "own" else name.removeprefix(OWN) if here else str(corpus.places.named(name))
        for name in names
    ]
    relative = any(kind_of_name(name) == "relative" for name in found)
    return with_names(corpus.utterances, found), str(root) if relative else None


def absolute_audio(corpus: Corpus) -> pa.Table:
    """The utterances with every local name made an absolute path, for tables that others read."""
    names = [
        name if kind_of_name(name) in ("no sound", "remote") else str(corpus.places.named(name))
        for name in corpus.utterances["audio"].to_pylist()
    ]
    return with_names(corpus.utterances, names)


def with_names(utterances: pa.Table, names: Sequence[str | None]) -> pa.Table:
    """The utterances with another column `audio`."""
    return utterances.set_column(utterances.column_names.index("audio"), "audio", pa.array(names, pa.string()))


# --------------------
# Another root.

# So many sounds, evenly spread, are looked for to find out which part of their former paths the new root stands for.
LOOKED_FOR = 50


def with_root(corpus: Corpus, root: str | Path, *, former: str | Path | None = None) -> Corpus:
    """The corpus with its sounds below another root (relative to the working directory; ~ is the user's home).

    Relative names start from it. Absolute ones, of earlier versions, lose the folder that the root stands for:
    `former`, else of the deepest folder that holds them all and those above it the one with which most are found.
    Names that were relative beside absolute ones are the corpus's own.
    Raises OptionError for a root that is no folder, and a `former` that holds none of the sounds.
    """
    place = Path(os.path.abspath(os.path.expanduser(root)))
    if not place.is_dir():
        raise OptionError(f"the audio root {root} is no folder; name the one below which the sounds lie")
    names = _names_below(corpus, place, former)
    info = corpus.info.model_copy(update={"audio_root": stated_root(place, corpus.path)})
    same = names == corpus.utterances["audio"].to_pylist()
    return replace(corpus, info=info, utterances=corpus.utterances if same else with_names(corpus.utterances, names))


def _names_below(corpus: Corpus, place: Path, former: str | Path | None) -> list[str | None]:
    names = corpus.utterances["audio"].to_pylist()
    kinds = [kind_of_name(name) for name in names]
    outside = {i: _parts(names[i]) for i, kind in enumerate(kinds) if kind == "absolute"}
    for i, kind in enumerate(kinds):
        if kind == "relative" and os.path.normpath(names[i].replace("\\", "/")).startswith(".."):
            outside[i] = _parts(corpus.places.named(names[i]))
    relative = [i for i, kind in enumerate(kinds) if kind == "relative" and i not in outside]
    if former is not None and not outside:
        raise OptionError(f"--from {former}: no sound of this corpus has an absolute path, so leave it out")
    rest = bool(relative) and corpus.info.audio_root is not None
    stems = _stems(list(outside.values()), place, former, rest=rest)
    if stems and corpus.info.audio_root is None:
        for i in relative:
            names[i] = OWN + names[i]
    for i, parts in outside.items():
        stem = stems.get(parts[0])
        if stem is not None and parts[: len(stem)] == stem:
            names[i] = "/".join(parts[len(stem) :])
    return names


def _stems(outside: Sequence[Parts], place: Path, former: str | Path | None, *, rest: bool) -> dict[str, Parts]:
    """By drive the folder, as parts, that the new root stands for; none where it is another's: `rest` are relative."""
    if former is not None:
        stem = _parts(former)
        if not any(parts[: len(stem)] == stem for parts in outside):
            raise OptionError(
                f"--from {former} holds none of the sounds; they lie below {_shown(_common(outside))}: name that, or a "
                "part of it"
            )
        return {stem[0]: stem}
    found = {}
    for drive in {parts[0] for parts in outside}:
        of_drive = [parts for parts in outside if parts[0] == drive]
        common, looked_for = _common(of_drive), of_drive[:: max(1, len(of_drive) // LOOKED_FOR)]
        stems = [common[:size] for size in range(len(common), 0, -1)]
        hits = [sum(place.joinpath(*parts[len(stem) :]).is_file() for parts in looked_for) for stem in stems]
        if any(hits) or not rest:
            found[drive] = stems[hits.index(max(hits))]
    return found


def _common(paths: Iterable[Parts]) -> Parts:
    """The folders that all paths begin with."""
    least, most = min(paths := [parts[:-1] for parts in paths]), max(paths)
    size = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), min(len(least), len(most)))
    return least[:size]


def _shown(parts: Parts) -> str:
    return parts[0] + "/".join(parts[1:]) if parts else "no common folder"


# --------------------
# `serann corpus relocate`: the sounds have another place, and corpus.json says so from then on.


@dataclass(frozen=True, slots=True)
class Relocated:
    """A corpus after a move: its root before, how many sounds are of each kind, how many names were rewritten, and the
    sounds that are not there (utterance, kind, sentence).
    """

    corpus: Corpus
    former: str
    kinds: dict[str, int]
    renamed: int
    problems: list[dict[str, str]]


def relocate(
    corpus: Corpus, root: str | Path, *, former: str | Path | None = None, allow_missing: bool = False
) -> Relocated:
    """Give a corpus another audio root, once every sound was found there; with `allow_missing` even so.

    Rewrites corpus.json and, where absolute paths of earlier versions become relative ones (`with_root`), the
    utterances. Fingerprints stay: neither paths nor the root are part of them.
    Raises OptionError as `with_root` does, and CorpusError that counts the sounds that are not there by kind.
    """
    moved = with_root(corpus, root, former=former)
    names, before = moved.utterances["audio"], corpus.utterances["audio"]
    kinds: Counter[str] = Counter()
    problems = []
    for utterance, name in zip(moved.ids, names.to_pylist(), strict=True):
        kind, sentence = _looked_at(moved, name)
        kinds[kind] += 1
        if sentence is not None:
            problems.append({"utterance_id": utterance, "kind": kind, "sentence": sentence})
    if problems and not allow_missing:
        raise CorpusError(_not_there(moved, problems))
    renamed = sum(a != b for a, b in zip(names.to_pylist(), before.to_pylist(), strict=True))
    if renamed:
        provenance = moved.info.provenance
        # The names first: relocated again, a corpus that was stopped between the two files comes out whole.
        table = moved.path / "utterances.parquet"
        write_table(moved.utterances, table, UTTERANCES, labels=moved.labels, provenance=provenance)
    write_json(moved.path / "corpus.json", moved.info.model_dump(mode="json"))
    return Relocated(moved, str(corpus.audio_root), dict(kinds), renamed, problems)


# What a sound is called in counts, where it is there.
THERE = {"relative": "below the audio root", "own": "in the corpus's folder", "absolute": "by absolute path"}


def _looked_at(corpus: Corpus, name: str | None) -> tuple[str, str | None]:
    """What kind of sound a name leads to, and a sentence where it cannot be read."""
    kind = kind_of_name(name)
    if name is None or kind in ("no sound", "remote"):
        return kind, None
    try:
        path = corpus.places.path(name)
    except CorpusError as error:
        return "outside the audio root" if kind != "absolute" else "of another computer", str(error)
    if path.is_file():
        return THERE[kind], None
    return ("no regular file", f"{path} is no regular file") if path.exists() else ("missing", f"{path} is missing")


def sounds_by_kind(corpus: Corpus) -> dict[str, int]:
    """How many utterances name their sounds in which way; nothing is opened."""
    kinds = Counter(kind_of_name(name) for name in corpus.utterances["audio"].to_pylist())
    return {THERE.get(kind, kind): number for kind, number in sorted(kinds.items())}


def _not_there(corpus: Corpus, problems: Sequence[dict[str, str]]) -> str:
    counts = Counter(problem["kind"] for problem in problems)
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    header = (
        f"{len(problems)} of {len(corpus.ids)} sounds cannot be read with the audio root {corpus.audio_root} ({told}), "
        f"so nothing was changed; {_advice(corpus)}"
    )
    return list_problems(header, [f"{problem['utterance_id']}: {problem['sentence']}" for problem in problems], most=5)


def _advice(corpus: Corpus) -> str:
    """Where the sounds are found, if that is near the root that was named; else what may be done."""
    names = [name for name in corpus.utterances["audio"].to_pylist() if kind_of_name(name) == "relative"]
    looked_for = names[:: max(1, len(names) // LOOKED_FOR)]
    root = corpus.audio_root
    inside = sorted(entry.path for entry in os.scandir(root) if entry.is_dir())
    near = [*root.parents[:3], *map(Path, inside[:100])]
    hits = [sum((folder / name).is_file() for name in looked_for) for folder in near]
    if any(hits):
        return f"they are found below {near[hits.index(max(hits))]}: name that one"
    return "name the folder that holds them, with --from the one it stands for, or change the root with --allow-missing"
