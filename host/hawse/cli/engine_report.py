"""What ``hawse bench engine`` found, as a table, as the tables of the documentation, and as a picture.

Nothing here says more than the JSON does: each figure stands beside what it is a figure of.
"""

from pathlib import Path
from textwrap import fill
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table

_WIDTH = 250  # of a terminal in which the table keeps one line a flow

Row = dict[str, str]


def _spread(p: dict[str, int] | None) -> str:
    return "–" if p is None else " / ".join(f"{p[at]:,}" for at in ("p50", "p99", "p999", "max"))


def _millions(per_s: float | None) -> str:
    return "–" if per_s is None else f"{per_s / 1e6:.1f}"


def rows(found: dict[str, Any]) -> list[Row]:
    """One row a flow, by title of the column."""
    mhz, link = found["clock"]["mhz"], found["link"]
    out = []
    for name, flow in found["flows"].items():
        rtl, soft, geometry = flow["rtl"], flow["soft"], flow["geometry"]
        own = "its own" if flow["routed"] else "borrowed"
        out.append(
            {
                "flow": name,
                "simulated, orders × levels": f"{geometry['orders']:,} × {geometry['pool']:,}",
                "routed": "yes" if flow["routed"] else "no",
                "cycles a command": f"{rtl['cycles_per_command']:.2f}",
                "clock, MHz": "–" if mhz is None else f"{mhz:.1f}, {own}",
                "core alone, M/s": _millions(rtl.get("commands_per_s")),
                "through any link, M/s at most": _millions(
                    link["endpoint_commands_per_s"]
                    and min(link["endpoint_commands_per_s"], rtl["commands_per_s"])
                ),
                "through the UART, /s": f"{link['uart_commands_per_s']:,}",
                "first report, cycles": _spread(rtl["first_report_cycles"]),
                "software engine alone, M/s": _millions(soft["engine_per_s"]),
                "that hashes, M/s": _millions(soft["engine_hashing_per_s"]),
                "software with ids and hand-off, M/s": _millions(soft["interface_per_s"]),
                "in single calls, M/s": _millions(soft["interface_single_calls_per_s"]),
                "ns a message": _spread(soft["interface_ns"]),
                "stalls left out": f"{soft['interface_stalls']:,}",
                "driver before hardware, ns": f"{soft['driver_ns']:.0f}",
                "golden, k/s": f"{flow['golden']['commands_per_s'] / 1e3:.0f}",
            }
        )
    return out


def caption(found: dict[str, Any]) -> str:
    """What holds for every row."""
    clock, link, soft = found["clock"], found["link"], found["software"]
    geometry = clock["geometry"]
    if clock["mhz"] is None:
        what = "No routed result: cycles only."
    else:
        size = f", {geometry['orders']:,} orders and {geometry['pool']:,} levels" if geometry else ""
        what = (
            f"Cycles are simulated; the clock is that of {clock['of']}{size}: {clock['mhz']:.1f} MHz. A size "
            "that is not routed has none of its own, and borrows it."
        )
    ends = f"The link's endpoint takes a command every {link['endpoint_cycles_per_command']} cycles at best."
    ours = (
        f"Software: thread time of one core (pinned to {soft['pinned_to_core']}, load average "
        f"{soft['load_average'][0]} to {soft['load_average'][1]}), fastest of {soft['rounds']} interleaved "
        f"rounds, {soft['messages_a_call']} messages a call; ns with one reading of the clock in each, "
        "without the messages in which the system took the core away."
    )
    return f"{what} {ends} {ours} Spreads: p50 / p99 / p99.9 / max."


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    out = Table(title="Matching engines on the flows of a public benchmark", caption=caption(found))
    told = rows(found)
    for title in told[0]:
        justify: Literal["left", "right"] = "left" if title in ("flow", "routed") else "right"
        out.add_column(fill(title, 13), justify=justify, no_wrap=True)
    for row in told:
        out.add_row(*row.values())
    console = Console()
    Console(width=max(console.width, _WIDTH) if not console.is_terminal else None).print(out)


def markdown(found: dict[str, Any], titles: list[str] | None = None) -> str:
    """The table for a document, of all columns or some, and what holds for every row."""
    told = rows(found)
    chosen = titles or list(told[0])
    lines = [f"| {' | '.join(chosen)} |", "|" + "---|" * len(chosen)]
    lines += [f"| {' | '.join(row[title] for title in chosen)} |" for row in told]
    return "\n".join([*lines, "", caption(found)])


#: Columns of the README's table: whoever reads no further must not take a core for an appliance.
SHORT = [
    "flow",
    "simulated, orders × levels",
    "routed",
    "cycles a command",
    "core alone, M/s",
    "through any link, M/s at most",
    "through the UART, /s",
    "software with ids and hand-off, M/s",
    "software engine alone, M/s",
    "that hashes, M/s",
]
BEGIN, END = "<!-- hawse bench engine: begin -->", "<!-- end -->"


def marked(text: str, table: str, mark: str) -> str:
    """``text`` with what stands behind a mark set anew.

    Raises:
        ValueError: the mark is not there, or its end.
    """
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {mark} … {END}")
    return f"{before}{mark}\n{table}\n{END}{after}"


def write_docs(found: dict[str, Any], checkout: Path) -> None:
    """Set the tables of ``README.md`` and ``docs/benchmark.md`` anew.

    Raises:
        ClickException: a file has no place for one.
    """
    for name, titles in (("README.md", SHORT), ("docs/benchmark.md", None)):
        path = checkout / name
        try:
            path.write_text(marked(path.read_text(), markdown(found, titles), BEGIN))
        except ValueError as error:
            raise click.ClickException(f"{path}: {error}") from error


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw rates, cycles to the first report, and nanoseconds of software: one quantity an axis."""
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(f"--plot needs the extra bench: {error}") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (rates, cycles, times) = pyplot.subplots(1, 3, figsize=(17, 5), layout="constrained")
    _rates(rates, found)
    for axes, engine, key, label in (
        (cycles, "rtl", "first_report_distribution", "clock cycles from command to first report, simulated"),
        (times, "soft", "interface_distribution", "ns a message through the C interface, one core"),
    ):
        for name, flow in found["flows"].items():
            points = [p for p in flow[engine][key] if p[0] < 100]
            style = "-" if flow["variant"] == "serial" else ":"
            axes.plot([1 / (1 - q / 100) for q, _ in points], [v for _, v in points], style, lw=1, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        nines = [1, 10, 100, 1000, 10_000, 100_000]
        axes.set_xticks(nines, ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"])
        axes.set_xlabel("percentile")
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=7, loc="upper left")
    times.set_title("messages in which the system took the core away are left out", fontsize=8)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _rates(axes: Any, found: dict[str, Any]) -> None:
    """Million commands a second, by flow and by what is measured."""
    flows = list(found["flows"].values())
    mhz, limit = found["clock"]["mhz"], found["link"]["endpoint_commands_per_s"]
    bars = [
        (
            "software, ids mapped, reports handed off",
            "#303030",
            [f["soft"]["interface_per_s"] for f in flows],
        ),
        ("software engine alone", "#8a8a8a", [f["soft"]["engine_per_s"] for f in flows]),
        ("software engine alone, hashing", "#c4c4c4", [f["soft"]["engine_hashing_per_s"] for f in flows]),
    ]
    if mhz:
        rtl = [f["rtl"]["commands_per_s"] for f in flows]
        label = f"core alone, simulated cycles at {mhz:.0f} MHz (hatched: that size is not routed)"
        bars.append((label, "#1f6f8b", rtl))
    width = 0.8 / len(bars)
    for n, (label, colour, values) in enumerate(bars):
        at = [i + (n - (len(bars) - 1) / 2) * width for i in range(len(flows))]
        drawn = axes.bar(at, [v / 1e6 for v in values], width, label=label, color=colour)
        if label.startswith("core"):
            for rectangle, flow in zip(drawn, flows, strict=True):
                rectangle.set_hatch("" if flow["routed"] else "//")
    if limit:
        axes.axhline(limit / 1e6, color="#b03020", lw=1, label="what the link's endpoint takes at best")
    axes.set_xticks(range(len(flows)), list(found["flows"]), rotation=45, ha="right", fontsize=8)
    axes.set_ylabel("million commands a second")
    axes.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1))
