"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from ..proxies import open_audited, open_panel
from .alignment import audit
from .result import AuditResult

__all__ = ["AuditResult", "audit", "open_audited", "open_panel"]
