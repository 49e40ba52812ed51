import logging

from crossreid.quiet import without_warnings


def test_whoever_leaves_first_warnings_come_again_after_the_last(caplog):
    log = logging.getLogger("crossreid.of.a.test")
    one, other = without_warnings(), without_warnings()
    log.warning("before")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    log.warning("within the other")
    log.error("an error")
    other.__exit__(None, None, None)
    log.warning("after")
    assert [record.message for record in caplog.records] == ["before", "an error", "after"]


def test_what_was_shut_off_further_stays_so(caplog):
    logging.disable(logging.ERROR)
    try:
        with without_warnings():
            logging.getLogger("crossreid.of.a.test").error("an error")
        assert logging.root.manager.disable == logging.ERROR
    finally:
        logging.disable(logging.NOTSET)
    assert not caplog.records
