"""``hawse prove`` and ``hawse check-proof``: one record of the report log, for somebody with no journal."""

from pathlib import Path

import click

from hawse.chain.client import SettlementReader
from hawse.commit.inclusion import DamagedProof, NotIncluded, ProofError, RecordProof, decode
from hawse.commit.inclusion import prove as make_proof
from hawse.journal import Journal
from hawse.wire.dtypes import records

from .check import config_of, from_snapshot
from .common import clear_errors, console, json_errors, json_option, say, state_option


def _prove(directory: Path, batch: int, number: int, form: str) -> RecordProof:
    with Journal(directory, readonly=True) as journal:
        headers = {anchor.header.number: anchor.header for anchor in journal.anchors()}
        if batch not in headers:
            known = f"batches 1 to {max(headers)}" if headers else "none"
            raise ProofError(f"batch {batch} is not anchored; the journal knows of {known}")
        anchored = headers[batch]
        first, last = anchored.journal_first, anchored.journal_last
        config, events = config_of(journal), []
        with from_snapshot(journal, directory, first, last, form) as (_, slots):
            for done in slots:
                if done.slot.number >= first:
                    events.append(records(done.burst.events))
                if done.slot.number == last:
                    break
    return make_proof(config.chain_id, config.contract, anchored, events, number)


@click.command()
@click.argument(
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("out/demo"),
)
@click.option("--batch", type=click.IntRange(1), required=True, help="Number of an anchored batch.")
@click.option("--record", type=click.IntRange(0), required=True, help="Number in its log, from 0.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File, not standard output.")
@state_option
@json_errors
@clear_errors
def prove(directory: Path, batch: int, record: int, out: Path | None, form: str) -> None:
    """Prove that a record stands in the report log of an anchored batch.

    DIRECTORY is that of the run, out/demo by default. The batch is executed again from its journal, and the
    proof is a JSON file that `hawse check-proof` and the contract's `record_included` verify.
    """
    text = _prove(directory / "journal", batch, record, form).encode() + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)
        console.print(f"Record {record} of batch {batch} is proven in {out}.")


@click.command("check-proof")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rpc", required=True, help="Node of the chain on which the batch is anchored.")
@click.option("--contract", help="Settlement contract that you trust, if the file's own word will not do.")
@json_option
@clear_errors
def check_proof(file: Path, rpc: str, contract: str | None, as_json: bool) -> None:
    """Verify a proof of `hawse prove` against the chain, with nothing but the file and a node.

    The leaf is hashed from its records, the path walked for the leaf's index and the number of leaves, and
    the end compared with what the contract holds. The exit code is 0 only if the record is there. A contract
    can do the same by LogProofs.vy.
    """
    try:
        text = file.read_text()
    except UnicodeDecodeError as error:
        raise DamagedProof(f"{file} is no text: {error}") from error
    proof = RecordProof.decode(text)
    proof.check()
    client = SettlementReader(rpc, contract or proof.contract)
    if client.address != proof.contract:
        raise NotIncluded(f"it is of the contract {proof.contract.hex()}, not {client.address.hex()}")
    if client.chain_id != proof.chain_id:
        raise NotIncluded(f"it is of the chain {proof.chain_id}, but {rpc} is of {client.chain_id}")
    number = proof.header.number
    ours, theirs = client.digest(proof.header), client.anchored(number).digest
    if ours != theirs:
        raise NotIncluded(
            f"batch {number}: the proof's header has the digest {ours.hex()}, but {theirs.hex()} was anchored"
        )
    if as_json:
        result = {"included": True, "chain_id": proof.chain_id, "contract": "0x" + proof.contract.hex()}
        result |= {"batch": number, "number": proof.number, "log_root": "0x" + proof.header.log_root.hex()}
        say(result | {"record": "0x" + proof.record.hex(), "fields": decode(proof.record)})
        return
    for name, value in decode(proof.record).items():
        click.echo(f"{name:12} {value}")
    console.print(
        f"Included: record {proof.number} of batch {number}, leaf {proof.leaf} of {proof.header.log_leaves}, "
        f"under the root {proof.header.log_root.hex()} that contract {proof.contract.hex()} on chain "
        f"{proof.chain_id} holds; its own view agrees."
    )
