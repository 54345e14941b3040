import errno
import struct
import subprocess
import sys

import google_crc32c
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from facemae_jax.data.record_files import ArrayRecordFile, TFRecordFile

RECORDS = [b"one", b"", b"three" * 1000]


def test_array_record_is_read_by_position(tmp_path):
    file = ArrayRecordFile(tmp_path / "x")
    for record in RECORDS:
        file.write(record)
    file.close()
    file.close()
    reader = ArrayRecordReader(str(tmp_path / "x"))
    assert reader.num_records() == 3 and reader.read([2, 0]) == [RECORDS[2], RECORDS[0]]
    assert "group_size:1," in reader.writer_options_string()


def test_tfrecord_has_lengths_and_checksums(tmp_path):
    file = TFRecordFile(tmp_path / "x")
    for record in RECORDS:
        file.write(record)
    file.close()
    data, found = (tmp_path / "x").read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        record = data[12 : 12 + length]
        for covered, stored in ((data[:8], data[8:12]), (record, data[12 + length : 16 + length])):
            crc = google_crc32c.value(covered)  # masked: turned by 15 bits, plus a constant
            assert struct.unpack("<I", stored)[0] == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        found.append(record)
        data = data[16 + length :]
    assert found == RECORDS


def test_missing_folder_is_an_error_of_the_system(tmp_path):
    file = ArrayRecordFile(tmp_path / "nowhere" / "x")  # opened in the background
    for call in (lambda: file.write(b"one"), file.close):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            call()


FULL = """
import errno, resource, signal, sys
from pathlib import Path
from facemae_jax.data.record_files import ArrayRecordFile, TFRecordFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # as a disk that is full after that
for kind in (ArrayRecordFile, TFRecordFile):
    try:
        file = kind(Path(sys.argv[1]) / kind.__name__)
        for _ in range(100):
            file.write(bytes(5000))
        file.close()
    except OSError as error:
        print(kind.__name__, error.errno, bool(error.filename) or kind is TFRecordFile)
"""


def test_full_disk_is_an_error_of_the_system(tmp_path, repository):
    told = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=repository, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [
        "ArrayRecordFile",
        str(errno.EFBIG),
        "True",
        "TFRecordFile",
        str(errno.EFBIG),
        "True",
    ]
