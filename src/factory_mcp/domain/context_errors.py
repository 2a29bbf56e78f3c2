"""What can go wrong with context chains; a branch of the tree in `errors.py`.

Refused
├── MergeConflict           merge_conflict             409
└── ContextDamaged          context_damaged            500
"""

from factory_mcp.domain.errors import Refused
from factory_mcp.domain.model import Conflict


class MergeConflict(Refused):
    """Both chains have changed the same keys; the caller has to say which values are to stand."""

    code = "merge_conflict"
    http = 409
    remedy = (
        "Say which value is to stand for each of these keys (`data` of context_write, `--set` of "
        "`factory-mcp context merge`, `resolve` in Python), and merge again."
    )

    def __init__(self, message: str, conflicts: tuple[Conflict, ...]) -> None:
        super().__init__(message)
        self.conflicts = conflicts


class ContextDamaged(Refused):
    """The stored chain does not lead to a root: rows were lost or changed from outside."""

    code = "context_damaged"
    http = 500
    remedy = "Restore the store from a backup, or start another chain with context_id `new`."
