"""Speech encoders by name: pretrained from disk or the hub, or fresh from a configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...data.errors import ModelError
from ...data.files import read_json
from .encoders import SpeechEncoder, WhisperEncoder, check_extractor, fresh_whisper

ENCODERS = {"wavlm": "microsoft/wavlm-base-plus"}
ARCHITECTURES = ("wavlm", "hubert", "wav2vec2", "whisper")


def small_config() -> Any:
    """A WavLM of 0.2 million parameters that learns from a few hundred short clips on a laptop, for the
    demonstration.

    Measured on simulated clips: a second layer, wider layers or a longer first kernel cost time and moved the
    test score by no more than another seed does. Group norm in the first layer hardly beat the constant
    (sq_unbiased .28 against .31, layer norm .18), and normalised waveforms lost as well (.21, else .17).
    """
    from transformers import WavLMConfig

    return WavLMConfig(
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=128,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_dim=(128, 64, 64),
        conv_kernel=(640, 4, 3),
        conv_stride=(160, 2, 2),
        conv_bias=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        num_buckets=32,
        max_bucket_distance=100,
        hidden_dropout=0.1,
        activation_dropout=0.1,
        attention_dropout=0.1,
    )


def fresh_encoder(model: str) -> SpeechEncoder:
    """An encoder with random weights: of the small configuration for "wavlm", else of the configuration that
    `model` names.

    Draws from torch's global generator, as transformers' initialisation does: seed it around the call.
    """
    if model in ENCODERS:
        return build_encoder(small_config().to_dict(), normalise=False)
    config, normalise = _configuration(model)
    return build_encoder(config.to_dict(), normalise=normalise)


def build_encoder(config: Mapping[str, Any], *, normalise: bool) -> SpeechEncoder:
    """An encoder of a stored configuration; its weights are random until a state is loaded."""
    from transformers import AutoConfig, AutoModel

    fields = {name: value for name, value in config.items() if name != "model_type"}
    made = AutoConfig.for_model(config["model_type"], **fields)
    if made.model_type == "whisper":
        return fresh_whisper(made)
    return SpeechEncoder(AutoModel.from_config(made), normalise=normalise)


def load_encoder(model: str) -> SpeechEncoder:
    """The pretrained encoder that `model` names: "wavlm", a checkpoint directory, or a name on the hub.

    Raises ModelError where it is absent, of another architecture, or holds other weights than its
    configuration says.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel

    config, normalise = _configuration(model)
    try:
        loaded, report = AutoModel.from_pretrained(
            ENCODERS.get(model, model), config=config, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{model}: its weights cannot be loaded: {_first_sentence(error)}") from error
    whisper = config.model_type == "whisper"  # whose decoder is left behind
    missing = sorted(
        key for key in report["missing_keys"] if key != "masked_spec_embed" and (not whisper or "encoder." in key)
    )
    if missing:
        raise ModelError(
            f"{model}: the checkpoint lacks {len(missing)} weights of its own configuration, {missing[0]} among them; "
            "it is incomplete or of another architecture"
        )
    return WhisperEncoder(loaded.encoder) if whisper else SpeechEncoder(loaded, normalise=normalise)


def _configuration(model: str) -> tuple[Any, bool]:
    """The configuration behind a name or directory, and whether its feature extractor normalises waveforms."""
    from transformers import AutoConfig

    name = ENCODERS.get(model, model)
    if not Path(name).is_dir():
        _ensure_cached(name)
    elif not (Path(name) / "config.json").is_file():
        raise ModelError(
            f"{name}: no config.json in this directory; expected a transformers checkpoint of {_families()}"
        )
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: its configuration cannot be read: {_first_sentence(error)}; expected a transformers checkpoint "
            f"of {_families()}"
        ) from error
    if config.model_type not in ARCHITECTURES:
        raise ModelError(f"{name}: it is a {config.model_type} model; expected one of {_families()}")
    return config, _normalises(name, config)


def _normalises(name: str, config: Any) -> bool:
    """What preprocessor_config.json says; without one, what these families do: layer-norm configurations
    normalise.
    """
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(name, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    except OSError:
        found = None
    said = {} if found is None else read_json(found, what="feature extractor's configuration")
    if config.model_type == "whisper":
        check_extractor(name, config, said)
        return False
    return bool(said.get("do_normalize", True)) if found else config.feat_extract_norm == "layer"


def _ensure_cached(name: str) -> None:
    """Raise ModelError unless `name` lies in the local cache or the hub answers for it (asked once: the hub's
    own client retries).
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    missing = f"{name} was not found on disk, and"
    folder = (
        f"give a checkpoint's folder with --model FOLDER ({_families()}; its config.json is enough with --from-scratch)"
    )
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return
        HfApi().model_info(name, timeout=10)
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{missing} the hub knows no such model (or it is private): check the name, or {folder}"
        ) from error
    except HFValidationError as error:
        raise ModelError(
            f"{missing} it is no name of a model on the hub either: check the path, or {folder}"
        ) from error
    except Exception as error:  # whatever the network stack raises, the user's answer is the same
        raise ModelError(
            f"{missing} the hub could not be reached ({_first_sentence(error)}): {folder}, or run this once where it "
            "can be; '--model wavlm --from-scratch' needs neither"
        ) from error


def _families() -> str:
    return ", ".join(ARCHITECTURES)


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
