import io
import os
import random
import tarfile

import pytest

from facemae_jax.data.formats.tar_members import BLOCK, members
from facemae_jax.types import FacemaeError

LONG = "/".join(["a very long folder name"] * 12)
NAMES = ["a/1.jpg", "b/" + "x" * 96 + ".jpg", f"{LONG}/2.jpg", "李/ß y.bmp", "c/empty.jpg"]


def tar_of(*names, form=tarfile.PAX_FORMAT, more=()):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:", format=form) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            data = b"" if "empty" in name else name.encode() * 40
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in more:
            tar.addfile(member)
    return made


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def listed(file):
    data = file.getvalue()
    return [(m.name, data[m.start : m.start + m.size], m.aside) for m in members(file, "x.tar")]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_and_contents_in_every_form(form):
    names = (
        NAMES if form != tarfile.USTAR_FORMAT else [NAMES[0], NAMES[1], "p" * 90 + "/" + "q" * 80 + ".jpg", NAMES[3]]
    )
    want = [(name, b"" if "empty" in name else name.encode() * 40, "") for name in names]
    assert listed(tar_of(*names, form=form)) == want


def test_times_that_old_gnu_headers_keep_are_no_part_of_the_name():
    data = bytearray(tar_of("a/1.jpg", form=tarfile.GNU_FORMAT).getvalue())
    data[345:356] = b"12345670123"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert listed(io.BytesIO(data))[0][0] == "a/1.jpg"


def test_links_devices_and_folders_are_no_files():
    more = [
        special("l", tarfile.SYMTYPE, "../../etc/passwd"),
        special("h", tarfile.LNKTYPE, "a/1.jpg"),
        special("p", tarfile.FIFOTYPE),
        special("d", tarfile.DIRTYPE),
        special("v", b"V"),
    ]
    found = listed(tar_of("a/1.jpg", more=more))
    assert [(name, aside) for name, _, aside in found] == [
        ("a/1.jpg", ""), ("l", "links"), ("h", "links"), ("p", "pipes and devices"), ("v", "special members"),
    ]  # fmt: skip


def test_a_pax_size_and_a_binary_size_hold():
    made = tar_of("a/1.jpg")
    data = bytearray(made.getvalue())
    data[124:136] = b"\x80" + (7 * 40).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert listed(io.BytesIO(data))[0][1] == b"a/1.jpg" * 40
    member = tarfile.TarInfo("b/1.jpg")
    member.pax_headers = {"size": "3"}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member)
    data = bytearray(made.getvalue())
    data[3 * BLOCK : 3 * BLOCK] = b"abc".ljust(
        BLOCK, b"\0"
    )  # behind the pax header, its records and the member's header
    assert listed(io.BytesIO(data)) == [("b/1.jpg", b"abc", "")]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda d: d[: BLOCK + 100], "the member at byte 0 is cut off"),
        (lambda d: d[:2 * BLOCK], "without an end mark"),
        (lambda d: d[:BLOCK + 77], "is cut off"),
        (lambda d: b"no tar at all" * 100, "this is no tar"),
        (lambda d: b"", "without an end mark"),
        (lambda d: d[:2 * BLOCK] + b"\x01" + d[2 * BLOCK + 1 :], "at byte 1,024 there is no tar header"),
        (lambda d: resized(d, b"\xff" + b"\xff" * 11), "no size that can be read"),
        (lambda d: resized(d, b"12345678xyz\0"), "no size that can be read"),
        (lambda d: resized(d, b"77777777777\0"), "is cut off"),
    ],
)  # fmt: skip
def test_damage_is_told(harm, said):
    data = harm(tar_of("a/1.jpg", "b/1.jpg").getvalue())
    with pytest.raises(FacemaeError, match=f"x.tar: .*{said}"):
        listed(io.BytesIO(data))


def resized(data, size):
    data = bytearray(data)
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def test_sparse_files_and_endless_names_are_refused():
    with pytest.raises(FacemaeError, match="s is stored as a sparse file"):
        listed(tar_of(more=[special("s", b"S")]))
    member = tarfile.TarInfo("s")
    member.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(FacemaeError, match="sparse"):
        listed(tar_of(more=[member]))
    with pytest.raises(FacemaeError, match="the name before byte .* has .* bytes"):
        listed(tar_of("x" * 2_000_000, form=tarfile.GNU_FORMAT))


def test_no_damage_ends_otherwise_than_in_an_error_of_ours():
    whole, dice = tar_of(*NAMES).getvalue(), random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            assert len(listed(io.BytesIO(data[: dice.randrange(len(data))]))) <= len(NAMES)
        except FacemaeError:
            pass


def test_what_the_system_program_writes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(b"one")
    assert os.system(f"tar -C {tmp_path} -cf {tmp_path}/x.tar a") == 0
    assert listed(io.BytesIO((tmp_path / "x.tar").read_bytes())) == [("a/1.jpg", b"one", "")]
