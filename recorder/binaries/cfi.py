"""Call frame information: what DWARF says of where a caller's registers are, function by function.

A function's entry (FDE) is a small program, to be run up to an instruction's address; here it is run to its end, and every
state that it goes through becomes a row. Only what is needed to find callers is followed: the canonical frame address, the
return address, the frame pointer and rbx. Sources: DWARF 5, section 6.4; the Linux Standard Base, 10.6 (.eh_frame).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from offwake.format.stacks import SIGNAL, Cfa, Rule
from offwake.recorder.binaries.elf import ElfError
from offwake.recorder.binaries.octets import Octets

__all__ = ["Common", "Entry", "Reader", "Section", "State", "entries", "entry_at", "state_at", "states"]

# DWARF's numbers of x86-64's registers (System V ABI, figure 3.36).
RBX, RDI, RBP, RSP, RETURN = 3, 5, 6, 7, 16
CFA_OF = {RSP: Cfa.SP, RBP: Cfa.FP, RBX: Cfa.BX}
CFA_AT = {RSP: Cfa.AT_SP, RBP: Cfa.AT_FP}
RULE_AT = {RSP: Rule.AT_SP, RBP: Rule.AT_FP}
OP_BREG0, OP_DEREF = 0x70, 0x06
PLT = bytes.fromhex("77 08 80 00 3f 1a 3b 2a 33 24 22")
"""breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus: RSP + 8, and 8 more from the 11th byte of an entry on."""
UNCHANGED = (Rule.SAME, 0)
PLT_LITERAL_AT, LIT0 = 6, 0x30
ROWS_AT_MOST, COMMON_AT_MOST = 1 << 14, 32
OFFSETS = 1 << 31
NUMBER_BITS = 70
WIDE = 0xFFFFFFFF
ENTRY_AT_MOST = 1 << 18  # bytes; those of compilers have some thousand

Section = tuple[int, Octets]
"""A section's address, and its bytes."""


class Reader:
    """Numbers out of bytes that lie at an address, one after the other. Raises ElfError where they end."""

    def __init__(self, data: bytes, address: int = 0) -> None:
        self._data, self._address, self.at, self.end = data, address, 0, len(data)

    def byte(self) -> int:
        """Return the next byte."""
        if self.at >= self.end:
            raise ElfError(f"call frame information ends at {self.at}")
        self.at += 1
        return self._data[self.at - 1]

    def unsigned(self, size: int) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        """Return a little-endian number in two's complement."""
        return int.from_bytes(self.take(size), "little", signed=True)

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if size > self.end - self.at:
            raise ElfError(f"call frame information ends at {self.at}")
        self.at += size
        return self._data[self.at - size : self.at]

    def rest(self) -> bytes:
        """Return the bytes that are left."""
        return self.take(self.end - self.at)

    def uleb(self) -> int:
        """Return an unsigned LEB128 number."""
        value = 0
        for shift in range(0, NUMBER_BITS, 7):
            byte = self.byte()
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
        stop = self._data.find(b"\0", self.at, self.end)
        text = self.take(max(stop, self.at) - self.at)
        self.at += 1
        return text.decode("latin-1")

    def pointer(self, encoding: int) -> int:
        """Return a pointer in one of .eh_frame's encodings."""
        here = self._address + self.at
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
class _Record:
    """What has a length before it: where it begins in its section, what it is, whether it is in DWARF's 64-bit form."""

    begin: int
    reader: Reader
    is_wide: bool


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

    def row(self, is_signal: bool) -> tuple[int, ...]:
        """Return the row of format.stacks.ROW, without its start."""
        cfa, at = self.cfa
        returns, returns_at = self.rules.get(RETURN, UNCHANGED)
        frame, frame_at = self.rules.get(RBP, UNCHANGED)
        base, base_at = self.rules.get(RBX, UNCHANGED)
        mark = SIGNAL if is_signal else 0
        if min(at, returns_at, frame_at, base_at) < -OFFSETS or max(at, returns_at, frame_at, base_at) >= OFFSETS:
            return Cfa.OTHER | mark, Rule.OTHER, Rule.OTHER, Rule.OTHER, 0, 0, 0, 0
        return cfa | mark, returns, frame, base, at, returns_at, frame_at, base_at


def entry_at(section: Section, at: int, is_eh: bool, known: dict[int, Common]) -> Entry | None:
    """Read the FDE at an offset of a section; None for a CIE. `known` keeps CIEs by offset."""
    return _entry(section, _record(section, at), is_eh, known)


def _entry(section: Section, record: _Record, is_eh: bool, known: dict[int, Common]) -> Entry | None:
    reader, wide = record.reader, record.is_wide
    pointer = reader.unsigned(8 if wide else 4)
    if pointer == (0 if is_eh else (1 << (64 if wide else 32)) - 1):
        return None
    common_at = record.begin - pointer if is_eh else pointer
    if common_at not in known:
        if len(known) >= COMMON_AT_MOST:  # compilers write one or two
            known.clear()
        known[common_at] = _common(section, common_at)
    common = known[common_at]
    begin = reader.pointer(common.encoding)
    length = reader.pointer(common.encoding & 15)
    if common.has_augmentation:
        reader.take(reader.uleb())
    return Entry(begin, begin + length, common, reader.rest())


def entries(section: Section, is_eh: bool) -> Iterator[Entry]:
    """Yield all FDEs of an .eh_frame (`is_eh`) or .debug_frame section, as far as they can be read."""
    known: dict[int, Common] = {}
    at = 0
    while at + 4 <= section[1].size:
        record = _record(section, at)
        at = record.begin + record.reader.end
        if not record.reader.end:  # .eh_frame ends so
            return
        entry = _entry(section, record, is_eh, known)
        if entry:
            yield entry


def _record(section: Section, at: int) -> _Record:
    address, octets = section
    if not 0 <= at < octets.size:
        raise ElfError(f"there is no frame entry at {at}")
    head = Reader(octets.read(at, 12))
    length = head.unsigned(4)
    if wide := length == WIDE:
        length = head.unsigned(8)
    if length > ENTRY_AT_MOST:
        raise ElfError(f"a frame entry at {at} has {length} bytes")
    at += head.at
    body = octets.read(at, length)
    if len(body) < length:
        raise ElfError(f"a frame entry at {at} is longer than its section")
    return _Record(at, Reader(body, address + at), wide)


def _common(section: Section, at: int) -> Common:
    record = _record(section, at)
    reader = record.reader
    reader.take(8 if record.is_wide else 4)
    version, augmentation = reader.unsigned(1), reader.text()
    if version == 4:
        reader.take(2)  # sizes of addresses and of segment selectors
    code_factor, data_factor = reader.uleb(), reader.sleb()
    if version == 1:
        reader.take(1)
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
                reader.pointer(reader.unsigned(1) & 15)
            elif letter == "L":
                reader.take(1)
            elif letter not in "SB":
                break
        reader.at = after
    elif augmentation:
        raise ElfError(f"augmentation {augmentation!r} is not known")
    return Common(code_factor, data_factor, encoding, "S" in augmentation, augmentation.startswith("z"), reader.rest())


def states(entry: Entry) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Run an entry's program; yields the addresses from which something else holds, and what, as `State.row` has it."""
    last: tuple[int, ...] = ()
    for address, _, state in _run(entry):
        row = state.row(entry.common.is_signal)
        if address >= entry.end:
            return
        if row != last:
            yield address, row
            last = row


def state_at(entry: Entry, address: int) -> tuple[int, ...] | None:
    """Run an entry's program up to an address; returns what holds there, as `State.row` has it."""
    for begin, end, state in _run(entry):
        if begin <= address < end:
            return state.row(entry.common.is_signal)
    return None


def _run(entry: Entry) -> Iterator[tuple[int, int, State]]:
    machine = _Machine(entry)
    for address, _, _ in machine.run(entry.common.program):
        if address != entry.begin:
            raise ElfError("a common entry's program moves on")
    machine.initial = machine.state.copy()
    return islice(machine.run(entry.program), ROWS_AT_MOST)


class _Machine:
    """Runs call frame programs."""

    def __init__(self, entry: Entry) -> None:
        self.state, self.initial = State(), State()
        self._entry, self._address = entry, entry.begin
        self._saved: list[State] = []

    def run(self, program: bytes) -> Iterator[tuple[int, int, State]]:
        """Yield from where up to where a state holds, and the state, when it is complete."""
        reader, common = Reader(program), self._entry.common
        while reader.at < len(program):
            code = reader.byte()
            low = code & 63
            match code >> 6:
                case 1:
                    yield from self._advance(self._address + low * common.code_factor)
                case 2:
                    self._set(low, Rule.AT_CFA, reader.uleb() * common.data_factor)
                case 3:
                    self._restore(low)
                case _:
                    yield from self._extended(low, reader)
        yield self._address, self._entry.end, self.state

    def _advance(self, address: int) -> Iterator[tuple[int, int, State]]:
        yield self._address, address, self.state
        self._address = address

    def _extended(self, code: int, reader: Reader) -> Iterator[tuple[int, int, State]]:
        factor = self._entry.common.data_factor
        match code:
            case 0x00:  # nop
                pass
            case 0x01:  # set_loc
                yield from self._advance(reader.pointer(self._entry.common.encoding & 15))
            case 0x02 | 0x03 | 0x04:  # advance_loc1, 2, 4
                size = reader.unsigned(1 << (code - 2)) * self._entry.common.code_factor
                yield from self._advance(self._address + size)
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
                self.state.cfa = _cfa(reader.take(reader.uleb()))
            case 0x10:  # expression
                self._set(reader.uleb(), *_rule(reader.take(reader.uleb())))
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
                reader.take(reader.uleb())
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
    reader = Reader(expression[1:])
    offset = reader.sleb()
    return expression[0] - OP_BREG0, offset, reader.rest()
