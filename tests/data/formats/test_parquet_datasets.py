"""Parquet through Hugging Face ``datasets`` itself, both ways."""

import numpy as np
import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.formats.parquet_writer import write_parquet
from facemae_jax.data.formats.source import open_source
from facemae_jax.data.images import encode_jpeg
from facemae_jax.types import Record

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def test_datasets_reads_ours_and_we_read_its(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    rng = np.random.default_rng(0)
    images = [encode_jpeg(rng.integers(0, 256, (8, 8, 3), np.uint8), 90) for _ in range(1000)]
    records = [Record(image, n % 12, f"{n * 7919 % 10007:024x}") for n, image in enumerate(images)]
    writer = FaceSetWriter(tmp_path / "made" / "1.0.0", name="made", image_size=8, num_labels=12)
    writer.write_shard(0, records)
    out = write_parquet(open_face_set(writer.finish(1000)), tmp_path / "out", shard_records=300)
    read = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["image"], datasets.Image) and read.features["label"].num_classes == 12
    assert read[0]["image"].size == (8, 8)
    ordered = sorted(records, key=lambda record: record.key)
    raw = read.cast_column("image", datasets.Image(decode=False))
    assert [Record(row["image"]["bytes"], row["label"], row["key"]) for row in raw] == ordered
    (tmp_path / "theirs").mkdir()
    read.to_parquet(tmp_path / "theirs" / "train-00000-of-00001.parquet")
    source = open_source(tmp_path / "theirs")
    assert [Record(source.read(n), int(source.identity(n)), source.keys[n]) for n in range(1000)] == ordered
