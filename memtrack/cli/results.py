"""`memtrack results`: print the table of results and the command that opens MLflow."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memtrack.config import params
from memtrack.config.errors import InputError
from memtrack.config.json_files import read_json
from memtrack.config.paths import (
    AGREEMENT_RESULTS,
    AVERAGED_RESULTS,
    BENEFIT_RESULTS,
    CLEAN_RESULTS,
    DUPLICATES_RESULTS,
    EVALUATE_RESULTS,
    HALVES_RESULTS,
    LAYERS_RESULTS,
    MEMORIZATION_RESULTS,
    QUALITY_RESULTS,
    SUSPECTS_RESULTS,
    TRAIN_RESULTS,
    UTILITY_RESULTS,
    repeat_results,
)
from memtrack.config.validation import M
from memtrack.report.memorization_metrics import (
    AgreementMetrics,
    LayersMetrics,
    MemorizationMetrics,
    UtilityMetrics,
)
from memtrack.report.metrics import (
    AveragedMetrics,
    BenefitMetrics,
    CleaningMetrics,
    DuplicatesMetrics,
    EvaluateMetrics,
    HalvesMetrics,
    QualityMetrics,
    SuspectsMetrics,
)
from memtrack.runs.metrics import METRICS, TrainMetrics
from memtrack.terminal.entry_point import entry_point
from memtrack.tracking.address import located, tracking_uri

SENTENCES: dict[
    Path,
    type[DuplicatesMetrics]
    | type[QualityMetrics]
    | type[CleaningMetrics]
    | type[BenefitMetrics]
    | type[MemorizationMetrics]
    | type[UtilityMetrics]
    | type[AveragedMetrics]
    | type[HalvesMetrics]
    | type[LayersMetrics],
] = {
    DUPLICATES_RESULTS: DuplicatesMetrics,
    QUALITY_RESULTS: QualityMetrics,
    CLEAN_RESULTS: CleaningMetrics,
    BENEFIT_RESULTS: BenefitMetrics,
    MEMORIZATION_RESULTS: MemorizationMetrics,
    UTILITY_RESULTS: UtilityMetrics,
    AVERAGED_RESULTS: AveragedMetrics,
    HALVES_RESULTS: HalvesMetrics,
    LAYERS_RESULTS: LayersMetrics,
}
"""The stages whose results are a sentence, and where they are."""
COLUMNS = {
    "sample": "id", "given": "given_label", "suggested": "suggested_label", "it seems": "kind",
    "probably wrong": "mislabelled", "suspicion": "suspicion",
}  # fmt: skip
"""The headings and the columns of scores.csv that are shown of the most suspect samples."""
NUMBERS = ("probably wrong", "suspicion")
SHOWN = 10
PUBLISHED = "-published"
"""The end of the folder of stage `published`, after the name of the variant."""


@entry_point
def main(argv: list[str] | None = None) -> int:
    """Print the table; returns 1 if no variant has been evaluated."""
    argparse.ArgumentParser(prog="memtrack results", description=__doc__).parse_args(argv)
    loaded = params.load()
    several = bool(loaded.repeat.seeds)
    files = _Metrics()
    own, theirs = (
        {name: files.read(AgreementMetrics, AGREEMENT_RESULTS / f"{name}{end}") for name in chosen}
        for chosen, end in ((loaded.memorization.variants, ""), (loaded.memorization.published, PUBLISHED))
    )
    agreements = theirs | own
    compared = any(agreements.values())
    title = "Which score finds the corrupted labels?"
    table = Table(title=f"{title} Which one measures memorization?" if compared else title)
    for heading in ("variant", "score"):
        table.add_column(heading, no_wrap=True)
    interval = f"{loaded.evaluate.confidence:.0%} interval"
    headings = ["AUROC", interval, "behind the best", *["mean ± sd (seeds)"] * several, "first 5%",
                *["memorization"] * compared]  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    missing, notes, evaluated, unjudged = dict[Path, str](), [], list[str](), []
    for name in loaded.variants:
        metrics = files.read(EvaluateMetrics, EVALUATE_RESULTS / name)
        agreement = agreements.get(name)
        lines = []
        if metrics is None:
            missing[EVALUATE_RESULTS / name] = name
        else:
            evaluated.append(name)
            repeats = []
            for seed in loaded.repeat.seeds:
                repeated = files.read(EvaluateMetrics, repeat_results(name, seed))
                if repeated is None:
                    missing[repeat_results(name, seed)] = f"{name} with seed {seed}"
                else:
                    repeats.append(repeated)
            if not metrics.scores:
                unjudged.append(name)
            _add(table, name, metrics, repeats if several else None, agreement)
            lines += [] if metrics.test_accuracy is None else [f"test accuracy {metrics.test_accuracy:.3f}"]
        trained = files.read(TrainMetrics, TRAIN_RESULTS / name)
        if trained is not None and trained.susceptibility is not None:
            lines.append(f"susceptibility {trained.susceptibility:.4f}")
        lines += [] if metrics is None else metrics.in_words()
        learned = files.read(SuspectsMetrics, SUSPECTS_RESULTS / name)
        lines += [] if learned is None else learned.in_words()
        for folder, kind in SENTENCES.items():
            found = files.read(kind, folder / name)
            lines += [] if found is None else [found.in_words()]
        if (published := theirs.get(name)) is not None:
            shown = " (shown in the table)" if agreement is published else ""
            lines.append(f"the published memorization: {published.in_words()}{shown}")
        notes += [f"{name}: {text}" for text in lines if text]
    console = Console(width=None if sys.stdout.isatty() else 160)
    if compared or unjudged != evaluated:
        console.print(table)
        print(
            "behind the best: the AUROC of the best score minus this one's, with its paired interval (which "
            "does not account for the choice of the best); first 5%: the share of these samples that is "
            "corrupted, and the share of all corrupted samples that is among them"
        )
    for name in unjudged:
        try:
            console.print(_most_suspect(name))
        except InputError as error:  # somebody has removed or changed scores.csv
            print(error)
    if compared:
        print(
            "memorization: the Pearson correlation with Feldman & Zhang's memorization, with its interval"
            + ("" if loaded.memorization.recipe is None else "; for the network in memorization.recipe")
        )
    print("\n".join(notes))
    for folder, stage in files.damaged.items():
        text = "is damaged, or of another version of memtrack"
        print(f"{folder / METRICS}: {text}: run `dvc repro {stage}` again")
    if names := [name for folder, name in missing.items() if folder not in files.damaged]:
        print(f"not evaluated yet: {', '.join(names)} (run `dvc repro`)")
    which = evaluated[0] if len(evaluated) == 1 else "<variant>"
    print(f"Look at the suspects and decide: results/report/{which}/index.html")
    print(f"Pictures and per-sample scores: results/evaluate/{which}/")
    print(f"Browse the runs: {ui_command(loaded)}")
    return 0 if evaluated else 1


def ui_command(loaded: params.Params) -> str:
    """How to open MLflow's web interface for the store in use."""
    uri = tracking_uri(loaded.tracking)
    if uri.startswith("http"):
        return f"open {uri}"
    return f"{_mlflow()} ui --backend-store-uri {shlex.quote(located(uri))}"


def _mlflow() -> str:
    """How to start the program that belongs to this Python, from the folder of the project."""
    program = Path(sys.executable).with_name("mlflow")
    if shutil.which("mlflow") == str(program):
        return "mlflow"
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def _most_suspect(name: str) -> Table:
    """The first rows of scores.csv: what can be said of a variant of which nobody knows what is wrong."""
    import pandas as pd  # takes half a second

    from memtrack.core.scores.suspicion import shown_kind
    from memtrack.data.manifest import KeptFolder
    from memtrack.data.tables import unguarded
    from memtrack.report.sample_tables import TABLE

    with KeptFolder(EVALUATE_RESULTS / name, f"run `dvc repro evaluate@{name}`").reading(TABLE) as path:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=SHOWN)
    shown = {heading: column for heading, column in COLUMNS.items() if column in rows and any(rows[column])}
    if "mislabelled" in rows:
        chances = pd.to_numeric(rows["mislabelled"])
        rows["kind"] = [shown_kind(*pair) for pair in zip(rows["kind"], chances, strict=True)]
    table = Table(*shown, title=f"The most suspect samples of {name}")
    for cells in rows[list(shown.values())].itertuples(index=False):
        table.add_row(*(
            Text(f"{float(cell):.3f}" if heading in NUMBERS else unguarded(cell))  # names are no markup
            for heading, cell in zip(shown, cells, strict=True)
        ))  # fmt: skip
    return table


class _Metrics:
    """Reads the numbers of stages, of which some may not have run.

    Attributes:
        damaged: the folders of the files that cannot be read, and the stage that writes each.
    """

    def __init__(self) -> None:
        self.damaged: dict[Path, str] = {}

    def read(self, kind: type[M], folder: Path) -> M | None:
        """The content of metrics.json in a folder results/STAGE/NAME; None if it is not there or damaged."""
        if not (folder / METRICS).exists():
            return None
        try:
            return read_json(kind, folder / METRICS)
        except InputError:
            stage, name = folder.parts[-2:]
            if stage == AGREEMENT_RESULTS.name and name.endswith(PUBLISHED):
                stage, name = "published", name.removesuffix(PUBLISHED)
            self.damaged[folder] = f"{stage}@{name}"
            return None


def _add(
    table: Table,
    name: str,
    metrics: EvaluateMetrics,
    repeats: Sequence[EvaluateMetrics] | None,
    agreement: AgreementMetrics | None,
) -> None:
    """Add the rows of a variant; if `repeats` is given, with a column for the mean over it and `metrics`."""
    if not metrics.scores:
        empty = [""] * (4 if repeats is None else 5)
        for row, score in enumerate(agreement.scores if agreement is not None else ("all",)):
            table.add_row("" if row else name, score, *empty, *_pearson(agreement, score))
    ordered = sorted(metrics.scores.items(), key=lambda item: -item[1].auroc)
    for row, (score, judged) in enumerate(ordered):
        behind = f"{judged.behind_best:.4f} [{judged.behind_best_low:.4f}, {judged.behind_best_high:.4f}]"
        cells = [
            f"{judged.auroc:.4f}",
            f"{judged.auroc_low:.4f} to {judged.auroc_high:.4f}",
            behind if row else "",
        ]
        if repeats is not None:
            found = [other.scores[score].auroc for other in (metrics, *repeats) if score in other.scores]
            cells.append(f"{mean(found):.4f} ± {stdev(found):.4f} ({len(found)})" if len(found) > 1 else "")
        cells.append(f"{judged.precision_first_5:.0%}, {judged.recall_first_5:.0%}")
        table.add_row("" if row else name, score, *cells, *_pearson(agreement, score))
    table.add_section()


def _pearson(agreement: AgreementMetrics | None, score: str) -> tuple[str, ...]:
    """A cell with the correlation of a score with memorization and its interval, or no cell."""
    found = agreement.scores.get(score, {}) if agreement is not None else {}
    value, low, high = (found.get(f"pearson{end}") for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return ()
    return (f"{value:.2f} [{low:.2f}, {high:.2f}]",)


if __name__ == "__main__":
    main()
