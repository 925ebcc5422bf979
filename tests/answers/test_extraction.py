"""Which statement of a response is its final answer."""

import pytest

from mstar.answers import AnswerType, extract


@pytest.mark.parametrize(
    "response, extracted",
    [
        ("Read:8+6;8+6=14;Answer:14", "14"),
        ("**Answer:** 14", "14"),
        ("The answer is 14, because 8 + 6 = 14.", "14"),
        ("Answer: 13\nAnswer: 14", "14"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"We get \boxed{14} and so the answer is 15.", "15"),
        ("<answer>\n14\n</answer>", "14"),
        ("some steps\n#### 14", "14"),
        ("#### Step 1\nadd the numbers", None),
        ("The sum is 14", "14"),
        ("The sum is 14. We need it below.", None),
        (r"\boxed{14", None),
        (r"Answer: 13. So \boxed{14", None),
        ("<think>Answer: 14", None),
        ("Answer: 14\nWait, no.", None),
        ("Perhaps the answer is 14", None),
        ("Answer:", None),
        ("", None),
        ("---\n" * 400 + "So the sum is 14.", "14"),
    ],
)
def test_extract(response: str, extracted: str | None) -> None:
    assert extract(response, "number") == extracted


@pytest.mark.parametrize(
    "response, answer_type",
    [("14", "number"), ("(B) 15", "choice"), ("Yes.", "boolean"), ("red panda", "text"), ("1, 2", "list")],
)
def test_a_bare_answer_is_its_own_statement(response: str, answer_type: AnswerType) -> None:
    assert extract(response, answer_type) == response.rstrip(".")


@pytest.mark.parametrize("response", ["8+6=14", "14\n15", "It may be 14", "8, then 14", "It is 14 " * 20])
def test_reasoning_is_no_bare_answer(response: str) -> None:
    assert extract(response, "number") is None


@pytest.mark.parametrize(
    "response",
    [
        "answer " * 150_000,
        "the answer to the " * 60_000,
        "\\boxed{" * 140_000,
        "\\boxed{" + "{" * 10_000 + "14" + "}" * 10_000 + "}",
        "Answer:" + "\n" * 1_000_000,
        "Answer: " + "9" * 100_000,
        "Answer: 14 " + "word " * 200_000,
        "a" + "\u0301\u0316" * 500_000 + "\nAnswer: 15",
        "option is " * 100_000,
        "<answer>" * 125_000,
    ],
    ids=lambda response: response[:12],
)
@pytest.mark.parametrize("answer_type", ["number", "choice", "text", "list", "boolean"])
def test_a_response_of_a_megabyte_costs_no_more_than_a_few_seconds(
    response: str, answer_type: AnswerType
) -> None:
    assert extract(response, answer_type) != "14"
