// Roots, and what the state contributes to a batch: hawse.state.batch.
#include "machine.hpp"

namespace hawse::state {
namespace {

constexpr size_t EXIT_BYTES = 52, EXIT_MARK_BYTES = 45, WITHDRAWAL_BYTES = 48, VENUE_BYTES = 482;

// The root over nodes that each have so many sums, which are written over.
Hash sum_root(Lanes &lanes, NodeTag tag, Hash *nodes, u128 *sums, size_t each, size_t count) {
    if (!count) {
        memset(sums, 0, sizeof(u128) * each);
        return empty_root();
    }
    for (; count > 1; count = (count + 1) / 2) {
        for (size_t at = 0; at < count / 2; ++at) {
            Writer node = lanes.begin(1 + 2 * (sizeof(Hash) + sizeof(u128) * each), nodes + at);
            node.put(u8(tag));
            for (size_t child = 2 * at; child < 2 * at + 2; ++child) {
                node.put(nodes[child]);
                for (size_t n = 0; n < each; ++n)
                    node.put(sums[each * child + n]);
            }
            for (size_t n = 0; n < each; ++n)
                sums[each * at + n] = sums[each * 2 * at + n] + sums[each * (2 * at + 1) + n];
        }
        lanes.finish();
        if (count & 1) {
            nodes[count / 2] = nodes[count - 1];
            memmove(sums + each * (count / 2), sums + each * (count - 1), sizeof(u128) * each);
        }
    }
    return nodes[0];
}

// Large numbers: so many words, the lowest first.

void multiply(u32 *number, u32 words, u32 factor) {
    u64 carry = 0;
    for (u32 n = 0; n < words; ++n, carry >>= 32) {
        carry += u64(number[n]) * factor;
        number[n] = u32(carry);
    }
}

void add_product(u32 *number, const u32 *other, u32 words, u32 factor) {
    u64 carry = 0;
    for (u32 n = 0; n < words; ++n, carry >>= 32) {
        carry += number[n] + u64(other[n]) * factor;
        number[n] = u32(carry);
    }
}

// number -= other, unless it is less.
bool subtract(u32 *number, const u32 *other, u32 words) {
    u32 n = words;
    while (n-- && number[n] == other[n])
        ;
    if (n != NONE && number[n] < other[n])
        return false;
    u64 borrow = 0;
    for (n = 0; n < words; ++n) {
        const u64 difference = u64(number[n]) - other[n] - borrow;
        number[n] = u32(difference);
        borrow = difference >> 63;
    }
    return true;
}

} // namespace

// The whole part of the sum of so many fractions, each below 1.
u128 Machine::sum_of_fractions(u32 count) {
    const u32 words = count + 2;
    u32 *numerator = big_, *denominator = big_ + words;
    memset(big_, 0, 2 * words * sizeof(u32));
    denominator[0] = 1;
    for (u32 n = 0; n < count; ++n) { // a/b + c/d = (a·d + b·c) / (b·d)
        multiply(numerator, words, u32(fractions_[n].denominator));
        add_product(numerator, denominator, words, u32(fractions_[n].numerator));
        multiply(denominator, words, u32(fractions_[n].denominator));
    }
    u128 whole = 0;
    while (subtract(numerator, denominator, words))
        ++whole;
    return whole;
}

// What rounding has left, in whole quanta, rounded down once; it is summed up in 2**-FUNDING_BITS of them.
u128 Machine::dust() {
    u128 whole = 0;
    u32 count = 0;
    for (u32 n = 0; n < config.instruments; ++n) {
        const u64 denominator = config.terms[n].denominator;
        u32 at = 0;
        while (at < count && fractions_[at].denominator != denominator)
            ++at;
        if (at == count)
            fractions_[count++] = {0, denominator};
        const Market &market = ledger.markets[n];
        const u128 sum = (market.dust << FUNDING_BITS) + market.funding_dust + fractions_[at].numerator;
        whole += sum / denominator;
        fractions_[at].numerator = u64(sum % denominator);
    }
    u32 left = 0;
    for (u32 n = 0; n < count; ++n)
        if (fractions_[n].numerator)
            fractions_[left++] = fractions_[n];
    return (left > 1 ? whole + sum_of_fractions(left) : whole) >> FUNDING_BITS;
}

// All of the state but accounts and orders.
Hash Machine::venue_hash() {
    const Hash control = commitments.control.root(lanes());
    u8 bytes[VENUE_BYTES];
    Writer out(bytes);
    out.put(u8(0x60)).put(VERSION).put(config.rules);
    out.put(next_slot).put(time).put(last_seq).put(batch).put(next_withdrawal());
    out.put(deposit_index).put(deposit_accumulator).put(request_index).put(request_accumulator);
    out.put(deposited).put(admission.withdrawn).put(ledger.fees);
    out.put(i128(ledger.accounts[INSURANCE].collateral)).put(i128(dust())).put(control);
    commitments.put_sections(out);
    return keccak256(bytes, size_t(out.end() - bytes));
}

int Machine::root(Hash &out) {
    if (phase != BOUNDARY && phase != SEALING)
        return HAWSE_STATE_UNFIT;
    u8 bytes[1 + 3 * 32];
    Writer(bytes).put(u8(0x70)).put(commitments.accounts.root(lanes())).put(commitments.orders_root()).put(venue_hash());
    out = keccak256(bytes, sizeof bytes);
    return HAWSE_STATE_OK;
}

// What every account would be owed if trading stopped now; the venue's own has nothing in the tree.
Hash Machine::exit_root(u128 &positive, u128 &shortfall) {
    for (u32 n = 0; n < ledger.account_count; ++n) {
        const Account &account = ledger.accounts[n];
        const i64 equity = n == INSURANCE ? 0 : ledger.equity(account);
        exits[n] = equity;
        lanes().begin(EXIT_BYTES, nodes_ + n)
            .put(u8(0x20)).put(VERSION).put(n).put(ledger.owner_of(account)).put(account.generation).put(u16(0))
            .put(i128(equity));
        sums_[2 * n] = u128(most<i128>(equity, 0));
        sums_[2 * n + 1] = u128(most<i128>(-i128(equity), 0));
    }
    lanes().finish();
    const Hash root = sum_root(lanes(), EXITS, nodes_, sums_, 2, ledger.account_count);
    positive = sums_[0], shortfall = sums_[1];
    return root;
}

// The mark itself, for now, on both sides.
Hash Machine::marks_root() {
    for (u32 n = 0; n < config.instruments; ++n) {
        const Terms &terms = config.terms[n];
        const i64 mark = ledger.markets[n].mark;
        lanes().begin(EXIT_MARK_BYTES, nodes_ + n)
            .put(u8(0x22)).put(VERSION).put(terms.number).put(mark).put(mark).put(i128(ledger.markets[n].funding.cumulative)).put(terms.numerator)
            .put(terms.denominator).put(u8(0));
    }
    lanes().finish();
    return root_over(lanes(), nodes_, config.instruments, EXIT_MARKS);
}

Hash Machine::withdrawals_root(u128 &sum) {
    const List<Withdrawal> &paid = admission.withdrawals;
    for (u32 n = 0; n < paid.count; ++n) {
        sums_[n] = paid.items[n].amount;
        lanes().begin(WITHDRAWAL_BYTES, nodes_ + n)
            .put(u8(0x30)).put(VERSION).put(withdrawals_first + n).put(paid.items[n].owner).put(u16(0)).put(sums_[n]);
    }
    lanes().finish();
    const Hash root = sum_root(lanes(), WITHDRAWALS, nodes_, sums_, 1, paid.count);
    sum = sums_[0];
    return root;
}

int Machine::seal(hawse_state_batch &out) {
    if (phase != SEALING)
        return HAWSE_STATE_UNFIT;
    const auto give = [](u8 *to, const Hash &hash) { memcpy(to, hash.bytes, sizeof hash.bytes); };
    Hash state_root;
    root(state_root);
    u128 positive, shortfall, sum;
    const i64 insurance = ledger.equity(ledger.accounts[INSURANCE]);
    give(out.exit_root, exit_root(positive, shortfall));
    if (ledger.overflow.happened)
        return HAWSE_STATE_OVERFLOW;
    give(out.state_root, state_root);
    give(out.withdrawals_root, withdrawals_root(sum));
    give(out.marks_root, marks_root());
    give(out.inputs_root, inputs.root(lanes()));
    give(out.outcomes_root, outcomes.root(lanes()));
    give(out.rules, config.rules);
    give(out.assets, config.assets);
    give(out.deposit_accumulator, deposit_accumulator);
    give(out.request_accumulator, request_accumulator);
    out.fees = ledger.fees, out.dust = i128(dust());
    out.exit_positive = i128(positive), out.exit_shortfall = i128(shortfall), out.withdrawals_sum = i128(sum);
    out.number = batch - 1, out.time = time, out.inputs_first = inputs_first, out.inputs_count = inputs.size();
    out.deposit_index = deposit_index, out.request_index = request_index, out.insurance = insurance;
    out.withdrawals_first = withdrawals_first, out.withdrawals_count = admission.withdrawals.count;
    out.accounts = ledger.account_count, out.marks = config.instruments;
    out.inputs = inputs.leaves()->bytes, out.outcomes = outcomes.leaves()->bytes;
    out.withdrawals = admission.withdrawals.items, out.exits = exits;
    return turn();
}

int Machine::turn() {
    if (phase != SEALING)
        return HAWSE_STATE_UNFIT;
    withdrawals_first = next_withdrawal(), inputs_first = last_seq + 1;
    inputs.clear();
    outcomes.clear();
    admission.withdrawals.count = 0;
    phase = BOUNDARY;
    return HAWSE_STATE_OK;
}

} // namespace hawse::state
