import json

import numpy as np
import pytest
import torch
from torch import nn

from cycle_am.contract import Changed
from cycle_am.errors import UserError
from cycle_am.model import file as model_file
from cycle_am.model import mistakes, trust
from cycle_am.model.explanation import Probabilities
from cycle_am.model.mistakes import MIDDLE
from cycle_am.model.model import Model
from cycle_am.model.trust import (
    DIMENSIONS,
    LIMITS,
    MOVED,
    NOISE,
    OF_LESIONS,
    STABLE,
    Assessor,
    Likeness,
    Trust,
    features,
    flips,
    limit,
    limits,
)
from cycle_am.networks import ConvNet, UNetGenerator
from cycle_am.task import Task

FINE = {
    "distance": 1.0,
    "mistake": 0.0,
    "shift": 1.0,
    "noise": 1.0,
    "noise_moves_p": 0.0,
    "border": 0.1,
    "taken": 0.1,
}
AT = {
    "distance": 2.0,
    "mistake": 1.0,
    "taken": 0.02,
    "shift": 0.9,
    "noise": 0.9,
    "far_distance": 4.0,
    "far_mistake": 3.0,
}


class Local(nn.Module):
    """A generator that follows every shift: it adds what lies above a half."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.gain * (x - 0.5).clamp_min(0)


class Fixed(nn.Module):
    """A generator that adds one picture wherever the lesion is."""

    def __init__(self, picture: torch.Tensor) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.picture


def blobs(n: int, seed: int = 0) -> torch.Tensor:
    """(N, 1, 64, 64): a bright disc in the middle of a dark, noisy window."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[:64, :64] - 31.5
    radius = random.uniform(6, 10, (n, 1, 1))
    disc = 0.6 / (1 + np.exp(np.hypot(row, column) - radius))
    images = 0.15 + disc + random.normal(0, 0.03, (n, 64, 64))
    return torch.from_numpy(images.clip(0, 1).astype(np.float32))[:, None]


def model(g_neg: nn.Module, g_pos: nn.Module) -> Model:
    torch.manual_seed(0)
    parts = {"classifier": ConvNet(width=4), "judge": ConvNet(width=4), "g_neg": g_neg, "g_pos": g_pos}
    return Model(parts, Task())


@pytest.fixture(scope="module")
def local() -> Model:
    """A model whose assessor was fitted to blobs."""
    made = model(Local(-0.5), Local(0.5))
    made.assessor = Assessor.fit(made, blobs(96), blobs(48, seed=1))
    return made


def verdict(explained: bool = True, judge: bool = True, **figures: float) -> Trust:
    assessor = Assessor(Likeness(dict.fromkeys(Likeness.NAMES, torch.zeros(1))), nn.Identity(), AT)
    return assessor.verdict(FINE | figures, explained, judge)


def test_distance_is_mahalanobis_along_the_axes_and_the_rest_beside_them():
    torch.manual_seed(0)
    network, training, others = ConvNet(width=4).eval().requires_grad_(False), blobs(150), blobs(20, seed=2)
    values, new = (features(network, x).double().numpy() for x in (training, others))
    scale = values.std(0, ddof=1).clip(1e-6)
    z, other = (values - values.mean(0)) / scale, (new - values.mean(0)) / scale
    spread, axes = np.linalg.eigh(np.cov(z.T, ddof=0))
    axes, spread = axes[:, ::-1][:, :DIMENSIONS], spread[::-1][:DIMENSIONS]
    inverse = axes @ np.diag(1 / spread) @ axes.T
    along = np.einsum("ni,ij,nj->n", other, inverse, other) / DIMENSIONS
    rest = lambda v: ((v - v @ axes @ axes.T) ** 2).sum(1)  # noqa: E731
    expected = np.sqrt(np.maximum(along, rest(other) / rest(z).mean()))
    found = Likeness.fit(network, training).distance(network, others)
    assert found.numpy() == pytest.approx(expected, rel=1e-3)


def test_training_images_are_at_a_distance_of_about_one():
    network = ConvNet(width=4).eval().requires_grad_(False)
    distance = Likeness.fit(network, blobs(200)).distance(network, blobs(200))
    assert 0.8 < distance.median() < 1.3


def test_flips_need_both_directions():
    p = Probabilities(
        *(np.array(v, np.float32) for v in ([0.5] * 4, [0.4, 0.6, 0.4, 0.5], [0.5, 0.9, 0.4, 0.9]))
    )
    assert [flips(p, i) for i in range(4)] == [True, False, False, False]


def test_nothing_wrong_is_usable_and_says_only_that():
    assert str(verdict()) == "usable"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"distance": 2.1}, "doubtful: not quite like the training images"),
        ({"mistake": 1.1}, "doubtful: not quite like the training images"),
        ({"distance": 4.1}, "refused: not like the training images"),
        ({"mistake": 3.1}, "refused: not like the training images"),
        ({"explained": False}, "doubtful: the explained classifier does not change its answer"),
        ({"judge": False}, "doubtful: the judge disagrees"),
        (
            {"taken": 0.01},
            "doubtful: G- changes hardly anything in the middle, as if there were no lesion",
        ),
        ({"shift": 0.8}, "doubtful: R does not follow a shift of one pixel"),
        ({"noise": 0.8}, "doubtful: R changes under noise that does not change the answer"),
        ({"border": 0.6}, "doubtful: most of R lies at the border of the image"),
        (
            {"judge": False, "distance": 9.0},
            "refused: not like the training images; the judge disagrees",
        ),
    ],
)
def test_each_reason_gives_its_words(case, words):
    assert str(verdict(**case)) == words


def test_noise_that_moves_p_says_nothing_of_r():
    assert verdict(noise=0.2, noise_moves_p=MOVED * 1.1).verdict == "usable"


def test_limits_are_of_the_validation_cases():
    values = torch.linspace(0, 1, 99)  # the k-th is (k - 1) / 98
    found = limits(
        {"distance": values, "mistake": values, "taken": values, "shift": values, "noise": 0.95 + values / 20}
    )
    assert set(found) == {*LIMITS, *OF_LESIONS}
    assert found["distance"] == pytest.approx(1)
    assert found["mistake"] == pytest.approx(96 / 98)
    assert found["taken"] == pytest.approx(0)
    assert found["far_distance"] == pytest.approx(1.5), "twice from the median .5 to the farthest 1"
    assert found["shift"] == pytest.approx(0), "validation cases agree less than what counts as stable"
    assert found["noise"] == STABLE


def test_a_limit_is_passed_as_often_as_it_says_however_few_cases_made_it():
    drawn = np.random.default_rng(0).normal(size=(4000, 50))
    passed = [(new > limit(torch.tensor(few), 0.96)) for *few, new in drawn]
    assert np.mean(passed) == pytest.approx(0.04, abs=0.01)


def test_r_that_follows_the_image_is_stable_and_a_fixed_picture_is_not(local):
    x = blobs(6, seed=3)
    figures = local.assessor.figures(local, x, local.generate(x))
    assert (figures["shift"] > 0.999).all()
    assert (figures["noise"] > 0.95).all()
    rough = model(*(Fixed(s * torch.rand(1, 1, 64, 64)) for s in (-1, 1)))
    assert (local.assessor.figures(rough, x, rough.generate(x))["shift"] < STABLE).all()


def test_r_that_follows_the_noise_is_not_stable(local):
    class Rounded(Local):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.gain * ((x / NOISE / 2).round() % 2)

    nervous = model(Rounded(-0.5), Rounded(0.5))
    x = blobs(4, seed=3)
    assert (local.assessor.figures(nervous, x, nervous.generate(x))["noise"] < STABLE).all()


def test_taken_is_what_g_minus_changes_in_the_middle(local):
    x = torch.full((1, 1, 64, 64), 0.5)
    neg = x.clone()
    neg[..., 24:28, 24:40] = 0.1  # a quarter of the middle's 16 x 16 pixels
    neg[..., :8, :8] = 0
    assert float(local.assessor.figures(local, x, Changed(neg, x))["taken"]) == pytest.approx(0.1)


def test_limits_leave_out_validation_cases_that_do_not_convince(local, monkeypatch):
    monkeypatch.setattr(trust, "learn", lambda images, around: local.assessor.mistakes)
    x = torch.cat([blobs(12, seed=1), torch.zeros(4, 1, 64, 64)])  # of dark windows nothing can be taken
    monkeypatch.setattr(trust, "_convinces", lambda model, changed: changed.pos.mean((1, 2, 3)) > 0)
    assert Assessor.fit(local, blobs(30), x).limits["taken"] > 0.01
    monkeypatch.setattr(trust, "_convinces", lambda model, changed: changed.pos.mean((1, 2, 3)) > 9)
    assert Assessor.fit(local, blobs(30), x).limits["taken"] == 0, "where none convinces, all count"


def test_convincing_is_to_change_both_answers(local, monkeypatch):
    p = {"classifier": [[0.4, 0.4], [0.5, 0.5]], "judge": [[0.4, 0.5], [0.9, 0.9]]}
    monkeypatch.setattr(local, "probability", lambda image, by: torch.tensor(p[by][image]), raising=False)
    assert trust._convinces(local, Changed(0, 1)).tolist() == [True, False]


def test_where_r_lies_is_told_as_shares(local):
    x = torch.full((1, 1, 64, 64), 0.5)
    r = torch.zeros(1, 1, 64, 64)
    r[..., 20:30, 30] = 1  # 10 in the middle quarter
    r[..., 10, 20:25] = -2  # 10 between
    r[..., 2, :20] = 3  # 60 at the border
    mask = (r > 0.5) & (r < 2)
    figures = local.assessor.figures(local, x, Changed(x - r / 2, x + r / 2), mask.float())
    shares = {name: round(float(figures[name]), 4) for name in ("middle", "border", "mask")}
    assert shares == {"middle": 0.125, "border": 0.75, "mask": 0.125}


def test_inputs_like_the_training_pass_and_wrong_ones_do_not(local):
    good, right = blobs(40, seed=4), np.ones(40, np.float32)
    yes = Probabilities(right, right * 0, right)
    said = lambda x: [t.verdict for t in local.assessor.assess(local, x, local.generate(x), yes, yes)]  # noqa: E731
    assert said(good).count("usable") >= 35
    assert said(1 - good).count("usable") == 0
    assert said(torch.rand(40, 1, 64, 64, generator=torch.Generator().manual_seed(0))).count("refused") == 40


def test_an_image_is_judged_alike_in_any_batch(local):
    x = blobs(5, seed=5)
    together = local.assessor.figures(local, x, local.generate(x))
    alone = local.assessor.figures(local, x[3:4], local.generate(x[3:4]))
    assert all(float(alone[name]) == pytest.approx(float(together[name][3]), abs=1e-3) for name in together)


def test_a_model_file_gives_the_same_verdicts(local, tmp_path):
    facts = {"trust": local.assessor.facts()}
    path = model_file.write(
        tmp_path / "a.cycleam", model_file.Content(facts, {}, local.assessor.tensors(), "")
    )
    content = model_file.read(path)
    assert path.stat().st_size < 400_000
    again = Assessor.of(content.facts["trust"], content.features)
    x = blobs(3, seed=6)
    before, after = (a.figures(local, x, local.generate(x)) for a in (local.assessor, again))
    assert again.limits == local.assessor.limits
    assert all(torch.allclose(before[name], after[name], rtol=1e-4, atol=1e-5) for name in before)


def test_fitting_twice_gives_the_same_and_leaves_the_random_state_alone():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        x = blobs(8)
        first = mistakes.learn(x)
    second = mistakes.learn(x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(mistakes.suspicion(first, blobs(4)), mistakes.suspicion(second, blobs(4)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts, tensors: facts["limits"].pop("far_mistake"),
        lambda facts, tensors: facts.pop("limits"),
        lambda facts, tensors: facts["limits"].update(shift=float("nan")),
        lambda facts, tensors: tensors.pop("distance.axes"),
        lambda facts, tensors: tensors.pop("mistakes.linear.weight"),
        lambda facts, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("mistakes.")],
        lambda facts, tensors: tensors.update({"mistakes.linear.weight": torch.zeros(2, 3)}),
        lambda facts, tensors: tensors.update({"distance.rest": torch.tensor(float("inf"))}),
    ],
)
def test_incomplete_figures_are_refused_in_one_line(local, spoil):
    facts, tensors = json.loads(json.dumps(local.assessor.facts())), dict(local.assessor.tensors())
    spoil(facts, tensors)
    with pytest.raises(UserError, match=r"^the model file's figures of trust .*; pack it again$"):
        Assessor.of(facts, tensors)


def test_a_network_of_the_users_own_is_judged_by_the_judges_features():
    own = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 2))
    made = Model(
        {"classifier": own, "judge": ConvNet(width=4), "g_neg": Local(-0.5), "g_pos": Local(0.5)}, Task()
    )
    assessor = Assessor.fit(made, blobs(24), blobs(12, seed=1))
    x = blobs(2, seed=2)
    expected = assessor.likeness.distance(made.networks["judge"], x)
    assert torch.equal(assessor.figures(made, x, made.generate(x))["distance"], expected)


def test_every_explanation_carries_its_verdict(local):
    net = {"channels": (4, 8), "padding_mode": "reflect"}
    made = model(UNetGenerator(**net), UNetGenerator(**net))
    made.assessor = local.assessor
    found = made.explain(blobs(3)).trust
    assert len(found) == 3
    assert all("the judge disagrees" in str(one) for one in found)


@pytest.mark.parametrize("kind", mistakes.KINDS[:7])
def test_mistakes_are_images_of_the_middles_size(kind):
    x = blobs(5)
    made = kind(x, MIDDLE, torch.Generator().manual_seed(0))
    assert made.shape == (5, 1, MIDDLE, MIDDLE)
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, x[..., 16:48, 16:48])


def test_twice_the_field_of_view_shrinks_the_window_to_the_middle():
    x = torch.zeros(1, 1, 64, 64)
    x[..., 16:48, 16:48] = 1  # a square of 32 pixels becomes one of 16
    (made,) = mistakes._cut(x, 32, torch.full((1, 1, 1, 1), 2.0))
    expected = torch.zeros(32, 32)
    expected[8:24, 8:24] = 1
    assert torch.equal(made[0], expected)


def test_the_middle_without_a_lesion_comes_from_a_corner():
    x = torch.zeros(40, 1, 64, 64)
    x[..., 28:36, 28:36] = 1
    made = mistakes._elsewhere(x, MIDDLE, torch.Generator().manual_seed(0))
    assert made[..., 8:24, 8:24].max() == 0, "the disc has left the middle"


@pytest.mark.parametrize("kind", mistakes.KINDS[:7])
def test_with_more_around_mistakes_are_whole_windows(kind):
    x = torch.rand(5, 1, 192, 192, generator=torch.Generator().manual_seed(0))
    made = kind(x, 64, torch.Generator().manual_seed(0))
    assert made.shape == (5, 1, 64, 64)
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, x[..., 64:128, 64:128])


def test_twice_the_field_of_view_is_what_lies_around():
    x = torch.zeros(1, 1, 192, 192)
    x[..., 64:128, 64:128] = 1  # the window becomes the middle
    (made,) = mistakes._cut(x, 64, torch.full((1, 1, 1, 1), 2.0))
    expected = torch.zeros(64, 64)
    expected[16:48, 16:48] = 1
    assert torch.equal(made[0], expected)


def test_a_place_beside_the_lesion_is_one():
    x = torch.zeros(60, 1, 192, 192)
    x[..., 92:100, 92:100] = 1  # 8 pixels in the middle
    made = mistakes._elsewhere(x, 64, torch.Generator().manual_seed(0))
    assert made[..., 28:36, 28:36].max() < 1, "the lesion is not in the middle"
    assert made.sum() > 0, "of some it is in the window yet"


def test_a_network_that_saw_whole_windows_is_kept_and_found_again(local):
    around = torch.rand(12, 1, 192, 192, generator=torch.Generator().manual_seed(0))
    assessor = Assessor.fit(local, blobs(12), blobs(8, seed=1), around)
    again = Assessor.of(json.loads(json.dumps(assessor.facts())), assessor.tensors())
    assert again.seen == 64
    x = blobs(4, seed=2)
    changed = local.generate(x)
    before, after = (one.figures(local, x, changed)["mistake"] for one in (assessor, again))
    assert torch.equal(before, after)
