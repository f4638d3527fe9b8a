"""The database: exactly one answer for each question, whatever is sent twice, late or at once; links and sessions."""

import sqlite3
import threading
from collections import Counter

import pytest
from sqlalchemy import select

from cycle_am.errors import UserError
from cycle_am.reader_study.web import store as stores
from cycle_am.reader_study.web.links import hashed
from cycle_am.reader_study.web.store import COORDINATOR, Conflict, Login, Misused, Revoked, Saved, open_store

READERS = ["r01", "r02"]


@pytest.fixture
def store(database):
    opened = open_store(database, "s1", "seal", READERS)
    yield opened
    opened.close()


def rows(store, table):
    with store.engine.connect() as connection:
        return connection.execute(select(table)).all()


def test_an_answer_and_its_changes(store):
    assert store.save("r01", "i1", "c1", 3, 0, "q1") == Saved(3, 1)
    assert store.save("r01", "i1", "c1", -4, 1, "q2") == Saved(-4, 2)
    assert store.save("r01", "i1", "c2", 0, 0, "q3") == Saved(0, 1)
    assert store.answers("r01") == {("i1", "c1"): Saved(-4, 2), ("i1", "c2"): Saved(0, 1)}
    assert store.answers("r02") == {}
    assert [(row.request, row.rating, row.revision) for row in rows(store, stores.LOG)] == [
        ("q1", 3, 1), ("q2", -4, 2), ("q3", 0, 1),
    ]  # fmt: skip


def test_the_history_holds_what_was_shown(store):
    store.save("r01", "i1", "c1", 3, 0, "q1", '{"opacity": 60}')
    store.save("r02", "i1", "c1", 3, 0, "q1")
    store.save("r01", "i1", "c1", -4, 1, "q2", '{"opacity": 0}')
    found = [(line["reader"], line["rating"], line["shown"]) for line in store.history()]
    assert found == [("r01", 3, '{"opacity": 60}'), ("r02", 3, ""), ("r01", -4, '{"opacity": 0}')]


def test_a_database_from_before_that_was_noted_is_taken(database):
    older = open_store(database, "s1", "seal", READERS)
    older.save("r01", "i1", "c1", 3, 0, "q1")
    stores.SHOWN.drop(older.engine)
    older.close()
    opened = open_store(database, "s1", "seal", READERS)
    opened.save("r01", "i1", "c1", 2, 1, "q2", "{}")
    assert [(line["rating"], line["shown"]) for line in opened.history()] == [(3, None), (2, "{}")]
    opened.close()


def test_a_wrong_link_does_not_wait_for_a_writer(tmp_path):
    """Nor does it keep one waiting: it is looked up, and nothing is written."""
    opened = open_store(f"sqlite:///{tmp_path / 'answers.db'}", "s1", "seal", READERS)
    with sqlite3.connect(tmp_path / "answers.db", isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert opened.log_in("guess") is None
        writer.execute("ROLLBACK")
    opened.close()


def test_a_replayed_request_has_one_effect(store):
    store.save("r01", "i1", "c1", 3, 0, "q1")
    store.save("r01", "i1", "c1", 2, 1, "q2")
    # Its reply was lost, and it comes again after a newer one: the same reply, and the newer answer stays.
    assert store.save("r01", "i1", "c1", 3, 0, "q1") == Saved(3, 1)
    assert store.answers("r01") == {("i1", "c1"): Saved(2, 2)}
    assert len(rows(store, stores.LOG)) == 2


def test_a_request_id_belongs_to_one_answer_of_one_reader(store):
    store.save("r01", "i1", "c1", 3, 0, "q1")
    for other in [("i2", "c1", 3), ("i1", "c2", 3), ("i1", "c1", 2)]:
        with pytest.raises(Misused):
            store.save("r01", *other, 0, "q1")
    assert store.save("r02", "i2", "c1", -1, 0, "q1") == Saved(-1, 1)


def test_a_stale_window_is_told_and_overwrites_nothing(store):
    store.save("r01", "i1", "c1", 3, 0, "q1")
    store.save("r01", "i1", "c1", 1, 1, "q2")
    with pytest.raises(Conflict) as stale:
        store.save("r01", "i1", "c1", -2, 1, "q3")
    assert stale.value.current == Saved(1, 2)
    with pytest.raises(Conflict) as unknown:
        store.save("r01", "i1", "c2", 0, 4, "q4")
    assert unknown.value.current is None
    assert store.answers("r01") == {("i1", "c1"): Saved(1, 2)}
    assert store.save("r01", "i1", "c1", 1, 0, "q5") == Saved(
        1, 2
    )  # the same rating is no conflict, and no change
    assert store.save("r01", "i1", "c1", -2, 2, "q6") == Saved(-2, 3)  # having seen it, the reader may decide


def test_order_does_not_depend_on_the_clock(store, monkeypatch):
    times = iter(["2030-01-01", "2020-01-01", "2025-01-01"])
    monkeypatch.setattr(stores, "_now", lambda: next(times))
    for revision, rating in enumerate([1, 2, 3]):
        store.save("r01", "i1", "c1", rating, revision, f"q{revision}")
    row = rows(store, stores.ANSWERS)[0]
    assert (row.rating, row.revision, row.first_at, row.last_at) == (3, 3, "2030-01-01", "2025-01-01")


def test_at_once_from_many_windows_one_wins_and_none_is_doubled(store):
    """Eight threads change one answer and repeat each request: revisions count without a gap, the log agrees."""
    outcomes, barrier = [], threading.Barrier(8)

    def window(number):
        barrier.wait()
        for turn in range(5):
            seen = store.answers("r01").get(("i1", "c1"), Saved(0, 0)).revision
            request = ("r01", "i1", "c1", (number + turn) % 9 - 4, seen, f"q{number}-{turn}")
            for _ in range(2):
                try:
                    outcomes.append(store.save(*request))
                except Conflict:
                    outcomes.append(None)

    threads = [threading.Thread(target=window, args=[number]) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(outcomes) == 80
    log = sorted(rows(store, stores.LOG), key=lambda row: row.line)
    assert [row.revision for row in log] == list(range(1, len(log) + 1))
    assert max(Counter(row.request for row in log).values()) == 1
    assert store.answers("r01")["i1", "c1"] == Saved(log[-1].rating, log[-1].revision)
    assert {outcome for outcome in outcomes if outcome} == {Saved(row.rating, row.revision) for row in log}


def test_consent_language_and_progress(store):
    store.admit({"r01": hashed("t1"), COORDINATOR: hashed("t0")})
    session, _ = store.log_in("t1")
    assert store.login(session) == Login("r01", None, None)
    store.consent("r01")
    first = store.login(session).consented_at
    store.consent("r01")
    store.choose_language("r01", "de")
    assert store.login(session) == Login("r01", "de", first)
    store.save("r01", "i1", "c1", 3, 0, "q1")
    progress = store.progress()
    assert progress["r01"].answered == 1
    assert progress["r01"].active_at >= first
    assert progress["r02"] == stores.Progress(0, None, None)
    assert store.log_in("t0")[1].is_coordinator


def test_only_hashes_are_stored(store):
    store.admit({"r01": hashed("secret")})
    session, _ = store.log_in("secret")
    assert [row.token for row in rows(store, stores.TOKENS)] == [hashed("secret")]
    assert [row.session for row in rows(store, stores.SESSIONS)] == [hashed(session)]
    assert store.log_in(hashed("secret")) is None
    assert store.login(hashed(session)) is None


def test_links_are_revoked_for_good(store):
    store.admit({"r01": hashed("old"), "r02": hashed("other")})
    session, _ = store.log_in("old")
    other, _ = store.log_in("other")
    store.admit({"r01": hashed("new"), "r02": hashed("other")})
    assert store.login(session) is None
    with pytest.raises(Revoked):
        store.log_in("old")
    assert store.login(other).reader == "r02"
    store.admit({"r01": hashed("old"), "r02": hashed("other")})  # an old access.json is put back
    with pytest.raises(Revoked):
        store.log_in("old")
    store.revoke("r02")
    assert store.login(other) is None
    with pytest.raises(Revoked):
        store.log_in("other")


def test_logging_out_ends_one_session(store):
    store.admit({"r01": hashed("t")})
    (one, _), (other, _) = store.log_in("t"), store.log_in("t")
    store.log_out(one)
    assert store.login(one) is None
    assert store.login(other).reader == "r01"


def test_a_database_holds_one_study(store, database):
    open_store(database, "s1", "seal", [*READERS, "r03"]).close()
    assert set(store.progress()) == {"r01", "r02", "r03"}
    for other in [("s2", "seal"), ("s1", "another seal")]:
        with pytest.raises(UserError, match="holds study s1"):
            open_store(database, *other, READERS)


def test_addresses_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="postgresql\\+psycopg://"):
        open_store("nonsense", "s", "s", [])
    with pytest.raises(UserError, match="cannot be used") as error:
        open_store(f"sqlite:///{tmp_path}/absent/answers.db", "s", "s", [])
    assert "\n" not in str(error.value)
    pytest.importorskip("psycopg")
    with pytest.raises(UserError) as error:
        open_store("postgresql+psycopg://me:hidden@127.0.0.1:1/x", "s", "s", [])
    assert "hidden" not in str(error.value)


def test_sqlite_syncs_every_commit(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/a.db", "s", "s", [])
    with store.engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert settings == ["wal", 2]  # 2: FULL
    store.close()
    assert sqlite3.connect(tmp_path / "a.db").execute("select study_id from study").fetchall() == [("s",)]
