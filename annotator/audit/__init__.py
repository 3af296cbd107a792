"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from .alignment import audit
from .opening import open_audited, open_panel
from .result import AuditResult

__all__ = ["AuditResult", "audit", "open_audited", "open_panel"]
