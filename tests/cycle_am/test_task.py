from dataclasses import replace

import numpy as np
import pytest

from cycle_am.errors import UserError
from cycle_am.task import Task

CELLS = Task(fov_mm=None, size=96, low=0, high=1, classes=("red", "white"), channels=3, unit="", thing="cell")


@pytest.mark.parametrize("task", [Task(), CELLS, replace(CELLS, fov_mm=12.5, channels=1)])
def test_a_task_survives_its_facts(task):
    assert Task.of(task.facts()) == task


def test_what_an_older_file_leaves_out_is_as_in_ct():
    facts = {"fov_mm": 26.0, "size": 64, "low": -1000.0, "high": 400.0, "classes": ["benign", "malignant"]}
    assert Task.of(facts) == Task(fov_mm=26.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 24}, "sides of 28 to 256"),
        ({"size": 300}, "sides of 28 to 256"),
        ({"channels": 2}, "1 or 3 channels"),
        ({"classes": ("a",)}, "two or more classes are told apart, not a;"),
        ({"classes": ("a", "a")}, "not a, a;"),
        ({"low": 1.0}, "other images"),
        ({"fov_mm": 0.0}, "other images"),
    ],
)
def test_what_cannot_be_served_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        Task.of(replace(CELLS, **change).facts())


def test_words():
    assert (Task().p(), CELLS.p("x")) == ("p(malignant)", "p(white) of x")
    assert (Task().side(), CELLS.side()) == ("45 mm", "96 pixels")
    assert (Task().length(3.0), CELLS.length(3.0)) == ("3 mm", "3 pixels")
    assert (CELLS.name(1), CELLS.name(-1)) == ("white", "no label")
    assert CELLS.images() == "colour pictures of 96 x 96 pixels"
    assert CELLS.labels == {0: "red", 1: "white", -1: "unknown"}


def test_geometry_and_scale():
    assert (CELLS.shape, CELLS.pixel_mm, Task().pixel_mm) == ((3, 96, 96), 1.0, 45 / 64)
    scaled = replace(CELLS, low=10, high=30).scale(np.array([0, 10, 20, 30, 99]))
    assert scaled.tolist() == [0, 0, 0.5, 1, 1]


def test_only_nodules_in_ct_are_the_papers():
    assert Task().is_nodule
    assert not replace(Task(), thing="lesion").is_nodule
    assert not replace(CELLS, thing="nodule").is_nodule  # of ultrasound, say


def test_what_takes_two_classes_says_so_of_more():
    three = Task(classes=("a", "b", "c"))
    three.check()
    assert not three.is_pair
    with pytest.raises(
        UserError, match=r"^it takes two classes at a time, not 3; choose two of a, b, c: data.classes"
    ):
        three.check_pair("it")
    Task().check_pair("it")
