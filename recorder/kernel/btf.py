"""Where the members of kernel structs lie on the running kernel, read from its BTF.

No program of the recorder takes a layout from a header: a kernel's own BTF is the only description that is always right.
The format is documented in the kernel's Documentation/bpf/btf.rst.
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from offwake.errors import CannotRecord
from offwake.recorder.kernel.boot_cache import kept

__all__ = ["Btf", "MemberPath"]

VMLINUX = Path("/sys/kernel/btf/vmlinux")

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FUNC_PROTO = 1, 2, 3, 4, 5, 6, 13
TYPEDEF, FUNC, ENUM64 = 8, 12, 19
MODIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag
# Bytes that follow a type's 12-byte header: once, and for each of its elements.
TAIL = {INT: 4, ARRAY: 12, 14: 4, 17: 4}
ELEMENT = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, 15: 12, ENUM64: 12}

FUNCTIONS = ("bpf_rdonly_cast",)
"""Those that programs call by their numbers."""


@dataclass(frozen=True)
class MemberPath:
    """How to reach a member: follow the pointers at these offsets in turn, then read `size` bytes at `offset`."""

    pointers: tuple[int, ...]
    offset: int
    size: int


class Btf:
    """The running kernel's types. Raises CannotRecord where the kernel has no BTF."""

    def __init__(self, path: Path = VMLINUX) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CannotRecord(
                f"{path}: {error.strerror}; the kernel must be built with CONFIG_DEBUG_INFO_BTF, as every "
                "distribution's is since 2021"
            ) from error
        _, _, _, header, types_at, types_length, strings_at, strings_length = struct.unpack_from("<HBBIIIII", data)
        self._types = memoryview(data)[header + types_at : header + types_at + types_length]
        self._strings = data[header + strings_at : header + strings_at + strings_length]
        self._index(path)

    def member(self, path: str) -> MemberPath:
        """Resolve a path such as `request.q.disk.major`: a struct's name, then members, through pointers too.

        A member followed by a struct's name, as in `sk_buff.cb(tcp_skb_cb).seq`, holds that struct, or points to
        one. Raises KeyError with the part that this kernel does not have.
        """
        struct_name, *names = path.split(".")
        type_id, base, pointers = self.struct(struct_name), 0, []
        for part in names:
            name, _, held = part.rstrip(")").partition("(")
            kind, _, target = self._resolved(type_id)
            if kind == PTR:
                pointers.append(base)
                base, type_id = 0, target
            for member, member_type, at in self._members(type_id):
                if member == name:
                    base, type_id = base + at, member_type
                    break
            else:
                raise KeyError(f"this kernel has no {name} in {path}")
            if held:
                if self._resolved(type_id)[0] == PTR:
                    pointers.append(base)
                    base = 0
                type_id = self.struct(held)
        return MemberPath(tuple(pointers), base, self._size(type_id))

    def has_member(self, path: str) -> bool:
        """Tell whether this kernel has a member."""
        try:
            self.member(path)
        except KeyError:
            return False
        return True

    def function(self, name: str) -> int:
        """Return the number of one of FUNCTIONS. Raises KeyError where this kernel has none of the name."""
        return self._named(name, FUNC)

    def struct(self, name: str) -> int:
        """Return the number of a struct. Raises KeyError where this kernel has none of the name."""
        return self._named(name, STRUCT)

    def enum(self, name: str) -> dict[str, int]:
        """Return the values of an enumeration of up to 32 bits, by their names. Raises KeyError where there is none."""
        type_id = self._named(name, ENUM)
        at, count = self._starts[type_id] + 12, self._header(type_id)[1]
        pairs = (struct.unpack_from("<II", self._types, at + 8 * index) for index in range(count))
        return {self._string(text): value for text, value in pairs}

    def tracepoint_arguments(self, name: str) -> list[str]:
        """Name the types of a raw tracepoint's arguments: a struct's name for a pointer to it, else its size in bytes.

        The kernel declares each as `typedef void (*btf_trace_NAME)(void *, …)`. Raises KeyError where there is none.
        """
        try:
            _, _, pointer = self._header(self._named(f"btf_trace_{name}", TYPEDEF))
        except KeyError:
            raise KeyError(f"this kernel has no tracepoint {name}") from None
        _, _, proto = self._resolved(pointer)
        at, (_, info, _) = self._starts[proto] + 12, self._raw_header(proto)
        types = [struct.unpack_from("<II", self._types, at + 8 * index)[1] for index in range(info & 0xFFFF)]
        return [self._describe(type_id) for type_id in types[1:]]

    def begins_with(self, struct_name: str, other: str) -> bool:
        """Tell whether a pointer to the one struct may be one to the other: they are the same, or it lies at its beginning.

        So a `sock` may be that of a `tcp_sock`. Raises KeyError where this kernel has no such struct.
        """
        kind, type_id = STRUCT, self.struct(struct_name)
        while kind == STRUCT:
            if self._string(self._raw_header(type_id)[0]) == other:
                return True
            type_id = next((self._unmodified(member) for _, member, at in self._members(type_id) if not at), 0)
            kind = self._header(type_id)[0] if type_id else 0
        return False

    def has_tracepoint(self, name: str) -> bool:
        """Tell whether the kernel has a tracepoint."""
        try:
            self.tracepoint_arguments(name)
        except KeyError:
            return False
        return True

    def _describe(self, type_id: int) -> str:
        kind, _, target = self._resolved(type_id)
        if kind == PTR and target:
            name = self._raw_header(self._unmodified(target))[0]
            return self._string(name)
        return str(self._size(type_id))

    def _index(self, path: Path) -> None:
        """Note where each type begins, by its id; and the ids of those that are asked for by name.

        There are more than a hundred thousand, and they are the same until the next boot.
        """
        what = f"where types begin, and the numbers of {FUNCTIONS}"
        numbers = array("I", kept(what, self._scanned) if path == VMLINUX else self._scanned())
        self._starts, named = numbers[1 : 1 + numbers[0]], iter(numbers[1 + numbers[0] :])
        self._ids = {(kind, name): type_id for kind, name, type_id in zip(named, named, named, strict=True)}

    def _scanned(self) -> bytes:
        starts, ids, at, unpack = [0], dict[tuple[int, int], int](), 0, struct.Struct("<II").unpack_from
        tail, element, types = TAIL, ELEMENT, self._types
        functions, end = {self._place(name) for name in FUNCTIONS}, len(types)
        while at < end:
            name, info = unpack(types, at)
            kind = info >> 24 & 31
            if name and (kind == STRUCT or kind == TYPEDEF or kind == ENUM or (kind == FUNC and name in functions)):
                ids.setdefault((kind, name), len(starts))
            starts.append(at)
            at += 12 + tail.get(kind, 0) + element.get(kind, 0) * (info & 0xFFFF)
        named = (number for (kind, name), type_id in ids.items() for number in (kind, name, type_id))
        return array("I", [len(starts), *starts, *named]).tobytes()

    def _raw_header(self, type_id: int) -> tuple[int, int, int]:
        name, info, size_or_type = struct.unpack_from("<III", self._types, self._starts[type_id])
        return name, info, size_or_type

    def _header(self, type_id: int) -> tuple[int, int, int]:
        """Return a type's kind, element count, and size or target type."""
        _, info, size_or_type = self._raw_header(type_id)
        return (info >> 24) & 31, info & 0xFFFF, size_or_type

    def _unmodified(self, type_id: int) -> int:
        while type_id and self._header(type_id)[0] in MODIFIERS:
            type_id = self._header(type_id)[2]
        return type_id

    def _resolved(self, type_id: int) -> tuple[int, int, int]:
        return self._header(self._unmodified(type_id))

    def _string(self, at: int) -> str:
        return self._strings[at : self._strings.index(b"\0", at)].decode()

    def _place(self, name: str) -> int:
        return self._strings.find(b"\0" + name.encode() + b"\0") + 1

    def _named(self, name: str, wanted: int) -> int:
        at = self._place(name)
        if at and (wanted, at) in self._ids:
            return self._ids[wanted, at]
        raise KeyError(f"this kernel has no {name}")

    def _members(self, type_id: int, base: int = 0) -> Iterator[tuple[str, int, int]]:
        """Yield (name, type id, byte offset), those of anonymous members included."""
        type_id = self._unmodified(type_id)
        _, info, _ = self._raw_header(type_id)
        if (info >> 24) & 31 not in (STRUCT, UNION):
            return
        for index in range(info & 0xFFFF):
            name, member, place = struct.unpack_from("<III", self._types, self._starts[type_id] + 12 + 12 * index)
            at = base + (place & 0xFFFFFF if info >> 31 else place) // 8
            if name:
                yield self._string(name), member, at
            else:
                yield from self._members(member, at)

    def _size(self, type_id: int) -> int:
        type_id = self._unmodified(type_id)
        kind, _, size = self._header(type_id)
        if kind == PTR:
            return 8
        if kind == ARRAY:
            element, _, count = struct.unpack_from("<III", self._types, self._starts[type_id] + 12)
            return self._size(element) * int(count)
        return size
