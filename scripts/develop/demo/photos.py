"""A virtual camera: overlapping views of one real photograph, as somebody turning would take them.

The photograph is taken as what a wide camera saw. A narrower camera stands in
the same place and turns by a few degrees from view to view, which is exactly
the geometry that a stitcher expects: views related by the homography
K_wide * R * K_narrow^-1 (Hartley and Zisserman, Multiple View Geometry, 8.4).
"""

import math
from pathlib import Path

from PIL import Image, ImageEnhance

PHOTOGRAPH = Path(__file__).with_name("picos.jpg")

WIDE_DEGREES = 80.0  # horizontal field of view of the photograph
VIEW_DEGREES = 40.0  # and of one view
TURN_DEGREES = 18.0  # from one view to the next: more than half of it overlaps
VIEW_SIZE = (800, 600)  # pixels
EXPOSURES = (0.94, 1.0, 1.06)  # a hand-held camera meters each view anew


def take_photos(folder: Path, count: int = 3) -> list[Path]:
    """Write `count` (2 or 3) overlapping JPEGs into `folder`; return their paths, left to right."""
    if count not in {2, 3}:
        raise ValueError(f"cannot take {count} photos: the photograph is wide enough for 2 or 3")
    paths = []
    with Image.open(PHOTOGRAPH) as scene:
        for number in range(count):
            turn = (number - (count - 1) / 2) * TURN_DEGREES
            view = scene.transform(
                VIEW_SIZE, Image.Transform.PERSPECTIVE, _homography(scene.size, turn),
                Image.Resampling.BICUBIC,
            )  # fmt: skip
            path = folder / f"photo-{number + 1}.jpg"
            ImageEnhance.Brightness(view).enhance(EXPOSURES[number]).save(path, quality=92)
            paths.append(path)
    return paths


def _homography(scene_size: tuple[int, int], turn_degrees: float) -> list[float]:
    """Return the eight coefficients by which Pillow maps a view's pixels to the scene's."""
    sine, cosine = math.sin(math.radians(turn_degrees)), math.cos(math.radians(turn_degrees))
    wide = scene_size[0] / 2 / math.tan(math.radians(WIDE_DEGREES / 2))
    narrow = VIEW_SIZE[0] / 2 / math.tan(math.radians(VIEW_DEGREES / 2))
    scene_x, scene_y = scene_size[0] / 2, scene_size[1] / 2
    view_x, view_y = VIEW_SIZE[0] / 2, VIEW_SIZE[1] / 2
    # The ray of view pixel (u, v), turned about the vertical axis, is
    #   x = cosine * a + sine, y = b, z = -sine * a + cosine
    # with a = (u - view_x) / narrow and b = (v - view_y) / narrow.
    x = (cosine / narrow, 0.0, sine - cosine * view_x / narrow)
    y = (0.0, 1 / narrow, -view_y / narrow)
    z = (-sine / narrow, 0.0, cosine + sine * view_x / narrow)
    rows = [
        [wide * x[i] + scene_x * z[i] for i in range(3)],
        [wide * y[i] + scene_y * z[i] for i in range(3)],
        list(z),
    ]
    return [value / z[2] for row in rows for value in row][:8]
