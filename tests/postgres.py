"""A PostgreSQL server for tests, where its programs are installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def postgres():
    """Address of a PostgreSQL server of our own, without its database's name; it is stopped at the end."""
    pytest.importorskip("psycopg", reason="needs psycopg (pip install 'psycopg[binary]')")
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    found = shutil.which("initdb", path=f"{programs}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl (apt-get install postgresql)")
    # PostgreSQL does not run as root; Debian's package brings a user for it.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    if user:
        shutil.chown(home, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(program, *arguments):
        command = [*user, Path(found).with_name(program), "-D", home / "data", *arguments]
        subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL, timeout=60)

    run("initdb", "--auth=trust", "--username=study", "--encoding=UTF8", "--no-sync")
    run(
        "pg_ctl",
        "-w",
        "-l",
        home / "log",
        "-o",
        f"-p {port} -k {home} -c listen_addresses=127.0.0.1",
        "start",
    )
    yield f"postgresql+psycopg://study@127.0.0.1:{port}"
    run("pg_ctl", "-m", "immediate", "stop")
    shutil.rmtree(home)


def new_postgres_database(server):
    """Address of a new database."""
    import psycopg

    with psycopg.connect(server.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
        number = connection.execute("select count(*) from pg_database").fetchone()[0]
        connection.execute(f"create database study{number}")
    return f"{server}/study{number}"
