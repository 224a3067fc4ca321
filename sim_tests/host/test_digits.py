"""The demo network: trains to its accuracy, keeps it as int8, and runs exactly on the functional model."""

import numpy as np
import pytest
from systolith.arch.manifest import Manifest
from systolith.arch.settings import resolve
from systolith.host import digits
from systolith.host.accelerator import Accelerator
from systolith.host.inference import infer
from systolith.host.model_device import ModelDevice
from systolith.host.quantise import forward, quantise


@pytest.fixture(scope="module")
def data():
    return digits.load()


@pytest.fixture(scope="module")
def layers(data):
    return digits.train(data)


def test_split_is_fixed_and_disjoint(data):
    assert data.train_images.shape == (1437, 8, 8, 1) and data.test_images.shape == (360, 8, 8, 1)
    again = digits.load()
    np.testing.assert_array_equal(again.test_labels, data.test_labels)
    assert sorted(np.bincount(np.r_[data.train_labels, data.test_labels])) == sorted([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_accuracy(data, layers):
    """At least 97 % as float, within a point of it as int8; calibrated on training images only."""
    plain = digits.accuracy(forward(layers, data.test_images), data.test_labels)
    network = quantise(layers, data.train_images)
    quantised = digits.accuracy(network.reference(network.input.quantise(data.test_images)), data.test_labels)
    assert plain >= 0.97 and abs(quantised - plain) <= 0.01


@pytest.mark.parametrize("rows, cols", [(16, 16), (12, 12), (8, 5)])
def test_whole_test_split_on_the_model(data, layers, rows, cols):
    network = quantise(layers, data.train_images)
    x = network.input.quantise(data.test_images)
    manifest = Manifest(config=resolve({"array": {"rows": rows, "cols": cols}}))
    with Accelerator(ModelDevice(manifest), manifest) as accelerator:
        result = infer(accelerator, network, x)
    np.testing.assert_array_equal(result.output, network.reference(x))
    assert result.counters["programs"] == 1


def test_training_reports_progress_and_repeats():
    small = digits.load()
    few = digits.Digits(train_images=small.train_images[:64], train_labels=small.train_labels[:64], test_images=small.test_images,
                        test_labels=small.test_labels)
    seen = []
    one, two = digits.train(few, progress=lambda *epoch: seen.append(epoch)), digits.train(few)
    assert seen[-1][0] == seen[-1][1] == len(seen)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.weights, b.weights)
