"""fetch_arrow, and copy_out to a Parquet or an Arrow file: columns for analysts (extra `arrow`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgdual._async.queries import Timeout
from pgdual.core.rows import VALUE
from pgdual.errors import ConfigurationError

from .stream import AsyncStream

ROWS = 50_000  # of a part of a file: they stand in memory
_SUFFIXES = (".parquet", ".arrow", ".feather")


def columns_of(result: Any, types: Any) -> Any:
    """Return a result's columns, which are still to be made.

    Raises:
        ConfigurationError: pyarrow is not there.
    """
    try:
        from pgdual.core.arrow import Columns  # noqa: PLC0415 - nobody else pays for it
    except ModuleNotFoundError as error:
        raise ConfigurationError("columns need an extra: pip install 'pgdual[arrow]'") from error
    return Columns(result, types)


class AsyncTables(AsyncStream[Any]):
    """What a query returns as tables, one a part, all of one schema; the first may be empty."""

    _want = VALUE
    _schema: Any = None

    def _keep(self, rows: Any) -> int:
        table = columns_of(rows, self._database._types).table(self._schema)
        if len(table) or self._schema is None:
            self._rows.append(table)
        self._schema = table.schema
        return len(table)


def is_columns(to: Any) -> bool:
    """Return whether *to* is the path of a file of columns."""
    return isinstance(to, (str, Path)) and Path(to).suffix in _SUFFIXES


async def save(database: Any, query: str, to: Any, timeout: Timeout) -> int:
    """Write what *query* returns to the file *to*, a part at a time; return the number of rows.

    The file has its name when it is whole.
    """
    path, count, writer = Path(to), 0, None
    unfinished = path.with_name(f"{path.name}.part")
    try:
        async with AsyncTables(database, query, (), ROWS, None, timeout) as tables:
            async for table in tables:
                writer = writer or _writer(unfinished, path.suffix, table.schema)
                writer.write_table(table)
                count += len(table)
        assert writer is not None
        writer.close()
        unfinished.replace(path)
    except BaseException:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)
        raise
    return count


def _writer(path: Path, suffix: str, schema: Any) -> Any:
    if suffix == ".parquet":
        from pyarrow.parquet import ParquetWriter  # type: ignore[import-untyped] # noqa: PLC0415

        return ParquetWriter(path, schema)
    from pyarrow.ipc import new_file  # type: ignore[import-untyped] # noqa: PLC0415

    return new_file(str(path), schema)
