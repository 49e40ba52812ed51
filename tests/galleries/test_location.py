"""Locations: what is a folder, a file of Milvus Lite, a cluster; and where a gallery may be created."""

from pathlib import Path

import pytest

from crossreid.galleries import GalleryError
from crossreid.galleries.location import check_presence, is_lite, is_milvus, location_of


@pytest.mark.parametrize(
    ("given", "written", "milvus", "lite"),
    [
        ("people/", "people", False, False),
        (Path("a") / "people.db", "a/people.db", True, True),
        ("./people.db/", "people.db", True, True),
        ("https://host:19530/", "https://host:19530", True, False),
        ("tcp://host:19530/base", "tcp://host:19530/base", True, False),
    ],
)
def test_a_location_says_what_is_there(given, written, milvus, lite):
    location = location_of(given)
    assert (location, is_milvus(location), is_lite(location)) == (written, milvus, lite)


@pytest.mark.parametrize(
    ("there", "create", "model", "dimension", "said"),
    [
        (True, True, "m", 4, "g already is a gallery"),
        (False, False, "m", 4, "g holds no gallery"),
        (False, None, None, 4, "g holds no gallery"),
        (False, True, None, 4, "needs the fingerprint of its model and the dimension"),
        (False, True, "m\n", 4, "printable text of at most 1024 bytes"),
        (True, None, None, None, ""),
        (True, False, None, None, ""),
        (False, None, "m", 4, ""),
        (False, True, "m", 4, ""),
    ],
)
def test_a_gallery_is_opened_where_there_is_one_and_created_where_there_is_none(there, create, model, dimension, said):
    if not said:
        check_presence("g", there, create, model, dimension)
        return
    with pytest.raises(GalleryError, match=said):
        check_presence("g", there, create, model, dimension)
