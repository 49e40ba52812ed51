import random
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crossreid.data.matfile import read_variable
from crossreid.data.records import DataError
from hostile_files import flip_byte


def test_a_byte_that_changed_in_a_compressed_file_is_a_message(tmp_path):
    """As is what else becomes of it: each flip is read as what it was, or refused by the file's name."""
    path = tmp_path / "x.mat"
    values = np.arange(60.0).reshape(4, 15) ** 2
    savemat(path, {"feature": values}, do_compression=True)
    whole = path.read_bytes()
    moments, raised = random.Random(0), 0
    for position in (150, *(moments.randrange(128, len(whole)) for _ in range(30))):
        path.write_bytes(whole)
        flip_byte(path, position)
        try:
            loadmat(path)
        except zlib.error:
            raised += 1
            with pytest.raises(DataError, match=r"x\.mat cannot be read as a MATLAB file .*save -v7"):
                read_variable(path, "feature")
        except Exception:
            with pytest.raises(DataError, match=r"x\.mat"):
                read_variable(path, "feature")
    assert raised > 5
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_variable(path, "other", "feature"), values)
