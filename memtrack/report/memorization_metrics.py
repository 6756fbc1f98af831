"""metrics.json of the stages about memorization: the numbers, and how they are printed."""

from __future__ import annotations

from memtrack.config.json_files import StrictModel
from memtrack.config.sections.base import Fraction

TOO_FEW = 6
"""With fewer networks on the smaller side of a sample (trained on it, or not), on average, the AUROC of the
likelihood-ratio attack is too low: on noise it is .41 to .48 with 2, .47 to .49 with 3, .49 to .495 with 4,
and within .005 of .5 from 6 on (400 samples, shares .5, .7 and .9, equal and other variances, 60 draws)."""


class LinearMetrics(StrictModel):
    """What last layers memorize, on the features of the network (seen), and on those of networks that were
    not trained on the sample (unseen).

    models: the number of linear classifiers. seen, unseen: the number of samples with mem > 0.25.
    seen_memorized, unseen_memorized: the mean mem of the samples that count as memorized.
    """

    models: int
    seen: int
    unseen: int
    seen_memorized: float
    unseen_memorized: float

    def in_words(self) -> str:
        """The numbers in a sentence."""
        return (
            f"; linear classifiers on its features memorize {self.seen} samples (mem > 0.25), and on those "
            f"of networks that never saw the sample {self.unseen}"
        )


class LayersMetrics(StrictModel):
    """metrics.json of stage layers.

    layer: the one without which the shares of samples that are given their label differ most between
    memorized samples and others. memorized, others: these shares. pruning_auroc: how well it finds the
    corrupted samples that they are forgotten first when weights are pruned; None if they are not known.
    linear: None if it was not asked for.
    """

    samples: int
    layers: int
    layer: str
    memorized: Fraction
    others: Fraction
    pruning_auroc: Fraction | None
    linear: LinearMetrics | None = None

    def in_words(self) -> str:
        """The numbers in a sentence."""
        linear = "" if self.linear is None else self.linear.in_words()
        return (
            f"without what {self.layer} has learned, the network gives {self.memorized:.0%} of the memorized "
            f"samples and {self.others:.0%} of the others their label, the largest difference of "
            f"{self.layers} layers{linear}"
        )


class PrivacyMetrics(StrictModel):
    """The likelihood-ratio attack on the networks of stage memorization; None where a number is not defined.
    attack_auroc: how well it tells members of a training set from other samples; attack_true_positives: the
    share of the members that it finds with a false alarm for one in a thousand others. side: the mean number
    of networks on the smaller side of a sample (trained on it, or not). spearman: the rank correlation of the
    privacy score with memorization; auroc: how well the score finds corrupted samples."""

    attack_auroc: Fraction | None
    attack_true_positives: Fraction | None
    side: float
    spearman: float | None
    auroc: Fraction | None

    def in_words(self) -> str:
        """How well the attack works, in a sentence; empty if that is not known."""
        few = (
            f" (too low: on average {self.side:.1f} networks were, or were not, trained on a sample, and "
            f"{TOO_FEW} are needed: raise memorization.models)"
            if self.side < TOO_FEW
            else ""
        )
        if self.attack_auroc is None or self.attack_true_positives is None:
            return f"; no likelihood-ratio attack{few}" if few else ""
        return (
            f"; a likelihood-ratio attack tells members of a training set with AUROC {self.attack_auroc:.3f}"
            f"{few} and finds {self.attack_true_positives:.1%} of them, with one false alarm in a thousand "
            "others"
        )


class MemorizationMetrics(StrictModel):
    """metrics.json of stage memorization. memorized: the number of samples with a memorization above 0.25;
    influential_pairs: the pairs of such a sample and a test sample with an influence above 0.15; sure_pairs:
    those with an influence of more than 4 standard errors; influenced_tests: the test samples in sure pairs;
    test_accuracy: the mean over the networks."""

    models: int
    median_standard_error: float
    median_standard_error_memorized: float | None
    mean_memorization: float
    memorized: int
    influential_pairs: int
    sure_pairs: int
    influenced_tests: int
    test_accuracy: Fraction
    test_accuracy_sd: float
    privacy: PrivacyMetrics | None = None

    def in_words(self) -> str:
        """The numbers in a sentence."""
        return (
            f"{self.memorized} samples are memorized (mem > 0.25), by {self.models} networks with a test "
            f"accuracy of {self.test_accuracy:.3f}; median standard error {self.median_standard_error:.3f}; "
            f"{self.influential_pairs} influential pairs, {self.sure_pairs} of them beyond the noise, with "
            f"{self.influenced_tests} test samples{self.privacy.in_words() if self.privacy else ''}"
        )


class UtilityMetrics(StrictModel):
    """metrics.json of stage utility. test_accuracy: with all samples, the mean over the networks;
    largest_difference: the accuracy without random samples minus that without memorized ones, the largest of
    all thresholds. It belongs to `threshold`, above which `left_out` samples were. Its interval, from low to
    high, does not account for the choice of the largest."""

    models: int
    test_accuracy: Fraction
    threshold: float
    left_out: int
    largest_difference: float
    low: float | None
    high: float | None
    influenced_tests: int

    def in_words(self) -> str:
        """The numbers in a sentence."""
        interval = "" if self.low is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return (
            f"without the {self.left_out} samples with mem > {self.threshold}, test accuracy is lower than "
            f"without as many random ones, by {self.largest_difference:.4f}{interval}"
        )


class AgreementMetrics(StrictModel):
    """metrics.json of stage agreement: the `memtrack.core.evaluation.agreement.MEASURES` of each score with
    their intervals, and for each score but the best by Pearson the paired difference to the best; None if a
    measure is not defined. The intervals do not account for the choice of the best. memorized: the number of
    samples with a memorization above 0.25. resampled_from: how many of the samples each resample is drawn
    from, for the intervals of top_overlap and precision; the other intervals are of all samples."""

    samples: int
    memorized: int
    resampled_from: int | None = None
    scores: dict[str, dict[str, float | None]]
    behind_best: dict[str, dict[str, float | None]]

    def score_lines(self) -> list[str]:
        """The correlation of every score."""
        lines = []
        for key, found in self.scores.items():
            value, low, high = (found[f"pearson{end}"] for end in ("", "_low", "_high"))
            words = "is not defined" if value is None else f"{value:.3f}"
            interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
            lines.append(f"{key} Pearson {words}{interval}")
        return lines

    def in_words(self) -> str:
        """The best score, in a sentence."""
        best, found = next(iter(self.scores.items()))
        value, low, high = (found[f"pearson{end}"] for end in ("", "_low", "_high"))
        return f"{best} agrees best (Pearson {value or 0:.2f} [{low or 0:.2f}, {high or 0:.2f}])"
