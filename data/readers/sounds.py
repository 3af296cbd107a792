"""Where the sounds of a table lie: named in a column, or found by the utterances' names."""

import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

ENDINGS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".avi", ".mp4", ".sph")
FOLDERS = ("", "audio", "audios", "Audios", "Audio", "wav", "wavs", "clips", "sounds", "recordings", "AudioWAV")


class Embedded(NamedTuple):
    """A sound that lies inside a table: the row that holds it, and the name that it had."""

    key: Any
    name: str | None


class SoundFinder:
    """Paths of sounds, absolute; files need not be there, since `serann corpus check` and annotation report that.

    A name is looked for in `folder` (the user's word), else beside the table, in the usual folders there.
    """

    def __init__(self, base: Path, folder: Path | None):
        self.folder = str(folder.resolve()) if folder is not None else None
        self.found = 0
        root = str(base.resolve())
        likely = [os.path.join(root, part) if part else root for part in FOLDERS]
        self._default = self.folder or root
        self._folders = [self.folder] if self.folder else [place for place in likely if os.path.isdir(place)]
        # One listing a folder instead of a question a file and ending: corpora have a hundred thousand files.
        self._names = {place: set(os.listdir(place)) for place in self._folders if os.path.isdir(place)}

    def named(self, name: str) -> str:
        """The path of a sound that a column names; addresses of remote sounds stay as they are."""
        if "://" in name and not name.startswith("file://"):
            return name
        name = name.removeprefix("file://")
        candidates = [os.path.join(place, name) for place in self._folders]
        if self.folder is not None:
            candidates.append(os.path.join(self.folder, os.path.basename(name)))
        default = candidates[-1] if os.path.isabs(name) and self.folder else os.path.join(self._default, name)
        for candidate in candidates or [default]:
            if os.path.isfile(candidate):
                self.found += 1
                return os.path.normpath(candidate)
        return os.path.normpath(default)

    def of(self, utterance: str, ending: str | None = None) -> str | None:
        """The path of an utterance's sound by its name; None where none is there and no folder was named."""
        endings = ENDINGS if ending is None else (ending, *ENDINGS)
        for place in self._folders:
            for end in endings:
                if utterance + end in self._names.get(place, ()) or self._deeper(place, utterance + end):
                    self.found += 1
                    return os.path.normpath(os.path.join(place, utterance + end))
        if self.folder is None:
            return None
        return os.path.normpath(os.path.join(self.folder, utterance + (ending or self._usual_ending)))

    @cached_property
    def _usual_ending(self) -> str:
        """The ending that most sounds of the user's folder have."""
        endings = Counter(split_ending(name)[1] for name in self._names.get(self.folder or "", ()))
        del endings[None]
        return max(ENDINGS, key=lambda end: endings[end])

    @staticmethod
    def _deeper(place: str, name: str) -> bool:
        return "/" in name and os.path.isfile(os.path.join(place, name))


def split_ending(name: str) -> tuple[str, str | None]:
    """A file's name without the ending of a sound, and that ending."""
    for end in ENDINGS:
        if name.lower().endswith(end) and len(name) > len(end):
            return name[: -len(end)], name[-len(end) :]
    return name, None
