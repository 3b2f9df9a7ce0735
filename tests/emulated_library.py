"""A shared library for an ARM processor, run on any machine: Unicorn emulates the processor, the loader is below.

It maps the segments of an ELF file, relocates them, and stands in for the few functions of the C library that a
compiler calls by itself. The stack ends at memory that is not there, as do the rows and the answers.
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from unicorn import UC_ARCH_ARM, UC_ARCH_ARM64, UC_HOOK_CODE, UC_MODE_ARM, Uc, arm64_const, arm_const

PAGE = 4096
STUBS, STACK, DATA = 0x40000000, 0x50000000, 0x60000000
STACK_BYTES = 1 << 20
PT_LOAD, PT_DYNAMIC = 1, 2
TABLES = {
    "symtab": 6,
    "strtab": 5,
    "rel": 17,
    "relsz": 18,
    "rela": 7,
    "relasz": 8,
    "jmprel": 23,
    "pltrelsz": 2,
}


class Processor(NamedTuple):
    """How an ELF file of a processor is laid out, and what its registers are called."""

    uc: tuple[int, int]
    word: str
    header: str
    symbol: str
    relative: int
    named: tuple[int, ...]
    arguments: tuple[int, ...]
    stack: int
    link: int
    counter: int


AARCH64 = Processor(
    (UC_ARCH_ARM64, 0),
    "Q",
    "<IIQQQQQQ",
    "<IBBHQQ",
    1027,
    (257, 1025, 1026),
    (arm64_const.UC_ARM64_REG_X0, arm64_const.UC_ARM64_REG_X1, arm64_const.UC_ARM64_REG_X2),
    arm64_const.UC_ARM64_REG_SP,
    arm64_const.UC_ARM64_REG_LR,
    arm64_const.UC_ARM64_REG_PC,
)
ARMV7 = Processor(
    (UC_ARCH_ARM, UC_MODE_ARM),
    "I",
    "<IIIIIIII",
    "<IIIBBH",
    23,
    (2, 21, 22),
    (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1, arm_const.UC_ARM_REG_R2),
    arm_const.UC_ARM_REG_SP,
    arm_const.UC_ARM_REG_LR,
    arm_const.UC_ARM_REG_PC,
)


class EmulatedLibrary:
    """A library for `processor`, loaded into an emulator of it."""

    def __init__(self, path: Path, processor: Processor) -> None:
        self._processor, self._file = processor, path.read_bytes()
        self._is_64 = processor.word == "Q"
        self._uc = Uc(*processor.uc)
        self._load()
        self._uc.mem_map(STUBS, PAGE)
        self._uc.mem_write(STUBS, (b"\xc0\x03\x5f\xd6" if self._is_64 else b"\x1e\xff\x2f\xe1") * (PAGE // 4))
        self._uc.mem_map(STACK, STACK_BYTES)
        self._names: dict[int, str] = {}
        self._relocate()
        self._uc.hook_add(UC_HOOK_CODE, self._stand_in, begin=STUBS, end=STUBS + PAGE - 1)
        self._allow_floats()

    def _allow_floats(self) -> None:
        if self._is_64:
            self._uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        else:
            self._uc.reg_write(arm_const.UC_ARM_REG_C1_C0_2, 0xF << 20)
            self._uc.reg_write(arm_const.UC_ARM_REG_FPEXC, 1 << 30)

    def _load(self) -> None:
        at, size, count = (
            struct.unpack_from("<Q", self._file, 32)[0]
            if self._is_64
            else struct.unpack_from("<I", self._file, 28)[0],
            *struct.unpack_from("<HH", self._file, 54 if self._is_64 else 42),
        )
        self._dynamic: dict[int, int] = {}
        for number in range(count):
            field = struct.unpack_from(self._processor.header, self._file, at + number * size)
            kind = field[0]
            offset, address, in_file, in_memory = (
                (field[2], field[3], field[5], field[6])
                if self._is_64
                else (field[1], field[2], field[4], field[5])
            )
            if kind == PT_LOAD:
                first, last = address // PAGE * PAGE, -(-(address + in_memory) // PAGE) * PAGE
                self._uc.mem_map(first, last - first)
                self._uc.mem_write(address, self._file[offset : offset + in_file])
            elif kind == PT_DYNAMIC:
                entry = "<" + 2 * self._processor.word
                self._dynamic = dict(struct.iter_unpack(entry, self._file[offset : offset + in_file]))

    def _read(self, at: int, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self._uc.mem_read(at, struct.calcsize(layout)))

    def _symbol(self, number: int) -> tuple[str, int]:
        """(name, address) of a symbol of the file, 0 where it is another library's."""
        layout = self._processor.symbol
        field = self._read(self._dynamic[TABLES["symtab"]] + number * struct.calcsize(layout), layout)
        start = self._dynamic[TABLES["strtab"]] + field[0]
        name = bytearray()
        while (byte := self._uc.mem_read(start + len(name), 1)) != b"\0":
            name += byte
        return name.decode(), field[4] if self._is_64 else field[1]

    def _relocate(self) -> None:
        word, kind_bits = self._processor.word, 32 if self._is_64 else 8
        for table, size, has_addend in (
            ("rel", "relsz", False),
            ("rela", "relasz", True),
            ("jmprel", "pltrelsz", self._is_64),
        ):
            layout = "<" + word * (3 if has_addend else 2)
            start = self._dynamic.get(TABLES[table], 0)
            for k in range(self._dynamic.get(TABLES[size], 0) // struct.calcsize(layout)):
                at, info, *rest = self._read(start + k * struct.calcsize(layout), layout)
                kind, number = info & (1 << kind_bits) - 1, info >> kind_bits
                if kind == self._processor.relative:
                    value = rest[0] if rest else self._read(at, "<" + word)[0]
                else:
                    assert kind in self._processor.named, f"relocation {kind}"
                    value = self._resolve(number) + (rest[0] if rest else 0)
                self._uc.mem_write(at, struct.pack("<" + word, value))

    def _resolve(self, number: int) -> int:
        name, address = self._symbol(number)
        if address:
            return address
        stub = STUBS + 16 * len(self._names)
        self._names[stub] = name
        return stub

    def _stand_in(self, uc: Uc, address: int, size: int, data: Any) -> None:
        """Do what the C library's function of this name does; the return behind it is in the stub itself."""
        if address not in self._names:
            return
        to, what, count = (uc.reg_read(register) for register in self._processor.arguments)
        name = self._names[address].removeprefix("__aeabi_")
        if name in ("memcpy", "memcpy4", "memcpy8", "memmove"):
            uc.mem_write(to, bytes(uc.mem_read(what, count)))
        elif name == "memset":
            uc.mem_write(to, bytes([what & 255]) * count)
        elif name in ("memclr", "memclr4", "memclr8"):
            uc.mem_write(to, bytes(what))
        else:
            raise AssertionError(f"the library calls {name}")

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the library by its name."""
        number = 1
        while self._symbol(number)[0] != name:
            number += 1
        for register, value in zip(self._processor.arguments, arguments, strict=False):
            self._uc.reg_write(register, value)
        self._uc.reg_write(self._processor.stack, STACK + STACK_BYTES)
        end = STUBS + PAGE - 4
        self._uc.reg_write(self._processor.link, end)
        self._uc.emu_start(self._symbol(number)[1], end)
        return int(self._uc.reg_read(self._processor.arguments[0]))

    def margin(self, rows: NDArray[Any], n_outputs: int) -> NDArray[np.float64]:
        """What `predict_margin` writes; rows and answers end where their memory ends."""
        name = "predict_margin" if rows.dtype == np.float32 else "predict_margin_f64"
        sizes = [max(1, -(-n // PAGE)) * PAGE for n in (rows.nbytes, len(rows) * n_outputs * 8)]
        starts = (DATA, DATA + sizes[0] + 16 * PAGE)
        for start, size in zip(starts, sizes, strict=True):
            self._uc.mem_map(start, size)
        row_at, out_at = (
            start + size - n
            for start, size, n in zip(starts, sizes, (rows.nbytes, len(rows) * n_outputs * 8), strict=True)
        )
        self._uc.mem_write(row_at, rows.tobytes())
        self.call(name, row_at, len(rows), out_at)
        answer = bytes(self._uc.mem_read(out_at, len(rows) * n_outputs * 8))
        for start, size in zip(starts, sizes, strict=True):
            self._uc.mem_unmap(start, size)
        return np.frombuffer(answer, np.float64).reshape(len(rows), n_outputs)
