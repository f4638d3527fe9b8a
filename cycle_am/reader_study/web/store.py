"""The database of a running study: answers, their history, consent, links and logins; SQLite or PostgreSQL.

How no rating is lost or doubled:

* An answer is acknowledged after its transaction is committed. SQLite runs in WAL mode with `synchronous=FULL`: every
  commit is synced to the disk, so that neither `kill -9` nor a power cut takes back what was acknowledged.
* There is one row for each reader, item and criterion. Each change raises its `revision` by 1; that count, never a
  clock, says what is newer. A change names the revision that it has seen; from a stale window it is refused
  (:class:`Conflict`) and the newer value is shown there, so that nothing is overwritten unseen.
* Each accepted change adds a line to `log`, which only grows. Its request id is unique for a reader: the same request
  sent again (double click, lost reply) is answered from the log and has no second effect.
* Changes of one reader follow each other: SQLite locks the database at the beginning of a change, PostgreSQL the
  reader's row.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from cycle_am.errors import UserError
from cycle_am.reader_study.web.links import hashed

BUSY_MS = 10_000  # how long SQLite waits for another writer
THREADS = 40  # of the server (anyio's default): each may hold a connection
COORDINATOR = ""  # stands for a reader's id in `tokens`; readers' ids are not empty

METADATA = MetaData()
STUDY = Table(
    "study", METADATA, Column("study_id", String, primary_key=True), Column("seal", String, nullable=False)
)
READERS = Table(
    "readers",
    METADATA,
    Column("reader", String, primary_key=True),
    Column("language", String),
    Column("consented_at", String),
    Column("active_at", String),
)
#: SHA-256 of the links' tokens. A revoked one stays, so that an old access.json does not revive it.
TOKENS = Table(
    "tokens",
    METADATA,
    Column("token", String, primary_key=True),
    Column("reader", String, nullable=False),
    Column("revoked_at", String),
)
SESSIONS = Table(
    "sessions",
    METADATA,
    Column("session", String, primary_key=True),
    Column("token", String, nullable=False, index=True),
    Column("created_at", String, nullable=False),
)
ANSWERS = Table(
    "answers",
    METADATA,
    Column("reader", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("criterion", String, primary_key=True),
    Column("rating", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("first_at", String, nullable=False),
    Column("last_at", String, nullable=False),
)
LOG = Table(
    "log",
    METADATA,
    Column("line", Integer, primary_key=True, autoincrement=True),
    Column("reader", String, nullable=False),
    Column("request", String, nullable=False),
    Column("item", String, nullable=False),
    Column("criterion", String, nullable=False),
    Column("rating", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("at", String, nullable=False),
    UniqueConstraint("reader", "request"),
    Index("log_of_answer", "reader", "item", "criterion"),
)
#: What was before the reader when a line of `log` was written, as JSON. A table of its own: older databases get it too.
SHOWN = Table(
    "shown",
    METADATA,
    Column("reader", String, primary_key=True),
    Column("request", String, primary_key=True),
    Column("shown", String, nullable=False),
)


@dataclass(frozen=True)
class Saved:
    """An answer as it stands in the database."""

    rating: int
    revision: int


class Conflict(Exception):
    """The answer was changed since the sender has seen it; `current` is what holds, None if there is no answer."""

    def __init__(self, current: Saved | None) -> None:
        super().__init__("the answer was changed elsewhere")
        self.current = current


class Revoked(Exception):
    """A link that was valid once and is not any more."""


class Misused(Exception):
    """A request id that was given to another answer before."""


@dataclass(frozen=True)
class Login:
    """Whose session it is: a reader, or the coordinator (`COORDINATOR`); a reader's language and time of consent."""

    reader: str
    language: str | None = None
    consented_at: str | None = None

    @property
    def is_coordinator(self) -> bool:
        """Whether this is the coordinator, who sees progress and no questions."""
        return self.reader == COORDINATOR


@dataclass(frozen=True)
class Progress:
    """How far a reader is: number of answers (criteria of items), times as ISO 8601 in UTC or None."""

    answered: int
    consented_at: str | None
    active_at: str | None


class Store:
    """One study's database. Methods are safe to call from several threads, and several servers may share it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        # SQLite lets waiting writers sleep for longer and longer; threads of one server wait here and go on at once.
        self._turn = threading.Lock() if engine.dialect.name == "sqlite" else nullcontext()

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def admit(self, access: Mapping[str, str]) -> None:
        """Make the links of access.json (reader id or `COORDINATOR` -> hash) the only ones that open the study.

        Hashes that are no longer in the file are revoked, with their sessions; a revoked one stays so.
        """
        with self._change() as connection:
            known = set(connection.scalars(select(TOKENS.c.token)))
            for reader, token in access.items():
                if token not in known:
                    connection.execute(TOKENS.insert().values(token=token, reader=reader))
            self._revoke(connection, TOKENS.c.token.not_in(list(access.values())))

    def revoke(self, reader: str) -> None:
        """End a reader's links and sessions for good, also in a server that runs."""
        with self._change() as connection:
            self._revoke(connection, TOKENS.c.reader == reader)

    def log_in(self, token: str) -> tuple[str, Login] | None:
        """A new session (its secret, for the cookie) for the owner of a link's token; None for a wrong token.

        Raises:
            Revoked: if the link was taken away.
        """
        with self.engine.connect() as connection:  # a wrong link must not keep answers waiting
            if _owner(connection, token) is None:
                return None
        with self._change() as connection:
            own = _owner(connection, token)
            session = secrets.token_urlsafe(32)
            connection.execute(
                SESSIONS.insert().values(session=hashed(session), token=own.token, created_at=_now())
            )
            return session, Login(own.reader)

    def login(self, session: str) -> Login | None:
        """Who is logged in with a session; None if it is unknown or its link was revoked."""
        query = (
            select(TOKENS.c.reader, READERS.c.language, READERS.c.consented_at)
            .join(SESSIONS, SESSIONS.c.token == TOKENS.c.token)
            .outerjoin(READERS, READERS.c.reader == TOKENS.c.reader)
            .where(SESSIONS.c.session == hashed(session), TOKENS.c.revoked_at.is_(None))
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return row and Login(*row)

    def log_out(self, session: str) -> None:
        """End one session."""
        with self._change() as connection:
            connection.execute(SESSIONS.delete().where(SESSIONS.c.session == hashed(session)))

    def choose_language(self, reader: str, language: str) -> None:
        """Keep a reader's language, for all their devices."""
        with self._change() as connection:
            connection.execute(READERS.update().where(READERS.c.reader == reader).values(language=language))

    def consent(self, reader: str) -> None:
        """Note that a reader consents; the time of the first consent stays."""
        now = _now()
        unsaid = (READERS.c.reader == reader) & READERS.c.consented_at.is_(None)
        with self._change() as connection:
            connection.execute(READERS.update().where(unsaid).values(consented_at=now, active_at=now))

    def save(
        self, reader: str, item: str, criterion: str, rating: int, seen: int, request: str, shown: str = ""
    ) -> Saved:
        """Save one answer; when this returns, it is on the disk.

        Args:
            seen: revision of the answer that the sender has before them, 0 for none.
            request: id of this request, the same when it is sent again.
            shown: what was before the reader, as JSON; "" where it is not known.

        Raises:
            Conflict: if another window or device changed the answer since; nothing is saved. An equal rating is no
                conflict.
            Misused: if the request id was given to another answer.
        """
        key = {"reader": reader, "item": item, "criterion": criterion}
        with self._change() as connection:
            connection.execute(select(READERS.c.reader).where(READERS.c.reader == reader).with_for_update())
            earlier = connection.execute(
                select(LOG).where(LOG.c.reader == reader, LOG.c.request == request)
            ).one_or_none()
            if earlier is not None:
                if (earlier.item, earlier.criterion, earlier.rating) != (item, criterion, rating):
                    raise Misused(request)
                return Saved(earlier.rating, earlier.revision)
            current = connection.execute(
                select(ANSWERS.c.rating, ANSWERS.c.revision).filter_by(**key)
            ).one_or_none()
            if current is not None and current.rating == rating:
                return Saved(*current)
            if seen != (current.revision if current else 0):
                raise Conflict(Saved(*current) if current else None)
            now, new = _now(), {"rating": rating, "revision": seen + 1}
            connection.execute(
                ANSWERS.insert().values(**key, **new, first_at=now, last_at=now)
                if current is None
                else ANSWERS.update().filter_by(**key).values(**new, last_at=now)
            )
            connection.execute(LOG.insert().values(**key, **new, request=request, at=now))
            connection.execute(SHOWN.insert().values(reader=reader, request=request, shown=shown))
            connection.execute(READERS.update().where(READERS.c.reader == reader).values(active_at=now))
        return Saved(**new)

    def answers(self, reader: str) -> dict[tuple[str, str], Saved]:
        """(item, criterion) -> answer of one reader."""
        query = select(ANSWERS).where(ANSWERS.c.reader == reader)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {(row.item, row.criterion): Saved(row.rating, row.revision) for row in rows}

    def all_answers(self) -> list[dict[str, Any]]:
        """All rows of `answers`."""
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(ANSWERS)).mappings()]

    def history(self) -> list[dict[str, Any]]:
        """All lines of `log` in their order, with `shown` (None for a line from before it was noted)."""
        query = select(LOG, SHOWN.c.shown).outerjoin(
            SHOWN, (SHOWN.c.reader == LOG.c.reader) & (SHOWN.c.request == LOG.c.request)
        )
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query.order_by(LOG.c.line)).mappings()]

    def progress(self) -> dict[str, Progress]:
        """Reader -> how far they are; without a single rating."""
        count = select(ANSWERS.c.reader, func.count().label("answered")).group_by(ANSWERS.c.reader).subquery()
        query = select(READERS, count.c.answered).outerjoin(count, READERS.c.reader == count.c.reader)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(READERS.c.reader)).all()
        return {row.reader: Progress(row.answered or 0, row.consented_at, row.active_at) for row in rows}

    def ping(self) -> None:
        """Raise SQLAlchemyError if the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(select(1))

    @contextmanager
    def _change(self) -> Iterator[Connection]:
        """A transaction that writes: committed at its end, undone by an exception."""
        with self._turn, self._writing.begin() as connection:
            yield connection

    @staticmethod
    def _revoke(connection: Connection, which: Any) -> None:
        revoked = TOKENS.update().where(which, TOKENS.c.revoked_at.is_(None)).values(revoked_at=_now())
        connection.execute(revoked)
        gone = select(TOKENS.c.token).where(TOKENS.c.revoked_at.is_not(None))
        connection.execute(SESSIONS.delete().where(SESSIONS.c.token.in_(gone)))


def open_store(url: str, study_id: str, seal: str, readers: Iterable[str]) -> Store:
    """Open a study's database; its tables and readers' rows are made where they are absent.

    Args:
        url: SQLAlchemy's, such as `sqlite:////data/answers.db` or `postgresql+psycopg://user:password@host/name`.

    Raises:
        UserError: if it cannot be reached, or holds another study.
    """
    engine = _engine(url)
    try:
        METADATA.create_all(engine)
        store = Store(engine)
        with store._change() as connection:
            held = connection.execute(select(STUDY)).one_or_none()
            if held is None:
                connection.execute(STUDY.insert().values(study_id=study_id, seal=seal))
            known = set(connection.scalars(select(READERS.c.reader)))
            absent = [{"reader": reader} for reader in readers if reader not in known]
            if absent:
                connection.execute(READERS.insert(), absent)
    except SQLAlchemyError as error:
        raise UserError(f"the database {engine.url} cannot be used ({_cause(error)})") from error
    if held is not None and (held.study_id, held.seal) != (study_id, seal):
        raise UserError(
            f"the database {engine.url} holds study {held.study_id}; set study.serve.database to another"
        )
    return store


def sqlite_url(file: Path) -> str:
    """SQLAlchemy's address of a SQLite file."""
    return f"sqlite:///{file.resolve()}"


def _owner(connection: Connection, token: str) -> Any:
    """The row of `tokens` that a link's token belongs to; None for a wrong one. Raises Revoked."""
    # All are compared, and in constant time, so that the time of the reply tells nothing about any.
    tokens = connection.execute(select(TOKENS)).all()
    own = [row for row in tokens if secrets.compare_digest(row.token, hashed(token))]
    if own and own[0].revoked_at is not None:
        raise Revoked
    return own[0] if own else None


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url, pool_size=5, max_overflow=THREADS - 5, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise UserError(
            f"study.serve.database cannot be used ({_cause(error)}); for PostgreSQL: "
            "pip install 'psycopg[binary]', then postgresql+psycopg://USER:PASSWORD@HOST/NAME"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late: see _begin_sqlite
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    """A change takes the lock at once: two that read first and write then would fail, not wait."""
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


def _cause(error: Exception) -> str:
    """The driver's own message, without the statement."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _now() -> str:
    """The server's clock, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
