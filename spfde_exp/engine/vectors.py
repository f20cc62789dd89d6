"""Vector instructions of LLVM, for kernels whose inner loops its own vectoriser leaves too slow."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

__all__ = ["BYTES", "Vectors"]

BYTES = 64  # of a vector, on every machine


class Vectors:
    """Emits instructions on vectors of `BYTES` bytes."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.context, self.builder = context, builder
        self.element = context.get_data_type(dtype)
        self.lanes = 8 * BYTES // dtype.bitwidth
        self.type = ir.VectorType(self.element, self.lanes)
        name = f"llvm.fmuladd.v{self.lanes}f{dtype.bitwidth}"
        self._fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(self.type, [self.type] * 3), name)

    def data(self, array_type: Any, array: Any) -> Any:
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def variable(self) -> Any:
        """A zero that LLVM keeps in a register."""
        place = cgutils.alloca_once(self.builder, self.type)
        self.builder.store(self.type(None), place)
        return place

    def load(self, pointer: Any) -> Any:
        return self.builder.load(self._at(pointer), align=self.element_bytes)

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, self._at(pointer), align=self.element_bytes)

    def fetch(self, pointer: Any) -> None:
        """Bring what lies there, if anything, into the second cache; the first has no room for what is needed later."""
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        to_read, to_second_cache, data = number(0), number(2), number(1)
        self.builder.call(prefetch, [self.builder.bitcast(pointer, byte), to_read, to_second_cache, data])

    def add_product(self, place: Any, a: Any, b: Any) -> None:
        self.builder.store(self.sum_of(self.builder.load(place), a, b), place)

    def sum_of(self, total: Any, a: Any, b: Any) -> Any:
        """total + a * b."""
        return self.builder.call(self._fma, [a, b, total])

    def splat(self, value: Any, kind: Any = None) -> Any:
        kind = kind or self.type
        lane = ir.IntType(32)
        one = self.builder.insert_element(kind(ir.Undefined), value, lane(0))
        return self.builder.shuffle_vector(one, kind(ir.Undefined), ir.VectorType(lane, self.lanes)([0] * self.lanes))

    def from_lane(self, first: Any) -> Any:
        """Mask of the lanes from `first` on."""
        kind = ir.VectorType(first.type, self.lanes)
        return self.builder.icmp_signed(">=", kind(list(range(self.lanes))), self.splat(first, kind))

    def total(self, vector: Any) -> Any:
        """Sum of the lanes, halves first."""
        count = self.lanes
        while count > 1:
            count //= 2
            undefined = vector.type(ir.Undefined)
            halves = [
                self.builder.shuffle_vector(
                    vector, undefined, ir.VectorType(ir.IntType(32), count)(list(range(start, start + count)))
                )
                for start in (0, count)
            ]
            vector = self.builder.fadd(*halves)
        return self.builder.extract_element(vector, ir.IntType(32)(0))

    def add_total(self, vector: Any, pointer: Any) -> None:
        """Add the sum of the lanes to the float64 at `pointer`."""
        total = self.total(vector)
        if total.type != ir.DoubleType():
            total = self.builder.fpext(total, ir.DoubleType())
        self.builder.store(self.builder.fadd(self.builder.load(pointer), total), pointer)

    @property
    def element_bytes(self) -> int:
        return BYTES // self.lanes

    def _at(self, pointer: Any) -> Any:
        return self.builder.bitcast(pointer, self.type.as_pointer())
