"""Single changes of the contracts, and which no test finds: python tests/contracts/mutation.py --help."""

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
from hawse.chain.compile import folder
from hawse.results import record

SOURCES = ("Settlement.vy", "BatchData.vy", "LogProofs.vy")
#: What is written, and what in its place.
_SWAPS = (
    (r" >= ", " > "),
    (r" <= ", " < "),
    (r" > ", " >= "),
    (r" < ", " <= "),
    (r" == ", " != "),
    (r" != ", " == "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \+= ", " -= "),
    (r" -= ", " += "),
    (r" and ", " or "),
    (r" or ", " and "),
    (r"\bnot ", ""),
    (r"\bmax\(", "min("),
    (r"\|= ", "= "),
    (r" \| ", " & "),
    (r" & ", " | "),
    (r" \^ ", " | "),
    (r" >> ", " << "),
    (r" << ", " >> "),
    (r" // 2\b", " // 3"),
    (r" \* ", " + "),
    (r"\b1\b", "2"),
    (r"\b0\b", "1"),
    (r"\bTrue\b", "False"),
    (r"\bmsg\.sender\b", "self"),
)
#: Why a change that no test finds is none that could be found, or is not one of what the contract does.
EXPLAINED = {
    'Settlement.vy:465: assert total <= convert(max_value(uint128), uint256), "anchor: withdrawals sum" -> '
    'assert total < convert(max_value(uint128), uint256), "anchor: withdrawals sum"': (
        "differs at a sum of exactly 2**128 - 1 alone, of a token of which nobody has so much"
    ),
}


class Mutant(NamedTuple):
    """One line of a contract, changed."""

    source: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.before.strip()} -> {self.after.strip() or 'nothing'}"


def mutants(source: str) -> Iterator[Mutant]:
    """Every single change of a contract's code; comments, declarations and texts stay."""
    inside, quoted = False, False
    for number, line in enumerate((folder() / source).read_text().splitlines(), 1):
        if '"""' in line:
            quoted ^= line.count('"""') == 1
            continue
        inside = line.startswith("def ") or (inside and (not line or line[0] in " )"))
        code = line.split("  #")[0].rstrip()
        if quoted or not inside or not code.startswith("    ") or code.lstrip().startswith(("#", "log ")):
            continue
        if re.match(r"^    \w+: [\w.\[\], ]+,$", code):  # an argument
            continue
        bare = code.split(', "')[0]
        for pattern, other in _SWAPS:
            for found in re.finditer(pattern, bare):
                yield Mutant(source, number, code, code[: found.start()] + other + code[found.end() :])
        statement = code.strip()
        acts = statement.startswith("assert ") or re.match(r"self\.[\w\[\]. ]+ [-+|]?= ", statement)
        if acts and not statement.endswith(("(", ",")):
            yield Mutant(source, number, code, " " * (len(code) - len(code.lstrip())) + "pass")


def outcome(mutant: Mutant, seconds: float) -> str:
    """``found``, ``survived``, or ``no contract`` where the compiler refuses it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "contracts"
        place.mkdir()
        for path in folder().glob("*.vy"):
            (place / path.name).write_text(path.read_text())
        lines = (place / mutant.source).read_text().splitlines()
        lines[mutant.line - 1] = mutant.after
        (place / mutant.source).write_text("\n".join(lines) + "\n")
        environment = os.environ | {"HAWSE_CONTRACTS": str(place)}
        compiles = f"from hawse.chain.compile import load; load({Path(mutant.source).stem!r})"
        compiled = [sys.executable, "-c", compiles]
        if subprocess.run(compiled, env=environment, capture_output=True, check=False).returncode:
            return "no contract"
        tests = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
        tests += [str(Path(__file__).parent), "-m", "not slow and not ci"]
        try:
            done = subprocess.run(tests, env=environment, capture_output=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return "found"
        return "survived" if done.returncode == 0 else "found"


@click.command()
@click.option("--count", default=100, show_default=True, help="Mutants that compile, drawn at random.")
@click.option("--seed", default=1, show_default=True)
@click.option("--seconds", default=600.0, show_default=True, help="Longest run of the tests.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File of the result.")
def main(count: int, seed: int, seconds: float, out: Path | None) -> None:
    """Change the contracts at one place after another, and run their tests."""
    first = (folder() / SOURCES[0]).read_text().splitlines()[0]
    if outcome(Mutant(SOURCES[0], 1, first, first), seconds) != "survived":
        raise click.ClickException("the tests fail without any change: whatever is changed would be found")
    every = [mutant for source in SOURCES for mutant in mutants(source)]
    random.Random(seed).shuffle(every)
    tried, survivors, started = 0, [], time.monotonic()
    for mutant in every:
        if tried == count:
            break
        told = outcome(mutant, seconds)
        if told == "no contract":
            continue
        tried += 1
        survivors += [str(mutant)] if told == "survived" else []
        print(f"{tried}/{count} {told}: {mutant}", flush=True)
    result = {
        "possible": len(every),
        "tried": tried,
        "found": tried - len(survivors),
        "survivors": [{"change": name, "why": EXPLAINED.get(name, "not explained")} for name in survivors],
        "seconds": round(time.monotonic() - started),
    }
    print(result)
    if out:
        record(out, f"python tests/contracts/mutation.py --count {count} --seed {seed} --out {out}", result)


if __name__ == "__main__":
    main()
