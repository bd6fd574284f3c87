"""Slow, obvious twins of what the package computes: dense covariances, explicit loops, no sharing of code with it."""

import numpy as np


def log_joint(X, weights, means, matrices):
    """log pi_k + log N(x_n | mu_k, Sigma_k) by the textbook formula, (N, K)."""
    X = np.asarray(X, float)
    out = np.empty((len(X), len(weights)))
    for k in range(len(weights)):
        gap = X - means[k]
        sign, log_det = np.linalg.slogdet(matrices[k])
        assert sign > 0
        distance = np.einsum("na,na->n", gap, np.linalg.solve(matrices[k], gap.T).T)
        with np.errstate(divide="ignore"):
            out[:, k] = np.log(weights[k]) - 0.5 * (distance + log_det + means.shape[1] * np.log(2 * np.pi))
    return out


def log_sum_exp(values):
    peak = values.max(axis=1)
    return peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))


def responsibilities(X, weights, means, matrices):
    joint = log_joint(X, weights, means, matrices)
    return np.exp(joint - log_sum_exp(joint)[:, None])


def projection(family, matrices):
    """The projection by the family's structure of a stack of K symmetric matrices (of scatters: sums)."""
    if family.has_matrices:
        return matrices.sum(axis=0) if family.uses_total else matrices
    if family.block_shape(2):
        return np.diagonal(matrices, axis1=1, axis2=2)
    return np.trace(matrices, axis1=1, axis2=2)


def moments(family, X, weight, r, origin):
    """mass, deviation and scatter about the origin, one row and component at a time."""
    n_components, n_features = origin.shape
    mass = np.zeros(n_components)
    deviation = np.zeros((n_components, n_features))
    scatter = np.zeros((n_components, n_features, n_features))
    for n in range(len(X)):
        for k in range(n_components):
            gap = np.asarray(X[n], float) - origin[k]
            mass[k] += weight[n] * r[n, k]
            deviation[k] += weight[n] * r[n, k] * gap
            scatter[k] += weight[n] * r[n, k] * np.outer(gap, gap)
    return mass, deviation, projection(family, scatter)


def em_step(family, X, weight, r, reg_covar):
    """Weights, means and covariances (the structure's shape) of highest likelihood, straight from responsibilities."""
    wr = weight[:, None] * r
    mass = wr.sum(axis=0)
    means = (wr.T @ X) / mass[:, None]
    scatters = np.stack([(wr[:, k, None] * (X - means[k])).T @ (X - means[k]) for k in range(len(mass))])
    return mass / mass.sum(), means, covariances(family, mass, scatters, reg_covar)


def covariances(family, mass, scatters, reg_covar):
    """Covariances of highest likelihood, in the structure's shape, for scatters (K, D, D) about the means.

    Every registered family has its line here.
    """
    n_components, n_features, _ = scatters.shape
    own = scatters / mass[:, None, None] + reg_covar * np.eye(n_features)
    shared = scatters.sum(axis=0) / mass.sum() + reg_covar * np.eye(n_features)
    variances = np.diagonal(own, axis1=1, axis2=2)

    def shared_last():
        return np.column_stack([variances[:, :-1], np.full(n_components, shared[-1, -1])])

    return {
        "full": lambda: own,
        "tied": lambda: shared,
        "diag": lambda: variances,
        "spherical": lambda: variances.mean(axis=1),
        "tied-diag": lambda: np.tile(np.diag(shared), (n_components, 1)),
        "tied-spherical": lambda: np.full(n_components, np.trace(shared) / n_features),
        "VEI": lambda: proportional_variances(mass, variances),
        "EVI": lambda: variances * (_mean_volume(mass, variances) / geometric(variances))[:, None],
        "VEE": lambda: proportional_matrices(mass, own),
        "EVE": lambda: on_common_axes(mass, own, True),
        "VVE": lambda: on_common_axes(mass, own, False),
        "EEV": lambda: _on_own_axes(own, lambda values: np.tile(mass @ values / mass.sum(), (n_components, 1))),
        "VEV": lambda: _on_own_axes(own, lambda values: proportional_variances(mass, values)),
        "EVV": lambda: own * (_mean_volume(mass, _spectra(own)) / geometric(_spectra(own)))[:, None, None],
        "shared-last": shared_last,
    }[family.name]()


def geometric(variances):
    """Geometric means of the rows."""
    return np.exp(np.log(variances).mean(axis=1))


def _mean_volume(mass, variances):
    return mass @ geometric(variances) / mass.sum()


def _spectra(matrices):
    return np.linalg.eigvalsh(matrices)


def _on_own_axes(own, change):
    values, vectors = np.linalg.eigh(own)
    return np.einsum("kad,kd,kbd->kab", vectors, change(values), vectors)


def proportional_variances(mass, variances):
    """Variances (K, D), a number for each k times a number for each d: a root of the likelihood's derivatives.

    By t_d = -log a_d the likelihood is -sum_k n_k log sum_d s_kd exp(t_d), where all t_d sum to 0.
    """
    from scipy.optimize import root

    share = mass / mass.sum()

    def derivatives(t):
        parts = variances * np.exp(t)
        return share @ (parts / parts.sum(axis=1, keepdims=True)) - 1.0 / len(t) + t.sum()

    start = -np.log(share @ variances)
    t = root(derivatives, start - start.mean(), tol=1e-14).x
    return np.outer((variances * np.exp(t)).mean(axis=1), np.exp(-t))


def proportional_matrices(mass, own):
    """A number for each k times one matrix of determinant 1, in turn until the last digit."""
    n_features = own.shape[1]
    volumes = np.ones(len(mass))
    for _ in range(3000):
        shape = np.einsum("k,kab->ab", mass / volumes, own)
        shape /= np.linalg.det(shape) ** (1 / n_features)
        volumes = np.einsum("ab,kba->k", np.linalg.inv(shape), own) / n_features
    return volumes[:, None, None] * shape


def common_axes(mass, own, has_one_volume):
    """Columns (D, D) of the best axes for all matrices: of several starts, and a root of the cost's derivatives.

    Flury (1984), Common principal components in k groups, has the case of own volumes.
    """
    from scipy.linalg import expm
    from scipy.optimize import minimize, root

    n_features = own.shape[1]
    pairs = np.tril_indices(n_features, -1)

    def turned(axes, angles):
        skew = np.zeros((n_features, n_features))
        skew[pairs] = angles
        return axes @ expm(skew - skew.T)

    def cost(axes):
        logs = np.log(np.einsum("ad,kab,bd->kd", axes, own, axes)).mean(axis=1)
        return np.log(mass @ np.exp(logs)) if has_one_volume else mass @ logs / mass.sum()

    def derivatives(axes):
        inside = axes.T @ own @ axes
        along = np.diagonal(inside, axis1=1, axis2=2)
        weight = mass * np.exp(np.log(along).mean(axis=1)) if has_one_volume else mass
        return np.einsum("k,kab->ab", weight / weight.sum(), inside * (1 / along[:, :, None] - 1 / along[:, None, :]))[
            pairs
        ]

    starts = [np.linalg.eigh(each)[1] for each in [np.einsum("k,kab->ab", mass, own), *own]]
    none = np.zeros(len(pairs[0]))
    best = min(
        (turned(axes, minimize(lambda a, axes=axes: cost(turned(axes, a)), none).x) for axes in starts), key=cost
    )
    return turned(best, root(lambda angles: derivatives(turned(best, angles)), none, tol=1e-14).x)


def on_common_axes(mass, own, has_one_volume):
    """Matrices with common axes, and one volume or their own."""
    axes = common_axes(mass, own, has_one_volume) if own.shape[1] > 1 else np.eye(1)
    along = np.einsum("ad,kab,bd->kd", axes, own, axes)
    if has_one_volume:
        along = along * (_mean_volume(mass, along) / geometric(along))[:, None]
    return np.einsum("ad,kd,bd->kab", axes, along, axes)


class Law:
    """The variational posterior from responsibilities, family by family as the textbooks write it (and the prior).

    Dirichlet weights, or sticks; means normal given the precisions. `psi` are Wishart scales as dense lists of blocks:
    full (K, D, D), tied one (D, D), diag gamma rates doubled (K, D), spherical (K,), tied-diag one (D,), tied-spherical
    one ().
    """

    def __init__(self, name, X, w, r, alpha, beta, m0, nu0, psi0, sticks):
        X, m0 = np.asarray(X, float), np.asarray(m0, float)
        self.name, self.sticks, self.D = name, sticks, X.shape[1]
        self.prior = alpha, beta, m0, nu0, psi0
        wr = w[:, None] * r
        self.n = wr.sum(axis=0)
        K = len(self.n)
        self.K = K
        self.kappa = beta + self.n
        self.m = (beta * m0 + wr.T @ X) / self.kappa[:, None]
        if sticks:
            self.a = 1 + self.n
            self.b = alpha + np.array([self.n[k + 1 :].sum() for k in range(K)])
        else:
            self.a = alpha + self.n
        # sum w r x x^T + beta m0 m0^T - kappa m m^T: Murphy's form, which shares nothing with the package's.
        second = np.einsum("nk,na,nb->kab", wr, X, X) + beta * np.outer(m0, m0)
        second = second - self.kappa[:, None, None] * np.einsum("ka,kb->kab", self.m, self.m)
        if name == "full":
            self.nu, self.psi = nu0 + self.n, psi0 + second
        elif name == "tied":
            self.nu, self.psi = nu0 + self.n.sum(), psi0 + second.sum(axis=0)
        elif name == "diag":
            self.nu, self.psi = nu0 + self.n, psi0 + np.diagonal(second, axis1=1, axis2=2)
        elif name == "tied-diag":
            self.nu, self.psi = nu0 + self.n.sum(), psi0 + np.diagonal(second.sum(axis=0))
        elif name == "tied-spherical":
            self.nu, self.psi = nu0 + self.D * self.n.sum(), psi0 + np.trace(second.sum(axis=0))
        else:
            self.nu, self.psi = nu0 + self.D * self.n, psi0 + np.trace(second, axis1=1, axis2=2)

    def _nu(self, k):
        return self.nu if self.name.startswith("tied") else self.nu[k]

    def _psi(self, k):
        return self.psi if self.name.startswith("tied") else self.psi[k]

    def expected_precision(self, k):
        """E Lambda_k, (D, D)."""
        if self.name in ("full", "tied"):
            return self._nu(k) * np.linalg.inv(self._psi(k))
        return np.diag(np.broadcast_to(self._nu(k) / self._psi(k), self.D))

    def expected_log_det(self, k):
        """E log |Lambda_k|."""
        from scipy.special import digamma

        if self.name in ("full", "tied"):
            psi = self._psi(k)
            i = np.arange(1, self.D + 1)
            return digamma((self._nu(k) + 1 - i) / 2).sum() + self.D * np.log(2) - np.linalg.slogdet(psi)[1]
        return np.sum(np.broadcast_to(digamma(self._nu(k) / 2) + np.log(2 / self._psi(k)), self.D))

    def expected_log_weights(self):
        from scipy.special import digamma

        if self.sticks:
            log_v, log_rest = (digamma(x) - digamma(self.a + self.b) for x in (self.a, self.b))
            return np.array([log_v[k] + log_rest[:k].sum() for k in range(self.K)])
        return digamma(self.a) - digamma(self.a.sum())

    def expected_log_joint(self, X):
        """PRML 10.46, (N, K)."""
        out = np.empty((len(X), self.K))
        log_weights = self.expected_log_weights()
        for k in range(self.K):
            gap = X - self.m[k]
            square = np.einsum("na,ab,nb->n", gap, self.expected_precision(k), gap) + self.D / self.kappa[k]
            out[:, k] = log_weights[k] + 0.5 * (self.expected_log_det(k) - self.D * np.log(2 * np.pi) - square)
        return out

    def bound(self, X, w, r):
        """The evidence lower bound term by term, PRML 10.70 to 10.77, for these responsibilities."""
        from scipy import stats
        from scipy.special import betaln, digamma, gammaln

        alpha, beta, m0, nu0, psi0 = self.prior
        wr = w[:, None] * r
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy_z = -np.sum(w[:, None] * np.where(r > 0, r * np.log(r), 0.0))
        # 10.71 and 10.72
        total = np.sum(wr * self.expected_log_joint(X)) + entropy_z
        # 10.73 and 10.76: weights
        if self.sticks:
            for a, b in zip(self.a, self.b, strict=True):
                # The law of a stick, whose entropy SciPy 1.10 integrates to eight digits where it is stats.beta.
                law = stats.dirichlet([a, b])

                log_v, log_rest = digamma(a) - digamma(a + b), digamma(b) - digamma(a + b)
                total += (1 - 1) * log_v + (alpha - 1) * log_rest - betaln(1, alpha) + law.entropy()
        else:
            total += gammaln(self.K * alpha) - self.K * gammaln(alpha) + (alpha - 1) * self.expected_log_weights().sum()
            if self.K > 1:
                total += stats.dirichlet(self.a).entropy()
        # 10.74 and 10.77: means given precisions, whose E log |Lambda| / 2 cancel
        for k in range(self.K):
            gap = self.m[k] - m0
            total += 0.5 * self.D * np.log(beta / self.kappa[k]) + 0.5 * self.D
            total -= 0.5 * beta * (self.D / self.kappa[k] + gap @ self.expected_precision(k) @ gap)
        # precisions
        if self.name in ("full", "tied"):
            for k in range(self.K if self.name == "full" else 1):
                W = np.linalg.inv(self._psi(k))
                posterior = stats.wishart(self._nu(k), W)
                log_b0 = 0.5 * nu0 * np.linalg.slogdet(psi0)[1] - 0.5 * nu0 * self.D * np.log(2)
                log_b0 -= self.D * (self.D - 1) / 4 * np.log(np.pi)
                log_b0 -= gammaln((nu0 + 1 - np.arange(1, self.D + 1)) / 2).sum()
                total += log_b0 + 0.5 * (nu0 - self.D - 1) * self.expected_log_det(k)
                total += -0.5 * self._nu(k) * np.trace(np.atleast_2d(psi0) @ W) + posterior.entropy()
        else:
            # One gamma law for each entry of psi.
            psi = np.asarray(self.psi)
            nu = np.broadcast_to(
                np.reshape(self.nu, np.shape(self.nu) + (1,) * (psi.ndim - np.ndim(self.nu))), psi.shape
            )
            scale0 = np.broadcast_to(psi0, psi.shape)
            for n, p, p0 in zip(np.ravel(nu), np.ravel(psi), np.ravel(scale0), strict=True):
                log_lambda, mean = digamma(n / 2) - np.log(p / 2), n / p
                total += nu0 / 2 * np.log(p0 / 2) - gammaln(nu0 / 2) + (nu0 / 2 - 1) * log_lambda - p0 / 2 * mean
                total += stats.gamma(n / 2, scale=2 / p).entropy()
        return total


def log_marginal(name, X, beta, m0, nu0, psi0):
    """log p(X) of one component, parameters integrated out: the closed form of each family's Normal-Wishart model."""
    from scipy.special import gammaln, multigammaln

    X = np.asarray(X, float)
    n, D = X.shape
    kappa, mean = beta + n, X.mean(axis=0)
    scatter = (X - mean).T @ (X - mean) + beta * n / kappa * np.outer(mean - m0, mean - m0)
    total = -0.5 * n * D * np.log(np.pi) + 0.5 * D * np.log(beta / kappa)
    if name in ("full", "tied"):
        psi, nu = psi0 + scatter, nu0 + n
        log_det0, log_det = np.linalg.slogdet(psi0)[1], np.linalg.slogdet(psi)[1]
        return total + multigammaln(nu / 2, D) - multigammaln(nu0 / 2, D) + 0.5 * nu0 * log_det0 - 0.5 * nu * log_det
    if name in ("diag", "tied-diag"):
        psi, nu = psi0 + np.diag(scatter), nu0 + n
        each = gammaln(nu / 2) - gammaln(nu0 / 2) + 0.5 * nu0 * np.log(psi0) - 0.5 * nu * np.log(psi)
        return total + each.sum()
    psi, nu = psi0 + np.trace(scatter), nu0 + n * D
    return total + gammaln(nu / 2) - gammaln(nu0 / 2) + 0.5 * nu0 * np.log(psi0) - 0.5 * nu * np.log(psi)


def student_density(law, x):
    """The posterior predictive density of rows x, (N,), by SciPy's t laws (PRML 10.81)."""
    from scipy import stats

    if law.sticks:
        v = law.a / (law.a + law.b)
        weights = v * np.array([np.prod(1 - v[:k]) for k in range(law.K)])
        weights /= weights.sum()
    else:
        weights = law.a / law.a.sum()
    total = np.zeros(len(x))
    for k in range(law.K):
        wider = (1 + law.kappa[k]) / law.kappa[k]
        if law.name in ("full", "tied"):
            df = law._nu(k) + 1 - law.D
            shape = law._psi(k) * wider / df
            density = stats.multivariate_t(law.m[k], shape, df).pdf(x)
        elif law.name in ("diag", "tied-diag"):
            scale = np.sqrt(law._psi(k) / law._nu(k) * wider)
            density = stats.t(law._nu(k), law.m[k], scale).pdf(x).prod(axis=1)
        else:
            shape = np.eye(law.D) * law._psi(k) / law._nu(k) * wider
            density = stats.multivariate_t(law.m[k], shape, law._nu(k)).pdf(x)
        total += weights[k] * np.ravel(density)
    return total
