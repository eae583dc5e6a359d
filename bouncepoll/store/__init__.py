"""The database: SQLite or PostgreSQL, through SQLAlchemy Core. The only package that imports SQLAlchemy and Alembic."""

from bouncepoll.store.sql import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
