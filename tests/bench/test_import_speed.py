from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordReader

from facemae_jax.bench import import_speed, plain_copy
from facemae_jax.bench.import_speed import Case, Row, measure, table
from facemae_jax.data.face_record import from_example
from facemae_jax.data.face_set import open_face_set
from facemae_jax.types import Record


def records(path: Path) -> list[Record]:
    reader = ArrayRecordReader(str(path))
    return [from_example(data) for data in reader.read(list(range(reader.num_records())))]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(import_speed, "DIFFERENT", 8)
    monkeypatch.setattr(import_speed, "SIZE", 16)
    monkeypatch.setattr(import_speed, "LARGE", 20)
    monkeypatch.setattr(plain_copy, "SHARD_RECORDS", 30)


def test_every_case_does_all_images(tmp_path):
    rows = measure(tmp_path / "x", 45, 1, 2)
    assert [len(row.imported) for row in rows] == [len(row.measure) for row in rows] == [1] * 8
    folder = tmp_path / "x"
    for number, row in enumerate(rows):
        wanted = 45 if row.case.against == "plain copying" or "grey" in row.case.name else 40
        assert row.case.measure(folder / f"a{number}") == wanted == row.case.imported(folder / f"b{number}")
        if row.case.against == "plain copying":
            found = [record for part in sorted((folder / f"a{number}").iterdir()) for record in records(part)]
            imported = open_face_set(folder / f"b{number}" / "faces")
            assert [(one.image, one.label) for one in found] == [(one.image, one.label) for one in imported]
    assert table(rows).count("\n") == 9 and "recordio" in table(rows)


def test_shares_are_of_the_best_and_of_the_middle_round():
    row = Row(Case("x", "y", len, len), [100.0, 50.0, 80.0], [50.0, 20.0, 40.0])
    assert table([row]).splitlines()[2] == "| x | y | 50 (40) | 100 (80) | 0.50 (0.50) |"
    assert row.ratio(min) == 0.4


def test_cases_are_chosen_by_name(tmp_path):
    rows = measure(tmp_path / "x", 45, 2, 1, ["zip, 16×16 JPEG passed through"])
    assert [row.case.name for row in rows] == ["zip, 16×16 JPEG passed through"] and len(rows[0].imported) == 2
