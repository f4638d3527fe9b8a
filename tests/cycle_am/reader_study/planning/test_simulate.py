"""Synthetic answers: a study's own items in the readers' own order, marked, and never in the place of real ones."""

import hashlib
import json
import sqlite3
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from cycle_am.errors import UserError
from cycle_am.reader_study import files, paper
from cycle_am.reader_study.planning.readers import Ability
from cycle_am.reader_study.planning.rehearsal import answer, make_up, readers_model
from cycle_am.reader_study.planning.simulate import simulate
from cycle_am.reader_study.planning.visits import visit
from tests.cycle_am.reader_study.serving import make_study, serving, token
from tests.helpers import composed

METHODS, CRITERIA = list(paper.METHODS), list(paper.CRITERIA)


@pytest.fixture(scope="module")
def made():
    return make_up(readers=8, benign=12, malignant=12, repeats=4, seed=1)


def config(folder, *overrides):
    return composed(["action=simulate", *overrides], folder, config="study")


def unsealed(study, key, model=None, seed=0, **abilities):
    answers = answer(study, key, model or readers_model(METHODS, CRITERIA), abilities, seed)
    return answers, files.unseal(answers, study, key)


def test_a_study_from_nothing(tmp_path):
    file = simulate(config(tmp_path))
    folder = tmp_path / "studies" / "study"
    study = files.read_study(folder)
    key = files.read_key(folder / files.KEY, study)
    answers = files.read_answers(file)
    assert file == folder / files.ANSWERS
    assert study.simulated
    assert answers["simulated"].all()
    assert len(answers) == 8 * (24 + 2) * 4 * 3
    assert not answers.duplicated(["reader", "item", "criterion"]).any()
    assert list(files.unseal(answers, study, key)) == files.RATING_COLUMNS
    first = study.readers["r03"].order()[0]
    assert set(answers[(answers["reader"] == "r03") & (answers["position"] == 1)]["item"]) == {first}


def test_the_made_up_study_has_the_papers_design(made):
    study, key = made
    originals = [item for item in key.items.values() if item.repeat_of is None]
    assert len(originals) == 24 * 4
    assert len({item.case_id for item in originals if item.label}) == 12
    assert [reader.variant for reader in study.readers.values()] == ["A", "B"] * 4
    repeats = [item for item in key.items.values() if item.repeat_of]
    assert {item.label for item in repeats} == {0, 1}
    assert all(key.items[item.repeat_of].method == item.method for item in repeats)
    assert all(key.items[item.repeat_of].case_id == item.case_id for item in repeats)
    assert all(sorted(reader.order()) == sorted(study.items) for reader in study.readers.values())


def test_methods_are_rated_as_published(made):
    study, key = made
    parts = [unsealed(study, key, seed=seed)[1] for seed in range(30)]
    means = pd.concat(parts).groupby(["method", "criterion"])["rating"].mean()
    for method in METHODS:
        for criterion in CRITERIA:
            assert means[method, criterion] == pytest.approx(paper.RAW[method][criterion].mean, abs=0.45)
    best = [part.groupby("method")["rating"].mean().idxmax() for part in parts]
    assert set(best) == {"cycle_am"}


def test_a_reader_without_noise_answers_a_repeat_alike(made):
    study, key = made
    answers, _ = unsealed(study, key, r02=Ability(noise=0))
    table = answers.set_index(["reader", "criterion", "item"])["rating"]
    pairs = [(name, item.repeat_of) for name, item in key.items.items() if item.repeat_of]

    def changed(reader):
        return sum(table[reader, c, a] != table[reader, c, b] for a, b in pairs for c in CRITERIA)

    assert changed("r02") == 0
    assert changed("r01") > len(pairs)


def test_abilities_and_missing_answers(made):
    study, key = made
    answers, _ = unsealed(study, key, r01=Ability(constant=-1), r04=Ability(missing=0.5))
    counts = answers.groupby("reader").size()
    assert (answers[answers["reader"] == "r01"]["rating"] == -1).all()
    assert counts["r02"] == 28 * 4 * 3
    assert counts["r04"] == pytest.approx(counts["r02"] / 2, rel=0.2)


def test_effects_as_asked():
    plain = readers_model(METHODS, CRITERIA)
    alike = readers_model(METHODS, CRITERIA, "none")
    assert (alike.means == alike.means[0]).all()
    given = readers_model(["grad_cam", "lrp"], ["image_quality"], {"grad_cam": {"image_quality": 1.04}})
    assert given.means[0, 0] == pytest.approx(plain.means[0, 2])
    assert given.means[1, 0] == pytest.approx(plain.means[3, 2])
    with pytest.raises(UserError, match="grad_cam has no published ratings"):
        readers_model(["grad_cam"], CRITERIA)
    with pytest.raises(UserError, match="nothing is published of the criterion beauty"):
        readers_model(METHODS, ["beauty"])
    with pytest.raises(UserError, match="between -4 and 4"):
        readers_model(METHODS, CRITERIA, {"lrp": 5})


def test_same_seed_same_answers(made):
    study, key = made
    first, again, other = (unsealed(study, key, seed=seed)[0] for seed in (3, 3, 4))
    assert first.equals(again)
    assert not first.equals(other)


def test_real_answers_are_never_overwritten(tmp_path, made):
    folder = tmp_path / "studies" / "study"
    study, key = make_up(2, 2, 2, 0)
    study = replace(study, simulated=False)
    files.write_key(folder, key)
    files.write_study(folder, study)
    file = simulate(config(tmp_path))
    assert simulate(config(tmp_path, "seed=5")) == file  # a second rehearsal takes the place of the first
    noted = pd.read_csv(folder / "sealed/unsealed.csv")
    assert noted["state"].tolist() == ["rehearsal"] * 2
    real = files.read_answers(file)
    real.loc[0, "simulated"] = False
    files.write_answers(file, real)
    before = file.read_bytes()
    with pytest.raises(UserError, match="answers of real readers"):
        simulate(config(tmp_path))
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("abilities={r77:{noise:2}}", "there are r01, r02"),
        ("abilities={r01:{nois:2}}", "nois"),
        ("effects=some", "paper, none or"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, setting, remedy):
    with pytest.raises(UserError, match=remedy):
        simulate(config(tmp_path, f"study.simulate.{setting}"))


class Recorder(BaseHTTPRequestHandler):
    """A server that takes what a browser sends, with a session of its own for each link."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Set-Cookie", f"session={self.path.rsplit('/', 1)[1]}; Path=/")
        self.end_headers()
        self.wfile.write(f'<body data-reader="{self.owner(self.path)}">'.encode())

    @staticmethod
    def owner(text):
        return hashlib.md5(text[-3:].encode()).hexdigest()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, self.headers["Cookie"], self.headers["X-Reader-Study"], body))
        own = self.headers["X-Reader-Page"] == self.owner(self.headers["Cookie"])
        self.send_response(self.server.status if own else 412)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as running:
        running.seen, running.status = [], 200
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def write_links(folder, names):
    lines = [f"{name},http://localhost/s/token-{name},token-{name}" for name in names]
    (folder / files.LINKS).write_text("reader,url,token\n" + "\n".join(lines) + "\n")


def served(tmp_path, server):
    """A small study with its links: its folder, the study, and the setting that sends answers to the server."""
    folder = tmp_path / "studies" / "study"
    study, key = make_up(2, 1, 1, 0)
    files.write_key(folder, key)
    files.write_study(folder, study)
    write_links(folder, study.readers)
    url = f"study.simulate.url=http://127.0.0.1:{server.server_port}"
    return folder, study, url


def test_answers_go_to_a_server(tmp_path, server):
    folder, study, url = served(tmp_path, server)
    assert simulate(config(tmp_path, url)) == folder
    assert not (folder / files.ANSWERS).exists()
    posts = [post for post in server.seen if post[0] == "/answer"]
    assert len(posts) == 2 * 2 * 4 * 3
    assert {(cookie, header) for _, cookie, header, _ in posts} == {
        ("session=token-r01", "1"),
        ("session=token-r02", "1"),
    }
    bodies = [body for _, cookie, _, body in posts if cookie.endswith("r01")]
    assert [body["item"] for body in bodies[::3]] == study.readers["r01"].order()
    assert len({body["request"] for body in bodies}) == len(bodies)
    assert all(-4 <= body["rating"] <= 4 for body in bodies)
    assert all(body["shown"]["overlay"] == study.items[body["item"]].overlay for body in bodies)
    server.status = 403
    with pytest.raises(UserError, match="refused or did not answer"):
        simulate(config(tmp_path, url))


def test_a_real_server_takes_a_synthetic_readers_answers(tmp_path):
    folder = tmp_path / "study"
    study = make_study(folder)
    asked = [(item, criterion) for item in study.readers["r02"].order() for criterion in study.criteria]
    rows = pd.DataFrame(asked, columns=["item", "criterion"]).assign(
        rating=[n % 9 - 4 for n in range(len(asked))]
    )
    with serving(folder) as url:
        visit(study, url, token("r02"), rows)
    stored = sqlite3.connect(folder / "answers.db").execute(
        "select reader, item, criterion, rating from answers"
    )
    assert sorted(stored) == sorted(("r02", *row) for row in rows.itertuples(index=False, name=None))


def test_a_reader_who_leaves_a_picture_out_gets_no_further_on_a_server(tmp_path, server):
    url = served(tmp_path, server)[2]
    with pytest.raises(UserError, match="leaves a whole picture out"):
        simulate(config(tmp_path, url, "study.simulate.missing=0.8"))
    assert server.seen == []


def test_no_study_is_made_up_for_a_server(tmp_path, server):
    with pytest.raises(UserError, match="action=create"):
        simulate(config(tmp_path, f"study.simulate.url=http://127.0.0.1:{server.server_port}"))
    assert not (tmp_path / "studies").exists()


def test_a_real_study_is_not_answered_on_a_server(tmp_path, server):
    folder = tmp_path / "studies" / "study"
    study, key = make_up(2, 1, 1, 0)
    files.write_key(folder, key)
    files.write_study(folder, replace(study, simulated=False))
    write_links(folder, study.readers)
    with pytest.raises(UserError, match="create a study for the rehearsal"):
        simulate(config(tmp_path, f"study.simulate.url=http://127.0.0.1:{server.server_port}"))
    assert server.seen == []
