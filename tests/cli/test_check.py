"""`python -m memtrack.check`: exit status, output, what it imports, and the JSON Schema."""

from __future__ import annotations

import copy
import functools
import io
import json
import operator
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from dvc.utils.serialize import load_yaml
from pydantic import ValidationError

from memtrack.cli import check
from memtrack.config.params import Params
from memtrack.config.sections.averaged import OtherTraining

REPOSITORY = Path(__file__).parents[2]
VALID = sorted((REPOSITORY / "tests/config/files/valid").glob("*.yaml"))
INVALID = REPOSITORY / "tests/config/files/invalid"
MINIMAL = REPOSITORY / "tests/config/files/valid/minimal.yaml"
SLOW = {"torch", "torchvision", "mlflow", "pandas", "sklearn", "dvc", "optuna"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which takes a tenth of the time of a process of its own."""
    command, output, errors = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as ended:
        check.main(command)
    return subprocess.CompletedProcess(command, ended.value.code, output.getvalue(), errors.getvalue())


def imported_by(*statements: str) -> set[str]:
    """The top-level modules in memory after `statements`, in a process of its own."""
    lines = (*statements, "import sys", "print(*sys.modules, file=sys.stderr)")
    command = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


# --- the command --------------------------------------------------------------------------------


def test_the_parameter_file_of_the_folder_is_checked() -> None:
    Path("params.yaml").write_text(MINIMAL.read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "memtrack.check"]
    for done in (run(), subprocess.run(command, capture_output=True, text=True, check=False)):
        assert (done.returncode, done.stdout, done.stderr) == (0, "params.yaml: ok\n", "")


def test_a_section_that_dvc_reads_is_asked_for() -> None:
    Path("params.yaml").write_text(MINIMAL.read_text(encoding="utf-8"), encoding="utf-8")
    Path("dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    done = run()
    assert done.returncode == 2
    said = done.stderr.splitlines()
    keys = ["repeat.seeds", "memorization.variants", "memorization.published", "utility.variants"]
    keys += ["evaluate", "duplicates", "data.root"]
    assert sorted(line.split(": ")[1] for line in said) == sorted(keys)
    assert "params.yaml: repeat.seeds: is missing, and dvc.yaml reads it: add `repeat: {seeds: []}`" in said
    assert "params.yaml:4: data.root: data/raw: no such file or folder" in said
    Path("data/raw").mkdir(parents=True)
    with Path("params.yaml").open("a", encoding="utf-8") as file:
        file.write("".join({f"{line.split('`')[1]}\n" for line in said if "add `" in line}))
    assert run().returncode == 0


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{kind: image_folder, root: photos.zip}", "data.root: photos.zip is an archive: unpack it"),
        ("{kind: image_folder, root: /dev/null}", "data.root: /dev/null is no folder"),
        (
            "{kind: image_folder, root: photos, train: a, test: b}",
            "data.test: no such file or folder",
        ),
        ("{kind: table, root: photos, table: t.csv}", "data.table: no such file or folder: photos/t.csv"),
        ("{kind: arrays, root: photos, file: d.npz}", "data.file: no such file or folder: photos/d.npz"),
    ],
)
def test_the_place_of_the_images_is_checked(source: str, said: str) -> None:
    Path("photos/a").mkdir(parents=True)
    Path("photos.zip").write_bytes(b"PK")
    text = MINIMAL.read_text(encoding="utf-8").replace("\n  kind: digits\n  root: data/raw\n", f" {source}\n")
    Path("params.yaml").write_text(text, encoding="utf-8")
    done = run()
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_in_place_of_a_file_is_refused() -> None:
    for name in ("labels", "decisions", "published"):
        Path(name).mkdir()
    text = MINIMAL.read_text(encoding="utf-8").replace(
        "variants:", "variants:\n  given: {kind: from_file, labels: labels}"
    )
    text += "clean: {variants: {clean: {decisions: decisions}}}\n"
    text += "memorization: {published: {clean: published}}\n"
    Path("params.yaml").write_text(text, encoding="utf-8")
    done = run()
    assert done.returncode == 2
    assert [line.split(": ", 1)[1] for line in done.stderr.splitlines()] == [
        "variants.given.labels: labels is a folder: give a file",
        "clean.variants.clean.decisions: decisions is a folder: give a file",
        "memorization.published.clean: published is a folder: give a file",
    ]


def test_the_network_of_another_training_must_be_there() -> None:
    text = MINIMAL.read_text(encoding="utf-8")
    network = "{kind: python, make: networks.mine:build}"
    text += f"averaged: {{variants: [clean], trainings: [{{model: {network}}}]}}\n"
    Path("params.yaml").write_text(text, encoding="utf-8")
    done = run()
    assert done.returncode == 2
    assert "averaged.trainings.0.model.make: " in done.stderr
    assert "networks/mine.py: no such file" in done.stderr


def test_a_name_with_dots_is_one_mistake() -> None:
    text = MINIMAL.read_text(encoding="utf-8").replace("  clean:\n", "  ../evil:\n")
    Path("params.yaml").write_text(text, encoding="utf-8")
    Path("dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    assert [line for line in run().stderr.splitlines() if "evil" in line] == [
        "params.yaml:6: variants.../evil: \"../evil\": a variant's name is part of its stage's name "
        "(train@NAME): start with a letter, then use letters, digits, '_' and '-'"
    ]


def test_the_stores_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    text = MINIMAL.read_text(encoding="utf-8")
    Path("params.yaml").write_text(f"{text}tune: {{storage: 'sqlite:///mlflow.db'}}\n", encoding="utf-8")
    assert "tune.storage: MLflow keeps its runs in this database too" in run().stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3/cret@host")
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("MLFLOW_TRACKING_URI: it is unclear where")
    assert "cret" not in done.stderr
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert run().returncode == 0


def test_all_mistakes_at_once_and_no_traceback() -> None:
    path = INVALID / "several_mistakes.yaml"
    done = run(path)
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr.splitlines()
    keys = ["data.test_share", "variants.noisy.rate", "train.epochs", "train.schedule.kind"]
    keys += ["record.batchsize", "curvature.perturbation_scale", "curvature.probes"]
    assert [line.split(": ")[1] for line in said] == keys
    assert all(line.startswith(f"{path}:") for line in said)


@pytest.mark.parametrize("name", ["broken", "duplicate_key", "only_comments", "variants_in_a_circle"])
def test_one_mistake_of_each_layer(name: str) -> None:
    done = run(INVALID / f"{name}.yaml")
    assert done.returncode == 2
    assert f"{name}.yaml:" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_files() -> None:
    wrong = INVALID / "no_probes.yaml"
    done = run(MINIMAL, wrong, "nowhere.yaml", VALID[0])
    assert done.returncode == 2
    assert done.stdout.splitlines() == [f"{MINIMAL}: ok", f"{VALID[0]}: ok"]
    said = done.stderr.splitlines()
    assert len(said) == 2
    assert said[0].startswith(f"{wrong}:26: curvature.probes: 0: ")
    assert said[1] == "nowhere.yaml: no such file"


def test_several_right_files() -> None:
    done = run(*VALID)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{path}: ok" for path in VALID]
    assert done.stderr == ""


def test_an_empty_file_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.yaml").touch()
    with pytest.raises(SystemExit) as end:
        check.main(["empty.yaml"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "empty.yaml:1: is empty: expected keys and values\n"


# --- imports ------------------------------------------------------------------------------------


def test_checking_imports_nothing_slow() -> None:
    found = imported_by(
        "from memtrack.check import main",
        "try:",
        f"    main([{str(MINIMAL)!r}])",
        "except SystemExit as end:",
        "    assert end.code == 0",
    )
    assert "pydantic" in found
    assert not found & SLOW


def test_importing_memtrack_imports_nothing_slow() -> None:
    found = imported_by("import memtrack")
    assert "memtrack" in found
    assert not found & SLOW


# --- the schema ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema() -> Any:
    text = (REPOSITORY / "memtrack/params.schema.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.fixture
def minimal() -> Any:
    return load_yaml(str(MINIMAL))


def test_the_committed_schema_is_current() -> None:
    committed = REPOSITORY / "memtrack/params.schema.json"
    assert committed.read_text(encoding="utf-8") == check.schema()


def test_the_schema_can_be_renewed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check, "SCHEMA_FILE", tmp_path / "new.json")
    with pytest.raises(SystemExit) as end:
        check.main(["--write-schema", str(MINIMAL)])
    assert end.value.code == 0
    assert (tmp_path / "new.json").read_text(encoding="utf-8") == check.schema()


def test_the_schema_is_one(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    "path", [REPOSITORY / "params.yaml", *VALID], ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_right_files_fit_the_schema(path: Path, schema: Any) -> None:
    jsonschema.Draft202012Validator(schema).validate(load_yaml(str(path)))


def _set(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("curvatur", value={}),
        _set("data", "rot", value="data/raw"),
        _set("variants", "clean", "rate", value=0.1),
        _set("train", "model", "widht", value=8),
        _set("train", "epochs", value="10"),
        _set("train", "epochs", value=0),
        _set("data", "kind", value="digit"),
        _set("curvature", "probes", value=0),
        _set("curvature", "perturbation_scale", value=0),
        _set("train", "augment", value={"flip": "no"}),
        _set("record", "epochs", value={"kind": "list", "epochs": []}),
        _set("variants", value={}),
    ],
)
def test_wrong_contents_do_not_fit_the_schema(
    change: Callable[[dict[str, Any]], None], schema: Any, minimal: Any
) -> None:
    validator = jsonschema.Draft202012Validator(schema)  # `validate` would check the schema each time
    validator.validate(minimal)
    wrong = copy.deepcopy(minimal)
    change(wrong)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(wrong)


def test_schema_and_check_take_null_for_the_same_keys(schema: Any) -> None:
    content = load_yaml(str(REPOSITORY / "tests/config/files/valid/every_key.yaml"))
    train = {key: content["train"][key] for key in OtherTraining.model_fields}
    content["averaged"]["trainings"] = [{**train, "co_training": {"kind": "jocor"}}]
    validator, differ = jsonschema.Draft202012Validator(schema), []
    for keys in _keys(content):
        wrong = copy.deepcopy(content)
        functools.reduce(operator.getitem, keys[:-1], wrong)[keys[-1]] = None
        try:
            Params.model_validate(wrong)
            taken = True
        except ValidationError:
            taken = False
        if taken != validator.is_valid(wrong):
            differ.append(keys)
    assert differ == [("suspects", "pretrained", "weights")]  # the schema cannot say that they are needed


def _keys(content: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where each value of a file is."""
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in entries:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from _keys(value, (*above, key))


def test_every_key_of_the_project_is_explained_in_the_schema(schema: Any) -> None:
    content = load_yaml(str(REPOSITORY / "params.yaml"))
    assert set(content) <= set(schema["properties"])
    for key in content["curvature"]:
        assert key in schema["$defs"]["CurvatureParams"]["properties"]
