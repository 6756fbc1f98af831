"""Training, against formulas and steps written out by hand."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from cases import CLASSES, IMAGE, samples
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LRScheduler

from memtrack.core.training.augmentation import Augmentation
from memtrack.core.training.devices import pick_device
from memtrack.core.training.optimizers import build_optimizer, build_schedule
from memtrack.core.training.precision import fastest_precision, training_precision
from memtrack.core.training.steps import Batch as Changed
from memtrack.core.training.steps import Step
from memtrack.core.training.trainer import Trainer, accuracy, train_epoch

Batch = tuple[Tensor, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestPickDevice:
    def test_cpu(self) -> None:
        assert pick_device("cpu") == torch.device("cpu")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_device_that_is_not_there(self) -> None:
        with pytest.raises(ValueError, match="no cuda device"):
            pick_device("cuda")

    @pytest.mark.parametrize(
        ("cuda", "mps", "expected"),
        [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
    )
    def test_auto_takes_what_there_is(
        self, monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        assert pick_device("auto").type == expected


class TestOptimizer:
    @pytest.mark.parametrize(
        ("kind", "type_", "options"),
        [
            ("sgd", SGD, {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
            ("adamw", AdamW, {"lr": 0.003, "weight_decay": 0.02}),
        ],
    )
    def test_kind_options_and_parameters(self, kind: str, type_: type, options: dict[str, Any]) -> None:
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        optimizer = build_optimizer(model, kind, **options)
        assert type(optimizer) is type_
        assert {name: optimizer.defaults[name] for name in options} == options
        held = {id(each) for group in optimizer.param_groups for each in group["params"]}
        assert held == {id(each) for each in model.parameters()}


def learning_rates(kind: str, *, epochs: int, steps: int, lr: float, **options: Any) -> list[float]:
    """The rate at which each batch of a training is taken."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule = build_schedule(optimizer, kind, epochs=epochs, steps=steps, **options)
    rates = []
    for _ in range(epochs * steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates


class TestSchedule:
    def test_constant(self) -> None:
        assert learning_rates("constant", epochs=3, steps=4, lr=0.2) == [0.2] * 12

    def test_step(self) -> None:
        found = learning_rates("step", epochs=5, steps=3, lr=0.8, milestones=(2, 4), factor=0.5)
        assert found == pytest.approx([0.8] * 6 + [0.4] * 6 + [0.2] * 3)

    def test_cosine(self) -> None:
        found = learning_rates("cosine", epochs=4, steps=5, lr=0.3)
        expected = [0.15 * (1 + math.cos(math.pi * step / 20)) for step in range(20)]
        assert found == pytest.approx(expected)

    def test_one_cycle(self) -> None:
        """Half a cosine from lr/25 up to lr and one down to lr/250000, peak at step 5 of 19."""
        found = learning_rates("one_cycle", epochs=1, steps=19, lr=0.5, warmup=0.3)
        start, end = 0.5 / 25, 0.5 / 25 / 1e4
        rise = [start + (0.5 - start) * (1 - math.cos(math.pi * t / 5)) / 2 for t in range(5)]
        fall = [end + (0.5 - end) * (1 + math.cos(math.pi * t / 14)) / 2 for t in range(14)]
        assert found == pytest.approx(rise + fall)
        assert max(found) == found[5] == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("epochs", "steps", "warmup"),
        [(1, 1, 0.3), (1, 2, 0.3), (2, 3, 0.5), (3, 7, 0.1), (10, 4, 0.9), (30, 23, 0.3)],
    )
    def test_one_cycle_lasts_the_training(self, epochs: int, steps: int, warmup: float) -> None:
        """It rises for the share `warmup`, then falls, and ends within the cycle."""
        found = learning_rates("one_cycle", epochs=epochs, steps=steps, lr=0.5, warmup=warmup)
        peak = found.index(max(found))
        assert found[: peak + 1] == sorted(found[: peak + 1])
        assert found[peak:] == sorted(found[peak:], reverse=True)
        assert abs(peak - warmup * epochs * steps) <= 1.5
        assert 0 < min(found) <= max(found) <= 0.5

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("constant", {}),
            ("step", {"milestones": [1], "factor": 0.1}),
            ("cosine", {}),
            ("one_cycle", {"warmup": 0.3}),
        ],
    )
    def test_every_group_has_its_own_rate(self, kind: str, options: dict[str, Any]) -> None:
        groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.4)]
        optimizer = SGD(groups, momentum=0.9)
        schedule = build_schedule(optimizer, kind, epochs=2, steps=3, **options)
        for _ in range(6):
            low, high = (group["lr"] for group in optimizer.param_groups)
            assert high == pytest.approx(4 * low)
            optimizer.step()
            schedule.step()


class TestAugmentation:
    IMAGES = torch.rand(200, 3, 5, 7, generator=seeded(0)) + 0.1

    def shifts(self, found: Tensor, image: Tensor, crop: int) -> list[tuple[int, int]]:
        """Where in the zero-padded image the found one can lie."""
        height, width = image.shape[1:]
        around = ((0, 0), (crop, crop), (crop, crop))
        padded = np.pad(image.numpy(), around)
        return [
            (top, left)
            for top in range(2 * crop + 1)
            for left in range(2 * crop + 1)
            if (padded[:, top : top + height, left : left + width] == found.numpy()).all()
        ]

    @pytest.mark.parametrize("crop", [1, 2])
    @pytest.mark.parametrize("flip", [False, True])
    def test_crops_are_windows_of_the_padded_image(self, crop: int, flip: bool) -> None:
        found = Augmentation(crop, flip)(self.IMAGES, seeded(1))
        assert found.shape == self.IMAGES.shape
        assert found.dtype == self.IMAGES.dtype
        assert found.is_contiguous()
        seen = []
        for one, image in zip(found, self.IMAGES, strict=True):
            places = self.shifts(one, image, crop)
            if flip and not places:
                places = self.shifts(one.flip(2), image, crop)
            assert len(places) == 1
            seen += places
        assert len(set(seen)) == (2 * crop + 1) ** 2
        top, left = np.mean(seen, axis=0)
        assert top == pytest.approx(crop, abs=0.4)
        assert left == pytest.approx(crop, abs=0.4)

    @pytest.mark.parametrize("crop", [0, 2])
    @pytest.mark.parametrize("flip", [False, True])
    def test_channels_last_stays_and_changes_no_pixel(self, crop: int, flip: bool) -> None:
        augment, last = Augmentation(crop, flip), self.IMAGES.to(memory_format=torch.channels_last)
        found = augment(last, seeded(1))
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(found, augment(self.IMAGES, seeded(1)))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    def test_a_gpu_is_not_waited_for_and_changes_no_pixel(self) -> None:
        augment, images = Augmentation(2, flip=True), self.IMAGES.cuda()
        augment(images, seeded(0))
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = augment(images, seeded(1))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(found.cpu(), augment(self.IMAGES, seeded(1)))

    def test_flip_mirrors_about_half_of_the_images(self) -> None:
        found = Augmentation(flip=True)(self.IMAGES, seeded(2)).numpy()
        images = self.IMAGES.numpy()
        same = (found == images).all((1, 2, 3))
        mirrored = (found == images[:, :, :, ::-1]).all((1, 2, 3))
        assert (same ^ mirrored).all()
        assert 70 <= mirrored.sum() <= 130

    def test_off(self) -> None:
        assert torch.equal(Augmentation()(self.IMAGES, seeded(0)), self.IMAGES)

    @pytest.mark.parametrize("augment", [Augmentation(crop=2), Augmentation(flip=True)])
    def test_fixed_by_the_generator(self, augment: Augmentation) -> None:
        before = self.IMAGES.clone()
        state = torch.get_rng_state()
        one, again, other = (augment(self.IMAGES, seeded(seed)) for seed in (3, 3, 4))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)
        assert torch.equal(self.IMAGES, before)
        assert torch.equal(torch.get_rng_state(), state)


def constant_schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
    return build_schedule(optimizer, "constant", epochs=1, steps=1)


def linear() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(4, 2)


def easy_batches() -> list[Batch]:
    """Two clouds of points, in batches of 8, 8 and 5."""
    labels = torch.arange(21) % 2
    inputs = torch.randn(21, 4, generator=seeded(5)) + 2 * labels[:, None]
    return list(zip(inputs.split(8), labels.split(8), strict=True))


class TestTrainEpoch:
    def test_one_step_by_hand(self) -> None:
        """Softmax regression: the gradient is (softmax - one-hot)^T x / B."""
        inputs, labels = easy_batches()[0]
        model = linear().double()
        weight, bias = (each.detach().numpy().copy() for each in (model.weight, model.bias))
        optimizer = SGD(model.parameters(), lr=0.3)
        batch = (inputs.double(), labels)
        train_epoch(Step(model, optimizer), [batch], constant_schedule(optimizer))

        points = inputs.double().numpy()
        powers = np.exp(points @ weight.T + bias)
        residual = powers / powers.sum(1, keepdims=True) - np.eye(2)[labels.numpy()]
        step = 0.3 * residual.T @ points / 8
        np.testing.assert_allclose(model.weight.detach().numpy(), weight - step, rtol=1e-10)
        shift = 0.3 * residual.mean(0)
        np.testing.assert_allclose(model.bias.detach().numpy(), bias - shift, rtol=1e-10)

    def test_loss_and_accuracy_weigh_every_sample_alike(self) -> None:
        model = linear()
        optimizer = SGD(model.parameters(), lr=1e-12)
        batches = easy_batches()
        found = train_epoch(Step(model, optimizer), batches, constant_schedule(optimizer))
        inputs, labels = (torch.cat(parts).numpy() for parts in zip(*batches, strict=True))
        logits = inputs @ model.weight.detach().numpy().T + model.bias.detach().numpy()
        losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(21), labels]
        assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
        assert found.accuracy == pytest.approx((logits.argmax(1) == labels).sum() / 21)
        assert 0 < found.accuracy < 1

    def test_learns_an_easy_problem(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        optimizer = SGD(model.parameters(), lr=0.1)
        schedule = constant_schedule(optimizer)
        results = [train_epoch(Step(model, optimizer), easy_batches(), schedule) for _ in range(30)]
        assert results[-1].loss < 0.5 * results[0].loss
        assert results[-1].accuracy == 1

    def test_schedule_moves_after_every_batch(self) -> None:
        model = linear()
        optimizer = SGD(model.parameters(), lr=0.4)
        schedule = build_schedule(optimizer, "cosine", epochs=2, steps=3)
        train_epoch(Step(model, optimizer), easy_batches(), schedule)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)

    def test_augmented_inputs_are_trained_on(self) -> None:
        """Nothing can be told from zeros: the loss is that of the bias alone."""
        model = linear()
        model.bias.data = torch.tensor([0.0, math.log(3)])
        optimizer = SGD(model.parameters(), lr=1e-12)
        schedule = constant_schedule(optimizer)

        def zeros(batch: Changed) -> Changed:
            return replace(batch, inputs=torch.zeros_like(batch.inputs))

        found = train_epoch(Step(model, optimizer), easy_batches(), schedule, zeros)
        assert found.loss == pytest.approx((11 * math.log(4) + 10 * math.log(4 / 3)) / 21)
        assert found.accuracy == pytest.approx(10 / 21)

    def test_old_gradients_are_dropped_and_training_mode_is_set(self) -> None:
        model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
        optimizer = SGD(model.parameters(), lr=1e-12)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e15)
        before = model[1].weight.detach().clone()
        train_epoch(Step(model, optimizer), easy_batches(), constant_schedule(optimizer))
        torch.testing.assert_close(model[1].weight.detach(), before)
        assert all(module.training for module in model.modules())
        assert model[0].num_batches_tracked == 3

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_loss_that_is_not_finite(self, value: float) -> None:
        model = linear()
        optimizer = SGD(model.parameters(), lr=0.1)
        batches = [*easy_batches(), (torch.full((2, 4), value), torch.tensor([0, 1]))]
        with pytest.raises(FloatingPointError, match="diverged"):
            train_epoch(Step(model, optimizer), batches, constant_schedule(optimizer))


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"kind": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "plain sgd": {"kind": "sgd", "lr": 0.05},
    "adamw": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.01},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"kind": "constant"},
    "step": {"kind": "step", "milestones": [1, 3], "factor": 0.3},
    "cosine": {"kind": "cosine"},
    "one_cycle": {"kind": "one_cycle", "warmup": 0.4},
}
EPOCHS = 4


def trainer(optimizer: str, schedule: str, *, weights: int = 0, seed: int = 3) -> Trainer:
    """Of a network with batch norm and dropout, on augmented images."""
    with torch.random.fork_rng():
        torch.manual_seed(weights)
        network = nn.Sequential(
            nn.Conv2d(IMAGE[0], 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(4 * IMAGE[1] * IMAGE[2], CLASSES),
        )
    return Trainer(
        network,
        optimizer=OPTIMIZERS[optimizer],
        schedule=SCHEDULES[schedule],
        augment=Augmentation(crop=1, flip=True),
        epochs=EPOCHS,
        steps=3,
        seed=seed,
    )


def image_batches(epoch: int) -> list[Batch]:
    """Three batches, of 8, 8 and 5 samples, in an order of the epoch."""
    inputs, labels = samples(21, IMAGE)
    order = torch.randperm(21, generator=seeded(epoch))
    return list(zip(inputs.float()[order].split(8), labels[order].split(8), strict=True))


def plain(state: Any) -> Any:
    """A state with lists for tensors, which == compares by every bit."""
    if isinstance(state, Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items()}
    return [plain(value) for value in state] if isinstance(state, list | tuple) else state


def through_a_file(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@cache
def uninterrupted(optimizer: str, schedule: str) -> list[tuple[Any, Any, float]]:
    """State, result and next learning rate after each epoch of a training."""
    training, found = trainer(optimizer, schedule), []
    for epoch in range(1, EPOCHS + 1):
        result = training.run_epoch(epoch, image_batches(epoch))
        found.append((plain(training.state()), result, training.learning_rate))
    return found


class TestTrainer:
    @pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
    @pytest.mark.parametrize("schedule", list(SCHEDULES))
    @pytest.mark.parametrize("after", [1, 3])
    def test_goes_on_from_a_file_as_if_it_had_not_stopped(
        self, optimizer: str, schedule: str, after: int
    ) -> None:
        """Bit for bit, whatever random numbers were drawn and weights were there before."""
        stopped = trainer(optimizer, schedule)
        for epoch in range(1, after + 1):
            stopped.run_epoch(epoch, image_batches(epoch))
        state = through_a_file(stopped.state())
        going_on = trainer(optimizer, schedule, weights=1)
        torch.rand(17)
        going_on.load_state(state)
        for epoch in range(after + 1, EPOCHS + 1):
            result = going_on.run_epoch(epoch, image_batches(epoch))
            found = plain(going_on.state()), result, going_on.learning_rate
            assert found == uninterrupted(optimizer, schedule)[epoch - 1]

    @pytest.mark.parametrize("schedule", list(SCHEDULES))
    def test_learning_rate_is_that_of_the_schedule(self, schedule: str) -> None:
        options = {name: value for name, value in SCHEDULES[schedule].items() if name != "kind"}
        rates = learning_rates(schedule, epochs=EPOCHS, steps=3, lr=0.05, **options)
        training = trainer("plain sgd", schedule)
        found = [training.learning_rate] + [each[2] for each in uninterrupted("plain sgd", schedule)]
        assert found[:-1] == pytest.approx(rates[::3])

    def test_random_numbers_are_drawn_from_seed_and_epoch_alone(self) -> None:
        def result(seed: int, epoch: int) -> float:
            torch.rand(seed + epoch)
            return trainer("sgd", "constant", seed=seed).run_epoch(epoch, image_batches(0)).loss

        assert result(3, 2) == result(3, 2)
        assert len({result(3, 2), result(3, 1), result(4, 2)}) == 3

    def test_runs_what_train_epoch_runs(self) -> None:
        """With the augmentation; of the weights nothing else changes."""
        training, other = trainer("sgd", "cosine"), trainer("sgd", "cosine")
        seed = int(np.random.SeedSequence([3, 1]).generate_state(1)[0])
        draws = seeded(seed)
        augmented = [(Augmentation(1, True)(images, draws), labels) for images, labels in image_batches(1)]
        found = training.run_epoch(1, image_batches(1))
        torch.manual_seed(seed)
        expected = train_epoch(Step(other.model, other.optimizer), augmented, other.schedule)
        assert found == expected
        assert plain(training.state()) == plain(other.state())


class NegatedInTraining(nn.Module):
    """Its inputs are its logits, with the wrong sign in training mode."""

    def forward(self, inputs: Tensor) -> Tensor:
        return -inputs if self.training else inputs


def test_accuracy_counts_every_sample_once_in_eval_mode() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 2.0], [9.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 0, 0])
    batches = list(zip(logits.split(2), labels.split(2), strict=True))
    assert accuracy(NegatedInTraining().train(), batches) == pytest.approx(3 / 5)


class TestPrecision:
    def test_the_fastest_of_a_cpu_keeps_all_bits(self) -> None:
        assert fastest_precision(torch.device("cpu")) == "float32"

    @pytest.mark.parametrize(("capability", "expected"), [((7, 5), "float32"), ((8, 0), "bfloat16")])
    def test_the_fastest_of_a_gpu(
        self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        assert fastest_precision(torch.device("cuda")) == expected

    @pytest.mark.parametrize(
        ("precision", "bits", "kind"),
        [
            ("float32", "ieee", torch.float32),
            ("tf32", "tf32", torch.float32),
            ("bfloat16", "ieee", torch.bfloat16),
        ],
    )
    def test_it_is_set_within_and_restored(self, precision: Any, bits: str, kind: torch.dtype) -> None:
        backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
        before = [backend.fp32_precision for backend in backends]
        with training_precision(precision, torch.device("cpu")):
            assert [backend.fp32_precision for backend in backends] == [bits, bits]
            assert nn.Linear(3, 2)(torch.zeros(1, 3)).dtype == kind
        assert [backend.fp32_precision for backend in backends] == before
        assert nn.Linear(3, 2)(torch.zeros(1, 3)).dtype == torch.float32

    def test_bfloat16_trains_nearly_like_float32(self) -> None:
        """Over many steps: each sees the weights that the one before has left."""
        inputs, labels = samples(320, IMAGE)
        batches = list(zip(inputs.float().split(32), labels.split(32), strict=True))
        weights = []
        for precision in ("float32", "bfloat16"):
            torch.manual_seed(0)
            model = nn.Sequential(
                nn.Flatten(), nn.Linear(math.prod(IMAGE), 16), nn.ReLU(), nn.Linear(16, CLASSES)
            )
            trainer = Trainer(
                model, optimizer={"kind": "sgd", "lr": 0.1}, schedule={"kind": "constant"},
                augment=Augmentation(), epochs=1, steps=10, seed=0, precision=precision,
            )  # fmt: skip
            before = model[1].weight.detach().clone()
            trainer.run_epoch(1, batches)
            assert model[1].weight.dtype == torch.float32
            weights.append(model[1].weight.detach() - before)
        error = float((weights[1] - weights[0]).norm() / weights[0].norm())
        assert 1e-6 < error < 0.02
