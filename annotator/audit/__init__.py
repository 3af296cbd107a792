"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from ..report.files import check_report, report_files, write_report
from .alignment import audit
from .opening import open_audited, open_panel
from .result import AuditResult

__all__ = ["AuditResult", "audit", "check_report", "open_audited", "open_panel", "report_files", "write_report"]
