"""CT-like slices around a lesion's real outline: pure numpy and scipy, no label anywhere.

A :class:`Finding` holds what readers drew and rated *except malignancy*. :func:`draw_scene` draws everything random about its
surroundings and its scanner once, in millimetres; :func:`render_slice` rasterises one axial slice of that scene on the scan's
own pixels, in Hounsfield units. A slice is composed back to front (parenchyma, fissure, vessels, airways, nodule, wall) from
coverages in [0, 1], averaged over the slice's thickness, blurred by the scanner's point spread, and gets correlated noise.

Appearance statistics (edge position and width relative to the outline, densities by rating, noise, lung density) were fitted
to unlabelled real crops; nothing depends on a label.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

VERSION = 2
ABSENT = 6  # LIDC's calcification rating "absent"; 1 popcorn, 2 laminated, 3 solid, 4 non-central, 5 central
POPCORN, LAMINATED, SOLID, NON_CENTRAL, CENTRAL = range(1, 6)
AIR_HU, MUSCLE_HU, FAT_HU = -1000.0, 50.0, -95.0
REACH_MM = 34.0  # half the side of the square in which a scene's objects are drawn; covers the largest window


@dataclass(frozen=True)
class Finding:
    """What the renderer may know of a lesion. Malignancy is not part of it.

    fraction: (K, H, W) share of readers in [0, 1] on K neighbouring slices; ``origin``: (row, column) of its first pixel relative
    to the window's centre, in pixels; ``z``: (K,) mm of each slice relative to the wanted one; ``spacing``, ``thickness``: mm;
    texture, margin, spiculation, lobulation: mean ratings 1..5; calcification: every reader's rating 1..6; ``cavity``: share of
    readers who saw air inside; ``contrast``: contrast medium given; ``position``: (row, column) in mm from the image's centre.
    """

    lesion_id: str
    fraction: np.ndarray
    origin: tuple[float, float]
    z: np.ndarray
    spacing: float
    thickness: float
    centre: tuple[float, float] = (0.0, 0.0)
    texture: float = 5.0
    margin: float = 4.0
    spiculation: float = 1.0
    lobulation: float = 1.0
    calcification: tuple[int, ...] = (ABSENT,)
    cavity: float = 0.0
    contrast: bool = False
    position: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Scanner:
    """One scan's imaging: point spread (mm), edge enhancement, noise (HU, correlation in pixels, streak direction), HU offset."""

    blur: float
    sharpen: float
    noise: float
    noise_scale: float
    streak: float
    streak_angle: float
    offset: float


@dataclass(frozen=True)
class Wall:
    """A soft-tissue boundary: outward direction, distance and radius of curvature (mm; negative radius bulges into the lung)."""

    direction: np.ndarray
    distance: float
    radius: float
    tilt: float
    kind: str
    ribs: np.ndarray  # (R, 5): tangential and depth position, half length, half thickness, cortex HU
    organs: np.ndarray  # (M, 4): row, column, radius, HU
    hu: float
    fat: float


@dataclass(frozen=True)
class Nodule:
    """Densities of one lesion: solid and ground-glass HU, solid share, inset and width of the edge (mm), share of calcium, its pattern and HU."""

    solid_hu: float
    inset: float
    glass_hu: float
    solid_share: float
    edge: float
    calcium: float
    pattern: int
    calcium_hu: float
    ripple: float
    bubbles: int


@dataclass(frozen=True)
class Scene:
    """Everything random about one lesion's picture. tubes: (T, 9) = end points (row, column, z) x 2, radii x 2, HU."""

    finding: Finding
    seed: int
    scanner: Scanner
    lung_hu: float
    lung_texture: float
    gradient: np.ndarray
    emphysema: float
    tubes: np.ndarray
    airways: np.ndarray  # same layout; wall drawn around an air-filled lumen
    fissure: np.ndarray | None  # direction (2), offset, curvature, HU
    wall: Wall | None
    nodule: Nodule
    distance: np.ndarray = field(repr=False)  # (K, H, W) signed distance to the outline in mm, positive inside


# ---------------------------------------------------------------------------------------------------------------- drawing


def scene_seed(seed: int, lesion_id: str, view: int = 0) -> int:
    """A 64-bit seed from the run's seed, the lesion and the view; the same in every process."""
    return int(np.random.SeedSequence([seed, zlib.crc32(lesion_id.encode()), view]).generate_state(1, np.uint64)[0])


def draw_scene(finding: Finding, seed: int = 0, view: int = 0) -> Scene:
    """Draw a lesion's surroundings, densities and scanner; deterministic for (seed, lesion_id, view)."""
    number = scene_seed(seed, finding.lesion_id, view)
    rng = np.random.default_rng(number)
    distance = signed_distance(finding.fraction, finding.spacing)
    lung = float(np.clip(rng.normal(-870, 46), -955, -740))
    wall = draw_wall(rng, finding, distance)
    tubes = [*vessel_trees(rng, finding), *attached_vessels(rng, finding, distance), *spicules(rng, finding, distance)]
    return Scene(
        finding=finding, seed=number, scanner=draw_scanner(rng, finding), lung_hu=lung, lung_texture=rng.uniform(8, 26),
        gradient=rng.normal(0, 0.7, 2), emphysema=max(0.0, rng.normal(-0.6, 0.6)), tubes=np.array(tubes, float).reshape(-1, 9),
        airways=draw_airways(rng), fissure=draw_fissure(rng), wall=wall, nodule=draw_nodule(rng, finding, lung),
        distance=distance)  # fmt: skip


def draw_scanner(rng: np.random.Generator, finding: Finding) -> Scanner:
    """Soft to sharp kernels: the sharper, the noisier and the finer the grain; thin slices are noisier."""
    sharp = rng.beta(1.0, 1.3)
    noise = np.exp(rng.normal(np.log(15 + 32 * sharp), 0.45)) * (2.0 / max(finding.thickness, 0.8)) ** 0.3
    return Scanner(
        blur=rng.uniform(0.9, 1.15) * (0.68 - 0.3 * sharp), sharpen=max(0.0, 1.1 * sharp - 0.25) * rng.uniform(0.4, 1.0),
        noise=noise, noise_scale=1.5 - 0.75 * sharp + rng.normal(0, 0.12), streak=rng.beta(1.2, 2.0) * 3, streak_angle=rng.normal(0, 0.5),
        offset=rng.normal(0, 8))  # fmt: skip


def draw_nodule(rng: np.random.Generator, finding: Finding, lung_hu: float) -> Nodule:
    """Densities from the ratings: texture 5 is solid, 1 pure ground glass; calcification by the readers' votes."""
    votes = np.array(finding.calcification)
    calcified = float(np.mean(votes != ABSENT))
    patterns = votes[votes != ABSENT]
    size = np.sqrt(max((finding.fraction >= 0.5).sum((1, 2)).max(), 9)) * finding.spacing
    solid = float(np.clip((finding.texture - 1) / 3.6 + rng.normal(0, 0.05), 0, 1))
    return Nodule(
        solid_hu=rng.normal(46, 18) + 25 * finding.contrast * rng.random() - rng.exponential(8 + 350 / size**1.5),
        inset=rng.normal(0.14, 0.18),
        glass_hu=lung_hu + rng.uniform(180, 420), solid_share=solid,
        edge=0.16 * (5 - finding.margin) * rng.uniform(0.7, 1.4) + 0.12, calcium=calcium_share(rng, calcified),
        pattern=int(rng.choice(patterns)) if len(patterns) else ABSENT,
        calcium_hu=float(np.exp(rng.normal(6.5, 0.45))), ripple=rng.uniform(4, 18),
        bubbles=int(rng.poisson(2)) if rng.random() < 0.1 else 0)  # fmt: skip


def calcium_share(rng: np.random.Generator, votes: float) -> float:
    """How much of the rated pattern is calcium: nearly all where most readers saw it, a little where few did."""
    if votes > 0.55:
        return 1.0 if rng.random() < 0.85 else 0.3
    return votes * rng.uniform(0, 0.9)


def draw_fissure(rng: np.random.Generator) -> np.ndarray | None:
    """In one scene of eight a fissure: a faint curved line."""
    if rng.random() > 0.12:
        return None
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle), rng.normal(0, 12), rng.normal(0, 0.006), rng.uniform(60, 260)])


def draw_airways(rng: np.random.Generator) -> np.ndarray:
    """A few bronchi, each a tube whose wall is drawn around an air-filled lumen."""
    return np.array([_airway(rng) for _ in range(rng.poisson(0.35))], float).reshape(-1, 9)


def _airway(rng: np.random.Generator) -> np.ndarray:
    middle, way = rng.uniform(-REACH_MM, REACH_MM, 2), rng.normal(0, 1, 3) * (1, 1, 1.5)
    way *= rng.uniform(8, 16) / np.linalg.norm(way)
    radius = np.exp(rng.normal(0.25, 0.35))
    centre = np.array([*middle, 0.0])
    return np.array([*(centre - way), *(centre + way), radius, radius * rng.uniform(0.7, 1), rng.uniform(-500, -200)])


def vessel_trees(rng: np.random.Generator, finding: Finding) -> list[np.ndarray]:
    """Branching vessels of varied calibre that fan out from the hilum's side through the slab around the slice."""
    heading = rng.uniform(0, 2 * np.pi)
    count = rng.poisson(np.exp(rng.normal(np.log(38), 0.45)))
    tubes: list[np.ndarray] = []
    for _ in range(count):
        start = np.array([*rng.uniform(-REACH_MM, REACH_MM, 2), rng.uniform(-14, 14)])
        radius = float(np.clip(np.exp(rng.normal(-0.75, 0.55)), 0.2, 3.0))
        angle = heading + rng.normal(0, 0.9)
        way = np.array([np.sin(angle), np.cos(angle), rng.normal(0, 0.8)])
        tubes += branch(rng, start, way, radius, vessel_hu(rng, finding), depth=2)
    return tubes


def vessel_hu(rng: np.random.Generator, finding: Finding) -> float:
    """Blood, brighter with contrast medium."""
    return rng.normal(45, 15) + (rng.uniform(0, 180) if finding.contrast else 0)


def branch(rng, start, way, radius, hu, depth, steps: int = 8) -> list[np.ndarray]:
    """A wandering tapering vessel and its daughters, as tubes."""
    tubes, point, way = [], start, way / np.linalg.norm(way)
    for _ in range(steps):
        following = point + way * rng.uniform(2, 4)
        thinner = max(radius * rng.uniform(0.88, 1.0), 0.2)
        tubes.append(np.array([*point, *following, radius, thinner, hu]))
        point, radius = following, thinner
        way = turn(rng, way, 0.3)
        if depth and radius > 0.3 and rng.random() < 0.2:
            tubes += branch(rng, point, turn(rng, way, 0.7), radius * rng.uniform(0.55, 0.8), hu, depth - 1, steps - 2)
    return tubes


def turn(rng, way: np.ndarray, amount: float) -> np.ndarray:
    """A direction bent by a random angle of about ``amount`` radians."""
    bent = way + rng.normal(0, amount, 3)
    return bent / np.linalg.norm(bent)


def attached_vessels(rng, finding: Finding, distance: np.ndarray) -> list[np.ndarray]:
    """Vessels that end in the nodule: in about half of the scenes one, seldom more."""
    tubes: list[np.ndarray] = []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.5, 0.3, 0.14, 0.06])):
        point, out = boundary_point(rng, finding, distance)
        radius = float(np.clip(np.exp(rng.normal(-0.35, 0.4)), 0.3, 2.2))
        way = np.array([*out, rng.normal(0, 0.35)])
        tubes += branch(rng, np.array([*(point - out), 0.0]), way, radius, vessel_hu(rng, finding), depth=1)
    return tubes


def spicules(rng, finding: Finding, distance: np.ndarray) -> list[np.ndarray]:
    """Thin strands that radiate from the outline, more and longer the more spiculated the lesion was rated."""
    rated = finding.spiculation - 1
    size = np.sqrt((finding.fraction.max(0) >= 0.5).sum()) * finding.spacing
    tubes = []
    for _ in range(rng.poisson((0.5 + 4 * rated) * np.clip(size / 10, 0.4, 2))):
        point, out = boundary_point(rng, finding, distance)
        way, length = turn(rng, np.array([*out, 0.0]), 0.35), rng.gamma(2, 0.7 + 0.45 * rated)
        middle = np.array([*point, 0.0]) + 0.5 * length * way
        tip = middle + 0.5 * length * turn(rng, way, 0.3)
        foot, hu = np.array([*(point - out), 0.0]), rng.uniform(-250, 40)
        tubes.append(np.array([*foot, *middle, rng.uniform(0.4, 0.75), 0.35, hu]))
        tubes.append(np.array([*middle, *tip, 0.35, 0.15, hu]))
    return tubes


def boundary_point(rng, finding: Finding, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random point of the outline in the wanted slice and its outward unit normal, in mm."""
    plane = distance[np.abs(finding.z).argmin()]
    rows, columns = np.nonzero((plane > 0) & (plane < 1.1 * finding.spacing))
    if not len(rows):
        return np.zeros(2), np.array([0.0, 1.0])
    pick = rng.integers(len(rows))
    point = (np.array([rows[pick], columns[pick]]) + finding.origin) * finding.spacing
    inner = np.array([rows.mean(), columns.mean()])
    out = np.array([rows[pick], columns[pick]]) - inner + rng.normal(0, 0.2, 2)
    return point, out / max(np.linalg.norm(out), 1e-6)


def outward(position: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Direction to the nearest pleura and relative depth (0 centre of the lung, 1 its border) of a point in mm from the image's
    centre, from two typical elliptic lungs (semi-axes 82 x 58 mm, centres 78 mm beside the midline)."""
    row, column = position
    centre = np.array([-5.0, np.copysign(78.0, column)])
    scaled = (np.array([row, column]) - centre) / (82.0, 58.0)
    direction = scaled / (82.0, 58.0)
    return direction / max(np.linalg.norm(direction), 1e-6), float(np.linalg.norm(scaled))


def draw_wall(rng, finding: Finding, distance: np.ndarray) -> Wall | None:
    """Chest wall, mediastinum or diaphragm beside the lesion, likelier the nearer the lesion lies to the lung's border."""
    direction, depth = outward(finding.position)
    if rng.random() > np.clip(0.35 + 0.6 * depth, 0.4, 0.95):
        return None
    direction = rotate(direction, rng.normal(0, 0.6))
    reach = support(finding, distance, direction)
    gap = rng.normal(-1.0, 0.9) if rng.random() < 0.3 else rng.gamma(1.3, 6.0)
    kind = rng.choice(["chest", "mediastinum", "diaphragm"], p=medial_share(finding.position, direction))
    radius = rng.uniform(45, 140) if kind == "chest" else rng.choice([-1, 1]) * rng.uniform(20, 120)
    tilt = rng.normal(0, {"chest": 0.25, "mediastinum": 0.3, "diaphragm": 1.0}[kind])
    return Wall(
        direction, reach + gap, radius, tilt, str(kind), draw_ribs(rng) if kind == "chest" else np.zeros((0, 5)),
        draw_organs(rng, finding, direction, reach + gap) if kind == "mediastinum" else np.zeros((0, 4)),
        rng.normal(45, 15), rng.uniform(0, 0.9) if kind != "diaphragm" else 0.0)  # fmt: skip


def medial_share(position: tuple[float, float], direction: np.ndarray) -> list[float]:
    """Probabilities of chest wall, mediastinum, diaphragm for a wall that lies in ``direction``."""
    towards_midline = -direction[1] * np.sign(position[1] or 1.0)
    medial = float(np.clip(0.1 + 0.7 * towards_midline, 0.05, 0.8))
    return [0.9 - medial, medial, 0.1]


def rotate(direction: np.ndarray, angle: float) -> np.ndarray:
    """A 2-D direction turned by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])


def support(finding: Finding, distance: np.ndarray, direction: np.ndarray) -> float:
    """How far (mm) the outline of the wanted slice reaches from the window's centre in ``direction``."""
    rows, columns = np.nonzero(distance[np.abs(finding.z).argmin()] > 0)
    if not len(rows):
        return 0.0
    points = (np.stack([rows, columns], 1) + finding.origin) * finding.spacing
    return float((points @ direction).max())


def draw_ribs(rng) -> np.ndarray:
    """Ribs cut obliquely, side by side along the wall."""
    start, ribs = rng.uniform(-30, 0), []
    while start < 45:
        half = rng.uniform(4, 18)
        ribs.append([start + half, rng.uniform(5, 8.5), half, rng.uniform(2.8, 4.8), rng.uniform(350, 900)])
        start += 2 * half + rng.uniform(6, 30)
    return np.array(ribs, float).reshape(-1, 5)


def draw_organs(rng, finding: Finding, direction: np.ndarray, distance: float) -> np.ndarray:
    """Great vessels inside the mediastinum, bright where contrast medium was given."""
    across = np.array([-direction[1], direction[0]])
    rows = []
    for _ in range(rng.poisson(2.0)):
        radius = rng.uniform(3, 14)
        place = direction * (distance + radius + rng.uniform(1, 12)) + across * rng.uniform(-25, 25)
        rows.append([*place, radius, rng.normal(55, 12) + (rng.uniform(40, 220) if finding.contrast else 0)])
    return np.array(rows, float).reshape(-1, 4)


# ------------------------------------------------------------------------------------------------------------- geometry


def signed_distance(fraction: np.ndarray, spacing: float) -> np.ndarray:
    """(K, H, W) readers' shares -> signed distance (mm, positive inside) to each slice's consensus outline (share >= .5).

    A slice without outline continues its neighbour's shape shrunk to nothing, so that interpolation along z closes the lesion.
    """
    inside = fraction >= 0.5
    planes = [_distance_2d(plane, spacing) if plane.any() else None for plane in inside]
    filled = [i for i, plane in enumerate(planes) if plane is not None]
    if not filled:
        return np.full(fraction.shape, -5.0)
    for i in range(len(planes)):
        if planes[i] is None:
            nearest = planes[min(filled, key=lambda j: abs(i - j))]
            planes[i] = nearest - nearest.max() - 1.5
    return np.stack(planes)


def _distance_2d(inside: np.ndarray, spacing: float) -> np.ndarray:
    padded = np.pad(inside, 1)
    pixels = distance_transform_edt(padded) - distance_transform_edt(~padded)
    pixels = pixels - 0.5 * np.sign(pixels)
    return gaussian_filter(pixels, 0.5)[1:-1, 1:-1] * spacing


def grid_mm(size: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Open (row, column) coordinates in mm of ``size`` pixels around the centre pixel ``size // 2``."""
    axis = (np.arange(size) - size // 2) * spacing
    return axis[:, None], axis[None, :]


def tube_coverage(rows, columns, z: float, tube: np.ndarray, pixel: float) -> np.ndarray:
    """Share of each pixel covered at height ``z`` by a tube (rounded cone), shape of the broadcast coordinates."""
    start, end, r0, r1 = tube[:3], tube[3:6], tube[6], tube[7]
    way = end - start
    t = ((rows - start[0]) * way[0] + (columns - start[1]) * way[1] + (z - start[2]) * way[2]) / max(way @ way, 1e-9)
    t = np.clip(t, 0, 1)
    d = np.sqrt((rows - start[0] - t * way[0]) ** 2 + (columns - start[1] - t * way[1]) ** 2 + (z - start[2] - t * way[2]) ** 2)
    radius = r0 + t * (r1 - r0)
    return np.clip((radius - d) / pixel + 0.5, 0, 1) * np.minimum(1, 2 * radius / pixel)


def blend(image: np.ndarray, coverage: np.ndarray, hu) -> None:
    """Replace ``coverage`` of each pixel by tissue of density ``hu``, in place."""
    image += coverage * (hu - image)


def smooth_field(rng, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian random field with zero mean and unit deviation, correlated over ``sigma`` pixels."""
    white = gaussian_filter(rng.standard_normal(shape), sigma, mode="wrap")
    return (white - white.mean()) / max(white.std(), 1e-9)


# ------------------------------------------------------------------------------------------------------------ rendering


def render_slice(scene: Scene, size: int, z: float = 0.0) -> np.ndarray:
    """One axial slice of the scene at height ``z`` mm: (size, size) float32 HU on the scan's pixels, window's centre at
    pixel ``size // 2``, before any clipping."""
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
    return scan(image, scene.scanner, spacing, np.random.default_rng([scene.seed, 2, int(round(z * 100)) & 0xFFFFFFFF]))


def parenchyma(scene: Scene, rng, rows, columns) -> np.ndarray:
    """Lung: mean density, gravity gradient, two scales of texture, emphysema."""
    shape, pixel = (rows.size, columns.size), scene.finding.spacing
    image = scene.lung_hu + scene.gradient[0] * rows + scene.gradient[1] * columns
    image = image + scene.lung_texture * (smooth_field(rng, shape, 2.5 / pixel) + 0.8 * smooth_field(rng, shape, 0.8 / pixel))
    image = image + strands(rng, shape, pixel) * rng.gamma(2.0, 45.0) + strands(rng, shape, pixel) * rng.gamma(2.0, 45.0)
    holes = np.clip(smooth_field(rng, shape, 2.0 / pixel) - 0.6, 0, 1)
    return image + scene.emphysema * holes * (-960 - image)


def strands(rng, shape: tuple[int, int], pixel: float) -> np.ndarray:
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
    bounds = [(np.array([min(tube[a], tube[a + 3]) - margin, max(tube[a], tube[a + 3]) + margin]) / spacing) for a in (0, 1)]
    parts = [slice(max(int(b[0]) + size // 2, 0), max(min(int(b[1]) + size // 2 + 2, size), 0)) for b in bounds]
    axis = (np.arange(size) - size // 2) * spacing
    return tuple(parts), axis[parts[0]][:, None], axis[parts[1]][None, :]


def add_nodule(image: np.ndarray, scene: Scene, rng, levels: np.ndarray) -> None:
    """Blend the lesion: coverage from the outline averaged over the slab, density from the ratings."""
    ragged = roughness(scene, rng, image.shape) - scene.nodule.inset
    planes = [lesion_distance(scene, level, image.shape[0]) + ragged for level in levels]
    cover = np.mean([edge_profile(plane, scene.nodule.edge) for plane in planes], 0)
    density = nodule_density(scene, rng, planes[1])
    blend(image, cover, density)


def roughness(scene: Scene, rng, shape: tuple[int, int]) -> np.ndarray:
    """Displacement (mm) of the edge below what readers draw: more for ill-defined, spiculated, lobulated lesions."""
    item, pixel = scene.finding, scene.finding.spacing
    fine = 0.12 + 0.08 * (5 - item.margin) + 0.12 * (item.spiculation - 1)
    coarse = 0.08 + 0.06 * (item.lobulation - 1)
    return fine * smooth_field(rng, shape, 0.7 / pixel) + coarse * smooth_field(rng, shape, 1.8 / pixel)


def edge_profile(distance: np.ndarray, width: float) -> np.ndarray:
    """Coverage across an edge: 0 outside, 1 inside, a logistic of scale ``width`` mm."""
    return 1 / (1 + np.exp(-np.clip(distance / width, -40, 40)))


def lesion_distance(scene: Scene, level: float, size: int) -> np.ndarray:
    """Signed distance (mm) to the lesion at height ``level``, interpolated between slices, on a (size, size) image."""
    finding, stack = scene.finding, scene.distance
    order = np.argsort(finding.z)
    heights = finding.z[order]
    k = int(np.clip(np.searchsorted(heights, level) - 1, 0, max(len(heights) - 2, 0)))
    above = min(k + 1, len(heights) - 1)
    weight = 0.0 if above == k else float(np.clip((level - heights[k]) / (heights[above] - heights[k]), 0, 1))
    plane = (1 - weight) * stack[order[k]] + weight * stack[order[above]]
    return place(plane, finding.origin, size, spacing=finding.spacing)


def place(plane: np.ndarray, origin: tuple[float, float], size: int, spacing: float) -> np.ndarray:
    """A small plane put into a (size, size) image; outside it the distance goes on falling by one mm per mm."""
    grid = np.arange(size) - size // 2
    rows, columns = grid[:, None] - origin[0], grid[None, :] - origin[1]
    near_rows, near_columns = np.clip(rows, 0, plane.shape[0] - 1), np.clip(columns, 0, plane.shape[1] - 1)
    where = np.broadcast_arrays(near_rows, near_columns)
    values = map_coordinates(plane, np.stack(where).astype(float), order=1)
    return values - np.hypot(rows - near_rows, columns - near_columns) * spacing


def nodule_density(scene: Scene, rng, distance: np.ndarray) -> np.ndarray:
    """HU inside the lesion: ground glass with solid parts, calcification by pattern, cavity and bubbles."""
    nodule, pixel = scene.nodule, scene.finding.spacing
    shape, deepest = distance.shape, max(float(distance.max()), 0.3)
    coarse = smooth_field(rng, shape, max(0.25 * deepest, 0.8) / pixel)
    fine = smooth_field(rng, shape, 0.9 / pixel)
    depth = np.clip(distance / deepest, 0, 1)
    solid = solid_part(nodule.solid_share, depth, coarse)
    hu = nodule.glass_hu + solid * (nodule.solid_hu - nodule.glass_hu) + nodule.ripple * fine
    hu = hu + calcium(nodule, depth, coarse) * (nodule.calcium_hu - hu)
    return hollow(hu, scene, rng, depth, distance)


def solid_part(share: float, depth: np.ndarray, field_: np.ndarray) -> np.ndarray:
    """Where the lesion is solid: everywhere for share 1, nowhere for 0, a ragged core between."""
    if share >= 0.97:
        return np.ones_like(depth)
    return 1 / (1 + np.exp(-(depth - 0.5 + 0.35 * field_ + 3.2 * (share - 0.55)) / 0.12)) * min(1.0, share * 1.6)


def calcium(nodule: Nodule, depth: np.ndarray, field_: np.ndarray) -> np.ndarray:
    """Share of calcium per pixel: votes decide how much, the rated pattern where."""
    if nodule.calcium == 0:
        return np.zeros_like(depth)
    soft = lambda x: 1 / (1 + np.exp(-np.clip(x, -8, 8) * 4))  # noqa: E731
    pattern = {
        POPCORN: soft(field_ - 0.2), LAMINATED: 0.5 + 0.5 * np.cos(depth * 9), CENTRAL: soft((depth - 0.45) * 5),
        NON_CENTRAL: soft(field_ - 0.3) * soft((0.8 - depth) * 5)}.get(nodule.pattern, np.ones_like(depth))  # fmt: skip
    return pattern * nodule.calcium


def hollow(hu: np.ndarray, scene: Scene, rng, depth: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Air inside: a cavity where at least half of the readers saw air, small bubbles in some large lesions."""
    if scene.finding.cavity >= 0.5:
        hu = hu + edge_profile((depth - rng.uniform(0.3, 0.6)) * distance.max(), 0.4) * (-900 - hu)
    if distance.max() > 6:
        inner = np.argwhere(depth > 0.3)
        for _ in range(scene.nodule.bubbles):
            row, column = inner[rng.integers(len(inner))]
            gap = np.hypot(*np.ogrid[-row:hu.shape[0] - row, -column:hu.shape[1] - column]) * scene.finding.spacing  # fmt: skip
            hu = hu + edge_profile(rng.uniform(0.4, 1.1) - gap, 0.25) * (rng.uniform(-850, -300) - hu)
    return hu


def add_wall(image: np.ndarray, wall: Wall | None, rng, rows, columns, levels: np.ndarray, spacing: float) -> None:
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


def wall_density(wall: Wall, rng, rows, columns, deep: np.ndarray, spacing: float) -> np.ndarray:
    """HU behind the pleura: muscle with layers of fat, ribs with cortex and marrow, great vessels."""
    fat = edge_profile((smooth_field(rng, deep.shape, 3 / spacing) - 0.9 + wall.fat) * 3 + np.minimum(deep - 2, 0), 0.4)
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


def scan(image: np.ndarray, scanner: Scanner, spacing: float, rng) -> np.ndarray:
    """What the scanner makes of the ideal slice: point spread, edge enhancement, correlated noise, calibration offset."""
    blurred = gaussian_filter(image, scanner.blur / spacing)
    blurred = blurred + scanner.sharpen * (blurred - gaussian_filter(blurred, 1.0 / spacing))
    return (blurred + scanner.noise * ct_noise(rng, image.shape, scanner) + scanner.offset).astype(np.float32)


def ct_noise(rng, shape: tuple[int, int], scanner: Scanner) -> np.ndarray:
    """Unit noise with the ramp-filtered spectrum of CT, |f| exp(-(f s)^2), stretched along one direction into streaks."""
    fr, fc = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    c, s = np.cos(scanner.streak_angle), np.sin(scanner.streak_angle)
    across, along = fr * c - fc * s, fr * s + fc * c
    radius = np.hypot(across, along)
    power = (radius + 0.02) * np.exp(-((np.pi * radius * scanner.noise_scale) ** 2))
    power = power / (1 + scanner.streak * (along / 0.15) ** 2)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * np.sqrt(power), shape)
    return noise / max(noise.std(), 1e-9)
