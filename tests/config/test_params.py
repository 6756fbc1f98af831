"""Parameter files: the right ones load, and of the wrong ones every mistake is reported.

Each file in files/valid and files/invalid is a test. An invalid one begins with lines
`# expect: TEXT`, one for each problem, in the order in which they must be printed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.sections.data import Table
from memtrack.config.sections.variants import Symmetric, base_variant

REPOSITORY = Path(__file__).parents[2]
VALID = sorted((REPOSITORY / "tests/config/files/valid").glob("*.yaml"))
INVALID = sorted((REPOSITORY / "tests/config/files/invalid").glob("*.yaml"))
MINIMAL = (REPOSITORY / "tests/config/files/valid/minimal.yaml").read_text(encoding="utf-8")
EXPECT = "# expect: "


def name(path: Path) -> str:
    return path.stem


def expected(path: Path) -> list[str]:
    """The lines `# expect:` at the head of a file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(EXPECT) for line in lines if line.startswith(EXPECT)]


def written(text: str) -> Path:
    path = Path("params.yaml")
    path.write_text(text, encoding="utf-8")
    return path


def changed(*changes: tuple[str, str]) -> Path:
    """The minimal parameter file with some text replaced."""
    text = MINIMAL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return written(text)


def problems(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        params.load(path, tune=True)
    return str(caught.value).splitlines()


def test_there_are_examples() -> None:
    assert len(VALID) >= 5
    assert len(INVALID) >= 20


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_file_loads(path: Path) -> None:
    assert isinstance(params.load(path), params.Params)


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_every_mistake_of_an_invalid_file_is_said(path: Path) -> None:
    want, said = expected(path), problems(path)
    assert want, "an invalid file says what it expects"
    assert len(said) == len(want), "\n".join(said)
    for line, piece in zip(said, want, strict=True):
        assert line.startswith(f"{path}:")
        assert piece in line


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_problems_are_sorted_by_line(path: Path) -> None:
    lines = [re.match(r":(\d+): ", line.removeprefix(str(path))) for line in problems(path)]
    numbers = [int(found[1]) for found in lines if found is not None]
    assert len(numbers) == len(lines)
    assert numbers == sorted(numbers)


def test_the_parameter_file_of_the_project_loads() -> None:
    loaded = params.load(REPOSITORY / "params.yaml")
    assert set(loaded.variants) == {"clean", "symmetric10", "symmetric10_seed1"}
    assert loaded.recorded_epochs() == tuple(range(2, loaded.train.epochs + 1, 2))


def test_stages_do_not_mind_a_search_that_no_longer_fits() -> None:
    params.load(REPOSITORY / "tests/config/files/invalid/several_mistakes_in_a_search.yaml")


def test_without_a_path_it_is_params_yaml_here() -> None:
    changed(("epochs: 10", "epochs: 17"))
    assert params.load().train.epochs == 17


def test_what_a_file_says_is_what_is_loaded() -> None:
    loaded = params.load(REPOSITORY / "tests/config/files/valid/every_key.yaml")
    assert loaded.model_dump(mode="json") == {
        "data": {
            "kind": "digits",
            "root": "data/raw",
            "train_limit": 500,
            "test_share": 0.25,
            "seed": 3,
        },
        "variants": {"noisy": {"kind": "symmetric", "labels": "data/prepared", "rate": 0.25, "seed": 7}},
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "seed": 2**63 - 1,
            "device": "cpu",
            "workers": 2,
            "precision": "bfloat16",
            "compile": True,
            "deterministic": False,
            "model": {"kind": "cnn", "width": 16, "depth": 3, "dropout": 0.1},
            "optimizer": {
                "kind": "sgd",
                "lr": 0.1,
                "momentum": 0.5,
                "nesterov": False,
                "weight_decay": 0.0,
            },
            "schedule": {"kind": "step", "milestones": [10, 20], "factor": 0.5},
            "augment": {
                "crop": 2,
                "flip": True,
                "transforms": [{"name": "RandomResizedCrop", "scale": [0.5, 1]}, {"name": "RandAugment"}],
            },
            "loss": {"kind": "early_learning", "weight": 2.0, "momentum": 0.9},
            "mixup": None,
            "average": 0.99,
            "sam": 0.05,
            "co_training": None,
        },
        "record": {
            "epochs": {"kind": "list", "epochs": [20, 1, 10]},
            "batch_size": 256,
            "checkpoints": "recorded",
            "precision": "bfloat16",
            "compile": True,
            "susceptibility": True,
        },
        "curvature": {
            "method": "central",
            "perturbation_scale": 0.03,
            "probes": 10,
            "norm": "squared",
            "seed": 4,
        },
        "evaluate": {
            "scores": ["aum", "curvature_epochs_5_20", "vog"],
            "bootstrap": 200,
            "confidence": 0.9,
            "seed": 5,
        },
        "tune": {
            "variant": "noisy",
            "held_out": None,
            "perturbation_scale": {"low": 0.05, "high": 0.5},
            "probes": {"low": 2, "high": 3},
            "norm": ["plain", "squared"],
            "score": ["curvature_log", "curvature_ranks"],
            "epochs": [{"kind": "every", "interval": 2}, {"kind": "first", "count": 3}],
            "objectives": ["auroc", "cost"],
            "sampler": "gp",
            "pruner": "hyperband",
            "trials": 7,
            "timeout": 60.0,
            "seed": 6,
            "workers": 2,
            "standard_error": 0.01,
            "storage": "sqlite:///study.db",
            "study": "every key",
            "cache_gb": 0.5,
            "recipe": {
                "loss": ["early_learning", "cross_entropy"],
                "dropout": {"low": 0.0, "high": 0.5},
                "width": {"low": 8, "high": 64},
                "epochs": [20, 30],
                "lr": {"low": 0.01, "high": 0.2},
                "weight_decay": [0, 0.0005],
                "mixup": [None],
                "average": {"low": 0.9, "high": 0.99},
                "sam": [0.05],
                "crop": {"low": 0, "high": 4},
                "flip": [True, False],
                "trials": 11,
                "draws": 2,
                "share": 0.05,
                "trusted": 0.6,
            },
        },
        "suspects": {
            "variants": ["noisy"],
            "share": 0.2,
            "trusted": 0.6,
            "draws": 3,
            "seed": 4,
            "pretrained": {
                "kind": "torchvision",
                "name": "resnet18",
                "small_stem": None,
                "weights": "DEFAULT",
                "weights_folder": None,
                "input_size": 224,
                "mean": None,
                "std": None,
                "train_layers": "all",
                "backbone_lr": 1.0,
            },
        },
        "averaged": {"variants": ["noisy"], "trainings": [{"seed": 1}, {"seed": 2, "sam": 0.1}]},
        "halves": {"variants": ["noisy"], "seed": 5, "turn_over": True},
        "layers": {"variants": {"noisy": {"score": "aum", "pruned": [0.5, 0.9], "linear": 50}}},
        "duplicates": {"ratio": 0.3, "neighbours": 4},
        "report": {"samples": 500, "thumbnail": 64},
        "repeat": {"seeds": [1, 2]},
        "memorization": {
            "variants": ["noisy"],
            "models": 500,
            "standard_error": 0.02,
            "share": 0.5,
            "seed": 8,
            "recipe": {
                "epochs": 12,
                "batch_size": 16,
                "model": {"kind": "mlp", "width": 32, "depth": 2, "dropout": 0.0},
                "optimizer": {"kind": "adamw", "lr": 0.01, "weight_decay": 0.1},
                "schedule": {"kind": "constant"},
            },
            "precision": "bfloat16",
            "privacy": True,
            "published": {"noisy": "data/raw/published.npz"},
        },
        "clean": {
            "variants": {
                "noisy": {
                    "decisions": "decisions/noisy.csv",
                    "above": 0.9,
                    "then": "remove",
                    "doubtful": "use",
                    "ambiguous": "remove",
                    "weight": 0.2,
                    "seeds": [3, 4],
                }
            }
        },
        "utility": {"variants": ["noisy"], "thresholds": [0.25, 0.5], "models": 10},
        "compute": {"processes": 2, "image_cache": 1.5, "workers": 3, "together": 5, "ray": "127.0.0.1:6379"},
        "tracking": {"uri": "http://127.0.0.1:5000", "experiment": "every key"},
    }
    assert loaded.recorded_epochs() == (1, 10, 20)


def test_numbers_as_people_write_them() -> None:
    loaded = params.load(REPOSITORY / "tests/config/files/valid/numbers.yaml")
    noisy = loaded.variants["noisy"]
    assert isinstance(noisy, Symmetric)
    assert loaded.train.optimizer.lr == 0.001
    assert loaded.curvature.perturbation_scale == 0.001
    assert loaded.curvature.probes == 2
    assert loaded.train.epochs == 1000
    assert loaded.recorded_epochs() == tuple(range(100, 1001, 100))
    assert loaded.data.test_share == noisy.rate == 0.2


def test_names_that_yaml_1_1_would_take_for_booleans_stay_names() -> None:
    loaded = params.load(REPOSITORY / "tests/config/files/valid/table.yaml")
    assert isinstance(loaded.data, Table)
    assert loaded.data.classes == ("cat", "10", "no")
    assert "on" in params.load(REPOSITORY / "tests/config/files/valid/variants.yaml").variants


def test_parameters_cannot_be_changed() -> None:
    loaded = params.load(changed())
    with pytest.raises(ValidationError, match="frozen"):
        loaded.train.epochs = 20  # type: ignore[misc]


@pytest.mark.parametrize(("epochs", "interval", "recorded"), [(10, 3, (3, 6, 9)), (4, 4, (4,))])
def test_recorded_epochs_of_an_interval(epochs: int, interval: int, recorded: tuple[int, ...]) -> None:
    path = changed(
        ("epochs: 10", f"epochs: {epochs}"), ("kind: every", f"kind: every\n    interval: {interval}")
    )
    assert params.load(path).recorded_epochs() == recorded


@pytest.mark.parametrize(
    ("kind", "recorded"),
    [
        ("first\n    count: 3", (1, 2, 3)),
        ("first\n    count: 10", tuple(range(1, 11))),
        ("geometric\n    ratio: 2", (1, 2, 4, 8, 10)),
        ("geometric\n    ratio: 3.0", (1, 3, 9, 10)),
        ("geometric", (1, 2, 3, 5, 8, 10)),
        ("geometric\n    ratio: 100", (1, 10)),
    ],
)
def test_other_choices_of_epochs(kind: str, recorded: tuple[int, ...]) -> None:
    assert params.load(changed(("kind: every", f"kind: {kind}"))).recorded_epochs() == recorded


def test_a_geometric_choice_of_one_epoch() -> None:
    path = changed(("epochs: 10", "epochs: 1"), ("kind: every", "kind: geometric"))
    assert params.load(path).recorded_epochs() == (1,)


@pytest.mark.parametrize(
    ("change", "wrong", "right"),
    [  # the last value that is refused and the first that is taken
        ("  probes: 1\n", "  probes: 0\n", "  probes: 1\n"),
        ("  probes: 1\n", "  probes: 10001\n", "  probes: 10000\n"),
        ("scale: 0.1", "scale: 0.0", "scale: 0.0001"),
        ("scale: 0.1", "scale: 0.000099", "scale: 0.0001"),
        ("scale: 0.1", "scale: 0.0", "scale: 1e-300\n  method: hessian"),
        ("scale: 0.1", "scale: 1000.1", "scale: 1000"),
        ("scale: 0.1", "scale: -0.1", "scale: 1000"),
        ("epochs: 10", "epochs: 100001", "epochs: 100000"),
        ("epochs: 10", "epochs: 10\n  batch_size: 1000001", "epochs: 10\n  batch_size: 1000000"),
        ("kind: sgd", "kind: sgd\n    lr: 1000.1", "kind: sgd\n    lr: 1000"),
        ("kind: sgd", "kind: adamw\n    lr: 1e300", "kind: adamw\n    lr: 1000"),
        ("kind: sgd", "kind: sgd\n    weight_decay: 100.1", "kind: sgd\n    weight_decay: 100"),
        ("kind: every", "kind: every\n  batch_size: 1000001", "kind: every\n  batch_size: 1000000"),
        ("epochs: 10", "epochs: 10\n  seed: -1", "epochs: 10\n  seed: 0"),
        (
            "epochs: 10",
            "epochs: 10\n  seed: 9223372036854775808",
            "epochs: 10\n  seed: 9223372036854775807",
        ),
        ("root: data/raw", "root: data/raw\n  test_share: 0", "root: data/raw\n  test_share: 0.01"),
        ("root: data/raw", "root: data/raw\n  test_share: 1", "root: data/raw\n  test_share: 0.99"),
        ("root: data/raw", "root: data/raw\n  train_limit: 1", "root: data/raw\n  train_limit: 2"),
        ("kind: cnn", "kind: cnn\n    dropout: 1", "kind: cnn\n    dropout: 0.999"),
        (
            "kind: cosine",
            "kind: step\n    milestones: [11]",
            "kind: step\n    milestones: [10]",
        ),
        ("kind: every", "kind: every\n    interval: 11", "kind: every\n    interval: 10"),
        ("kind: every", "kind: list\n    epochs: [11]", "kind: list\n    epochs: [10]"),
        ("kind: sgd", "kind: sgd\n    momentum: 1", "kind: sgd\n    momentum: 0.999"),
        *(
            ("epochs: 10", f"epochs: 10\n  {wrong}", f"epochs: 10\n  {right}")
            for wrong, right in (
                (
                    "loss: {kind: cross_entropy, label_smoothing: 1}",
                    "loss: {kind: cross_entropy, label_smoothing: 0.999}",
                ),
                (
                    "loss: {kind: symmetric_cross_entropy, alpha: -1}",
                    "loss: {kind: symmetric_cross_entropy, alpha: 0}",
                ),
                (
                    "loss: {kind: generalized_cross_entropy, q: 0}",
                    "loss: {kind: generalized_cross_entropy, q: 1}",
                ),
                ("loss: {kind: early_learning, momentum: 1}", "loss: {kind: early_learning, momentum: 0}"),
                ("mixup: 0", "mixup: 1000"),
                ("average: 1", "average: 0.999"),
                ("sam: 0", "sam: 0.001"),
                ("co_training: {kind: jocor, weight: 1.1}", "co_training: {kind: jocor, weight: 1}"),
                ("co_training: {kind: jocor, forget_rate: 1}", "co_training: {kind: jocor, forget_rate: 0}"),
                ("co_training: {kind: jocor, warmup: 0}", "co_training: {kind: jocor, warmup: 1}"),
                (
                    "co_training: {kind: jocor}\n  loss: {kind: early_learning}",
                    "co_training: {kind: jocor}\n  loss: {kind: cross_entropy}",
                ),
                (
                    "co_training: {kind: jocor}\n  loss: {kind: cross_entropy, label_smoothing: 0.1}",
                    "co_training: {kind: jocor}\n  average: 0.9\n  sam: 0.1",
                ),
                (
                    "co_training: {kind: jocor}\n  mixup: 1",
                    "mixup: 1\n  loss: {kind: early_learning}\n  average: 0.9\n  sam: 0.1",
                ),
            )
        ),
        (
            "kind: sgd",
            "kind: sgd\n    momentum: 0",
            "kind: sgd\n    momentum: 0\n    nesterov: false",
        ),
    ],
)
def test_the_ends_of_the_ranges(change: str, wrong: str, right: str) -> None:
    assert len(problems(changed((change, wrong)))) == 1
    params.load(changed((change, right)))


@pytest.mark.parametrize(
    ("key", "option"), [("mixup", "mixup: 1"), ("co_training", "co_training: {kind: jocor}")]
)
def test_options_for_whole_batches_are_refused_with_several_processes(key: str, option: str) -> None:
    chosen = ("epochs: 10", f"epochs: 10\n  {option}")
    (said,) = problems(changed(chosen, ("data:", "compute: {processes: 4}\ndata:")))
    assert f"train.{key}: " in said
    text = (
        "is for whole batches, and compute.processes is 4, which cuts them: write `processes: 1` in section"
    )
    assert said.endswith(f"{text} compute, or `{key}: null` here")
    params.load(changed(chosen, ("data:", "compute: {processes: 1}\ndata:")))


@pytest.mark.parametrize("rate", ["0", "0.0", "0.999"])
def test_rates_of_symmetric_noise(rate: str) -> None:
    loaded = params.load(changed(("kind: none", f"kind: symmetric\n    rate: {rate}")))
    noisy = loaded.variants["clean"]
    assert isinstance(noisy, Symmetric)
    assert noisy.rate == float(rate)


@pytest.mark.parametrize("good", ["a", "Z9", "noisy_10-b", "on", "none", "x" * 100])
def test_names_of_variants(good: str) -> None:
    assert list(params.load(changed(("  clean:", f"  {good}:"))).variants) == [good]


@pytest.mark.parametrize("bad", ["a.b", "a b", "1st", "-a", "_a", "a/b", "a:b", "é", "''", "'a\\nb'"])
def test_names_that_no_variant_can_have(bad: str) -> None:
    (said,) = problems(changed(("  clean:", f"  {bad}:")))
    assert re.match(r"params\.yaml:6: variants\..*a variant's name is part of its stage's name", said)


@pytest.mark.parametrize("root", [".", "data", "data/prepared", "data/variants/clean", "results/train"])
def test_a_root_among_the_outputs(root: str) -> None:
    (said,) = problems(changed(("root: data/raw", f"root: {root}")))
    assert "data.root" in said
    assert "should not contain, or be inside, a folder that the stages write" in said


def test_a_root_that_holds_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for root in ("/", tmp_path, tmp_path.parent):
        (said,) = problems(changed(("root: data/raw", f"root: {root}")))
        assert "data.root" in said
        assert "should not contain the project: give the folder of the data alone" in said
    (said,) = problems(changed(("root: data/raw", f"root: {tmp_path}/data/prepared/x")))
    assert "should not contain, or be inside, a folder that the stages write" in said
    assert params.load(changed(("root: data/raw", f"root: {tmp_path}/data/raw"))).data.kind == "digits"


def test_variants_that_differ_by_case_alone() -> None:
    said = problems(changed(("variants:", "variants:\n  CLEAN: {kind: none, labels: data/prepared}")))
    assert any("differs from CLEAN by case alone, and macOS has one folder" in line for line in said)


@pytest.mark.parametrize("path", ["data/raw", "/data/raw", "raw", "a..b/c", "data/~x"])
def test_paths_that_can_be_given(path: str) -> None:
    assert params.load(changed(("root: data/raw", f"root: {path}"))).data.root == path


@pytest.mark.parametrize("path", ["..", "../raw", "data/../raw", "~", "~/raw", "~someone/raw", ""])
def test_paths_that_cannot_be_given(path: str) -> None:
    (said,) = problems(changed(("root: data/raw", f"root: '{path}'")))
    assert said.startswith(f'params.yaml:4: data.root: "{path}": should be a path inside the project')


@pytest.mark.parametrize("path", ["../photos", "../../photos/train", "../projects2"])
def test_paths_beside_the_project(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repository/.dvc").mkdir(parents=True)
    project = tmp_path / "repository/projects/audit"
    project.mkdir(parents=True)
    monkeypatch.chdir(project)
    assert params.load(changed(("root: data/raw", f"root: {path}"))).data.root == path
    for outside in ("../../../photos", "../..", "..", "../audit", "../audit/data"):
        (said,) = problems(changed(("root: data/raw", f"root: {outside}")))
        assert "should be a path inside the project, or an absolute one, or one beside the project" in said


@pytest.mark.parametrize("length", [2, 3, 5])
def test_a_longer_circle_is_said_at_each_member(length: int) -> None:
    entries = "".join(
        f"  v{i}:\n    kind: none\n    labels: data/variants/v{(i + 1) % length}\n" for i in range(length)
    )
    path = changed(("  clean:\n    kind: none\n    labels: data/prepared\n", entries))
    said = problems(path)
    assert len(said) == length
    for i, line in enumerate(said):
        chain = " -> ".join(f"v{(i + step) % length}" for step in range(length + 1))
        assert line.startswith(f"params.yaml:{8 + 3 * i}: variants.v{i}.labels: ")
        assert line.endswith(f"the variant refers to itself: {chain}")


def test_a_variant_that_leads_to_a_circle_is_no_part_of_it() -> None:
    entries = "".join(
        f"  {name}:\n    kind: none\n    labels: data/variants/{base}\n"
        for name, base in {"a": "b", "b": "c", "c": "b"}.items()
    )
    said = problems(changed(("  clean:\n    kind: none\n    labels: data/prepared\n", entries)))
    assert [line.split(": ")[1] for line in said] == ["variants.b.labels", "variants.c.labels"]


def test_a_chain_of_variants_loads() -> None:
    loaded = params.load(REPOSITORY / "tests/config/files/valid/variants.yaml")
    bases = {name: base_variant(variant) for name, variant in loaded.variants.items()}
    assert bases == {
        "noisier": "noisy",
        "noisy": "clean",
        "clean": None,
        "people": None,
        "round-2_A": None,
        **dict.fromkeys(("pair", "cats", "confused", "confused_by_table", "hard", "random", "static", "on")),
        "twice": "hard",
    }


def test_a_missing_file() -> None:
    assert problems(Path("nowhere.yaml")) == ["nowhere.yaml: no such file"]


def test_an_empty_file() -> None:
    assert problems(written("")) == ["params.yaml:1: is empty: expected keys and values"]


def test_a_file_with_one_wrong_key_lists_all_that_is_missing() -> None:
    said = problems(written("epochs: 10\n"))
    missing = [line.split(": ")[1] for line in said if "is missing" in line]
    assert missing == ["data", "variants", "train", "record", "curvature"]
    assert len(said) == len(missing) + 1


def test_a_suggestion_is_made_only_where_a_word_is_near() -> None:
    (near,) = problems(changed(("epochs: 10", "epochs: 10\n  batch_sise: 3")))
    (far,) = problems(changed(("epochs: 10", "epochs: 10\n  zzz: 3")))
    assert "did you mean 'batch_size'?" in near
    assert "did you mean" not in far
    assert "(allowed: augment, average, batch_size, " in far


def test_more_than_fifty_problems_are_counted() -> None:
    entries = "".join(f"  bad {i}: {{kind: none, labels: data/prepared}}\n" for i in range(60))
    said = problems(changed(("variants:\n", f"variants:\n{entries}")))
    assert len(said) == 51
    assert said[-1] == "... and 10 more"
