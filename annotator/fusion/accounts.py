"""The figures of a fusion's report, for the page (`report_html.py`), the terminal and `report.json` alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data.files import finite
from ...data.fused import FusionInfo
from .added import Added, added, as_written
from .describe import Fusion
from .fallback import Fallback, fallback
from .moved import Moved, moved
from .strengths import Strengths, strengths


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What `fusion.json` says, what moved, what was fitted, where the proxy was taken, and what was added (None:
    nothing)."""

    info: FusionInfo
    labels: tuple[str, ...]
    moved: Moved
    strengths: Strengths
    fallback: Fallback
    added: Added | None

    @property
    def gives_p(self) -> str:
        """The strategy that gave the distributions."""
        return self.info.blend or self.info.strategy

    def to_json(self) -> dict[str, Any]:
        """Plain values: named tuples are objects, what is not finite is null; of `fusion.json` only what they need."""
        about = {name: getattr(self.info, name) for name in ("strategy", "blend", "seed", "counts", "shares")}
        parts = {name: plain(getattr(self, name)) for name in ("moved", "strengths", "fallback", "added")}
        return finite({**about, "labels": list(self.labels), **parts})


def figures(fusion: Fusion, info: FusionInfo, *, guess_bytes: bool = False) -> FusionReport:
    """Compute the report; `guess_bytes` makes a few of the new sounds to guess the size of all."""
    return FusionReport(
        info=info,
        labels=tuple(fusion.evidence.labels),
        moved=moved(fusion.evidence, fusion.blend),
        strengths=strengths(fusion.evidence, fusion.blend, fusion.options.gives_p),
        fallback=fallback(fusion.evidence, fusion.blend),
        added=added(fusion, guess_bytes=guess_bytes),
    )


def with_files(report: FusionReport, rows: Sequence[dict[str, Any]], directory: Path) -> FusionReport:
    """The report with the seconds and bytes of the sounds that were written below `directory`."""
    return report if report.added is None else replace(report, added=as_written(report.added, rows, directory))


def plain(value: Any) -> Any:
    """Named tuples as objects, whatever holds them."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(part) for name, part in value._asdict().items()}  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
