"""The way of a database from one schema to the next, by Alembic; run when a storage is opened."""
