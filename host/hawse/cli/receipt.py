"""``hawse receipt``: the operator's signed word on one input, and whether it was kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click

from hawse.chain.client import SettlementReader
from hawse.commit.inclusion import DamagedProof, ProofError
from hawse.commit.inputs import OutcomeLeaf
from hawse.journal import Journal
from hawse.publisher.store import Outcomes
from hawse.receipt import BadReceipt, Receipt, Word
from hawse.state.slot import InputClass
from hawse.wire import NULL_HANDLE, Reason

from .check import config_of
from .common import OUTCOMES, address, clear_errors, console, json_errors, json_option, say

#: What is signed by nobody, or not as a message, in words.
_CLASSES = {
    InputClass.USER: "command",
    InputClass.AUTHORISATION: "authorisation",
    InputClass.MACHINE: "command of the venue's own",
    InputClass.OPERATOR: "word of the operator",
    InputClass.DEPOSIT: "deposit",
    InputClass.REQUEST: "forced request",
    InputClass.OBSERVATION: "price",
}


class WordBroken(ProofError):
    """The operator has signed something, and anchored something else."""


@click.group("receipt")
def group() -> None:
    """The operator's signed word on one input: have it, and check whether it was kept."""


@group.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("seq", type=click.IntRange(1, 2**63 - 1), required=False)
@click.option("--account", type=click.IntRange(0, 2**32 - 1), help="Instead of SEQ: index of the account.")
@click.option("--client-id", type=click.IntRange(0, 2**64 - 1), help="And its own number: the newest of it.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File, not standard output.")
@json_errors
@clear_errors
def get(
    directory: Path, seq: int | None, account: int | None, client_id: int | None, out: Path | None
) -> None:
    """The receipt of input SEQ of the venue in DIRECTORY, also while its host runs.

    Once the batch of the input is anchored, the file also shows what stands there in its place.
    """
    if (seq is None) == (account is None or client_id is None):
        raise click.UsageError("give SEQ, or --account and --client-id")
    with Journal(directory / "journal", readonly=True) as journal:
        config = config_of(journal)
    with Outcomes(directory / OUTCOMES, readonly=True) as kept:
        if seq is None:
            assert account is not None and client_id is not None
            seq = _newest(kept, account, client_id)
        receipt = kept.receipt(config.chain_id, config.contract, seq)
    if receipt is None:
        raise ProofError(f"no receipt of input {seq} is kept; the host writes it with a later slot")
    text = receipt.encode() + "\n"
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text)
        console.print(f"The receipt of input {seq} is in {out}.")


def _newest(kept: Outcomes, account: int, client_id: int) -> int:
    """Sequence number of what an account sent last under a client id.

    Raises:
        ProofError: it has sent nothing.
    """
    told = kept.told_of(account, client_id)
    sent = [line["seq"] for line in told if "kind" in line and "seq" in line]
    if not sent:
        raise ProofError(f"account {account} has sent nothing under the client id {client_id}")
    return int(sent[-1])


class _Verdict(NamedTuple):
    """What became of the operator's word, what happened, and what comes next."""

    word: Word
    happened: str
    next: str


@group.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rpc", help="Node of the chain; without it, nothing is held against what was anchored.")
@click.option("--contract", help="Settlement contract that you trust, if the file's own word will not do.")
@click.option("--operator", help="Without --rpc: the address that has to have signed it.")
@json_option
@clear_errors
def check(file: Path, rpc: str | None, contract: str | None, operator: str | None, as_json: bool) -> None:
    """Check a receipt by itself, and against the chain: what happened, and what comes next.

    Signature and path are checked in any case; with --rpc, the operator is the contract's, and the batch has
    to be the one that it holds. The exit code is 0 if the operator's word was kept, or can still be.
    """
    try:
        receipt = Receipt.decode(file.read_text())
    except UnicodeDecodeError as error:
        raise DamagedProof(f"{file} is no text: {error}") from error
    if contract is not None and address(contract) != receipt.contract:
        raise BadReceipt(f"contract: {receipt.contract.hex()}, not {address(contract).hex()}")
    if rpc is None:
        signer = receipt.check(address(operator) if operator else None)
        verdict = _by_itself(receipt, signer, operator is not None)
    else:
        reader = SettlementReader(rpc, receipt.contract)
        if reader.chain_id != receipt.chain_id:
            raise BadReceipt(f"chain_id: {receipt.chain_id}, but {rpc} is of {reader.chain_id}")
        signer = receipt.check(reader.operator())
        verdict = _by_chain(receipt, reader)
    sentence = f"{verdict.happened}; {verdict.next}."
    if verdict.word is Word.BROKEN:
        raise WordBroken(sentence)
    if as_json:
        where = {"seq": receipt.input.seq, "slot": receipt.receipts.slot, "signer": "0x" + signer.hex()}
        say({"word": verdict.word.value} | where | {"sentence": sentence})
    else:
        click.echo(sentence)


def _by_itself(receipt: Receipt, signer: bytes, is_operator: bool) -> _Verdict:
    """Without a look at the chain."""
    word, why = receipt.word()
    who = "The operator" if is_operator else f"0x{signer.hex()}"
    if word is Word.BROKEN:
        return _broken(receipt, who, why)
    happened = f"{who} has signed that {_told(receipt)}"
    if receipt.batch is None:
        return _Verdict(Word.OPEN, happened, f"whether it was anchored so, a later {_GET} shows")
    number = receipt.batch.header.number
    return _Verdict(
        Word.OPEN, happened, f"batch {number} of the file agrees, and --rpc tells whether it is anchored"
    )


_GET = "hawse receipt get, checked with --rpc,"


def _by_chain(receipt: Receipt, reader: SettlementReader) -> _Verdict:
    """By what the contract holds."""
    batch, who = receipt.batch, "The operator"
    if batch is not None:
        number = batch.header.number
        ours, theirs = reader.digest(batch.header), reader.anchored(number).digest
        if ours != theirs:
            what = f"the header in the file has the digest {ours.hex()}, but {theirs.hex()} was anchored"
            raise BadReceipt(f"batch: {number}: {what}")
    word, why = receipt.word()
    happened = f"{who} has signed that {_told(receipt)}"
    if moved := _moved(receipt, reader):
        return _Verdict(Word.OPEN, happened, f"it does not bind him any more, for {moved}")
    if word is Word.BROKEN:
        return _broken(receipt, who, why)
    final, frozen = reader.last_final(), reader.frozen()
    if batch is None:
        if frozen:
            return _Verdict(
                Word.OPEN,
                happened,
                f"the venue is frozen with batch {final} the last: what that has not is void",
            )
        count = reader.batch_count()
        return _Verdict(
            word, happened, f"{count} batches are anchored, and whether one has it so, a later {_GET} shows"
        )
    number = batch.header.number
    kept = f"{happened}, and batch {number}, which is anchored, has it so: he kept his word"
    if number <= final:
        return _Verdict(word, kept, "it is final, and nothing more comes")
    if frozen:
        return _Verdict(
            Word.OPEN, kept, f"but the venue was frozen with batch {final} the last, and this one is void"
        )
    return _Verdict(word, kept, "it is not final yet, and will be at the end of the contract's window")


def _moved(receipt: Receipt, reader: SettlementReader) -> str:
    """Why the chain that a receipt stands on is not there any more; empty if it is."""
    told = receipt.receipts
    if told.deposit_index and reader.deposit_accumulator(told.deposit_index) != told.deposit_accumulator:
        return f"deposit {told.deposit_index} of the chain is not the one that it stands on"
    if told.final_batch:
        count = reader.batch_count()
        if count < told.final_batch or reader.anchored(told.final_batch).digest != told.final_digest:
            return f"batch {told.final_batch} of the chain is not the one that it stands on"
    return ""


def _broken(receipt: Receipt, who: str, why: str) -> _Verdict:
    happened = f"{who} has signed that {_told(receipt)}, but {why}"
    return _Verdict(
        Word.BROKEN, happened, "he broke his word, and this file is the evidence: keep it, and show it"
    )


def _told(receipt: Receipt) -> str:
    """What the receipt says, in words."""
    one, out = receipt.input, receipt.outcome
    what = _CLASSES.get(InputClass(one.kind), "input")
    by = f" of 0x{one.address.hex()}" if any(one.address) else ""
    came, left, *cycles = receipt.times
    when = f"came at {_time(came)} and was answered {(left - came) / 1e6:.3f} ms later"
    if any(cycles):
        when += f" (in the book for {(cycles[1] - cycles[0]) % 2**32} cycles)"
    return f"the {what}{by}, input {one.seq} of slot {receipt.receipts.slot}, {when}: {_became(out)}"


def _became(out: OutcomeLeaf) -> str:
    if out.reason:
        numbers = f", has {out.have}, needs {out.need}" if out.have or out.need else ""
        how = "refused" if out.handle == NULL_HANDLE else "not carried out to its end"
        told = f"{how}, {Reason(out.reason).name.lower()}{numbers}"
    else:
        told = "accepted"
    if out.filled:
        told += f", {out.filled} lots traded at once for {out.value} tick·lots, fee {out.fee} quanta"
    return told


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
