"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from .alignment import audit
from .opening import open_audited, open_panel
from .report_files import check_report, report_files, write_report
from .result import AuditResult

__all__ = ["AuditResult", "audit", "check_report", "open_audited", "open_panel", "report_files", "write_report"]
