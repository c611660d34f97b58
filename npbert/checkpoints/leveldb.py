"""LevelDB's table: an immutable file of sorted (key, value) pairs, in blocks. TensorFlow keeps a checkpoint's index in one.

    data blocks | metaindex block | index block | footer (48 bytes)

    footer  = metaindex handle, index handle, zeros up to 40 bytes, magic number (8 bytes)
    handle  = varint offset, varint size
    block   = contents (size bytes), how they are compressed (1 byte), masked CRC-32C of both (4 bytes)
    contents = entries, restart points (4 bytes each), how many of them (4 bytes)
    entry   = varint shared, varint unshared, varint value size, the key's last `unshared` bytes, value

A key begins with the first `shared` bytes of the key before it. Restart points are entries with the whole key, for a binary
search; reading from end to end does without. The index block's values are the handles of the data blocks.
Reference: https://github.com/google/leveldb/blob/main/doc/table_format.md.
"""

from collections.abc import Iterator

from npbert.checkpoints.crc32c import masked_crc32c
from npbert.checkpoints.limits import MAX_INDEX_CONTENTS, MAX_INDEX_ENTRIES
from npbert.checkpoints.snappy import decompress
from npbert.checkpoints.wire import Damaged, read_varint

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER_SIZE = 48
_TRAILER_SIZE = 5
_UNCOMPRESSED, _SNAPPY = 0, 1


def is_table(data: bytes) -> bool:
    """Whether a file that ends with `data` ends like a table."""
    return len(data) >= FOOTER_SIZE and data.endswith(MAGIC)


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All (key, value) pairs of a table, each block's sum checked and keys strictly rising."""
    if not is_table(data):
        raise Damaged("does not end like a LevelDB table: cut short, or another format")
    footer = data[-FOOTER_SIZE:]
    metaindex_offset, metaindex_size, at = _read_handle(footer, 0)
    index_offset, index_size, at = _read_handle(footer, at)
    if any(footer[at : -len(MAGIC)]):
        raise Damaged("has a footer with bytes that should be zero")
    left = MAX_INDEX_CONTENTS
    left -= len(_read_block(data, metaindex_offset, metaindex_size, limit=left))  # nothing to learn from it but its sum
    index_block = _read_block(data, index_offset, index_size, limit=left)
    left -= len(index_block)
    last: bytes | None = None
    end = entries = 0
    for blocks, (_, handle) in enumerate(_read_entries(index_block, limit=left)):
        if blocks >= MAX_INDEX_ENTRIES:
            raise Damaged(f"has more than {MAX_INDEX_ENTRIES} blocks, which no checkpoint needs")
        offset, size, handle_end = _read_handle(handle, 0)
        if offset < end or handle_end != len(handle):
            raise Damaged("has an index whose blocks overlap or stand out of order")
        end = offset + size + _TRAILER_SIZE
        block = _read_block(data, offset, size, limit=left)
        left -= len(block)
        for key, value in _read_entries(block, limit=left):
            if last is not None and key <= last:
                raise Damaged(f"holds the key {key[:80]!r} twice, or after a greater one")
            entries += 1
            if entries > MAX_INDEX_ENTRIES:
                raise Damaged(f"has more than {MAX_INDEX_ENTRIES} entries, which no checkpoint needs")
            left -= len(key) + len(value)
            last = key
            yield key, value


def _read_handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where the handle ends."""
    offset, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return offset, size, at


def _read_block(data: bytes, offset: int, size: int, *, limit: int) -> bytes:
    if offset + size + _TRAILER_SIZE > len(data) - FOOTER_SIZE:
        raise Damaged(f"has a block of {size} bytes at {offset}, which ends behind the file")
    end = offset + size
    stored = int.from_bytes(data[end + 1 : end + _TRAILER_SIZE], "little")
    if masked_crc32c(data[offset : end + 1]) != stored:
        raise Damaged(f"has a block at {offset} whose checksum is wrong")
    contents, compression = data[offset:end], data[end]
    if compression == _SNAPPY:
        return decompress(contents, limit=limit)
    if compression != _UNCOMPRESSED:
        raise Damaged(f"has a block of compression type {compression}; 0 (none) and 1 (Snappy) are taken")
    return contents


def _read_entries(block: bytes, *, limit: int) -> Iterator[tuple[bytes, bytes]]:
    count = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * count
    if end < 0 or len(block) < 4:
        raise Damaged(f"has a block that claims {count} restart points in {len(block)} bytes")
    key, at = b"", 0
    while at < end:
        shared, at = read_varint(block, at)
        unshared, at = read_varint(block, at)
        size, at = read_varint(block, at)
        if shared > len(key) or unshared + size > end - at:
            raise Damaged("has a block with an entry that does not fit into it")
        limit -= shared + unshared + size
        if limit < 0:
            raise Damaged(f"stands for more than {MAX_INDEX_CONTENTS} bytes")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + size]
        at += size
