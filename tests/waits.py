"""The ways to wait that compiled modules may use: what `test_compiled` compiles, and holds to the source."""

from typing import Any


async def passes(inner: Any) -> Any:
    """Return what *inner* gives."""
    return await inner


async def catches(inner: Any, said: list[Any]) -> Any:
    """Say what came of *inner*, whatever it is."""
    try:
        return await inner
    except KeyError as error:
        said.append(f"caught {error}")
        return "caught"
    except BaseException as error:
        said.append(f"passed {type(error).__name__}")
        raise
    finally:
        said.append("done")


async def repeats(inners: Any, said: list[Any]) -> Any:
    """Wait for one of *inners* after the other."""
    for one in inners:
        try:
            value = await one
            if value == "last":
                return value
        except ValueError:
            said.append("wrong")
        finally:
            said.append("one")
    return said


async def changes(inner: Any) -> None:
    """Raise another error in the place of any."""
    try:
        await inner
    except Exception:
        raise RuntimeError("another")  # noqa: B904 - what compiled modules do


async def nests(inner: Any, said: list[Any]) -> Any:
    """Handle an error twice, and raise it where none is handled any more."""
    try:
        try:
            return await inner
        except KeyError:
            said.append("first")
            raise
        finally:
            said.append("between")
    except Exception as error:
        said.append(repr(error))
        failure = error
    said.append("after")
    raise failure


async def keeps(manager: Any, inner: Any) -> Any:
    """Wait inside of a `with` block."""
    with manager:
        return await inner
