"""Private servers: they start, they keep what they must, and they leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis

from pgdual.embedded import Postgres, Template, Valkey, find_postgres, find_valkey, guard, process
from pgdual.errors import ConfigurationError, UsageError

OWNER = """
import os, sys, time
from pgdual.embedded import Postgres, Valkey
server = {"Postgres": Postgres, "Valkey": Valkey}[sys.argv[1]]()
server.start()
if sys.argv[2] == "forks" and os.fork() == 0:
    server.close()   # of no effect in a child
    time.sleep(60)
    os._exit(0)
print(server.pid, server.home, flush=True)
if sys.argv[2] != "ends":
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def shared(template: Template) -> Iterator[Postgres]:
    with template.postgres() as started:
        yield started


@pytest.fixture
def server(shared: Postgres) -> Postgres:
    """A running server, whatever the test before did to it."""
    shared.start()
    return shared


def ask(server: Postgres, query: str) -> object:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def until(holds: Callable[[], bool], patience: float = 8.0) -> bool:
    deadline = time.monotonic() + patience
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def lives(pid: int) -> bool:
    """A zombie, which nobody may reap where this runs in a container, counts as dead."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def test_a_server_is_utf8_and_utc_and_fast(server: Postgres) -> None:
    """A private server speaks UTF-8, keeps UTC, and does without fsync."""
    assert server.dsn == f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
    assert ask(server, "SHOW server_encoding") == "UTF8"
    assert ask(server, "SHOW timezone") == "UTC"
    assert ask(server, "SHOW fsync") == "off"
    assert ask(server, "SHOW synchronous_commit") == "on"
    assert ask(server, "SELECT 'żółć' COLLATE \"C\" || chr(128512)") == "żółć\N{GRINNING FACE}"


def test_settings_count_from_the_next_start_on(template: Template) -> None:
    """Settings are given as numbers, truths or text, and may change between starts."""
    with template.postgres(settings={"max_connections": 17, "autovacuum": False}, fast=False) as server:
        assert ask(server, "SHOW max_connections") == "17"
        assert ask(server, "SHOW autovacuum") == "off"
        assert ask(server, "SHOW fsync") == "on"
        server.settings["max_connections"] = 23
        server.restart()
        assert ask(server, "SHOW max_connections") == "23"


def test_a_tcp_server_listens_on_loopback_alone(server: Postgres) -> None:
    """Nobody outside this machine can reach a private server, and there is no socket file."""
    assert ask(server, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(server, "SHOW unix_socket_directories") == ""
    assert listeners(server.port) <= {"0100007F"}


def listeners(port: int) -> set[str]:
    """The addresses, as the kernel writes them, that listen on a port."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                found.add(local.rpartition(":")[0])
    return found


def test_a_socket_server_has_no_port(template: Template) -> None:
    """On request a server listens on a unix socket and nowhere else."""
    with template.postgres(socket=True) as server:
        assert ask(server, "SHOW listen_addresses") == ""
        assert server.port == 0
        server.kill()
        server.start()
        with psycopg.connect(server.create_database("a b")) as connection:
            assert connection.info.host == str(server.home)
            assert connection.info.dbname == "a b"


def test_copies_of_a_template_are_apart(template: Template) -> None:
    """Two servers of one template share nothing but their beginning."""
    with template.postgres() as one, template.postgres() as other:
        ask(one, "CREATE TABLE mine (id int)")
        assert ask(one, "SELECT to_regclass('mine')::text") == "mine"
        assert ask(other, "SELECT to_regclass('mine')::text") is None
        assert one.port != other.port
        assert one.data != other.data


def test_a_template_may_go_before_its_copies() -> None:
    """A closed template takes its folder with it and leaves its copies alone."""
    with Template() as made:
        copy = made.postgres()
        copy.start()
    try:
        assert ask(copy, "SELECT 1") == 1
    finally:
        copy.close()


def test_stop_and_restart_keep_the_data(server: Postgres) -> None:
    """An orderly end loses nothing, and the address stays."""
    dsn = server.create_database("kept")
    server.restart()
    assert server.dsn.replace("/postgres", "/kept") != server.dsn
    with psycopg.connect(dsn) as connection:
        assert connection.info.dbname == "kept"
    server.stop()
    assert not server.is_running
    server.stop()
    assert repr(server) == f"<Postgres port={server.port} not running>"
    server.start()
    server.start()
    assert repr(server) == f"<Postgres port={server.port} running as {server.pid}>"


def test_stop_does_not_wait_for_clients(server: Postgres) -> None:
    """A client in the middle of a query is cut off by stop."""
    with psycopg.connect(server.dsn) as connection:
        connection.execute("BEGIN")
        server.stop(patience=5.0)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert "fast shutdown request" in server.log_tail()


def test_stop_ends_a_frozen_server(server: Postgres) -> None:
    """A server that does not obey is killed."""
    os.kill(server.pid, signal.SIGSTOP)
    server.stop(patience=0.05)
    assert not server.is_running
    server.start()
    assert ask(server, "SELECT 1") == 1


def test_kill_takes_busy_backends_along(server: Postgres) -> None:
    """After kill no backend lives, not even one in a loop, and start recovers what was committed."""
    ask(server, "CREATE TABLE committed AS SELECT 1 AS id")
    with closing(psycopg.connect(server.dsn)) as connection:
        backend = connection.info.backend_pid
        connection.pgconn.send_query(b"DO $$BEGIN LOOP END LOOP; END$$")
        server.kill()
        assert until(lambda: not lives(backend))
    assert (server.data / "PG_VERSION").exists()
    assert not (server.data / "postmaster.pid").exists()
    server.start()
    assert ask(server, "SELECT id FROM committed") == 1


def test_start_recovers_from_a_kill_by_somebody_else(server: Postgres) -> None:
    """A postmaster killed from outside is noticed, and can be started again at once."""
    os.kill(server.pid, signal.SIGKILL)
    assert until(lambda: not server.is_running)
    with pytest.raises(UsageError, match="does not run"):
        _ = server.pid
    server.start()
    assert ask(server, "SELECT 1") == 1


def test_a_kept_data_folder_outlives_its_server(tmp_path: Path) -> None:
    """Data in a folder of the caller's is used again, and never removed."""
    data = tmp_path / "data"
    with Postgres(data=data) as first:
        first.create_database("kept")
        home = first.home
    assert not home.exists()
    assert not (data / "postmaster.pid").exists()
    with Postgres(data=data) as second:
        assert ask(second, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1


def test_a_failed_start_shows_the_log_and_leaves_nothing(template: Template) -> None:
    """Whoever gives a wrong setting reads PostgreSQL's own words about it."""
    server = template.postgres(settings={"max_connections": "many"})
    with pytest.raises(ConfigurationError, match=r"PostgreSQL ended at once(.|\n)*max_connections"), server:
        pass
    with pytest.raises(UsageError, match="was never started, or is closed"):
        _ = server.home


def test_a_start_has_a_deadline(template: Template) -> None:
    """A server that is not ready in time is ended again."""
    server = template.postgres(start_timeout=0.0)
    with pytest.raises(ConfigurationError, match="did not answer in time"), server:
        pass
    assert not server.is_running


def test_a_port_taken_meanwhile_is_changed(template: Template, server: Postgres) -> None:
    """A free port that was lost before the start is replaced; one that was asked for is not."""
    late = template.postgres()
    late._port = server.port
    with late:
        assert late.port != server.port
    stubborn = template.postgres(port=server.port)
    with pytest.raises(ConfigurationError, match="could not bind"), stubborn:
        pass


def test_no_port_is_an_error(monkeypatch: pytest.MonkeyPatch, server: Postgres) -> None:
    """When every port is taken the error says so."""
    monkeypatch.setattr(process, "PORTS", range(server.port, server.port + 1))
    with pytest.raises(ConfigurationError, match="no free TCP port"):
        process.free_port()


def test_a_bad_initdb_shows_its_words(tmp_path: Path) -> None:
    """A folder that is not empty and holds no database is left as it is."""
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(ConfigurationError, match="not empty"), Postgres(data=tmp_path):
        pass
    assert (tmp_path / "letter").read_text() == "dear"


@pytest.mark.parametrize(
    ("variable", "find", "says"),
    [("PGDUAL_PG_BIN", find_postgres, "initdb"), ("PGDUAL_VALKEY_BIN", find_valkey, "redis-server")],
)
def test_a_named_folder_without_programs_is_refused(
    variable: str, find: Callable[[], Path], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong variable is an error, not a reason to look elsewhere."""
    monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(ConfigurationError, match=rf"{variable}={tmp_path}.*{says}"):
        find()


def test_missing_programs_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no server the error names the package, the system's way, and the variable."""
    for name in ("PGDUAL_PG_BIN", "PGDUAL_VALKEY_BIN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("pgdual.embedded.postgres.package_folder", lambda _: None)
    monkeypatch.setattr("pgdual.embedded.postgres.SYSTEM", tmp_path)
    monkeypatch.setattr("pgdual.embedded.valkey.package_folder", lambda _: None)
    with (
        pytest.raises(ConfigurationError, match=r"pgdual\[embedded\].*PGDUAL_PG_BIN"),
        Template() as template,
    ):
        template.postgres()
    with pytest.raises(ConfigurationError, match=r"pgdual\[embedded\].*PGDUAL_VALKEY_BIN"), Valkey():
        pass


def test_root_without_namespaces_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root needs a user namespace; where there is none the error says what to do."""
    monkeypatch.setattr("pgdual.embedded.postgres.os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="ordinary user"), Template() as template:
        template.postgres()


def test_the_programs_come_from_where_the_order_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable comes first, then the package, then PATH, then the system's newest."""
    folders = [tmp_path / name for name in ("named", "package/pginstall/bin", "path", "15/bin", "9.6/bin")]
    for folder in folders:
        folder.mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
    monkeypatch.setenv("PGDUAL_PG_BIN", str(folders[0]))
    monkeypatch.setenv("PATH", str(folders[2]))
    monkeypatch.setattr("pgdual.embedded.postgres.package_folder", lambda _: tmp_path / "package")
    monkeypatch.setattr("pgdual.embedded.postgres.SYSTEM", tmp_path)
    for folder in folders:
        assert find_postgres() == folder
        monkeypatch.delenv("PGDUAL_PG_BIN", raising=False)
        (folder / "initdb").unlink()


def environment() -> dict[str, str]:
    """An environment in which another Python finds what this one finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def start_owner(kind: str, does: str, tmp_path: Path) -> tuple[subprocess.Popen[str], int, Path]:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    owner = subprocess.Popen(
        [sys.executable, script, kind, does],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        process_group=0,
    )
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    return owner, int(pid), Path(folder)


@pytest.mark.parametrize(
    ("kind", "does"), [("Postgres", "alone"), ("Postgres", "forks"), ("Valkey", "alone")]
)
def test_nothing_outlives_a_killed_owner(kind: str, does: str, tmp_path: Path) -> None:
    """A server goes with its owner, killed with -9, even if a forked child of the owner lives on."""
    owner, pid, folder = start_owner(kind, does, tmp_path)
    with owner:
        try:
            backends = process.children(pid)
            assert bool(backends) == (kind == "Postgres")
            os.kill(owner.pid, signal.SIGKILL)
            assert until(lambda: not any(lives(each) for each in (pid, *backends)))
            assert until(lambda: not folder.exists())
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_an_owner_that_forgets_to_close_leaves_nothing(tmp_path: Path) -> None:
    """A program that ends without closing its server loses it all the same."""
    owner, pid, folder = start_owner("Postgres", "ends", tmp_path)
    with owner:
        assert until(lambda: not lives(pid))
        assert until(lambda: not folder.exists())


def test_a_closed_server_leaves_nothing(template: Template) -> None:
    """Close takes server, backends, guard and shared memory along, after a kill as well."""
    memory = Path("/proc/sysvipc/shm")
    for end in (Postgres.stop, Postgres.kill, Postgres.restart):
        server = template.postgres()
        server.start()
        pids = [server.pid, *process.children(server.pid), server._home.group if server._home else 0]
        segment = (server.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
        end(server)
        server.close()
        server.close()
        assert until(lambda pids=pids: not any(lives(pid) for pid in pids))
        if memory.exists():
            assert segment not in [line.split()[1] for line in memory.read_text().splitlines()]


def test_valkey_answers_and_restarts() -> None:
    """A private Valkey answers at its url, after a restart and a kill as well."""
    with Valkey() as server:
        for action in (server.restart, server.kill, server.stop):
            with redis.Redis.from_url(server.url) as client:
                assert client.ping()
            assert listeners(server.port) <= {"0100007F"}
            action()
            server.start()
        assert "Ready to accept connections" in server.log_tail()


def test_valkey_on_a_socket() -> None:
    """On request Valkey listens on a unix socket and has no port."""
    with Valkey(socket=True) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert server.url == f"unix://{server.home}/valkey.sock"
        assert server.port == 0
        server.kill()
        server.start()
        assert client.ping()


def test_valkey_moves_to_another_port() -> None:
    """Valkey, too, leaves a lost port, and never takes another's answer for its own."""
    with Valkey() as first:
        second = Valkey()
        second._port = first.port
        with second:
            assert second.port != first.port
            assert second.pid != first.pid


def test_the_guard_ends_what_ignores_its_signal(tmp_path: Path) -> None:
    """A server that does not obey is killed after the grace, and the folder goes before."""
    (tmp_path / "home").mkdir()
    program = (
        "import fcntl, os, signal, sys; from pathlib import Path; from pgdual.embedded import guard\n"
        "home = Path(sys.argv[1])\n"
        "signal.signal(signal.SIGQUIT, signal.SIG_IGN)\n"
        "held = (home / guard.LOCK).open('wb')\n"
        "fcntl.flock(held, fcntl.LOCK_EX)\n"
        "if os.fork() == 0:\n"
        "    signal.pause()\n"
        "held.close()\n"
        "guard.clear(signal.SIGQUIT, home, grace=0.05)\n"
    )
    command = [sys.executable, "-c", program, tmp_path / "home"]
    done = subprocess.run(command, process_group=0, env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("said", "left"), [(b".", True), (b"", False)])
def test_the_guard_clears_unless_released(said: bytes, left: bool, tmp_path: Path) -> None:
    """A byte releases the guard; the end of the pipe is the end of its owner."""
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), str(int(signal.SIGQUIT)), home]
    subprocess.run(command, input=said, process_group=0, timeout=10.0, check=False)
    assert home.exists() == left


def test_the_guard_of_somebody_else_sees_its_owner_gone() -> None:
    """A guard whose parent is not the one it was told about takes it for dead."""
    assert guard.owner_is_gone(parent=-1)
