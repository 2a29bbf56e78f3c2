"""Bringing a database to the head; the only module that imports Alembic, which takes its time."""

from pathlib import Path
from typing import Final

from alembic.command import upgrade as alembic_upgrade
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from factory_mcp.domain.errors import SchemaMismatch
from factory_mcp.ports import Sealer
from factory_mcp.stores.sql.migrations import HEAD

_SCRIPTS: Final = Path(__file__).parent


def upgrade(connection: Connection, revision: str | None, sealer: Sealer) -> None:
    """Run the steps that are missing, in the connection's transaction.

    Args:
        connection: One that has begun.
        revision: The step the database stands at; None if it is empty.
        sealer: Seals what an older version kept in the clear.

    Raises:
        SchemaMismatch: The revision is none that this program knows.
    """
    config = Config(attributes={"connection": connection, "sealer": sealer})
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    if revision is not None:
        _recognise(config, revision)
    alembic_upgrade(config, "head")


def _recognise(config: Config, revision: str) -> None:
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError as error:
        raise SchemaMismatch(
            f"The database stands at revision {revision}; this version knows those up to {HEAD}."
        ) from error
