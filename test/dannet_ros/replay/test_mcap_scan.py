"""An MCAP file is read by its records; what its index and statistics say is checked."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")
COUNT = 40
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MCAP_MAGIC = b"\x89MCAP0\r\n"
STATISTICS, CHUNK, MESSAGE_INDEX, CHUNK_INDEX, DATA_END, FOOTER = 0x0B, 0x06, 0x07, 0x08, 0x0F, 0x02


def mcap_records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = len(MCAP_MAGIC)
    while at < len(data) - len(MCAP_MAGIC):
        op, size = struct.unpack_from("<BQ", data, at)
        yield op, data[at + 9 : at + 9 + size]
        at += 9 + size


def mcap_file(records: list[tuple[int, bytes]], *, summary: bool = True) -> bytes:
    """An MCAP file of ``records``; its footer says where the summary is."""
    out = bytearray(MCAP_MAGIC)
    start = 0
    for op, content in records:
        body = struct.pack("<QQI", start if summary else 0, 0, 0) if op == FOOTER else content
        out += struct.pack("<BQ", op, len(body)) + body
        start = len(out) if op == DATA_END else start
    return bytes(out) + MCAP_MAGIC


def more_messages(content: bytes, more: int) -> bytes:
    """A statistics record that says ``more`` of everything."""
    changed_content = bytearray(content)
    for at in (0, *range(48, len(content), 10)):
        struct.pack_into("<Q", changed_content, at, struct.unpack_from("<Q", content, at)[0] + more)
    return bytes(changed_content)


@pytest.mark.parametrize("compression", ["NONE", "STORAGE"])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    "without",
    [
        {MESSAGE_INDEX},
        {CHUNK_INDEX},
        {STATISTICS},
        {MESSAGE_INDEX, STATISTICS},
        {MESSAGE_INDEX, CHUNK_INDEX},
        "half an index",
        "no summary",
        "no descriptions",
    ],
)
def test_an_mcap_file_needs_no_index(bags, tmp_path: Path, compression: str, alone: bool, without: Any) -> None:
    pictures = bags.frames(2 * COUNT)
    bag = bags.write(tmp_path / "bag", pictures, compression=compression)
    file = next(bag.glob("*.mcap"))
    records = list(mcap_records(file.read_bytes()))
    end = [op for op, _ in records].index(DATA_END)
    if isinstance(without, set):
        kept = [(op, content) for op, content in records if op not in without]
    elif without == "half an index":
        kept = [one for number, one in enumerate(records) if one[0] != MESSAGE_INDEX or number % 2]
    elif without == "no descriptions":
        kept = [one for number, one in enumerate(records) if number < end or one[0] not in (3, 4)]
    else:
        kept = [*records[: end + 1], (FOOTER, b"")]
    file.write_bytes(mcap_file(kept, summary=without != "no summary"))
    found, problems = bags.read(file if alone else bag)
    assert problems == []
    for expected, got in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_chunks_of_lz4_are_read_and_checked(bags, tmp_path: Path) -> None:
    frame = pytest.importorskip("lz4.frame")
    pictures = bags.frames(COUNT)
    bag = bags.write(tmp_path / "bag", pictures)
    file = next(bag.glob("*.mcap"))

    def packed(content: bytes) -> bytes:
        inside = frame.compress(content[40:])
        return content[:28] + struct.pack("<I", 3) + b"lz4" + struct.pack("<Q", len(inside)) + inside

    records = [(op, packed(c) if op == CHUNK else c) for op, c in mcap_records(file.read_bytes())]
    file.write_bytes(mcap_file([one for one in records if one[0] != CHUNK_INDEX]))
    found, problems = bags.read(bag)
    assert problems == []
    np.testing.assert_array_equal(np.stack(found), np.stack(pictures))
    file.write_bytes(file.read_bytes()[:-2000].replace(b"lz4", b"lz5", 1))
    found, problems = bags.read(bag)
    assert len(found) < COUNT
    assert any("compressed with 'lz5', expected zstd or lz4" in problem for problem in problems), problems


@pytest.mark.parametrize("alone", [True, False])
def test_statistics_that_promise_more_are_a_problem_and_less_are_none(bags, tmp_path: Path, alone: bool) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(5))
    file = next(bag.glob("*.mcap"))
    whole = list(mcap_records(file.read_bytes()))
    for more, said in ((3, f"{file.name}: its statistics say 8 messages on /camera/image, 5 can be read"), (-3, None)):
        file.write_bytes(mcap_file([(op, more_messages(c, more) if op == STATISTICS else c) for op, c in whole]))
        found, problems = bags.read(file if alone else bag)
        assert len(found) == 5
        assert (said in problems) if said else problems == []


def test_a_wrong_checksum_and_a_destroyed_head_cost_one_chunk_and_are_named(bags, tmp_path: Path) -> None:
    count = 4 * COUNT
    pictures = bags.frames(count)
    bag = bags.write(tmp_path / "bag", pictures)
    file = next(bag.glob("*.mcap"))
    whole = file.read_bytes()
    second = [n for n, (op, _) in enumerate(mcap_records(whole)) if op == CHUNK][1]
    place = len(MCAP_MAGIC) + sum(9 + len(content) for _, content in list(mcap_records(whole))[:second])
    for at, junk in ((place + 9 + 24, b"\1\2\3\4"), (place, b"\xff" * 9)):
        file.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
        found, problems = bags.read(bag)
        assert count // 2 < len(found) < count
        assert any("checksum" in problem or f"damaged at byte {place}" in problem for problem in problems), problems
        np.testing.assert_array_equal(found[-1], pictures[-1])


def test_a_damaged_chunk_is_left_out_with_its_number_of_messages_and_the_rest_is_read(bags, tmp_path: Path) -> None:
    count = 4 * COUNT
    bag = bags.write(tmp_path / "bag", bags.frames(count), compression="STORAGE")
    file = next(bag.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    second = data.find(ZSTD_MAGIC, data.find(ZSTD_MAGIC) + 4)
    data[second : second + 16] = bytes(16)
    file.write_bytes(data)
    found, problems = bags.read(bag)
    assert count // 2 < len(found) < count
    assert any("damaged chunk" in problem and f"{2 * (count - len(found))} messages left out" in problem
               for problem in problems), problems  # fmt: skip
    np.testing.assert_array_equal(found[-1], bags.frames(count)[-1])
