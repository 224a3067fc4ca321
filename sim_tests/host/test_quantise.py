"""Post-training quantiser: ranges, scales, and an int8 network that stays close to its float one."""

import numpy as np
import pytest
from systolith.host.network import Conv2D, FullyConnected, NetworkError, Quantisation
from systolith.host.quantise import FloatLayer, forward, quantise


def float_network(rng):
    return [FloatLayer(weights=rng.normal(size=(3, 3, 2, 6)) * 0.3, bias=rng.normal(size=6), padding=((1, 1), (1, 1))),
            FloatLayer(weights=rng.normal(size=(3, 3, 6, 5)) * 0.2, bias=rng.normal(size=5), stride=(2, 2)),
            FloatLayer(weights=rng.normal(size=(2 * 3 * 5, 4)) * 0.2, bias=rng.normal(size=4), relu=False)]


@pytest.mark.parametrize("seed", range(5))
def test_close_to_the_float_network(seed):
    rng = np.random.default_rng(seed)
    layers, x = float_network(rng), rng.normal(size=(50, 6, 8, 2))
    network = quantise(layers, x)
    output = network.output.dequantise(network.reference(network.input.quantise(x))).reshape(50, 4)
    exact = forward(layers, x).reshape(50, 4)
    assert np.abs(output - exact).max() < 0.05 * (exact.max() - exact.min())


def test_form_of_the_quantised_layers():
    rng = np.random.default_rng(0)
    layers, x = float_network(rng), rng.normal(size=(20, 6, 8, 2))
    network = quantise(layers, x)
    assert [type(layer) for layer in network.layers] == [Conv2D, Conv2D, FullyConnected]
    for layer, plain in zip(network.layers, layers, strict=True):
        assert layer.weights.dtype == np.int8 and layer.bias.dtype == np.int32
        peaks = np.abs(layer.weights.astype(int)).max(axis=tuple(range(layer.weights.ndim - 1)))
        assert (peaks == 127).all(), "each channel uses its whole range, symmetrically"
        assert layer.low == (layer.zero_out if plain.relu else -128)
    assert [a.zero_out for a in network.layers[:-1]] == [b.zero_in for b in network.layers[1:]]


def test_zero_is_exact():
    """Ranges include 0 even where the data do not, and 0 has an integer of its own: padding and ReLU are exact."""
    layer = FloatLayer(weights=np.ones((1, 1, 1, 1)), bias=np.array([100.0]), relu=False)
    network = quantise([layer], np.full((1, 2, 2, 1), 5.0))
    assert network.input == Quantisation(scale=5 / 255, zero_point=-128)
    for quantisation in (network.input, network.output):
        assert quantisation.dequantise(np.array([quantisation.zero_point], np.int8))[0] == 0


def test_dead_channels_and_constant_inputs():
    layer = FloatLayer(weights=np.zeros((1, 1, 1, 2)), bias=np.array([0.0, 3.0]))
    network = quantise([layer], np.zeros((2, 1, 1, 1)))
    output = network.output.dequantise(network.reference(np.zeros((1, 1, 1, 1), np.int8) + np.int8(network.input.zero_point)))
    np.testing.assert_allclose(output.ravel(), [0, 3], atol=0.02)


@pytest.mark.parametrize("data", [np.zeros((0, 2, 2, 1)), np.full((1, 2, 2, 1), np.nan), np.zeros((2, 2))])
def test_calibration_must_be_data(data):
    with pytest.raises(NetworkError, match="calibration must be finite numbers of shape"):
        quantise([], data)
