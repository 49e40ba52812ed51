"""The table of protocols."""

from crossreid.evaluation.protocols import PROTOCOLS


def test_descriptions_are_complete():
    published = {"sysu-mm01", "regdb", "llcm", "mars", "duke-video", "veri-776", "market-1501", "msmt17", "atrw-plain"}
    assert set(PROTOCOLS) == {*published, "open-set", "cross-modal", "single-modality", "cross-camera"}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert (protocol.draw is None) == all(setting.shots is None for setting in protocol.settings)
