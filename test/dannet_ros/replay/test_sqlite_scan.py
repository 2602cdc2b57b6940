"""A database is read row by row, whatever its indices and other tables hold."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from dannet_ros.replay.bag_reading import open_bag

pytest.importorskip("rosbags", reason="rosbags writes and reads bags")


@pytest.mark.parametrize(
    ("statements", "lost"),
    [
        (["DROP INDEX timestamp_idx"], 0),
        (["UPDATE topics SET id = id + 70", "UPDATE messages SET topic_id = topic_id + 70"], 0),
        (["DROP TABLE schema", "DROP TABLE metadata", "DROP TABLE message_definitions"], 0),
        (["DELETE FROM messages WHERE id > 6"], 3),
        (["DELETE FROM topics WHERE name = '/camera/image'"], 6),
        (["UPDATE messages SET data = 'text' WHERE id = 1"], 1),
        (["UPDATE messages SET timestamp = -1 WHERE id = 1"], 1),
    ],
)
def test_a_database_is_read_by_its_rows(bags, tmp_path: Path, statements: list[str], lost: int) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(6), storage="sqlite3")
    connection = sqlite3.connect(next(bag.glob("*.db3")))
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    with open_bag(bag, lenient=True) as opened:
        found = list(opened.raw(["/camera/image"]))
        assert len(found) == 6 - lost
        assert bool(opened.problems) == bool(lost), opened.problems


def test_rows_that_the_index_does_not_know_are_read(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(6), storage="sqlite3")
    file = next(bag.glob("*.db3"))
    hide, show = (
        "DELETE FROM sqlite_master WHERE name = 'timestamp_idx'",
        "INSERT INTO sqlite_master VALUES (?,?,?,?,?)",
    )
    entry = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'timestamp_idx'"
    (index, rows) = (None, [])
    for step in ("hide", "fill", "show"):
        connection = sqlite3.connect(file)
        with connection:
            connection.execute("PRAGMA writable_schema = ON")
            if step == "hide":
                rows = connection.execute("SELECT * FROM messages WHERE id > 4").fetchall()
                connection.execute("DELETE FROM messages WHERE id > 4")
                index = connection.execute(entry).fetchone()
                connection.execute(hide)
            elif step == "fill":
                connection.executemany("INSERT INTO messages VALUES (?,?,?,?)", rows)
            else:
                connection.execute(show, index)
        connection.close()
    connection = sqlite3.connect(file)
    (by_index,) = connection.execute("SELECT count(*) FROM messages INDEXED BY timestamp_idx").fetchone()
    connection.close()
    assert by_index == 4
    found, problems = bags.read(bag)
    assert (len(found), problems) == (6, [])


def test_a_log_that_was_not_written_back_belongs_to_the_bag(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(6), storage="sqlite3")
    file = next(bag.glob("*.db3"))
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT * FROM messages WHERE id > 4").fetchall()
    with connection:
        connection.execute("DELETE FROM messages WHERE id > 4")
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.executemany("INSERT INTO messages VALUES (?,?,?,?)", rows)
    (tmp_path / "killed").mkdir()
    for name in (file.name, f"{file.name}-wal", "metadata.yaml"):
        shutil.copy(bag / name, tmp_path / "killed")
    connection.close()
    found, problems = bags.read(tmp_path / "killed")
    assert (len(found), problems) == (6, [])


def test_a_journal_that_was_not_rolled_back_is_named(bags, tmp_path: Path) -> None:
    bag = bags.write(tmp_path / "bag", bags.frames(2), storage="sqlite3")
    file = next(bag.glob("*.db3"))
    (bag / f"{file.name}-journal").write_bytes(b"pages")
    found, (problem,) = bags.read(bag)
    assert len(found) == 2
    assert f"as {file.name}-journal shows" in problem
