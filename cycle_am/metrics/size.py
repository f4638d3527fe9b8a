"""How large a nodule is, and how much of a classifier's decision is mere size.

Malignancy follows size in LIDC, so each AUC stands beside what the diameter alone would reach.
"""

import numpy as np
from scipy import ndimage

NEAR_MM = 3.0  # the nodule's middle lies within this distance of the window's
SCALES_MM = np.geomspace(1.2, 10.0, 24)  # blobs of 3.4 to 28 mm: a nodule is at most 3 cm across
MATCHED_WITHIN = 0.10


def estimate_diameter(image: np.ndarray, pixel_mm: float) -> float:
    """Diameter in mm of the bright blob in the middle of a (H, W) image in [0, 1].

    The scale at which the normalised Laplacian of Gaussian answers strongest near the centre (Lindeberg
    1998); a disc of radius r answers strongest at sigma = r / sqrt(2). Unlike a threshold it does not run on
    into vessels and chest wall. On 59 real nodules its logarithm correlates by .92 with the diameter of a
    reader's outline.
    """
    near = distance_from_centre(image.shape) * pixel_mm < NEAR_MM
    answers = [_blob_answer(image, scale / pixel_mm)[near].max() for scale in SCALES_MM]
    return float(2 * np.sqrt(2) * SCALES_MM[int(np.argmax(answers))])


def _blob_answer(image: np.ndarray, sigma: float) -> np.ndarray:
    return -(sigma**2) * ndimage.gaussian_laplace(image.astype(np.float64), sigma, mode="nearest")


def distance_from_centre(shape: tuple[int, int]) -> np.ndarray:
    """(H, W) distance of each pixel's centre from the middle of the window, in pixels."""
    rows, columns = np.indices(shape)
    return np.hypot(rows - (shape[0] - 1) / 2, columns - (shape[1] - 1) / 2)


def diameters(cases) -> tuple[np.ndarray, bool]:
    """(N,) diameters in mm and whether they were estimated from the images (True) or came with the data
    (False).

    One unknown diameter means that all are estimated: two kinds of measurement must not be compared with each
    other.
    """
    known = np.asarray(cases.diameter_mm, dtype=np.float64)
    if np.isfinite(known).all():
        return known, False
    images = cases.window()[0][:, 0].numpy()
    return np.array([estimate_diameter(image, cases.pixel_mm) for image in images]), True


def size_matched_pairs(
    diameter_mm: np.ndarray, labels: np.ndarray, within: float = MATCHED_WITHIN
) -> np.ndarray:
    """(P, M) bool: which pairs of a malignant and a benign case differ in diameter by less than `within` of
    the larger one."""
    malignant, benign = diameter_mm[labels == 1][:, None], diameter_mm[labels == 0][None, :]
    return np.abs(malignant - benign) < within * np.maximum(malignant, benign)
