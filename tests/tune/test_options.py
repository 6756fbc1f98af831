"""What is searched, from params.yaml, a search file and the command line; and what --write writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from memtrack.config.errors import InputError
from memtrack.config.sections.tune import TuneParams
from memtrack.tune import options
from memtrack.tune.options import OVERRIDES

PARAMS = """\
# a comment at the top
data:
  kind: digits   # scans
  root: data/raw
variants:
  clean: {kind: none, labels: data/prepared}
  noisy: {kind: symmetric, labels: data/prepared, rate: 0.1}
  other: {kind: symmetric, labels: data/prepared, rate: 0.1, seed: 1}
train:
  epochs: 12
  model: {kind: cnn}
  optimizer: {kind: sgd}
  schedule: {kind: cosine}
record:
  epochs: {kind: every}
curvature:
  perturbation_scale: 3.0e-02   # h

  probes: 1
tune:
  trials: 7
  seed: 3
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)
    return tmp_path


def problem(*arguments: str) -> str:
    with pytest.raises(InputError) as error:
        options.read(list(arguments))
    return str(error.value)


def test_the_section_of_the_parameter_file_counts() -> None:
    found = options.read([])
    assert (found.tune.trials, found.tune.seed, found.tune.sampler) == (7, 3, "tpe")
    assert not found.repro
    assert not found.write


def test_the_command_line_counts_more() -> None:
    found = options.read(
        ["--trials", "9", "--variant", "noisy", "--held-out", "other", "--timeout", "60", "--write"]
    ).tune
    assert (found.trials, found.seed, found.variant, found.held_out, found.timeout) == (
        9, 3, "noisy", "other", 60.0,
    )  # fmt: skip
    assert options.read(["--standard-error", "0.01"]).tune.standard_error == 0.01
    assert options.read(["--held-out", "none", "--study", "none"]).tune.held_out is None
    assert options.read(["--all-samples"]).tune.standard_error is None
    assert options.read(["--objectives", "auroc", "cost"]).tune.objectives == ("auroc", "cost")


def test_a_search_file_is_read_instead_of_the_section() -> None:
    Path("search.yaml").write_text("perturbation_scale: {low: 0.01, high: 0.1}\nseed: 8\n")
    found = options.read(["--search", "search.yaml", "--seed", "9"]).tune
    assert found.perturbation_scale.low == 0.01
    assert (found.trials, found.seed) == (100, 9)  # not what params.yaml says


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("trails: 3\n", "search.yaml:1: trails: unknown key; did you mean 'trials'?"),
        ("seed: 1\nprobes: {low: 4, high: 2}\n", "search.yaml:2: probes: low should not be above high"),
        ("perturbation_scale: {low: 1, high: 0.5}\n", "search.yaml:1: perturbation_scale: low should"),
        ("perturbation_scale: {low: 1e-9, high: 0.5}\n", "search.yaml:1: perturbation_scale.low: 1e-09"),
        ("norm: [plain, round]\n", "search.yaml:1: norm"),
        ("norm: []\n", "search.yaml:1: norm"),
        ("epochs:\n- {kind: first, count: 3}\n- {kind: first, count: 30}\n", "yaml:3: epochs.1.count: 30"),
        ("variant: nosy\n", 'search.yaml:1: variant: "nosy": there is no such variant; there are: clean'),
        ("variant: noisy\nheld_out: noisy\n", "held_out should be another variant than variant"),
        ("cache_gb: 0\n", "search.yaml:1: cache_gb"),
    ],
)  # fmt: skip
def test_mistakes_in_a_search_file_name_file_line_and_key(content: str, said: str) -> None:
    Path("search.yaml").write_text(content)
    assert said in problem("--search", "search.yaml")


def test_mistakes_on_the_command_line_and_in_the_section() -> None:
    assert "command line: trials: " in problem("--trials", "-3")
    assert "no such variant" in problem("--variant", "nosy")
    assert "nowhere.yaml" in problem("--search", "nowhere.yaml")
    Path("params.yaml").write_text(PARAMS.replace("trials: 7", "trials: many"))
    assert "params.yaml:21: tune.trials" in problem()


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.read(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in OVERRIDES:
        assert f"--{name.replace('_', '-')}" in text
        assert name in TuneParams.model_fields
    for action in options.parser()._actions:
        assert action.help


def test_the_variant_is_the_first_that_has_corruption() -> None:
    assert options.pick_variant(options.read([])) == "noisy"
    assert options.pick_variant(options.read(["--held-out", "noisy"])) == "other"
    assert options.pick_variant(options.read(["--variant", "other"])) == "other"
    content = PARAMS.replace("kind: symmetric, labels: data/prepared, rate: 0.1", "kind: none, labels: x")
    Path("params.yaml").write_text(
        content.replace(", seed: 1", "").replace("labels: x", "labels: data/prepared")
    )
    with pytest.raises(InputError, match=r"params.yaml:5: variants: no variant has known corruption"):
        options.pick_variant(options.read([]))


def test_what_is_written_changes_nothing_else() -> None:
    options.write_params({("curvature", "perturbation_scale"): 0.07, ("curvature", "probes"): 2})
    written = Path("params.yaml").read_text()
    assert written == PARAMS.replace("3.0e-02", "0.07   ").replace("probes: 1", "probes: 2")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_the_byte_order_mark_are_kept(end: str, mark: str) -> None:
    before = mark + PARAMS.replace("\n", end)
    Path("params.yaml").write_bytes(before.encode())
    options.write_params({("curvature", "probes"): 2})
    assert Path("params.yaml").read_bytes().decode() == before.replace("probes: 1", "probes: 2")


def test_a_section_that_is_not_there_is_written() -> None:
    options.write_params({("record", "epochs"): {"kind": "geometric", "ratio": 2.0}, ("new", "key"): 1})
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert content["record"]["epochs"] == {"kind": "geometric", "ratio": 2.0}
    assert content["new"] == {"key": 1}
    before = YAML(typ="safe").load(PARAMS)
    assert {**content, "record": 0, "new": 0} == {**before, "record": 0, "new": 0}
