"""Small random speech-encoder checkpoints of the true transformers classes, for tests."""

from pathlib import Path

import numpy as np

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8, 16),
    "conv_kernel": (400, 3),
    "conv_stride": (160, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
}


def encoder_config(family: str = "wavlm", norm: str = "group", **changes):
    """A configuration of a family (wavlm, hubert, wav2vec2) with group or layer norm in its feature encoder."""
    from transformers import AutoConfig

    fields = {**SIZES, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer", **changes}
    return AutoConfig.for_model(family, **fields)


def whisper_config(**changes):
    """A Whisper configuration of three encoder layers with a window of 2 s."""
    from transformers import WhisperConfig

    fields = {
        "d_model": 16,
        "encoder_layers": 3,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 32,
        "num_mel_bins": 16,
        "max_source_positions": 100,
        "vocab_size": 64,
        "max_target_positions": 8,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "decoder_start_token_id": 0,
    }
    return WhisperConfig(**{**fields, **changes})


def make_sounds(lengths=(8000, 5200, 1600), seed: int = 0) -> list[np.ndarray]:
    """Noise of so many samples each."""
    rng = np.random.default_rng(seed)
    return [(0.1 * rng.standard_normal(n)).astype(np.float32) for n in lengths]


def make_encoder_checkpoint(
    path: Path, *, family: str = "wavlm", norm: str = "group", seed: int = 0, **changes
) -> Path:
    """Write a random checkpoint with its feature extractor's configuration."""
    import torch
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(encoder_config(family, norm, **changes))
    model.save_pretrained(path)
    Wav2Vec2FeatureExtractor(do_normalize=norm == "layer").save_pretrained(path)
    return path
