"""`action=create` from end to end: the paper's design, the blind, the seal, links, and no half-made study."""

from __future__ import annotations

import base64
import csv
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cycle_am.errors import UserError
from cycle_am.reader_study import files
from cycle_am.reader_study.design import assembly
from cycle_am.reader_study.design.blind import study_leaks
from cycle_am.reader_study.design.create import create
from cycle_am.reader_study.web import links
from tests.cycle_am.reader_study.comparison import METHODS, write_comparison
from tests.helpers import ROOT, composed


def configured(folder: Path, *overrides: str):
    compare = [f"study.create.compare={folder}/compare", "study.create.size=64"]
    return composed(["action=create", *compare, *overrides], folder, config="study")


def opened(folder: Path) -> tuple[files.Study, files.Key]:
    study = files.read_study(folder)
    return study, files.read_key(folder / files.KEY, study)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a comparison and a study of the paper's design."""
    home = tmp_path_factory.mktemp("home")
    write_comparison(home / "compare")
    create(configured(home))
    return home


@pytest.fixture(scope="module")
def folder(home) -> Path:
    return home / "studies" / "study"


def test_it_has_the_papers_design(folder):
    study, key = opened(folder)
    assert not study.simulated
    assert (study.low, study.high, study.fov_mm, study.languages) == (-4, 4, 45, ["en", "de"])
    assert list(study.criteria) == list(study.texts["de"]["criteria"])
    assert [reader.variant for reader in study.readers.values()] == ["A", "B"] * 4
    originals = [item for item in key.items.values() if item.repeat_of is None]
    assert Counter((item.label, item.method) for item in originals) == {
        (label, method): 12 for label in (0, 1) for method in METHODS
    }
    # 8 readers rate 24 lesions by each method: 192 answers a criterion and method (sec. 3.4).
    assert len(study.readers) * len(originals) // len(METHODS) == 192
    for reader in study.readers.values():
        assert sorted(reader.order()) == list(study.items)
        for question in reader.questions:
            assert {key.items[item].method for item in question} == set(METHODS)
            assert len({key.items[item].case_id for item in question}) == 1


def test_methods_are_balanced_over_places_for_each_reader_and_each_lesion(folder):
    study, key = opened(folder)
    places, of_cases = Counter(), Counter()
    for name, reader in study.readers.items():
        for question in reader.questions[:24]:
            for place, item in enumerate(question):
                places[name, key.items[item].method, place] += 1
                of_cases[key.items[item].case_id, key.items[item].method, place] += 1
    assert set(places.values()) == {6}
    assert set(of_cases.values()) == {2}


def test_repeats_are_the_same_pictures_under_other_names(folder):
    study, key = opened(folder)
    repeats = {name: item for name, item in key.items.items() if item.repeat_of}
    assert Counter(item.method for item in repeats.values()) == dict.fromkeys(METHODS, 2)
    for name, item in repeats.items():
        assert replace(item, repeat_of=None) == key.items[item.repeat_of]
        for part in ("original", "overlay"):
            again, first = (getattr(study.items[one], part) for one in (name, item.repeat_of))
            assert again != first
            assert (folder / files.IMAGES / again).read_bytes() == (
                folder / files.IMAGES / first
            ).read_bytes()


def test_pictures_show_the_drawn_case_and_only_correct_ones(folder, home):
    study, key = opened(folder)
    shown = dict(np.load(home / "compare" / "images.npz"))
    cases = shown["case_id"].tolist()
    for name, item in key.items.items():
        case = cases.index(item.case_id)
        assert (shown["p_malignant"][case] >= 0.5) == item.label == shown["label"][case]
        grey = np.asarray(Image.open(folder / files.IMAGES / study.items[name].original))
        assert (grey == np.rint(shown["image"][case] * 255)).all()
        red, blue = np.asarray(Image.open(folder / files.IMAGES / study.items[name].overlay))[..., [0, 2]].T
        assert ((red > blue) == (item.label == 1)).mean() > 0.9  # maps are positive for the decided class


def test_the_decision_is_that_of_the_network_and_of_no_method(folder, home):
    study, key = opened(folder)
    shown = dict(np.load(home / "compare" / "images.npz"))
    p = dict(zip(shown["case_id"].tolist(), shown["p_malignant"].tolist(), strict=True))
    assert {name: item.p for name, item in study.items.items()} == {
        name: p[item.case_id] for name, item in key.items.items()
    }


def test_the_size_of_a_picture_tells_nothing(folder):
    study, _ = opened(folder)
    for kind in ("original", "overlay"):
        names = {getattr(item, kind) for item in study.items.values()}
        assert len({(folder / files.IMAGES / name).stat().st_size for name in names}) == 1


def test_a_study_below_a_path_keeps_its_address(tmp_path):
    write_comparison(tmp_path / "compare")
    few = ["study.create.benign=1", "study.create.malignant=1", "study.create.repeats=0"]
    folder = create(configured(tmp_path, "study.create.url=https://host.example/a/study/", *few))
    assert links.prefix(opened(folder)[0].url) == "/a/study"
    rows = list(csv.DictReader((folder / files.LINKS).open()))
    assert all(row["url"] == f"https://host.example/a/study/s/{row['token']}" for row in rows)
    with pytest.raises(UserError, match="other readers' links lead to https://host"):
        create(configured(tmp_path, "study.create.add_readers=1"))
    create(
        configured(tmp_path, "study.create.add_readers=1", "study.create.url=https://host.example/a/study")
    )
    assert list(csv.DictReader((folder / files.LINKS).open()))[-1]["url"].startswith(
        "https://host.example/a/study/s/"
    )


@pytest.mark.parametrize(
    ("url", "path"),
    [("", ""), ("http://127.0.0.1:8000", ""), ("https://x.org/", ""), ("https://x.org/a/b-1.2/", "/a/b-1.2")],
)
def test_prefix(url, path):
    assert links.prefix(url) == path


@pytest.mark.parametrize(
    "url",
    [
        "x.org/a", "ftp://x.org", "https://", "https:///a", "https://x.org/a?b=1", "https://x.org/#a",
        "https://x.org/a b", "https://x.org//",
    ],
)  # fmt: skip
def test_no_address(url):
    with pytest.raises(UserError, match="is no address"):
        links.prefix(url)


def test_the_study_is_blind(folder):
    assert study_leaks(folder, *opened(folder)) == []


def sabotage(folder, change):
    """A copy of the study's parts, one of them changed, as (study, key)."""
    study, key = opened(folder)
    change(folder, study)
    return study_leaks(folder, study, key)


def comment(folder, study):
    file = next((folder / files.IMAGES).iterdir())
    file.write_bytes(file.read_bytes() + b"lrp")


def touch(folder, study):
    file = sorted((folder / files.IMAGES).iterdir())[3]
    os.utime(file, (1, 1))


def unsort(folder, study):
    stored = json.loads((folder / files.STUDY).read_text())
    stored["items"] = dict(reversed(stored["items"].items()))
    (folder / files.STUDY).write_text(json.dumps(stored))


def tell_label(folder, study):
    stored = json.loads((folder / files.STUDY).read_text())
    (folder / files.STUDY).write_text(json.dumps(stored | {"kinds": ["benign", "malignant"]}))


def hide(folder, study):
    stored = json.loads((folder / files.STUDY).read_text())
    secret = base64.b64encode(b"deep_taylor first").decode()
    (folder / files.STUDY).write_text(json.dumps(stored | {"etag": secret}))


def leave(folder, study):
    (folder / files.IMAGES / "malignant.png").write_bytes(b"")


def shrink(folder, study):
    file = folder / files.IMAGES / next(iter(study.items.values())).overlay
    Image.open(file).resize((32, 32)).save(file)


def shorten(folder, study):
    file = folder / files.IMAGES / next(iter(study.items.values())).overlay
    Image.open(file).save(file)


def doubt(folder, study):
    name, item = next(iter(study.items.items()))
    study.items[name] = replace(item, p=0.5)


@pytest.mark.parametrize(
    ("change", "leak"),
    [
        (shorten, "overlay pictures differ in number of bytes"),
        (doubt, "the explanations of a lesion have different p"),
        (comment, "names lrp"),
        (touch, "different times"),
        (unsort, "not sorted"),
        (tell_label, "holds a label: malignant"),
        (hide, "names deep_taylor"),
        (leave, "holds a label: malignant"),
        (leave, "not both listed and there"),
        (shrink, "differ in format or size"),
    ],
)
def test_the_blind_check_sees_sabotage(tmp_path, change, leak):
    write_comparison(tmp_path / "compare")
    folder = create(configured(tmp_path, "study.create.benign=2", "study.create.malignant=2"))
    assert any(leak in one for one in sabotage(folder, change))


def test_ids_orders_and_draw_do_not_follow_from_the_seed(home, folder):
    again = create(configured(home, "name=again"))
    first, second = opened(folder), opened(again)
    assert not first[0].items.keys() & second[0].items.keys()
    cases = [{item.case_id for item in key.items.values()} for _, key in (first, second)]
    assert cases[0] != cases[1]
    draws = [assembly.generator("seed 0", key.nonce).random() for _, key in (first, second)]
    assert draws[0] != draws[1]
    assert draws[0] == assembly.generator("seed 0", first[1].nonce).random()  # whoever has the key can check
    assert "seed 0" in first[1].source


def test_links_open_what_the_server_knows_as_hashes_only(folder):
    rows = list(csv.DictReader((folder / files.LINKS).open()))
    study, _ = opened(folder)
    assert [row["reader"] for row in rows] == [*study.readers, "coordinator"]
    assert all(row["url"] == f"http://127.0.0.1:8000/s/{row['token']}" for row in rows)
    assert min(len(row["token"]) for row in rows) >= 43  # 256 bits
    stored = (folder / links.ACCESS).read_text()
    assert not any(row["token"] in stored for row in rows)
    access = json.loads(stored)
    known = access["readers"] | {"coordinator": access["coordinator"]}
    assert known == {row["reader"]: links.hashed(row["token"]) for row in rows}
    public = b"".join(path.read_bytes() for path in (folder / "public").rglob("*") if path.is_file())
    assert not any(row["token"].encode() in public for row in rows)


def test_only_the_owner_reads_what_is_sealed(folder):
    modes = [(folder / name).stat().st_mode & 0o077 for name in ("sealed", files.LINKS, links.ACCESS)]
    assert modes == [0, 0, 0]


def test_a_study_is_never_overwritten(home, folder):
    before = (folder / files.STUDY).read_bytes()
    with pytest.raises(UserError, match="may hold answers; choose another name"):
        create(configured(home))
    assert (folder / files.STUDY).read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["study.create.malignant=30"], "only 17 malignant"),
        (["study.create.readers=0"], "readers=0 must be at least 1"),
        (["study.create.repeats=9"], "of 24 lesions at most 8"),
        (["study.create.methods=[lrp,lrp]"], "two different methods"),
        (["study.create.methods=[lrp,grad_cam]"], "no maps of grad_cam"),
        (["study.create.languages=[en,xx]"], "study.create.languages"),
        (["study.create.url=study.example.org"], "is no address"),
        (["study.create.add_readers=2"], "action=create"),
        (["study.create.compare=null"], "python train.py experiment=cycle_am_small data=phantom"),
    ],
)
def test_after_an_error_nothing_is_left(tmp_path, overrides, message):
    write_comparison(tmp_path / "compare")
    with pytest.raises(UserError, match=message):
        create(configured(tmp_path, *overrides))
    left = tmp_path / "studies"
    assert not left.exists() or not list(left.iterdir())


def test_a_text_that_names_a_method_is_refused(tmp_path):
    write_comparison(tmp_path / "compare")
    texts = yaml.safe_load((ROOT / "conf/study/texts/en.yaml").read_text())
    texts["footer"] = "Pictures: CycleAM and others"
    (tmp_path / "en.yaml").write_text(yaml.safe_dump(texts))
    with pytest.raises(UserError, match="footer names the method 'cycle_am'"):
        create(configured(tmp_path, f"study.create.texts={tmp_path}", "study.create.languages=[en]"))


def test_readers_can_be_added(tmp_path):
    write_comparison(tmp_path / "compare")
    folder = create(configured(tmp_path, "study.create.readers=3"))
    before, key = opened(folder)
    links_before = (folder / files.LINKS).read_text()
    access = json.loads((folder / links.ACCESS).read_text())
    access["readers"]["r01"] = links.hashed("renewed")
    (folder / links.ACCESS).write_text(json.dumps(access))
    create(configured(tmp_path, "study.create.add_readers=5"))
    after, same = opened(folder)
    assert same == key
    assert list(after.readers) == [f"r{number:02d}" for number in range(1, 9)]
    assert [reader.variant for reader in after.readers.values()] == ["A", "B"] * 4
    assert {name: after.readers[name] for name in before.readers} == before.readers
    assert (folder / files.LINKS).read_text().startswith(links_before)
    tokens = {row["reader"]: row["token"] for row in csv.DictReader((folder / files.LINKS).open())}
    assert list(tokens) == ["r01", "r02", "r03", "coordinator", "r04", "r05", "r06", "r07", "r08"]
    hashes = {name: links.hashed(token) for name, token in tokens.items()} | access["readers"]
    stored = json.loads((folder / links.ACCESS).read_text())
    assert stored == {"coordinator": hashes.pop("coordinator"), "readers": hashes}
    added = [reader for name, reader in after.readers.items() if name not in before.readers]
    assert len({json.dumps(reader.questions) for reader in added}) == 5
    for reader in added:
        assert sorted(reader.order()) == sorted(after.items)
        assert all(key.items[item].repeat_of for question in reader.questions[24:] for item in question)
        methods = [[key.items[item].method for item in question] for question in reader.questions[:24]]
        assert {Counter(column)[m] for column in zip(*methods, strict=True) for m in METHODS} == {6}


def test_a_rehearsal_is_marked_as_such(home):
    few = ["study.create.benign=1", "study.create.malignant=1", "study.create.repeats=0"]
    folder = create(configured(home, "name=rehearsal", "study.create.simulated=true", *few))
    assert opened(folder)[0].simulated
