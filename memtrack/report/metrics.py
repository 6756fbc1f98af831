"""metrics.json of the stages after training: the numbers, and how they are printed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Strict

from memtrack.config.json_files import StrictModel
from memtrack.config.sections.base import Fraction

ISSUES = {
    "leak": "in the test split",
    "conflicting_leak": "in the test split under another label",
    "outlier": "outlying",
    "dark": "dark",
    "light": "light",
    "blurry": "blurry",
    "low_information": "low in information",
    "odd_size": "of odd size",
    "odd_aspect_ratio": "of odd shape",
    "small_class": "in a small class",
}
"""What stage quality looks for, in words and in the order of issues.csv."""
LEAKS = ("leak", "conflicting_leak")
RECOVERED = 0.8
"""The share of the flipped labels that should be suggested back: below it the estimates are doubtful."""


class ScoreMetrics(StrictModel):
    """How well a score finds the corrupted samples; see `memtrack.core.evaluation.detection.Detection`.
    behind_best is the AUROC of the best score minus that of this one, with its paired interval; 0 for the
    best one itself. The intervals follow from DeLong's covariance; they do not account for the choice of the
    best."""

    auroc: Fraction
    auroc_low: Fraction
    auroc_high: Fraction
    average_precision: Fraction
    precision_at_count: Fraction
    precision_first_1: Fraction
    recall_first_1: Fraction
    precision_first_5: Fraction
    recall_first_5: Fraction
    precision_first_10: Fraction
    recall_first_10: Fraction
    behind_best: Fraction
    behind_best_low: float
    behind_best_high: float


class ConflictMetrics(StrictModel):
    """Conflicting duplicates: which label the network predicts at the end, as shares of the pairs, and how
    well each score finds both samples of a pair, as an AUROC."""

    pairs: int
    prefers_original: Fraction
    prefers_copy: Fraction
    prefers_neither: Fraction
    auroc_of_both: dict[str, Fraction]


class HeldOutMetrics(StrictModel):
    """The test split, as the last recorded network predicts it. wrong, wrong_low, wrong_high, called: the
    estimated number of wrong test labels and its interval, and how many are wrong with a probability above
    1/2; auroc_of_flips: how well test labels that were flipped on purpose are told from others. None if
    nothing was learned."""

    samples: int
    accuracy: Fraction
    auroc_of_flips: Fraction | None = None
    wrong: float | None = None
    wrong_low: float | None = None
    wrong_high: float | None = None
    called: int | None = None

    def in_words(self) -> list[str]:
        """The numbers in a sentence; none if nothing was learned."""
        if self.wrong is None:
            return []
        return [
            f"about {self.wrong:.0f} of the {self.samples} test labels are wrong [{self.wrong_low:.0f}, "
            f"{self.wrong_high:.0f}] (learned from flips, found with AUROC {self.auroc_of_flips:.3f}); "
            f"{self.called} are probably wrong"
        ]


class EvaluateMetrics(StrictModel):
    """metrics.json of stage evaluate. `scores` is empty if no label is known to be corrupted. The test
    accuracy of somebody's own training is not known, nor is their test split."""

    samples: int
    corrupted: int
    test_accuracy: Fraction | None
    scores: dict[str, ScoreMetrics]
    conflicts: ConflictMetrics | None = None
    test: HeldOutMetrics | None = None
    warnings: Annotated[tuple[str, ...], Strict(False)] = ()

    def score_lines(self) -> list[str]:
        """The AUROC of every score."""
        return [
            f"{key} AUROC {judged.auroc:.4f} [{judged.auroc_low:.4f}, {judged.auroc_high:.4f}]"
            for key, judged in self.scores.items()
        ]

    def in_words(self) -> list[str]:
        """What a reader should know besides the AUROCs, in sentences."""
        found = [f"warning: {text}" for text in self.warnings]
        if not self.scores:
            known = "every" if self.corrupted == self.samples else "no"
            found.append(f"{known} label is known to be corrupted: there are scores, but no AUROC")
        if self.conflicts is not None:
            ends = self.conflicts
            found.append(
                f"{ends.pairs} conflicting duplicates: at the end the network predicts the original's label "
                f"for {ends.prefers_original:.0%}, the copy's for {ends.prefers_copy:.0%} and another for "
                f"{ends.prefers_neither:.0%}"
            )
        return found if self.test is None else [*found, *self.test.in_words()]


class SuspectsMetrics(StrictModel):
    """metrics.json of stage suspects; all None if the variant is not in suspects.variants.

    auroc_of_flips: how well the learned suspicion tells flipped from other trusted labels, by weights that
    other samples gave. recovered: the share of the flipped labels for which the given one is suggested.
    wrong: the estimated number of wrong labels, from wrong_low to wrong_high. called: the
    number of samples that are mislabelled with a probability above 1/2, with the expected share of wrong ones
    among them, and of all wrong ones that are among them. precision, recall: the same two as they are, if the
    corrupted samples are known."""

    auroc_of_flips: Fraction | None = None
    wrong: float | None = None
    wrong_low: float | None = None
    wrong_high: float | None = None
    called: int | None = None
    expected_precision: Fraction | None = None
    expected_recall: Fraction | None = None
    precision: Fraction | None = None
    recall: Fraction | None = None
    recovered: Fraction | None = None

    def in_words(self) -> list[str]:
        """The numbers in sentences; none if nothing was learned."""
        if self.wrong is None:
            return []
        text = (
            f"about {self.wrong:.0f} labels are wrong [{self.wrong_low:.0f}, {self.wrong_high:.0f}] (learned "
            f"from flips, found with AUROC {self.auroc_of_flips:.3f}); {self.called} are probably wrong"
        )
        if self.expected_precision is not None and self.expected_recall is not None:
            text += (
                f", {self.expected_precision:.0%} of which should be, {self.expected_recall:.0%} of all "
                "wrong ones"
            )
        if self.precision is not None and self.recall is not None:
            text += f" (in truth {self.precision:.0%} and {self.recall:.0%})"
        if self.doubt is None:
            return [text]
        text_of_doubt = f"{self.doubt}, and fewer labels may be wrong than that. A better network helps "
        return [text, f"{text_of_doubt}(train for longer, or with pretrained weights)"]

    @property
    def doubt(self) -> str | None:
        """Why the probabilities are doubtful; None if they are not."""
        if self.recovered is None or self.recovered >= RECOVERED:
            return None
        return (
            f"the right label is suggested for {self.recovered:.0%} of the flipped ones only: the network "
            "knows the classes badly"
        )


class AveragedMetrics(StrictModel):
    """metrics.json of stage averaged; all None if the variant is not in averaged.variants.

    trainings: their number, that of stage train included. agreement: Spearman's correlation of `suspicion`
    between two of them, the mean over all pairs. least_accuracy, largest_accuracy: on the test split."""

    trainings: int | None = None
    agreement: float | None = None
    least_accuracy: Fraction | None = None
    largest_accuracy: Fraction | None = None

    def in_words(self) -> str:
        """The numbers in a sentence; empty if there are none."""
        if self.trainings is None:
            return ""
        return (
            f"{self.trainings} trainings with test accuracies from {self.least_accuracy:.3f} to "
            f"{self.largest_accuracy:.3f}; suspicion agrees between two of them with a rank correlation of "
            f"{self.agreement:.3f}"
        )


class HalvesMetrics(StrictModel):
    """metrics.json of stage halves; all None if the variant is not in halves.variants.

    mean_holdout_loss, holdout_accuracy: of all samples, each in the network of the other half. wrong: the
    number of wrong labels, estimated by confident learning. forgotten: the share of the samples that are
    misclassified after their network was trained on the other half."""

    mean_holdout_loss: float | None = None
    holdout_accuracy: Fraction | None = None
    wrong: float | None = None
    forgotten: Fraction | None = None

    def in_words(self) -> str:
        """The numbers in a sentence; empty if there are none."""
        if self.wrong is None:
            return ""
        return (
            f"in networks that never saw the sample, mean loss {self.mean_holdout_loss:.4f} and accuracy "
            f"{self.holdout_accuracy:.3f}; about {self.wrong:.0f} labels are wrong by confident learning; "
            f"{self.forgotten:.1%} of the samples are forgotten while the other half is learned"
        )


class DuplicatesMetrics(StrictModel):
    """metrics.json of stage duplicates. An exact pair is a sample and the first one with the same pixels."""

    exact_pairs: int
    near_pairs: int
    groups: int
    conflicting_groups: int

    def in_words(self) -> str:
        """The numbers in a sentence."""
        return (
            f"{self.exact_pairs} exact and {self.near_pairs} near pairs of duplicates; "
            f"{self.conflicting_groups} of {self.groups} groups have different labels"
        )


class QualityMetrics(StrictModel):
    """metrics.json of stage quality: how many training and test samples have each kind of issue. A leak
    counts on both sides. usual: the kinds that so large a share of the images has that they are not listed.
    leaks, conflicting_leaks: the pairs."""

    train: dict[str, int]
    test: dict[str, int]
    usual: dict[str, Fraction]
    leaks: int
    conflicting_leaks: int

    def in_words(self) -> str:
        """The numbers in a sentence."""
        counts = [
            f"{self.train.get(kind, 0)} + {self.test.get(kind, 0)} {words}"
            for kind, words in ISSUES.items()
            if (kind in self.train or kind in self.test) and kind not in LEAKS
        ]
        text = "issues of training + test images: " + (", ".join(counts) or "none")
        if self.leaks or self.conflicting_leaks:
            both = self.leaks + self.conflicting_leaks
            text += (
                f"; pairs of a training and a test image that are the same, or nearly: {both}, "
                f"{self.conflicting_leaks} of them under different labels"
            )
        for kind, share in self.usual.items():
            text += f"; {share:.0%} of the images are {ISSUES[kind]}, too many to list"
        return text


class MendedMetrics(StrictModel):
    """The test split with the labels that a person has mended: how many were looked at, changed and removed;
    the accuracy of the last recorded network with the labels as they were, as they are, and the difference
    with its interval, which is paired by sample."""

    decided: int
    relabelled: int
    removed: int
    accuracy_given: Fraction
    accuracy_mended: Fraction
    difference: float
    difference_low: float
    difference_high: float

    def in_words(self) -> str:
        """The numbers in a sentence."""
        return (
            f"of {self.decided} test samples that were looked at, {self.relabelled} were relabelled and "
            f"{self.removed} removed: test accuracy {self.accuracy_given:.4f} as given, "
            f"{self.accuracy_mended:.4f} as mended ({self.difference:+.4f} [{self.difference_low:+.4f}, "
            f"{self.difference_high:+.4f}])"
        )


class CleaningMetrics(StrictModel):
    """metrics.json of stage clean. relabelled, removed, weighted: samples whose label was changed, that were
    removed, or that stay with a weight below 1; decided: those that were looked at. If some labels are known
    to be wrong: how many were before, and how many are among the samples that stay; right_lost: right labels
    that were changed or removed. test: None unless somebody has looked at test samples."""

    samples: int
    decided: int
    relabelled: int
    removed: int
    weighted: int = 0
    wrong_before: int | None = None
    wrong_after: int | None = None
    right_lost: int | None = None
    test: MendedMetrics | None = None

    def in_words(self) -> str:
        """The numbers in a sentence."""
        text = f"cleaned: {self.relabelled} of {self.samples} labels changed, {self.removed} samples removed"
        if self.weighted:
            text += f", {self.weighted} weighted"
        if self.wrong_before is not None:
            text += (
                f"; {self.wrong_after} labels are wrong, before {self.wrong_before} were, and "
                f"{self.right_lost} right ones were changed or removed"
            )
        return text if self.test is None else f"{text}; {self.test.in_words()}"


class BenefitMetrics(StrictModel):
    """metrics.json of stage benefit: mean test accuracies over the seeds with the given labels, the cleaned
    ones, without as many random samples as cleaning changed, and with the right labels if they are known.
    gain: cleaned minus given; over_random: cleaned minus random; each with its paired interval over seeds,
    which needs two of them."""

    seeds: int
    changed: int
    given: Fraction
    cleaned: Fraction
    random: Fraction
    true: Fraction | None
    gain: float
    gain_low: float | None
    gain_high: float | None
    over_random: float
    over_random_low: float | None
    over_random_high: float | None

    def in_words(self) -> str:
        """The numbers in a sentence."""
        best = "" if self.true is None else f", with the right labels {self.true:.4f}"
        interval = "" if self.gain_low is None else f" [{self.gain_low:+.4f}, {self.gain_high:+.4f}]"
        return (
            f"test accuracy with the given labels {self.given:.4f}, with the cleaned ones {self.cleaned:.4f} "
            f"({self.gain:+.4f}{interval}), without as many random samples {self.random:.4f}{best} "
            f"({'one seed' if self.seeds == 1 else f'means over {self.seeds} seeds'})"
        )
