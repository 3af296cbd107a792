"""What a frozen encoder hears, computed once: the frames of the layer that is read, kept on disk.

A folder holds one sub-folder an encoder, named by the fingerprint of its weights and of what is read; in it lie shards
of about 64 MB, each written whole or not at all: safetensors, one tensor [S, T, H] an utterance (S layers: one, or all
where they are mixed), named by the SHA-256 of its samples. Half precision, but full where half cannot hold a value. So
equal sounds are kept once, corpora and trainings with one encoder may share a folder, and what a killed run had
written is not computed again. A shard's metadata tells which files its sounds came from (path, size, time, cut), so
that they need not even be read.
"""

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...data.audio import SAMPLE_RATE
from ...data.errors import CorpusError, ModelError, OutputError
from ...data.files import atomic_file
from ..dataset import Batch, Listening, Sounds, bucketed_batches, load_batches
from ..targets import Examples
from .encoders import Frames, SpeechEncoder
from .heads import EmotionModel, Output

SHARD_BYTES = 64 * 2**20
# What a killed run left half-written goes once it is this old: it may be another run's, at work.
STALE_SECONDS = 3600.0
# Names and paths that a configuration carries along, and that change nothing.
_NOT_ARCHITECTURE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
_DTYPES = {"F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}
Progress = Callable[[int, int], None]


class Place(NamedTuple):
    """Where an utterance's frames lie: the shard, the first byte in it, the shape and the kind of number."""

    shard: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype


def plan(encoder: SpeechEncoder, seconds: np.ndarray) -> int:
    """Bytes on disk of the frames of utterances so long: frames x width x layers read x 2."""
    lengths = torch.as_tensor(np.round(np.asarray(seconds) * SAMPLE_RATE), dtype=torch.long)
    return int(encoder.frame_counts(lengths).sum()) * encoder.width * layers_read(encoder) * 2


def layers_read(encoder: SpeechEncoder) -> int:
    """How many layers' states make a frame: one, or all where they are mixed."""
    return 1 if encoder.layer_weights is None else encoder.depth + 1


def encoder_fingerprint(encoder: SpeechEncoder, *, precision: str = "no") -> str:
    """SHA-256 of all that decides an encoder's frames: its configuration, its weights, what is read, the precision."""
    config = {k: v for k, v in encoder.config.to_dict().items() if k not in _NOT_ARCHITECTURE}
    told = [config, encoder.normalise, encoder.depth, layers_read(encoder), precision]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for name, tensor in encoder.model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class FrozenFeatures:
    """The frames of utterances, in place of their sounds: `read(row)` gives what the encoder made of a corpus's
    utterance once `extract` has been there.
    """

    def __init__(
        self,
        folder: str | Path,
        encoder: SpeechEncoder,
        sounds: Sounds,
        *,
        batch_seconds: float,
        precision: str = "no",
    ):
        self.encoder, self.sounds, self.shortest = encoder, sounds, sounds.shortest
        self.batch_seconds = batch_seconds
        self.folder = Path(folder) / encoder_fingerprint(encoder, precision=precision)[:32]
        self._kept: dict[str, Place] = {}
        self._sources: dict[str, str] = {}
        self._rows: dict[int, str] = {}
        self._failures: dict[int, str] = {}
        self._pending: dict[str, np.ndarray] = {}
        self._pending_sources: dict[str, str] = {}
        _clear_stale(self.folder)
        for shard in sorted(self.folder.glob("*.safetensors")):
            self._open(shard)

    def __getstate__(self) -> dict[str, Any]:
        """Processes that read ahead need neither the encoder, which may lie on a GPU, nor the sounds."""
        return {**vars(self), "encoder": None, "sounds": None}

    def read(self, row: int) -> np.ndarray | str:
        """States [S, T, H] of the layers read, or why there are none; ModelError where the disk no longer has them."""
        if row in self._failures:
            return self._failures[row]
        place = self._kept[self._rows[row]]
        try:
            with place.shard.open("rb") as handle:
                handle.seek(place.offset)
                found = np.fromfile(handle, dtype=place.dtype, count=math.prod(place.shape))
        except OSError as error:
            raise _gone(place.shard, f"cannot be read any more ({error.strerror})") from error
        if len(found) < math.prod(place.shape):
            raise _gone(place.shard, "has been cut short")
        return found.reshape(place.shape)

    def batches(self, parts: Sequence[Examples]) -> list[tuple[Examples, np.ndarray]]:
        """Places of examples whose frames are still to be made, in whole batches.

        A batch is made again whole if one of its utterances is missing: its frames are the same bits whenever the run
        before was killed.
        """
        found = []
        for part in parts:
            _, first = np.unique(part.rows, return_index=True)
            of_part = bucketed_batches(part.seconds[first], batch_seconds=self.batch_seconds, seed=0, epoch=0)
            found += [(part, first[batch]) for batch in of_part if not self._known(part.rows[first[batch]])]
        return found

    def extract(
        self,
        parts: Sequence[Examples],
        *,
        device: torch.device | str = "cpu",
        workers: int = 0,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        progress: Progress | None = None,
    ) -> None:
        """Make the frames of the examples' utterances that are not there yet.

        What is in memory is a batch and a shard. Raises OutputError before anything is computed where the disk has too
        little room, and where it cannot be written; the shards written so far stay.
        """
        missing = self.batches(parts)
        self._check_room([part.seconds[places] for part, places in missing])
        self.encoder.to(device).eval()
        done = 0
        for part in parts:
            listening = Listening(part, self.sounds)
            for batch in load_batches(listening, [places for of, places in missing if of is part], workers=workers):
                self._failures |= {int(part.rows[place]): reason for place, reason in batch.failures}
                with torch.inference_mode(), autocast():
                    self._hear(part.rows[batch.places], batch, device)
                if sum(states.nbytes for states in self._pending.values()) >= SHARD_BYTES:
                    self._write()
                done += 1
                if progress is not None:
                    progress(done, len(missing))
        self._write()

    def _hear(self, rows: np.ndarray, batch: Batch, device: torch.device | str) -> None:
        lengths = batch.lengths.tolist()
        keys = [_content(batch.waveforms[i, :length]) for i, length in enumerate(lengths)]
        for row, key in zip(rows, keys, strict=True):
            self._rows[int(row)] = key
            source = self._source(int(row))
            if source is not None and source not in self._sources:
                self._pending_sources[source] = key
        if all(key in self._kept or key in self._pending for key in keys):  # so too for none
            return
        states, mask = self.encoder.read(batch.waveforms.to(device), batch.lengths.to(device))
        found = states.float().cpu().numpy()
        for i, key in enumerate(keys):
            if key not in self._kept and key not in self._pending:
                self._pending[key] = _halved(found[:, i, : int(mask[i].sum())])

    def _write(self) -> None:
        """Write what is pending as one shard."""
        from safetensors.numpy import save

        if not self._pending and not self._pending_sources:
            return
        said = json.dumps([sorted(self._pending), sorted(self._pending_sources.items())])
        shard = self.folder / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.safetensors"
        with atomic_file(shard) as partial:
            partial.write_bytes(save(self._pending, metadata=self._pending_sources))
        self._pending, self._pending_sources = {}, {}
        self._open(shard)

    def _open(self, shard: Path) -> None:
        """Take up a shard's index; one that is not whole is left aside, and its utterances are heard again."""
        try:
            with shard.open("rb") as handle:
                size = os.fstat(handle.fileno()).st_size
                length = int.from_bytes(handle.read(8), "little")
                header = json.loads(handle.read(length)) if length <= size else {}
        except (OSError, ValueError):
            return
        sources = header.pop("__metadata__", {})
        if size != 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0):
            return
        self._sources |= sources
        for key, entry in header.items():
            offset = 8 + length + entry["data_offsets"][0]
            self._kept[key] = Place(shard, offset, tuple(entry["shape"]), _DTYPES[entry["dtype"]])

    def _known(self, rows: np.ndarray) -> bool:
        """Whether all rows' frames are kept, as far as their files tell; those found are noted."""
        for row in rows.tolist():
            if row not in self._rows:
                key = self._sources.get(self._source(row) or "")
                if key is None or key not in self._kept:
                    return False
                self._rows[row] = key
        return True

    def _source(self, row: int) -> str | None:
        """What tells an utterance's sound without reading it; None where there is no file."""
        corpus = self.sounds.corpus
        start, end = (corpus.utterances[name][row].as_py() for name in ("start", "end"))
        try:
            path = corpus.audio_path(row)
            found = path.stat()
        except (CorpusError, OSError):
            return None
        return f"{path.resolve()} {found.st_size} {found.st_mtime_ns} {start} {end}"

    def _check_room(self, seconds: Sequence[np.ndarray]) -> None:
        needed = sum(plan(self.encoder, each) for each in seconds)
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise OutputError(
                f"{self.folder.parent}: the frozen encoder's frames take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
                "are free there; free some space, name another folder for them, or train without --frozen"
            )


def _gone(shard: Path, how: str) -> ModelError:
    return ModelError(
        f"{shard}: this file of what the frozen encoder heard {how}; run the same command again: it hears anew what is "
        "missing, and goes on with the training"
    )


def answer(network: EmotionModel, batch: Batch, device: torch.device) -> Output:
    """What the network says of a batch, of sounds or of frames made before."""
    inputs, lengths = batch.waveforms.to(device), batch.lengths.to(device)
    if inputs.dim() == 2:
        return network(inputs, lengths)
    return network.from_frames(stored_frames(network.encoder, inputs, lengths))


def stored_frames(encoder: SpeechEncoder, states: Tensor, lengths: Tensor) -> Frames:
    """Frames of stored states [S, B, T, H] of so many frames each."""
    return encoder.combine(states, torch.arange(states.shape[2], device=states.device) < lengths[:, None])


def _content(waveform: Tensor) -> str:
    return hashlib.sha256(waveform.contiguous().numpy().tobytes()).hexdigest()


def _halved(states: np.ndarray) -> np.ndarray:
    """Half precision, unless a value is beyond it (layers before a last norm reach far)."""
    with np.errstate(over="ignore"):
        half = states.astype(np.float16)
    return half if np.isfinite(half).all() else np.ascontiguousarray(states)


def _clear_stale(folder: Path) -> None:
    for partial in folder.glob(".*.partial*"):
        if time.time() - partial.stat().st_mtime > STALE_SECONDS:
            partial.unlink(missing_ok=True)
