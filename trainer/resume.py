"""What a stopped training goes on from: checkpoint/state.pt, and whether it is this training's."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.errors import ModelError, list_problems
from ..data.files import atomic_file
from .network.freezing import learnt_state
from .preparing import Training

# A batch's size, loss, and the loss's two parts.
Row = tuple[int, float, float, float]
ANEW = "remove that file to begin this training anew"


def save(training: Training, begun: list[Row]) -> None:
    """Make this moment the one to resume after; `begun` are the rows of the epoch's batches so far."""
    save_state(training.out, state_of(training, begun))


def state_of(training: Training, begun: list[Row]) -> dict[str, Any]:
    """All that the rest of a training depends on; `scaler` is the scale of half precision's gradients."""
    scaler = training.accelerator.scaler
    return {
        "network": learnt_state(training.accelerator.unwrap_model(training.network), training.options),
        "optimiser": training.optimiser.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "history": training.history,
        "failures": training.failures,
        "begun": begun,
    }


def resume(training: Training) -> list[Row]:
    """Take up what was saved last, and return the rows of an epoch begun; a training killed before begins anew.

    Raises ModelError for a state that is not this training's: of another head, label set or encoder.
    """
    clear_partial(training.out)
    state = load_state(training.out)
    if state is None:
        return []
    path = state_file(training.out)
    _refuse_misfits(training, state, path)
    network, scaler = training.accelerator.unwrap_model(training.network), training.accelerator.scaler
    try:
        network.load_state_dict(state["network"], strict=False)
        training.optimiser.load_state_dict(state["optimiser"])
        if scaler is not None and state["scaler"] is not None:
            scaler.load_state_dict(state["scaler"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: it is no state of this training ({' '.join(str(error).split())}); {ANEW}") from error
    training.history, training.failures = list(state["history"]), dict(state["failures"])
    return [tuple(row) for row in state["begun"]]


def _refuse_misfits(training: Training, state: Mapping[str, Any], path: Path) -> None:
    """Raise ModelError naming the tensors that this network has not, lacks, or has in another shape."""
    asked = learnt_state(training.accelerator.unwrap_model(training.network), training.options)
    missing = {"network", "optimiser", "scaler", "history", "failures", "begun"} - state.keys()
    if missing:
        raise ModelError(f"{path}: this checkpoint lacks {', '.join(sorted(missing))}; {ANEW}")
    shapes = [{name: list(tensor.shape) for name, tensor in of.items()} for of in (state["network"], asked)]
    problems = [
        f"{name} is {shapes[0].get(name, 'not there')}, and {shapes[1].get(name, 'none')} in this network"
        for name in sorted({*shapes[0], *shapes[1]})
        if shapes[0].get(name) != shapes[1].get(name)
    ]
    if problems:
        raise ModelError(list_problems(f"{path}: it is of another network, {ANEW}", problems))


def what_is_kept(training: Training) -> str:
    """How a training that stopped can go on, in words."""
    state = load_state(training.out)
    if state is not None:
        epochs, begun = len(state["history"]), len(state["begun"])
        learnt = f"{epochs} epoch{'' if epochs == 1 else 's'}" + (f" and {begun} batches of the next" if begun else "")
        return f"what was learnt in {learnt} is kept, and the same command goes on from there"
    if training.options.frozen:
        return "what the frozen encoder heard so far is kept, and the same command goes on from there"
    return "nothing of this training was kept yet: the same command begins it anew"


def state_file(out: Path) -> Path:
    """Where the state of a training in `out` lies."""
    return out / "checkpoint" / "state.pt"


def save_state(out: Path, state: Mapping[str, Any]) -> None:
    """Write checkpoint/state.pt, atomically: after a crash it is the former one or this one, whole."""
    with atomic_file(state_file(out)) as partial:
        partial.write_bytes(as_bytes(state))


def as_bytes(state: Mapping[str, Any]) -> memoryview:
    """What state.pt holds, made in memory: torch's own writer ends a full disk in errors of its own."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getbuffer()


def load_state(out: Path) -> dict[str, Any] | None:
    """The state that an unfinished training left, on the CPU; None where it stopped before its first epoch's
    end.
    """
    path = state_file(out)
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise ModelError(f"{path}: this checkpoint cannot be read ({str(error).splitlines()[0]}); {ANEW}") from error


def clear_partial(out: Path) -> None:
    """Remove the half-written files that a killed training left."""
    for partial in out.rglob(".*.partial*"):
        partial.unlink(missing_ok=True)
