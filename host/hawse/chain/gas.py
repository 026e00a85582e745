"""Gas of the settlement contract, measured on the embedded chain: ``python -m hawse.chain.gas``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import click
from eth_account import Account
from web3 import Web3

from hawse.chain.client import Claim, SettlementClient
from hawse.chain.devchain import DevChain, dev_keys
from hawse.commit import exits, withdrawals
from hawse.commit.data import ON_CHAIN, data_hash
from hawse.commit.exits import ExitLeaf
from hawse.commit.header import TYPES, VERSION, BatchHeader
from hawse.commit.trees import EMPTY
from hawse.commit.withdrawals import Withdrawal
from hawse.keys.signing import sign_digest
from hawse.keys.store import address_of, derive
from hawse.state.slot import RequestKind

_RULES = b"\x22" * 32
_OPERATOR, *_KEYS = dev_keys(3)
_OWNER = bytes.fromhex(Account.from_key(_KEYS[0]).address[2:])
_EACH = 1000  # quanta of a withdrawal
#: Of the exit tree.
ACCOUNTS = 100_000


def rows() -> Iterator[tuple[str, int]]:
    """What is done, and the gas that it takes."""
    with DevChain([_OPERATOR, *_KEYS]) as chain:
        web3 = Web3(Web3.HTTPProvider(chain.url))

        def spent(act: Callable[[], Any]) -> int:
            """Gas of an act that is one transaction, and so one block."""
            act()
            return int(web3.eth.get_block("latest")["gasUsed"])

        client = SettlementClient.deploy(chain.url, _OPERATOR, bytes(32), _RULES)
        yield "deployment", int(web3.eth.get_block("latest")["gasUsed"])
        client.mint(_OPERATOR, [_OWNER], 10**9)
        yield "deposit with permit, the first", spent(lambda: client.deposit(_KEYS[0], 10**8))
        yield "deposit with permit, later", spent(lambda: client.deposit(_KEYS[0], 10**8))
        first = _header(client, None, 0)
        yield "anchor, the first", spent(lambda: client.anchor(first))
        last = _header(client, first, 0)
        yield "anchor, later", spent(lambda: client.anchor(last))
        yield "of it: the header in calldata", _calldata(last.encode())
        yield "anchor, later, signed by 5 validators", _signed_anchor(chain.url, spent)
        yield "anchor, later, with its data on the chain", _anchor_of_data(chain.url, spent)
        for count in (1, 1024):
            last = _header(client, last, count)
            what = f"withdrawal{'s' if count > 1 else ''}"
            yield f"anchor with {count:,} {what}", spent(lambda batch=last: client.anchor(batch))  # type: ignore[misc]
            claims = _claims(last)
            some = {"the first of its 256 ids": claims[-1]} | ({"another": claims[0]} if count > 1 else {})
            for which, claim in some.items():
                name = f"claim of one of {count:,}, {which}"
                yield name, spent(lambda due=claim: client.claim(_KEYS[1], due))  # type: ignore[misc]
        ask = partial(client.request, _KEYS[0], RequestKind.WITHDRAW, 1, 1 << 24, amount=5)
        yield "forced request, the first", spent(ask)
        yield "forced request, later", spent(ask)
        leaves = _exits()
        tree = exits.tree(leaves)
        positive, _ = tree.root.sums
        ending: dict[str, Any] = {
            "accounts": ACCOUNTS,
            "exit_root": tree.root.hash,
            "exit_positive": positive,
        }
        last = replace(_header(client, last, 0), **ending)
        client.anchor(last)
        late = client.deposit(_KEYS[0], 10**6)
        client.move_clock(client.freezable_at() + 60)
        yield "freeze", spent(lambda: client.freeze(_KEYS[1]))
        for place, which in ((1, "the first of 256"), (2, "another")):
            leaf, proof = leaves[place], tree.proof(place)
            name = f"exit of one of {ACCOUNTS:,} accounts, {which}"
            yield name, spent(lambda it=leaf, way=proof: client.exit(_KEYS[1], last, it, way))  # type: ignore[misc]
        yield "refund of a deposit", spent(lambda: client.refund(_KEYS[1], late))


def _signed_anchor(url: str, spent: Callable[[Callable[[], Any]], int]) -> int:
    """What five signatures cost, in a venue of its own."""
    signers = {address_of(key): key for key in (derive("hawse gas", n) for n in range(5))}
    client = SettlementClient.deploy(
        url, _OPERATOR, bytes(32), _RULES, validators=[*signers], threshold=len(signers)
    )
    last: BatchHeader | None = None
    gas = 0
    for _ in range(2):
        batch = last = replace(_header(client, last, 0), exit_positive=0)
        signatures = {who: sign_digest(client.digest(batch), key) for who, key in signers.items()}
        gas = spent(lambda it=batch, by=signatures: client.anchor(it, by))  # type: ignore[misc]
    return gas


def _anchor_of_data(url: str, spent: Callable[[Callable[[], Any]], int]) -> int:
    """What it costs to look whether data was posted; ``hawse bench data`` has what posting costs."""
    client = SettlementClient.deploy(url, _OPERATOR, bytes(32), _RULES, data=True)
    last: BatchHeader | None = None
    gas = 0
    for data in (b"one", b"two"):
        client.post(data)
        terms: dict[str, Any] = {"data_provider": ON_CHAIN, "data_hash": data_hash([data])}
        last = replace(_header(client, last, 0), exit_positive=0, **terms)
        gas = spent(lambda it=last, of=data: client.anchor(it, data=of))  # type: ignore[misc]
    return gas


def _header(client: SettlementClient, last: BatchHeader | None, count: int) -> BatchHeader:
    """The next batch, with so many withdrawals and hashes without a zero."""
    first = last.withdrawals_first + last.withdrawals_count if last else 1
    among = withdrawals.range_of(_due(first, count), first)
    number = last.number + 1 if last else 1
    values: dict[str, Any] = {name: b"\x77" * 32 if kind == "bytes32" else 0 for name, kind in TYPES.items()}
    values |= {
        "version": VERSION,
        "number": number,
        "previous_state_root": client.state_root(),
        "accounts": 1000,
        "inputs_first": last.inputs_first + last.inputs_count if last else 1,
        "inputs_count": 60_000,
        "log_leaves": 2000,
        "log_records": 100_000,
        "exit_positive": 10**6,
        "withdrawals_root": among.root if count else EMPTY,
        "withdrawals_first": among.first,
        "withdrawals_count": among.count,
        "withdrawals_sum": among.sum,
        "deposit_index": min(number, client.deposit_count()),
        "forced_accumulator": bytes(32),
        "data_hash": bytes(32),
        "rules_hash": _RULES,
        "assets_hash": client.assets_hash(),
        "journal_first": last.journal_last + 1 if last else 0,
        "journal_last": last.journal_last + 600 if last else 599,
        "time": 1000 * client.chain_time(),
    }
    values["deposit_accumulator"] = client.deposit_accumulator(values["deposit_index"])
    return BatchHeader(**values)


def _exits() -> list[ExitLeaf]:
    """The venue's own leaf, and everybody's."""
    others = (ExitLeaf(n, _OWNER, n << 24, 0, 5) for n in range(1, ACCOUNTS))
    return [ExitLeaf(0, bytes(20), 0, 0, 0), *others]


def _due(first: int, count: int) -> list[Withdrawal]:
    return [Withdrawal(first + n, _OWNER, 0, _EACH) for n in range(count)]


def _claims(header: BatchHeader) -> list[Claim]:
    due = _due(header.withdrawals_first, header.withdrawals_count)
    tree = withdrawals.tree(due)
    return [Claim(header.number, header.withdrawals, w, tree.proof(n)) for n, w in enumerate(due)]


def _calldata(data: bytes) -> int:
    """Gas of calldata by EIP-2028: 4 for a zero, 16 for any other byte."""
    return sum(16 if byte else 4 for byte in data)


@click.command()
def main() -> None:
    """Print a table of what each transaction takes."""
    for what, gas in rows():
        click.echo(f"| {what} | {gas:,} |")


if __name__ == "__main__":
    main()
