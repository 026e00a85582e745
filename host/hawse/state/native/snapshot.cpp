// Snapshots: hawse.state.snapshot, byte for byte. What is read is taken in canonical form only.
#include "machine.hpp"
#include "marks.hpp"

namespace hawse::state {

// JSON that is written as far as there is room, and counted beyond.
class Text {
  public:
    Text(u8 *out, size_t room) : out_(out), room_(room) {}

    void put(char c) {
        if (size_ < room_)
            out_[size_] = u8(c);
        ++size_;
    }
    void word(const char *text) {
        while (*text)
            put(*text++);
    }
    void number(i128 value) {
        char digits[40];
        int count = 0;
        u128 left = value < 0 ? -u128(value) : u128(value);
        while (left >> 64) {
            digits[count++] = char('0' + int(left % 10));
            left /= 10;
        }
        u64 low = u64(left);
        do
            digits[count++] = char('0' + low % 10);
        while (low /= 10);
        if (value < 0)
            put('-');
        while (count)
            put(digits[--count]);
    }
    void hex(const u8 *bytes, size_t size) {
        put('"');
        for (size_t n = 0; n < size; ++n) {
            put("0123456789abcdef"[bytes[n] >> 4]);
            put("0123456789abcdef"[bytes[n] & 15]);
        }
        put('"');
    }
    void boolean(bool value) { word(value ? "true" : "false"); }
    template <class Visit> void numbers(u32 count, Visit visit) {
        put('[');
        for (u32 n = 0; n < count; ++n) {
            separate(n);
            number(visit(n));
        }
        put(']');
    }
    void separate(u32 n) {
        if (n)
            put(',');
    }
    size_t size() const { return size_; }

  private:
    u8 *out_;
    size_t room_, size_ = 0;
};

namespace {

constexpr char MAGIC[] = "hawse state 2\n";
constexpr size_t MAGIC_BYTES = sizeof MAGIC - 1, HEAD_BYTES = MAGIC_BYTES + 3 * sizeof(Hash);

void write_hashes(Text &out, const Growing &tree) {
    out.put('[');
    for (u32 n = 0; n < tree.size(); ++n) {
        out.separate(n);
        out.hex(tree.leaves()[n].bytes, sizeof(Hash));
    }
    out.put(']');
}

void write_nonces(Text &out, const Nonces &nonces) {
    out.put('['), out.number(nonces.floor), out.put(',');
    out.numbers(nonces.count, [&](u32 n) { return i128(nonces.at(n)); });
    out.put(']');
}

} // namespace

i64 Machine::snapshot(u8 *out, size_t room) {
    Hash root_now;
    if (const int wrong = root(root_now))
        return wrong;
    const bool room_for_head = room >= HEAD_BYTES;
    Text text(room_for_head ? out + HEAD_BYTES : out, room_for_head ? room - HEAD_BYTES : 0);
    const i128 counters[] = {next_slot,           time,
                             last_seq,            batch,
                             deposit_index,       request_index,
                             deposited,           admission.withdrawn,
                             next_withdrawal(),   withdrawals_first,
                             inputs_first};
    text.put('[');
    text.numbers(sizeof counters / sizeof *counters, [&](u32 n) { return counters[n]; });
    text.put(','), text.put('['), text.hex(deposit_accumulator.bytes, sizeof(Hash));
    text.put(','), text.hex(request_accumulator.bytes, sizeof(Hash)), text.put(']');
    text.put(','), text.hex(commitments.digest.bytes, sizeof(Hash));
    text.put(','), text.boolean(phase == SEALING);
    text.put(','), write_ledger(text);
    text.put(','), text.put('[');
    for (u32 n = 0; n < admission.withdrawals.count; ++n) {
        const Withdrawal &paid = admission.withdrawals.items[n];
        text.separate(n);
        text.put('['), text.hex(paid.owner.bytes, 20), text.put(','), text.number(paid.amount), text.put(']');
    }
    text.put(']');
    text.put(','), write_hashes(text, inputs);
    text.put(','), write_hashes(text, outcomes);
    text.put(']');
    const size_t size = HEAD_BYTES + text.size();
    if (size <= room)
        Writer(out).raw(MAGIC, MAGIC_BYTES).put(keccak256(out + HEAD_BYTES, text.size())).put(config.rules).put(root_now);
    return i64(size);
}

void Machine::write_ledger(Text &out) {
    out.put('['), out.number(ledger.fees), out.put(','), out.put('[');
    for (u32 n = 0; n < config.instruments; ++n) {
        const Market &m = ledger.markets[n];
        const Average &impact = m.impact, &premium = m.funding.premium;
        const i128 values[] = {config.terms[n].number, m.mark,       m.mark_time,   m.open_interest,
                               i128(m.dust),           m.last_trade, m.trade_time,  m.basis,
                               m.status,               i128(m.funding_dust), impact.time,  impact.value,
                               impact.total,           impact.elapsed, premium.time, premium.value,
                               premium.total,          premium.elapsed, m.funding.begun, m.funding.until,
                               m.funding.index,        m.funding.cumulative};
        const Settlement &s = m.settlement;
        const i128 window[] = {s.time, s.value, s.total, s.elapsed, s.last, s.heard};
        out.separate(n);
        out.put('[');
        for (const i128 value : values)
            out.number(value), out.put(',');
        out.numbers(s.is ? 6 : 0, [&](u32 at) { return window[at]; });
        out.put(']');
    }
    out.put(']'), out.put(','), write_feeds(out), out.put(','), out.put('[');
    bool first = true;
    for (u32 tag = 1; tag < config.tags(); ++tag) {
        if (ledger.tags.has(tag))
            continue;
        out.separate(!first);
        first = false;
        out.put('['), out.number(tag), out.put(',');
        out.hex(ledger.owners[ledger.tag_owners[tag]].address.bytes, 20), out.put(']');
    }
    out.put(']'), out.put(','), out.put('[');
    first = true;
    ledger.waiting.each([&](u32 index) {
        out.separate(!first);
        first = false;
        const i128 values[] = {index, ledger.waits[index]};
        out.numbers(2, [&](u32 at) { return values[at]; });
    });
    out.put(']'), out.put(','), out.put('[');
    out.number(ledger.rules.from), out.put(','), out.hex(ledger.rules_body, ledger.rules_size);
    out.put(']'), out.put(','), out.put('[');
    for (u32 n = 0; n < ledger.account_count; ++n) {
        out.separate(n);
        write_account(out, n);
    }
    out.put(']'), out.put(','), out.put('[');
    first = true;
    ledger.planning.each([&](u32 place) {
        const Strategy &s = ledger.strategies[place];
        const i128 values[] = {place,           s.account,     s.fired,      s.client_id,  s.kind,
                               config.terms[s.market].number, s.side,       s.trigger,    s.trigger_price,
                               s.limit_price,   s.offset_ppm,  s.quantity,   s.every,      s.low,
                               s.high,          s.until,       s.queue,      s.next,       s.done,
                               s.best};
        out.separate(!first);
        first = false;
        out.numbers(20, [&](u32 at) { return values[at]; });
    });
    out.put(']'), out.put(']');
}

void Machine::write_feeds(Text &out) {
    out.put('[');
    for (u32 n = 0; n < config.underlying_count; ++n) {
        const Feed &feed = ledger.feeds[n];
        const i128 values[] = {config.underlyings[n].number, feed.index, feed.time, feed.counted};
        out.separate(n), out.put('[');
        for (const i128 value : values)
            out.number(value), out.put(',');
        out.put('[');
        u32 said = 0;
        for (u32 p = 0; p < config.underlyings[n].publisher_count; ++p) {
            const risk::Last &last = feed.observed[p];
            if (!last.is)
                continue;
            const i128 row[] = {p, last.value, last.time, last.number};
            out.separate(said++), out.numbers(4, [&](u32 at) { return row[at]; });
        }
        out.put(']'), out.put(']');
    }
    out.put(']');
}

void Machine::write_account(Text &out, u32 index) {
    const Account &a = ledger.accounts[index];
    out.put('['), out.hex(ledger.owner_of(a).bytes, 20);
    out.put(','), out.number(a.generation);
    const i128 own[] = {a.subaccount, a.collateral, a.transfers, a.flags};
    for (const i128 value : own)
        out.put(','), out.number(value);
    out.put(','), write_nonces(out, a.nonces);
    out.put(','), out.put('[');
    for (u32 n = 0; n < a.agents; ++n) {
        const Agent &agent = ledger.agents_of(index)[n];
        const i128 terms[] = {agent.expiry, agent.appointed, agent.max_life};
        out.separate(n), out.put('['), out.hex(agent.address.bytes, 20);
        for (const i128 value : terms)
            out.put(','), out.number(value);
        out.put(','), write_nonces(out, agent.nonces), out.put(']');
    }
    out.put(']'), out.put(','), out.number(a.timer), out.put(','), out.number(a.step);
    out.put(','), out.put('[');
    u32 written = 0;
    ledger.each_holding(a, [&](const Holding &h) {
        if (!h.size)
            return;
        out.separate(written++);
        const i128 values[] = {config.terms[h.market].number, h.size, h.entry, h.funding};
        out.numbers(4, [&](u32 n) { return values[n]; });
    });
    out.put(']'), out.put(','), out.put('[');
    u32 count = 0;
    for (u32 at = a.newest; at != NONE; at = ledger.orders[at].older)
        handles_[count++] = at;
    sort(handles_, count, [](u32 one, u32 other) { return one < other; });
    for (u32 n = 0; n < count; ++n) {
        const Order &o = ledger.orders[handles_[n]];
        const i128 values[] = {o.client_id, handles_[n], config.terms[o.market].number, o.side, o.self_trade, o.price,
                               o.remaining, o.queue};
        out.separate(n), out.put('[');
        for (const i128 value : values)
            out.number(value), out.put(',');
        out.boolean(o.reduce_only), out.put(']');
    }
    out.put(']'), out.put(']');
}

// Reads what Text wrote. What does not fit makes it not good, and everything after gives zeros.
class Restoring {
  public:
    Restoring(Machine &machine, const u8 *at, const u8 *end) : m_(machine), at_(at), end_(end) {}

    int run();

  private:
    bool fails() {
        good_ = false;
        return false;
    }
    bool sees(char c) const { return at_ < end_ && *at_ == u8(c); }
    bool takes(char c) { return sees(c) && ++at_; }
    void expect(char c) { good_ = takes(c) && good_; }
    i128 number(i128 low, i128 high);
    u64 number(u64 below) { return u64(number(0, i128(below) - 1)); }
    void hex(u8 *out, size_t size);
    // As many bytes as there are, up to `most`; returns how many.
    u32 hex_up_to(u8 *out, u32 most);
    bool boolean();
    template <class Each> u64 list(Each each);

    void counters();
    void ledger();
    void markets();
    void average(Average &to);
    void feeds();
    void observed(const Underlying &about, Feed &feed);
    void tags();
    void accounts(bool with_orders);
    void account(u32 index, bool with_orders);
    void rules();
    void strategies();
    void settlement(Settlement &state, const Terms &terms);
    void waiting();
    void check_owners();
    void nonces(Nonces &nonces);
    void agents(u32 index);
    void order(u32 index, bool with_orders);
    void withdrawals();
    void hashes(Growing &tree);

    static constexpr i128 WIDE = i128{1} << 126;

    Machine &m_;
    const u8 *at_, *end_;
    bool good_ = true, too_much_ = false;
};

int Restoring::run() {
    expect('['), counters();
    expect(','), expect('['), hex(m_.deposit_accumulator.bytes, 32);
    expect(','), hex(m_.request_accumulator.bytes, 32), expect(']');
    expect(','), hex(m_.commitments.digest.bytes, 32);
    expect(',');
    m_.phase = boolean() ? SEALING : BOUNDARY;
    expect(','), ledger();
    expect(','), withdrawals();
    expect(','), hashes(m_.inputs);
    expect(','), hashes(m_.outcomes);
    expect(']');
    if (too_much_)
        return HAWSE_STATE_TOO_MUCH;
    const bool all = good_ && at_ == end_ && m_.inputs.size() == m_.outcomes.size();
    return all ? HAWSE_STATE_OK : HAWSE_STATE_SNAPSHOT;
}

i128 Restoring::number(i128 low, i128 high) {
    const bool negative = takes('-');
    if (!good_ || at_ == end_ || *at_ < '0' || *at_ > '9')
        return fails();
    i128 value = 0;
    for (; at_ < end_ && *at_ >= '0' && *at_ <= '9'; ++at_)
        if (value > WIDE / 10)
            return fails();
        else
            value = 10 * value + (*at_ - '0');
    value = negative ? -value : value;
    return value >= low && value <= high ? value : fails();
}

void Restoring::hex(u8 *out, size_t size) {
    expect('"');
    for (size_t n = 0; n < 2 * size && good_; ++n, ++at_) {
        const u8 c = at_ < end_ ? *at_ : 0;
        const bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f')) {
            fails();
            return;
        }
        out[n / 2] = u8(out[n / 2] << 4 | (digit ? c - '0' : c - 'a' + 10));
    }
    expect('"');
}

u32 Restoring::hex_up_to(u8 *out, u32 most) {
    const u8 *end = at_;
    for (end += sees('"'); end < end_ && *end != '"';)
        ++end;
    const size_t digits = size_t(end - at_) - (end > at_);
    if (digits % 2 || digits / 2 > most) {
        fails();
        return 0;
    }
    hex(out, digits / 2);
    return u32(digits / 2);
}

bool Restoring::boolean() {
    for (const char *word = sees('t') ? "true" : "false"; *word; ++word) {
        expect(*word);
        if (!good_)
            return false;
    }
    return at_[-2] == 'u';
}

template <class Each> u64 Restoring::list(Each each) {
    expect('[');
    u64 count = 0;
    if (takes(']'))
        return 0;
    do
        each(count++);
    while (good_ && takes(','));
    expect(']');
    return count;
}

void Restoring::counters() {
    i128 values[11] = {};
    good_ &= list([&](u64 n) {
        const i128 value = number(0, WIDE);
        if (n < 11)
            values[n] = value;
    }) == 11;
    m_.next_slot = u64(values[0]), m_.time = u64(values[1]), m_.last_seq = u64(values[2]);
    m_.batch = u64(values[3]), m_.deposit_index = u64(values[4]), m_.request_index = u64(values[5]);
    m_.deposited = values[6], m_.admission.withdrawn = values[7];
    m_.withdrawals_first = u64(values[9]), m_.inputs_first = u64(values[10]);
}

// Accounts twice: orders need the tags, which belong to the accounts' owners.
void Restoring::ledger() {
    expect('[');
    m_.ledger.fees = number(-WIDE, WIDE);
    expect(','), markets();
    expect(','), feeds();
    expect(',');
    const u8 *const tags_at = at_;
    list([&](u64) {
        u8 owner[20];
        expect('['), number(u64{1} << 16), expect(','), hex(owner, 20), expect(']');
    });
    expect(',');
    const u8 *const waiting_at = at_;
    list([&](u64) { expect('['), number(u64{1} << 32), expect(','), number(0, UINT64_MAX), expect(']'); });
    expect(','), rules(), expect(',');
    const u8 *const accounts_at = at_;
    accounts(false);
    if (!good_ || too_much_)
        return;
    expect(',');
    const u8 *const strategies_at = at_;
    at_ = tags_at, tags();
    at_ = accounts_at, accounts(true);
    if (!good_)
        return;
    check_owners();
    at_ = waiting_at, waiting();
    at_ = strategies_at, strategies();
    expect(']');
}

void Restoring::strategies() {
    Ledger &ledger = m_.ledger;
    constexpr u32 COUNT = 20;
    i128 v[COUNT] = {};
    i64 last = -1;
    list([&](u64) {
        const u64 count = list([&](u64 n) {
            const i128 value = number(-WIDE, WIDE);
            if (n < COUNT)
                v[n] = value;
        });
        Strategy s{};
        s.market = m_.config.find(u32(v[5]));
        const bool known = v[1] > INSURANCE && v[1] < ledger.account_count && s.market != NONE;
        if (!good_ || count != COUNT || v[0] <= last || v[0] >= m_.config.orders || !known || v[2] < 0 || v[2] > 1 ||
            v[4] < STOP || v[4] > HEDGE || ledger.strategy_at(u32(v[1]), u64(v[3])) != NONE ||
            ledger.accounts[u32(v[1])].strategies >= Strategy::MOST) {
            fails();
            return;
        }
        last = i64(v[0]);
        s.account = u32(v[1]), s.fired = v[2], s.client_id = u64(v[3]), s.kind = u8(v[4]), s.side = u8(v[6]);
        s.trigger = u8(v[7]), s.trigger_price = i32(v[8]), s.limit_price = i32(v[9]), s.offset_ppm = u32(v[10]);
        s.quantity = u32(v[11]), s.every = u32(v[12]), s.low = i64(v[13]), s.high = i64(v[14]), s.until = u64(v[15]);
        s.queue = u64(v[16]), s.next = u64(v[17]), s.done = u64(v[18]), s.best = i64(v[19]);
        ledger.register_strategy(u32(last), s);
    });
}

void Restoring::rules() {
    Ledger &ledger = m_.ledger;
    expect('[');
    const u64 from = u64(number(0, UINT64_MAX));
    expect(',');
    ledger.rules_size = hex_up_to(ledger.rules_body, Rules::LONGEST);
    expect(']');
    if (ledger.rules_size && !ledger.rules.read(ledger.rules_body, ledger.rules_size))
        fails();
    ledger.rules.from = from;
}

// Each owner has a main account, which alone counts transfers and opened none of itself by one.
void Restoring::check_owners() {
    const Ledger &ledger = m_.ledger;
    for (u32 n = INSURANCE + 1; n < ledger.account_count; ++n) {
        const Account &a = ledger.accounts[n];
        const u32 at = ledger.owners[a.owner].account, transfer = u32(a.generation & TRANSFERS_MAX);
        if (at == NONE) {
            fails();
            return;
        }
        const Account &main = ledger.accounts[at];
        if (bool(transfer) != bool(a.subaccount) || transfer > main.transfers || a.flags != main.flags ||
            (a.transfers && a.subaccount))
            fails();
    }
}

// Indices of just the empty accounts wait.
void Restoring::waiting() {
    Ledger &ledger = m_.ledger;
    u32 last = 0, empty = 0;
    const u64 count = list([&](u64) {
        expect('[');
        const u64 index = number(u64{1} << 32);
        expect(',');
        const u64 until = u64(number(0, UINT64_MAX));
        expect(']');
        if (!good_ || index <= last || index >= ledger.account_count || !ledger.is_empty(u32(index))) {
            fails();
            return;
        }
        last = u32(index);
        ledger.waits[last] = until;
        ledger.waiting.insert(last);
        ledger.waited.insert(last);
    });
    for (u32 n = INSURANCE + 1; n < ledger.account_count; ++n)
        empty += ledger.is_empty(n);
    good_ = count == empty && good_;
}

void Restoring::markets() {
    const u64 count = list([&](u64 n) {
        if (n >= m_.config.instruments) {
            fails();
            return;
        }
        Market &market = m_.ledger.markets[n];
        expect('[');
        good_ = number(u64{1} << 16) == m_.config.terms[n].number && good_;
        expect(','), market.mark = i32(number(INT32_MIN, INT32_MAX));
        expect(','), market.mark_time = number(TIME_LIMIT);
        expect(','), market.open_interest = u64(number(0, UINT64_MAX));
        expect(','), market.dust = u128(number(0, WIDE));
        expect(','), market.last_trade = i32(number(INT32_MIN, INT32_MAX));
        expect(','), market.trade_time = number(TIME_LIMIT);
        expect(','), market.basis = i64(number(INT64_MIN, INT64_MAX));
        expect(','), market.status = u8(number(SETTLED + 1));
        expect(','), market.funding_dust = u128(number(0, WIDE));
        average(market.impact), average(market.funding.premium);
        expect(','), market.funding.begun = number(TIME_LIMIT);
        expect(','), market.funding.until = number(2 * TIME_LIMIT);
        expect(','), market.funding.index = i64(number(1, MOST_INDEX << PART_BITS));
        expect(','), market.funding.cumulative = i64(number(INT64_MIN, INT64_MAX));
        expect(','), settlement(market.settlement, m_.config.terms[n]);
        expect(']');
        market.impact.is = market.impact.value, market.funding.premium.is = market.funding.until;
        m_.ledger.priced.insert(u32(n));
    });
    good_ = count == m_.config.instruments && good_;
}

void Restoring::settlement(Settlement &state, const Terms &terms) {
    i128 values[6]{};
    const u64 count = list([&](u64 n) {
        if (n < 6)
            values[n] = number(0, WIDE);
    });
    if (!count)
        return;
    for (u32 n = 0; n < 6; ++n)
        good_ = (n == 2 || values[n] < i128(TIME_LIMIT)) && good_;
    good_ = count == 6 && terms.expiry && values[3] <= i128(terms.window) && good_;
    state = {true, u64(values[0]), u64(values[3]), u64(values[5]), i64(values[1]), i64(values[4]), values[2]};
}

void Restoring::average(Average &to) {
    expect(','), to.time = number(TIME_LIMIT);
    expect(','), to.value = i64(number(-(i128{1} << 54), i128{1} << 54));
    expect(','), to.total = number(-WIDE, WIDE);
    expect(','), to.elapsed = number(TIME_LIMIT);
}

void Restoring::feeds() {
    const u64 count = list([&](u64 n) {
        if (n >= m_.config.underlying_count) {
            fails();
            return;
        }
        const Underlying &about = m_.config.underlyings[n];
        Feed &feed = m_.ledger.feeds[n];
        expect('['), good_ = number(u64{1} << 16) == about.number && good_;
        expect(','), feed.index = i64(number(0, MOST_INDEX));
        expect(','), feed.time = number(TIME_LIMIT);
        expect(','), feed.counted = u32(number(u64{about.publisher_count} + 1));
        expect(','), observed(about, feed), expect(']');
        m_.ledger.observed.insert(u32(n));
    });
    good_ = count == m_.config.underlying_count && good_;
}

// By publisher, ascending.
void Restoring::observed(const Underlying &about, Feed &feed) {
    u64 next = 0;
    list([&](u64) {
        expect('[');
        const u64 publisher = number(u64{about.publisher_count} + 1);
        if (!good_ || publisher < next || publisher >= about.publisher_count) {
            fails();
            return;
        }
        next = publisher + 1;
        risk::Last &last = feed.observed[publisher];
        expect(','), last.value = i64(number(1, MOST_INDEX));
        expect(','), last.time = i64(number(TIME_LIMIT));
        expect(','), last.number = i64(number(0, INT64_MAX));
        expect(']'), last.is = 1;
    });
}

void Restoring::tags() {
    Ledger &ledger = m_.ledger;
    list([&](u64) {
        Address address{};
        expect('[');
        const u32 tag = u32(number(m_.config.tags()));
        expect(','), hex(address.bytes, 20), expect(']');
        const u32 owner = ledger.owner_at(address);
        if (!good_ || owner == NONE || !ledger.tags.has(tag) || ledger.owners[owner].tag) {
            fails();
            return;
        }
        ledger.give_tag(owner, tag);
    });
}

void Restoring::accounts(bool with_orders) {
    list([&](u64 n) {
        if (n < m_.capacity_.accounts)
            account(u32(n), with_orders);
        else
            good_ = false, too_much_ = true;
    });
}

void Restoring::account(u32 index, bool with_orders) {
    Ledger &ledger = m_.ledger;
    Address address{};
    expect('['), hex(address.bytes, 20);
    expect(',');
    const u64 generation = u64(number(0, UINT64_MAX));
    expect(',');
    const u16 subaccount = u16(number(u64{1} << 16));
    if (!with_orders && index != INSURANCE) {
        if (!good_ || ledger.account_at(address, subaccount) != NONE) {
            fails();
            return;
        }
        ledger.open_account(address, generation, subaccount, 0);
    }
    Account &a = ledger.accounts[index];
    expect(','), a.collateral = i64(number(INT64_MIN, INT64_MAX));
    expect(','), a.transfers = u32(number(u64{1} << 32));
    expect(','), a.flags = u32(number(u64{1} << 32));
    good_ = !(a.flags & ~DEFINED) && good_;
    expect(','), nonces(a.nonces);
    expect(','), agents(index);
    expect(','), ledger.set_timer(index, number(TIME_LIMIT));
    expect(','), a.step = u32(number(u64{1} << 32));
    expect(',');
    const u32 quota = index == INSURANCE ? MOST_HELD : m_.config.position_quota;
    list([&](u64) {
        expect('[');
        const u32 market = m_.config.find(u32(number(u64{1} << 16)));
        expect(',');
        const i64 size = i64(number(INT64_MIN, INT64_MAX));
        expect(',');
        const i128 entry = number(-WIDE, WIDE);
        expect(',');
        const i64 funding = i64(number(INT64_MIN, INT64_MAX));
        expect(']');
        if (market == NONE || !size || (!with_orders && a.touched >= quota))
            fails();
        else if (!with_orders && good_)
            ledger.set_position(a, market, size, entry, funding);
    });
    ledger.changed.insert(index);
    expect(',');
    list([&](u64) { order(index, with_orders); });
    expect(']');
}

void Restoring::nonces(Nonces &to) {
    expect('['), to.floor = number(TIME_LIMIT), expect(',');
    u64 last = 0;
    to.count = 0;
    list([&](u64 n) {
        const u64 nonce = number(TIME_LIMIT);
        if (n >= Nonces::WINDOW || (n && nonce <= last)) {
            fails();
            return;
        }
        to.put(to.count++, last = nonce);
    });
    expect(']');
}

// As they were appointed, each once, and none its own owner.
void Restoring::agents(u32 index) {
    Ledger &ledger = m_.ledger;
    Account &a = ledger.accounts[index];
    a.agents = 0;
    u64 before = 0;
    list([&](u64 n) {
        Agent agent{};
        expect('['), hex(agent.address.bytes, 20);
        expect(','), agent.expiry = u64(number(0, UINT64_MAX));
        expect(','), agent.appointed = u64(number(0, UINT64_MAX));
        expect(','), agent.max_life = u32(number(u64{1} << 32));
        expect(','), nonces(agent.nonces), expect(']');
        if (!good_ || n >= Agent::MOST || agent.appointed <= before || agent.address == ledger.owner_of(a) ||
            ledger.agent_at(index, agent.address)) {
            fails();
            return;
        }
        before = agent.appointed;
        ledger.agents_of(index)[a.agents++] = agent;
    });
}

void Restoring::order(u32 index, bool with_orders) {
    Ledger &ledger = m_.ledger;
    Order o{};
    o.account = index;
    expect('['), o.client_id = u64(number(0, UINT64_MAX));
    expect(',');
    const u32 handle = u32(number(m_.config.orders));
    expect(','), o.market = m_.config.find(u32(number(u64{1} << 16)));
    expect(','), o.side = u8(number(2));
    expect(','), o.self_trade = u8(number(4));
    expect(','), o.price = i32(number(INT32_MIN, INT32_MAX));
    expect(','), o.remaining = u32(number(u64{1} << 32));
    expect(','), o.queue = u64(number(0, UINT64_MAX));
    expect(','), o.reduce_only = boolean();
    expect(']');
    if (!good_ || !with_orders)
        return;
    const Account &a = ledger.accounts[index];
    const bool full = a.touched >= m_.config.position_quota && o.market != NONE && !ledger.holding(a, o.market);
    const bool no_tag = !ledger.owners[a.owner].tag && ledger.tags.empty();
    const bool in_band = o.market != NONE && u64(i64(o.price) - m_.config.terms[o.market].base) < m_.config.terms[o.market].count;
    if (!in_band || !o.remaining || full || no_tag || !ledger.handles.has(handle) ||
        ledger.order_at(index, o.client_id) != NONE) {
        fails();
        return;
    }
    ledger.orders[handle] = o;
    ledger.add(handle);
    ledger.rest(handle);
}

void Restoring::withdrawals() {
    List<Withdrawal> &paid = m_.admission.withdrawals;
    list([&](u64 n) {
        Withdrawal withdrawal{};
        expect('['), hex(withdrawal.owner.bytes, 20);
        expect(','), withdrawal.amount = u64(number(0, UINT64_MAX));
        expect(']');
        if (n < m_.capacity_.withdrawals)
            paid.add() = withdrawal;
        else
            good_ = false, too_much_ = true;
    });
}

void Restoring::hashes(Growing &tree) {
    list([&](u64 n) {
        if (n < m_.capacity_.inputs)
            hex(tree.append(1)->bytes, sizeof(Hash));
        else
            good_ = false, too_much_ = true;
    });
}

int Machine::restore(const u8 *bytes, size_t size) {
    phase = BROKEN;
    if (size < HEAD_BYTES || memcmp(bytes, MAGIC, MAGIC_BYTES))
        return HAWSE_STATE_SNAPSHOT;
    const Hash *const head = reinterpret_cast<const Hash *>(bytes + MAGIC_BYTES);
    if (head[0] != keccak256(bytes + HEAD_BYTES, size - HEAD_BYTES) || head[1] != config.rules)
        return HAWSE_STATE_SNAPSHOT;
    if (const int wrong = Restoring(*this, bytes + HEAD_BYTES, bytes + size).run()) {
        phase = BROKEN;
        return wrong;
    }
    for (u32 n = 0; n < ledger.account_count; ++n)
        ledger.check(n);
    commitments.take_in();
    Hash now;
    root(now);
    if (now == head[2])
        return HAWSE_STATE_OK;
    phase = BROKEN;
    return HAWSE_STATE_SNAPSHOT;
}

} // namespace hawse::state
