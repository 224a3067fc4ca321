"""int4 weights in bytes, against their two's complement written out."""

import numpy as np
import pytest
from systolith.arch.numerics import pack_int4, unpack_int4


def test_every_pair():
    values = np.array([[low, high] for high in range(-8, 8) for low in range(-8, 8)], np.int8)
    packed = pack_int4(values)
    assert packed.dtype == np.uint8 and packed.shape == (256, 1)
    assert [f"{octet:08b}" for octet in packed[:, 0]] == [f"{high % 16:04b}{low % 16:04b}" for low, high in values.tolist()]
    assert np.array_equal(unpack_int4(packed, 2), values)
    assert np.array_equal(unpack_int4(packed.view(np.int8), 1), values[:, :1])


@pytest.mark.parametrize("shape", [(1,), (3, 1), (2, 5), (2, 3, 8), (0, 4)])
def test_shapes(shape):
    values = np.random.default_rng(4).integers(-8, 8, shape, np.int8)
    packed = pack_int4(values)
    assert packed.shape == (*shape[:-1], -(-shape[-1] // 2))
    assert np.array_equal(unpack_int4(packed, shape[-1]), values)
    if shape[-1] % 2:
        assert not (packed[..., -1] >> 4).any(), "there is no value above the last one"


@pytest.mark.parametrize("value", [-9, 8, -128, 127])
def test_what_does_not_fit(value):
    with pytest.raises(ValueError) as caught:
        pack_int4(np.array([[7, -8], [value, 0]], np.int8))
    assert str(caught.value) == f"int4 values must be from -8 to 7, not {value}"
