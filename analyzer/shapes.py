"""What a recording's values must look like: sound checksums do not make sense of nonsense.

A recording may come from a stranger. Everything that the analyzer takes out of msgpack blocks is held against a shape first,
so that nothing behind it meets a missing key, a text for a number, or a number that no clock and no kernel can have given.
"""

import re
from collections.abc import Mapping
from typing import Any

from offwake.errors import DamagedRecording

__all__ = [
    "CPUS_AT_MOST",
    "EVENTS",
    "FOOTER",
    "LATEST_NS",
    "SNAPSHOT",
    "SYMBOLS",
    "TICK",
    "UNWIND",
    "require",
    "require_clocks",
    "require_keyframe",
    "require_tick",
    "require_time",
]

MOST = 1 << 64
LATEST_NS = 1 << 62
CPUS_AT_MOST = 8192  # NR_CPUS_RANGE_END on x86-64
PAYLOAD_AT_MOST = 65536
NUMPY_TYPE = re.compile(r"<[iu][248]|[iu]1|[SV][1-9]\d{0,3}")

_FUNCTION = [int, int, str]
_TICK_ROW = [int, int, int]

_CGROUPS = ([str, (int,)],)

_NS_PIDS = ([int, int],)

_COUNTED = ({"name": str, "source": str, "size": int, "fields": ([str, str, int],)},)

_PAIRS = ({"first": str, "second": str, "by": (str,)},)

EVENTS: Any = ({"id": int, "name": str, "sample_type": int},)

_KEYFRAME: dict[str, Any] = {
    "version": str,
    "host": str,
    "kernel": str,
    "command": (str,),
    "cpus": (int,),
    "clocks": {"monotonic_ns": int, "realtime_ns": int},
    "began_ns": int,
    "recorder_pid": int,
    "events": EVENTS,
    "kinds": ({"id": int, "name": str, "source": str, "size": int, "fields": ([str, str, int],)},),
    "sources": (str,),
    "unavailable": {str: str},
    "files": ([str, bytes],),
    "mappings": ([int, int, int, int, int],),
    "threads": ([int, int, str, str, object, int, object],),
    "devices": {str: str},
}
"""A list in a shape has these items, a tuple any number of its one item, a type as a key any number of such keys."""

_NARROWING = {"pids": (int,), "tids": (int,), "cgroups": (str,), "members": (int,), "command": bool, "wakers": bool}
_EVERYTHING = {"pids": [], "tids": [], "cgroups": [], "members": [], "command": False, "wakers": True}

TICK: dict[str, Any] = {"time_ns": int, "counters": {int: {int: _TICK_ROW}}, "recursion_misses": {str: int}}

_CPU_GAPS = ([int, int, int, str],)

_GROWN = {str: {str: int}}

_PROBED = ([str, str, int, int, str],)

_ENUMS = {str: {int: str}}

_CLOCKS = {"monotonic_ns": int, "boottime_ns": int, "realtime_ns": int}

FOOTER: dict[str, Any] = {
    "ended_ns": int,
    "reason": str,
    "lost_by_cause": {str: int},
    "own_cpu_ns": int,
    "own_bytes": int,
    "own_device": {str: str},
    "peak_memory_bytes": int,
}
"""What is read of it; older recordings lack some of it."""

SNAPSHOT: dict[str, Any] = {"cgroups": _CGROUPS, "listeners": (int,), "ns_pids": _NS_PIDS}
"""What is read of it; older recordings lack some of it."""

SYMBOLS: dict[str, Any] = {
    "kernel": ([int, int, str, str],),
    "files": ([str, bytes, (_FUNCTION,)],),
    "jit": ([int, (_FUNCTION,)],),
}

UNWIND: dict[str, Any] = {"files": ([str, bytes, bytes, bytes],)}

_ADDRESSES = {"local4": "<u4", "remote4": "<u4", "local6": "V16", "remote6": "V16"}
_ENDPOINTS = _ADDRESSES | {"family": "<u2", "local_port": "<u2", "remote_port_be": "<u2"}
_SOCKET = {"tid": "<u4", "socket": "<u8"}
_OF_SOCKET = {"socket": "<u8"} | _ENDPOINTS
_RECEIVING = dict.fromkeys(("rcv_space", "rcv_buffer", "rcv_queued"), "<u4")
_REQUEST = {"tid": "<u4", "request": "<u8"}

_FIELDS = {
    "sched_switch": {"flags": "<u2", "prev": "<u4", "prev_tgid": "<u4", "next": "<u4", "state": "<u4"},
    "sched_waking": {"waker": "<u4", "target": "<u4", "target_tgid": "<u4"},
    "sched_wakeup_new": {"waker": "<u4", "target": "<u4", "target_tgid": "<u4", "comm": "S16"},
    "python_code": {"code": "<u8", "function": "S64", "file": "S128"},
    "cpu_sample_whole": {"tgid": "<u4", "tid": "<u4"},
    "block_io_start": _REQUEST,
    "block_rq_insert": _REQUEST,
    "block_rq_issue": _REQUEST | dict.fromkeys(("bytes", "command", "major", "minor"), "<u4") | {"sector": "<u8"},
    "block_rq_requeue": _REQUEST,
    "block_rq_complete": {"request": "<u8", "bytes": "<u4"},
    "dns_lookup": {"tid": "<u4", "latency_ns": "<u8", "failed": "u1", "host": "S255"},
    "tcp_state": _SOCKET
    | _ENDPOINTS
    | {"old_state": "<u4", "new_state": "<u4", "bytes_acked": "<u8", "bytes_received": "<u8"},
    "tcp_first_send": _SOCKET | _ENDPOINTS,
    "tcp_first_receive": _SOCKET | _ENDPOINTS,
    "tcp_data_ready": _SOCKET | _ENDPOINTS,
    "tcp_retransmit": _SOCKET,
    "tcp_retransmit_synack": _SOCKET | _ENDPOINTS,
    "tcp_send_reset": _SOCKET,
    "tcp_receive_reset": _SOCKET,
    "tcp_destroy": _SOCKET,
    "tcp_rtt": _OF_SOCKET | _RECEIVING | dict.fromkeys(("srtt_8us", "snd_cwnd", "ssthresh", "snd_wnd", "rcv_wnd"), "<u4"),
    "tcp_rcv_space": _OF_SOCKET | _RECEIVING,
    "buffer_limit": _OF_SOCKET,
    "tcp_send": _SOCKET | {"length": "<u4"},
    "tcp_receive": _SOCKET | {"length": "<u4"},
    "tcp_drop": {"socket": "<u8", "reason": "<u4", "length": "<u4", "source": "V16", "destination": "V16", "family": "<u2"}
    | {"source_port_be": "<u2", "destination_port_be": "<u2", "state": "u1", "tcp_flags": "u1"},
    "tcp_error": _OF_SOCKET | {"error": "<u4"},
    "net_to_tcp": _OF_SOCKET | {"latency_ns": "<u8"},
    "net_to_reader": _OF_SOCKET | {"latency_ns": "<u8"},
    "net_to_queue": _OF_SOCKET | {"latency_ns": "<u8"},
    "net_to_driver": _OF_SOCKET | {"latency_ns": "<u8", "packet": "<u8"},
    "net_to_wire": {"latency_ns": "<u8", "packet": "<u8"},
}
"""What the analyzer reads of the kinds that it knows; what else a recording has, it keeps and does not read."""

FUNCTIONS, TIMES = "functions_", "times"
_COUNTED_FIELDS = {
    FUNCTIONS: {"function": "<u4", "tgid": "<u4", "count": "<u8"},
    "syscalls": dict.fromkeys(("tgid", "call", "power"), "<u4")
    | dict.fromkeys(("count", "total_ns", "errors", "max_ns"), "<u8"),
}
"""The same of maps in which programs added something up."""
_LATER = {
    "block_io_start": {"major": "<u4", "minor": "<u4"},
    "tcp_retransmit": _ENDPOINTS | {"segments": "<u2", "state": "u1"},
    FUNCTIONS: {"power": "<u4"},
    TIMES: dict.fromkeys(("total_ns", "squares_low", "squares_high"), "<u8"),
}
"""What it reads besides, of which older recordings have nothing."""


def require_keyframe(keyframe: Any, where: str) -> dict[str, Any]:
    """Return a keyframe that can be worked with. Raises DamagedRecording, naming the place, for any other."""
    require(keyframe, _KEYFRAME, where)
    cgroups = require(keyframe.get("cgroups", []), _CGROUPS, f"{where}.cgroups")  # older recordings have none
    narrowing = require(keyframe.get("narrowing", _EVERYTHING), _NARROWING, f"{where}.narrowing")
    helpers = require(keyframe.get("helper_pids", []), (int,), f"{where}.helper_pids")
    require(keyframe.get("min_block_ns", 0), int, f"{where}.min_block_ns")
    require_time(keyframe["began_ns"], f"{where}.began_ns")
    require_time(keyframe["clocks"]["monotonic_ns"], f"{where}.clocks.monotonic_ns")
    if max(keyframe["cpus"], default=0) >= CPUS_AT_MOST:
        raise DamagedRecording(f"{where}.cpus: there is no CPU {max(keyframe['cpus'])}")
    for index, (*_, file) in enumerate(keyframe["mappings"]):
        if file >= len(keyframe["files"]):
            raise DamagedRecording(f"{where}.mappings[{index}]: there is no file {file}")
    for index, (_, _, _, _, cpu, _, stack) in enumerate(keyframe["threads"]):
        if not isinstance(cpu, int):
            raise DamagedRecording(f"{where}.threads[{index}]: there is no CPU {cpu!r}")
        if stack is not None:
            require(stack, (str,), f"{where}.threads[{index}].stack")
    for kind in keyframe["kinds"]:
        _require_layout(kind, f"{where}.kinds.{kind['name']}")
        if kind.get("traced") and ["common_pid", "<i4"] not in [field[:2] for field in kind["fields"]]:
            raise DamagedRecording(f"{where}.kinds.{kind['name']}: a traced event has no common_pid")
        for string in require(kind.get("strings", []), (str,), f"{where}.kinds.{kind['name']}.strings"):
            if [string, "<u4"] not in [field[:2] for field in kind["fields"]]:
                raise DamagedRecording(f"{where}.kinds.{kind['name']}: no field says where {string} is")
    names, ids = ([kind[what] for kind in keyframe["kinds"]] for what in ("name", "id"))
    if len({*names, "cpu_sample", "lost"}) < len(names) + 2 or len(set(ids)) < len(ids):
        raise DamagedRecording(f"{where}.kinds: two kinds share a name or an id")
    ns_pids = require(keyframe.get("ns_pids", []), _NS_PIDS, f"{where}.ns_pids")
    pairs = require(keyframe.get("pairs", []), _PAIRS, f"{where}.pairs")
    counted = require(keyframe.get("counted", []), _COUNTED, f"{where}.counted")
    for one in counted:
        require(one.get("names", []), ([str, str],), f"{where}.counted.{one['name']}.names")
        _require_layout({"id": 1, **one}, f"{where}.counted.{one['name']}")
        needed = _COUNTED_FIELDS.get(one["name"], {"count": "<u8"})
        if one["name"].startswith(FUNCTIONS) or one.get("names"):
            needed = needed | _COUNTED_FIELDS[FUNCTIONS] | _later(FUNCTIONS, one) | _later(TIMES, one)
        _require_types(needed, one, f"{where}.counted.{one['name']}")
    for pair in pairs:
        for end in ("first", "second"):
            _require_fields(keyframe["kinds"], pair[end], pair["by"], f"{where}.pairs")
    enums = require(keyframe.get("enums", {}), _ENUMS, f"{where}.enums")
    probed = _require_probed(keyframe, where)
    read = {"probed": probed, "pairs": pairs, "counted": counted, "cgroups": cgroups, "narrowing": narrowing}
    read |= {"helper_pids": helpers, "ns_pids": ns_pids, "enums": enums}
    return {**keyframe, **read}


def require_tick(tick: Any, where: str) -> dict[str, Any]:
    """Return a TICK that can be worked with, with all that older recordings lack. Raises DamagedRecording for any other."""
    require(tick, TICK, where)
    for cpu, kinds in tick["counters"].items():
        for kind, row in kinds.items():
            for without_ring in row[3:4]:  # older recordings do not tell
                require(without_ring, int, f"{where}.counters.{cpu}.{kind}[3]")
    require_time(tick["time_ns"], f"{where}.time_ns")
    gaps = require(tick.get("cpu_gaps", []), _CPU_GAPS, f"{where}.cpu_gaps")
    for _, begin_ns, end_ns, _ in gaps:
        require_time(begin_ns, f"{where}.cpu_gaps")
        require_time(end_ns, f"{where}.cpu_gaps")
    if "clocks" in tick:
        require_clocks(tick["clocks"], f"{where}.clocks")
    ns_pids = require(tick.get("ns_pids", []), _NS_PIDS, f"{where}.ns_pids")
    grown = require(tick.get("grown", {}), _GROWN, f"{where}.grown")
    counted = require(tick.get("counted", {}), {str: bytes}, f"{where}.counted")
    probed = _require_probed(tick, where)
    return {**tick, "probed": probed, "cpu_gaps": gaps, "ns_pids": ns_pids, "grown": grown, "counted": counted}


def _require_probed(holder: dict[str, Any], where: str) -> Any:
    probed = require(holder.get("probed", []), _PROBED, f"{where}.probed")
    for _, _, *times_ns, _ in probed:
        for time_ns in times_ns:
            require_time(time_ns, f"{where}.probed")
    return probed


def require_clocks(clocks: Any, where: str) -> dict[str, int]:
    """Return what the three clocks showed together. Raises DamagedRecording where they cannot have."""
    for name, value in require(clocks, _CLOCKS, where).items():
        require_time(value, f"{where}.{name}")
    return dict(clocks)


def require_time(value: Any, where: str) -> int:
    """Return a time in nanoseconds that a clock can have shown."""
    if not isinstance(value, int) or not 0 <= value < LATEST_NS:
        raise DamagedRecording(f"{where}: {value!r} is no time")
    return value


def _require_layout(kind: dict[str, Any], where: str) -> None:
    if not 0 < kind["id"] < 0xFFFF or not 0 < kind["size"] <= PAYLOAD_AT_MOST:
        raise DamagedRecording(f"{where}: no event has the id {kind['id']} and {kind['size']} bytes")
    types = {}
    for name, numpy_type, offset in kind["fields"]:
        if not NUMPY_TYPE.fullmatch(numpy_type) or offset + int(numpy_type.lstrip("<iuSV")) > kind["size"]:
            raise DamagedRecording(f"{where}.{name}: no field is a {numpy_type} at {offset}")
        types[name] = numpy_type
    if not types or len(types) < len(kind["fields"]):
        raise DamagedRecording(f"{where}.fields: there are none, or two of one name")
    _require_types(_FIELDS.get(kind["name"], {}) | _later(kind["name"], kind), kind, where)


def _later(known: str, layout: dict[str, Any]) -> dict[str, str]:
    """Return what a layout must have of _LATER: all of it, or nothing."""
    later = _LATER.get(known, {})
    return {} if later.keys().isdisjoint(name for name, *_ in layout["fields"]) else later


def _require_types(wanted: dict[str, str], layout: dict[str, Any], where: str) -> None:
    types = {name: numpy_type for name, numpy_type, *_ in layout["fields"]}
    for name, numpy_type in wanted.items():
        if types.get(name) != numpy_type:
            raise DamagedRecording(f"{where}.{name}: {types.get(name)} instead of {numpy_type}")


def _require_fields(kinds: list[dict[str, Any]], name: str, by: list[str], where: str) -> None:
    traced = [kind for kind in kinds if kind["name"] == name and kind.get("traced")]
    there = {"cpu", "tid"}.union(*([field[0] for field in kind["fields"]] for kind in traced))
    if not traced or not by or not there.issuperset(by):
        raise DamagedRecording(f"{where}: {name} has no {' and '.join(by) or 'fields'} to belong together by")


def require(value: Any, shape: Any, where: str) -> Any:
    """Return the value if it has the shape. Raises DamagedRecording, naming the place, if it has not."""
    if isinstance(shape, dict):
        _is(value, Mapping, where)
        for key, part in shape.items():
            if isinstance(key, type):
                for name, item in value.items():
                    require(name, key, where)
                    require(item, part, f"{where}.{name}")
            elif key not in value:
                raise DamagedRecording(f"{where}: there is no {key}")
            else:
                require(value[key], part, f"{where}.{key}")
    elif isinstance(shape, tuple):
        _is(value, list, where)
        for index, item in enumerate(value):
            require(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, list):
        _is(value, list, where)
        if len(value) < len(shape):
            raise DamagedRecording(f"{where}: {len(value)} items instead of {len(shape)}")
        for index, (item, part) in enumerate(zip(value, shape, strict=False)):
            require(item, part, f"{where}[{index}]")
    else:
        _is(value, shape, where)
        if shape is int and not 0 <= value < MOST:
            raise DamagedRecording(f"{where}: {value} is out of range")
    return value


def _is(value: Any, kind: type, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DamagedRecording(f"{where}: {type(value).__name__} instead of {kind.__name__}")
