"""The database: SQLite or PostgreSQL, through SQLAlchemy Core. The only package that imports SQLAlchemy and Alembic."""

from bouncepoll.store.database import IDLE_TIMEOUT_S
from bouncepoll.store.sql import SqlStore, open_store

__all__ = ["IDLE_TIMEOUT_S", "SqlStore", "open_store"]
