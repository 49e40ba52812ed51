"""What is an address and what is a path, and what an address answers to."""

import posixpath
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.addresses import Address, is_address, place_of
from crossreid.data.records import DataError

NAMES = st.text("aZ09 .?#%:&+~é漢", min_size=1, max_size=6)
KEYS = st.lists(NAMES, min_size=1, max_size=4)
SCHEMES = st.sampled_from(["s3", "gs", "az", "memory", "abfs+tls"])


@given(SCHEMES, st.from_regex("[a-z][a-z0-9.-]{2,8}", fullmatch=True), KEYS)
def test_an_address_is_kept_as_it_is_written(scheme, bucket, key):
    text = f"{scheme}://{bucket}/{'/'.join(key)}"
    if "::" in text:
        with pytest.raises(DataError, match="chained"):
            place_of(text)
        return
    address = place_of(text)
    assert isinstance(address, Address)
    assert str(address) == address.as_posix() == text
    assert address.parent / address.name == address
    assert (address.name, address.suffix) == (key[-1], PurePosixPath(key[-1]).suffix if key[-1] != "." else "")
    above = address
    for _ in key:
        above = above.parent
    assert above == above.parent == Address(f"{scheme}://{bucket}")
    assert place_of(text.replace(scheme, scheme.upper(), 1)) == address


@given(KEYS)
def test_what_has_no_scheme_is_a_path_and_file_is_one_too(key):
    path = "/" + posixpath.join(*key)
    assert place_of(path) == place_of(f"file://{quote(path)}") == Path(path)
    for text in (path, f"C:{path}", f"C:/{path}", "a:b", "market1501:/data", path[1:]):
        assert not is_address(text) or "://" in text
    assert place_of(Path(path)) == Path(path)


@pytest.mark.parametrize(
    "text", ["s3://", "s3:///", "file://elsewhere/x", "file://", "zip://a::s3://b/c", "s3://b/a::b"]
)
def test_no_address_at_all_is_refused(text):
    with pytest.raises(DataError, match=r"[Ee]xpected"):
        place_of(text)
