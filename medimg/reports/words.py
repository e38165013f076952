"""What each metric says, in the words of the report."""

from typing import Final

WORDS: Final = {
    "prevalence": "share of images with {positive}",
    "accuracy": "share of images called rightly; misleading when one class is rare",
    "balanced_accuracy": "mean of the shares found in each class; 0.5 (or 1/K) by chance",
    "sensitivity": "share of images with {positive} that are called so",
    "specificity": "share of the other images that are not called {positive}",
    "ppv": "share of the alarms that are true, at this test set's prevalence",
    "npv": "share of the all-clears that are true, at this test set's prevalence",
    "f1": "harmonic mean of sensitivity and PPV",
    "lr_positive": "how much an alarm multiplies the odds of {positive}",
    "lr_negative": "how much an all-clear multiplies the odds of {positive}",
    "mcc": "correlation of calls and truth, -1 to 1",
    "auc": "chance that an image with {positive} scores higher than one without",
    "average_precision": "mean PPV over all sensitivities; the prevalence by chance",
    "recall_weighted": "mean sensitivity of the classes by their size, which is the accuracy",
    "precision_macro": "mean PPV of the classes, each counting alike",
    "precision_weighted": "mean PPV of the classes, by their size",
    "f1_macro": "mean F1 of the classes, each counting alike",
    "f1_weighted": "mean F1 of the classes, by their size",
    "kappa": "agreement with the truth beyond chance: 0 by chance, 1 at best",
    "kappa_quadratic": "the same for grades: an error of two grades weighs four times as much",
    "auc_macro": "mean AUC of each class against the rest, each counting alike",
    "auc_weighted": "mean AUC of each class against the rest, by their size",
}
