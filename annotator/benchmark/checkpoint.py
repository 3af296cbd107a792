"""Random checkpoints of the true Qwen2-Audio architecture, made on the fly: what a benchmark measures with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...data.labels import LABEL_SETS
from ..models.families import without_bars

if TYPE_CHECKING:
    import torch

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
LABELS = LABEL_SETS["msp9"].labels
# How large-vocabulary tokenizers split emotion words that open an answer: the common ones whole, the others in two.
WHOLE = ("neutral", "happy", "sad", "fear", "other", "A", "B", "C", "D", "E", "F", "G", "H", "I")
HALVES = ("ang", "ry", "dis", "gust", "cont", "empt", "sur", "prise")


class Size(NamedTuple):
    """An audio tower and a language model: layers, width, heads (text: and key-value heads), width of the MLP."""

    audio: tuple[int, int, int, int]
    text: tuple[int, int, int, int, int]
    vocabulary: int


SIZES = {
    "tiny": Size((2, 32, 2, 64), (2, 32, 4, 2, 64), 2_000),
    "mid": Size((6, 384, 6, 1536), (8, 512, 8, 8, 1792), 32_000),
    "7b": Size((32, 1280, 20, 5120), (32, 4096, 32, 32, 11008), 156_032),
}


def make_tokenizer() -> Any:
    """A byte-level BPE tokenizer with Qwen2-Audio's special tokens and one or two tokens for an emotion word.

    Learnt from the prompts' own wording and from the English of Python's manual, so that a word is about a token, as
    with the tokenizers of large models.
    """
    from pydoc_data import topics  # the one English text that is on every machine

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_900,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words = [form for word in (*WHOLE, *HALVES) for form in (word, word.capitalize())]
    # Each often enough that it outweighs the manual; the labels' split words are never seen whole at a line's start.
    tokenizer.train_from_iterator([*words * 500, *_wording() * 500, *topics.topics.values()], trainer)
    names = ("audio_token", "audio_bos_token", "audio_eos_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=dict(zip(names, SPECIAL[3:], strict=True)),
    )


def _wording() -> list[str]:
    from ...prompts.loader import load_panel, render

    panel = load_panel("crossed")
    asked = {item.rater: render(panel.question, item, LABELS, "what was said") for item in panel.listeners}
    return [text for question in asked.values() for text in (question.system, question.text)] + [
        "\nAudio 1: \nsystem\nuser\nassistant\n"
    ]


def make_config(size: Size, tokenizer: Any) -> Any:
    """The configuration of a model of this size with a window of 30 s."""
    from transformers import Qwen2AudioConfig

    layers, width, heads, inner = size.audio
    depth, hidden, text_heads, key_heads, mlp = size.text
    return Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 128,
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": heads,
            "encoder_ffn_dim": inner,
            "max_source_positions": 1500,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": size.vocabulary,
            "hidden_size": hidden,
            "intermediate_size": mlp,
            "num_hidden_layers": depth,
            "num_attention_heads": text_heads,
            "num_key_value_heads": key_heads,
            "tie_word_embeddings": False,
            "max_position_embeddings": 8192,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )


def make_model(size: Size, tokenizer: Any, *, device: str = "cpu", dtype: "torch.dtype | None" = None) -> Any:
    """A random model; on a GPU its weights are drawn there, in `dtype`, so that 16 GB need not pass through memory."""
    import torch
    from transformers import Qwen2AudioForConditionalGeneration

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype or torch.float32)
    try:
        with torch.random.fork_rng(), torch.device(device):
            torch.manual_seed(0)
            model = Qwen2AudioForConditionalGeneration(make_config(size, tokenizer))
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    return model.eval()


def make_processor(tokenizer: Any) -> Any:
    """The processor of every size: 128 mel bands, 30 s."""
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=30)
    return Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def make_checkpoint(path: Path, *, size: str = "mid") -> Path:
    """Write a random checkpoint of this size into a new folder."""
    with without_bars():
        tokenizer = make_tokenizer()
        make_model(SIZES[size], tokenizer).save_pretrained(path)
    make_processor(tokenizer).save_pretrained(path)
    return path
