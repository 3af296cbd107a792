"""TensorBoard, where it is asked for: the figures of metrics.jsonl, epoch by epoch (extra `tensorboard`)."""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..data.errors import OptionError


def require_tensorboard() -> None:
    """Raise OptionError, saying how to install it, where the package is not there."""
    if find_spec("tensorboard") is None:
        raise OptionError(
            "--tensorboard needs the package tensorboard, which is not installed: pip install 'serann[tensorboard]'"
        )


class Board:
    """Writes an epoch's figures below a model directory's `tensorboard/`. Epochs are written again after a stop: the
    same figures at the same step.
    """

    def __init__(self, out: Path):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(out / "tensorboard"))

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of an epoch that are numbers."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()
