"""What a pipeline sees of libpq, without a server: results, and connections that give and note things."""

import ctypes
import sys
from collections import deque

import psycopg
import pytest
from psycopg.pq import DiagnosticField, ExecStatus, PGconn, TransactionStatus
from psycopg.pq.misc import PGresAttDesc

from pgdual.core.pipeline import Pipeline

INT8 = 20  # from pg_type


class Result:
    """A result without rows."""

    param_type = ftype = staticmethod(lambda index: 1000 + index)
    ntuples = 0

    def __init__(self, status, tag=None, touched=None, fields=0, error=None):
        self.status = status
        self.command_status = tag
        self.command_tuples = touched
        self.nparams = self.nfields = fields
        self._error = error

    def error_field(self, field):
        code, position, routine = self._error
        found = {
            DiagnosticField.SQLSTATE: code,
            DiagnosticField.STATEMENT_POSITION: position,
            DiagnosticField.SOURCE_FUNCTION: routine,
        }.get(field)
        return None if found is None else found.encode()

    def get_error_message(self, encoding="utf-8"):
        return f"scripted {self._error[0]}"


class Rows:
    """Makes real results with rows, which only libpq's own function can fill."""

    def __init__(self):
        library = getattr(sys.modules[PGconn.__module__], "__file__", None) or ".py"
        if library.endswith(".py"):
            pytest.skip("psycopg is here in pure Python, whose libpq is not looked up")
        self._set = ctypes.PyDLL(library).PQsetvalue
        self._set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self.pgconn = PGconn.connect_start(b"host=/nonexistent")

    def __call__(self, rows, status=ExecStatus.TUPLES_OK):
        """Return rows of two numbers."""
        data = [[value.to_bytes(8) for value in row] for row in rows]
        return self.of([(b"job", INT8), (b"row", INT8)], data, status=status)

    def of(self, columns, rows, form=1, status=ExecStatus.TUPLES_OK, modifier=-1):
        """Return rows of bytes in these columns, each a name and the type's number."""
        result = self.pgconn.make_empty_result(status)
        result.set_attributes([PGresAttDesc(name, 0, 0, form, oid, -1, modifier) for name, oid in columns])
        for at, row in enumerate(rows):
            for column, data in enumerate(row):
                size = -1 if data is None else len(data)
                assert self._set(result.pgresult_ptr, at, column, data, size)
        return result


class Connection:
    """What a pipeline sees of psycopg's connection."""

    closed = False

    def __init__(self, pgconn):
        self.pgconn = pgconn


def checked(connection, types, unnamed=False):
    """Return a pipeline over a played connection."""
    pipeline = Pipeline(connection, types, unnamed=unnamed, pooled=False)
    pipeline.is_busy = lambda pgconn: pgconn.is_busy()
    return pipeline


class Tape:
    """A libpq connection that notes what is sent, and gives what it was told to.

    What comes is told as lists: each is what one look at the socket brings, None in it the end of a
    command's results, and in place of a list an error.
    """

    def __init__(self):
        self.nonblocking = self.pipeline_status = 0
        self.transaction_status = TransactionStatus.IDLE
        self.session = {}
        self.sent = []
        self.coming = deque()
        self._here = deque()

    def __getattr__(self, name):
        if not name.startswith("send_"):
            raise AttributeError(name)
        return lambda *args: self.sent.append((name.removeprefix("send_"), *args))

    def pipeline_sync(self):
        self.sent.append(("sync",))

    def set_chunked_rows_mode(self, size):
        self.sent.append(("chunked", size))

    def enter_pipeline_mode(self):
        self.pipeline_status = 1

    def exit_pipeline_mode(self):
        self.pipeline_status = 0

    def parameter_status(self, name):
        return self.session.get(name)

    def consume_input(self):
        piece = self.coming.popleft() if self.coming else []
        if isinstance(piece, psycopg.Error):
            raise piece
        self._here.extend(piece)

    def is_busy(self):
        return not self._here

    def get_result(self):
        return self._here.popleft()
