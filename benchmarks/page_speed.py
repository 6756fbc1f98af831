"""How large is the page of stage report, and how soon does it show the first picture, and the last?

    python benchmarks/page_speed.py

Synthetic samples with images of 3x32x32 and 15 recorded epochs: 10,000 samples; 100,000, of which the page
shows 10,000 as it does by default; and all of 100,000. Each page is opened several times in Chromium by
Playwright, in a new context. A picture is there once its card is in the document, its sheet is decoded and
two frames have been drawn. The last one is asked for with the key End.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from memtrack.config.sections.report import ReportParams
from memtrack.report.page.content import content
from memtrack.report.page.page import write_page

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/shared"))
from reviewed import reviewed

SIZES = ((10_000, 10_000), (100_000, 10_000), (100_000, 100_000))
"""Samples of the variant, and on its page."""
SIDE, IMAGES = 32, 2000
FRAMES = """new Promise(done =>
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"""
DECODED = """async card => {
    const image = new Image();
    image.src = card.querySelector(".sprite").style.backgroundImage.slice(5, -2);
    await image.decode();
}"""


def page_file(samples: int, shown: int, folder: Path) -> tuple[Path, float]:
    """A page, and the seconds that it took to make."""
    draw = np.random.default_rng(0)
    pool = []
    for _ in range(IMAGES):  # fields with soft edges and some noise: they compress like photographs
        fields = Image.fromarray(draw.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(fields.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(float)
        noisy = np.clip(smooth + draw.normal(0, 6, smooth.shape), 0, 255)
        pool.append(noisy.astype(np.uint8).transpose(2, 0, 1))
    images = np.stack(pool)
    results = reviewed(samples, epochs=range(2, 31, 2))
    everything: Any = SimpleNamespace(**vars(results.images))
    everything.read = lambda rows: images[np.asarray(rows) % IMAGES]
    started = time.perf_counter()
    found = content(replace(results, images=everything), ReportParams(samples=shown), (3, SIDE, SIDE))
    path = folder / f"{samples}-{shown}.html"
    write_page(found, path)
    return path, time.perf_counter() - started


def opened(browser: Browser, path: Path, shown: int) -> dict[str, float]:
    """The times of one visit, in seconds, and the memory of the script at its end, in MB."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(path.as_uri(), wait_until="commit")
    page.locator("#card-0").evaluate(DECODED)
    times = {"first": page.evaluate(FRAMES) / 1000}

    def timed(name: str, *steps: Any) -> None:
        started = page.evaluate("performance.now()")
        for step in steps:
            step()
        times[name] = (page.evaluate(FRAMES) - started) / 1000

    page.focus("#gallery")
    last = page.locator(f"#card-{shown - 1}")
    timed("last", lambda: page.keyboard.press("End"), lambda: last.evaluate(DECODED))
    timed("order", lambda: page.select_option("select[name=order]", "1"))
    page.focus("#gallery")
    page.keyboard.press("Home")
    timed("mark", lambda: page.keyboard.press("k"))
    times["memory"] = page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    context.close()
    return times


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    head = ("samples", "on the page", "page (MB)", "made in (s)", "first picture (s)", "last picture (s)",
            "new order (s)", "decision (s)", "memory (MB)")  # fmt: skip
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for samples, shown in SIZES:
            path, seconds = page_file(samples, shown, Path(folder))
            visits = [opened(browser, path, shown) for _ in range(rounds)]
            cells = [f"{samples:,}", f"{shown:,}", f"{path.stat().st_size / 1e6:.1f}", f"{seconds:.1f}"]
            for name in ("first", "last", "order", "mark"):
                values = [visit[name] for visit in visits]
                cells.append(f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
            cells.append(f"{statistics.median(visit['memory'] for visit in visits):.0f}")
            print(f"| {' | '.join(cells)} |", flush=True)
        browser.close()
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
