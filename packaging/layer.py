"""A layer: files as one xz stream, the unit of which an executable's payload is made.

xz streams may be put one after another (xz-file-format.txt, section 2), and so
may tar archives once the end mark of all but the last is left out. A payload
is therefore the dependencies' layer, compressed once and kept, followed by the
program's own, compressed anew at each build: one changed file costs tenths of
a second instead of seconds.
"""

import io
import lzma
import tarfile
from collections.abc import Mapping

# A preset of 9 would make whoever unpacks it set aside 64 MB.
_DICTIONARY_BYTES = 1 << 24

# pb=0: text has no four-byte alignment to profit from.
_FILTERS = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "dict_size": _DICTIONARY_BYTES,
        "pb": 0,
    }
]


def pack(files: Mapping[str, bytes], *, last: bool) -> bytes:
    """Return `files` (path in the payload -> content) as a layer.

    The same files give the same bytes: sorted by path, without times, owners
    or modes. `last` closes the archive.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(files):
            member = tarfile.TarInfo(path)
            member.size = len(files[path])
            tar.addfile(member, io.BytesIO(files[path]))
        end = None if last else tar.offset
    return lzma.compress(buffer.getvalue()[:end], filters=_FILTERS)


def sizes(packed: bytes) -> dict[str, int]:
    """Return path and size of each file in a layer, which may be empty."""
    archive = lzma.decompress(packed) + tarfile.NUL * 2 * tarfile.BLOCKSIZE
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member.size for member in tar}
