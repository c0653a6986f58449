"""Alembic's door: one connection that the storage hands in, one transaction for all steps."""

from __future__ import annotations

from alembic import context

from p2pgrid.domain.storage.migrate import CONFIGURED

context.configure(connection=context.config.attributes["connection"], **CONFIGURED)
context.run_migrations()
