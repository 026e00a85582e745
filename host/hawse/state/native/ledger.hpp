// Accounts, their positions and orders, the instruments' markets, the venue's own balances: hawse.state.ledger.
#pragma once

#include "lanes.hpp"
#include "margin.hpp"

namespace hawse::state {

// How much there may be of what the configuration does not bound. Who needs more makes a larger machine.
struct Capacity {
    u64 accounts;
    u64 messages;    // of a slot: commands, deposits and operations
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

// Who owns accounts, and his number at the engine.
struct Owner {
    Address address;
    u32 account;
    u32 tag; // 0: none
    u32 orders;
};

struct alignas(64) Account {
    u32 owner;
    u32 holdings, touched; // first of them, and how many
    u32 newest, orders;    // of its orders, and how many
    u32 reducing;          // reduce-only ones among them
    u64 generation;
    i64 collateral;
    u64 timer;
    i128 free;     // what is left of free collateral within a slot,
    u64 free_slot; // the number behind this one's; a cache, not state
    Nonces nonces;
};

struct alignas(64) Order {
    u64 client_id, queue;
    u32 account, market;
    i32 price;
    u32 remaining, held, peak;
    u32 newer, older; // of the same account, by queue
    u8 side, time_in_force, self_trade;
    bool reduce_only, dropped, resting, has_leaf;
    Hash leaf;

    u8 leaf_flags() const { return u8(self_trade | reduce_only << 2); }
};

struct Market {
    i32 mark;
    u64 mark_time;
    u64 open_interest;
    u128 dust;
};

class Ledger {
  public:
    void make(Arena &arena, const Config &config, const Capacity &capacity, const Seed &seed);

    const Config *config;
    Overflow overflow;
    Market *markets;
    Account *accounts;
    Owner *owners;
    Order *orders;   // by handle
    u32 *tag_owners; // of each tag that is given
    u32 account_count, owner_count;
    i128 fees, slot_fees;
    i64 *fill_fees;
    u32 fill_count, most_fills;
    Numbers handles, tags;           // free ones
    Numbers trading, reducing, timed; // accounts with orders, with reduce-only ones, with a timer
    Numbers changed, signed_, moved, priced, tagged; // leaves that may be others than they were

    const Address &owner_of(const Account &a) const { return owners[a.owner].address; }
    u32 owner_at(const Address &address) const;
    u32 order_at(u32 account, u64 client_id) const;
    // What a message of an account about one of its orders will want; first from afar, then from near.
    void prefetch_account(u32 account, u64 client_id) const;
    void prefetch_orders(u32 account, u64 client_id) const;
    u32 open_account(const Address &address, u64 generation);

    // Of an account and the index of an instrument; nullptr where it has nothing of it.
    Holding *holding(const Account &account, u32 market) const;
    template <class Visit> void each_holding(const Account &account, Visit visit) const {
        for (u32 at = account.holdings; at != NONE; at = holdings_[at].next)
            visit(holdings_[at]);
    }
    // The lowest instrument from `market` on of which an account has something, or NONE.
    u32 lowest_market(const Account &account, u32 market) const;
    void set_position(Account &account, u32 market, i64 size, i128 entry);

    i64 unrealised_of(const Holding &holding);
    i64 equity(const Account &account);
    i64 requirement(const Holding *holding, u32 market, u32 side = 0, i32 price = 0, u32 lots = 0);
    i64 free_collateral(const Account &account);
    i128 solvency(const Account &account, i128 free);
    i128 withdrawable(const Account &account, i128 free);
    i128 shortfall();
    i64 room_to_close(const Account &account, u32 market, u32 side) const;

    void set_timer(u32 account, u64 time);
    void set_mark(u32 market, i32 mark, u64 time);

    void hold(const Order &order, i32 price, i64 lots);
    void add(u32 handle);
    u32 tag_of(const Order &order) const { return owners[accounts[order.account].owner].tag; }
    void rest(u32 handle);
    void replace(u32 handle, i32 price, u32 quantity, u64 queue);
    void trim(u32 handle, u32 left);
    void end(u32 handle);
    void shrink(u32 handle, u32 remaining);
    void end_slot();
    i64 fill(u32 account, u32 market, i64 quantity, i32 price, u32 rate);
    void give_tag(u32 owner, u32 tag);

  private:
    Holding &holding_for(Account &account, u32 market);
    void drop_if_empty(Account &account, u32 market);
    i128 move(Account &account, u32 market, i64 quantity, i32 price);
    void count(u32 handle, u32 held);
    void link(u32 handle);
    void unlink(u32 handle);
    u64 hash_of(const Address &address) const;
    u64 hash_of(u32 account, u64 client_id) const;

    Seed seed_;
    Holding *holdings_;
    u32 free_holdings_, used_holdings_;
    Index by_owner_, by_client_;
    u32 *freed_, freed_count_; // handles that come free with the slot's end
    u32 *idle_, idle_count_;   // owners whose last order has ended
};

} // namespace hawse::state
