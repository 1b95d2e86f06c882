"""T5: what a transaction keeps of itself, and when a second run is the same as the first."""

from types import SimpleNamespace
from uuid import UUID
from zlib import crc32

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.errors import lookup

from pgdual.core import replay
from pgdual.core.job import MANY, RETURNED, STATUS, Job
from pgdual.core.replay import STATEMENTS, Log, again, difference, seen
from pgdual.core.rows import ROW, ROWS, VALUE
from pgdual.core.statement import Kind, Statement

from .played import INT8, Rows

PLAIN, SORTED = Statement("select k, n from t"), Statement("select k, n from t order by k")
ADD, INSERT = Statement("update t set n = n + $2 where k = $1"), Statement("insert into t values ($1, $2)")
COLUMNS = [(b"k", INT8), (b"n", INT8)]


@pytest.fixture(scope="module")
def rows():
    """Makes results of rows of two numbers."""
    make = Rows()
    return lambda *data, columns=COLUMNS: make.of(
        columns, [[None if value is None else value.to_bytes(8) for value in row] for row in data]
    )


def answered(want, statement, *results, value=None, error=None):
    """Return a job as the pipeline leaves it."""
    job = Job(want, statement)
    job.results, job.value, job.error = results, value, error
    job.rows = sum(result.ntuples for result in results)
    return job


def failed(state):
    return answered(STATUS, INSERT, error=lookup(state)("what the server said"))


# -- two runs of one block on two states of a store ---------------------------------------------------


class Store:
    """A table of numbers by key, whose rows have no order but the one in which they lie."""

    def __init__(self, rows, make):
        self.rows, self.make = [list(row) for row in rows], make

    def run(self, step):
        """Return the job of *step* as it is answered, and what its caller has seen."""
        name, key = step
        found = [row for row in self.rows if row[0] == key]
        if name in ("plain", "sorted"):
            rows = sorted(self.rows) if name == "sorted" else self.rows
            view = [tuple(row) for row in rows]
            job = answered(ROWS, SORTED if name == "sorted" else PLAIN, self.make(*rows))
            return job, view if name == "sorted" else sorted(view)  # an order that nobody asked for
        if name in ("row", "value"):
            rows = self.rows if name == "row" else found
            view = tuple(rows[0]) if rows else None
            return answered(ROW if name == "row" else VALUE, PLAIN, self.make(*rows)), view
        if name == "insert":
            if found:
                return failed("23505"), "23505"
            self.rows.append([key, 0])
            return answered(STATUS, INSERT, value="INSERT 0 1"), "INSERT 0 1"
        for row in found:
            row[1] += 1
        return answered(STATUS, ADD, value=f"UPDATE {len(found)}"), f"UPDATE {len(found)}"


KEYS = st.integers(0, 3)
STORES = st.lists(st.tuples(KEYS, st.integers(0, 1)), max_size=4, unique_by=lambda row: row[0])
STEPS = st.tuples(st.sampled_from(["plain", "sorted", "row", "value", "insert", "add"]), KEYS)


class Block:
    """Code that chooses what it does next by what it has seen."""

    def __init__(self, choices):
        self.choices = choices

    def steps(self, store):
        """Run it once; return its steps, the jobs and what was seen."""
        steps, jobs, views = [], [], []
        for number in range(4):
            steps.append(self.choices[crc32(repr((number, views)).encode()) % len(self.choices)])
            job, view = store.run(steps[-1])
            jobs.append(job)
            views.append(view)
        return steps, jobs, views


@settings(deadline=None, max_examples=300)
@given(st.lists(STEPS, min_size=1, max_size=6), STORES, STORES, st.booleans())
def test_a_replay_is_a_later_first_run(rows, choices, first, other, is_same):
    """T5: where no answer differs, the block, begun later, had said and seen the same; and only there."""
    second = first[::-1] if is_same else other
    block = Block(choices)
    steps, jobs, views = block.steps(Store(first, rows))
    store = Store(second, rows)
    replayed = [store.run(step) for step in steps]
    pairs = zip(jobs, (job for job, _ in replayed), strict=True)
    is_equal = all(difference(*pair) is None for pair in pairs)
    assert is_equal == (views == [view for _, view in replayed])
    if is_equal:
        later = Store(second, rows)
        assert block.steps(later)[::2] == (steps, views)
        assert later.rows == store.rows  # and it stands where the replay has left it


# -- the comparison ----------------------------------------------------------------------------------


def test_an_order_counts_where_it_was_asked_for(rows):
    """T5: with ORDER BY the rows are a list, without it a multiset."""
    one, other, twice = rows((1, 2), (3, 4)), rows((3, 4), (1, 2)), rows((1, 2), (1, 2))
    assert difference(answered(ROWS, PLAIN, one), answered(ROWS, PLAIN, other)) is None
    assert difference(answered(ROWS, SORTED, one), answered(ROWS, SORTED, other)) == "its rows are others"
    assert difference(answered(ROWS, PLAIN, one), answered(ROWS, PLAIN, twice)) == "its rows are others"
    assert difference(answered(ROWS, SORTED, one), answered(ROWS, SORTED, one)) is None


@pytest.mark.parametrize("want", [ROW, VALUE])
def test_only_the_first_row_is_seen(rows, want):
    """T5: of fetchrow and fetchval the first row counts, and whether there is one."""
    job = answered(want, PLAIN, rows((1, 2), (3, 4)))
    assert difference(job, answered(want, PLAIN, rows((1, 2)))) is None
    assert difference(job, answered(want, PLAIN, rows((3, 4), (1, 2)))) == "its rows are others"
    assert difference(job, answered(want, PLAIN, rows())) == "its rows are others"
    assert difference(answered(want, PLAIN, rows()), answered(want, PLAIN, rows())) is None


def test_null_is_a_value_of_its_own(rows):
    """T5: a NULL is not an empty value."""
    assert difference(answered(ROWS, PLAIN, rows((1, None))), answered(ROWS, PLAIN, rows((1, 0))))
    assert difference(answered(ROWS, PLAIN, rows((1, None))), answered(ROWS, PLAIN, rows((1, None)))) is None


def test_rows_in_parts(rows):
    """T5: rows that came in several results are the same as in one."""
    parts = answered(ROWS, SORTED, rows((1, 2)), rows((3, 4)), rows())
    whole = answered(ROWS, SORTED, rows((1, 2), (3, 4)))
    assert difference(parts, whole) is None
    assert (
        seen(parts) == seen(whole) == [((1).to_bytes(8), (2).to_bytes(8)), ((3).to_bytes(8), (4).to_bytes(8))]
    )


@pytest.mark.parametrize(
    "columns", [[(b"k", INT8), (b"m", INT8)], [(b"k", INT8), (b"n", 25)], [(b"k", INT8)]]
)
def test_columns(rows, columns):
    """T5: a column of another name or type was seen, even where no row was."""
    data = [(1, 2)[: len(columns)]]
    for some in ([], data):
        other = answered(ROWS, PLAIN, rows(*some, columns=columns))
        assert difference(answered(ROWS, PLAIN, rows((1, 2))), other) == "its columns are others"
    assert difference(answered(ROWS, PLAIN, rows()), answered(ROWS, PLAIN)) == "its columns are others"


def test_statuses():
    """T5: where no rows come back the status counts, or how many rows an executemany touched."""
    first = answered(STATUS, ADD, value="UPDATE 1")
    assert difference(first, answered(STATUS, ADD, value="UPDATE 1")) is None
    found = difference(first, answered(STATUS, ADD, value="UPDATE 2"))
    assert found == "it answered 'UPDATE 2', was 'UPDATE 1'"
    assert difference(answered(MANY, ADD, value=3), answered(MANY, ADD, value=2)) == "it answered 2, was 3"


def test_errors():
    """T5: an error that was seen has to come again, with its state and its words: names, values."""
    said = "what the server said"
    assert difference(failed("23505"), failed("23505")) is None
    found = difference(failed("23505"), failed("23503"))
    assert found == f"it ended in 23503 {said} where it was 23505 {said}"
    otherwise = answered(STATUS, INSERT, error=lookup("23505")("in other\nwords"))
    found = difference(failed("23505"), otherwise)
    assert found == f"it ended in 23505 in other words where it was 23505 {said}"
    done = answered(STATUS, INSERT, value="INSERT 0 1")
    assert difference(failed("23505"), done) == f"it ended in no error where it was 23505 {said}"
    assert difference(done, failed("23505")) == f"it ended in 23505 {said} where it was no error"
    nameless = answered(STATUS, INSERT, error=psycopg.DataError("cannot be loaded"))
    found = difference(nameless, done)
    assert found == "it ended in no error where it was DataError cannot be loaded"
    assert difference(nameless, nameless) is None


def test_which_constraint():
    """T5: the name of a constraint is seen, even where the words are the same."""

    class Named(psycopg.errors.CheckViolation):
        def __init__(self, name):
            super().__init__("refused")
            self.name = name

        @property
        def diag(self):
            return SimpleNamespace(constraint_name=self.name)

    one, other = (answered(STATUS, INSERT, error=Named(name)) for name in ("one", "other"))
    assert difference(one, one) is None
    assert difference(one, other) == "it ended in 23514 refused other where it was 23514 refused one"


# -- the log -----------------------------------------------------------------------------------------


def test_what_is_kept(rows):
    """T5: a log has what was answered and pgdual's own texts, in order, and forgets what is the caller's."""
    log = Log()
    status, data = answered(STATUS, ADD, value="UPDATE 1"), answered(ROWS, PLAIN, rows((1, 2)), value=["x"])
    status.arguments, status.future = (1, 2), object()
    log.say([b"SAVEPOINT a"])
    log.add(status)
    log.add(data)
    log.say((b"RELEASE a",))
    assert log.steps == [b"SAVEPOINT a", status, data, b"RELEASE a"]
    assert (status.arguments, status.future, status.value, data.value) == ((), None, "UPDATE 1", None)
    assert not log.locks
    log.clear()
    assert log.steps == []


def test_what_the_caller_does_to_its_rows(rows):
    """T5: compared is what came from the server, whatever was made of the rows since."""
    made = [[1, 2]]
    first = answered(ROWS, PLAIN, rows((1, 2)), value=made)
    Log().add(first)
    made[0][1] = 99
    made.clear()
    assert difference(first, answered(ROWS, PLAIN, rows((1, 2)), value=[[1, 2]])) is None


def test_locks_are_noted():
    """T5: a lock taken for its own sake stays noted until the log begins anew."""
    log = Log()
    log.add(answered(ROWS, Statement("select 1 from t for update")))
    log.add(answered(STATUS, ADD))
    assert log.locks
    log.clear()
    assert not log.locks


@pytest.mark.parametrize("sql", ["call p()", "do $$ begin end $$", "select unheard_of(1)"])
def test_what_turns_it_off(sql):
    """T5: what may do more than can be seen ends it, and nothing is kept after that."""
    log = Log()
    log.add(answered(STATUS, ADD))
    log.add(answered(STATUS, Statement(sql)))
    assert log.off == "a statement in it may do more than can be seen"
    log.say([b"SAVEPOINT a"])
    assert log.steps == []
    log.turn_off("another reason")
    assert log.off == "a statement in it may do more than can be seen"
    assert Log("replay=False").off == "replay=False"


def test_how_many_statements():
    """T5: 1,000 statements are kept, one more ends it."""
    log = Log()
    for _ in range(STATEMENTS):
        log.add(answered(STATUS, ADD))
    assert log.off is None
    log.add(answered(STATUS, ADD))
    assert log.off == "it is too large to be kept"
    assert log.steps == []


@given(st.lists(st.integers(0, RETURNED), max_size=6))
def test_how_many_rows(counts):
    """T5: it is off as soon as, and not before, more rows came back than are kept."""
    log, total = Log(), 0
    for count in counts:
        job = answered(ROWS, PLAIN)
        job.rows = count
        if log.off is None:
            log.add(job)
        total += count
        assert (log.off is None) == (total <= RETURNED)


# -- the rows of an executemany ----------------------------------------------------------------------


def fed(rows):
    job = Job(MANY, ADD)
    job.feed = rows
    return job


VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.none(), lambda inner: st.lists(inner, max_size=3)
)


def spoil(value):
    """Change every list in *value*."""
    for part in value:
        if isinstance(part, list):
            spoil(part)
    value.append("spoiled")


@given(st.lists(st.lists(VALUES, max_size=3), max_size=5))
def test_rows_are_copied(data):
    """T5: a caller that changes a row, or a list in it, changes nothing in what is sent again."""
    before, log = repr(data), Log()
    job = fed(data)
    assert list(log.copied(job)) == data
    for row in data:
        spoil(row)
    data.append(["more"])
    assert repr(job.feed) == before
    assert log.off is None


def test_an_iterator_is_kept_when_it_was_read():
    """T5: rows that can be read only once are there again, but only when all were read."""
    job = fed(iter([(1, 2), (3, 4)]))
    reading = Log().copied(job)
    assert next(reading) == (1, 2)
    assert iter(job.feed) is job.feed  # in the middle nobody knows what is left
    assert list(reading) == [(3, 4)]
    assert job.feed == [[1, 2], [3, 4]]


def test_a_value_that_cannot_be_copied():
    """T5: such a value is sent as it is, and there is no replay."""

    class Stubborn:
        def __deepcopy__(self, memo):
            raise TypeError("mine alone")

    value, log = Stubborn(), Log()
    assert list(log.copied(fed([(value,), (1,)]))) == [(value,), (1,)]
    assert log.off == "a parameter in it cannot be copied"


def test_how_many_rows_are_copied():
    """T5: 1,000 rows of all executemany together are copied; with more it is off, and all are sent."""
    log = Log()
    assert len(list(log.copied(fed([(1,)] * (STATEMENTS - 1))))) == STATEMENTS - 1
    assert len(list(log.copied(fed([(1,)])))) == 1
    assert log.off is None
    assert len(list(log.copied(fed([(1,), (2,)])))) == 2
    assert log.off == "it is too large to be kept"


# -- the second run ----------------------------------------------------------------------------------


def test_a_twin_says_the_same(rows):
    """T5: what is sent again has the bytes of the first time, and nothing of its answer."""
    job = answered(ROW, PLAIN, rows((1, 2)), value="seen", error=None)
    job.buffers, job.formats, job.feed = [b"1"], [1], [[1]]
    twin = again(job)
    assert (twin.want, twin.statement) == (ROW, PLAIN)
    assert (twin.buffers, twin.formats, twin.feed) == ([b"1"], [1], [[1]])
    assert twin.keeps
    assert (twin.results, twin.value, twin.error, twin.prelude) == ((), None, None, ())


def test_a_token_is_a_text_of_its_own():
    """T6: what leaves a token with COMMIT, and the question that voids one, name the same table."""
    token = UUID(int=1)
    place = '"My place".pgdual_commit'
    assert replay.given(place, token) == f"INSERT INTO {place} (token) VALUES ('{token}')".encode()
    assert f"INTO {place} AS given (token, void)" in replay.question(place)
    assert Statement(replay.PLACE).kind is Kind.READ
