"""Alembic's way in: runs on the connection (and in the transaction) the store hands over."""

from alembic import context

from headrace.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
