"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from .alignment import audit
from .panels import open_panel
from .report import report_path, write_report
from .result import AuditResult

__all__ = ["AuditResult", "audit", "open_panel", "report_path", "write_report"]
