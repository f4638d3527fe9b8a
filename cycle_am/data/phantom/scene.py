"""What stands in a phantom picture: a lesion as readers drew and rated it, and its random surroundings.

A `Finding` holds what readers drew and rated *except malignancy*, so no pixel can depend on the label.
`draw_scene` draws everything random about its surroundings and its scanner once, in millimetres (row, column,
z) from the pixel nearest the lesion's midpoint; `phantom_render` rasterises slices of it. Ranges were fitted
to the appearance of real crops without their labels: densities and edges by rating, lung, clutter, noise.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

VERSION = 3  # raise it when pixels change: older caches are then rendered anew
ABSENT = 6  # LIDC's rating of calcification: no calcium; 1 to 5 name its pattern
REACH_MM = 34.0  # half the side of the square in which a scene's objects are drawn; covers the largest window

Random = np.random.Generator


@dataclass(frozen=True)
class Finding:
    """What the renderer may know of a lesion. Malignancy is not part of it.

    fraction: (K, H, W) share of readers in [0, 1] on K neighbouring slices. origin: its first pixel (row,
    column) and centre: the lesion's midpoint, both in pixels from the pixel nearest the midpoint. z: (K,) mm
    of each slice from the wanted one. spacing, thickness: mm. texture, margin, spiculation, lobulation: mean
    ratings 1..5. calcification: each reader's rating 1..6. cavity: share of readers who saw air inside.
    contrast: contrast medium given. position: (row, column) in mm from the image's centre.
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
    """One scan's imaging.

    blur: sigma in mm; sharpen: share of an unsharp mask; noise: HU; noise_scale: its correlation in pixels;
    streak, streak_angle: strength and direction (radians) of streaks; offset: HU.
    """

    blur: float
    sharpen: float
    noise: float
    noise_scale: float
    streak: float
    streak_angle: float
    offset: float


@dataclass(frozen=True)
class Wall:
    """Soft tissue behind the pleura.

    direction: outward; distance, radius (of curvature; a negative one bulges into the lung): mm; tilt: shift
    of the boundary in mm per mm of height; hu: of muscle; fat: how much of it there is.
    """

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
    """Densities of one lesion.

    solid_hu, glass_hu, calcium_hu, ripple (texture): HU; solid_share, calcium: shares; pattern: of the
    calcium; inset: how far the edge lies inside the outline, edge: its width, both mm; bubbles: of air.
    halo: width in mm of ground glass around the lesion (only planted, `planted.py`).
    """

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
    halo: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Everything random about one lesion's picture.

    tubes, airways: (T, 9) rows of two end points (row, column, z), two radii, HU; an airway's wall is drawn
    around its air. distance: (K, H, W) signed distance in mm to the outline, positive inside.
    """

    finding: Finding
    seed: int
    scanner: Scanner
    lung_hu: float
    lung_texture: float
    gradient: np.ndarray
    emphysema: float
    tubes: np.ndarray
    airways: np.ndarray
    fissure: np.ndarray | None  # direction (2), offset, curvature, HU
    wall: Wall | None
    nodule: Nodule
    distance: np.ndarray = field(repr=False)


def scene_seed(seed: int, lesion_id: str, view: int = 0) -> int:
    """A 64-bit seed from the run's seed, the lesion and the view; the same in every process."""
    return int(
        np.random.SeedSequence([seed, zlib.crc32(lesion_id.encode()), view]).generate_state(1, np.uint64)[0]
    )


def draw_scene(finding: Finding, seed: int = 0, view: int = 0) -> Scene:
    """Draw a lesion's surroundings, densities and scanner; deterministic for (seed, lesion_id, view)."""
    number = scene_seed(seed, finding.lesion_id, view)
    rng = np.random.default_rng(number)
    distance = signed_distance(finding.fraction, finding.spacing)
    lung = float(np.clip(rng.normal(-870, 46), -955, -740))
    wall = draw_wall(rng, finding, distance)
    tubes = [
        *vessel_trees(rng, finding),
        *attached_vessels(rng, finding, distance),
        *spicules(rng, finding, distance),
    ]
    return Scene(
        finding=finding,
        seed=number,
        scanner=draw_scanner(rng, finding),
        lung_hu=lung,
        lung_texture=rng.uniform(8, 26),
        gradient=rng.normal(0, 0.7, 2),
        emphysema=max(0.0, rng.normal(-0.6, 0.6)),
        tubes=np.array(tubes, float).reshape(-1, 9),
        airways=draw_airways(rng),
        fissure=draw_fissure(rng),
        wall=wall,
        nodule=draw_nodule(rng, finding, lung),
        distance=distance,
    )


def draw_scanner(rng: Random, finding: Finding) -> Scanner:
    """Soft to sharp kernels: the sharper, the noisier and the finer the grain; thin slices are noisier."""
    sharp = rng.beta(1.0, 1.3)
    noise = np.exp(rng.normal(np.log(15 + 32 * sharp), 0.45)) * (2.0 / max(finding.thickness, 0.8)) ** 0.3
    return Scanner(
        blur=rng.uniform(0.9, 1.15) * (0.68 - 0.3 * sharp),
        sharpen=max(0.0, 1.1 * sharp - 0.25) * rng.uniform(0.4, 1.0),
        noise=noise,
        noise_scale=1.5 - 0.75 * sharp + rng.normal(0, 0.12),
        streak=rng.beta(1.2, 2.0) * 3,
        streak_angle=rng.normal(0, 0.5),
        offset=rng.normal(0, 8),
    )


def draw_nodule(rng: Random, finding: Finding, lung_hu: float) -> Nodule:
    """Densities from the ratings: texture 5 is solid, 1 pure ground glass; calcium by the readers' votes."""
    votes = np.array(finding.calcification)
    calcified = float(np.mean(votes != ABSENT))
    patterns = votes[votes != ABSENT]
    size = np.sqrt(max((finding.fraction >= 0.5).sum((1, 2)).max(), 9)) * finding.spacing
    solid = float(np.clip((finding.texture - 1) / 3.6 + rng.normal(0, 0.05), 0, 1))
    return Nodule(
        solid_hu=rng.normal(46, 18)
        + 25 * finding.contrast * rng.random()
        - rng.exponential(8 + 350 / size**1.5),
        inset=rng.normal(0.14, 0.18),
        glass_hu=lung_hu + rng.uniform(180, 420),
        solid_share=solid,
        edge=0.16 * (5 - finding.margin) * rng.uniform(0.7, 1.4) + 0.12,
        calcium=calcium_share(rng, calcified),
        pattern=int(rng.choice(patterns)) if len(patterns) else ABSENT,
        calcium_hu=float(np.exp(rng.normal(6.5, 0.45))),
        ripple=rng.uniform(4, 18),
        bubbles=int(rng.poisson(2)) if rng.random() < 0.1 else 0,
    )


def calcium_share(rng: Random, votes: float) -> float:
    """How much of the rated pattern is calcium: all where most readers saw it, a little where few did."""
    if votes > 0.55:
        return 1.0 if rng.random() < 0.85 else 0.3
    return votes * rng.uniform(0, 0.9)


def draw_fissure(rng: Random) -> np.ndarray | None:
    """In one scene of eight a fissure: a faint curved line."""
    if rng.random() > 0.12:
        return None
    angle = rng.uniform(0, 2 * np.pi)
    return np.array(
        [np.cos(angle), np.sin(angle), rng.normal(0, 12), rng.normal(0, 0.006), rng.uniform(60, 260)]
    )


def draw_airways(rng: Random) -> np.ndarray:
    """A few bronchi, each a tube whose wall is drawn around an air-filled lumen."""
    return np.array([_airway(rng) for _ in range(rng.poisson(0.35))], float).reshape(-1, 9)


def _airway(rng: Random) -> np.ndarray:
    middle, way = rng.uniform(-REACH_MM, REACH_MM, 2), rng.normal(0, 1, 3) * (1, 1, 1.5)
    way *= rng.uniform(8, 16) / np.linalg.norm(way)
    radius = np.exp(rng.normal(0.25, 0.35))
    centre = np.array([*middle, 0.0])
    return np.array(
        [*(centre - way), *(centre + way), radius, radius * rng.uniform(0.7, 1), rng.uniform(-500, -200)]
    )


def vessel_trees(rng: Random, finding: Finding) -> list[np.ndarray]:
    """Branching vessels of varied calibre that fan out from one side through the slab around the slice."""
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


def vessel_hu(rng: Random, finding: Finding) -> float:
    """Blood, brighter with contrast medium."""
    return rng.normal(45, 15) + (rng.uniform(0, 180) if finding.contrast else 0)


def branch(rng: Random, start, way, radius, hu, depth, steps: int = 8) -> list[np.ndarray]:
    """A wandering tapering vessel and its daughters, as tubes."""
    tubes, point, way = [], start, way / np.linalg.norm(way)
    for _ in range(steps):
        following = point + way * rng.uniform(2, 4)
        thinner = max(radius * rng.uniform(0.88, 1.0), 0.2)
        tubes.append(np.array([*point, *following, radius, thinner, hu]))
        point, radius = following, thinner
        way = turn(rng, way, 0.3)
        if depth and radius > 0.3 and rng.random() < 0.2:
            tubes += branch(
                rng, point, turn(rng, way, 0.7), radius * rng.uniform(0.55, 0.8), hu, depth - 1, steps - 2
            )
    return tubes


def turn(rng: Random, way: np.ndarray, amount: float) -> np.ndarray:
    """A direction bent by a random angle of about ``amount`` radians."""
    bent = way + rng.normal(0, amount, 3)
    return bent / np.linalg.norm(bent)


def attached_vessels(rng: Random, finding: Finding, distance: np.ndarray) -> list[np.ndarray]:
    """Vessels that end in the nodule: in about half of the scenes one, seldom more."""
    tubes: list[np.ndarray] = []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.5, 0.3, 0.14, 0.06])):
        point, out = boundary_point(rng, finding, distance)
        radius = float(np.clip(np.exp(rng.normal(-0.35, 0.4)), 0.3, 2.2))
        way = np.array([*out, rng.normal(0, 0.35)])
        tubes += branch(rng, np.array([*(point - out), 0.0]), way, radius, vessel_hu(rng, finding), depth=1)
    return tubes


def spicules(rng: Random, finding: Finding, distance: np.ndarray) -> list[np.ndarray]:
    """Thin strands that radiate from the outline: more and longer ones for a higher rating."""
    rated = finding.spiculation - 1
    size = np.sqrt((finding.fraction.max(0) >= 0.5).sum()) * finding.spacing
    tubes = []
    for _ in range(rng.poisson((0.5 + 4 * rated) * np.clip(size / 10, 0.4, 2))):
        point, out = boundary_point(rng, finding, distance)
        way, length = turn(rng, np.array([*out, 0.0]), 0.35), rng.gamma(2, 0.7 + 0.45 * rated)
        tubes += strand(rng, point, out, way, length)
    return tubes


def strand(
    rng: Random, point: np.ndarray, out: np.ndarray, way: np.ndarray, length: float
) -> list[np.ndarray]:
    """A thin tapering strand of `length` mm in direction `way` (3,), bent half-way.

    It is rooted 1 mm below the outline's `point` (2,), whose outward normal is `out` (2,).
    """
    middle = np.array([*point, 0.0]) + 0.5 * length * way
    tip = middle + 0.5 * length * turn(rng, way, 0.3)
    foot, hu = np.array([*(point - out), 0.0]), rng.uniform(-250, 40)
    thick = np.array([*foot, *middle, rng.uniform(0.4, 0.75), 0.35, hu])
    return [thick, np.array([*middle, *tip, 0.35, 0.15, hu])]


def boundary_point(rng: Random, finding: Finding, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    """Where the pleura lies, seen from a point in mm from the image's centre.

    Returns the unit direction to it and the point's place in the lung (0 its centre, 1 its border), by two
    typical elliptic lungs: semi-axes 82 x 58 mm, centres 78 mm beside the midline.
    """
    row, column = position
    centre = np.array([-5.0, np.copysign(78.0, column)])
    scaled = (np.array([row, column]) - centre) / (82.0, 58.0)
    direction = scaled / (82.0, 58.0)
    return direction / max(np.linalg.norm(direction), 1e-6), float(np.linalg.norm(scaled))


def draw_wall(rng: Random, finding: Finding, distance: np.ndarray) -> Wall | None:
    """Chest wall, mediastinum or diaphragm beside the lesion; likelier for one near the lung's border."""
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
        direction,
        reach + gap,
        radius,
        tilt,
        str(kind),
        draw_ribs(rng) if kind == "chest" else np.zeros((0, 5)),
        draw_organs(rng, finding, direction, reach + gap) if kind == "mediastinum" else np.zeros((0, 4)),
        rng.normal(45, 15),
        rng.uniform(0, 0.9) if kind != "diaphragm" else 0.0,
    )


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


def draw_ribs(rng: Random) -> np.ndarray:
    """Ribs cut obliquely, side by side along the wall."""
    start, ribs = rng.uniform(-30, 0), []
    while start < 45:
        half = rng.uniform(4, 18)
        ribs.append([start + half, rng.uniform(5, 8.5), half, rng.uniform(2.8, 4.8), rng.uniform(350, 900)])
        start += 2 * half + rng.uniform(6, 30)
    return np.array(ribs, float).reshape(-1, 5)


def draw_organs(rng: Random, finding: Finding, direction: np.ndarray, distance: float) -> np.ndarray:
    """Great vessels inside the mediastinum, bright where contrast medium was given."""
    across = np.array([-direction[1], direction[0]])
    rows = []
    for _ in range(rng.poisson(2.0)):
        radius = rng.uniform(3, 14)
        place = direction * (distance + radius + rng.uniform(1, 12)) + across * rng.uniform(-25, 25)
        rows.append([*place, radius, rng.normal(55, 12) + (rng.uniform(40, 220) if finding.contrast else 0)])
    return np.array(rows, float).reshape(-1, 4)


def signed_distance(fraction: np.ndarray, spacing: float) -> np.ndarray:
    """(K, H, W) readers' shares -> signed distance in mm to each slice's consensus outline, positive inside.

    A slice without outline continues its neighbour's shape shrunk to nothing, so that interpolation along z
    closes the lesion.
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
