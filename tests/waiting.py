"""Prints what becomes of each way to wait in `waits`, which is imported from the folder that is given."""

import asyncio
import importlib
import sys

sys.path.insert(0, sys.argv[1])
waits = importlib.import_module("waits")


async def gives(value):
    await asyncio.sleep(0)
    return value


async def fails(error):
    await asyncio.sleep(0)
    raise error


class Manager:
    def __init__(self, said):
        self.said = said

    def __enter__(self):
        self.said.append("in")

    def __exit__(self, kind, *_):
        self.said.append(f"out {kind}")
        return kind is KeyError


WAYS = {
    "passes a value": lambda said: waits.passes(gives(1)),
    "passes an error": lambda said: waits.passes(fails(KeyError("key"))),
    "catches a value": lambda said: waits.catches(gives(1), said),
    "catches its error": lambda said: waits.catches(fails(KeyError("key")), said),
    "catches another": lambda said: waits.catches(fails(OSError("no")), said),
    "repeats to the end": lambda said: waits.repeats([gives(1), fails(ValueError("no")), gives(2)], said),
    "repeats to the last": lambda said: waits.repeats([fails(ValueError("no")), gives("last")], said),
    "repeats to an error": lambda said: waits.repeats([gives(1), fails(OSError("no"))], said),
    "changes an error": lambda said: waits.changes(fails(KeyError("key"))),
    "nests a value": lambda said: waits.nests(gives(1), said),
    "nests its error": lambda said: waits.nests(fails(KeyError("key")), said),
    "keeps a value": lambda said: waits.keeps(Manager(said), gives(1)),
    "keeps an error in": lambda said: waits.keeps(Manager(said), fails(KeyError("key"))),
    "lets an error out": lambda said: waits.keeps(Manager(said), fails(OSError("no"))),
    "nests another": lambda said: waits.nests(fails(OSError("no")), said),
}


def handled():
    return repr(sys.exc_info()[1])


async def outcome(waiting):
    try:
        found = "gave", await waiting
    except BaseException as error:
        found = "raised", repr(error), repr(error.__context__)
    return *found, handled()


async def in_a_handler(make):
    """Wait for it while an error is handled, which is the same one afterwards."""
    try:
        raise LookupError("outer")
    except LookupError:
        found = await outcome(make())
        try:
            raise
        except LookupError as again:
            return found, handled(), repr(again.__context__)


async def cancelled(make):
    task = asyncio.ensure_future(make())
    await asyncio.sleep(0)
    task.cancel()
    return await outcome(task)


async def ended(make, error):
    waiting = make()
    waiting.send(None)
    try:
        if error is None:
            waiting.close()
        else:
            waiting.throw(error)
    except BaseException as raised:
        return repr(raised), handled()
    return handled()


async def main():
    for name, way in WAYS.items():
        for state, play in {
            "": lambda make: outcome(make()),
            ", in a handler": in_a_handler,
            ", cancelled": cancelled,
            ", closed": lambda make: ended(make, None),
            ", interrupted": lambda make: ended(make, KeyboardInterrupt("now")),
        }.items():
            said = []
            print(name + state, await play(lambda: way(said)), said)  # noqa: B023, T201 - called at once


print(waits.__file__)  # noqa: T201 - a program
asyncio.run(main())
