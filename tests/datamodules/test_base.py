"""CasesDataModule: parts, batches of the contract, samples that depend on (seed, epoch, index) only."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from cycle_am.contract import IMAGE_SIZE, check_batch
from cycle_am.data.augmentation import build_augmentation
from cycle_am.data.cases import Cases
from cycle_am.errors import UserError
from datamodules.base import CasesDataModule, EpochSampler, TrainingSamples
from tests.fakes import BlobDataModule

RIM = 5


def make_cases(patients=40, seed=0, masks=True, unknown=False):
    """Two cases a patient; pixel values encode row and column, so that a shift can be read off the image."""
    count = 2 * patients
    rng = np.random.default_rng(seed)
    size = IMAGE_SIZE + 2 * RIM
    ramp = (np.arange(size)[:, None] * size + np.arange(size)[None, :]) / size**2
    label = np.arange(count) % 3 - 1 if unknown else np.arange(count) % 2
    return Cases(
        image=np.clip(ramp + rng.uniform(0, 1e-5, (count, 1, 1)), 0, 1).astype(np.float32),
        mask=np.broadcast_to(ramp > 0.5, (count, size, size)).astype(np.float32) if masks else None,
        label=label.astype(np.int64),
        case_id=np.array([f"case{number:03d}" for number in range(count)]),
        patient_id=np.array([f"P{number // 2:03d}" for number in range(count)]),
        margin=rng.integers(0, RIM + 1, count),
        diameter_mm=np.full(count, np.nan, np.float32),
        pixel_mm=45 / 64,
    )


class Memory(CasesDataModule):
    """A data module over cases that are already in memory."""

    def __init__(self, cases=None, **options):
        super().__init__(**options)
        self.source = make_cases() if cases is None else cases

    def build_cases(self):
        return self.source


def ready(cases=None, **options):
    data = Memory(cases, **options)
    data.prepare_data()
    data.setup()
    return data


def epoch_of(data, epoch):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]


def test_parts_cover_all_cases_without_a_shared_patient():
    data = ready()
    parts = [data.train_cases, data.val_cases, data.test_cases]
    assert sum(map(len, parts)) == len(data.cases) == 80
    assert sorted(np.concatenate([part.case_id for part in parts])) == sorted(data.cases.case_id)
    patients = [set(part.patient_id) for part in parts]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 40
    assert len(data.test_cases) == pytest.approx(24, abs=2)


def test_folds_give_every_case_one_turn_in_the_test_part():
    tested = np.concatenate([ready(folds=5, fold=fold).test_cases.case_id for fold in range(5)])
    assert sorted(tested) == sorted(make_cases().case_id)


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("pairs", [True, False])
def test_batches_keep_the_contract(masks, pairs):
    data = ready(
        make_cases(masks=masks), pairs=pairs, augmentation=build_augmentation(noise=0.1), batch_size=7
    )
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            check_batch(batch)
            assert ("mask" in batch) is masks
    assert all("other" in batch for batch in data.train_dataloader()) is pairs
    assert all("other" not in batch for batch in data.val_dataloader())


def test_evaluation_sees_the_centred_window_in_order():
    data = ready()
    for loader, cases in ((data.val_dataloader(), data.val_cases), (data.test_dataloader(), data.test_cases)):
        batches = list(loader)
        assert torch.equal(torch.cat([batch["image"] for batch in batches]), cases.window()[0])
        assert torch.equal(torch.cat([batch["mask"] for batch in batches]), cases.window()[1])
        assert [name for batch in batches for name in batch["case_id"]] == cases.case_id.tolist()


def test_shift_crops_within_each_cases_margin_and_moves_the_mask_alike():
    cases = make_cases()
    samples = TrainingSamples(cases, shift=3, augmentation=None, pairs=False, seed=0)
    size, seen = IMAGE_SIZE + 2 * RIM, set()
    for index in range(len(cases)):
        for epoch in range(8):
            sample = samples[epoch, index]
            row, column = divmod(round(sample["image"][0, 0, 0].item() * size**2), size)
            shift = (RIM - row, RIM - column)
            assert max(map(abs, shift)) <= min(3, cases.margin[index])
            seen.add(shift)
            window, mask = cases.select([index]).window(shift)
            assert torch.equal(sample["image"], window[0])
            assert torch.equal(sample["mask"], mask[0])
    assert len(seen) == 49  # every shift of up to 3 pixels each way


def test_order_and_samples_change_with_epoch_and_seed():
    data, other = ready(batch_size=8), ready(batch_size=8, seed=1)
    first, second = epoch_of(data, 0), epoch_of(data, 1)
    assert first[0]["case_id"] != second[0]["case_id"] != epoch_of(other, 0)[0]["case_id"]
    assert data.fingerprint == other.fingerprint  # another seed trains differently on the same split
    assert data.fingerprint != ready(split_seed=1).fingerprint
    same(first, epoch_of(ready(batch_size=8), 0))


def test_global_random_state_neither_matters_nor_changes():
    data = ready(augmentation=build_augmentation(), pairs=True)
    torch.manual_seed(0)
    first = epoch_of(data, 3)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    same(first, epoch_of(data, 3))
    assert torch.equal(state, torch.random.get_rng_state())


def test_workers_see_the_same_samples_over_epochs():
    options = {"augmentation": build_augmentation(noise=0.05), "pairs": True, "batch_size": 8}
    alone, helped = ready(**options), ready(**options, num_workers=2)
    loader = helped.train_dataloader()
    for epoch in (0, 1):  # the same loader: its workers persist and must still follow the epoch
        loader.sampler.set_epoch(epoch)
        same(epoch_of(alone, epoch), list(loader))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("count", [16, 17, 31])
def test_two_ranks_see_what_one_process_sees(count, drop_last):
    cases = make_cases().select(np.arange(count))
    samples = TrainingSamples(cases, 4, build_augmentation(), pairs=True, seed=3)
    ranks = [EpochSampler(samples, 3, drop_last, rank, 2) for rank in range(2)]
    whole = EpochSampler(samples, 3, drop_last)
    for sampler in (*ranks, whole):
        sampler.set_epoch(2)
    keys = [list(sampler) for sampler in ranks]
    assert len(keys[0]) == len(keys[1]) == len(ranks[0])
    merged = [key for pair in zip(*keys, strict=True) for key in pair]
    everything = list(whole)
    assert sorted(index for _, index in everything) == list(range(count))
    assert merged[:count] == everything[: len(merged)]
    assert merged[count:] == everything[: len(merged) - count] if not drop_last else len(merged) <= count
    assert {epoch for epoch, _ in merged} == {2}


def test_global_batches_of_two_ranks_equal_those_of_one_process(monkeypatch):
    whole = epoch_of(ready(batch_size=8), 1)
    shares = []
    for rank in range(2):
        monkeypatch.setattr("datamodules.base._process", lambda rank=rank: (rank, 2))
        shares.append(epoch_of(ready(batch_size=4), 1))
    assert len(shares[0]) == len(shares[1]) == len(whole)
    for one, a, b in zip(whole, *shares, strict=True):
        assert torch.equal(one["image"], torch.stack([a["image"], b["image"]], 1).flatten(0, 1))


def test_partner_is_another_training_case_each_equally_likely():
    samples = TrainingSamples(make_cases(patients=3), 0, None, pairs=True, seed=0)
    plain = TrainingSamples(make_cases(patients=3), 0, None, pairs=False, seed=0)
    images = [plain[0, index]["image"] for index in range(6)]
    counts = np.zeros(6)
    for epoch in range(300):
        other = samples[epoch, 2]["other"]
        counts += [torch.equal(other, image) for image in images]
    assert counts[2] == 0
    assert counts.sum() == 300
    assert np.delete(counts, 2).min() > 35


def test_last_batch_is_dropped_or_kept():
    assert all(len(batch["label"]) == 16 for batch in ready().train_dataloader())
    kept = ready(drop_last=False)
    assert sum(len(batch["label"]) for batch in kept.train_dataloader()) == len(kept.train_cases)
    small = ready(batch_size=1000)
    assert sum(len(batch["label"]) for batch in small.train_dataloader()) == len(small.train_cases)


def test_class_weights_have_mean_one_and_balance():
    data = ready(make_cases(unknown=True))
    labels = data.train_cases.label
    weights = data.class_weights.double().numpy()
    known = labels[labels >= 0]
    assert weights[known].mean() == pytest.approx(1)
    assert weights[0] * np.sum(known == 0) == pytest.approx(weights[1] * np.sum(known == 1))
    assert data.class_weights.dtype == torch.float32


def test_description_counts_every_part():
    data = ready(make_cases(unknown=True))
    rows = {
        line.split()[0]: [int(number) for number in line.split()[1:]]
        for line in data.describe().splitlines()[1:]
    }
    assert set(rows) == {"train", "val", "test", "all"}
    assert rows["all"] == [80, 40, 27, 26, 27]
    assert np.sum([rows[part] for part in ("train", "val", "test")], axis=0).tolist() == rows["all"]


def test_limit_takes_a_seeded_stratified_subset():
    full, data, again, other = ready(), ready(limit=20), ready(limit=20), ready(limit=20, split_seed=9)
    assert len(data.cases) == 20 == sum(map(len, (data.train_cases, data.val_cases, data.test_cases)))
    assert set(data.train_cases.case_id) <= set(full.train_cases.case_id)
    assert all({0, 1} <= set(part.label) for part in (data.train_cases, data.val_cases, data.test_cases))
    assert data.fingerprint == again.fingerprint
    assert data.fingerprint != other.fingerprint
    assert len(ready(limit=10**6).cases) == 80


def test_cases_are_built_once():
    class Counting(Memory):
        builds = 0

        def build_cases(self):
            self.builds += 1
            return super().build_cases()

    data = Counting()
    for _ in range(2):
        data.prepare_data()
        data.setup("fit")
        data.setup("test")
    assert data.builds == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"fov_mm": 0}, "fov_mm=0"),
        ({"fov_mm": float("nan")}, "fov_mm=nan"),
        ({"margin": -1}, "margin=-1"),
        ({"shift": -1}, "shift=-1"),
        ({"limit": 0}, "limit=0"),
        ({"folds": 41}, "40 patients cannot fill 41 folds"),
        ({"limit": 2}, r"the (training|validation) part has no"),
    ],
)
def test_errors_are_one_line_that_names_the_setting(options, message):
    with pytest.raises(UserError, match=message) as caught:
        ready(**options)
    assert "\n" not in str(caught.value)


def test_pairs_need_two_cases():
    with pytest.raises(UserError, match=r"data\.pairs=false"):
        TrainingSamples(make_cases(patients=1).select([0]), 0, None, pairs=True, seed=0)


class Recorder(pl.LightningModule):
    """Trains nothing of note and writes down which samples it saw."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(1, 1), []

    def training_step(self, batch, _):
        self.seen.append((self.current_epoch, tuple(batch["case_id"]), batch["image"].sum().item()))
        return self.layer(batch["label"].float()[:, None]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def fit(epochs, folder, ckpt_path=None):
    module = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        use_distributed_sampler=False,
    )
    trainer.fit(module, Memory(augmentation=build_augmentation()), ckpt_path=ckpt_path)
    trainer.save_checkpoint(folder / "last.ckpt")
    return module.seen


def test_trainer_moves_the_epoch_on_and_a_resumed_run_sees_the_same_samples(tmp_path):
    whole = fit(3, tmp_path / "whole")
    assert len({ids for _, ids, _ in whole}) == len(whole)
    first = fit(1, tmp_path / "part")
    rest = fit(3, tmp_path / "part", ckpt_path=tmp_path / "part" / "last.ckpt")
    assert first + rest == whole


def test_shuffled_labels_are_the_same_labels_and_the_test_part_keeps_its_own(tmp_path):
    plain, shuffled = (
        BlobDataModule(count=80, cache_dir=tmp_path, shuffle_labels=on) for on in (False, True)
    )
    for module in (plain, shuffled):
        module.setup()
    before, after = plain.train_cases.label, shuffled.train_cases.label
    assert before.sum() == after.sum()
    assert 0.25 < np.mean(before == after) < 0.75
    assert np.array_equal(plain.test_cases.label, shuffled.test_cases.label)
    assert np.array_equal(plain.train_cases.image, shuffled.train_cases.image)


def said(recwarn, words):
    return [str(one.message) for one in recwarn if words in str(one.message)]


def test_copies_in_two_parts_are_counted(recwarn):
    data = ready()
    assert not said(recwarn, "pixel for pixel")
    train, test = data.train_cases.case_id[:3], data.test_cases.case_id[:3]
    cases = make_cases()
    place = {name: number for number, name in enumerate(cases.case_id)}
    inner = slice(RIM, -RIM)
    for one, other in zip(train, test, strict=True):  # alike in the window, not in the rim
        cases.image[place[other], inner, inner] = cases.image[place[one], inner, inner]
    data = ready(cases)
    (message,) = said(recwarn, "pixel for pixel")
    assert "images of the test part that the train part holds too, pixel for pixel: 3 (as case" in message
    assert "\n" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.setup()  # as a trainer does: it is not said again


def test_windows_without_contrast_are_counted(recwarn):
    cases = make_cases()
    ready(cases)
    assert not said(recwarn, "contrast")
    cases.image[[3, 50]] = 0.7135 + 0.0001 * cases.image[[3, 50]]
    ready(cases)
    (message,) = said(recwarn, "contrast")
    assert message.startswith("images with next to no contrast: 2 of 80 (as case003, which spans 0 HU)")


def test_a_set_without_lung_is_pointed_out(recwarn):
    cases = make_cases()
    cases.image[:] = 0.5 + 0.3 * cases.image
    ready(cases)
    (message,) = said(recwarn, "lung")
    assert "darkest pixel has -2" in message
    cases.image[5, RIM + 3, RIM + 3] = 0.1
    ready(cases)
    assert len(said(recwarn, "lung")) == 1


@pytest.mark.parametrize("column", ["case_id", "patient_id"])
def test_every_source_is_refused_where_two_ids_differ_in_spelling_only(column):
    cases = make_cases()
    names = getattr(cases, column).copy()
    names[7] = names[0].upper() if column == "case_id" else "p00"
    with pytest.raises(UserError, match=f"{column} '.+' and '.+' differ in spelling only"):
        ready(replace(cases, **{column: names}))
