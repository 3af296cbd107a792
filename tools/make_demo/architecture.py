"""The embedded checkpoint's parts before training: tokenizer, processor and a small model of Qwen2-Audio's classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")
WINDOW_SECONDS = 4
MEL_BANDS = 128
# 64 ms of analysis window (Whisper: 25 ms) resolve the harmonics of low voices, and with them pitch and its range.
FFT_POINTS = 1024
VOCABULARY = 700

AUDIO_SIZE: dict[str, Any] = {
    "d_model": 128, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 512, "dropout": 0.0,
}  # fmt: skip
TEXT_SIZE: dict[str, Any] = {
    "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
    "intermediate_size": 320, "attention_dropout": 0.0,
}  # fmt: skip


def train_tokenizer(texts: Iterable[str]) -> Any:
    """A byte-level BPE tokenizer of Qwen2's kind and special tokens, with VOCABULARY entries learnt from `texts`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()  # type: ignore[assignment]
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learner.train_from_iterator(texts, trainer=trainer)
    merges = _merges(learner)
    return Qwen2Tokenizer(
        vocab=learner.get_vocab(),
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in ("<|endoftext|>", "<|im_end|>")],
        model_max_length=8192,
    )


def _merges(learner: Any) -> Any:
    import json

    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


def make_processor(tokenizer: Any) -> Any:
    """Qwen2-Audio's processor with its own chat template, over log-mel features of a short native window."""
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(
        feature_size=MEL_BANDS, chunk_length=WINDOW_SECONDS, n_fft=FFT_POINTS, return_attention_mask=True
    )
    return Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def make_model(tokenizer: Any, *, seed: int) -> Any:
    """A Qwen2AudioForConditionalGeneration with random weights, sinusoidal encoder positions and its stop tokens set.

    The caller's random state is left as it was.
    """
    import torch
    from transformers import (
        GenerationConfig,
        Qwen2AudioConfig,
        Qwen2AudioEncoderConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2Config,
    )

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    audio = Qwen2AudioEncoderConfig(num_mel_bins=MEL_BANDS, max_source_positions=50 * WINDOW_SECONDS, **AUDIO_SIZE)
    text = Qwen2Config(
        vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=ids["<|im_end|>"], pad_token_id=ids["<|endoftext|>"], **TEXT_SIZE,
    )  # fmt: skip
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=ids["<|AUDIO|>"])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
    positions = audio_tower(model).embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    model.generation_config = GenerationConfig(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"], do_sample=False
    )
    return model


def audio_tower(model: Any) -> Any:
    """The encoder, in whichever of its two places the installed transformers has it."""
    return model.audio_tower if hasattr(model, "audio_tower") else model.model.audio_tower


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """Whisper's position embeddings [length, channels]: sines, then cosines, of geometrically spaced frequencies."""
    import torch

    half = channels // 2
    scales = np.exp(-np.log(10000.0) / (half - 1) * np.arange(half))
    angles = np.arange(length)[:, None] * scales[None, :]
    return torch.tensor(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), dtype=torch.float32)
