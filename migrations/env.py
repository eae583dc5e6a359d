"""Runs the migrations on the connection ``bouncepoll.store.schema`` hands over, inside its transaction."""

from alembic import context

from bouncepoll.store.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # Alembic takes SQLite for a database without transactional DDL; it has it, once the driver keeps its hands off.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
