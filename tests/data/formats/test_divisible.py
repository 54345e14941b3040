import gzip
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats import parquet
from facemae_jax.data.formats.archive import ArchiveSource, write_zip
from facemae_jax.data.formats.folder import FolderSource, write_folder
from facemae_jax.data.formats.parquet import ParquetSource
from facemae_jax.data.formats.parquet_writer import write_parquet
from facemae_jax.data.formats.recordio import RecordIOSource
from facemae_jax.data.formats.recordio_writer import write_recordio
from facemae_jax.data.formats.tar import TarSource
from facemae_jax.data.formats.webdataset import write_webdataset
from facemae_jax.data.images import BadImage, encode_jpeg
from facemae_jax.types import Record

COUNT = 240
NAMES = [f"p{label}" for label in range(4)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    writer = FaceSetWriter(
        tmp_path_factory.mktemp("faces") / "1.0.0", name="toy", image_size=8, num_labels=4, identity_names=NAMES
    )
    noise = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), np.uint8)
    records = [
        Record(encode_jpeg(noise[n], 90), n * 4 // COUNT, f"{NAMES[n * 4 // COUNT]}/{n:03d}.jpg") for n in range(COUNT)
    ]
    writer.write_shard(0, records)
    return open_face_set(writer.finish(COUNT))


def deflated(faces, out) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for record in faces:
            made.writestr(record.key, record.image)


FORMS = {
    "folder": (write_folder, FolderSource),
    "zip": (write_zip, ArchiveSource),
    "deflated": (deflated, ArchiveSource),
    "recordio": (write_recordio, RecordIOSource),
    "parquet": (lambda faces, out: write_parquet(faces, out, shard_records=150), ParquetSource),
    "tar": (lambda faces, out: write_webdataset(faces, out, names=True, shard_records=100), TarSource),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_part_reads_its_images_anywhere(faces, tmp_path, form):
    write, kind = FORMS[form]
    write(faces, tmp_path / "in")
    source = kind(tmp_path / "in")
    assert source.divisible()
    positions = [3, 4, 120, 151, 239]  # of which the third lies in a second row group
    sent = pickle.dumps(source.part(positions))
    wanted = [(source.keys[n], source.where(n), source.read(n)) for n in positions]
    source.close()
    part = pickle.loads(sent)
    assert [(part.keys[n], part.where(n), part.read(n)) for n in range(5)] == wanted and len(part.keys) == 5
    assert len({data for _, _, data in wanted}) == 5
    part.close()


@pytest.mark.parametrize("form", FORMS)
def test_a_part_holds_nothing_of_other_images(faces, tmp_path, form):
    write, kind = FORMS[form]
    write(faces, tmp_path / "in")
    source = kind(tmp_path / "in")
    few, many = (len(pickle.dumps(source.part(range(count)))) for count in (1, COUNT))
    source.close()
    assert few < 1600 and many > few + 10 * COUNT


def test_parts_in_one_process_share_the_open_file(faces, tmp_path):
    write_recordio(faces, tmp_path / "in")
    source = RecordIOSource(tmp_path / "in")
    assert source.part([1])._file is source._file
    source.close()


def test_damage_is_told_alike(faces, tmp_path):
    for form, damage in (("zip", bytes(40)), ("deflated", b"\xff" * 40)):
        write, kind = FORMS[form]
        write(faces, tmp_path / form)
        with zipfile.ZipFile(tmp_path / form) as archive:
            place = archive.infolist()[7].header_offset + 120
        with open(tmp_path / form, "r+b") as file:
            file.seek(place)
            file.write(damage)
        source = kind(tmp_path / form)
        part = pickle.loads(pickle.dumps(source.part([6, 7])))
        assert part.read(0) == source.read(6)
        for one, position in ((source, 7), (part, 1)):
            with pytest.raises(BadImage, match=r"entry p0/007\.jpg: the archive is damaged here"):
                one.read(position)
            one.close()


def test_what_one_process_unpacked_is_not_divided(faces, tmp_path):
    write_webdataset(faces, tmp_path / "in")
    (tar,) = (tmp_path / "in").iterdir()
    with open(tar, "rb") as plain, gzip.open(tmp_path / "faces.tar.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert tarfile.is_tarfile(tar)
    source = TarSource(tmp_path / "faces.tar.gz")
    assert not source.divisible()
    source.close()


def test_large_row_groups_are_not_divided(faces, tmp_path, monkeypatch):
    write_parquet(faces, tmp_path / "in", shard_records=150)
    for limit in (99, 100):
        monkeypatch.setattr(parquet, "LARGE_GROUP", limit)
        source = ParquetSource(tmp_path / "in")
        assert source.divisible() == (limit == 100)
        source.close()
