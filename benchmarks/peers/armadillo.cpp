// Armadillo's own EM from given parameters, for armadillo.py: columns of X, means and covariances are contiguous.

#include <armadillo>
#include <chrono>

namespace {

template <typename Model, typename Number, typename Covariances>
double fit(const Number* data, arma::uword n_samples, arma::uword n_features, arma::uword n_components,
           arma::uword n_iterations, Number* weights, Number* means, Number* covariances) {
    const arma::Mat<Number> X(const_cast<Number*>(data), n_features, n_samples, false, true);
    const arma::uword size = Covariances::size(n_features) * n_components;
    Model model;
    model.set_params(arma::Mat<Number>(means, n_features, n_components),
                     Covariances::template read<Number>(covariances, n_features, n_components),
                     arma::Row<Number>(weights, n_components));
    const auto begin = std::chrono::steady_clock::now();
    const bool done =
        model.learn(X, n_components, arma::eucl_dist, arma::keep_existing, 0, n_iterations, Number(0), false);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::copy_n(model.hefts.memptr(), n_components, weights);
    std::copy_n(model.means.memptr(), n_features * n_components, means);
    std::copy_n(Covariances::memory(model), size, covariances);
    return done ? seconds : -1.0;
}

struct Full {
    static arma::uword size(arma::uword n_features) { return n_features * n_features; }
    template <typename Number>
    static arma::Cube<Number> read(const Number* from, arma::uword n_features, arma::uword n_components) {
        return arma::Cube<Number>(from, n_features, n_features, n_components);
    }
    template <typename Model>
    static auto memory(const Model& model) { return model.fcovs.memptr(); }
};

struct Diagonal {
    static arma::uword size(arma::uword n_features) { return n_features; }
    template <typename Number>
    static arma::Mat<Number> read(const Number* from, arma::uword n_features, arma::uword n_components) {
        return arma::Mat<Number>(from, n_features, n_components);
    }
    template <typename Model>
    static auto memory(const Model& model) { return model.dcovs.memptr(); }
};

}  // namespace

#define FIT(NAME, MODEL, NUMBER, COVARIANCES)                                                                          \
    extern "C" double NAME(const NUMBER* X, std::size_t n, std::size_t d, std::size_t k, std::size_t iterations,       \
                           NUMBER* weights, NUMBER* means, NUMBER* covariances) {                                      \
        return fit<MODEL, NUMBER, COVARIANCES>(X, n, d, k, iterations, weights, means, covariances);                   \
    }

FIT(full_float64, arma::gmm_full, double, Full)
FIT(full_float32, arma::fgmm_full, float, Full)
FIT(diag_float64, arma::gmm_diag, double, Diagonal)
FIT(diag_float32, arma::fgmm_diag, float, Diagonal)

extern "C" const char* version() {
    static const std::string text = arma::arma_version::as_string();
    return text.c_str();
}
