"""How large a nodule is, and how much of a classifier's decision is mere size.

Malignancy follows size in LIDC, so each AUC stands beside what the diameter alone would reach.
"""

import numpy as np
from scipy import ndimage

TISSUE = 0.4  # -440 HU on the [0, 1] scale of -1000..400 HU: half way between parenchyma and soft tissue
LARGEST_MM = 30.0  # a nodule is at most 3 cm across, anything larger is called a mass
MATCHED_WITHIN = 0.10


def component_near_centre(tissue: np.ndarray) -> np.ndarray:
    """The connected part of a (H, W) bool map that lies nearest to its centre; all False where the map is
    empty."""
    labelled, count = ndimage.label(tissue)
    if count == 0:
        return np.zeros_like(tissue)
    rows, columns = np.indices(tissue.shape)
    middle = (np.array(tissue.shape) - 1) / 2
    distance = np.hypot(rows - middle[0], columns - middle[1])
    nearest = np.argmin(np.where(tissue, distance, np.inf))
    return labelled == labelled.flat[nearest]


def estimate_diameter(image: np.ndarray, pixel_mm: float) -> float:
    """Diameter in mm of the disc with the area of the dense structure nearest to the centre of a (H, W) image
    in [0, 1].

    A rough stand-in for sources without outlines. Thin bridges to the chest wall are cut by an opening, and
    only the central 3 cm count. 0 where nothing is dense.
    """
    rows, columns = np.indices(image.shape)
    middle = (np.array(image.shape) - 1) / 2
    central = np.hypot(rows - middle[0], columns - middle[1]) * pixel_mm <= LARGEST_MM / 2
    dense = (image >= TISSUE) & central
    opened = ndimage.binary_opening(dense, iterations=1)
    component = component_near_centre(opened if opened.any() else dense)
    return float(2 * np.sqrt(component.sum() / np.pi) * pixel_mm)


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
