"""What ``hawse bench latency`` found, as a table and as pictures: no more than the JSON says."""

from pathlib import Path
from typing import Any

import click

from .engine_report import marked

BEGIN = "<!-- hawse bench latency: begin -->"
_COLOURS = ("#1f6f8b", "#5aa9c4", "#9a6fb0", "#c2571a", "#4d7c32", "#8a8a8a", "#b03020")
_TITLES = {"poisson": "each order on its own (Poisson)", "bursty": "bursts of 16 in the mean"}
_HEAD = ("", "arrivals", "knee, /s", "p50 / p99 / p99.9 there", "back to back, /s", "simulated")


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def _rate(per_s: float) -> str:
    for unit, size in ((" M", 1e6), (" k", 1e3)):
        if per_s >= size:
            return f"{per_s / size:.3g}{unit}"
    return f"{per_s:.0f}"


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row of the table for each engine and pattern of arrivals."""
    out: list[tuple[str, ...]] = []
    for engine in (*found["engines"], found["host"]):
        for pattern, told in engine["patterns"].items():
            (there,) = (p for p in told["points"] if p["offered_per_s"] == told["knee_per_s"])
            spread = " / ".join(_time(there["ns"][name][0]) for name in ("p50", "p99", "p999"))
            most = engine["back_to_back_per_s"]
            out.append(
                (
                    engine["name"],
                    pattern,
                    _rate(told["knee_per_s"]),
                    spread,
                    _rate(most) if most else "–",
                    "yes" if engine["simulated"] else "no",
                )
            )
    return out


def caption(found: dict[str, Any]) -> str:
    """What holds for every row."""
    machine, host = found["machine"], found["host"]
    return (
        f"{found['messages']:,} messages of the flow {found['scenario']}, {found['repeats']} runs of each "
        f"rate (the venue {host['repeats']}); the median run is told. The knee is {found['knee']}. Gateware: "
        f"{found['cycles_per_command']} simulated cycles a command at {found['clock_mhz']:.1f} MHz, routed. "
        f"Software and venue: in real time, pinned to core {machine['pinned_to_core']}, load average "
        f"{machine['load_average'][0]} to {machine['load_average'][1]}."
    )


def show(found: dict[str, Any]) -> None:
    """Print the table."""
    click.echo("\n".join("  ".join(cell for cell in row if cell) for row in rows(found)))
    click.echo(caption(found))


def markdown(found: dict[str, Any]) -> str:
    """The table for a document."""
    lines = [f"| {' | '.join(_HEAD)} |", "|" + "---|" * len(_HEAD)]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join([*lines, "", caption(found)])


def write_docs(found: dict[str, Any], checkout: Path) -> None:
    """Set the table of ``docs/benchmark.md`` anew.

    Raises:
        ClickException: it has no place for one.
    """
    path = checkout / "docs/benchmark.md"
    try:
        path.write_text(marked(path.read_text(), markdown(found), BEGIN))
    except ValueError as error:
        raise click.ClickException(f"{path}: {error}") from error


def plot(found: dict[str, Any], path: Path) -> None:
    """Latency over arrivals: of the engines, and beside it, in a file of its own, of the venue."""
    try:
        import matplotlib  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(f"--plot needs the extra bench: {error}") from error
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "hawse", "font.size": 9})
    simulated = f"dashed: simulated cycles at the routed {found['clock_mhz']:.0f} MHz; solid: measured"
    title = f"Latency from an order's scheduled arrival to its first report ({simulated})"
    _chart(found["engines"], title, path)
    host = "Latency from a command's scheduled arrival to its receipt: the whole venue, measured"
    _chart([found["host"]], host, path.with_stem(f"{path.stem}-venue"))


def _chart(engines: list[dict[str, Any]], title: str, path: Path) -> None:
    from matplotlib import pyplot  # noqa: PLC0415

    names = ("p50", "p99")
    figure, grid = pyplot.subplots(
        2, 2, figsize=(13, 8.5), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axes_row, pattern in zip(grid, _TITLES, strict=True):
        for axes, name in zip(axes_row, names, strict=True):
            for n, (engine, colour) in enumerate(zip(engines, _COLOURS, strict=False)):
                _line(axes, engine, pattern, name, colour, -12 if n % 2 else 7)
            axes.set_title(f"{name} · {_TITLES[pattern]}", fontsize=10)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(True, which="major", lw=0.3)
            axes.xaxis.set_major_formatter(lambda value, _: _rate(value))
            axes.yaxis.set_major_formatter(lambda value, _: _time(value))
    for axes in grid[-1]:
        axes.set_xlabel("orders that arrive in a second")
    for axes in grid[:, 0]:
        axes.set_ylabel("latency")
    figure.suptitle(f"{title}\n◆ knee; band: least to most of the runs", fontsize=11)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _line(axes: Any, engine: dict[str, Any], pattern: str, name: str, colour: str, above: int) -> None:
    told = engine["patterns"][pattern]
    at = [point["offered_per_s"] for point in told["points"]]
    middle, least, most = zip(*(point["ns"][name] for point in told["points"]), strict=True)
    label = engine["name"] + (" (simulated)" if engine["simulated"] else "")
    axes.plot(at, middle, "--" if engine["simulated"] else "-", color=colour, lw=1.6, label=label)
    axes.fill_between(at, least, most, color=colour, alpha=0.15, lw=0)
    knee = at.index(told["knee_per_s"])
    axes.plot([at[knee]], [middle[knee]], "D", color=colour, ms=6)
    place, offset = (at[knee], middle[knee]), (0, above)
    style = {"textcoords": "offset points", "fontsize": 8, "color": colour, "ha": "center"}
    axes.annotate(_rate(at[knee]), place, offset, **style)
