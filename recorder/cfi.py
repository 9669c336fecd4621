"""Call frame information: what DWARF says of where a caller's registers are, function by function.

A function's entry (FDE) is a small program, to be run up to an instruction's address; here it is run to its end, and every
state that it goes through becomes a row. Only what is needed to find callers is followed: the canonical frame address, the
return address, the frame pointer and rbx. Sources: DWARF 5, section 6.4; the Linux Standard Base, 10.6 (.eh_frame).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from offwake.format.stacks import SIGNAL, Cfa, Rule
from offwake.recorder.elf import ElfError

__all__ = ["Common", "Entry", "Reader", "State", "entries", "entry_at", "states"]

# DWARF's numbers of x86-64's registers (System V ABI, figure 3.36).
RBX, RDI, RBP, RSP, RETURN = 3, 5, 6, 7, 16
CFA_OF = {RSP: Cfa.SP, RBP: Cfa.FP, RBX: Cfa.BX}
CFA_AT = {RSP: Cfa.AT_SP, RBP: Cfa.AT_FP}
RULE_AT = {RSP: Rule.AT_SP, RBP: Rule.AT_FP}
OP_BREG0, OP_DEREF = 0x70, 0x06
PLT = bytes.fromhex("77 08 80 00 3f 1a 3b 2a 33 24 22")
"""breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus: RSP + 8, and 8 more from the 11th byte of an entry on."""
PLT_LITERAL_AT, LIT0 = 6, 0x30
ROWS_AT_MOST = 1 << 14
OFFSETS = 1 << 31
NUMBER_BITS = 70
ENTRY_AT_MOST = 1 << 18  # bytes; those of compilers have some thousand


class Reader:
    """Numbers out of bytes, one after the other. Raises ElfError where they end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, min(end, len(data))

    def unsigned(self, size: int) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.bytes(size), "little")

    def signed(self, size: int) -> int:
        """Return a little-endian number in two's complement."""
        return int.from_bytes(self.bytes(size), "little", signed=True)

    def bytes(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > self.end - self.at:
            raise ElfError(f"call frame information ends at {self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def uleb(self) -> int:
        """Return an unsigned LEB128 number."""
        value = 0
        for shift in range(0, NUMBER_BITS, 7):
            byte = self.unsigned(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ElfError(f"call frame information has a number without end at {self.at}")

    def sleb(self) -> int:
        """Return a signed LEB128 number."""
        begin = self.at
        value = self.uleb()
        bits = 7 * (self.at - begin)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def text(self) -> str:
        """Return the bytes up to a NUL."""
        stop = self.data.find(b"\0", self.at, self.end)
        text = self.bytes(max(stop, self.at) - self.at)
        self.at += 1
        return text.decode("latin-1")

    def pointer(self, encoding: int, address: int) -> int:
        """Return a pointer in one of .eh_frame's encodings; `address` is that of byte 0 of the data."""
        here = address + self.at
        kind = encoding & 15
        if kind in (0, 4, 12):
            value = self.unsigned(8)
        elif kind in (2, 10):
            value = self.unsigned(2) if kind == 2 else self.signed(2)
        elif kind in (3, 11):
            value = self.unsigned(4) if kind == 3 else self.signed(4)
        elif kind in (1, 9):
            value = self.uleb() if kind == 1 else self.sleb()
        else:
            raise ElfError(f"there is no pointer encoding {encoding:#x}")
        if encoding & 0x70 == 0x10:
            value += here
        elif encoding & 0x70:
            raise ElfError(f"pointer encoding {encoding:#x} is not followed")
        return value & (1 << 64) - 1


@dataclass(frozen=True)
class Common:
    """A CIE: what entries share."""

    code_factor: int
    data_factor: int
    encoding: int
    is_signal: bool
    has_augmentation: bool
    program: bytes


@dataclass(frozen=True)
class Entry:
    """An FDE: the function's addresses, and its program."""

    begin: int
    end: int
    common: Common
    program: bytes


@dataclass
class State:
    """What holds from an address on: how the CFA is had, and the rule and offset of each register that is followed."""

    cfa: tuple[int, int] = (Cfa.OTHER, 0)
    rules: dict[int, tuple[int, int]] = field(default_factory=dict)
    base: int = RSP  # of which register the CFA is an offset

    def copy(self) -> "State":
        """Return a state that can be changed."""
        return State(self.cfa, dict(self.rules), self.base)

    def row(self) -> tuple[int, ...]:
        """Return the row of format.stacks.ROW, without its start."""
        rules = [self.rules.get(register, (Rule.SAME, 0)) for register in (RETURN, RBP, RBX)]
        offsets = [self.cfa[1], *(offset for _, offset in rules)]
        if any(not -OFFSETS <= offset < OFFSETS for offset in offsets):
            return (Cfa.OTHER, Rule.OTHER, Rule.OTHER, Rule.OTHER, 0, 0, 0, 0)
        return (self.cfa[0], *(rule for rule, _ in rules), *offsets)


def entry_at(data: bytes, address: int, at: int, is_eh: bool, known: dict[int, Common]) -> Entry | None:
    """Read the FDE at an offset of a section that lies at `address`; None for a CIE. `known` keeps CIEs by offset."""
    if not 0 <= at < len(data):
        raise ElfError(f"there is no frame entry at {at}")
    reader = Reader(data, at, len(data))
    body, end, wide = _extent(reader)
    pointer = reader.unsigned(8 if wide else 4)
    if pointer == (0 if is_eh else (1 << (64 if wide else 32)) - 1):
        return None
    common_at = body - pointer if is_eh else pointer
    if common_at not in known:
        known[common_at] = _common(data, address, common_at, is_eh)
    common = known[common_at]
    reader.end = end
    begin = reader.pointer(common.encoding, address)
    length = reader.pointer(common.encoding & 15, address)
    if common.has_augmentation:
        reader.bytes(reader.uleb())
    return Entry(begin, begin + length, common, reader.bytes(reader.end - reader.at))


def entries(data: bytes, address: int, is_eh: bool) -> Iterator[Entry]:
    """Yield all FDEs of an .eh_frame (`is_eh`) or .debug_frame section, as far as they can be read."""
    known: dict[int, Common] = {}
    at = 0
    while at + 4 <= len(data):
        reader = Reader(data, at, len(data))
        _, end, _ = _extent(reader)
        if end == reader.at:  # .eh_frame ends so
            return
        entry = entry_at(data, address, at, is_eh, known)
        if entry:
            yield entry
        at = end


def _extent(reader: Reader) -> tuple[int, int, bool]:
    """Read a length; returns where what it is of begins and ends, and whether it is in DWARF's 64-bit form."""
    length, wide = reader.unsigned(4), False
    if length == 0xFFFFFFFF:
        length, wide = reader.unsigned(8), True
    if length > ENTRY_AT_MOST:
        raise ElfError(f"a frame entry at {reader.at} has {length} bytes")
    if length > len(reader.data) - reader.at:
        raise ElfError(f"a frame entry at {reader.at} is longer than its section")
    return reader.at, reader.at + length, wide


def _common(data: bytes, address: int, at: int, is_eh: bool) -> Common:
    if not 0 <= at < len(data):
        raise ElfError(f"there is no common entry at {at}")
    reader = Reader(data, at, len(data))
    _, reader.end, wide = _extent(reader)
    reader.bytes(8 if wide else 4)
    version, augmentation = reader.unsigned(1), reader.text()
    if version == 4:
        reader.bytes(2)  # sizes of addresses and of segment selectors
    code_factor, data_factor = reader.uleb(), reader.sleb()
    if version == 1:
        reader.bytes(1)
    else:
        reader.uleb()
    encoding = 0
    if augmentation.startswith("z"):
        body = reader.uleb()
        after = reader.at + body
        for letter in augmentation[1:]:
            if letter == "R":
                encoding = reader.unsigned(1)
            elif letter == "P":
                reader.pointer(reader.unsigned(1) & 15, address)
            elif letter == "L":
                reader.bytes(1)
            elif letter not in "SB":
                break
        reader.at = after
    elif augmentation:
        raise ElfError(f"augmentation {augmentation!r} is not known")
    program = reader.bytes(reader.end - reader.at)
    return Common(code_factor, data_factor, encoding, "S" in augmentation, augmentation.startswith("z"), program)


def states(entry: Entry) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Run an entry's program; yields the addresses from which something else holds, and what, as `State.row` has it."""
    machine = _Machine(entry)
    for address, _ in machine.run(entry.common.program):
        if address != entry.begin:
            raise ElfError("a common entry's program moves on")
    machine.initial = machine.state.copy()
    mark = SIGNAL if entry.common.is_signal else 0
    last: tuple[int, ...] = ()
    for number, (address, state) in enumerate(machine.run(entry.program)):
        row = state.row()
        row = (row[0] | mark, *row[1:])
        if number >= ROWS_AT_MOST or address >= entry.end:
            return
        if row != last:
            yield address, row
            last = row


class _Machine:
    """Runs call frame programs."""

    def __init__(self, entry: Entry) -> None:
        self.state, self.initial = State(), State()
        self._entry, self._address = entry, entry.begin
        self._saved: list[State] = []

    def run(self, program: bytes) -> Iterator[tuple[int, State]]:
        """Yield each address at which a state was complete, with it; the last one at the end."""
        reader, common = Reader(program, 0, len(program)), self._entry.common
        while reader.at < len(program):
            code = reader.unsigned(1)
            low = code & 63
            match code >> 6:
                case 1:
                    yield from self._advance(low * common.code_factor)
                case 2:
                    self._set(low, Rule.AT_CFA, reader.uleb() * common.data_factor)
                case 3:
                    self._restore(low)
                case _:
                    yield from self._extended(low, reader)
        yield self._address, self.state

    def _advance(self, size: int) -> Iterator[tuple[int, State]]:
        yield self._address, self.state
        self._address += size

    def _extended(self, code: int, reader: Reader) -> Iterator[tuple[int, State]]:
        factor = self._entry.common.data_factor
        match code:
            case 0x00:  # nop
                pass
            case 0x01:  # set_loc
                yield self._address, self.state
                self._address = reader.pointer(self._entry.common.encoding & 15, 0)
            case 0x02 | 0x03 | 0x04:  # advance_loc1, 2, 4
                yield from self._advance(reader.unsigned(1 << (code - 2)) * self._entry.common.code_factor)
            case 0x05:  # offset_extended
                self._set(reader.uleb(), Rule.AT_CFA, reader.uleb() * factor)
            case 0x06:  # restore_extended
                self._restore(reader.uleb())
            case 0x07:  # undefined
                self._set(reader.uleb(), Rule.UNDEFINED)
            case 0x08:  # same_value
                self._set(reader.uleb(), Rule.SAME)
            case 0x09:  # register
                register, other = reader.uleb(), reader.uleb()
                self._set(register, Rule.IN_DI if (register, other) == (RETURN, RDI) else Rule.OTHER)
            case 0x0A:  # remember_state
                if len(self._saved) >= 64:
                    raise ElfError("a frame program remembers without end")
                self._saved.append(self.state.copy())
            case 0x0B:  # restore_state
                if not self._saved:
                    raise ElfError("a frame program restores what it did not remember")
                self.state = self._saved.pop()
            case 0x0C:  # def_cfa
                self._define(reader.uleb(), reader.uleb())
            case 0x0D:  # def_cfa_register
                self._define(reader.uleb(), self.state.cfa[1])
            case 0x0E:  # def_cfa_offset
                self._define(self.state.base, reader.uleb())
            case 0x0F:  # def_cfa_expression
                self.state.cfa = _cfa(reader.bytes(reader.uleb()))
            case 0x10:  # expression
                self._set(reader.uleb(), *_rule(reader.bytes(reader.uleb())))
            case 0x11:  # offset_extended_sf
                self._set(reader.uleb(), Rule.AT_CFA, reader.sleb() * factor)
            case 0x12:  # def_cfa_sf
                self._define(reader.uleb(), reader.sleb() * factor)
            case 0x13:  # def_cfa_offset_sf
                self._define(self.state.base, reader.sleb() * factor)
            case 0x14 | 0x15:  # val_offset, val_offset_sf
                self._set(reader.uleb(), Rule.OTHER)
                reader.uleb()
            case 0x16:  # val_expression
                self._set(reader.uleb(), Rule.OTHER)
                reader.bytes(reader.uleb())
            case 0x2E:  # GNU_args_size
                reader.uleb()
            case _:
                raise ElfError(f"there is no frame instruction {code:#x}")

    def _set(self, register: int, rule: Rule, offset: int = 0) -> None:
        if register in (RETURN, RBP, RBX):
            self.state.rules[register] = (rule, offset)

    def _restore(self, register: int) -> None:
        if register in self.initial.rules:
            self.state.rules[register] = self.initial.rules[register]
        else:
            self.state.rules.pop(register, None)

    def _define(self, register: int, offset: int) -> None:
        self.state.base = register
        self.state.cfa = (CFA_OF.get(register, Cfa.OTHER), offset)


def _cfa(expression: bytes) -> tuple[int, int]:
    """Return how an expression gives the CFA."""
    if len(expression) == len(PLT):
        literal = expression[PLT_LITERAL_AT]
        if expression == PLT[:PLT_LITERAL_AT] + bytes([literal]) + PLT[PLT_LITERAL_AT + 1 :]:
            return Cfa.PLT, literal - LIT0
    register, offset, rest = _based(expression)
    if rest == bytes([OP_DEREF]) and register in CFA_AT:
        return CFA_AT[register], offset
    return Cfa.OTHER, 0


def _rule(expression: bytes) -> tuple[Rule, int]:
    """Return the rule that an expression, whose value is the address of a register's old value, amounts to."""
    register, offset, rest = _based(expression)
    return (RULE_AT[register], offset) if not rest and register in RULE_AT else (Rule.OTHER, 0)


def _based(expression: bytes) -> tuple[int, int, bytes]:
    """Read an expression that begins with a register and an offset; the register is −1 where it does not."""
    if not expression or not OP_BREG0 <= expression[0] < OP_BREG0 + 32:
        return -1, 0, expression
    reader = Reader(expression, 1, len(expression))
    offset = reader.sleb()
    return expression[0] - OP_BREG0, offset, expression[reader.at :]
