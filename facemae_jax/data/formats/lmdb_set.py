"""Faces in an LMDB environment, both ways: a value is an encoded image, or a MessagePack list that begins with one and ends with a label.

The second form is that of HaiyuWu's trainers (Vec2Face, SOTA-Face-Recognition-Train-and-Test): ``(image, label)`` or ``(image,
feature, label)``, and beside them ``__keys__``, ``__len__`` and ``__classnum__``. Values that are pickled are refused: to read them
would be to run what is in them.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from facemae_jax.data.face_set import FaceSet
from facemae_jax.data.formats.label_list import find_list, labels_from
from facemae_jax.data.formats.lazy_keys import LazyKeys, Texts, filled
from facemae_jax.data.formats.lmdb_values import image_and_label, is_bare, person_in
from facemae_jax.data.formats.names import MAX_FILE, identity_of, number_name
from facemae_jax.data.formats.staged import staged_folder
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError

ABOUT = {b"__keys__", b"__len__", b"__classnum__"}  # keys of values that are no images
MAGIC = (0xBEEFC0DE).to_bytes(4, "little")  # at byte 16 of an environment's file
LONGEST_KEY = 511
MAP = 1 << 24  # bytes that an environment begins with; it is doubled as it fills
PER_WRITE = 1000  # records per transaction


def lmdb_file(path: Path) -> Path | None:
    """The environment's file that a path means: itself, ``data.mdb`` in a folder, or the only ``.lmdb`` there; None where there is none.

    Raises:
        FacemaeError: several.
    """
    if path.is_dir():
        inner = [path / "data.mdb", *path.glob("*.lmdb"), *path.glob("*.lmdb/data.mdb")]
        found = [file for file in inner if file.is_file()]
        if len(found) > 1:
            raise FacemaeError(f"{path}: holds {len(found)} LMDB environments; name the one that is meant.")
        return found[0] if found else None
    with open(path, "rb") as file:
        return path if file.read(20)[16:] == MAGIC else None


class LmdbSource:
    """The images of an LMDB environment, in the order of their keys.

    The identity is the label in the value; of bare images that in a list of labels (see ``label_list``), else the folder in the key.
    Memory: the keys and 12 bytes per image. Opening it walks over all values, but reads of each the first and the last page only.

    Attributes:
        keys: sorted.
        ignored: values that say something about the set.

    Args:
        path: the environment's file, or its folder.

    Raises:
        FacemaeError: the library is missing; a file that is cut off; values of another form; images without an identity.
    """

    def __init__(self, path: Path):
        file = lmdb_file(path)
        if file is None:
            raise FacemaeError(f"{path}: holds no LMDB environment (data.mdb); name its folder or file.")
        self.path, self.ignored, self._env = path, Counter[str](), _open(file)
        try:
            self._list(file)
        except BaseException:
            self.close()
            raise

    def identity(self, position: int) -> str:
        """Whom an image shows."""
        whom = int(self._whom_n[position])
        return self._names[whom] if self._names else number_name(whom, self._top)

    def where(self, position: int) -> str:
        """The value, for errors."""
        return f"{self.path}, key {self.keys[position]}"

    def read(self, position: int) -> bytes:
        """The encoded image of a key.

        Raises:
            BadImage: a value that is no list with an image, or a far too large one.
        """
        with self._env.begin(buffers=True) as transaction:
            value = transaction.get(self._texts.raw(position))
            if value is None or len(value) > MAX_FILE:
                raise BadImage(
                    self.where(position), "the key is gone" if value is None else f"it has more than {MAX_FILE:,} bytes"
                )
            if self._bare:
                return bytes(value)
            try:
                image, label = image_and_label(value)
            except ValueError as error:
                raise BadImage(self.where(position), f"the value is damaged ({error})") from error
            return bytes(image)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _list(self, file: Path) -> None:
        self._texts, whom, known = Texts(), array("q"), dict[str, int]()
        self._bare = False
        for key, value in self._values():
            if not len(self._texts):
                self._bare = is_bare(value, file)
                listed = find_list(file, self.path) if self._bare else None
            self._texts.append(key)
            if not self._bare:
                whom.append(person_in(value, known))
            elif listed is None:
                if b"/" not in key:
                    raise FacemaeError(
                        f"{self.path}: the key {self._texts[0]!r} names no person and there is no list of labels; put labels.txt (a line "
                        "per image: key and label, or labels alone in the order of the keys) into the folder, and name that."
                    )
                whom.append(known.setdefault(identity_of(self._texts[len(self._texts) - 1]), len(known)))
        if not len(self._texts):
            raise FacemaeError(f"{self.path}: the environment holds no images; name another.")
        if self._bare and listed is not None:
            whom_n, known = labels_from(listed, self._texts)
        else:
            found_n = np.array(whom, np.int64)
            if not (found_n >= 0).any():
                raise FacemaeError(
                    f"{self.path}: no value is a list of an image and a label; name another environment."
                )
            whom_n = filled(found_n, found_n >= 0)
        self._whom_n, self._names, self._top = whom_n, list(known), int(whom_n.max())
        self.keys = LazyKeys(len(self._texts), self._texts.__getitem__)  # LMDB keeps them sorted by their bytes

    def _values(self) -> Iterator[tuple[bytes, memoryview]]:
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, value in cursor:
                if bytes(key) in ABOUT:
                    self.ignored["values about the set"] += 1
                else:
                    yield bytes(key), value


def _open(file: Path) -> Any:
    lmdb = _library()
    inside = file.name == "data.mdb"
    try:
        env = lmdb.open(
            str(file.parent if inside else file),
            subdir=inside,
            readonly=True,
            lock=False,
            create=False,
            readahead=False,
            meminit=False,
        )
    except lmdb.Error as error:
        raise FacemaeError(
            f"{file}: this is no LMDB environment that can be opened ({error}); copy it again."
        ) from error
    pages, size = env.info()["last_pgno"] + 1, env.stat()["psize"]
    if file.stat().st_size < pages * size:  # to touch a page beyond the end would kill the process
        env.close()
        raise FacemaeError(
            f"{file}: the file is cut off: it has {file.stat().st_size:,} bytes of {pages * size:,}; copy it again."
        )
    return env


def _library() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise FacemaeError("LMDB needs a library: pip install 'lmdb>=1.4'.") from error
    return lmdb


def write_lmdb(faces: FaceSet, out: Path) -> Path:
    """Write ``out/data.mdb``: key → MessagePack ``(image, label)``, and ``__keys__``, ``__len__``, ``__classnum__``, as HaiyuWu's trainers
    read it. (They want a name that ends in ``.lmdb``.)

    Images are taken byte for byte; keys are the face set's, sorted. The same records: the same bytes. Memory: a thousand images, and
    the list of keys, which is one value.

    Args:
        faces: the records.
        out: a folder that must not exist.

    Returns:
        The folder.

    Raises:
        FacemaeError: the library is missing; a folder that exists; a key that LMDB cannot hold.
        OSError: a full disk.
    """
    lmdb = _library()
    import msgpack

    texts = Texts()
    for key in faces.keys():
        texts.append(key)
        if not 0 < len(raw := texts.raw(len(texts) - 1)) <= LONGEST_KEY or raw in ABOUT:
            raise FacemaeError(f"{faces.path}: LMDB cannot hold the key {key!r}: it may have 1 to {LONGEST_KEY} bytes, and not be one of "
                               f"{', '.join(sorted(name.decode() for name in ABOUT))}.")  # fmt: skip
    order_n = texts.order_n()
    packer = msgpack.Packer()
    with staged_folder(out) as partial:
        with lmdb.open(str(partial), map_size=MAP, lock=False, meminit=True, sync=False) as env:
            for start in range(0, len(order_n), PER_WRITE):
                pairs = []
                for position in order_n[start : start + PER_WRITE].tolist():
                    record = faces[position]
                    pairs.append((texts.raw(position), msgpack.packb((record.image, int(record.label)))))
                _put(env, pairs, append=True)
            listed = packer.pack_array_header(len(order_n)) + b"".join(
                msgpack.packb(texts.raw(position)) for position in order_n.tolist()
            )
            about = {
                b"__keys__": listed,
                b"__len__": msgpack.packb(len(order_n)),
                b"__classnum__": msgpack.packb(int(faces.labels_n.max()) + 1),
            }
            _put(env, sorted(about.items()), append=False)
            env.sync(True)
        (partial / "lock.mdb").unlink(missing_ok=True)
    return out


def _put(env: Any, pairs: list[tuple[bytes, bytes]], append: bool) -> None:
    """Write pairs in one transaction, in a map that is large enough for them."""
    lmdb = _library()
    page = env.stat()["psize"]
    need = sum(len(value) + 4 * page for _, value in pairs) + 64 * page
    while env.info()["last_pgno"] * page + need > env.info()["map_size"]:
        env.set_mapsize(2 * env.info()["map_size"])
    try:
        with env.begin(write=True) as transaction:
            for key, value in pairs:
                transaction.put(key, value, append=append)
    except lmdb.DiskError as error:
        raise OSError(getattr(error, "code", None) or 5, str(error), env.path()) from error
