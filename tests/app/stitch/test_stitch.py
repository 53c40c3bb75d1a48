"""The helper, as the vision worker meets it: a program, its exit status, one line on stderr."""

import os
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from project import BUILD

from develop.demo.photos import VIEW_SIZE, take_photos

STITCH = BUILD / "stitch"

DONE, USAGE, BAD_PICTURE, NO_OVERLAP, CANNOT_WRITE = 0, 2, 3, 4, 5


def stitch(output: Path, *photos: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STITCH, output, *photos], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return take_photos(tmp_path)


def noise(path: Path) -> Path:
    """Write a picture that overlaps nothing."""
    size = (400, 300)
    Image.frombytes("RGB", size, os.urandom(size[0] * size[1] * 3)).save(path)
    return path


def test_three_photos_become_one_much_wider_picture(tmp_path: Path, photos: list[Path]) -> None:
    output = tmp_path / "panorama.jpg"
    result = stitch(output, *photos)
    assert result.returncode == DONE, result.stderr
    with Image.open(output) as picture:
        width, height = picture.size
        corners = [picture.getpixel((x, y)) for x in (0, width - 1) for y in (0, height - 1)]
    assert width > 1.6 * VIEW_SIZE[0]
    assert (0, 0, 0) not in corners
    assert result.stdout.split() == ["reading", "matching", "composing", "writing", "done",
                                     f"{width}x{height}"]  # fmt: skip


def test_same_photos_give_the_same_picture(tmp_path: Path, photos: list[Path]) -> None:
    first, second = tmp_path / "1.jpg", tmp_path / "2.jpg"
    stitch(first, *photos)
    stitch(second, *photos)
    assert first.read_bytes() == second.read_bytes()


def test_order_of_the_photos_does_not_matter(tmp_path: Path, photos: list[Path]) -> None:
    output = tmp_path / "panorama.jpg"
    assert stitch(output, photos[2], photos[0], photos[1]).returncode == DONE
    with Image.open(output) as picture:
        assert picture.width > 1.6 * VIEW_SIZE[0]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_kind_of_picture_is_read(tmp_path: Path, photos: list[Path], mode: str) -> None:
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    with Image.open(photos[0]) as photo:
        if mode == "I;16":
            grey = photo.convert("L").point(lambda value: value * 256, "I")
            grey.convert("I;16").save(path)
        else:
            photo.convert(mode).save(path)
    # Converted to one bit, a photo is read but may match nothing.
    assert stitch(tmp_path / "out.jpg", path, *photos[1:]).returncode in {DONE, NO_OVERLAP}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_taken_with_the_phone_turned_is_upright(
    tmp_path: Path, photos: list[Path], orientation: int
) -> None:
    turned = []
    for path in photos:
        with Image.open(path) as photo:
            exif = photo.getexif()
            exif[0x0112] = orientation
            turned.append(path.with_name(f"turned-{path.name}"))
            lies = _undo(photo, orientation)
            lies.save(turned[-1], exif=exif, quality=95)
        with Image.open(turned[-1]) as stored:
            assert ImageOps.exif_transpose(stored).size == VIEW_SIZE
    output = tmp_path / "out.jpg"
    assert stitch(output, *turned).returncode == DONE
    with Image.open(output) as picture:
        assert picture.width > 1.6 * VIEW_SIZE[0]


def _undo(photo: Image.Image, orientation: int) -> Image.Image:
    """Return the pixels as a camera held that way stores them."""
    transpose = Image.Transpose
    inverse = {
        2: transpose.FLIP_LEFT_RIGHT, 3: transpose.ROTATE_180, 4: transpose.FLIP_TOP_BOTTOM,
        5: transpose.TRANSPOSE, 6: transpose.ROTATE_90, 7: transpose.TRANSVERSE,
        8: transpose.ROTATE_270,
    }  # fmt: skip
    return photo.transpose(inverse[orientation]) if orientation in inverse else photo


def bad_pictures(folder: Path, good: Path) -> dict[str, Path]:
    """Make one file for each way in which an upload is no usable picture."""
    whole = good.read_bytes()
    with Image.open(good) as photo:
        png = folder / "whole.png"
        photo.save(png)
    contents = {
        "text.jpg": b"I am no picture",
        "empty.jpg": b"",
        "cut.jpg": whole[: len(whole) // 2],
        "header-only.jpg": whole[:3],
        "cut.png": png.read_bytes()[: png.stat().st_size // 2],
        "bomb.png": png_header(60_000, 60_000),
        "huge.png": png_header(2**31 - 1, 2**31 - 1),
        "bomb.jpg": jpeg_of_size(whole, 65_500, 65_500),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    paths["folder"] = folder / "folder.jpg"
    paths["folder"].mkdir()
    paths["fifo"] = folder / "fifo.jpg"
    os.mkfifo(paths["fifo"])
    paths["missing"] = folder / "missing.jpg"
    return paths


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def jpeg_of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """Return `jpeg` with another size in its frame header (SOF0, ITU T.81 B.2.2)."""
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", height, width) + jpeg[start + 4 :]


@pytest.mark.parametrize(
    "name",
    ["text.jpg", "empty.jpg", "cut.jpg", "header-only.jpg", "cut.png", "bomb.png", "huge.png",
     "bomb.jpg", "folder", "fifo", "missing"],
)  # fmt: skip
def test_upload_that_is_no_picture_is_named(tmp_path: Path, photos: list[Path], name: str) -> None:
    bad = bad_pictures(tmp_path, photos[0])[name]
    output = tmp_path / "out.jpg"
    result = stitch(output, photos[0], bad)
    assert result.returncode == BAD_PICTURE
    assert result.stderr.startswith("stitch: cannot use photo 2: ")
    assert result.stderr.count("\n") == 1
    assert not output.exists()


def test_exif_garbage_is_ignored(tmp_path: Path, photos: list[Path]) -> None:
    for number, block in enumerate(
        (b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", os.urandom(500))
    ):
        jpeg = photos[0].read_bytes()
        segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
        odd = tmp_path / f"odd-{number}.jpg"
        odd.write_bytes(jpeg[:2] + segment + jpeg[2:])
        assert stitch(tmp_path / "out.jpg", odd, *photos[1:]).returncode == DONE


def test_photos_that_do_not_overlap_are_refused(tmp_path: Path, photos: list[Path]) -> None:
    result = stitch(tmp_path / "out.jpg", photos[0], noise(tmp_path / "noise.png"))
    assert result.returncode == NO_OVERLAP
    assert result.stderr.startswith("stitch: cannot stitch: ")


def test_photo_that_fits_nowhere_is_named(tmp_path: Path, photos: list[Path]) -> None:
    result = stitch(tmp_path / "out.jpg", *photos, noise(tmp_path / "noise.png"))
    assert result.returncode == NO_OVERLAP
    assert "photo 4 does not overlap the others" in result.stderr


def test_output_that_cannot_be_written_leaves_nothing(tmp_path: Path, photos: list[Path]) -> None:
    result = stitch(tmp_path / "nowhere" / "out.jpg", *photos)
    assert result.returncode == CANNOT_WRITE
    assert "No such file or directory" in result.stderr


def test_full_disk_leaves_no_half_picture(tmp_path: Path, photos: list[Path]) -> None:
    before = set(tmp_path.iterdir())
    # 20 blocks of 1 KiB: the limit on a file's size stands in for the disk's.
    command = f'trap "" XFSZ; ulimit -f 20; exec "{STITCH}" "{tmp_path}/out.jpg" "$@"'
    result = subprocess.run(
        ["bash", "-c", command, "bash", *photos], capture_output=True, text=True, check=False
    )
    assert result.returncode == CANNOT_WRITE, result.stderr
    assert set(tmp_path.iterdir()) == before


def test_usage_is_told(tmp_path: Path) -> None:
    result = stitch(tmp_path / "out.jpg")
    assert result.returncode == USAGE
    assert "usage: stitch OUTPUT.jpg PHOTO PHOTO..." in result.stderr
    assert subprocess.run([STITCH, "--help"], check=True, capture_output=True).stdout
