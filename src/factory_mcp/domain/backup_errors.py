"""What can go wrong with a backup; a branch of the tree in `errors.py`.

Refused
├── BackupUnusable          backup_unusable            422
└── StoreNotEmpty           store_not_empty            409
"""

from factory_mcp.domain.errors import Refused


class BackupUnusable(Refused):
    """The file cannot be written or read, is no backup, or is not whole."""

    code = "backup_unusable"
    http = 422
    remedy = "Take another copy; `factory-mcp restore --verify-only FILE` says whether it is whole."


class StoreNotEmpty(Refused):
    """A backup is restored only where nothing is that it could be mixed with."""

    code = "store_not_empty"
    http = 409
    remedy = (
        "Name an empty store: another folder in FACTORY_MCP_DATA, or a new database in"
        " POSTGRES_CONNECTION_STRING, made ready with `factory-mcp db upgrade`."
    )
