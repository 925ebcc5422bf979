"""Files of tensors that are written one after the other, read by safetensors itself."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from mstar.trainers.tensor_file import write_tensors

SHAPES = st.dictionaries(st.text(max_size=9), st.lists(st.integers(0, 4), max_size=3), max_size=5)


@given(SHAPES)
def test_safetensors_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]]
) -> None:
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("tensors") / "moments.tensors"
    write_tensors(path, shapes, iter(tensors.values()))
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_another_shape_or_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a is torch.float32 of shape"):
        write_tensors(tmp_path / "file", {"a": (2,)}, [torch.zeros(3)])
    with pytest.raises(ValueError):
        write_tensors(tmp_path / "file", {"a": (2,), "b": ()}, [torch.zeros(2)])
