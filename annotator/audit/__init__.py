"""How far synthetic listeners may be trusted: their distributions against held-out human votes."""

from .alignment import audit, open_audited
from .result import AuditResult

__all__ = ["AuditResult", "audit", "open_audited"]
