"""Exercises of notebook 8, diabetic retinopathy."""

from __future__ import annotations

from collections.abc import Sequence

from medimg.exercises import Exercise, Function, Mistake, Number

CASES = (
    ([0.1, 0.2], ["good", "good"], 0.5),
    ([0.1, 0.7], ["good", "fair"], 0.5),
    ([0.7, 0.1], ["good", "good"], 0.5),
    ([0.5, 0.1], ["good", "good"], 0.5),
    ([0.1, 0.1], ["good", "ungradable"], 0.5),
    ([0.1], ["ungradable"], 0.5),
    ([0.9, 0.8], ["good", "good"], 0.95),
)


def decide(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Refer when an eye is positive or cannot be graded."""
    return max(scores) >= threshold or "ungradable" in quality


def by_mean(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Average the eyes, as a wrong answer does."""
    return sum(scores) / len(scores) >= threshold or "ungradable" in quality


def scores_only(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Forget the quality."""
    return max(scores) >= threshold


def above(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Ask for more than the threshold."""
    return max(scores) > threshold or "ungradable" in quality


def both(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Ask for both eyes."""
    return min(scores) >= threshold or "ungradable" in quality


EXERCISES = (
    Exercise(
        name="08-decide",
        question="Should this person be seen by an ophthalmologist?",
        kind=Function(cases=CASES),
        expected=decide,
        right="Either eye decides, and an eye that cannot be graded has not been screened.",
        hints=(
            "Two reasons to refer, joined by `or`.",
            "`any(...)` is True when one of several things is; `in` looks a word up in a list.",
        ),
        mistakes=(
            Mistake(
                "The quality is not used yet: an ungradable eye is referred.", like=scores_only
            ),
            Mistake(
                "A mean lets a healthy eye hide a diseased one. Either eye decides.", like=by_mean
            ),
            Mistake("A score equal to the threshold counts as positive: use >=.", like=above),
            Mistake("One diseased eye is enough; you ask for both.", like=both),
        ),
    ),
    Exercise(
        name="08-ppv",
        question="What is the PPV when 10 % of the people screened have the disease?",
        kind=Number(tolerance=0.006, low=0, high=1),
        expected=lambda: 0.10 * 0.872 / (0.10 * 0.872 + 0.90 * (1 - 0.907)),
        right="Half of the referrals are false alarms, although the test itself is good.",
        hints=(
            "Imagine 1,000 people: 100 have the disease, 900 do not.",
            "Of the 100 it finds 87; of the 900 it alarms 84.",
        ),
        mistakes=(
            Mistake(
                "That is the sensitivity. Start from everybody with a positive result.",
                when=lambda value: abs(value - 0.872) < 0.003,
            ),
            Mistake(
                "That is the PPV at the prevalence of the trial. Use 10 % instead.",
                like=lambda: 0.238 * 0.872 / (0.238 * 0.872 + 0.762 * (1 - 0.907)),
            ),
            Mistake(
                "That is the NPV: of the negative results, how many are right.",
                like=lambda: 0.9 * 0.907 / (0.9 * 0.907 + 0.1 * (1 - 0.872)),
            ),
            Mistake(
                "False alarms come from the people without the disease: 1 - specificity, not "
                "specificity.",
                like=lambda: 0.0872 / (0.0872 + 0.9 * 0.907),
            ),
        ),
    ),
)
