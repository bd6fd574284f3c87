"""``GaussianMixtureClassifier``: a mixture for each class, or a component for each with covariances in common."""

from __future__ import annotations

import math
import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators import GaussianMixture
from fastgmm.methods import describe, method_of
from fastgmm.predictors.base import Predictor, fitted_in_one_unit
from fastgmm.selection import GaussianMixtureIC
from fastgmm.selection.estimator import families_of
from fastgmm.statistics import Array
from fastgmm.support.showing import more_of, paragraph_html, shown, table_html
from fastgmm.support.typing import Self

MODEL_TYPES = ("MclustDA", "EDDA")

# Classes that a notebook shows; more are counted.
_SHOWN_CLASSES = 20


class GaussianMixtureClassifier(Predictor):
    """Discriminant analysis by mixtures, like mclust's ``MclustDA``.

    After Hastie and Tibshirani (1996), and Fraley and Raftery (2002).

    Parameters
    ----------
    model_type : {'MclustDA', 'EDDA'}, default 'MclustDA'
        'MclustDA': each class has a mixture of its own. 'EDDA': each class is one component, and the covariance family
        says what classes have in common ('tied': linear discriminant analysis; 'full': quadratic; 'diag': naive Bayes).
        No EM is needed (Bensmail and Celeux 1996).
    estimator : GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC, optional
        Of 'MclustDA' the mixture of a class, which stays as it is; default ``GaussianMixtureIC(max_components=5)``,
        which chooses a size and a family for each class by BIC. A Bayesian mixture counts by its Student-t predictive
        density. Of 'EDDA' a ``GaussianMixture``, whose `covariance_type`, `reg_covar` and `n_threads` count, or a
        ``GaussianMixtureIC`` (the default) of several families, the best of which is chosen by BIC. Columns are in one
        unit, the narrowest standard deviation, for the fits.
    priors : (C,) array-like, optional
        The probabilities of the classes, in the order of `classes_`; default their shares of the rows of the fit.

    Attributes
    ----------
    classes_ : (C,)
        The classes, sorted.
    class_prior_ : (C,)
    mixtures_ : list of C fitted mixtures
        One for each class.
    covariance_type_ : str
        The family that 'EDDA' has.
    n_features_in_, feature_names_in_ : as of ``GaussianMixture``

    Examples
    --------
    >>> from fastgmm import GaussianMixtureClassifier, datasets
    >>> iris = datasets.load_iris()
    >>> classifier = GaussianMixtureClassifier("EDDA").fit(iris.data, iris.target)
    >>> classifier.covariance_type_, round(classifier.score(iris.data, iris.target), 2)
    ('VEV', 0.98)
    """

    _estimator_type = "classifier"
    _fitted_name = "mixtures_"
    _weighted_methods = ("fit", "score")

    classes_: NDArray
    class_prior_: Array
    mixtures_: list[Any]
    covariance_type_: str

    def __init__(self, model_type: str = "MclustDA", *, estimator: Any = None, priors: ArrayLike | None = None) -> None:
        self.model_type = model_type
        self.estimator = estimator
        self.priors = priors

    @property
    def _takes_noise(self) -> bool:
        """Whether a share of a mixture may be uniform noise: of one for a class, not of a component for a class."""
        return self.model_type != "EDDA"

    def _default_estimator(self) -> Any:
        if self.model_type == "EDDA":
            return GaussianMixtureIC()
        return GaussianMixtureIC(max_components=5, estimator=GaussianMixture(n_init=2), patience=2, random_state=0)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: a classifier of two classes or more."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            input_tags=InputTags(),
            classifier_tags=ClassifierTags(),
        )

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixtures of all classes and return self.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers
        y : (N,) array-like
            The class of each row: numbers, strings, or whatever can be sorted; two classes at least.
        sample_weight : (N,) array-like >= 0, or the name of a column of X, optional
            A row of weight w counts as w copies.

        Notes
        -----
        Errors name the class whose mixture could not be fitted. An exception leaves the estimator as it was.
        """
        validation.check_choice(self.model_type, "model_type", MODEL_TYPES)
        self._checked_estimator()
        rows, targets, weight, names = self._training_rows(X, y, sample_weight)
        classes, members = _classes(targets)
        counts = np.asarray(np.bincount(members, weight, len(classes)), np.float64)
        if not np.all(counts > 0.0):
            raise ValueError(f"class {shown(classes[np.argmin(counts)])} has no row with a weight above 0.")
        fitted: dict[str, Any] = {
            "classes_": classes,
            "class_prior_": _priors(self.priors, counts),
            "n_features_in_": rows.shape[1],
        }
        if self.model_type == "EDDA":
            fitted |= self._eigenvalue_decomposition(rows, members, weight, len(classes))
        else:
            fitted["mixtures_"] = [
                self._mixture_of_class(
                    shown(each), rows[members == c], None if weight is None else weight[members == c], names
                )
                for c, each in enumerate(classes)
            ]
        for name in ("feature_names_in_", "covariance_type_"):
            self.__dict__.pop(name, None)
        self.__dict__.update(fitted if names is None else fitted | {"feature_names_in_": names})
        return self

    def _parts_html(self) -> list[str]:
        """Return a table of the classes."""
        rows = [
            [str(each), f"{prior:.4f}", describe(mixture)]
            for each, prior, mixture in zip(self.classes_, self.class_prior_, self.mixtures_, strict=True)
        ]
        family = self.__dict__.get("covariance_type_")
        common = "" if family is None else f"Covariance family of the classes: {family}."
        said = f"{common}{more_of((len(rows) - _SHOWN_CLASSES, 'mixture'))}".strip()
        table = table_html(["class", "probability", "mixture"], rows[:_SHOWN_CLASSES])
        return [table, *[paragraph_html(said)] * bool(said)]

    def _mixture_of_class(self, name: str, rows: NDArray, weight: Array | None, names: NDArray | None) -> Any:
        """Return the mixture of the rows of one class; errors and warnings say which."""
        mixture = self._mixture()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                fitted = fitted_in_one_unit(mixture, rows, weight, names)
            except ValueError as error:
                raise ValueError(
                    f"the mixture of class {name} ({len(rows)} rows) could not be fitted: {str(error).rstrip('.')}. "
                    'Fewer components, a larger reg_covar, or model_type="EDDA" need fewer rows.'
                ) from error
        # Rows come without them, once they are checked.
        vars(fitted).pop("feature_names_in_", None)
        for each in caught:
            warnings.warn(f"class {name}: {each.message}", each.category, stacklevel=3)
        return fitted

    def _eigenvalue_decomposition(
        self, rows: NDArray, members: NDArray[np.int64], weight: Array | None, n_classes: int
    ) -> dict[str, Any]:
        """Return one mixture of a component for each class, of the family that is given or best by BIC, in parts."""
        prototype = self._mixture()
        chosen: Any = [getattr(prototype, "covariance_type", None)]
        if isinstance(prototype, GaussianMixtureIC):
            wanted = prototype.covariance_type
            prototype = GaussianMixture() if prototype.estimator is None else prototype.estimator
            chosen = [family for family, _ in families_of(wanted, prototype)]
        if not isinstance(prototype, GaussianMixture):
            raise TypeError(
                "estimator must be a GaussianMixture, or a GaussianMixtureIC of such, where model_type is 'EDDA': each "
                f"class is one component, got {shown(self.estimator)}"
            )
        best, least, first = None, math.inf, None
        for family in chosen:
            try:
                joint = _by_class(prototype, family, rows, members, weight, n_classes)
            except ValueError as error:
                first = first or error
                continue
            value = _bic(joint, rows, members, weight)
            if value < least:
                best, least = joint, value
        if best is None:
            raise ValueError(f"no covariance family could be fitted to the classes: {first}") from first
        mixtures = [_component(best, c) for c in range(n_classes)]
        return {"mixtures_": mixtures, "covariance_type_": best._family().name}

    def _joint(self, X: ArrayLike) -> Array:
        """Return log p(class) + log p(row | class) for each row of X (N, D) and class, (N, C), in nat."""
        rows = self._fitted_rows(X)
        with np.errstate(divide="ignore"):
            log_priors = np.log(self.class_prior_)
        joint = np.column_stack(
            [
                np.asarray(mixture.score_samples(rows, **method_of(mixture).density), np.float64) + log_prior
                for mixture, log_prior in zip(self.mixtures_, log_priors, strict=True)
            ]
        )
        far = joint.max(axis=1) == -np.inf
        if far.any():
            raise exceptions.OutOfRangeError(
                f"row {int(far.argmax())} of X is so far from all classes that its squared distances overflow"
            )
        return joint

    def predict(self, X: ArrayLike) -> NDArray:
        """Return the most probable class of each row of X (N, D), as (N,)."""
        joint = self._joint(X)
        return self.classes_[joint.argmax(axis=1)]

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Return the log-probability of each class for each row of X (N, D), as (N, C)."""
        joint = self._joint(X)
        gap = joint - joint.max(axis=1, keepdims=True)
        return np.asarray(gap - np.log(np.exp(gap).sum(axis=1, keepdims=True)))

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probability of each class for each row of X (N, D), as (N, C)."""
        return np.exp(self.predict_log_proba(X))

    def score_samples(self, X: ArrayLike) -> Array:
        """Return the log-density (nat) of each row of X (N, D), whatever its class, as (N,)."""
        joint = self._joint(X)
        peak = joint.max(axis=1)
        return np.asarray(peak + np.log(np.exp(joint - peak[:, None]).sum(axis=1)))

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of the rows of X (N, D) whose class is predicted right; with weights, the weighted share."""
        found, wanted = self.predict(X), np.asarray(y)
        if wanted.shape != found.shape:
            raise ValueError(f"y must have the shape {found.shape}, a class for each row of X, got {wanted.shape}.")
        weight = validation.check_sample_weight(sample_weight, len(found))
        return float(np.average(found == wanted, weights=weight))


def _classes(targets: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the sorted classes, and the number of each row's class; ValueError where targets are no classes."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected: give y.ravel().",
            exceptions.DataConversionWarning,
            stacklevel=4,
        )
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {targets.shape} instead.")
    if targets.dtype.kind == "f":
        validation.require_finite(targets, "y")
        if np.any(targets != np.floor(targets)):
            raise ValueError(
                "Unknown label type: continuous. y must hold classes, and holds numbers that are no integers: take a "
                "GaussianMixtureRegressor for these, or make them strings."
            )
    if targets.dtype.kind == "O":
        missing = [row for row, value in enumerate(targets) if value is None or value != value]
        if missing:
            raise ValueError(
                f"y must hold a class for each row, and has none in row {missing[0]}: leave such rows out."
            )
    try:
        classes, members = np.unique(targets, return_inverse=True)
    except TypeError as error:
        raise ValueError(f"y must hold classes of one kind, which can be sorted: {error}.") from error
    if len(classes) < 2:
        raise ValueError(f"y must hold two classes at least; got one class: {shown(classes[0])}.")
    return classes, members.astype(np.int64)


def _priors(priors: Any, counts: Array) -> Array:
    """Return the checked probabilities of the classes, whose weights in the fit are `counts`."""
    if priors is None:
        return np.asarray(counts / counts.sum(), np.float64)
    array = np.asarray(validation.as_array(priors, "priors"), np.float64)
    if array.shape != counts.shape or not np.all(array >= 0.0) or not math.isclose(array.sum(), 1.0, rel_tol=1e-6):
        raise ValueError(f"priors must be {len(counts)} numbers >= 0 that sum to 1, one for each class, got {array}.")
    return array / array.sum()


def _by_class(
    model: GaussianMixture,
    family: Any,
    rows: NDArray,
    members: NDArray[np.int64],
    weight: Array | None,
    n_classes: int,
) -> GaussianMixture:
    """Return the mixture whose components are the classes: maximum likelihood, for the class of each row is known."""
    known = GaussianMixture(
        n_classes,
        covariance_type=validation.check_family(family),
        reg_covar=model.reg_covar,
        n_threads=model.n_threads,
        init_params=members,
        max_iter=0,
    )
    with warnings.catch_warnings():
        # One update is the maximum: there is nothing to converge.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return cast("GaussianMixture", fitted_in_one_unit(known, rows, weight, None))


def _bic(joint: GaussianMixture, rows: NDArray, members: NDArray[np.int64], weight: Array | None) -> float:
    """Return the Bayesian information criterion of rows and their classes."""
    with np.errstate(divide="ignore"):
        log_densities = np.asarray(joint._estimate_weighted_log_prob(rows), np.float64)
    own = log_densities[np.arange(len(rows)), members]
    total = len(rows) if weight is None else float(weight.sum())
    return float(-2.0 * (own.sum() if weight is None else weight @ own) + joint._n_parameters() * math.log(total))


def _component(joint: GaussianMixture, c: int) -> GaussianMixture:
    """Return one component of a mixture, as a mixture."""
    family, covariances = joint._covariances()
    means = np.asarray(joint.means_, np.float64)[c : c + 1]
    covariance = family.matrices(covariances, *np.shape(joint.means_))[c]
    return GaussianMixture.from_parameters([1.0], means, covariance[None], n_threads=joint.n_threads)
