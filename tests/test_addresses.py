"""What is an address, and what is a path."""

import pytest

from mstar.addresses import is_address, joined


@pytest.mark.parametrize(
    ("place", "expected"),
    [("s3://bucket/key", True), ("hf://datasets/a/b", True), ("a/b", False), ("://", False), ("://a", False)],
)
def test_an_address_has_a_scheme(place: str, expected: bool) -> None:
    assert is_address(place) is expected


def test_a_path_is_seen_from_a_folder() -> None:
    assert joined("s3://bucket/a/b", "../c//./d") == "s3://bucket/a/c/d"
