"""The page in Chromium: people filter, mark by keyboard, reload, export and import."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mlflow import MlflowClient
from reviewed import CLASSES, reviewed

from memtrack.config.sections.report import ReportParams
from memtrack.data.decisions import Decision, read_decisions
from memtrack.data.tables import guarded
from memtrack.report.page.content import content
from memtrack.report.page.page import write_page

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
RESULTS = reviewed()
TABLE = RESULTS.scores.sort_values("suspicion_rank")
IDS = TABLE["id"].tolist()
GIVEN = dict(zip(TABLE["id"], TABLE["given_label"], strict=True))
SUGGESTED = dict(zip(TABLE["id"], TABLE["suggested_label"], strict=True))
HEADER = "id,given_label,decision,label,note\n"


def quoted(text: str) -> str:
    """A cell as RFC 4180 has it; an apostrophe keeps spreadsheets from taking it as a formula."""
    text = guarded(text)
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\n') else text


def row(place: int, decision: str, label: str = "", note: str = "") -> str:
    """The line of decisions.csv for the sample at a place of the ranking, from 0."""
    sample = IDS[place]
    return ",".join(map(quoted, (sample, GIVEN[sample], decision, label, note))) + "\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(content(RESULTS, ReportParams(), (1, 8, 8)), path)
    return path


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Any]:
    """The page, opened from disk by somebody who has not seen it; an error in its script fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(5000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    page.goto(path.as_uri())
    yield page
    context.close()
    assert errors == []


def press(page: Any, *keys: str) -> None:
    page.focus("#gallery")
    for key in keys:
        page.keyboard.press(key)


def selected(page: Any) -> str:
    return page.locator("[role=option][aria-selected=true]").get_attribute("id").removeprefix("card-")


def exported(page: Any) -> str:
    with page.expect_download() as download:
        page.click("#export")
    assert download.value.suggested_filename == "decisions.csv"
    return Path(download.value.path()).read_bytes().decode()


def brought(page: Any, text: str) -> str:
    """Import a decisions.csv; what the page says."""
    file = {"name": "decisions.csv", "mimeType": "text/csv", "buffer": text.encode()}
    page.locator("#file").set_input_files(file)
    api.expect(page.locator("#status")).to_contain_text("mported")
    said = page.inner_text("#status")
    page.evaluate("document.getElementById('status').textContent = ''")
    return str(said)


def test_it_shows_what_was_found_and_the_first_sample(page: Any) -> None:
    assert "60 of 60 training samples" in page.inner_text("header")
    assert "12 labels are known to be corrupted" in page.inner_text("#found")
    assert page.locator("figure").count() == 7
    card = page.locator("#card-0")
    assert IDS[0] in card.inner_text()
    assert f"given {GIVEN[IDS[0]]}" in card.inner_text()
    assert f"suggested {SUGGESTED[IDS[0]]}, 80%" in card.inner_text()
    assert card.locator("svg path.curve").count() == 2
    assert card.locator(".near > div").count() == 3
    shifts = """new Promise(ok => new PerformanceObserver(list => ok(list.getEntries().map(one => one.value)))
        .observe({type: "layout-shift", buffered: true})) """
    page.evaluate("document.querySelector('h1').style.marginTop = '300px'")
    *jumps, last = page.evaluate(shifts)
    assert sum(jumps) < 0.01
    assert last > 0.01, "the measure sees a jump"


def test_details_name_the_neighbours_and_all_scores(page: Any) -> None:
    press(page, "Enter")
    text = page.inner_text("#details")
    row = RESULTS.variant.row[IDS[0]]
    for step in (3, 6, 9):
        sample = RESULTS.variant.ids[(row + step) % 60]
        assert f"{sample} ({GIVEN[sample]})" in text
    csl, rank = TABLE[["csl", "csl_rank"]].iloc[0]
    assert f"cumulative loss (CSL)\t{csl:.4g}\t{rank:.0f}" in text
    assert "probability that the label is wrong\t0.9" in text


def test_details_show_the_same_image_in_the_test_split(page: Any) -> None:
    page.get_by_title("show the samples that are in the test split", exact=True).click()
    assert page.inner_text("#count") == "1 of 60 samples"
    press(page, "Enter")
    pictured = page.locator("#details .near.test")
    assert pictured.locator(".sprite").count() == 1
    assert pictured.locator("> div").get_attribute("title") == f"test 1: {CLASSES[RESULTS.variant.given[3]]}"
    assert pictured.locator(".other").count() == 0
    page.keyboard.press("Escape")
    page.select_option("select[name=issue]", label="in the test split under another label")
    press(page, "Enter")
    assert pictured.locator(".other").count() == 1


def test_names_are_text(page: Any) -> None:
    assert page.locator("script").count() == 2
    assert page.locator("#gallery b").count() == 0
    assert (
        page.locator("#filters select[name=given] option", has_text="<script>alert(1)</script>").count() == 1
    )


def test_filters(page: Any) -> None:
    count = page.locator("#count")
    page.select_option("select[name=given]", label=CLASSES[1])
    expected = int((TABLE["given_label"] == CLASSES[1]).sum())
    assert count.inner_text() == f"{expected} of 60 samples"
    page.select_option("select[name=corrupted]", "1")
    expected = int((TABLE["suggested_label"].ne("") & (TABLE["given_label"] == CLASSES[1])).sum())
    assert count.inner_text() == f"{expected} of 60 samples"
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    page.select_option("select[name=kind]", label="rare")
    rare = (TABLE["kind"] == "rare") & ~TABLE["id"].isin(RESULTS.variant.ids[:2])
    assert count.inner_text() == f"{rare.sum()} of 60 samples"
    assert "seems rare" in page.locator("[aria-selected=true]").inner_text()
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    page.select_option("select[name=kind]", label="conflicting")
    assert count.inner_text() == "2 of 60 samples"
    assert "conflicting duplicate" in page.locator("[aria-selected=true]").inner_text()
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    for choice, samples in (("1", 11), ("0", 45), ("unknown", 4)):  # 0.9 for 11, 0.25 for 45, 4 without
        page.select_option("select[name=memorized]", choice)
        assert count.inner_text() == f"{samples} of 60 samples"
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    page.select_option("select[name=duplicates]", "conflict")
    assert count.inner_text() == "2 of 60 samples"
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    page.select_option("select[name=issue]", "any")
    assert count.inner_text() == "2 of 60 samples"
    page.select_option("select[name=issue]", label="dark")
    assert count.inner_text() == "1 of 60 samples"
    dark = RESULTS.variant.ids[2]
    assert IDS[int(selected(page))] == dark
    assert "in the test split under another label, dark" in page.locator("[aria-selected=true]").inner_text()
    page.click("text=Clear filters")
    api.expect(count).to_have_text("60 of 60 samples")
    page.select_option("select[name=order]", label="cumulative loss (CSL)")
    page.fill("input[name=least]", "0.5")
    ordered = TABLE[TABLE["csl"] >= 0.5].sort_values("csl", ascending=False)
    assert count.inner_text() == f"{len(ordered)} of 60 samples"
    assert IDS[int(selected(page))] == ordered["id"].iloc[0]
    page.fill("input[name=id]", "no such id")
    assert count.inner_text() == "0 of 60 samples"
    press(page, "k", "w", "l", "r", "Enter", "ArrowDown", "u")
    assert exported(page) == HEADER


def test_marks_by_keyboard_survive_a_reload_and_are_exported(page: Any) -> None:
    press(page, "k", "w", "a", "r", "ArrowRight", "r", "u")
    assert selected(page) == "5"
    press(page, "l")
    page.keyboard.press("Home")
    other = page.locator("#labels option:checked").inner_text()
    page.keyboard.press("Enter")
    press(page, "ArrowLeft", "n")
    page.keyboard.type('sees "two", of them')
    page.keyboard.press("Enter")
    assert "5 decided" in page.inner_text("#status")
    expected = HEADER + row(0, "keep") + row(1, "relabel", SUGGESTED[IDS[1]]) + row(2, "ambiguous")
    expected += row(3, "remove") + row(5, "relabel", other, 'sees "two", of them')
    assert exported(page) == expected
    Path("decisions.csv").write_text(expected, encoding="utf-8")
    decided = read_decisions(Path("decisions.csv"), RESULTS.variant)
    assert [one.what for one in decided.values()] == ["keep", "relabel", "ambiguous", "remove", "relabel"]
    assert list(decided) == [IDS[place] for place in (0, 1, 2, 3, 5)]
    assert decided[IDS[5]] == Decision("relabel", other, 'sees "two", of them')
    page.reload()
    assert exported(page) == expected
    page.select_option("select[name=decision]", "relabel")
    assert page.inner_text("#count") == "2 of 60 samples"
    page.select_option("select[name=decision]", "none")
    press(page, "k")
    assert page.inner_text("#count") == "54 of 60 samples"


def test_moving(page: Any) -> None:
    press(page, "ArrowDown")
    columns = int(selected(page))
    assert columns > 1
    press(page, "ArrowUp", "ArrowUp", "ArrowLeft")
    assert selected(page) == "0"
    press(page, "End")
    assert selected(page) == "59"
    assert page.locator("[role=option]").count() < 60
    box = page.locator("[aria-selected=true]").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= page.locator("#actions").bounding_box()["y"]


def test_the_selected_sample_stays_in_place_if_the_decision_is_undone(page: Any) -> None:
    press(page, "ArrowRight", "r")
    assert selected(page) == "2"
    press(page, "u")
    assert selected(page) == "1"
    assert exported(page) == HEADER
    press(page, "u")
    assert "Nothing to undo" in page.inner_text("#status")


def test_decisions_are_imported(page: Any) -> None:
    text = HEADER + row(7, "relabel", CLASSES[1] if GIVEN[IDS[7]] != CLASSES[1] else "cat", "two\nlines")
    text += row(2, "keep")
    assert "Imported from decisions.csv: 2." in brought(page, "\ufeff" + text.replace("\n", "\r\n", 1))
    lines = HEADER + row(2, "keep") + text.removeprefix(HEADER).removesuffix(row(2, "keep"))
    assert exported(page) == lines
    assert "Nothing was imported" in brought(page, HEADER + row(1, "keep") + "nobody,cat,keep,,\n")
    assert exported(page) == lines
    press(page, "u")
    assert exported(page) == HEADER
    assert "Imported from decisions.csv: 1." in brought(page, f"decision,id,x\nremove,{quoted(IDS[3])},me\n")
    assert exported(page) == HEADER + row(3, "remove")


def test_who_decided_and_when_is_kept(page: Any) -> None:
    brought(page, f"id,decision,by,when\n{quoted(IDS[3])},remove,=me,yesterday\n")
    page.fill("#by", "A. Reader")
    press(page, "k")
    page.reload()
    assert page.input_value("#by") == "A. Reader"
    Path("decisions.csv").write_text(exported(page), encoding="utf-8")
    first, second = read_decisions(Path("decisions.csv"), RESULTS.variant).values()
    assert (second.what, second.by, second.when) == ("remove", "=me", "yesterday")
    assert (first.what, first.by) == ("keep", "A. Reader")
    moment = datetime.fromisoformat(first.when)
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 3600


def test_a_wrong_file_is_refused_with_a_sentence(page: Any) -> None:
    wrong = {
        "id,label\n": "Line 1: the column decision is missing",
        HEADER + "nobody,cat,keep,,\n": "Line 2: there is no sample “nobody” on this page",
        HEADER + row(0, "delete"): "the decision “delete” is none of keep, relabel, ambiguous, remove",
        HEADER + row(0, "relabel", "cow"): "Line 2: there is no label “cow”",
        HEADER + row(0, "relabel", GIVEN[IDS[0]]): "already",
        HEADER + row(0, "keep", "cat"): "a label needs the decision relabel",
        HEADER + row(1, "keep", "", "a\nb") + row(1, "keep"): "is decided in line 2 already",
        HEADER + row(0, "keep").replace(GIVEN[IDS[0]], "cow"): "not “cow”",
        HEADER + "a,b\n": "Line 2: 2 cells, but the header has 5",
        HEADER + '"a': "a quote is not closed",
    }
    for text, said in wrong.items():
        answer = brought(page, text)
        assert answer.startswith("Nothing was imported. Line ")
        assert said in answer
    assert exported(page) == HEADER
    assert "Imported from decisions.csv: 0." in brought(page, HEADER)


def test_a_viewer_without_storage_is_said(browser: Any, path: Path) -> None:
    """MLflow shows HTML in a frame that may run scripts and nothing else."""
    context = browser.new_context()
    page = context.new_page()
    page.goto("about:blank")
    page.evaluate(
        """html => {
            const frame = document.createElement("iframe");
            frame.setAttribute("sandbox", "allow-scripts");
            frame.src = URL.createObjectURL(new Blob([html], {type: "text/html"}));
            frame.style = "width: 1000px; height: 600px";
            document.body.append(frame);
        }""",
        path.read_text(encoding="utf-8"),
    )
    frame = page.frame_locator("iframe")
    api.expect(frame.locator("#count")).to_have_text("60 of 60 samples")
    frame.locator("#card-0").click()
    page.keyboard.press("k")
    assert "1 decided" in frame.locator("#status").inner_text()
    assert "keeps no marks" in frame.locator("#notice").inner_text()
    context.close()


def test_the_filters_open_and_tables_fit_once_there_is_room(browser: Any, path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(path.as_uri())
    order = page.locator("select[name=order]")
    api.expect(order).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 800})
    api.expect(order).to_be_visible()
    table = "document.querySelector('#issues .scroll')"
    assert page.evaluate(f"{table}.scrollWidth <= {table}.clientWidth")
    context.close()


def test_the_artifact_viewer_of_mlflow_shows_it(browser: Any, path: Path, empty_store: Path) -> None:
    """The real server, on this machine alone; the page in it filters and takes marks."""
    shutil.copy(empty_store, "mlflow.db")
    store = f"sqlite:///{Path('mlflow.db').resolve()}"
    client = MlflowClient(store)
    experiment = client.create_experiment("pages", Path("artifacts").resolve().as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_artifact(run, str(path), "report")
    with serving(store) as address:
        context = browser.new_context(viewport={"width": 1600, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/#/experiments/{experiment}/runs/{run}/artifacts/report/index.html")
        frame = page.frame_locator("iframe")
        api.expect(frame.locator("#count")).to_have_text("60 of 60 samples", timeout=60_000)
        frame.locator("select[name=kind]").select_option(label="conflicting")
        api.expect(frame.locator("#count")).to_have_text("2 of 60 samples")
        frame.locator("#gallery").focus()
        page.keyboard.press("k")
        assert "1 decided" in frame.locator("#status").inner_text()
        context.close()


@contextmanager
def serving(store: str) -> Iterator[str]:
    """The application of `mlflow server` on a store, and its address. It runs in a thread, because this
    process has imported most of it already."""
    with pytest.MonkeyPatch.context() as patched:
        from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR
        from mlflow.server.fastapi_app import app

        patched.setenv(BACKEND_STORE_URI_ENV_VAR, store)
        patched.setenv(ARTIFACT_ROOT_ENV_VAR, "artifacts")
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=60)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_hard_to_read_or_to_reach(browser: Any, path: Path, scheme: Any) -> None:
    """axe finds no serious problem, and the page does not scroll sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    context = browser.new_context(viewport={"width": 360, "height": 400}, color_scheme=scheme)
    page = context.new_page()
    page.goto(path.as_uri())
    press(page, "k", "w")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert serious(axe.Axe().run(page)) == []
    for key, opened in (("Enter", "#details"), ("l", "#choice")) if scheme == "dark" else ():
        press(page, key)
        assert page.locator(opened).is_visible()
        assert serious(axe.Axe().run(page, context=opened)) == []
        page.keyboard.press("Escape")
    context.close()


def serious(found: Any) -> list[Any]:
    """What axe calls serious or worse: the rule, and the elements that break it."""
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def test_one_recorded_epoch_is_seen(browser: Any, tmp_path: Path) -> None:
    """As a dot for each curve; every axis has at least one number."""
    write_page(content(reviewed(epochs=(4,)), ReportParams(), (1, 8, 8)), tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert page.locator("#card-0 .spark path.curve.dot").count() == 2
    groups = page.locator("figure", has_text="Curvature during training").locator("path.curve.dot")
    places = [groups.nth(number).bounding_box() for number in range(2)]
    assert places[0]["x"] + places[0]["width"] <= places[1]["x"]
    for number in range(page.locator("figure svg").count()):
        texts = page.locator("figure svg").nth(number).locator("text").all_text_contents()
        assert sum(text.replace(".", "").isdigit() for text in texts) >= 2
    page.close()


@pytest.mark.parametrize("columns", [["text"], ["alcohol", "ash"]], ids=["a text", "a row"])
def test_texts_and_rows_are_read(browser: Any, tmp_path: Path, columns: list[str]) -> None:
    """They are text on the page, whatever is in them: beside the sample and beside its nearest neighbours."""
    results = reviewed(columns=columns)
    write_page(content(results, ReportParams(), (1, 8, 8)), tmp_path / "index.html")
    context = browser.new_context(viewport={"width": 700, "height": 700})
    context.set_default_timeout(5000)
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    row = results.variant.row[IDS[0]]
    said = page.locator("#card-0 .words").inner_text()
    assert [f"{name} of <b>{row}</b>" in said for name in columns] == [True] * len(columns)
    press(page, "Enter")
    opened = page.inner_text("#details")
    for near in (row, row + 3, row + 6, row + 9):
        assert all(f"{name} of <b>{near % 60}</b>" in opened for name in columns)
    assert page.locator("b").count() == 0
    page.keyboard.press("Escape")
    page.fill("#filters [name=id]", f"of <B>{row}<")
    assert page.inner_text("#count") == "1 of 60 samples"
    context.close()


def test_test_samples_have_a_view_and_their_decisions_go_out_and_in(browser: Any, tmp_path: Path) -> None:
    results = reviewed(tests=True)
    write_page(content(results, ReportParams(), (1, 8, 8)), tmp_path / "index.html")
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    assert "60 of 60 training samples, and 2 of 2 test samples" in page.inner_text("header")
    assert page.inner_text("#count") == "60 of 60 samples"
    page.locator("#filter-box").evaluate("box => box.open = true")
    page.select_option("[name=split]", "test")
    assert page.inner_text("#count") == "2 of 2 test samples"
    assert "not known" not in page.inner_text("#gallery")  # no probabilities were learned of test samples
    press(page, "Enter")
    assert "no network was trained on it" in page.inner_text("#details")
    assert "cumulative loss" not in page.inner_text("#details")
    page.keyboard.press("Escape")
    press(page, "w", "k")
    page.select_option("[name=split]", "train")
    press(page, "Home", "r")
    text = exported(page)
    labels = dict(zip(results.images.ids[60:], results.images.labels[60:], strict=True))
    Path("decisions.csv").write_text(text)
    found = read_decisions(Path("decisions.csv"), results.variant, labels)
    assert [(sample, one.what) for sample, one in found.items()] == [
        (IDS[0], "remove"), ("test 1", "relabel"), ("test 0", "keep"),
    ]  # fmt: skip
    assert results.tests is not None
    assert found["test 1"].label == results.tests.scores["suggested_label"][1]
    page.evaluate("localStorage.clear()")
    page.reload()
    assert "Imported" in brought(page, text)
    assert exported(page) == text
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()
    assert errors == []
