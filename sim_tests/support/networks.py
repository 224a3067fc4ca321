"""Random networks and attention heads for tests, and running what is compiled from them on the functional model."""

import numpy as np
from systolith.arch.commands import pack
from systolith.arch.model import Model
from systolith.arch.numerics import quantize_multiplier
from systolith.arch.settings import resolve
from systolith.host.attention import AttentionHead, Scaling
from systolith.host.network import Conv2D, FullyConnected, Network, Quantisation

__all__ = ["random_config", "random_conv", "random_dense", "random_head", "random_network", "run_on_model", "run_program"]

ARRAYS = [(1, 1), (3, 5), (5, 3), (8, 8), (4, 4), (16, 16), (24, 12), (12, 24)]
SENTINEL = 0xA5


def random_config(rng, shape=None, weights="int8"):
    """An accelerator whose memories are sometimes so small that everything has to be cut."""
    rows, cols = ARRAYS[rng.integers(len(ARRAYS))] if shape is None else shape
    bus_bits = int(rng.choice([32, 64, 128]))
    return resolve({
        "array": {"rows": rows, "cols": cols, "weights": weights},
        "memory": {"activation_kib": int(rng.choice([1, 2, 4, 64])), "weight_kib": int(rng.choice([2, 4, 48])),
                   "accumulator_rows": int(rng.choice([16, 64, 1024])), "parameter_channels": int(rng.choice([cols, 2 * cols, 512])),
                   "bus_bits": bus_bits},
        "epilogue": {"lanes": int(rng.integers(1, min(cols, bus_bits // 8) + 1))},
        "control": {"outer_loops": int(rng.choice([1, 2, 3, 3, 3])), "inner_loops": int(rng.choice([1, 2, 3, 3, 3])),
                    "queue_commands": int(rng.choice([2, 4]))}})


def _scaling(rng, inner, outputs):
    """Multipliers that spread sums of ``inner`` random products over all of int8, and some beyond it."""
    multiplier, shift = quantize_multiplier(rng.uniform(0.5, 2.0, outputs) / (75 * np.sqrt(inner)))
    return {"bias": rng.integers(-5000, 5000, outputs, np.int32), "multiplier": multiplier, "shift": shift}


def _layer(rng, weights, zero_in, zero_out):
    low = zero_out if rng.random() < 0.5 else -128
    return {"weights": weights, **_scaling(rng, weights[..., 0].size, weights.shape[-1]), "zero_in": zero_in, "zero_out": zero_out,
            "low": low, "high": int(rng.integers(low, 128)) if rng.random() < 0.2 else 127}


def random_conv(rng, kernel, channels, filters, *, zero_in=0, zero_out=0, **geometry):
    weights = rng.integers(-128, 128, (*kernel, channels, filters), np.int8)
    return Conv2D(**_layer(rng, weights, zero_in, zero_out), **geometry)


def random_dense(rng, inputs, outputs, *, zero_in=0, zero_out=0):
    return FullyConnected(**_layer(rng, rng.integers(-128, 128, (inputs, outputs), np.int8), zero_in, zero_out))


def _pair(rng, low, high):
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def random_network(rng, *, layers=3, side=12, channels=20, filters=30):
    """A network of 1 to ``layers`` layers of any kernel, stride, dilation and padding that fit."""
    shape = (*_pair(rng, 1, side), int(rng.integers(1, channels)))
    made, current, zero = [], shape, int(rng.integers(-128, 128))
    first_zero = zero
    wanted = rng.integers(1, layers + 1)
    while len(made) < wanted:
        after, outputs = int(rng.integers(-128, 128)), int(rng.integers(1, filters))
        if rng.random() < 0.25:
            layer = random_dense(rng, int(np.prod(current)), outputs, zero_in=zero, zero_out=after)
        else:
            kernel = _pair(rng, 1, 5) if rng.random() < 0.7 else (1, 1)
            geometry = {"stride": _pair(rng, 1, 4) if rng.random() < 0.5 else (1, 1), "dilation": _pair(rng, 1, 3)}
            if rng.random() < 0.6:
                geometry["padding"] = (_pair(rng, 0, 3), _pair(rng, 0, 3))
            layer = random_conv(rng, kernel, current[2], outputs, zero_in=zero, zero_out=after, **geometry)
        try:
            geometry = layer.shape(*current)
        except ValueError:  # the kernel is larger than the image: draw again
            continue
        made.append(layer)
        current, zero = (*geometry.output_size, geometry.filters), after
    return Network(layers=tuple(made), input_shape=shape, input=Quantisation(scale=1.0, zero_point=first_zero),
                   output=Quantisation(scale=1.0, zero_point=zero))


def random_head(rng, tokens, features, width):
    """An attention head."""
    weights = {name: rng.integers(-128, 128, (features, width), np.int8) for name in ("query_weights", "key_weights", "value_weights")}
    inner = {"query": (features, width), "key": (features, width), "value": (features, width), "scores": (width, tokens),
             "output": (tokens, width)}
    return AttentionHead(**weights, **{name: Scaling(**_scaling(rng, *sizes)) for name, sizes in inner.items()},
                         zero_in=int(rng.integers(-128, 128)), zero_out=int(rng.integers(-128, 128)))


def run_on_model(compiled, x, *, seed=0, commands=None):
    """(result of the model, output) of a program with one input and output; see :func:`run_program`."""
    result, (output,) = run_program(compiled, [x], seed=seed, commands=commands)
    return result, output


def run_program(compiled, arrays, *, seed=0, commands=None):
    """(result of the model, outputs): scratchpads and memory full of garbage at first, and a sentinel behind the outputs."""
    words = compiled.words if commands is None else pack(commands)
    rng = np.random.default_rng(seed)
    memory = rng.integers(0, 256, compiled.memory_bytes + 64, dtype=np.uint8)
    end = compiled.bases[3] + compiled.sizes[3]
    if not compiled.sizes[4]:
        memory[end:] = SENTINEL

    def put(address, data):
        octets = data.reshape(-1).view(np.uint8)
        memory[address:address + octets.size] = octets

    put(0, words)
    compiled.write(put, *arrays)
    model = Model(compiled.config, memory)
    for bank in (model.machine.activation, model.machine.weight):
        bank[:] = rng.integers(-128, 128, bank.shape)
    result = model.run(bases=compiled.bases, sizes=compiled.sizes, program_words=words.size, seed=seed)
    if not compiled.sizes[4]:
        assert (memory[end:] == SENTINEL).all(), "wrote behind the output"
    return result, compiled.read(lambda address, count: memory[address:address + count].copy())
