from pathlib import Path

import numpy as np
import pytest

from facemae_jax.data.formats.lazy_keys import Texts
from facemae_jax.data.formats.record_source import Listing, RecordSource
from facemae_jax.data.images import BadImage
from facemae_jax.types import FacemaeError


class File:
    def __init__(self, name):
        self.path = Path(name)

    def records(self):
        yield from ()

    def read(self, place):
        if place == 9:
            raise FacemaeError("torn")
        return f"{self.path} {place}".encode()


class Source(RecordSource):
    def __init__(self, names):
        super().__init__(Path("set"))
        listing, keys = Listing(), Texts()
        for key, found in (("c", (1, 2**40, 10)), ("a", (0, 9, 0)), ("b", (0, 8, 1)), ("d", (1, 7, 1))):
            listing.append(*found)
            keys.append(key)
        self._list([File("one"), File("two")], listing, keys, keys.order_n(), names)

    def where(self, position):
        return f"here {position}"

    def _image(self, data, where):
        if data == b"two 7":
            raise BadImage(where, "no picture")
        return data + f" at {where}".encode()


def test_records_come_in_the_order_of_their_keys():
    source = Source(None)
    assert list(source.keys) == ["a", "b", "c", "d"] and source.path == Path("set") and not source.ignored
    assert [source.identity(n) for n in range(4)] == ["00", "01", "10", "01"]
    assert [source.read(n) for n in (1, 2)] == [b"one 8 at here 1", b"two 1099511627776 at here 2"]
    assert Source([f"p{n}" for n in range(11)]).identity(np.int64(2)) == "p10"
    source.close()


def test_a_damaged_record_is_a_bad_image():
    with pytest.raises(BadImage, match=r"here 0: the record cannot be read \(torn\)"):
        Source(None).read(0)
    with pytest.raises(BadImage, match="^here 3: no picture"):
        Source(None).read(3)
