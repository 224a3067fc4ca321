"""ONNX operators that move nothing: reshapes, transpositions, constants and the arithmetic of shapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .errors import NetworkError
from .onnx_elementwise import reshaped
from .onnx_file import File, FileNode, attribute
from .onnx_functions import concatenated
from .onnx_values import Activation, Constant, Pending, Value
from .onnx_view import View

if TYPE_CHECKING:
    from .onnx_reader import Reader

__all__ = ["HANDLERS", "preferred_order"]

LARGEST_SHAPE = 4096  # numbers in a constant that is computed while the file is read
_IMAGES = {"Conv", "QLinearConv", "MaxPool", "AveragePool", "QLinearAveragePool", "GlobalAveragePool", "QLinearGlobalAveragePool",
           "BatchNormalization"}
_TRANSPARENT = {"QuantizeLinear", "DequantizeLinear", "Identity", "Dropout", "Relu", "Clip", "Add", "Sub", "Mul"}


def preferred_order(file: File, name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """The order of an input's axes in memory: channels last, if it meets a convolution or pool before anything else."""
    pending, seen = [(name, tuple(range(len(shape))))], {name}
    readers: dict[str, list[FileNode]] = {}
    for node in file.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node)
    while pending and len(shape) in (3, 4):
        current, axes = pending.pop(0)
        for node in readers.get(current, ()):
            if node.inputs[0] == current and (node.op in _IMAGES or (node.op == "ReduceMean" and len(shape) == 4)):
                return tuple(axes[axis] for axis in (0, *range(2, len(shape)), 1))
            if node.op == "Transpose":
                permutation = attribute(node, "perm") or tuple(range(len(shape)))[::-1]
                if not isinstance(permutation, (list, tuple)) or sorted(permutation) != list(range(len(shape))):
                    continue
                moved = tuple(axes[axis] for axis in permutation)
            elif node.op in _TRANSPARENT:
                moved = axes
            else:
                continue
            if node.outputs and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                pending.append((node.outputs[0], moved))
    return tuple(range(len(shape)))


def constant(reader: Reader, node: FileNode) -> Value:
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                        ("value_ints", np.int64)):
        value = attribute(node, name)
        if value is not None:
            return Constant(np.asarray(value, dtype))
    raise NetworkError("constant must have a value that is a tensor or numbers")


def identity(reader: Reader, node: FileNode) -> Value:
    return _present(reader.value(node, 0))


def cast(reader: Reader, node: FileNode) -> Value:
    value, to = _present(reader.value(node, 0)), attribute(node, "to", 0)
    if isinstance(value, Constant) and value.scale is None and value.array.size <= LARGEST_SHAPE and to in (1, 6, 7):
        return Constant(value.array.astype({1: np.float32, 6: np.int32, 7: np.int64}[to]))
    if not isinstance(value, Constant) and to == 1 and (isinstance(value, Pending) or value.real):
        return value
    raise NetworkError("Cast is supported for small constants, to float32, int32 or int64")


def shape_of(reader: Reader, node: FileNode) -> Value:
    value = _present(reader.value(node, 0))
    shape = _shape(value)
    return Constant(np.array(shape[attribute(node, "start", 0):attribute(node, "end", len(shape))], np.int64))


def gather(reader: Reader, node: FileNode) -> Value:
    data, index = _small(reader, node, 0), _small(reader, node, 1)
    if data.ndim != 1 or index.dtype.kind != "i" or np.any((index < -data.size) | (index >= data.size)):
        raise NetworkError("Gather is supported for shapes: a list of numbers and indices within it")
    return Constant(data[index])


def concat(reader: Reader, node: FileNode) -> Value:
    if not all(isinstance(reader.value(node, position), Constant) for position in range(len(node.inputs))):
        return concatenated(reader.builder, node, [reader.real(node, i) for i in range(len(node.inputs))], attribute(node, "axis", 0))
    parts = [_small(reader, node, position) for position in range(len(node.inputs))]
    if not parts or any(part.ndim != 1 for part in parts) or sum(part.size for part in parts) > LARGEST_SHAPE:
        raise NetworkError("Concat is supported for shapes, lists of numbers")
    return Constant(np.concatenate(parts))


def reshape(reader: Reader, node: FileNode) -> Value:
    value = _present(reader.value(node, 0))
    wanted = _numbers(reader.array(node, 1, "shape"), "shape")
    shape, size = list(_shape(value)), math.prod(_shape(value))
    new = [shape[i] if n == 0 and i < len(shape) and not attribute(node, "allowzero", 0) else n for i, n in enumerate(wanted)]
    if new.count(-1) == 1:
        rest = math.prod(n for n in new if n != -1)
        new = [size // rest if n == -1 and rest > 0 else n for n in new]
    return _reshaped(reader, node, value, new)


def flatten(reader: Reader, node: FileNode) -> Value:
    value = _present(reader.value(node, 0))
    shape, axis = _shape(value), attribute(node, "axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise NetworkError(f"axis must be one of shape {shape}, not {axis}")
    axis += len(shape) if axis < 0 else 0
    return _reshaped(reader, node, value, [math.prod(shape[:axis]), math.prod(shape[axis:])])


def squeeze(reader: Reader, node: FileNode) -> Value:
    value = _present(reader.value(node, 0))
    shape, axes = _shape(value), _axes(reader, node)
    chosen = {i for i, n in enumerate(shape) if n == 1} if axes is None else {_axis(axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in chosen):
        raise NetworkError(f"axes must be of size 1 in {shape}, not {axes}")
    return _reshaped(reader, node, value, [n for i, n in enumerate(shape) if i not in chosen])


def unsqueeze(reader: Reader, node: FileNode) -> Value:
    value, axes = _present(reader.value(node, 0)), _axes(reader, node)
    if axes is None or len(axes) > 8:
        raise NetworkError("axes must be at most 8 constants")
    rank = len(_shape(value)) + len(axes)
    chosen, rest = {_axis(axis, rank) for axis in axes}, list(_shape(value))
    if len(chosen) != len(axes):
        raise NetworkError(f"axes must differ, not be {axes}")
    return _reshaped(reader, node, value, [1 if i in chosen else rest.pop(0) for i in range(rank)])


def transpose(reader: Reader, node: FileNode) -> Value:
    value = _present(reader.value(node, 0))
    rank = len(_shape(value))
    permutation = attribute(node, "perm")
    permutation = list(range(rank))[::-1] if permutation is None else permutation
    if sorted(permutation) != list(range(rank)):
        raise NetworkError(f"perm must be a permutation of {rank} axes, not {permutation}")
    if isinstance(value, Constant):
        axis = None if value.axis is None else permutation.index(value.axis)
        return dataclasses.replace(value, array=value.array.transpose(permutation), axis=axis)
    if isinstance(value, Activation):
        return dataclasses.replace(value, view=value.view.transpose(permutation))
    return _after(value, tuple(value.shape[axis] for axis in permutation), lambda view: view.transpose(permutation))


HANDLERS: dict[str, Callable[[Reader, FileNode], Value]] = {
    "Cast": cast, "Concat": concat, "Constant": constant, "Dropout": identity, "Flatten": flatten, "Gather": gather, "Identity": identity,
    "Reshape": reshape, "Shape": shape_of, "Squeeze": squeeze, "Transpose": transpose, "Unsqueeze": unsqueeze}


def _reshaped(reader: Reader, node: FileNode, value: Value, shape: Sequence[int]) -> Value:
    have, new = _shape(value), tuple(shape)
    if any(n < 0 for n in new) or math.prod(new) != math.prod(have) or len(new) > 16:
        raise NetworkError(f"shape {list(new)} must hold {math.prod(have)} elements, as {have} does")
    if isinstance(value, Constant):
        axis = None
        if value.axis is not None:
            before = math.prod(have[:value.axis])
            axis = next((i for i, n in enumerate(new) if n == have[value.axis] and math.prod(new[:i]) == before), None)
            if axis is None:
                raise NetworkError(f"weights with a scale per channel must keep axis {value.axis} of {have}, not become {new}")
        return dataclasses.replace(value, array=value.array.reshape(new), axis=axis)
    if isinstance(value, Activation):
        view = value.view.reshape(new)
        if view is None:  # the host moves the bytes
            key = reader.builder.ordered(node, value, tuple(range(len(have))))
            return dataclasses.replace(value, key=reader.builder.shaped(node, key, new), view=View.of(new))
        return dataclasses.replace(value, view=view)
    return _after(value, new, lambda view: reshaped(view, new))


def _after(value: Pending, shape: tuple[int, ...], change: Callable[[View], View]) -> Pending:
    return dataclasses.replace(value, shape=shape, views=(*value.views, change), depth=value.depth + 1)


def _present(value: Value | None) -> Value:
    if value is None:
        raise NetworkError("first input must be there")
    return value


def _shape(value: Value) -> tuple[int, ...]:
    return value.array.shape if isinstance(value, Constant) else value.shape


def _small(reader: Reader, node: FileNode, position: int) -> np.ndarray:
    value = reader.value(node, position)
    if not isinstance(value, Constant) or value.scale is not None or value.array.size > LARGEST_SHAPE or value.array.dtype.kind not in "if":
        raise NetworkError(f"{node.op} is supported for shapes, not for tensors that the network computes")
    return value.array


def _numbers(array: np.ndarray | None, what: str) -> list[int]:
    if array is None or array.dtype.kind != "i" or array.ndim != 1 or array.size > 16:
        raise NetworkError(f"{what} must be a constant list of at most 16 integers")
    return [int(n) for n in array]


def _axes(reader: Reader, node: FileNode) -> list[int] | None:
    stated = attribute(node, "axes")
    if stated is not None:
        return _numbers(np.asarray(stated), "axes")
    array = reader.array(node, 1, "axes")
    return None if array is None else _numbers(array, "axes")


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise NetworkError(f"axis must be within {rank} axes, not {axis}")
    return axis % rank
