"""Slices of a phantom scene in Hounsfield units: pure numpy and scipy.

A slice is composed back to front (parenchyma, fissure, vessels, airways, lesion, wall) from coverages in
[0, 1], averaged over the slice's thickness, blurred by the scanner's point spread, and gets correlated noise.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cycle_am.data.phantom.scene import Nodule, Random, Scanner, Scene, Wall

POPCORN, LAMINATED, SOLID, NON_CENTRAL, CENTRAL = range(1, 6)  # LIDC's patterns of calcification
AIR_HU, FAT_HU = -1000.0, -95.0


def grid_mm(size: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Open (row, column) coordinates in mm of ``size`` pixels around the centre pixel ``size // 2``."""
    axis = (np.arange(size) - size // 2) * spacing
    return axis[:, None], axis[None, :]


def tube_coverage(rows, columns, z: float, tube: np.ndarray, pixel: float) -> np.ndarray:
    """Share of each pixel (rows x columns) that a tube, a rounded cone, covers at height ``z``."""
    start, end, r0, r1 = tube[:3], tube[3:6], tube[6], tube[7]
    way = end - start
    t = ((rows - start[0]) * way[0] + (columns - start[1]) * way[1] + (z - start[2]) * way[2]) / max(
        way @ way, 1e-9
    )
    t = np.clip(t, 0, 1)
    d = np.sqrt(
        (rows - start[0] - t * way[0]) ** 2
        + (columns - start[1] - t * way[1]) ** 2
        + (z - start[2] - t * way[2]) ** 2
    )
    radius = r0 + t * (r1 - r0)
    return np.clip((radius - d) / pixel + 0.5, 0, 1) * np.minimum(1, 2 * radius / pixel)


def blend(image: np.ndarray, coverage: np.ndarray, hu) -> None:
    """Replace ``coverage`` of each pixel by tissue of density ``hu``, in place."""
    image += coverage * (hu - image)


def smooth_field(rng: Random, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian random field with zero mean and unit deviation, correlated over ``sigma`` pixels."""
    white = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (white - white.mean()) / max(white.std(), 1e-9)


def render_slice(scene: Scene, size: int, z: float = 0.0) -> np.ndarray:
    """One axial slice of the scene at height ``z`` mm.

    Returns (size, size) float32 HU, not clipped, on the scan's pixels; pixel ``size // 2`` is the one nearest
    the lesion's midpoint.
    """
    spacing = scene.finding.spacing
    rows, columns = grid_mm(size, spacing)
    fixed = np.random.default_rng([scene.seed, 1])  # texture is the same in every slice
    image = parenchyma(scene, fixed, rows, columns)
    add_fissure(image, scene.fissure, rows, columns)
    levels = z + scene.finding.thickness * np.array([-0.3, 0.0, 0.3])
    add_tubes(image, scene.tubes, levels, spacing)
    add_airways(image, scene.airways, levels, spacing)
    add_nodule(image, scene, fixed, levels)
    add_wall(image, scene.wall, fixed, rows, columns, levels, spacing)
    return scan(
        image,
        scene.scanner,
        spacing,
        np.random.default_rng([scene.seed, 2, round(z * 100) & 0xFFFFFFFF]),
    )


def parenchyma(scene: Scene, rng: Random, rows, columns) -> np.ndarray:
    """Lung: mean density, gravity gradient, two scales of texture, emphysema."""
    shape, pixel = (rows.size, columns.size), scene.finding.spacing
    image = scene.lung_hu + scene.gradient[0] * rows + scene.gradient[1] * columns
    image = image + scene.lung_texture * (
        smooth_field(rng, shape, 2.5 / pixel) + 0.8 * smooth_field(rng, shape, 0.8 / pixel)
    )
    image = (
        image
        + strands(rng, shape, pixel) * rng.gamma(2.0, 45.0)
        + strands(rng, shape, pixel) * rng.gamma(2.0, 45.0)
    )
    holes = np.clip(smooth_field(rng, shape, 2.0 / pixel) - 0.6, 0, 1)
    return image + scene.emphysema * holes * (-960 - image)


def strands(rng: Random, shape: tuple[int, int], pixel: float) -> np.ndarray:
    """Fine vessels and septa too small to draw one by one: broken curved lines, values in [0, 1]."""
    line = np.exp(-((smooth_field(rng, shape, rng.uniform(1.2, 2.5) / pixel) / rng.uniform(0.12, 0.3)) ** 2))
    return line * np.clip(0.3 + 0.9 * smooth_field(rng, shape, 1.5 / pixel), 0, 1.5)


def add_fissure(image: np.ndarray, fissure: np.ndarray | None, rows, columns) -> None:
    """A line about one pixel wide along a shallow curve."""
    if fissure is None:
        return
    r, c, offset, curvature, hu = fissure
    along, across = rows * c - columns * r, rows * r + columns * c
    image += hu * np.exp(-0.5 * ((across - offset - curvature * along**2) / 0.6) ** 2)


def add_tubes(image: np.ndarray, tubes: np.ndarray, levels: np.ndarray, spacing: float) -> None:
    """Blend every tube that crosses the slab into the image."""
    for tube in tubes[near_slab(tubes, levels)]:
        window, rows, columns = tube_window(tube, image.shape[0], spacing)
        if rows.size and columns.size:
            cover = np.mean([tube_coverage(rows, columns, level, tube, spacing) for level in levels], 0)
            blend(image[window], cover, tube[8])


def add_airways(image: np.ndarray, airways: np.ndarray, levels: np.ndarray, spacing: float) -> None:
    """A soft wall of about 0.8 mm around an air-filled lumen."""
    for tube in airways:
        outer = tube.copy()
        outer[6:8] += 0.6
        window, rows, columns = tube_window(outer, image.shape[0], spacing)
        if rows.size and columns.size:
            blend(image[window], tube_coverage(rows, columns, levels[1], outer, spacing), tube[8])
            blend(image[window], tube_coverage(rows, columns, levels[1], tube, spacing), AIR_HU + 30)


def near_slab(tubes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(T,) which tubes reach the slab between the first and the last level."""
    if not len(tubes):
        return np.zeros(0, bool)
    low, high = np.minimum(tubes[:, 2], tubes[:, 5]), np.maximum(tubes[:, 2], tubes[:, 5])
    thick = tubes[:, 6:8].max(1) + 0.5
    return (low - thick < levels[-1]) & (high + thick > levels[0])


def tube_window(tube: np.ndarray, size: int, spacing: float):
    """The part of the image a tube can touch: index slices and its open coordinates in mm."""
    margin = tube[6:8].max() + spacing
    bounds = [
        (np.array([min(tube[a], tube[a + 3]) - margin, max(tube[a], tube[a + 3]) + margin]) / spacing)
        for a in (0, 1)
    ]
    parts = [
        slice(max(int(b[0]) + size // 2, 0), max(min(int(b[1]) + size // 2 + 2, size), 0)) for b in bounds
    ]
    axis = (np.arange(size) - size // 2) * spacing
    return tuple(parts), axis[parts[0]][:, None], axis[parts[1]][None, :]


def add_nodule(image: np.ndarray, scene: Scene, rng: Random, levels: np.ndarray) -> None:
    """Blend the lesion: coverage from the outline averaged over the slab, density from the ratings."""
    ragged = roughness(scene, rng, image.shape) - scene.nodule.inset
    planes = [lesion_distance(scene, level, image.shape[0]) + ragged for level in levels]
    cover = np.mean([edge_profile(plane, scene.nodule.edge) for plane in planes], 0)
    add_halo(image, scene.nodule, planes)
    density = nodule_density(scene, rng, planes[1])
    blend(image, cover, density)


def add_halo(image: np.ndarray, nodule: Nodule, planes: list[np.ndarray]) -> None:
    """Ground glass around the lesion, fading outwards; denser tissue in it, such as vessels, stays visible."""
    if nodule.halo:
        reach = np.mean([edge_profile(plane + nodule.halo, 0.5) for plane in planes], 0)
        image += reach * np.maximum(nodule.glass_hu - image, 0)


def roughness(scene: Scene, rng: Random, shape: tuple[int, int]) -> np.ndarray:
    """Displacement (mm) of the edge, finer than readers draw; more for ill-defined or spiculated ones."""
    item, pixel = scene.finding, scene.finding.spacing
    fine = 0.12 + 0.08 * (5 - item.margin) + 0.12 * (item.spiculation - 1)
    coarse = 0.08 + 0.06 * (item.lobulation - 1)
    return fine * smooth_field(rng, shape, 0.7 / pixel) + coarse * smooth_field(rng, shape, 1.8 / pixel)


def edge_profile(distance: np.ndarray, width: float) -> np.ndarray:
    """Coverage across an edge: 0 outside, 1 inside, a logistic of scale ``width`` mm."""
    return 1 / (1 + np.exp(-np.clip(distance / width, -40, 40)))


def lesion_distance(scene: Scene, level: float, size: int) -> np.ndarray:
    """(size, size) signed distance (mm) to the lesion at height ``level``, interpolated between slices."""
    finding, stack = scene.finding, scene.distance
    order = np.argsort(finding.z)
    heights = finding.z[order]
    k = int(np.clip(np.searchsorted(heights, level) - 1, 0, max(len(heights) - 2, 0)))
    above = min(k + 1, len(heights) - 1)
    weight = 0.0 if above == k else float(np.clip((level - heights[k]) / (heights[above] - heights[k]), 0, 1))
    plane = (1 - weight) * stack[order[k]] + weight * stack[order[above]]
    return place(plane, finding.origin, size, spacing=finding.spacing)


def place(plane: np.ndarray, origin: tuple[float, float], size: int, spacing: float) -> np.ndarray:
    """A plane of distances put into a (size, size) image; outside it they fall by one mm per mm."""
    grid = np.arange(size) - size // 2
    rows, columns = grid[:, None] - origin[0], grid[None, :] - origin[1]
    near_rows, near_columns = np.clip(rows, 0, plane.shape[0] - 1), np.clip(columns, 0, plane.shape[1] - 1)
    where = np.broadcast_arrays(near_rows, near_columns)
    values = map_coordinates(plane, np.stack(where).astype(float), order=1)
    return values - np.hypot(rows - near_rows, columns - near_columns) * spacing


def nodule_density(scene: Scene, rng: Random, distance: np.ndarray) -> np.ndarray:
    """HU inside the lesion: ground glass with solid parts, calcification by pattern, cavity and bubbles."""
    nodule, pixel = scene.nodule, scene.finding.spacing
    shape, deepest = distance.shape, max(float(distance.max()), 0.3)
    coarse = smooth_field(rng, shape, max(0.25 * deepest, 0.8) / pixel)
    fine = smooth_field(rng, shape, 0.9 / pixel)
    depth = np.clip(distance / deepest, 0, 1)
    solid = solid_part(nodule.solid_share, depth, coarse, deepest)
    hu = nodule.glass_hu + solid * (nodule.solid_hu - nodule.glass_hu) + nodule.ripple * fine
    hu = hu + calcium(nodule, depth, coarse) * (nodule.calcium_hu - hu)
    return hollow(hu, scene, rng, depth, distance)


def solid_part(share: float, depth: np.ndarray, field_: np.ndarray, deepest: float) -> np.ndarray:
    """Where the lesion is solid: everywhere for share 1, nowhere for 0, a ragged core between."""
    if share >= 0.97:
        return np.ones_like(depth)
    ragged = 1 - np.exp(-deepest / 2)  # small lesions show no parts
    core = depth - 0.5 + 0.35 * ragged * field_ + 3.2 * (share - 0.55)
    return edge_profile(core, 0.37 - 0.25 * ragged) * min(1.0, share * 1.6)


def calcium(nodule: Nodule, depth: np.ndarray, field_: np.ndarray) -> np.ndarray:
    """Share of calcium per pixel: votes decide how much, the rated pattern where."""
    if nodule.calcium == 0:
        return np.zeros_like(depth)
    soft = lambda x: 1 / (1 + np.exp(-np.clip(x, -8, 8) * 4))  # noqa: E731
    pattern = {
        POPCORN: soft(field_ - 0.2),
        LAMINATED: 0.5 + 0.5 * np.cos(depth * 9),
        CENTRAL: soft((depth - 0.45) * 5),
        NON_CENTRAL: soft(field_ - 0.3) * soft((0.8 - depth) * 5),
    }.get(nodule.pattern, np.ones_like(depth))
    return pattern * nodule.calcium


def hollow(hu: np.ndarray, scene: Scene, rng: Random, depth: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Air inside: a cavity where half of the readers saw one, small bubbles in some large lesions."""
    if scene.finding.cavity >= 0.5:
        hu = hu + edge_profile((depth - rng.uniform(0.3, 0.6)) * distance.max(), 0.4) * (-900 - hu)
    if distance.max() > 6:
        inner = np.argwhere(depth > 0.3)
        for _ in range(scene.nodule.bubbles):
            row, column = inner[rng.integers(len(inner))]
            gap = (
                np.hypot(*np.ogrid[-row : hu.shape[0] - row, -column : hu.shape[1] - column])
                * scene.finding.spacing
            )
            hu = hu + edge_profile(rng.uniform(0.4, 1.1) - gap, 0.25) * (rng.uniform(-850, -300) - hu)
    return hu


def add_wall(
    image: np.ndarray, wall: Wall | None, rng, rows, columns, levels: np.ndarray, spacing: float
) -> None:
    """Blend chest wall, mediastinum or diaphragm over everything behind the pleura."""
    if wall is None:
        return
    ripple = 0.5 * smooth_field(rng, image.shape, 5 / spacing)
    deep = [wall_distance(wall, rows, columns, level) + ripple for level in levels]
    cover = np.mean([np.clip(plane / spacing + 0.5, 0, 1) for plane in deep], 0)
    blend(image, cover, wall_density(wall, rng, rows, columns, deep[1], spacing))


def wall_distance(wall: Wall, rows, columns, level: float) -> np.ndarray:
    """Depth (mm) behind the pleura, negative in the lung."""
    across = rows * wall.direction[0] + columns * wall.direction[1] - wall.distance - wall.tilt * level
    along = rows * -wall.direction[1] + columns * wall.direction[0]
    centre = across + wall.radius
    return np.sign(wall.radius) * (np.hypot(centre, along) - abs(wall.radius))


def wall_density(wall: Wall, rng: Random, rows, columns, deep: np.ndarray, spacing: float) -> np.ndarray:
    """HU behind the pleura: muscle with layers of fat, ribs with cortex and marrow, great vessels."""
    fat = edge_profile(
        (smooth_field(rng, deep.shape, 3 / spacing) - 0.9 + wall.fat) * 3 + np.minimum(deep - 2, 0), 0.4
    )
    hu = wall.hu + 8 * smooth_field(rng, deep.shape, 1.2 / spacing)
    hu = hu + fat * (wall.fat > 0) * (FAT_HU - hu)
    for row, column, radius, value in wall.organs:
        blend(hu, edge_profile(radius - np.hypot(rows - row, columns - column), 0.3), value)
    along = rows * -wall.direction[1] + columns * wall.direction[0]
    for place_, depth, half, thick, cortex in wall.ribs:
        blade = np.hypot(np.maximum(np.abs(along - place_) - half + thick, 0), deep - depth)
        blend(hu, edge_profile(thick - blade, 0.25), cortex)
        blend(hu, edge_profile(thick - 1.1 - blade, 0.25), 0.3 * cortex + 40)
    return hu


def scan(image: np.ndarray, scanner: Scanner, spacing: float, rng: Random) -> np.ndarray:
    """What a scanner makes of the ideal slice: point spread, edge enhancement, noise, offset."""
    blurred = gaussian_filter(image, scanner.blur / spacing)
    blurred = blurred + scanner.sharpen * (blurred - gaussian_filter(blurred, 1.0 / spacing))
    return (blurred + scanner.noise * ct_noise(rng, image.shape, scanner) + scanner.offset).astype(np.float32)


def ct_noise(rng: Random, shape: tuple[int, int], scanner: Scanner) -> np.ndarray:
    """Noise of unit deviation with the spectrum of CT, f exp(-(pi f s)^2), and streaks in one direction."""
    fr, fc = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    c, s = np.cos(scanner.streak_angle), np.sin(scanner.streak_angle)
    across, along = fr * c - fc * s, fr * s + fc * c
    radius = np.hypot(across, along)
    power = (radius + 0.02) * np.exp(-((np.pi * radius * scanner.noise_scale) ** 2))
    power = power / (1 + scanner.streak * (along / 0.15) ** 2)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * np.sqrt(power), shape)
    return noise / max(noise.std(), 1e-9)
