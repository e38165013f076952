"""Exercises of notebook 5, explain."""

from medimg.exercises import Choice, Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="05-weight",
        question="What does the channel add to the Grad-CAM map at the upper left place?",
        kind=Number(tolerance=0.004),
        expected=lambda: 0.2,
        right="One weight for the whole channel, times its activation at that place.",
        hints=(
            "Grad-CAM gives each channel one weight: the mean of its gradient over all places.",
            "Then multiply this weight by the activation at the upper left place.",
        ),
        mistakes=(
            Mistake(
                "You used the gradient of that place alone, as LayerCAM does. Grad-CAM first "
                "averages the gradient over all places.",
                like=lambda: 0.4 * 2.0,
            ),
            Mistake(
                "That is the channel's weight. Multiply it by the activation at the upper left.",
                like=lambda: 0.1,
            ),
            Mistake(
                "That is the sum over all places. The question asks for only the upper left place.",
                like=lambda: 0.1 * 4.0,
            ),
        ),
    ),
    Exercise(
        name="05-chance",
        question="By what factor is the map better than chance?",
        kind=Number(tolerance=0.05),
        expected=lambda: (30 / 100) / 0.04,
        right="A map of noise would point into the lesion in about 4 of 100 images.",
        hints=(
            "How often would a random place lie inside the lesion?",
            "Divide the map's share of hits by the share that chance gives.",
        ),
        mistakes=(
            Mistake(
                "That is the difference. The question asks for a factor: divide.",
                when=lambda value: abs(value - 0.26) < 0.005 or abs(value - 26) < 0.5,
            ),
            Mistake(
                "You divided the wrong way round: divide the map's result by chance.",
                like=lambda: 0.04 / 0.3,
            ),
            Mistake("That is the map's own result. Divide it by chance.", like=lambda: 0.3),
        ),
    ),
    Exercise(
        name="05-proof",
        question="Which test tells you most about a suspected shortcut through the machine?",
        kind=Choice("a", "b", "c", "d"),
        expected=lambda: "c",
        right="Within one machine, the machine cannot predict the label. If the AUC falls, "
        "the network used the machine.",
        hints=("Remove the suspected cause, or keep it the same in all images. What is left?",),
        mistakes=(
            Mistake(
                "The maps already lie on the hip. A plausible map can have a wrong reason.",
                when=lambda value: value == "a",
            ),
            Mistake(
                "More images from the same hospital have the same shortcut. The interval becomes "
                "narrower, but around the wrong number.",
                when=lambda value: value == "b",
            ),
            Mistake(
                "Shuffling the weights tells you whether the map depends on what the network "
                "learned, not whether it learned the machine.",
                when=lambda value: value == "d",
            ),
        ),
    ),
)
