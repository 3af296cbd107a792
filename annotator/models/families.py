"""Families of audio-language models: what serann must know about each, and how one is found and loaded."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...data.corpus import DEMO_CHECKPOINT
from ...data.errors import ModelError
from ...data.files import fingerprint, hash_file
from .exposure import DEMO, QWEN2_AUDIO, Exposure, exposure_in_words
from .log_mel import LogMel, LogMelFrontEnd, audio_tokens, stacked

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Family:
    """One architecture: its class in transformers and the marks of its chat format.

    `packed`: its audio tower and text layers are those that `ragged_pass` writes out (Whisper's encoder, a decoder with
    `input_layernorm`, `self_attn`, `post_attention_layernorm`, `mlp`); other families are asked by expanded cache.
    """

    name: str
    model_type: str
    model_class: str
    audio_token: str
    audio_end: str
    turn_ends: tuple[str, ...]
    about: str
    packed: bool = True


class KnownModel(NamedTuple):
    """A model that has a short name here; `exposure` is what is publicly stated of corpora it has met, by corpus."""

    location: str
    family: str
    about: str
    exposure: dict[str, Exposure]


FAMILIES: dict[str, Family] = {
    "qwen2_audio": Family(
        name="Qwen2-Audio",
        model_type="qwen2_audio",
        model_class="Qwen2AudioForConditionalGeneration",
        audio_token="<|AUDIO|>",
        audio_end="<|audio_eos|>",
        turn_ends=("<|im_end|>", "<|endoftext|>"),
        about="Whisper-style encoder, 25 audio tokens per second, at most 30 s of audio",
    ),
}

KNOWN_MODELS: dict[str, KnownModel] = {
    "demo": KnownModel(
        str(DEMO_CHECKPOINT), "qwen2_audio", "the embedded checkpoint: for trying serann, not for research", DEMO
    ),
    "qwen2-audio": KnownModel(
        "Qwen/Qwen2-Audio-7B-Instruct", "qwen2_audio", "8 billion parameters, 16 GB in bfloat16", QWEN2_AUDIO
    ),
}


def known_exposure(model: str, corpus: str) -> str:
    """One sentence on what is publicly stated of a model having met a corpus, by the names that a run records.

    A model is known by its short name, its hub id, or as a folder of that id's name (a fine-tuned copy may have met
    more). "unknown" is said where nothing is stated.
    """
    for name, known in KNOWN_MODELS.items():
        if model in (name, known.location, Path(known.location).name):
            return exposure_in_words(known.exposure, model, corpus)
    return exposure_in_words({}, model, corpus)


class ChatParts(NamedTuple):
    """Token ids of one chat up to the end of the audio, and after it; the prefix holds one audio token."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


class Features(NamedTuple):
    """Model inputs of a batch of B clips, cut to the longest: [B, mels, frames], [B, frames], audio tokens per clip."""

    input_features: "torch.Tensor"
    mask: "torch.Tensor"
    audio_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AudioLanguageModel:
    """A loaded model with its processor and its family: the one place that knows how this family is fed."""

    name: str
    family: Family
    model: Any
    processor: Any
    identity: dict[str, str]

    @property
    def sample_rate(self) -> int:
        return int(self.processor.feature_extractor.sampling_rate)

    @property
    def max_seconds(self) -> float:
        """The longest audio the model can take: the smaller of the feature window and the encoder's positions."""
        extractor, positions = self.processor.feature_extractor, self.model.config.audio_config.max_source_positions
        return min(extractor.n_samples, 2 * positions * extractor.hop_length) / extractor.sampling_rate

    @property
    def audio_token_id(self) -> int:
        return int(self.model.config.audio_token_id)

    def turn_ends(self) -> tuple[int, ...]:
        """Ids of every token that ends an answer: the family's marks and those of the generation config."""
        tokenizer = self.processor.tokenizer
        vocabulary = tokenizer.get_vocab()
        ids = [vocabulary[mark] for mark in self.family.turn_ends if mark in vocabulary]
        stated = getattr(self.model.generation_config, "eos_token_id", None)
        ids += stated if isinstance(stated, list) else [stated] if stated is not None else []
        if not ids:
            raise ModelError(f"model {self.name}: its tokenizer has none of {', '.join(self.family.turn_ends)}")
        return tuple(dict.fromkeys(int(i) for i in ids))

    def tokens(self, text: str) -> tuple[int, ...]:
        """Token ids of a text as it stands, nothing added."""
        return tuple(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def chat(self, system: str, text: str, examples: Sequence[tuple[str, str]] = ()) -> ChatParts:
        """The chat of one listener, audio first, as token ids before and after the end of the utterance's audio.

        `examples` are earlier turns, each with a sound of its own: what is asked about it, and the answer. The text is
        laid out by the processor's own chat template. Tokenised apart, the two parts equal the whole: this is what lets
        all listeners share the audio's prefix, so it is checked, not assumed.
        """
        turns: list[dict[str, Any]] = [{"role": "system", "content": system}]
        for asked, answer in examples:
            turns += [_heard(asked), {"role": "assistant", "content": answer}]
        turns.append(_heard(text))
        whole = self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        sounds, mark = len(examples) + 1, self.family.audio_end
        pieces = whole.split(mark, sounds)
        before, after = mark.join(pieces[:sounds]), pieces[-1]
        if len(pieces) != sounds + 1 or before.count(self.family.audio_token) != sounds:
            raise ModelError(
                f"model {self.name}: its chat template did not put one {self.family.audio_token} and "
                f"{mark} before the text; expected a {self.family.name} chat template"
            )
        parts = ChatParts(self.tokens(before + mark), self.tokens(after))
        if parts.prefix + parts.suffix != self.tokens(whole):
            raise ModelError(
                f"model {self.name}: its tokenizer merges text across {mark}, so listeners cannot "
                "share the audio's prefix; the mark must be a special token"
            )
        return parts

    def with_audio(self, prefix: Sequence[int], audio_tokens: Sequence[int]) -> list[int]:
        """The prefix with each of its audio tokens repeated for every frame the encoder gives of that sound."""
        counts = iter(audio_tokens)
        return [
            token for place in prefix for token in ([place] * next(counts) if place == self.audio_token_id else [place])
        ]

    @property
    def frontend(self) -> LogMelFrontEnd:
        """What makes a clip at the model's rate its input."""
        return LogMelFrontEnd(self.processor.feature_extractor, 2 * self.model.config.audio_config.max_source_positions)

    def together(self, clips: Sequence[LogMel]) -> Features:
        """Prepared clips as one batch, cut to the longest; each clip's frames are what they are alone."""
        import torch

        mel, mask = stacked(clips)
        tokens = tuple(audio_tokens(clip.valid) for clip in clips)
        return Features(torch.from_numpy(mel), torch.from_numpy(mask), tokens)

    def features(self, waves: Sequence[np.ndarray]) -> Features:
        """Log-mel features of mono clips at the model's rate, cut to the longest."""
        return self.together([self.frontend(wave) for wave in waves])


def _heard(text: str) -> dict[str, Any]:
    """A user's turn: a sound, then the text. Some chat templates look for the key "audio_url" and not for the type; the
    address is never opened.
    """
    return {"role": "user", "content": [{"type": "audio", "audio_url": ""}, {"type": "text", "text": text}]}


def load_model(
    name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> AudioLanguageModel:
    """Load a model by short name (`KNOWN_MODELS`), folder, or hub id, ready to score.

    `device`: auto, cpu or cuda…; `dtype`: auto (bfloat16 on a GPU, float32 on a CPU), float32, bfloat16, float16.
    Raises `ModelError` if it is not there, not of a known family, or cannot run here.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    from .matrix_kernels import use_fast_products

    location = locate(name, revision=revision)
    where = _device(device)
    kind = _dtype(dtype, where)
    family = _family(name, location, revision)
    try:
        with without_bars():
            processor = transformers.AutoProcessor.from_pretrained(location, revision=revision)
            model, report = getattr(transformers, family.model_class).from_pretrained(
                location, revision=revision, dtype=kind, attn_implementation="sdpa", output_loading_info=True
            )
        model = model.eval().to(where)
        use_fast_products(model)
    except torch.cuda.OutOfMemoryError:
        raise ModelError(f"model {name} does not fit into the memory of {where}; try --device cpu") from None
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"model {name} cannot be loaded: {_first_line(error)}") from error
    absent = sorted(report["missing_keys"])
    if absent:  # the loader fills them with random numbers, and only warns
        raise ModelError(f"model {name} lacks {len(absent)} of its weights ({absent[0]}, …); download it again")
    identity = {
        "model": name if name in KNOWN_MODELS else Path(location).name if Path(location).is_dir() else location,
        "weights": _weights_fingerprint(location, model),
        "dtype": str(kind).removeprefix("torch."),
    }
    return AudioLanguageModel(name, family, model, processor, identity)


@contextmanager
def without_bars() -> Iterator[None]:
    """Let transformers show no progress bars; what it and the hub's client are set to is given back."""
    import transformers
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

    shown, hidden = transformers.utils.logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:  # this switches the hub's on as well
            transformers.utils.logging.enable_progress_bar()
        if shown and hidden:
            disable_progress_bars()


def locate(name: str, *, revision: str | None = None) -> str:
    """The folder or hub id that a model name stands for; `ModelError` if it is neither on disk nor on the hub."""
    location = KNOWN_MODELS[name].location if name in KNOWN_MODELS else name
    path = Path(location).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{path} is not a model: it has no config.json; expected a checkpoint folder")
        return str(path)
    if not re.fullmatch(r"([\w-][\w.-]*/)?[\w-][\w.-]*", location):
        raise ModelError(
            f"model {name} was not found on disk; expected a folder, a hub id owner/name, "
            f"or one of {', '.join(KNOWN_MODELS)}"
        )
    _ask_hub(name, location, revision)
    return location


def _ask_hub(name: str, location: str, revision: str | None) -> None:
    """Fail within seconds if a model is neither cached nor to be had (the loader would retry for half a minute)."""
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    # The hub's client has changed its transport more than once; its error's bases name the transport's own error.
    unreachable: tuple[Any, ...] = (OSError, *HfHubHTTPError.__bases__)
    if isinstance(huggingface_hub.try_to_load_from_cache(location, "config.json", revision=revision), str):
        return
    try:
        huggingface_hub.HfApi().model_info(location, revision=revision, timeout=10)
    except GatedRepoError:
        raise ModelError(f"model {name} is gated on the hub: accept its terms there and log in") from None
    except RevisionNotFoundError:
        raise ModelError(f"model {name} has no revision '{revision}' on the hub") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"model {name} was not found on disk, and the hub does not know it; expected a "
            f"folder, a hub id owner/name, or one of {', '.join(KNOWN_MODELS)}"
        ) from None
    except unreachable as error:
        raise ModelError(
            f"model {name} was not found on disk, and the hub could not be reached: {_first_line(error)}; "
            f"check the connection, or give the folder of a downloaded checkpoint, or one of {', '.join(KNOWN_MODELS)}"
        ) from None


def _family(name: str, location: str, revision: str | None) -> Family:
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(location, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model {name} cannot be loaded: {_first_line(error)}") from None
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"model {name} is of type '{config.model_type}', which serann cannot use as an annotator; "
            f"expected one of {', '.join(FAMILIES)}"
        )
    return FAMILIES[config.model_type]


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ModelError(f"unknown device '{device}'; expected auto, cpu, cuda or cuda:N")
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelError(f"device {device} was asked for, but torch sees no CUDA device; use --device cpu")
    return device


def _dtype(dtype: str, device: str) -> "torch.dtype":
    import torch

    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if dtype not in kinds:
        raise ModelError(f"unknown dtype '{dtype}'; expected auto, {', '.join(kinds)}")
    return kinds[dtype]


def _weights_fingerprint(location: str, model: Any) -> str:
    """The hub's commit, or a hash over the files of a folder that decide its answers."""
    folder = Path(location)
    if not folder.is_dir():
        return f"commit:{getattr(model.config, '_commit_hash', None) or 'unknown'}"
    kinds = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt")
    files = sorted({path for kind in kinds for path in folder.glob(kind) if path.is_file()})
    return fingerprint({path.name: hash_file(path) for path in files})


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
