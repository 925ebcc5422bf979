"""A check that raises, for whatever reason, is wrong, counted and logged once per kind, and ends nothing."""

import logging

import pytest

from mstar.answers import AnswerChecker, Expected, Judgement, checker

NUMBER = Expected("14", "number")


def broken(expected: Expected, statement: str) -> bool:
    """A comparison with a defect that only one answer meets."""
    if statement == "13":
        raise IndexError("a defect of ours")
    return statement == expected.answer


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "compare", broken)
    checker._judge_statement.cache_clear()
    yield
    checker._judge_statement.cache_clear()


def test_a_failed_check_is_wrong_and_counted_and_the_others_go_on(
    defect: None, caplog: pytest.LogCaptureFixture
) -> None:
    responses = ["Answer: 14", "Answer: 13", "Answer: 15", "Answer: 13", "Answer: 14"]
    with AnswerChecker() as own:
        judgements = own.check_many([(NUMBER, response) for response in responses])
        assert [one.correct for one in judgements] == [True, False, False, False, True]
        assert [one.failed for one in judgements] == [False, True, False, True, False]
        assert own.check(NUMBER, "Answer: 13") == Judgement(None, False, failed=True)
        assert (own.failed, own.timed_out) == (3, 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "IndexError in broken, line" in caplog.text and "a defect of ours" in caplog.text


def test_the_traceback_is_there_for_who_asks(defect: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mstar.answers.checker")
    with AnswerChecker() as own:
        own.check(NUMBER, "Answer: 13")
    assert 'raise IndexError("a defect of ours")' in caplog.text


def test_what_is_expected_may_be_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    no_text: tuple[str, ...] = (None, "15")  # type: ignore[assignment]
    pairs = [(Expected("15", "choice", no_text), "Answer: 15"), (NUMBER, "Answer: 14")] * 2
    with AnswerChecker() as own:
        assert [one.correct for one in own.check_many(pairs)] == [False, True, False, True]
        assert own.failed == 2
    assert caplog.text.count("AttributeError in ") == 1


def test_a_gold_that_does_not_parse_fails_its_own_responses_only(caplog: pytest.LogCaptureFixture) -> None:
    with AnswerChecker() as own:
        found = own.check_many([(Expected("maybe", "boolean"), "Answer: yes"), (NUMBER, "Answer: 14")])
        assert found == [Judgement(None, False, failed=True), Judgement("14", True)]
        assert own.failed == 1
    assert "'maybe' of type boolean is neither yes nor no" in caplog.text


def test_an_interrupt_is_no_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(checker, "find_statement", interrupted)
    with AnswerChecker() as own, pytest.raises(KeyboardInterrupt):
        own.check(NUMBER, "Answer: 14")
