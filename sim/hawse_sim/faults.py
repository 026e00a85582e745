"""Single faults in the gateware, all in one design, of which an input port ``fault`` switches one on.

The sources know nothing of them: faults are put into the RTLIL of a design. Which are taken depends on a hash
of each one's name, not on the order of things, so that a change of the gateware changes few of them.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hawse_hdl

_HDL = Path(str(hawse_hdl.__file__)).parent
_TOKEN = re.compile(r"(?:[\\$]\S+(?: \[[0-9:]+\])?|\d+'[01x-]+)")
_SOURCE = re.compile(r'attribute \\src "(.*):(\d+)"')
#: Its opposite on the boundary, and what it says of it.
_BOUNDARY = {"$lt": ("$le", "<="), "$le": ("$lt", "<"), "$gt": ("$ge", ">="), "$ge": ("$gt", ">")}
#: What chooses between a block RAM's answer and what was written meanwhile.
_FORWARDS = ("memory.py: kept = Mux(", "memory.py: m.d.comb += self.data.eq(Mux(")
_SIGN = {
    "$lt": "<",
    "$le": "<=",
    "$gt": ">",
    "$ge": ">=",
    "$and": "and",
    "$or": "or",
    "$add": "+",
    "$sub": "-",
}


class FaultError(RuntimeError):
    """A fault that has no place in the design."""


@dataclass(frozen=True)
class Fault:
    """One fault: in which module, of what kind, at which line of the source, and what goes wrong there."""

    module: str
    kind: str
    source: str
    what: str

    def __str__(self) -> str:
        return f"{self.module}: {self.what}; {self.source}"


@dataclass
class _Cell:
    kind: str
    source: str
    begin: int
    end: int
    parameters: dict[str, str] = field(default_factory=dict)
    ports: dict[str, tuple[int, str]] = field(default_factory=dict)

    def width(self, port: str = "Y") -> int:
        return int(self.parameters.get(f"{port}_WIDTH") or self.parameters["WIDTH"])


@dataclass
class _Switch:
    line: int
    selector: str
    cases: list[str] = field(default_factory=list)
    target: str = ""  # what its branches assign
    last: int = -1  # of its cases, the last that assigns


# Given lines, a wire that is high when the fault is on, and a prefix of names; changes lines, and adds some.
_Edit = Callable[[list[str], str, str], list[str]]
_Site = tuple[Fault, _Edit]


def _cell(kind: str, name: str, width: int, **ports: str) -> list[str]:
    binary = kind not in ("$not", "$mux")
    parameters = {"WIDTH": width} if kind == "$mux" else {"A_SIGNED": 0, "A_WIDTH": width, "Y_WIDTH": width}
    if binary:
        parameters |= {"B_SIGNED": 0, "B_WIDTH": width}
    lines = [f"  cell {kind} ${name}", *(f"    parameter \\{n} {v}" for n, v in parameters.items())]
    return [*lines, *(f"    connect \\{n} {v}" for n, v in ports.items()), "  end"]


def _wire(name: str, width: int) -> str:
    return f"  wire width {width} \\{name}"


def _masked(signal: str, name: str, on: str, *, stuck: int) -> list[str]:
    """A wire ``name``: one bit, stuck while the fault is on."""
    lines = [_wire(name, 1)]
    if stuck:
        return [*lines, *_cell("$or", f"{name}_or", 1, A=signal, B=on, Y=f"\\{name}")]
    lines += [_wire(f"{name}_off", 1), *_cell("$not", f"{name}_not", 1, A=on, Y=f"\\{name}_off")]
    return [*lines, *_cell("$and", f"{name}_and", 1, A=signal, B=f"\\{name}_off", Y=f"\\{name}")]


def _line(source: str) -> str:
    """File, and text of a line of the gateware's source; empty for one of a library."""
    path, _, number = source.rpartition(":")
    if not path.startswith(str(_HDL)):
        return ""
    text = Path(path).read_text().splitlines()[int(number) - 1].strip()
    return f"{Path(path).name}: {text}"


class _Module:
    """A module's cells, wires and switches, and the faults that it may have."""

    def __init__(self, name: str, lines: list[str], begin: int, end: int) -> None:
        self.name, self.lines, self.begin, self.end = name, lines, begin, end
        self.cells: list[_Cell] = []
        self.children: list[int] = []
        self.switches: list[_Switch] = []
        self.sources: dict[str, str] = {}  # of what drives a wire, or declares it
        self._parse()

    def _parse(self) -> None:
        source, cell, process = "", None, False
        stack: list[_Switch] = []
        for i in range(self.begin, self.end):
            line = self.lines[i]
            word, _, rest = line.strip().partition(" ")
            if found := _SOURCE.match(line.strip()):
                source = f"{found[1]}:{found[2]}"
            elif word == "wire":
                self.sources.setdefault(line.split()[-1], source)
            elif word == "cell":
                cell = _Cell(rest.split()[0], source, i, i)
            elif word == "parameter" and cell:
                name, _, value = rest.partition(" ")
                cell.parameters[name[1:]] = value
            elif word == "connect" and cell:
                name, _, value = rest.partition(" ")
                cell.ports[name[1:]] = (i, value)
            elif word == "process":
                process = True
            elif word == "switch":
                self.switches.append(_Switch(i, rest))
                stack.append(self.switches[-1])
            elif word == "case" and stack:
                stack[-1].cases.append(rest.partition("'")[2])
            elif word == "assign" and process:
                for switch in stack:
                    switch.target = switch.target or rest.split()[0]
                    switch.last = len(switch.cases) - 1
            elif word == "end" and cell:
                cell.end = i
                if cell.kind.startswith("\\"):
                    self.children.append(i)
                else:
                    self.cells.append(cell)
                    if "Y" in cell.ports:
                        self.sources[cell.ports["Y"][1].split()[0]] = cell.source
                cell = None
            elif word == "end" and stack:
                stack.pop()
            elif word == "end":
                process = False

    def text(self, name: str, depth: int = 4) -> str:
        """What a person knows a wire by: the line that computes it, or its own name."""
        if name.startswith("\\") and not name.startswith("\\$"):
            return f"`{name[1:].partition('$')[0]}`"
        if text := _line(self.sources.get(name, "")):
            return text
        for cell in self.cells:
            if depth and any(value.split()[0] == name for _, value in cell.ports.values() if value):
                output = cell.ports.get("Y", (0, name))[1].split()[0]
                if output != name:
                    return self.text(output, depth - 1)
        return ""

    def sites(self) -> Iterator[_Site]:
        for cell in self.cells:
            yield from self._cell_sites(cell)
        for switch in self.switches:
            tokens = _TOKEN.findall(switch.selector)
            # A condition matters if a branch of its own or a later one assigns anything.
            cases = switch.cases[: switch.last + 1]
            for k, token in enumerate(tokens):
                values = {case[k] for case in cases if case}
                if values - {"-", "1"} or "1" not in values or token.split()[0] in ("\\rst", "\\clk"):
                    continue
                condition = self.text(token.split()[0])
                named = self.text_of(switch.target)
                for stuck, what in ((0, "never"), (1, "always")):
                    if condition:
                        fault = Fault(
                            self.name, f"branch {what}", condition, f"branch {what} taken, for {named}"
                        )
                        yield fault, self._branch(switch.line, k, stuck)

    def text_of(self, target: str) -> str:
        """Name of a signal that a process drives; that of a register for its next value."""
        for cell in self.cells:
            if cell.kind == "$dff" and cell.ports["D"][1].split()[0] == target:
                target = cell.ports["Q"][1].split()[0]
        name = target[1:].split("$")[0] if target.startswith("\\") else ""
        if name and not target.startswith("\\$"):
            return name
        source = _line(self.sources.get(target, ""))
        return f"that of `{source.partition(': ')[2]}`" if source else "an unnamed signal"

    @staticmethod
    def _branch(where: int, k: int, stuck: int) -> _Edit:
        def edit(lines: list[str], on: str, name: str) -> list[str]:
            head = lines[where][: lines[where].index("switch")]
            # Another fault may have been put into the same switch.
            now = _TOKEN.findall(lines[where].strip().partition(" ")[2])
            signal, now[k] = now[k], f"\\{name}"
            lines[where] = f"{head}switch " + (f"{{ {' '.join(now)} }}" if len(now) > 1 else now[0])
            return _masked(signal, name, on, stuck=stuck)

        return edit

    def _cell_sites(self, cell: _Cell) -> Iterator[_Site]:
        source = _line(cell.source)
        if "Y" in cell.ports:
            source = source or self.text(cell.ports["Y"][1].split()[0])
        elif cell.kind == "$dff":
            source = source or self.text_of(cell.ports["Q"][1].split()[0])
        elif cell.kind == "$memwr_v2":
            source = source or "memory " + cell.parameters["MEMID"].strip('"\\')
        if not source:
            return

        def site(kind: str, what: str, edit: _Edit) -> _Site:
            return Fault(self.name, kind, source, what), edit

        def instead(port: str, make: Callable[[str, str, int], list[str]]) -> _Edit:
            """Let ``make`` compute another value of an output into the wire that it is given."""

            def edit(lines: list[str], on: str, name: str) -> list[str]:
                at = cell.ports[port][0]
                output = lines[at].split(None, 2)[2]
                width = cell.width() if port == "Y" else cell.width("WIDTH")
                lines[at] = f"    connect \\{port} \\{name}_right"
                wires = [_wire(f"{name}_right", width), _wire(f"{name}_wrong", width)]
                wrong = make(f"\\{name}_right", name, width)
                right = {"A": f"\\{name}_right", "B": f"\\{name}_wrong", "S": on, "Y": output}
                return [*wires, *wrong, *_cell("$mux", f"{name}_mux", width, **right)]

            return edit

        def again(name: str, kind: str, **changed: str) -> list[str]:
            """The cell once more, of another kind or with other inputs."""
            lines = [f"  cell {kind} ${name}_again"]
            lines += [f"    parameter \\{n} {v}" for n, v in cell.parameters.items()]
            ports = {n: v for n, (_, v) in cell.ports.items()} | changed | {"Y": f"\\{name}_wrong"}
            return [*lines, *(f"    connect \\{n} {v}" for n, v in ports.items()), "  end"]

        kind, ports = cell.kind, {n: v for n, (_, v) in cell.ports.items()}
        if kind in ("$eq", "$ne"):

            def flipped(right: str, name: str, width: int) -> list[str]:
                return _cell("$not", f"{name}_flip", width, A=right, Y=f"\\{name}_wrong")

            yield site("flipped comparison", "comparison flipped", instead("Y", flipped))
            width = cell.width("A")
            if width > 1 and cell.width("B") == width:

                def blurred(_: str, name: str, __: int) -> list[str]:
                    lines = [_wire(f"{name}_{p}", width) for p in "ab"]
                    for p in "ab":
                        one = f"{width}'{'1'.zfill(width)}"
                        lines += _cell(
                            "$or", f"{name}_or{p}", width, A=ports[p.upper()], B=one, Y=f"\\{name}_{p}"
                        )
                    return [*lines, *again(name, kind, A=f"\\{name}_a", B=f"\\{name}_b")]

                yield site("comparison of too little", "lowest bit not compared", instead("Y", blurred))
        elif kind in _BOUNDARY:
            other, sign = _BOUNDARY[kind]
            edit = instead("Y", lambda _, name, __: again(name, other))
            yield site("boundary", f"{sign} in place of {_SIGN[kind]}", edit)
        elif kind in ("$add", "$sub"):

            def more(right: str, name: str, width: int) -> list[str]:
                one = f"{width}'{'1'.zfill(width)}"
                return _cell("$add", f"{name}_more", width, A=right, B=one, Y=f"\\{name}_wrong")

            yield site("off by one", f"one too many of {_SIGN[kind]}", instead("Y", more))
        elif kind in ("$and", "$or"):
            for ignored, kept in (("A", "B"), ("B", "A")):
                if cell.width(kept) == cell.width():
                    neutral = (
                        f"{cell.width(ignored)}'{('1' if kind == '$and' else '0') * cell.width(ignored)}"
                    )
                    change = {ignored: neutral}

                    def dropped(_: str, name: str, __: int, change: dict[str, str] = change) -> list[str]:
                        return again(name, kind, **change)

                    side = "left" if ignored == "A" else "right"
                    operand = self.text(ports[ignored].split()[0]) if "{" not in ports[ignored] else ""
                    named = f" ({operand})" if operand.startswith("`") else ""
                    what = f"{side} of `{_SIGN[kind]}` ignored{named}"
                    yield site(f"missing term of {_SIGN[kind]}", what, instead("Y", dropped))
        elif kind == "$not":
            yield site(
                "missing not",
                "not negated",
                instead("Y", lambda _, name, __: again(name, "$pos")),
            )
        elif kind == "$mux":
            for stuck in (0, 1):

                def select(lines: list[str], on: str, name: str, stuck: int = stuck) -> list[str]:
                    at, signal = cell.ports["S"][0], lines[cell.ports["S"][0]].split(None, 2)[2]
                    lines[at] = f"    connect \\S \\{name}"
                    return _masked(signal, name, on, stuck=stuck)

                forwards = not stuck and source.startswith(_FORWARDS)
                kind = "missing forward" if forwards else "stuck mux"
                yield site(kind, f"always the {'second' if stuck else 'first'}", select)
        elif kind == "$memwr_v2":

            def never(lines: list[str], on: str, name: str) -> list[str]:
                width, at = int(cell.parameters["WIDTH"]), cell.ports["EN"][0]
                # One bit for the word: bits masked one by one are as many writes, over which compilers brood.
                enables = set(_TOKEN.findall(lines[at].split(None, 2)[2]))
                if len(enables) > 1:
                    raise FaultError(f"{self.name}: {source}: not written as a whole")
                enable = re.sub(r"^\d+'1+$", "1'1", enables.pop())
                lines[at] = "    connect \\EN {" + f" \\{name}" * width + " }"
                return _masked(enable, name, on, stuck=0)

            yield site("dropped write", "memory never written", never)
        elif kind == "$dff":
            register = cell.ports["Q"][1].split()[0]
            if register in ("\\rst", "\\clk") or "[" in cell.ports["Q"][1] or "{" in cell.ports["Q"][1]:
                return

            def hold(lines: list[str], on: str, name: str) -> list[str]:
                width, at = cell.width("WIDTH"), cell.ports["D"][0]
                value = lines[at].split(None, 2)[2]
                lines[at] = f"    connect \\D \\{name}"
                mux = {"A": value, "B": ports["Q"], "S": on, "Y": f"\\{name}"}
                return [_wire(name, width), *_cell("$mux", f"{name}_mux", width, **mux)]

            yield site("stuck register", f"register {self.text_of(register)} never changes", hold)


def _modules(lines: list[str]) -> list[_Module]:
    begins = [i for i, line in enumerate(lines) if line.startswith("module ")]
    ends = [next(i for i in range(b, len(lines)) if lines[i] == "end") for b in begins]
    return [_Module(lines[b].split()[1][1:], lines, b, e) for b, e in zip(begins, ends, strict=True)]


_Placed = tuple[Fault, _Module, _Edit]


def _rank(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _choose(
    modules: Sequence[_Module], room: str, number: int, seed: int, always: Sequence[str]
) -> list[_Placed]:
    """Faults of a room: all of some kinds, and ``number`` others, spread over modules and kinds."""
    groups: dict[tuple[str, str], dict[str, _Placed]] = defaultdict(dict)
    for module in modules:
        # Of copies that do the same work side by side, the first alone.
        if (module.name + ".").startswith(room + ".") and not re.search(r"_[1-9]", module.name):
            for fault, edit in module.sites():
                group, n, what = groups[module.name, fault.kind], 2, fault.what
                one = fault
                while str(one) in group:
                    one, n = replace(fault, what=f"{what} ({n})"), n + 1
                group[str(one)] = (one, module, edit)
    first = [p for (_, kind), sites in sorted(groups.items()) if kind in always for p in sites.values()]
    ranked = []
    for (module_name, kind), sites in groups.items():
        if kind not in always:
            for place, name in enumerate(sorted(sites, key=lambda name: _rank(seed, name)), 1):
                ranked.append((place / len(sites) ** 0.4, _rank(seed, module_name, kind), sites[name]))
    if len(ranked) < number:
        raise FaultError(f"{room}: {len(ranked)} faults can be placed, {number} were asked for")
    return first + [placed for *_, placed in sorted(ranked, key=lambda r: r[:2])[:number]]


def insert(
    design: str, rooms: dict[str, int], seed: int = 1, always: Sequence[str] = ()
) -> tuple[str, list[Fault]]:
    """Put faults into a design.

    Args:
        design: RTLIL, with the lines of its source.
        rooms: how many faults in each module, those inside it included, by its name.
        seed: of the choice.
        always: kinds of fault of which those rooms shall have every one, beside the others.

    Returns:
        RTLIL with an input ``fault``, 16 bits wide, of its top module, and the faults: the first is on when
        the input is 1, none when it is 0.

    Raises:
        FaultError: there are not that many, or none of a kind that shall always be there.
    """
    lines = design.split("\n")
    modules = _modules(lines)
    chosen = [
        placed for room, number in rooms.items() for placed in _choose(modules, room, number, seed, always)
    ]
    if missing := set(always) - {fault.kind for fault, _, _ in chosen}:
        raise FaultError(f"{', '.join(rooms)}: there is no place for {', '.join(sorted(missing))}")
    wires: dict[int, list[str]] = defaultdict(list)
    cells: dict[int, list[str]] = defaultdict(list)
    for module in modules:
        wires[module.begin].append("  wire width 16 input 999 \\fault")
        for end in module.children:
            lines[end] = f"    connect \\fault \\fault\n{lines[end]}"
    for number, (_, module, edit) in enumerate(chosen, 1):
        on = f"fault{number}"
        same = _cell("$eq", f"{on}_on", 16, A="\\fault", B=f"16'{number:016b}", Y=f"\\{on}")
        for line in (_wire(on, 1), *same, *edit(lines, f"\\{on}", f"{on}_x")):
            where = wires[module.begin] if line.startswith("  wire ") else cells[module.end]
            where.append(line.replace("\\Y_WIDTH 16", "\\Y_WIDTH 1") if line in same else line)
    for at, more in wires.items():
        lines[at] = "\n".join([lines[at], *more])
    for at, more in cells.items():
        lines[at] = "\n".join([*more, lines[at]])
    # Without the lines of source, which would make another design of the same one elsewhere.
    return re.sub(r"\n *attribute \\src .*", "", "\n".join(lines)), [fault for fault, _, _ in chosen]
