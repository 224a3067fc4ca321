"""Writes small TFLite models, so that LiteRT's reference kernels can be asked without TensorFlow."""

import dataclasses

import flatbuffers
import numpy as np
import tflite

TYPES = {"int8": np.int8, "uint8": np.uint8, "int32": np.int32, "float32": np.float32, "int16": np.int16, "int64": np.int64}
# Of operators whose first version does not know int8; others have 1.
VERSIONS = {"FULLY_CONNECTED": 5, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "BATCH_MATMUL": 2, "ADD": 2, "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2,
            "SOFTMAX": 2, "MEAN": 2, "RELU": 2, "RELU6": 2, "QUANTIZE": 2, "DEQUANTIZE": 2, "PAD": 2}
NONE, RELU, RELU_N1_TO_1, RELU6 = range(4)
SAME, VALID = range(2)


@dataclasses.dataclass
class Written:
    """A tensor: what the file says of it."""

    name: str
    shape: tuple
    dtype: str
    scales: list
    zeros: list
    axis: int
    data: np.ndarray | None
    signature: tuple | None

    @property
    def scale(self):
        return np.float32(self.scales[0])

    @property
    def zero(self):
        return self.zeros[0]


class Writer:
    """Collects tensors and operators; :meth:`finish` gives the file."""

    def __init__(self):
        self.repeated = 0  # further references to the first tensor, as only a hostile file has them
        self.tensors = []
        self.operators = []

    def tensor(self, shape, dtype="int8", scale=None, zero=0, *, data=None, axis=0, name=None, signature=None):
        """Index of a new tensor; ``scale`` is one number or one per channel along ``axis``."""
        scales = [] if scale is None else np.atleast_1d(np.asarray(scale, np.float32)).tolist()
        zeros = np.broadcast_to(zero, len(scales)).tolist()
        self.tensors.append(Written(name or f"t{len(self.tensors)}", tuple(shape), dtype, scales, zeros, axis, data, signature))
        return len(self.tensors) - 1

    def constant(self, data, scale=None, zero=0, *, axis=0):
        data = np.asarray(data)
        return self.tensor(data.shape, data.dtype.name, scale, zero, data=data, axis=axis)

    def add(self, name, inputs, outputs, options=None, **fields):
        """An operator: its name in the schema, the class of its options and their fields."""
        self.operators.append((name, list(inputs), list(outputs), options, fields))

    def finish(self, inputs, outputs):
        b = flatbuffers.Builder(1024)
        buffers = [b""] + [t.data.tobytes() for t in self.tensors if t.data is not None]
        made = []
        for content in buffers:
            vector = b.CreateByteVector(content) if content else None
            tflite.BufferStart(b)
            if vector is not None:
                tflite.BufferAddData(b, vector)
            made.append(tflite.BufferEnd(b))
        buffers_vector = _offsets(b, tflite.ModelStartBuffersVector, made)
        names = sorted({op[0] for op in self.operators})
        codes = []
        for name in names:
            number = getattr(tflite.BuiltinOperator, name)
            tflite.OperatorCodeStart(b)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            tflite.OperatorCodeAddVersion(b, VERSIONS.get(name, 1))
            tflite.OperatorCodeAddBuiltinCode(b, number)
            codes.append(tflite.OperatorCodeEnd(b))
        codes_vector = _offsets(b, tflite.ModelStartOperatorCodesVector, codes)
        buffer, tensors = 0, []
        for t in self.tensors:
            buffer += t.data is not None
            tensors.append(self._tensor(b, t, buffer if t.data is not None else 0))
        tensors_vector = _offsets(b, tflite.SubGraphStartTensorsVector, tensors + self.repeated * tensors[:1])
        operators = [self._operator(b, names, *op) for op in self.operators]
        operators_vector = _offsets(b, tflite.SubGraphStartOperatorsVector, operators)
        inputs_vector, outputs_vector = b.CreateNumpyVector(np.int32(inputs)), b.CreateNumpyVector(np.int32(outputs))
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors_vector)
        tflite.SubGraphAddInputs(b, inputs_vector)
        tflite.SubGraphAddOutputs(b, outputs_vector)
        tflite.SubGraphAddOperators(b, operators_vector)
        subgraphs = _offsets(b, tflite.ModelStartSubgraphsVector, [tflite.SubGraphEnd(b)])
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddBuffers(b, buffers_vector)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _tensor(self, b, t, buffer):
        name, shape = b.CreateString(t.name), b.CreateNumpyVector(np.int32(t.shape))
        signature = None if t.signature is None else b.CreateNumpyVector(np.int32(t.signature))
        quantisation = None
        if t.scales:
            scales, zeros = b.CreateNumpyVector(np.float32(t.scales)), b.CreateNumpyVector(np.int64(t.zeros))
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, zeros)
            tflite.QuantizationParametersAddQuantizedDimension(b, t.axis)
            quantisation = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, getattr(tflite.TensorType, t.dtype.upper()))
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantisation is not None:
            tflite.TensorAddQuantization(b, quantisation)
        if signature is not None:
            tflite.TensorAddShapeSignature(b, signature)
        return tflite.TensorEnd(b)

    def _operator(self, b, names, name, inputs, outputs, options, fields):
        table = None
        if options is not None:
            getattr(tflite, f"{options}Start")(b)
            for field, value in fields.items():
                getattr(tflite, f"{options}Add{field}")(b, value)
            table = getattr(tflite, f"{options}End")(b)
        inputs, outputs = b.CreateNumpyVector(np.int32(inputs)), b.CreateNumpyVector(np.int32(outputs))
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, names.index(name))
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(b, table)
        return tflite.OperatorEnd(b)


def _offsets(b, start, offsets):
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def lite_rt(model, *inputs):
    """Outputs of LiteRT's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], x)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
