"""Files that are small and cost a decoder minutes or gigabytes: refused in a moment, everywhere that files are decoded."""

import io
import os
import resource
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from crossreid.data import checking, images
from crossreid.data.checking import looked_at
from crossreid.data.costly_files import costly
from crossreid.data.data_options import DataOptions
from crossreid.data.deadline import Overrun, deadline
from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.images import ImageTooLarge, decode, load_image
from crossreid.data.records import DataError, Record
from crossreid.data.training_loading import TrainLoader
from crossreid.service.decoders import Decoders
from hostile_images import COSTLY, FILLED, TALKATIVE, filled, jpeg, plain_text, png, strips, tiff

SLOW = plain_text(1200, 1000)  # seconds of Python


@pytest.fixture(scope="module")
def decoders():
    made = Decoders(0.3)
    yield made
    made.close()


@pytest.mark.parametrize("name", COSTLY)
def test_what_costs_much_is_refused_before_a_decoder_sees_its_pixels(name, monkeypatch):
    make, told = COSTLY[name]
    content = make()
    monkeypatch.setattr(images.ImageFile.ImageFile, "load", None)
    with pytest.raises(ImageTooLarge, match=f"x has .*{told}"):
        decode(io.BytesIO(content), "x", most=64_000_000)
    assert len(content) < 2_000_000


@pytest.mark.parametrize("where", FILLED)
def test_a_little_fill_is_no_fault(where):
    content = filled(where, count=500)
    assert costly(content, 64_000_000) is None
    if where in ("after the first marker", "before the first scan", "before the end", "between scans"):
        assert decode(io.BytesIO(content), "x", most=64_000_000).shape == (96, 64, 3)


def test_ordinary_tiffs_are_read_as_before(tmp_path):
    pixels = np.arange(96, dtype=np.uint8).reshape(8, 4, 3)
    images.Image.fromarray(pixels).save(tmp_path / "x.tif", compression="tiff_deflate")
    assert np.array_equal(load_image(tmp_path / "x.tif"), pixels)
    assert costly(strips(40_000), 64_000_000) is None
    assert costly(tiff(16, 16, (322, 1, 256), (323, 1, 256)), 64_000_000) is None
    for cut in range(len(content := tiff(16, 16))):
        costly(content[:cut], 64_000_000)  # a directory that ends early is a decoder's to name


def test_an_image_of_one_column_takes_no_more_than_others():
    """Of 1 x 20 million pixels the pointers to rows are most; what is decoded at all takes a few times what is allowed."""
    content = png(1, 20_000_000, 8, 0)
    child = os.fork()
    if child == 0:
        decode(io.BytesIO(content), "x", most=64_000_000)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert status == 0
    assert (used.ru_maxrss - own) * 1024 < 4 * images.MAX_DEPTH * 64_000_000


def overrunning(seconds=0.05):
    with deadline(seconds):
        while True:
            try:
                sum(range(1000))
            except Exception:  # a decoder's own, which would go on
                continue


def test_a_deadline_counts_what_is_computed_and_leaves_nothing_behind():
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(Overrun):
        overrunning()
    with deadline(0.05):
        time.sleep(0.2)  # the machine's, and not the decoder's
    with deadline(5), pytest.raises(Overrun), deadline(0.01):  # the outer one holds
        signal.raise_signal(signal.SIGVTALRM)
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    told = []
    thread = threading.Thread(target=lambda: [load_image_of_memory(told)])
    thread.start()
    thread.join()
    assert told == [(96, 64, 3)], "and in other threads nothing is changed"


def load_image_of_memory(told):
    with deadline(1):
        told.append(decode(io.BytesIO(jpeg()), "x", most=64_000_000).shape)


def test_embedding_checking_and_training_give_up_a_slow_file(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "SECONDS", 0.2)
    monkeypatch.setattr(checking, "_HEADER_SECONDS", 0.1)
    (tmp_path / "slow.ppm").write_bytes(SLOW)
    (tmp_path / "filled.jpg").write_bytes(filled("after the first marker", count=2_000_000))
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg())
    records = [Record(path, str(number % 2), 1) for number, path in enumerate(sorted(tmp_path.iterdir()))]
    hostile = {str(tmp_path / "slow.ppm"), str(tmp_path / "filled.jpg")}
    began = time.process_time()
    (batch,) = planned_batches(records, [range(len(records))], height=8, width=8, skip=True)
    assert {str(records[position].path) for position, _ in batch.bad} == hostile
    assert len(batch.images) == 4
    for deep in (True, False):
        faults = [seen.fault or "" for seen in looked_at(records, deep=deep, workers=1, progress=None)]
        assert any("filled.jpg takes more than 0.1 seconds to open" in fault for fault in faults)
        assert any("slow.ppm takes more than 0.2 seconds to decode" in fault for fault in faults) == deep
    options = DataOptions(
        name="manifest", root=tmp_path, height=16, width=16, workers=1, on_bad_image="skip",
        sampler={"identities": 2, "images": 2, "balance": "none"},
    )  # fmt: skip
    loader = TrainLoader(records, options, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert all(len(batch.images) == 4 for epoch in range(2) for batch in loader(epoch))
    assert loader.bad_images == hostile
    assert time.process_time() - began < 10


def decoded(decoders, content, most=4_000_000):
    return decoders.decode(content, "x", at_least=None, most=most, formats=images.FORMATS)


def test_the_service_gives_up_a_file_and_goes_on(decoders, monkeypatch):
    monkeypatch.setattr(
        "crossreid.service.decoders._PATIENCE", 100
    )  # on a busy machine too the process itself is first
    plain = jpeg()
    expected = decode(io.BytesIO(plain), "x", most=4_000_000)
    assert np.array_equal(decoded(decoders, plain), expected)
    (process,) = [each._process for each in decoders._idle]
    with pytest.raises(ImageTooLarge, match=r"x takes more than 0\.3 seconds"):
        decoded(decoders, SLOW)
    assert decoders._idle[0]._process is process, "what notices itself is asked again"
    monkeypatch.setattr("crossreid.service.decoders._PATIENCE", 3)
    process.send_signal(signal.SIGSTOP)  # as one that hangs in C: nothing in it notices
    began = time.monotonic()
    with pytest.raises(ImageTooLarge, match=r"x takes more than 0\.9 seconds"):
        decoded(decoders, plain)
    assert 0.8 < time.monotonic() - began < 10
    assert process.poll() == -signal.SIGKILL
    monkeypatch.setattr("crossreid.service.decoders._PATIENCE", 100)
    assert np.array_equal(decoded(decoders, plain), expected)
    decoders._idle[0]._process.kill()
    decoders._idle[0]._process.wait()
    assert np.array_equal(decoded(decoders, plain), expected), "one that has died meanwhile is replaced"


def test_a_process_that_dies_over_a_file_is_the_files_fault(decoders):
    decoded(decoders, jpeg())
    decoder = decoders._idle[0]
    timer = threading.Timer(0.1, decoder._process.kill)
    timer.start()
    with pytest.raises(DataError, match="the decoder crashed on it"):
        decoded(decoders, SLOW)
    timer.join()
    assert decoder not in decoders._idle


def test_a_process_that_decodes_has_no_more_than_it_needs(monkeypatch):
    """Of memory, for what its limits let through and libraries would take; and nothing secret of the environment."""
    monkeypatch.setenv("MILVUS_TOKEN", "secret")
    own = Decoders(5)
    try:
        decoded(own, jpeg())
        pid = own._idle[0]._process.pid
        soft, _ = resource.prlimit(pid, resource.RLIMIT_AS)
        assert 0 < soft < 2 << 30
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
    finally:
        own.close()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("name", TALKATIVE)
def test_what_decoders_say_of_files_does_not_reach_the_log(name, decoders, capfd):
    with pytest.raises(DataError):
        decoded(decoders, TALKATIVE[name])
    assert capfd.readouterr() == ("", "")


def test_in_this_process_they_do_speak(capfd):
    """Or the test above would show nothing."""
    with pytest.raises(DataError):
        decode(io.BytesIO(TALKATIVE["an unknown compression"]), "x", most=4_000_000)
    assert "ZIPDecode" in capfd.readouterr().err
