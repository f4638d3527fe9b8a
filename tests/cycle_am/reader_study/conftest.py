"""A study to be served; a database of either kind."""

import pytest

from tests.cycle_am.reader_study.serving import Server, make_study
from tests.postgres import new_postgres_database


@pytest.fixture
def study_dir(tmp_path):
    """Folder of a small study."""
    make_study(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """SQLAlchemy's address of an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'answers.db'}"
    return new_postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
def server(study_dir):
    """A running server of the small study, with SQLite."""
    running = Server(study_dir)
    yield running
    running.stop()
