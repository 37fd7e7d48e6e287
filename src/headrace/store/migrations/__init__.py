"""Alembic's migrations, run whenever a store opens."""
