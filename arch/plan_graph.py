"""Networks of any shape as one program: what is computed where, in which order, and where everything lies.

Tensors stay on chip as long as there is room for them, by their lifetimes; others go through memory and come back window by window, tile
after tile, so that a network or a tensor may be larger than the chip. Of a batch, as many images go through together as fit. Weights and
parameters stream into rings ahead of their use. Among several ways to cut and order the tiles, the cycle model chooses.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .commands import Command
from .config import Config
from .cycles import predict_cycles
from .latency import Memory
from .layers import Dynamic, Layer, TensorSpec, Term, fits_chip, root_of
from .plan_emit import Emitter
from .plan_groups import batch_of, in_groups
from .plan_memory import DoesNotFit, Placement, Use, place_tensors, uses
from .plan_order import Item, Order
from .plan_schedule import Scheduler, Step
from .program import Program
from .tiling import PlanError, tiles, window
from .views import Box

__all__ = ["GraphPlan", "plan_graph"]

_GOALS = (256, 128, 64, 512)   # windows of a tile that are tried
_OVERLAP = (3, 1)  # layers whose tiles take turns, that are tried
_BEST = 2         # plans of which LOADs are put to where they suit best
_AHEAD = 3        # EXECUTEs before which a LOAD stands at first
_TIMED = ((0, 2), (1, 1), (1, 2), (2, 2))   # LOADs before the EXECUTE at work when they can begin, behind what is in their way
_MANY, _FEW = 1500, 2  # commands from which on so few plans are tried,
_LONG = 4000                   # and from which on the first one is taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphPlan:
    """Commands; for each of them the operator that it belongs to; bytes of memory for tensors between them; predicted cycles, if known."""

    commands: list[Command]
    nodes: list[int]
    scratch_bytes: int
    cycles: int | None = None


def plan_graph(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], *, constants: int, scratch: int,
               memory: Memory | None = None) -> GraphPlan:
    """The program for ``layers``.

    Parameters
    ----------
    config : the accelerator
    specs : all tensors
    layers : in an order in which they can be done
    constants, scratch : base registers of the constants and of memory for tensors of which the host knows nothing
    memory : what the cycle model assumes

    Raises
    ------
    PlanError
        A layer does not fit this configuration.
    """
    _check(config, layers)
    drafts: list[tuple[GraphPlan, _Arranged, Order]] = []
    for goal, ahead in itertools.product(_GOALS, _OVERLAP):
        arranged = _arranged(config, specs, layers, goal, ahead, scratch)
        if any(other.steps == arranged.steps for _, other, _ in drafts):
            continue
        emitter = Emitter(config, arranged.specs, arranged.layers, arranged.placement, constants=constants)
        for step in arranged.steps:
            emitter.add(step)
        order = Order(config, emitter.items)
        plan = _written(config, arranged, order.hoisted(_AHEAD), memory)
        if plan.cycles is None:
            return plan
        drafts.append((plan, arranged, order))
        if len(plan.commands) > _MANY and len(drafts) == _FEW:
            break
    drafts.sort(key=lambda draft: draft[0].cycles or 0)
    plans = [plan for plan, *_ in drafts]
    for plan, arranged, order in drafts[:_BEST]:
        some = _TIMED if len(plan.commands) < _MANY else _TIMED[:1]
        plans += [_written(config, arranged, order.timed(*how), memory) for how in some]
    return min(plans, key=lambda plan: plan.cycles or 0)


def _check(config: Config, layers: Sequence[Layer]) -> None:
    if config.array.activations != "int8":
        raise PlanError(f"array.activations must be 'int8' for the layers of a network, not {config.array.activations!r}")
    if config.array.weights != "int8" and _made(layers):
        raise PlanError(f"array.weights must be 'int8' for a product of two tensors, not {config.array.weights!r}")
    if config.parameter_groups * config.epilogue.lanes < config.array.cols:
        raise PlanError(f"memory.parameter_channels must be at least array.cols, {config.array.cols}, "
                        f"not {config.memory.parameter_channels}")
    if not config.control.padding:
        raise PlanError("control.padding must be true for the layers of a network")


def _made(layers: Sequence[Layer]) -> bool:
    """Whether the device makes weights, which STORE writes as bytes."""
    return any(isinstance(term.weights, Dynamic) for layer in layers for part in layer.parts for term in part.terms)


def _arranged(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], goal: int, ahead: int, scratch: int) -> _Arranged:
    """Tiles of about ``goal`` windows, of ``ahead`` layers at a time: as many images at once as leave all tensors on chip; where one does
    not, tensors go through memory."""
    batch = batch_of(specs, layers)
    try:
        images = batch
        if batch > 1:
            one, rows = _arrange(config, *in_groups(specs, layers, batch, 1, groups=1), goal, ahead, scratch), config.activation_rows
            images = min(batch, rows // max(1, one.placement.top))
        while True:
            group = in_groups(specs, layers, batch, images) if images < batch else (specs, layers)
            try:
                return _arrange(config, *group, goal, ahead, scratch)
            except DoesNotFit as failure:
                if images == 1:
                    raise
                images = max(1, min(images - 1, int(images * failure.share)))
    except (DoesNotFit, PlanError):
        return _through_memory(config, specs, layers, goal, ahead, scratch)


def _written(config: Config, arranged: _Arranged, items: Sequence[Item], memory: Memory | None) -> GraphPlan:
    """A program, and how long it takes, if that is worth knowing."""
    program = Program(config.control)
    numbers = []
    for item in items:
        before = len(program)
        program.add(item.command, reads=item.reads, writes=item.writes)
        numbers += [arranged.layers[item.layer].node] * (len(program) - before)
    plan = GraphPlan(commands=program.commands, nodes=numbers, scratch_bytes=arranged.placement.scratch_bytes)
    if len(numbers) > len(items) or len(items) > _LONG:
        return plan
    return dataclasses.replace(plan, cycles=predict_cycles(config, plan.commands, memory=memory).cycles)


class _Arranged(NamedTuple):
    """What there is to do, in order, and where everything is."""

    specs: Mapping[str, TensorSpec]
    layers: Sequence[Layer]
    steps: Sequence[Step]
    placement: Placement


def _arrange(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], goal: int, ahead: int, scratch: int,
             spilled: frozenset[str] = frozenset(), windows: int | None = None) -> _Arranged:
    if windows is None:
        reshaped = any(use is Use.RESHAPED for layer in layers for _, use in uses(specs, layer, {}))
        windows = config.activation_rows // 2 if reshaped else 0
    boxes = [_boxes(config, specs, layer, goal, spilled, windows) for layer in layers]
    ring = max(2 * config.array.rows, config.weight_rows // 2) if _made(layers) else config.weight_rows
    steps = Scheduler(config, specs, layers, boxes, ahead=ahead, ring=ring).order()
    placement = place_tensors(config, specs, layers, [step.task for step in steps], spilled=spilled, windows=windows, ring=ring,
                              scratch=scratch)
    return _Arranged(specs, layers, steps, placement)


def _through_memory(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], goal: int, ahead: int,
                    scratch: int) -> _Arranged:
    """Tensors go to memory one after the other until the rest fits."""
    spilled: frozenset[str] = frozenset()
    used = {use for layer in layers for use in uses(specs, layer, {})}
    activations = {root for root, use in used if use is Use.ACTIVATIONS}
    windows: int | None = None
    while True:
        try:
            return _arrange(config, specs, layers, goal, ahead, scratch, spilled, windows)
        except DoesNotFit as failure:
            spilled |= {failure.name}
        except PlanError:
            if activations <= spilled:
                raise
            spilled |= activations
        windows = config.activation_rows if activations <= spilled else _windows(config, specs, layers, goal, spilled)


def _windows(config: Config, specs: Mapping[str, TensorSpec], layers: Sequence[Layer], goal: int, spilled: frozenset[str]) -> int:
    """Rows for two windows of tensors in memory, those of the largest tile, but at most half of all."""
    most = 0
    for layer in layers:
        for term in _from_memory(specs, layer, spilled):
            most = max([most, *(window(layer.shape, box).pixels * term.depth for box in _boxes(config, specs, layer, goal, spilled, None))])
    return min(2 * most, config.activation_rows // 2)


def _from_memory(specs: Mapping[str, TensorSpec], layer: Layer, spilled: frozenset[str]) -> list[Term]:
    """Terms of a layer whose windows are loaded tile by tile."""
    return [term for part in layer.parts for term in part.terms if term.source is not None
            and (root_of(specs, layer.inputs[term.source]) in spilled or not fits_chip(specs, layer.inputs[term.source]))]


def _boxes(config: Config, specs: Mapping[str, TensorSpec], layer: Layer, goal: int, spilled: frozenset[str],
           windows: int | None) -> list[Box]:
    """Tiles of a layer, small enough for its sums, and for windows of its inputs where these are in memory."""
    most = config.half_rows
    if layer.spread:
        if layer.taps > min(most, 255):
            raise PlanError(f"memory.accumulator_rows must be at least {2 * layer.taps} for a maximum over {layer.taps} values, "
                            f"not {config.memory.accumulator_rows}")
        most //= layer.taps
    from_memory = _from_memory(specs, layer, spilled)
    depth = max((term.depth for term in from_memory), default=1)
    loops = config.control.inner_loops
    images = 1 if layer.single else layer.images
    boxes = tiles(layer.shape, images, most=most, goal=goal, area=layer.area, loops=loops,
                  window_rows=windows // 2 if from_memory and windows is not None else None, depth=depth)
    if layer.single:
        boxes = [box._replace(image=image) for image in range(layer.images) for box in boxes]
    return boxes
