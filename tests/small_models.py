"""Small random checkpoints of the true Qwen2-Audio architecture, and the naive way to score answers, for tests."""

from pathlib import Path

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
# Merges learnt from this leave labels of one and of several tokens.
TEXT = [
    "Which emotion is expressed? Answer with one of: neutral, angry, sad. Answer with one letter.",
    "You are a listener who judges emotion in speech. Consider the voice and the words together.",
    "system user assistant Audio 1: neutral neutral angry angry sad sad sad A. B. C. D.",
    *["neutral", "sad"] * 9,
]


def make_tokenizer(*, vocabulary: int = 420):
    """A byte-level BPE tokenizer with Qwen2-Audio's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "audio_token": "<|AUDIO|>",
            "audio_bos_token": "<|audio_bos|>",
            "audio_eos_token": "<|audio_eos|>",
        },
    )


def make_checkpoint(path: Path, *, seconds: int = 4, seed: int = 0, width: int = 32, layers: int = 2) -> Path:
    """Write a random checkpoint with a window of `seconds`; wide weights, so that answers are far from uniform."""
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    tokenizer = make_tokenizer()
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 16,
            "d_model": width,
            "encoder_layers": layers,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 2 * width,
            "max_source_positions": 50 * seconds,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": False,
            "max_position_embeddings": 4096,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=seconds)
    model.save_pretrained(path)
    Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(path)
    return path


def naive_answer_logp(alm, clip, system, text, answers):
    """Sum over forms and turn ends of teacher-forced probabilities: a full forward each, audio padded to the window."""
    import numpy as np
    import torch
    from serann.annotator.models.label_tree import surface_forms

    turns = [
        {"role": "system", "content": system},
        {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": text}]},
    ]
    prompt = alm.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = dict(alm.processor(text=prompt, audio=clip, sampling_rate=16000, return_tensors="pt"))
    start = inputs["input_ids"].shape[1]
    logps = []
    for answer in answers:
        total = []
        for form in surface_forms(answer):
            for end in alm.turn_ends():
                tail = torch.tensor([[*alm.tokens(form), end]])
                ids = torch.cat([inputs["input_ids"], tail], dim=1)
                with torch.inference_mode():
                    logits = alm.model(**{**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}).logits
                steps = logits[0, start - 1 : -1].log_softmax(-1).gather(1, tail.T)
                total.append(steps.sum())
        logps.append(torch.stack(total).logsumexp(0).item())
    return np.array(logps)
