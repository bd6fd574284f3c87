"""``GaussianMixtureIC``: fits of several sizes and covariance families, of which the best by a criterion is kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.estimators.choices import CovarianceType
from fastgmm.estimators.nested import WithEstimator
from fastgmm.families import Family, names_of_all
from fastgmm.kernels.compiling import thread_count
from fastgmm.methods import counted, method_of
from fastgmm.rows import Rows, Shared
from fastgmm.selection.candidates import (
    CRITERIA,
    LOWER_IS_BETTER,
    Candidate,
    Folds,
    Judge,
    Patience,
    Turns,
    best_place,
    copy_with,
    judged,
    require_open,
    told_of_weights,
)
from fastgmm.support.showing import decimals, page_html, paragraph_html, shown, table_html, table_text
from fastgmm.support.typing import Self


class GaussianMixtureIC(WithEstimator):
    """The best of several mixtures: of each number of components and covariance family, by an information criterion.

    Named and shaped like scikit-learn's open pull request 26735.

    Parameters
    ----------
    min_components, max_components : int, default 1 and 9
        The numbers of components, both included.
    covariance_type : {'all', 'full', 'tied', ...} or Family, or a sequence of several, default 'all'
        As of ``GaussianMixture``. 'all': those that the estimator can fit.
    criterion : {'bic', 'aic', 'icl', 'held-out', 'evidence'}, optional
        The criterion to choose by. The lowest 'bic' (the default), 'aic' or 'icl', which punishes overlap, too; the
        highest 'held-out' mean log-likelihood of a row by fits without it, or, of a ``BayesianGaussianMixture``,
        'evidence', its lower bound (the default there).
    estimator : GaussianMixture or BayesianGaussianMixture, optional
        Holds all other parameters of the fits; default ``GaussianMixture(n_init=2)``, whose second start, of short
        fits, keeps a poor one from deciding. Its `n_components` and `covariance_type` do not matter, nor do its
        `random_state`, `n_threads` and `verbose`: those of this estimator count. A Bayesian mixture without a
        `weight_concentration_prior` gets 1 / `max_components`: bounds are compared under one prior.
    n_folds : int, default 5
        Into how many parts rows are split where some are 'held-out'.
    patience : int, optional
        A family whose criterion has not become better for so many sizes in a row is not tried with more components;
        `results_` says so. None tries all.
    random_state : int, RandomState, Generator or None
        Every fit gets the same number, drawn from it; an int is that number.
    verbose : int, default 0
        1 prints a line for each candidate.
    n_threads : int, optional
        Threads that fits share; default Numba's number. Results are the same bits for any.

    Attributes
    ----------
    best_estimator_ : GaussianMixture or BayesianGaussianMixture
        The best fit, the same as alone; ``predict``, ``score`` and the like, `weights_`, `means_` and so on are its.
        One with spurious components (a repeated value, too few rows), with as many free parameters as X has numbers,
        or with fewer rows than its covariances need, wins only where all are so.
    n_components_, covariance_type_ : int, str
        Its number of components and its family.
    criterion_ : float
        The value of its criterion.
    criterion_name_ : str
        The criterion that was chosen by.
    best_index_ : int
        Its place in `results_`.
    results_ : dict of arrays
        A row for each candidate, for ``pandas.DataFrame``: "n_components", "covariance_type", the criteria,
        "log_likelihood" (total; of a Bayesian mixture that of its Student-t predictive), "delta" (how much worse than
        the best the criterion is: less than 2 of BIC is hardly worth a mention, says Raftery 1995), "n_parameters",
        "converged", "n_iter", "spurious" (how many components), "doubt" (why the likelihood is no measure), "seconds",
        and "error", why there is no fit.
    candidates_ : list of Candidate
        The models themselves, in the same order.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgmm import GaussianMixtureIC
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 9])
    >>> selection = GaussianMixtureIC(max_components=4, random_state=0).fit(X)
    >>> selection.n_components_, selection.covariance_type_
    (2, 'tied-spherical')
    """

    best_estimator_: Any
    best_index_: int
    candidates_: list[Candidate]
    results_: dict[str, NDArray]
    criterion_: float
    criterion_name_: str
    n_components_: int
    covariance_type_: str

    def __init__(
        self,
        min_components: int = 1,
        max_components: int = 9,
        *,
        covariance_type: CovarianceType | Family | Sequence[CovarianceType | Family] | str = "all",
        criterion: str | None = None,
        estimator: GaussianMixture | BayesianGaussianMixture | None = None,
        n_folds: int = 5,
        patience: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        n_threads: int | None = None,
    ) -> None:
        self.min_components = min_components
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.criterion = criterion
        self.estimator = estimator
        self.n_folds = n_folds
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose
        self.n_threads = n_threads

    def _default_estimator(self) -> GaussianMixture:
        return GaussianMixture(n_init=2)

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        callback: Callable[[Candidate], None] | None = None,
    ) -> Self:
        """Fit all candidates to the rows of X, keep the best, and return self.

        Parameters
        ----------
        X, sample_weight : as of ``GaussianMixture.fit``
        y : ignored
        callback : callable, optional
            Called with each ``Candidate`` as it is done, in their order.

        Notes
        -----
        A candidate whose fit fails is named in `results_` and left out; ValueError where all fail. Warns
        ConvergenceWarning where the best fit did not converge, SpuriousComponentWarning where a better one was passed
        over for its spurious components, or none is without. An exception leaves the estimator as it was.
        """
        self._fit(X, sample_weight, callback)
        return self

    def _fit(self, X: ArrayLike, sample_weight: ArrayLike | None, callback: Callable[[Candidate], None] | None) -> Rows:
        criterion, prototype = self._checked()
        families = families_of(self.covariance_type, prototype)
        rows = prototype._open(X, sample_weight, minimum=2)
        density = method_of(prototype).density
        folds = None
        if criterion == "held-out":
            folds = Folds.of(rows, validation.check_count(self.n_folds, "n_folds", 2), prototype.random_state)
        wanted = [
            (n_components, given, name)
            for n_components in range(self.min_components, self.max_components + 1)
            for given, name in families
        ]

        def report(candidate: Candidate) -> None:
            if self.verbose:
                print(_line(candidate, criterion), flush=True)
            if callback is not None:
                callback(candidate)

        common, turns = Turns.of(rows, thread_count(self.n_threads), self.max_components)
        judge = Judge(prototype, common, density, folds)
        # What starts have in common is made once for all families.
        common.shared = Shared(common.standing_by)
        try:
            found = judged(judge, wanted, turns, report, Patience(self.patience, criterion))
        finally:
            common.shared = None
        self._keep(criterion, found, rows)
        return rows

    def _checked(self) -> tuple[str, Any]:
        """Return the criterion and what candidates are copies of, all parameters having been checked."""
        validation.check_count(self.min_components, "min_components", 1)
        validation.check_count(self.max_components, "max_components", 1)
        if self.max_components < self.min_components:
            raise ValueError(
                f"max_components must be at least min_components, got {self.max_components} and {self.min_components}"
            )
        if self.patience is not None:
            validation.check_count(self.patience, "patience", 1)
        estimator = self._default_estimator() if self.estimator is None else self.estimator
        if not isinstance(estimator, GaussianMixture | BayesianGaussianMixture):
            raise TypeError(
                "estimator must be a GaussianMixture or a BayesianGaussianMixture of fastgmm, "
                f"got {shown(self.estimator)}"
            )
        choices = CRITERIA["BayesianGaussianMixture" if estimator._has_prior else "GaussianMixture"]
        criterion = choices[0] if self.criterion is None else self.criterion
        validation.check_choice(criterion, "criterion", choices)
        require_open(estimator)
        state = self.random_state
        if not isinstance(state, int | np.integer):
            if estimator.checkpoint is not None:
                raise ValueError(
                    "random_state must be an int where the estimator has a checkpoint, for fits to go on from it, "
                    f"got {shown(state)}"
                )
            state = int(validation.check_random_state(state).uniform() * 2**31)
        params: dict[str, Any] = {"random_state": int(state), "n_threads": self.n_threads, "verbose": 0}
        if isinstance(estimator, BayesianGaussianMixture) and estimator.weight_concentration_prior is None:
            params["weight_concentration_prior"] = 1.0 / self.max_components
        prototype = copy_with(estimator, **params)
        prototype._validate_parameters()
        return criterion, prototype

    def _keep(self, criterion: str, candidates: list[Candidate], rows: Rows) -> None:
        values = [each.value(criterion) for each in candidates]
        lower = LOWER_IS_BETTER[criterion]
        best = best_place(values, [each.is_sound for each in candidates], lower)
        if best < 0:
            first = next(each for each in candidates if each.error)
            raise ValueError(
                f"no candidate could be fitted. The first, {_title(first)}: {first.error} Lower min_components, or "
                "raise reg_covar of the estimator."
            )
        if criterion in ("bic", "aic", "icl") and (told := told_of_weights(rows, criterion)):
            warnings.warn(told, UserWarning, stacklevel=4)
        _warn(candidates, best, best_place(values, [True] * len(values), lower), criterion)
        chosen = candidates[best]
        self.__dict__.update(
            best_estimator_=chosen.model,
            best_index_=best,
            candidates_=candidates,
            results_=_table(candidates, criterion, best),
            criterion_=values[best],
            criterion_name_=criterion,
            n_components_=chosen.n_components,
            covariance_type_=chosen.covariance_type,
        )

    def _best(self) -> Any:
        if "best_estimator_" not in self.__dict__:
            raise validation.not_fitted(type(self).__name__)
        return self.best_estimator_

    def __getattr__(self, name: str) -> Any:
        """Return a fitted attribute of the best estimator."""
        if name.endswith("_") and not name.startswith("_") and "best_estimator_" in self.__dict__:
            return getattr(self.best_estimator_, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether a best estimator is there."""
        return "best_estimator_" in self.__dict__

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit all candidates and return the labels (N,) of X by the best; arguments as of ``fit``."""
        rows = self._fit(X, sample_weight, None)
        return cast("NDArray[np.int64]", self._best().predict(rows))

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable component of each row of X (N, D) in the best mixture, as labels (N,)."""
        return cast("NDArray[np.int64]", self._best().predict(X))

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the posterior probability of each component of the best mixture for each row of X (N, D), (N, K)."""
        return cast("NDArray", self._best().predict_proba(X))

    def uncertainty(self, X: ArrayLike) -> NDArray:
        """Return 1 less the probability of the most probable component of the best mixture for each row of X, (N,)."""
        return cast("NDArray", self._best().uncertainty(X))

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D) in the best mixture, as (N,)."""
        return cast("NDArray", self._best().score_samples(X))

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density (nat) of the rows of X (N, D) in the best mixture; with weights, the weighted."""
        return float(self._best().score(X, sample_weight=sample_weight))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the best mixture, and their labels (n,)."""
        state = self.random_state if random_state is None else random_state
        return cast("tuple[NDArray, NDArray[np.int64]]", self._best().sample(n_samples, random_state=state))

    def summary(self, n: int = 5) -> str:
        """Return the `n` best candidates as a table of text, the best first."""
        self._best()
        return table_text(*self._ranking(n))

    def _repr_html_(self) -> str:
        """Return the selection as notebooks show it: the best candidates, and the best mixture."""
        if not self.__sklearn_is_fitted__():
            return page_html(self, paragraph_html("Not fitted."))
        tried = f"The best of {counted(len(self.candidates_), 'candidate')} by {self.criterion_name_}:"
        best = self.best_estimator_._repr_html_()
        return page_html(self, paragraph_html(tried), table_html(*self._ranking(5)), best)

    def _ranking(self, n: int) -> tuple[list[str], list[list[str]]]:
        """Return the header and the rows of a table of the `n` best candidates, the best first."""
        name = self.criterion_name_
        lower = LOWER_IS_BETTER[name]
        ranked = sorted(
            (each for each in self.candidates_ if each.model is not None),
            key=lambda each: (not each.is_sound, each.value(name) if lower else -each.value(name)),
        )
        header = ["components", "covariance", name, "delta", "log-likelihood", ""]
        rows = [
            [
                str(each.n_components),
                each.covariance_type,
                decimals(each.value(name), 4),
                decimals(abs(each.value(name) - self.criterion_), 4),
                decimals(each.value("log_likelihood"), 4),
                "" if each.is_sound else "spurious",
            ]
            for each in ranked[: max(n, 1)]
        ]
        return header, rows


def families_of(covariance_type: Any, prototype: Any) -> list[tuple[Any, str]]:
    """Return the covariance types that were asked for, each with the name of its family; ValueError for others."""
    if isinstance(covariance_type, str) and covariance_type == "all":
        return [(name, name) for name in names_of_all(prototype._has_prior)]
    given = [covariance_type] if isinstance(covariance_type, str | Family) else list(covariance_type)
    if not given:
        raise ValueError("covariance_type must name one family at least, got an empty sequence")
    families: dict[str, Any] = {}
    for each in given:
        trial = copy_with(prototype, covariance_type=each)
        trial._validate_parameters()
        families.setdefault(validation.check_family(each).name, each)
    return [(each, name) for name, each in families.items()]


def _title(candidate: Candidate) -> str:
    return f"{counted(candidate.n_components, 'component')}, {candidate.covariance_type}"


def _line(candidate: Candidate, criterion: str) -> str:
    found = candidate.error or f"{criterion} {decimals(candidate.value(criterion), 4)}"
    return f"{_title(candidate)}: {found} ({candidate.seconds:.2g} s)"


def _warn(candidates: list[Candidate], best: int, highest: int, criterion: str) -> None:
    """Say what a user should know of the choice."""
    chosen = candidates[best]
    doubtful = candidates[highest] if highest != best else chosen
    # That more components than rows can tell apart are passed over goes without saying.
    if doubtful.model.spurious_ or chosen.doubt:
        what = (
            f"passed over although its {criterion} is better, for"
            if doubtful is not chosen
            else "the best, though none is sound:"
        )
        warnings.warn(
            f"{_title(doubtful)}: {what} {doubtful.doubt}. Try fewer components, a larger reg_covar, or a "
            "BayesianGaussianMixture.",
            exceptions.SpuriousComponentWarning,
            stacklevel=5,
        )
    if not chosen.model.converged_:
        warnings.warn(
            f"The best candidate ({_title(chosen)}) did not converge: increase max_iter or tol of the estimator.",
            exceptions.ConvergenceWarning,
            stacklevel=5,
        )


def _table(candidates: list[Candidate], criterion: str, best: int) -> dict[str, NDArray]:
    models = [each.model for each in candidates]
    names = sorted({name for each in candidates for name in each.values} - {"log_likelihood", criterion})
    table: dict[str, NDArray] = {
        "n_components": np.array([each.n_components for each in candidates]),
        "covariance_type": np.array([each.covariance_type for each in candidates], dtype=object),
    }
    for name in (criterion, *names, "log_likelihood"):
        table[name] = np.array([each.value(name) for each in candidates])
    table["delta"] = np.abs(table[criterion] - table[criterion][best])
    table["n_parameters"] = np.array(
        [model._n_parameters() if hasattr(model, "_n_parameters") else np.nan for model in models], np.float64
    )
    table["converged"] = np.array([model is not None and bool(model.converged_) for model in models])
    table["n_iter"] = np.array([0 if model is None else model.n_iter_ for model in models])
    table["spurious"] = np.array([0 if model is None else len(model.spurious_) for model in models])
    table["doubt"] = np.array([each.doubt for each in candidates], dtype=object)
    table["seconds"] = np.array([each.seconds for each in candidates])
    table["error"] = np.array([each.error for each in candidates], dtype=object)
    return table
