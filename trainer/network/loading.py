"""Speech encoders by name: pretrained from disk or the hub, or fresh from a configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...data.errors import ModelError
from ...data.files import read_json
from .encoders import SpeechEncoder, WhisperEncoder, check_extractor, fresh_whisper


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


def _made(config: Mapping[str, Any]) -> Any:
    """The configuration of transformers' own class for these fields."""
    from transformers import AutoConfig

    fields = {name: value for name, value in config.items() if name != "model_type"}
    return AutoConfig.for_model(config["model_type"], **fields)


def _from_config(config: Mapping[str, Any], normalise: bool) -> SpeechEncoder:
    from transformers import AutoModel

    return SpeechEncoder(AutoModel.from_config(_made(config)), normalise=normalise)


def _loaded(model: Any, normalise: bool) -> SpeechEncoder:
    return SpeechEncoder(model, normalise=normalise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An architecture of speech encoders, under the `model_type` of its configurations.

    `fresh(config, normalise)` has random weights, `loaded(model, normalise)` is what transformers loaded. `hub` is the
    checkpoint and `small()` the configuration (for --from-scratch) that the bare name stands for. `check(name, config,
    extractor)` refuses a checkpoint whose feature extractor hears otherwise; an encoder with a `check` hears by its own
    extractor and takes waveforms as they are. `part` begins the names of the weights that have to be there.
    """

    about: str
    fresh: Callable[[Mapping[str, Any], bool], SpeechEncoder] = _from_config
    loaded: Callable[[Any, bool], SpeechEncoder] = _loaded
    hub: str | None = None
    small: Callable[[], Any] | None = None
    check: Callable[[str, Any, Mapping[str, Any]], None] | None = None
    part: str = ""


ENCODERS: dict[str, Encoder] = {
    "wavlm": Encoder(about="WavLM", hub="microsoft/wavlm-base-plus", small=small_config),
    "hubert": Encoder(about="HuBERT"),
    "wav2vec2": Encoder(about="wav2vec 2.0"),
    "whisper": Encoder(
        about="Whisper, whose decoder is left behind",
        fresh=lambda config, _: fresh_whisper(_made(config)),
        loaded=lambda model, _: WhisperEncoder(model.encoder),
        check=check_extractor,
        part="encoder.",
    ),
}


def fresh_encoder(model: str) -> SpeechEncoder:
    """An encoder with random weights: of the small configuration of a bare name that has one ("wavlm"), else of the
    configuration that `model` names.

    Draws from torch's global generator, as transformers' initialisation does: seed it around the call.
    """
    named = ENCODERS.get(model)
    if named is not None and named.small is not None:
        return build_encoder(named.small().to_dict(), normalise=False)
    config, normalise = _configuration(model)
    return build_encoder(config.to_dict(), normalise=normalise)


def build_encoder(config: Mapping[str, Any], *, normalise: bool) -> SpeechEncoder:
    """An encoder of a stored configuration; its weights are random until a state is loaded."""
    return ENCODERS[config["model_type"]].fresh(config, normalise)


def _checkpoint(model: str) -> str:
    """Where the weights of a name are: a bare name's checkpoint on the hub, else the name itself."""
    named = ENCODERS.get(model)
    return named.hub if named is not None and named.hub is not None else model


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
            _checkpoint(model), config=config, output_loading_info=True, dtype=torch.float32
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{model}: its weights cannot be loaded: {_first_sentence(error)}") from error
    encoder = ENCODERS[config.model_type]
    missing = sorted(key for key in report["missing_keys"] if key != "masked_spec_embed" and encoder.part in key)
    if missing:
        raise ModelError(
            f"{model}: the checkpoint lacks {len(missing)} weights of its own configuration, {missing[0]} among them; "
            "it is incomplete or of another architecture"
        )
    return encoder.loaded(loaded, normalise)


def _configuration(model: str) -> tuple[Any, bool]:
    """The configuration behind a name or directory, and whether its feature extractor normalises waveforms."""
    from transformers import AutoConfig

    name = _checkpoint(model)
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
    if config.model_type not in ENCODERS:
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
    check = ENCODERS[config.model_type].check
    if check is not None:
        check(name, config, said)
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
    return ", ".join(ENCODERS)


def _first_sentence(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
