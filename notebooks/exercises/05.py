"""Exercises of notebook 5, explain."""

from medimg.exercises import Choice, Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="05-weight",
        question="What does the channel add to the map at the upper left place?",
        kind=Number(tolerance=0.004),
        expected=lambda: 0.2,
        right="One weight for the whole channel, times how strongly it answers at that place.",
        hints=(
            "Grad-CAM gives each channel one weight: the mean of its gradient over the places.",
            "Then multiply this weight by the activation at the place asked for.",
        ),
        mistakes=(
            Mistake(
                "That uses the gradient of that place alone, as LayerCAM does. Grad-CAM averages "
                "the gradient over all places first.",
                like=lambda: 0.4 * 2.0,
            ),
            Mistake(
                "That is the channel's weight. Multiply it by the activation at the upper left.",
                like=lambda: 0.1,
            ),
            Mistake(
                "That is summed over all places; only the upper left place was asked for.",
                like=lambda: 0.1 * 4.0,
            ),
        ),
    ),
    Exercise(
        name="05-chance",
        question="How many times better than chance is the map?",
        kind=Number(tolerance=0.05),
        expected=lambda: (30 / 100) / 0.04,
        right="A map of noise would have pointed into the lesion in four of a hundred images.",
        hints=(
            "How often would a place drawn at random lie inside the lesion?",
            "Divide what was reached by what chance reaches.",
        ),
        mistakes=(
            Mistake(
                "That is the difference. The question asks for a factor.",
                when=lambda value: abs(value - 0.26) < 0.005 or abs(value - 26) < 0.5,
            ),
            Mistake(
                "Upside down: how many times *more* often than chance did it point rightly?",
                like=lambda: 0.04 / 0.3,
            ),
            Mistake("That is the score itself; set it against chance.", like=lambda: 0.3),
        ),
    ),
    Exercise(
        name="05-convict",
        question="Which test tells most about a suspected shortcut through the machine?",
        kind=Choice("a", "b", "c", "d"),
        expected=lambda: "c",
        right="With the machine held fixed it tells nothing; if the AUC falls, it was the reason.",
        hints=("Take the suspect away, or hold it fixed, and see what is left.",),
        mistakes=(
            Mistake(
                "The maps lie on the hip already; a plausible map rules out no wrong reason.",
                when=lambda value: value == "a",
            ),
            Mistake(
                "More films from the same hospital share the same shortcut: the interval narrows "
                "around the wrong number.",
                when=lambda value: value == "b",
            ),
            Mistake(
                "Shuffling tells whether the map depends on the network at all, not which of its "
                "reasons is wrong.",
                when=lambda value: value == "d",
            ),
        ),
    ),
)
