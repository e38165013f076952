"""Kinds of answer that hold several values: arrays, lists of numbers, the learner's function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises.kinds import Kind
from medimg.exercises.reading import BLANK, Problem, describe, is_blank, plain


@dataclass(frozen=True)
class Array(Kind):
    """An array of finite numbers; ``shape`` is checked when given, None standing for any size."""

    shape: tuple[int | None, ...] | None = None
    tolerance: float = 1e-4
    nan_ok: bool = False

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        shown = answer
        if callable(getattr(answer, "detach", None)):
            answer = answer.detach().cpu()
        try:
            value: NDArray[np.float64] = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError):
            return Problem(f"This asks for numbers only; you gave {describe(shown)}.")
        if self.shape is not None and not self._fits(value.shape):
            return Problem(self._misfit(value.shape, shown))
        if not self.nan_ok and not np.isfinite(value).all():
            count = int((~np.isfinite(value)).sum())
            return Problem(
                f"{count} of your values are not finite (NaN or infinite): look for a division "
                "by zero, or for missing values on the way."
            )
        return value

    def _fits(self, shape: tuple[int, ...]) -> bool:
        wanted = self.shape or ()
        return len(shape) == len(wanted) and all(
            want is None or want == size for size, want in zip(shape, wanted, strict=True)
        )

    def _misfit(self, shape: tuple[int, ...], given: object) -> str:
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in self.shape or ()) + ")"
        return f"This asks for an array of shape {wanted}; yours has {shape}."

    def same(self, value: Any, reference: Any) -> bool:
        """Compare shapes, and each element within the tolerance."""
        wanted = np.asarray(reference, dtype=np.float64)
        return value.shape == wanted.shape and bool(
            np.allclose(value, wanted, rtol=0, atol=self.tolerance, equal_nan=self.nan_ok)
        )

    def keys(self, value: Any) -> tuple[str, ...]:
        """Return each element in steps of the tolerance."""
        return (" ".join(str(round(item / (2 * self.tolerance))) for item in value.ravel()),)


@dataclass(frozen=True)
class Numbers(Array):
    """A list of ``length`` numbers, in order."""

    length: int = 0
    tolerance: float = 0.005

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        if isinstance(answer, str | dict | set) or callable(answer):
            given = describe(answer)
            return Problem(f"This asks for a list of {self.length} numbers; you gave {given}.")
        value = super().read(answer)
        if isinstance(value, Problem) or value.shape == (self.length,):
            return value
        return Problem(
            f"This asks for a list of {self.length} numbers; you gave {describe(answer)}."
        )


@dataclass(frozen=True)
class Function(Kind):
    """The learner's own function, tried on ``cases`` (each a tuple of arguments).

    The reference, and each mistake's ``like``, are functions too and are called on the same cases.
    """

    cases: Sequence[tuple[Any, ...]]
    tolerance: float = 1e-6

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        if not callable(answer):
            return Problem(
                f"This asks for the function itself, by its name without brackets; "
                f"you gave {describe(answer)}."
            )
        results = []
        for case in self.cases:
            shown = ", ".join(_short(argument) for argument in case)
            try:
                # A copy: a function that alters its argument must not spoil the next case.
                results.append(plain(answer(*deepcopy(case))))
            except (Exception, SystemExit) as error:  # anything the learner's code may raise
                return Problem(
                    f"Your function stopped with {type(error).__name__}: {error} - "
                    f"when it was called with ({shown})."
                )
        if all(is_blank(result) for result in results):
            return BLANK
        for case, result in zip(self.cases, results, strict=True):
            if is_blank(result):
                shown = ", ".join(_short(argument) for argument in case)
                return Problem(f"Your function returned nothing when called with ({shown}).")
        return results

    def doubt(self, value: Any, reference: Any = None) -> str:
        """Name the first case that goes wrong, and what the learner's function gave there."""
        for case, given, wanted in zip(self.cases, value, reference or (), strict=False):
            if not _alike(given, wanted, self.tolerance):
                shown = ", ".join(_short(argument) for argument in case)
                said = describe(given) if isinstance(given, str) else _short(given)
                return f"Called with ({shown}), your function gave {said}, and that is not right."
        return ""

    def same(self, value: Any, reference: Any) -> bool:
        """Compare the results case by case."""
        return all(
            _alike(one, other, self.tolerance) for one, other in zip(value, reference, strict=True)
        )

    def resolve(self, reference: Callable[..., Any], context: dict[str, Any]) -> Any:
        """Call the reference on every case."""
        return [plain(reference(*deepcopy(case))) for case in self.cases]


def _short(argument: object) -> str:
    """Show a case's argument: small values as they are, arrays by their shape."""
    if isinstance(argument, np.ndarray) and argument.size > 6:
        return describe(argument)
    text = repr(argument.tolist() if isinstance(argument, np.ndarray) else argument)
    return text if len(text) <= 60 else describe(argument)


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    """Compare what two functions returned: numbers and arrays closely, all else exactly."""
    try:
        first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    except (TypeError, ValueError):
        return type(one) is type(other) and bool(one == other)
    return first.shape == second.shape and bool(
        np.allclose(first, second, rtol=0, atol=tolerance, equal_nan=True)
    )
