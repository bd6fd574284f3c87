"""The only loop in the package that iterates a rule over a source."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from fastgmm.fitting.extrapolation import Accelerator, ExtrapolatedFit
from fastgmm.fitting.plain import Fit, FitResult, Rule, Source, Standing, Step


def fit_steps(
    rule: Rule,
    source: Source,
    state: Any,
    *,
    tol: float,
    max_iter: int,
    stopping: str = "absolute",
    accelerator: Accelerator | None = None,
    watched: Sequence[float] = (),
    callback: Callable[[int, float, float], None] | None = None,
    keep: Callable[[Standing], None] | None = None,
) -> Generator[Step, None, FitResult]:
    """Iterate from `state`: collect, update, and stop where what `stopping` makes of the progress is below `tol`.

    At most `max_iter` updates, each of one pass over the data, and a pass at the end so that the bound reported is that
    of the state returned. Yields after each update. ``callback(iteration, progress, change)`` is called after each
    update, before its bound is known; `watched` is the progress to compare the first ones with. Scikit-learn counts and
    stops in the same way.

    With an accelerator, updates may be extrapolations: see :class:`~fastgmm.fitting.extrapolation.ExtrapolatedFit`.

    ``keep(standing)`` is called before the first iteration and after each. A fit that is given a `Standing` in place of
    a state goes on from there, with the same rule, source and options except `max_iter`, as if it had never stopped.
    """
    if accelerator is None:
        fit = Fit(rule, source, stopping, tol)
    else:
        fit = ExtrapolatedFit(rule, source, stopping, tol, accelerator)
    if isinstance(state, Standing):
        fit.resume(state)
    else:
        fit.begin(state, watched)
        if keep is not None:
            keep(fit.standing())
    while fit.n_iter < max_iter and not fit.converged:
        successor = fit.update()
        if successor is None:
            continue
        progress, change = fit.watch(successor)
        if callback is not None:
            callback(fit.n_iter, progress, change)
        step = fit.move(successor)
        if keep is not None:
            keep(fit.standing())
        yield step
    return fit.result()


def fit_loop(rule: Rule, source: Source, state: Any, **options: Any) -> FitResult:
    """Run :func:`fit_steps` to its end; arguments as there."""
    steps = fit_steps(rule, source, state, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: FitResult = end.value
            return result
