"""Exercise of the quickstart."""

from medimg.exercises import Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="00-ppv",
        question="Of those whom the network calls ill, which share is ill?",
        kind=Number(tolerance=0.006, low=0, high=1),
        expected=lambda: 72 / (72 + 30),
        right="Nearly a third of its alarms are false, although it finds nine of ten of the ill.",
        hints=(
            "Everybody whom the network calls ill goes below the line; the ill among them above.",
            "Called ill are the ill that were found and the healthy that were alarmed.",
        ),
        mistakes=(
            Mistake(
                "That is the sensitivity: of the ill, how many were found. Start from those who "
                "were *called* ill instead.",
                like=lambda: 72 / 80,
            ),
            Mistake(
                "That is the specificity: of the healthy, how many were left in peace. Start from "
                "those who were called ill.",
                like=lambda: 90 / 120,
            ),
            Mistake(
                "That is the accuracy: of all people, how many were called rightly. Start from "
                "those who were called ill.",
                like=lambda: (72 + 90) / 200,
            ),
            Mistake(
                "That is the share of everybody that is called ill and is. Divide by those called "
                "ill, not by all.",
                like=lambda: 72 / 200,
            ),
        ),
    ),
)
