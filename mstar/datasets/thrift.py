"""Thrift's compact protocol, as far as Parquet's footers and indexes use it: structs as {field: value}."""

from typing import Any, BinaryIO


def read_struct(data: BinaryIO) -> dict[int, Any]:
    """IndexError or ValueError where it ends too early, or is something else."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _integer(data)
        fields[number] = _value(data, head & 15)
    return fields


def _value(data: BinaryIO, kind: int) -> Any:
    match kind:
        case 1 | 2:
            return kind == 1
        case 3:
            return data.read(1)[0]
        case 4 | 5 | 6:
            return _integer(data)
        case 7:
            return data.read(8)
        case 8:
            return data.read(_unsigned(data))
        case 9:
            head = data.read(1)[0]
            length = head >> 4 if head >> 4 < 15 else _unsigned(data)
            return [_value(data, max(head & 15, 3)) for _ in range(length)]
        case 12:
            return read_struct(data)
    raise ValueError(f"{kind} is no kind of value")


def _integer(data: BinaryIO) -> int:
    number = _unsigned(data)
    return number >> 1 ^ -(number & 1)


def _unsigned(data: BinaryIO) -> int:
    number = shift = 0
    while (byte := data.read(1)[0]) > 127:
        number |= byte - 128 << shift
        shift += 7
    return number | byte << shift
