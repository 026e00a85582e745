"""The venue's state in the text format of Prometheus, 0.0.4."""

from .shapes import Status

_GAUGES = {
    "slot": "Number of the last slot.",
    "slot_time": "Time of the last slot, milliseconds since 1970.",
    "batch": "Number of the batch in work.",
    "unanchored": "Batches sealed and not anchored.",
    "resting_orders": "Orders in all books.",
    "accounts": "Accounts of users.",
    "insurance": "Insurance, quanta.",
    "fees": "Fees held for the venue, quanta.",
    "waiting_commands": "Commands of the gateway that wait for a slot.",
    "connections": "Open WebSockets.",
}


def metrics(status: Status) -> bytes:
    """What a scraper gets."""
    told = [_told(name, "gauge", text, [("", getattr(status, name))]) for name, text in _GAUGES.items()]
    told.append(_told("waits", "gauge", "1 while no slot is carried out.", [("", int(bool(status.waits)))]))
    told.append(
        _told("commands_total", "counter", "Commands answered since the start.", [("", status.commands)])
    )
    quantiles = [
        ('{quantile="0.5"}', status.latency.p50),
        ('{quantile="0.99"}', status.latency.p99),
        ('{quantile="1"}', status.latency.max),
    ]
    what = "From a slot's cut to its outcome, microseconds, of the last slots."
    told.append(_told("slot_microseconds", "gauge", what, quantiles))
    return "".join(told).encode()


def _told(name: str, kind: str, text: str, values: list[tuple[str, int]]) -> str:
    lines = [f"# HELP hawse_{name} {text}", f"# TYPE hawse_{name} {kind}"]
    lines += [f"hawse_{name}{labels} {value}" for labels, value in values]
    return "\n".join(lines) + "\n"
