"""The PostgreSQL server of a test session, and cheap fresh databases in it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stepgres_service.store.migrate import Migrator


@dataclass
class Cluster:
    """A server on which this test process may make databases.

    A template is migrated once; each test gets a clone of it in some 30 ms.
    """

    #: Address of a database of a role that may create databases.
    admin_dsn: str
    #: Prefix of the databases of this process: several test processes may share a server.
    prefix: str = field(default_factory=lambda: f"stepgres_test_{os.getpid()}_{secrets.token_hex(3)}")

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._template: str | None = None
        self._admin: psycopg.Connection[tuple[object, ...]] | None = None

    def dsn(self, database: str) -> str:
        """Address of another database of this server."""
        return make_conninfo(**{**conninfo_to_dict(self.admin_dsn), "dbname": database})

    def create_empty(self) -> str:
        """Make an empty database and return its address."""
        return self.dsn(self._create(None))

    def create_migrated(self) -> str:
        """Make a database with our schema, a clone of the template, and return its address."""
        if self._template is None:
            name = self._create(None)
            Migrator(self.dsn(name)).up()
            self._template = name
        return self.dsn(self._create(self._template))

    def clone(self, dsn: str) -> str:
        """Make a copy of a database to which nobody is connected, and return its address."""
        return self.dsn(self._create(str(conninfo_to_dict(dsn)["dbname"])))

    def drop(self, dsn: str) -> None:
        """Remove a database of ours, whoever is still connected."""
        self._drop(str(conninfo_to_dict(dsn)["dbname"]))

    def close(self) -> None:
        """Remove the template and disconnect, at the end of the session."""
        if self._template is not None:
            self._drop(self._template)
            self._template = None
        if self._admin is not None:
            self._admin.close()

    def _create(self, template: str | None) -> str:
        name = f"{self.prefix}_{next(self._numbers)}"
        statement = sql.SQL("create database {} template {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        self._execute(statement)
        return name

    def _drop(self, name: str) -> None:
        self._execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        # Kept open: to connect takes longer than to make a database.
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.admin_dsn, autocommit=True)
        self._admin.execute(statement)


@contextmanager
def open_cluster(kind: str) -> Iterator[Cluster]:
    """Give the server of this session.

    Args:
        kind: `embedded` (our own programs, or the wheel's), `container` (Docker), or `url` (DATABASE_URL).
    """
    if kind == "url":
        yield Cluster(os.environ["DATABASE_URL"])
    elif kind == "container":
        with _container() as dsn:
            yield Cluster(dsn)
    else:
        from stepgres_service.dev import EmbeddedPostgres

        with EmbeddedPostgres(durable=False) as server:
            yield Cluster(server.dsn())


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    image = os.environ.get("STEPGRES_TEST_IMAGE", "postgres:18")
    with PostgresContainer(image, driver=None) as server:
        yield str(server.get_connection_url())
