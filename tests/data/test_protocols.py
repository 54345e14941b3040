import pytest

from facemae_jax.data.formats.verification_bin import write_bin
from facemae_jax.data.protocols import PROTOCOLS, read_protocol
from facemae_jax.types import FacemaeError


class Faces:
    """Keys alone."""

    def __init__(self, *keys):
        self._keys = list(keys)

    def keys(self):
        return self._keys


PEOPLE = [f"P{letter}" for letter in "ABCDEFGHIJ"]
FACES = Faces(
    *(f"{name}/{name}_{number:04d}.jpg" for name in PEOPLE for number in (1, 2)),
    *(f"{number:03d}/{kind}/01.jpg" for number in (1, 2) for kind in ("frontal", "profile")),
)
LFW = ["10\t1"]
TWO_LINES, ONE_LINE, CSV = [], [], ["left,right,same"]
for n, person in enumerate(PEOPLE):
    other = PEOPLE[n - 1]
    LFW += [f"{person}\t1\t2", f"{person}\t1\t{other}\t2"]
    ONE_LINE += [f"{person}_0001.jpg {person}_0002.jpg 1", f"{person}_0001.jpg {other}_0002.jpg -1"]
    CSV += [f"{person}_0001,{person}_0002,1", f"{person}_0001,{other}_0002,0"]
for same in (1, 0):
    for n, person in enumerate(PEOPLE):
        TWO_LINES += [f"{person}_0001.jpg {same}", f"{person if same else PEOPLE[n - 1]}_0002.jpg {same}"]


def written(tmp_path, lines):
    path = tmp_path / "list"
    path.write_text("\n".join(lines) + "\n")
    return path


def as_set(pairs):
    return {*zip(*(array.tolist() for array in pairs), strict=True)}


EXPECTED = {(2 * n, 2 * n + 1, True, n) for n in range(10)} | {
    (2 * n, 2 * n - 1 if n else 19, False, n) for n in range(10)
}


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("lfw", LFW),
        ("calfw", TWO_LINES),
        ("cplfw", TWO_LINES),
        ("csv", CSV),
        ("agedb_30", LFW),
        ("agedb_30", TWO_LINES),
        ("agedb_30", ONE_LINE),
        ("agedb_30", CSV),
    ],
)
def test_the_same_pairs_from_every_form(tmp_path, kind, lines):
    pairs = read_protocol(kind, written(tmp_path, lines), FACES)
    assert len(pairs.left_n) == 20 and as_set(pairs) == EXPECTED


@pytest.mark.parametrize(("kind", "right"), [("cfp_ff", [20, 22]), ("cfp_fp", [21, 23])])
def test_cfp_is_a_folder(tmp_path, kind, right):
    for list_, side in (("F", "frontal"), ("P", "profile")):
        (tmp_path / f"Pair_list_{list_}.txt").write_text(
            "".join(f"{n} ../Data/Images/{n:03d}/{side}/01.jpg\n" for n in (1, 2))
        )
        for fold in range(1, 11):
            where = tmp_path / "Split" / f"F{list_}" / f"{fold:02d}"
            where.mkdir(parents=True)
            (where / "same.txt").write_text("1,1\n")
            (where / "diff.txt").write_text("1,2\n")
    pairs = read_protocol(kind, str(tmp_path), FACES)
    assert pairs.left_n.tolist() == [20] * 20 and pairs.right_n.tolist() == right * 10


def test_every_protocol_is_read_and_no_other(tmp_path):
    for kind in PROTOCOLS:
        with pytest.raises(FacemaeError, match="none.* cannot be read"):
            read_protocol(kind, tmp_path / "none", FACES)
    with pytest.raises(FacemaeError, match="'cfp-fp' is no .* one of lfw, .* csv; did you mean cfp_fp?"):
        read_protocol("cfp-fp", tmp_path, FACES)


@pytest.mark.parametrize("first", ["", "one", "a b", "1 2 3 4", "left;right;same", "left,right"])
def test_an_unknown_list_of_agedb(tmp_path, first):
    with pytest.raises(FacemaeError, match=f"list, line 1: {first!r} begins no known list .* give the form of LFW"):
        read_protocol("agedb_30", written(tmp_path, [first, "x"]), FACES)


def test_agedb_of_another_kind_of_file(tmp_path):
    (tmp_path / "agedb_30.mat").write_bytes(b"\x80\x04\x95\xff")
    with pytest.raises(FacemaeError, match="agedb_30.mat cannot be read .* give a text file of AgeDB-30's pairs"):
        read_protocol("agedb_30", tmp_path / "agedb_30.mat", FACES)


@pytest.mark.parametrize("kind", ["agedb_30", "lfw", "cfp_fp", "calfw"])
def test_a_bin_of_any_kind_has_its_own_pairs(tmp_path, kind):
    class Own:
        def keys(self):
            return [f"pair-{n:05d}/{side}" for n in range(20) for side in ("left", "right")]

    write_bin(tmp_path / "it.bin", [b"%d" % n for n in range(40)], [True] * 10 + [False] * 10)
    pairs = read_protocol(kind, tmp_path / "it.bin", Own())
    assert pairs.left_n.tolist() == list(range(0, 40, 2)) and pairs.same_n.sum() == 10
    with pytest.raises(FacemaeError, match="'lfv' is no verification protocol"):
        read_protocol("lfv", tmp_path / "it.bin", Own())
