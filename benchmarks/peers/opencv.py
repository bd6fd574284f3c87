"""OpenCV's EM, ``cv2.ml.EM``: full and diagonal covariances, in float64.

pip install "opencv-python-headless<5"      # later versions leave the module ml out

It ends with an E-step, so that n updates are its ``maxCount`` n + 1. Its spherical covariances are updated otherwise.
"""

import time

import cv2
import numpy as np

KINDS = {"full": cv2.ml.EM_COV_MAT_GENERIC, "diag": cv2.ml.EM_COV_MAT_DIAGONAL}

ABOUT = {"name": "OpenCV", "version": cv2.__version__, "families": tuple(KINDS)}


def fit(problem, n_iterations, method):
    covariances = problem.covariances
    if problem.covariance_type == "diag":
        covariances = covariances[..., None] * np.eye(problem.means.shape[1])
    model = cv2.ml.EM_create()
    model.setClustersNumber(len(problem.weights))
    model.setCovarianceMatrixType(KINDS[problem.covariance_type])
    model.setTermCriteria((cv2.TERM_CRITERIA_COUNT, n_iterations + 1, 0.0))
    begin = time.perf_counter()
    done, *_ = model.trainE(problem.X, problem.means, cv2.Mat(covariances, wrap_channels=False), problem.weights)
    seconds = time.perf_counter() - begin
    if not done:
        raise RuntimeError("OpenCV's EM failed")
    covariances = np.array(model.getCovs())
    if problem.covariance_type == "diag":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    return seconds, (model.getWeights()[0], model.getMeans(), covariances)
