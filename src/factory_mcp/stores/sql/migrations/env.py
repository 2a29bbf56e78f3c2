"""What Alembic runs: the steps go over the connection, and into the transaction, it is given."""

from alembic import context

from factory_mcp.stores.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
