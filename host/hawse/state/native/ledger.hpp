// Accounts, their positions and orders, the instruments' markets, the venue's own balances: hawse.state.ledger.
#pragma once

#include "lanes.hpp"
#include "margin.hpp"

namespace hawse::state {

// How much there may be of what the configuration does not bound. Who needs more makes a larger machine.
struct Capacity {
    u64 accounts;
    u64 messages;    // of a slot: commands, authorisations, requests, deposits and operations
    u64 inputs;      // of a batch
    u64 withdrawals; // of a batch
};

// What an account has of one instrument: a position, open orders, or both. In lists, ascending by instrument.
struct alignas(32) Holding {
    u32 next;
    u32 market;
    i64 size; // of the position, in lots, 0 for none
    i128 entry;
    i64 lots[2]; // open: buys and sells
    u128 loss, basis;
    i64 funding;     // index up to which the position has paid
    u64 profit_slot; // the number behind that of the slot that has taken some of its profit,
    i64 profit;      // and what may still be taken

    bool open() const { return lots[0] || lots[1]; }
};

// The highest nonces that a signer has used, as the control leaf has them: ascending, six bytes each.
struct Nonces {
    static constexpr u32 WINDOW = 64;
    u64 floor;
    u32 count;
    u8 used[6 * WINDOW];

    u64 at(u32 place) const {
        u64 word = 0;
        memcpy(reinterpret_cast<u8 *>(&word) + 2, used + 6 * place, 6);
        return __builtin_bswap64(word);
    }
    void put(u32 place, u64 nonce) { Writer(used + 6 * place).u48(nonce); }
    // 0, or why it may not be used, and the limit.
    u8 take(u64 nonce, u64 highest, u64 &limit);
};

// A key that may trade for an account, but not withdraw, transfer or appoint: hawse.state.agents.
struct Agent {
    static constexpr u32 MOST = 4;
    static constexpr u64 USUAL_LIFE = 60000, LIFE_MAX = 0xFFFFFFFF;
    Address address;
    u32 max_life;
    u64 expiry, appointed;
    Nonces nonces;

    // Until when a command that it has signed could come again, were it forgotten and appointed anew.
    u64 last() const {
        return nonces.count ? nonces.at(nonces.count - 1) + most<u64>(max_life, USUAL_LIFE) : 0;
    }
};

// Who owns accounts, what is known of him, and his number at the engine.
struct Owner {
    Address address;
    u32 account;  // his main one; NONE where nobody has this place, or while a snapshot is read
    u32 first;    // of his accounts; the others follow by `next`, in no order
    u32 accounts; // how many
    u32 tag;      // 0: none
    u32 orders;
};

struct alignas(64) Account {
    u32 owner;
    u32 holdings, touched; // first of them, and how many
    u32 newest, orders;    // of its orders, and how many
    u32 reducing;          // reduce-only ones among them
    u32 next;              // of the same owner
    u16 subaccount;
    u8 agents, strategies;
    u32 strategy; // the first of them
    u32 transfers, flags;
    u64 generation;
    i64 collateral;
    u64 timer;
    u32 step;      // steps that its liquidation has had, 0 while it is healthy
    i128 free;     // what is left of free collateral within a slot,
    u64 free_slot; // the number behind this one's; a cache, not state
    Nonces nonces; // the owner's

    // The one instrument that it may trade, or ANY_INSTRUMENT.
    u16 only() const { return subaccount >= ISOLATED ? u16(subaccount - ISOLATED) : ANY_INSTRUMENT; }
};

struct alignas(64) Order {
    u64 client_id, queue;
    u32 account, market;
    i32 price;
    u32 remaining, held, peak;
    u32 newer, older; // of the same account, by queue
    u8 side, time_in_force, self_trade;
    u8 why; // reason of an order of the machine, which lives within a slot; 0 of a user's
    bool reduce_only, dropped, resting, has_leaf;
    u32 strategy; // place of the one that sent it, and one more; 0 for none
    Hash leaf;

    u8 leaf_flags() const { return u8(self_trade | reduce_only << 2); }
};

// A REGISTER's members, and what has become of it.
struct Strategy {
    static constexpr u32 MOST = 8;
    u32 account, market;
    u64 client_id;
    u8 kind, side, trigger;
    bool fired; // the price was there
    i32 trigger_price, limit_price;
    u32 offset_ppm, quantity, every;
    i64 low, high;
    u64 until, queue, next, done; // next: slot time from which on it may act again; done: lots that were filled
    i64 best;                     // of a TRAIL
    u32 other;                    // of the same account, or NONE
};

// What an account has at mark, each position rounded down, and what its positions need at least.
struct Health {
    i128 equity, maintenance;
    bool good() const { return equity >= maintenance; }
};

// Integral of a step function of time, in milliseconds; where `is` is false it has no value now.
struct Average {
    u64 time;
    i64 value;
    bool is;
    i128 total;
    u64 elapsed;

    void until(u64 now) {
        if (is)
            total += i128(value) * i64(now - time), elapsed += now - time;
        time = now;
    }
    void step(u64 now, bool has, i64 next) {
        until(now);
        is = has, value = has ? next : 0;
    }
    // To the nearest; there was a value for some time.
    i64 mean() const {
        u64 rest;
        return i64(floored(2 * total + elapsed, 2 * elapsed, rest));
    }
};

// Premium and index of funding: hawse.risk.funding.
struct Funding {
    Average premium;
    u64 begun, until;
    i64 index, cumulative;
};
// The average of an index before expiry.
struct Settlement {
    bool is; // its window has begun
    u64 time, elapsed, heard;
    i64 value, last; // the index now, 0 for none, and the last
    i128 total;
};

constexpr u8 SETTLED = 3; // a status behind HAWSE_INSTRUMENT_STATE_CLOSED, _OPEN and _CANCEL_ONLY

struct Market {
    i32 mark;
    u64 mark_time;
    u64 open_interest;
    u128 dust;
    i32 last_trade;
    u64 trade_time; // of its slot, 0 before the first
    i64 basis;      // smoothed difference to the index, with fractional bits
    u8 status;
    Settlement settlement;
    Average impact; // mid of the impact prices since the last mark, in parts of a tick
    Funding funding;
    u128 funding_dust; // in parts of a quantum: the denominator's, and 2**FUNDING_BITS of each
};

// What is known of an underlying: hawse.state.feeds.
struct Feed {
    i64 index;
    u64 time;
    u32 counted;
    risk::Last observed[MOST_PUBLISHERS];
};

// A version of the operator's rules: hawse.state.rules. It points into the body of the operation that brought it.
struct Rules {
    u32 number; // 0 before the first
    bool listed;
    u64 lots;
    u16 barred_count;
    const u8 *barred; // u16 each, ascending
    u64 from;         // slot that brought them

    static constexpr u32 HEAD = 15, LONGEST = HEAD + 2 * 0xFFFF;
    // Reads a body; false if it is none.
    bool read(const u8 *body, size_t size);
    // The rule that keeps an owner from an order, and what he has; 0 if there is none.
    u8 broken(u32 flags, i128 could_hold, i128 &has) const;
};

enum Flag : u32 { ALLOWED = 4, BOUND = 8, DEFINED = 0xFFFF000F };

class Ledger {
  public:
    void make(Arena &arena, const Config &config, const Capacity &capacity, const Seed &seed);

    const Config *config;
    Overflow overflow;
    Market *markets;
    Feed *feeds;
    u64 time; // of the slot in work
    Account *accounts;
    Owner *owners;
    Order *orders;   // by handle
    u32 *tag_owners; // of each tag that is given
    u64 *waits;      // of each index that waits: from which batch on it may be given again
    Rules rules;     // in force
    u8 *rules_body;  // its bytes
    u32 rules_size;
    u32 account_count, owner_count;
    u32 free_handles, free_tags; // how many
    i128 fees, slot_fees;
    i64 *fill_fees;
    u32 fill_count, most_fills;
    Numbers handles, tags;           // free ones
    Numbers trading, reducing, timed; // accounts with orders, with reduce-only ones, with a timer
    Numbers waiting;                  // indices of empty accounts
    Strategy *strategies;             // by place
    Numbers planning, places;         // places that are taken, and those that are free
    Numbers unhealthy;                // accounts below maintenance, as they were last seen
    Numbers changed, signed_, moved, priced, observed, tagged, planned, waited; // leaves that may be others than they were

    const Address &owner_of(const Account &a) const { return owners[a.owner].address; }
    u32 owner_at(const Address &address) const;
    // Index of an owner's subaccount, or NONE.
    u32 account_at(const Address &address, u16 subaccount) const;
    Agent *agents_of(u32 account) const { return agents_ + size_t(Agent::MOST) * account; }
    // Of an account, or nullptr.
    Agent *agent_at(u32 account, const Address &address) const;
    // Appoints an agent, or appoints it anew; false if there is no place for it.
    bool appoint(u32 account, const Address &address, u64 expiry, u32 max_life, u64 seq, u64 time);
    u32 order_at(u32 account, u64 client_id) const;
    // What a message of an account about one of its orders will want; first from afar, then from near.
    void prefetch_account(u32 account, u64 client_id) const;
    void prefetch_orders(u32 account, u64 client_id) const;
    // A new account, at the lowest index that may be given again in `batch`, else at the next.
    u32 open_account(const Address &address, u64 generation, u16 subaccount, u64 batch);
    void credit(u32 account, i128 amount);
    void set_flags(u32 owner, u32 flags);
    void set_rules(const u8 *body, u32 size, u64 slot);
    // Lots of an instrument that all accounts of an owner together may come to hold, long or short.
    i128 could_hold(u32 owner, u32 market) const;
    // Whether an account could be done without.
    bool is_empty(u32 account) const;

    // Of an account and the index of an instrument; nullptr where it has nothing of it.
    Holding *holding(const Account &account, u32 market) const;
    template <class Visit> void each_holding(const Account &account, Visit visit) const {
        for (u32 at = account.holdings; at != NONE; at = holdings_[at].next)
            visit(holdings_[at]);
    }
    // The lowest instrument from `market` on of which an account has something, or NONE.
    u32 lowest_market(const Account &account, u32 market) const;
    void set_position(Account &account, u32 market, i64 size, i128 entry, i64 funding);

    // Nobody asks insurance for maintenance.
    Health health(u32 account) const;
    // Looks again whether an account is below maintenance; who is not begins anew when he is.
    void check(u32 account);
    bool holds_any(const Account &account, const Numbers &of) const;

    i64 unrealised_of(const Holding &holding);
    // Funding that a position owes (negative: gets), rounded up, held within ± 2**64.
    i128 unpaid(const Holding &h) const {
        const i128 change = i128(markets[h.market].funding.cumulative) - h.funding;
        return h.size && change ? state::unpaid(config->terms[h.market], h.size, change) : 0;
    }
    // Lots that rest on a side of an instrument's book, from the best price on: visit(price, lots) says whether
    // to go on.
    template <class Visit> void each_level(u32 market, u32 side, Visit visit) const;
    i64 equity(const Account &account);
    i64 requirement(const Holding *holding, u32 market, u32 side = 0, i32 price = 0, u32 lots = 0);
    i64 free_collateral(const Account &account);
    i128 solvency(const Account &account, i128 free);
    i128 withdrawable(const Account &account, i128 free);
    // The first instrument that an account holds and whose mark no quorum stands behind, or NONE.
    u32 unmarked(const Account &account) const;
    i128 shortfall();
    // Whether a quorum stands behind an instrument's mark, or nobody observes its underlying.
    bool is_valid(u32 market) const {
        const u32 feed = config->terms[market].feed;
        return feed == NONE || feeds[feed].counted >= config->underlyings[feed].quorum;
    }
    // Observations that count for an instrument's mark, and those that it takes; it has publishers.
    u32 counted(u32 market) const { return feeds[config->terms[market].feed].counted; }
    u32 quorum(u32 market) const { return config->underlyings[config->terms[market].feed].quorum; }
    i64 room_to_close(const Account &account, u32 market, u32 side) const;

    // Place of an account's strategy, or NONE.
    u32 strategy_at(u32 account, u64 client_id) const;
    void register_strategy(u32 place, const Strategy &strategy);
    void unregister(u32 place);
    void set_timer(u32 account, u64 time);
    void set_mark(u32 market, i32 mark, u64 time);
    void set_status(u32 market, u8 status) { markets[market].status = status, priced.insert(market); }

    void hold(const Order &order, i32 price, i64 lots);
    void add(u32 handle);
    u32 tag_of(const Order &order) const { return owners[accounts[order.account].owner].tag; }
    void rest(u32 handle);
    void replace(u32 handle, i32 price, u32 quantity, u64 queue);
    void trim(u32 handle, u32 left);
    void end(u32 handle);
    void shrink(u32 handle, u32 remaining);
    void end_slot(u64 batch);
    i64 fill(u32 account, u32 market, i64 quantity, i32 price, u32 rate);
    // The same for an order of the machine, whose fee is never beyond what equity is left.
    i64 close(u32 account, u32 market, i64 quantity, i32 price, u8 why);
    // Moves a position, and realises what that closes.
    void settle(u32 account, u32 market, i64 quantity, i32 price);
    void give_tag(u32 owner, u32 tag);

  private:
    u32 given_again(u64 batch);
    void wait_no_more(u32 account);
    void let_wait(u64 batch);
    void let_wait(u32 account, u64 until);
    void forget_agents(u32 account, u64 time);
    u32 owner_for(const Address &address);
    u64 hash_of_account(u32 owner, u16 subaccount) const { return hash_of(owner, u64{1} << 32 | subaccount); }
    Holding &holding_for(Account &account, u32 market);
    void drop_if_empty(Account &account, u32 market);
    i128 move(Account &account, u32 market, i64 quantity, i32 price);
    void count(u32 handle, u32 held);
    // So many more lots rest where an order does.
    void stack(const Order &order, i64 lots);
    u32 level_of(const Terms &terms, u32 side, i32 price) const;
    i128 pay_funding(Holding &h);
    void link(u32 handle);
    void unlink(u32 handle);
    u64 hash_of(const Address &address) const;
    u64 hash_of(u32 account, u64 client_id) const;

    Seed seed_;
    Holding *holdings_;
    u32 free_holdings_, used_holdings_;
    Index by_owner_, by_account_, by_client_;
    u64 *levels_[2];   // lots that rest, by side: bids from the pool's end on, asks from its beginning
    Numbers taken_[2]; // levels where some do
    Agent *agents_; // so many of each account, as they were appointed
    u32 *free_owners_, free_owner_count_;
    u32 ripe_; // indices below it were looked at in this slot, or are not ripe: none below is given again
    u32 *left_, left_count_;   // places that come free with the slot's end
    u32 *freed_, freed_count_; // handles that come free with the slot's end
    u32 *idle_, idle_count_;   // owners whose last order has ended
};

template <class Visit> void Ledger::each_level(u32 market, u32 side, Visit visit) const {
    const Terms &terms = config->terms[market];
    const u32 first = level_of(terms, side, side ? terms.base : terms.base + i32(terms.count - 1));
    u32 at = taken_[side].has(first) ? first : taken_[side].behind(first);
    for (; at != NONE && at - first < terms.count; at = taken_[side].behind(at)) {
        const i32 away = i32(at - first);
        if (!visit(side ? terms.base + away : terms.base + i32(terms.count - 1) - away, levels_[side][at]))
            return;
    }
}

inline u32 Ledger::level_of(const Terms &terms, u32 side, i32 price) const {
    const u32 level = terms.first + u32(price - terms.base);
    return side ? level : config->pool - 1 - level;
}

} // namespace hawse::state
