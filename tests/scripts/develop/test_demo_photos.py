"""The virtual camera of the demo."""

from pathlib import Path

import pytest
from PIL import Image

from develop.demo.photos import VIEW_SIZE, take_photos


@pytest.mark.parametrize("count", [2, 3])
def test_views_are_whole_pictures_without_blank_borders(tmp_path: Path, count: int) -> None:
    paths = take_photos(tmp_path, count)
    assert len(paths) == count
    for path in paths:
        with Image.open(path) as photo:
            assert photo.size == VIEW_SIZE
            borders = [photo.getpixel((x, y)) for x in (2, 797) for y in (2, 597)]
            assert (0, 0, 0) not in borders


def test_more_views_than_the_photograph_holds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot take 9 photos"):
        take_photos(tmp_path, 9)
