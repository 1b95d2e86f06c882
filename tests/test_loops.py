"""P1, P4: the default databases are opened lazily, once per process and event loop, without a warning."""

from __future__ import annotations

import pytest

from .interpreter import script


def test_importing_opens_nothing(main_dsn: str, vb_dsn: str) -> None:
    """P1: importing both faces reads no settings, starts no thread, opens no connection."""
    script(
        """
        import socket
        def no(*args, **kwargs): raise AssertionError("connected")
        socket.socket.connect = no
        import pgdual, pgdual.aio, pgdual.sync
        from pgdual.settings import get_config
        assert get_config.cache_info().currsize == 0
        assert threading.active_count() == 1
        assert not pgdual.aio.db.is_open and not pgdual.sync.db.is_open
        """,
        "not a dsn",
        vb_dsn,
    )


@pytest.mark.parametrize("close", ["", "await close_all()"])
def test_one_event_loop_after_the_other(main_dsn: str, vb_dsn: str, close: str) -> None:
    """P1, P4: a pool that a dead loop left behind is dropped and its connections closed, in silence."""
    script(
        f"""
        from pgdual.aio import db, vb_db, close_all, open_all
        async def work():
            {"await open_all()" if close else ""}
            await asyncio.gather(*(db.fetchval("select 1 from pg_sleep(0.01)") for _ in range(10)))
            async with db.transaction(), vb_db.transaction():
                await db.execute("create table if not exists t (id int)")
                await vb_db.execute("select 1")
            count = "select count(*) from pg_stat_activity where datname = current_database()"
            assert await db.fetchval(count) <= 20, await db.fetchval(count)
            {close}
        for _ in range(4):
            asyncio.run(work())
            gc.collect()
        """,
        main_dsn,
        vb_dsn,
    )


def test_a_loop_that_ends_in_the_middle(main_dsn: str, vb_dsn: str) -> None:
    """P4: a loop that ends while calls, transactions and attempts to connect are under way says nothing."""
    script(
        """
        from pgdual.aio import db
        async def block():
            async with db.transaction():
                await db.execute("select 1")
                await db.execute("select pg_sleep(30)")
        async def work(seconds):
            tasks = [asyncio.create_task(block()) for _ in range(3)]
            tasks += [asyncio.create_task(db.fetch("select pg_sleep(30)")) for _ in range(3)]
            await asyncio.sleep(seconds)
        for seconds in (0, 0.01, 0.3):
            asyncio.run(work(seconds))
            gc.collect()
        """,
        main_dsn,
        vb_dsn,
    )


def test_two_event_loops_at_once(main_dsn: str, vb_dsn: str) -> None:
    """P1: two loops in two threads each have a pool of their own, and take turns without a loss."""
    out = script(
        """
        from pgdual.aio import db
        sys.setswitchinterval(1e-4)
        pids, go = {}, threading.Barrier(2)
        async def work(name):
            go.wait()
            for number in range(300):
                assert await db.fetchval("select $1::int", number) == number
                async with db.transaction():
                    pids.setdefault(name, set()).add(await db.fetchval("select pg_backend_pid()"))
            go.wait()
            assert not pids["a"] & pids["b"]
        threads = [threading.Thread(target=lambda name=name: asyncio.run(work(name))) for name in "ab"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print("done", len(db._fleets))
        """,
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
        PG_POOL_MAX_SIZE="6",
    )
    assert out == "done 2\n"


def test_the_end_of_the_interpreter(main_dsn: str, vb_dsn: str) -> None:
    """P4: neither face says anything when the interpreter ends with its pools open."""
    script(
        """
        from pgdual import aio, sync
        assert sync.db.fetchval("select 1") == 1
        with sync.transaction_for_db("vb") as tx:
            assert tx.fetchval("select 1") == 1
        async def work():
            assert await aio.db.fetchval("select 1") == 1
        asyncio.run(work())
        threading.Thread(target=sync.db.fetchval, args=["select pg_sleep(0.2)"]).start()
        """,
        main_dsn,
        vb_dsn,
    )


@pytest.mark.parametrize("kind", ["uvloop", "selector"])
def test_kinds_of_event_loops(main_dsn: str, vb_dsn: str, kind: str) -> None:
    """Both loops for which pgdual is made do."""
    if kind == "uvloop":
        pytest.importorskip("uvloop")
    factory = "uvloop.new_event_loop" if kind == "uvloop" else "asyncio.SelectorEventLoop"
    script(
        f"""
        {"import uvloop" if kind == "uvloop" else ""}
        from pgdual.aio import db
        async def work():
            task = asyncio.create_task(db.fetch("select pg_sleep(30)"))
            await asyncio.sleep(0.2)
            task.cancel()
            assert await db.fetchval("select length($1::bytea)", b"x" * 20_000_000) == 20_000_000
            async with db.transaction():
                assert await db.executemany("select $1::int", [(n,) for n in range(2000)]) == 2000
        for _ in range(2):
            with asyncio.Runner(loop_factory={factory}) as runner:
                runner.run(work())
        """,
        main_dsn,
        vb_dsn,
    )


def test_an_event_loop_that_has_moved_to_another_thread(main_dsn: str, vb_dsn: str) -> None:
    """P1: a loop's connections are its own, in whatever thread it was when they were made."""
    script(
        """
        from pgdual.aio import db, close_all
        moved = asyncio.new_event_loop()
        async def ask(number, leave=False):
            try:
                return await db.fetchval("select $1::int", number)
            finally:
                if leave:
                    await close_all()
        assert moved.run_until_complete(ask(1)) == 1
        thread = threading.Thread(target=moved.run_forever)
        thread.start()
        assert asyncio.run(ask(2)) == 2
        assert asyncio.run_coroutine_threadsafe(ask(3, leave=True), moved).result(5) == 3
        moved.call_soon_threadsafe(moved.stop)
        thread.join()
        moved.close()
        """,
        main_dsn,
        vb_dsn,
    )
