"""P1: after a fork the child leaves its parent's connections alone and opens its own."""

from __future__ import annotations

from .interpreter import script

CHILD = """
def in_child(work):
    # Run *work* in a forked child; return its exit code, which is 0 if it ended well.
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            work()
            gc.collect()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return pid

def end(pid):
    deadline = time.monotonic() + 10
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)

me = os.getpid()

def parted(work):
    # Run *work*; a child that leaves it by an error ends there.
    try:
        work()
    finally:
        if os.getpid() != me:
            os._exit(0)
"""
PID = "select pg_backend_pid()"


def test_the_blocking_face(main_dsn: str, vb_dsn: str) -> None:
    """P1: parent and child both go on, each on its own connections, idle ones and prepared ones included."""
    script(
        CHILD
        + """
from pgdual.sync import db, vb_db, close_all
mine = {db.fetchval("select pg_backend_pid()") for _ in range(3)}
db.executemany("select $1::int", [(1,)])
vb_db.fetchval("select 1")
def work():
    assert not db.is_open
    for _ in range(3):
        assert db.fetchval("select pg_backend_pid()") not in mine
    with db.transaction(), vb_db.transaction():
        assert db.fetchval("select 1") == vb_db.fetchval("select 1") == 1
    close_all()
children = [in_child(work) for _ in range(3)]
for _ in range(50):
    assert db.fetchval("select pg_backend_pid()") in mine
assert [end(child) for child in children] == [0, 0, 0]
assert db.fetchval("select pg_backend_pid()") in mine
with db.transaction():
    assert db.fetchval("select pg_backend_pid()") in mine
""",
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
    )


def test_a_child_that_ends_as_a_script_does(main_dsn: str, vb_dsn: str) -> None:
    """P1, P4: a child's exit, or its death, neither closes what is the parent's nor says anything."""
    script(
        """
        from pgdual.sync import db
        mine = db.fetchval("select pg_backend_pid()")
        for kind in ("exit", "used", "killed"):
            pid = os.fork()
            if not pid:
                if kind == "used":
                    assert db.fetchval("select pg_backend_pid()") != mine
                if kind == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                sys.exit()
            started = time.monotonic()
            os.waitpid(pid, 0)
            assert time.monotonic() - started < 3, kind
            assert db.fetchval("select pg_backend_pid()") == mine
        """,
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
    )


def test_the_async_face(main_dsn: str, vb_dsn: str) -> None:
    """P1: a child forked while the loop runs opens its own pool in its own loop; the parent hears on."""
    script(
        CHILD
        + """
from pgdual.aio import db, vb_db, close_all
async def in_its_own_loop(mine):
    for _ in range(3):
        assert await db.fetchval("select pg_backend_pid()") not in mine
    async with db.transaction():
        assert await vb_db.fetchval("select 1") == 1
    await close_all()
def work():
    asyncio.run(in_its_own_loop(MINE))
async def parent():
    global MINE
    MINE = {await db.fetchval("select pg_backend_pid()") for _ in range(3)}
    reading = asyncio.create_task(db.fetchval("select 7 from pg_sleep(0.5)"))
    await asyncio.sleep(0.1)
    children = [in_child(work) for _ in range(2)]
    assert await reading == 7
    codes = [await asyncio.to_thread(end, child) for child in children]
    assert codes == [0, 0]
    for _ in range(50):
        await db.fetchval("select 1")
    async with db.transaction():
        await db.execute("select 1")
    await close_all()
asyncio.run(parent())
""",
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
    )


def test_inside_a_transaction(main_dsn: str, vb_dsn: str) -> None:
    """P1, T3: a child forked inside a block is told that it is its parent's; the parent's block goes on."""
    script(
        CHILD
        + """
from pgdual.sync import db
from pgdual.errors import TransactionClosedError
db.execute("create table t (id int)")
def work():
    for execute in (db.execute, tx.execute):
        try:
            execute("insert into t values (2)")
        except TransactionClosedError as error:
            assert "forked" in str(error)
        else:
            raise AssertionError
    try:
        block.__exit__(None, None, None)
    except TransactionClosedError:
        pass
    db.execute("insert into t values (4)")
block = db.transaction()
with block as tx:
    tx.execute("insert into t values (1)")
    assert end(in_child(work)) == 0
    tx.execute("insert into t values (5)")
assert [row[0] for row in db.fetch("select id from t order by id")] == [1, 4, 5]
""",
        main_dsn,
        vb_dsn,
    )


def test_while_a_replay_runs(main_dsn: str, vb_dsn: str) -> None:
    """P1, T5: a child forked in the middle of a replay is not in its way, and has its own connections."""
    script(
        CHILD
        + """
from pgdual.sync import db, vb_db, close_all
db.execute("create table t (id int primary key, n int)")
db.execute("insert into t values (1, 0), (2, 0)")
def work():
    db.execute("update t set n = n + 10 where id = 2")
    close_all()
def waits():
    return db.fetchval("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
def fork():
    deadline = time.monotonic() + 10
    while not waits() and time.monotonic() < deadline:
        time.sleep(0.005)
    codes.append(end(in_child(work)))
    go.set()
def hold():
    with db.transaction() as held:
        held.execute("update t set n = n where id = 1")
        taken.set()
        go.wait(10)
codes, go, taken = [], threading.Event(), threading.Event()
forking, holding = threading.Thread(target=fork), threading.Thread(target=hold)
with db.transaction() as tx:
    tx.execute("update t set n = n + 1 where id = 1")
    pid = tx.fetchval("select count(*) from t") and tx._session.wire.connection.pgconn.backend_pid
    killer = threading.Thread(target=lambda: db.execute(f"select pg_terminate_backend({pid})"))
    killer.start(); killer.join()
    holding.start(); taken.wait(10)
    forking.start()
    tx.execute("update t set n = n + 1 where id = 1")
assert tx.replays == 1
for thread in (forking, holding): thread.join()
assert codes == [0], codes
assert [row[0] for row in db.fetch("select n from t order by id")] == [2, 10]
""",
        main_dsn,
        vb_dsn,
    )


def test_while_other_threads_work(main_dsn: str, vb_dsn: str) -> None:
    """P1: a lock that another thread holds at the moment of the fork does not hang the child."""
    script(
        CHILD
        + """
from pgdual.sync import db, close_all
stop = threading.Event()
def busy():
    while not stop.is_set():
        db.fetchval("select 1")
def work():
    assert db.fetchval("select 1", timeout=5) == 1
work()  # from here on nothing is made for the first time: pydantic holds a lock of its own meanwhile
threads = [threading.Thread(target=busy, daemon=True) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(20):
    assert end(in_child(work)) == 0
stop.set()
for thread in threads: thread.join()
close_all()
""",
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
    )


def test_multiprocessing(main_dsn: str, vb_dsn: str) -> None:
    """P1: workers of multiprocessing's fork context each open a pool of their own."""
    script(
        """
        from pgdual.sync import db
        def pid(_):
            return os.getpid(), db.fetchval("select pg_backend_pid() from pg_sleep(0.05)")
        mine = pid(0)[1]
        with multiprocessing.get_context("fork").Pool(3) as pool:
            pairs = set(pool.map(pid, range(30)))
            pool.close()
            pool.join()
        assert mine not in {backend for _, backend in pairs}
        assert len({worker for worker, _ in pairs}) == len({backend for _, backend in pairs})
        assert pid(0)[1] == mine
        """,
        main_dsn,
        vb_dsn,
        PG_POOL_MIN_SIZE="1",
    )


def test_while_answers_are_handed_out(main_dsn: str, vb_dsn: str) -> None:
    """P1, O1: what is held back to leave together is sent by the parent alone, which alone hears the answers.

    The child's event loop runs on for a while: as asyncio.run() ends there, it has its tasks cancelled. Its
    epoll is the parent's, which tells it of whatever comes on the parent's connections.
    """
    script(
        CHILD
        + """
from pgdual.aio import db, close_all
async def main():
    await db.execute("create table held (a int)")
    await asyncio.gather(*(db.fetch("select pg_sleep(0.1)") for _ in range(3)))
    await db.execute("insert into held values ($1)", 0)
    children = []
    async def insert():
        await db.fetchval("select 1 as r")
        await db.execute("insert into held values ($1)", 1)
    async def fork():
        await db.fetchval("select 1 as r")
        if db._fleet.joined:  # the other's
            children.append(os.fork())
            if not children[-1]:
                raise SystemExit(0)
    async def linger():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if os.getpid() != me:
                await asyncio.sleep(0.3)
    lingering = asyncio.ensure_future(linger())
    inserted = 0
    while not children:
        for _ in range(50):  # it is a quick text: reads of it go together
            await db.fetchval("select 1 as r")
        tasks = [asyncio.ensure_future(one()) for one in (insert, fork)]
        await asyncio.sleep(0)
        time.sleep(0.02)
        await asyncio.gather(*tasks)
        inserted += 1
    while os.waitpid(children[0], os.WNOHANG) == (0, 0):
        task = asyncio.ensure_future(db.execute("insert into held values ($1)", 1))
        await asyncio.sleep(0)
        time.sleep(0.02)  # the answer is there for the child to take
        await task
        inserted += 1
    assert await db.fetchval("select count(*) from held where a = 1") == inserted
    lingering.cancel()
    await close_all()
parted(lambda: asyncio.run(main()))
""",
        main_dsn,
        vb_dsn,
        PG_COMMAND_TIMEOUT="3",
    )


def test_while_rows_are_sent(main_dsn: str, vb_dsn: str) -> None:
    """P1: a child that leaves an executemany by its rows undoes nothing of its parent's."""
    script(
        CHILD
        + """
from pgdual import aio, sync
def rows(first):
    for number in range(1200):
        if number == 1000 and not (child := os.fork()):
            raise SystemExit(0)
        yield (first + number,)
    assert end(child) == 0
INSERT = "insert into sent values ($1)"
async def main():
    await aio.db.executemany(INSERT, rows(10_000))
    await aio.close_all()
sync.db.execute("create table sent (a int primary key)")
parted(lambda: sync.db.executemany(INSERT, rows(0)))
parted(lambda: asyncio.run(main()))
assert sync.db.fetchval("select count(*) from sent") == 2400
sync.close_all()
""",
        main_dsn,
        vb_dsn,
        PG_COMMAND_TIMEOUT="3",
    )


def test_in_the_midst_of_a_call(main_dsn: str, vb_dsn: str) -> None:
    """P1: a child forked by a signal's handler as a call waits neither cancels it nor takes its answer."""
    script(
        CHILD
        + """
from pgdual.errors import OutcomeUnknownError
from pgdual.sync import db, close_all
children = []
def fork(*_):
    children.append(os.fork())
    if not children[-1] and len(children) == 1:
        raise SystemExit(0)
signal.signal(signal.SIGALRM, fork)
def sleep():
    try:
        db.execute("insert into slept select 1 from pg_sleep(0.8)")
    except OutcomeUnknownError:
        assert os.getpid() != me and not children[-1]  # the second child has gone on, to this end
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
db.execute("create table slept (a int)")
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
parted(sleep)
assert len(children) >= 2 and all(end(child) == 0 for child in children)
assert db.fetchval("select count(*) from slept") == 1
close_all()
""",
        main_dsn,
        vb_dsn,
    )


def test_with_a_borrowed_connection(main_dsn: str, vb_dsn: str) -> None:
    """P1: what a child does with psycopg's own connection does not reach the parent's session."""
    script(
        CHILD
        + """
import psycopg
from pgdual.sync import db, close_all
db.execute("create table lent (a int)")
def work():
    try:
        borrowed.execute("insert into lent values (2)")
    except psycopg.OperationalError:
        pass
    borrowed.close()
    assert db.fetchval("select 1") == 1
with db.connection() as borrowed:
    with borrowed.transaction():
        borrowed.execute("insert into lent values (1)")
        assert end(in_child(work)) == 0
        borrowed.execute("insert into lent values (3)")
assert [row.a for row in db.fetch("select a from lent order by a")] == [1, 3]
close_all()
""",
        main_dsn,
        vb_dsn,
    )


def test_with_a_borrowed_connection_in_use(main_dsn: str, vb_dsn: str) -> None:
    """P1, D4: a child that is cancelled in the midst of psycopg's call has the server cancel nothing."""
    script(
        CHILD
        + """
from pgdual.aio import db, close_all
async def borrow():
    async with db.connection() as borrowed:
        await borrowed.execute("select pg_sleep(1)")
        return me == os.getpid()
async def main():
    borrowing = asyncio.ensure_future(borrow())
    while not await db.fetchval("select 1 from pg_stat_activity where query = 'select pg_sleep(1)'"):
        await asyncio.sleep(0.01)
    child = os.fork()
    if not child:
        raise SystemExit(0)
    ended = 0, 0
    while ended == (0, 0):  # by no other thread: the child has closed what asyncio is woken by
        ended = os.waitpid(child, os.WNOHANG)
        await asyncio.sleep(0.01)
    assert ended == (child, 0)
    assert await borrowing
    await close_all()
parted(lambda: asyncio.run(main()))
""",
        main_dsn,
        vb_dsn,
    )


def test_a_child_that_becomes_a_daemon(main_dsn: str, vb_dsn: str) -> None:
    """P1: what its descriptors' numbers are used for later is no connection as it forks again."""
    script(
        CHILD
        + """
from pgdual.sync import db, close_all
assert db.fetchval("select 1") == 1
def work():
    os.closerange(3, 100)
    ends = [os.pipe() for _ in range(20)]
    def speak():
        for _, write in ends:
            os.write(write, b"here")
    assert end(in_child(speak)) == 0
    assert {os.read(read, 10) for read, _ in ends} == {b"here"}
assert end(in_child(work)) == 0
assert db.fetchval("select 2") == 2
close_all()
""",
        main_dsn,
        vb_dsn,
    )


def test_where_no_file_can_be_opened(main_dsn: str, vb_dsn: str) -> None:
    """P1: a child that may open nothing more has its hands off its parent's connections nevertheless."""
    script(
        CHILD
        + """
import resource
from pgdual.sync import db, vb_db, close_all
def pids():
    return {one.fetchval("select pg_backend_pid()") for one in (db, vb_db)}
mine = pids()
def work():
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    assert not db.is_open and not vb_db.is_open
    assert pids().isdisjoint(mine)
kept = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), kept[1]))
child = in_child(work)
resource.setrlimit(resource.RLIMIT_NOFILE, kept)
assert end(child) == 0
assert pids() == mine
close_all()
""",
        main_dsn,
        vb_dsn,
    )
