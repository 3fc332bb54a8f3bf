"""What the columns of all data mean."""

from __future__ import annotations

from collections.abc import Iterable

_PARTS = {
    "client": "encoding and decoding in the client, and what else is not the round trip",
    "network": "the round trip less the server's parts",
    "queue": "the wait for a worker",
    "input": "decoding of the event on the server",
    "compute": "the reconstruction on the server",
    "output": "encoding of the result on the server; by Triton's statistics also its sending",
    "total": "all parts together",
    "client_send": "sending, by perf_analyzer",
    "client_recv": "receiving, by perf_analyzer",
    "sum": "the sum of the parts",
    "outside": "the time of an event by a clock outside of the client",
}
_PERCENTILES = {50: "median", 90: "90 %", 95: "95 %", 99: "99 %"}

COLUMNS = {
    "tracker": "name of the tracker",
    "sample": "name of the events: puN is simulated ttbar with a mean pile-up of N",
    "what": "kind of measurement, in studies that have several",
    "way": "the way in which events are reconstructed",
    "backend": "backend of the server",
    "transport": "transport of the client",
    "threads": "number of threads that have one event each",
    "beside": "threads of the direct way that a way is compared with",
    "in_flight": "number of requests in flight; missing: the client finds it",
    "per_request": "events in a request",
    "instances": "number of instances of the model",
    "kind": "kind of server, by what an instance does",
    "devices": "number of devices, or of cores that the server may use",
    "generator": "what makes the load",
    "rtt_ms": "round trip that the proxy adds, ms",
    "jobs": "number of client jobs",
    "start": "when jobs start: all at once with the same event, or each at its own time",
    "rest": "the rest of an event: work of a processor, or waits in its place (emulated)",
    "rest_ms": "mean time of the rest of an event, ms",
    "host_ms": "time of the host of an emulated device for an event, ms",
    "device_ms": "time of an emulated device for an event, ms",
    "slowest_per_s": "events per second of the slowest job",
    "module": "module of a job, of which this is a piece of the timeline",
    "event": "place or number of the event",
    "thread": "thread of the job; -1: elsewhere",
    "begin_ms": "when a piece of the timeline began, by a clock of the machine, ms",
    "emulated": "1 if it was a wait in place of work",
    "n": "number of threads or processes; of steps in ACTS, place of the event in the sample",
    "direction": "events in, or results out",
    "codec": "lossless codec",
    "variant": "configuration or model of the tracker",
    "size": "mean size of an event, in the tracker's unit: 32-bit words or space points",
    "unit": "unit of the size of an event",
    "stage": "stage of the pipeline; all: all of them",
    "step": "step of packing, or of a chain of ACTS",
    "ms": "time of an event, ms",
    "processor_ms": "processor time of an event, ms",
    "ns_per_unit": "time of an event over its size, ns",
    "events_per_s": "answered events per second",
    "answered": "number of events in the measurement",
    "different": "number of answers that differ from the direct ones in any bit",
    "output_MB_per_s": "bytes of results per second, 10^6",
    "client_cores": "processors that the client's process kept busy",
    "server_cores": "processors that the server's processes kept busy",
    "utilisation": "share of the time in which a GPU ran a kernel; without a GPU the processor "
    "time of the server over that of all cores",
    "mean_in_flight": "mean number of events in flight: throughput times mean latency",
    "most_per_s": "events per second that the devices can do",
    "uneven": "work of the most loaded device over the mean, less 1",
    "input_bytes": "mean bytes of an event's tensors",
    "output_bytes": "mean bytes of a result, as our clients ask for it",
    "bytes_left": "share of the bytes that a codec leaves",
    "compress_MB_per_s": "speed of compression, 10^6 bytes per second",
    "decompress_MB_per_s": "speed of decompression, 10^6 bytes per second",
    "pays_below_MB_per_s": "bandwidth below which the codec saves time, 10^6 bytes per second",
    "MB_between": "bytes that the stages of an ensemble pass on for an event, 10^6",
    "source": "meter of the energy",
    "watts": "mean power, W",
    "J_per_event": "energy of an event, J",
    "busy_cores": "processors that client and server kept busy",
    "idle_share": "share of the time of all cores that client and server left",
    "gpu_busy": "share of the time in which the GPU ran a kernel",
    "heading": "kind of a quantity of physics",
    "quantity": "quantity of physics",
    "text": "value with its error, as text",
    "value": "value of a quantity",
    "error": "statistical error of the value, 68 %",
    "of": "number of objects that the value is of",
    **{f"p{p}_ms": f"latency of an event, {text}, ms" for p, text in _PERCENTILES.items()},
    **{f"{part}_ms": f"{text}, ms" for part, text in _PARTS.items()},
    "round": "number of the round, from 1",
    "seconds": "time of the measurement, s",
    "load": "load average of the machine before the measurement",
    "steal": "share of the processors' time that the hypervisor took meanwhile",
    "others": "processors that programs of others kept busy meanwhile",
}
"""Meaning of each column, by name, with its unit."""
_ONE = "one_"
"""Before the name of a column: with one event in flight."""


def meanings(names: Iterable[str]) -> dict[str, str]:
    """The meanings of columns; a name that is not known is an error (KeyError)."""
    found = {}
    for name in names:
        plain = name.removeprefix(_ONE)
        found[name] = COLUMNS[plain] + (", one event in flight" if plain != name else "")
    return found
