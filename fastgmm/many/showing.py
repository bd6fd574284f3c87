"""Many fits as a notebook shows them."""

from __future__ import annotations

from typing import Any

from fastgmm.many.status import Status
from fastgmm.support.showing import more_of, page_html, paragraph_html, table_html

# Problems in the table; more are counted.
_SHOWN_PROBLEMS = 10


def as_html(result: Any) -> str:
    """Return the result of many fits: how they ended, the estimator that was passed, and the first problems."""
    header = ["problem", "status", "iterations", "lower bound"]
    if result.keys is not None:
        header.insert(1, "group")
    rows = []
    for i in range(min(len(result), _SHOWN_PROBLEMS)):
        status = Status(result.status[i])
        end = status.name.lower().replace("_", " ")
        has_fit = status <= Status.NOT_CONVERGED
        group = [] if result.keys is None else [str(result.keys[i])]
        found = [str(int(result.n_iter_[i])), f"{result.lower_bound_[i]:.6g}"] if has_fit else ["", ""]
        rows.append([str(i), *group, end, *found])
    of_each = f"Each is a {result.estimator!r}; result[i] is the fit of problem i."
    more = more_of((len(result) - _SHOWN_PROBLEMS, "problem"))
    return page_html(result, paragraph_html(f"{of_each}{more}"), *[table_html(header, rows)] * bool(rows))
