"""Exercise of the quickstart."""

from medimg.exercises import Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="00-ppv",
        question="Of the people whom the network calls positive, what share has pneumonia?",
        kind=Number(tolerance=0.006, low=0, high=1),
        expected=lambda: 72 / (72 + 30),
        right="It finds nine of ten people with pneumonia, but nearly a third of its positive "
        "results are false alarms.",
        hints=(
            "Divide by the number of people whom the network calls positive. Above the line go "
            "those of them who have pneumonia.",
            "The people called positive are the true positives and the false positives together.",
        ),
        mistakes=(
            Mistake(
                "That is the sensitivity: of the people with pneumonia, the share that was found. "
                "Divide by the people *called* positive instead.",
                like=lambda: 72 / 80,
            ),
            Mistake(
                "That is the specificity: of the people without pneumonia, the share that was "
                "called normal. Start from the people called positive.",
                like=lambda: 90 / 120,
            ),
            Mistake(
                "That is the accuracy: of all people, the share that was called correctly. Start "
                "from the people called positive.",
                like=lambda: (72 + 90) / 200,
            ),
            Mistake(
                "Of all people, that is the share who have pneumonia and are called positive. "
                "Divide by the people called positive, not by all people.",
                like=lambda: 72 / 200,
            ),
        ),
    ),
)
