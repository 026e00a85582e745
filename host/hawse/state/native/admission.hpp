// What the machine takes back before a slot's commands, and what of the commands reaches the engine:
// hawse.state.sweep and hawse.state.admission.
#pragma once

#include "ledger.hpp"
#include "state.h"

namespace hawse::state {

// One message of a user, or the first row of one: hawse.keys.messages.MESSAGE.
struct Message {
    u8 kind, side, time_in_force, mode;
    u16 instrument, zero_6;
    u32 account;
    i32 price;
    u32 quantity, zero_20;
    u64 client_id, generation, nonce, expiry, amount;
    u8 signature[64];
};
static_assert(sizeof(Message) == 128, "a row");

// What hawse.keys.messages.MessageKind numbers, as far as it is carried out, and which kinds take two rows.
enum MessageKind : u8 {
    ORDER = 1,
    CANCEL = 2,
    CANCEL_ALL = 3,
    REPLACE = 4,
    REDUCE = 5,
    TRANSFER = 7,
    WITHDRAW = 8,
    APPOINT = 9,
    REVOKE = 10,
    REGISTER = 11,
    UNREGISTER = 12,
    CANCEL_ALL_AFTER = 13,
};
// What hawse.state.slot.RequestKind numbers.
enum RequestKind : u8 { FORCED_WITHDRAW = 1, FORCED_CANCEL_ALL = 2, FORCED_APPOINT = 3, FORCED_EXIT = 4 };
inline bool is_wide(u8 kind) { return kind == 6 || (kind >= 9 && kind <= 11); }
// Kinds that a slot has before its commands, and kinds that the owner alone may sign.
inline bool is_authorisation(u8 kind) { return kind == APPOINT || kind == REVOKE; }
inline bool is_the_owners(u8 kind) { return (kind >= TRANSFER && kind <= REVOKE) || kind == 14; }
constexpr u16 NO_INSTRUMENT = 0xFFFF;
constexpr u8 REDUCE_ONLY = 4;

// The second row of an APPOINT, or of a REVOKE, which has the address alone.
struct AgentBody {
    u8 zero_0[8];
    Address agent;
    u8 zero_28[4];
    u64 expiry, max_life;
    u8 zero_48[80];
};
static_assert(sizeof(AgentBody) == sizeof(Message), "a row");

// The second row of a REGISTER.
struct StrategyBody {
    u8 zero_0, kind, trigger, zero_3;
    i32 trigger_price, limit_price;
    u32 offset_ppm, every, zero_20;
    i64 low, high;
    u64 until;
    u8 zero_48[80];
};
static_assert(sizeof(StrategyBody) == sizeof(Message), "a row");

struct Refusal {
    u64 seq;
    u8 reason, detail, zero[6];
    i128 have, need;
};

struct Event {
    u8 reason, zero;
    u16 instrument;
    u32 account;
    u64 zeros;
    i128 first, second;
};

// A command at the engine, whose reports are awaited, and what came of it.
struct Sent {
    u64 seq;
    u32 handle;
    u8 opcode, reason;
    i32 price;
    u32 quantity, filled;
    i128 have, need, value, fee;
};

// A command of the machine itself: of which row, whose order it is about, what caused it (0 the slot), and why.
struct MachineInput {
    u64 seq, cause;
    u32 row, account;
    u8 reason, zero[7];
};

// Lists of one slot.
template <class T> struct List {
    T *items;
    u32 count;

    void make(Arena &arena, size_t most_items) { items = arena.make<T>(most_items); }
    T &add() { return items[count++]; }
};

// Where a TRANSFER went to.
struct Transfer {
    u64 seq, generation;
    u32 account, zero;
};

struct Withdrawal {
    Address owner;
    u64 amount;
};

// Judges the commands of one slot, one after another, and holds what they may cost.
class Admission {
  public:
    // Of events, so many beside those of orders.
    void make(Arena &arena, Ledger &ledger, const Capacity &capacity, size_t most_events);
    void begin(u64 slot, u64 time, u64 seq, u64 batch);
    // Takes back what no account carries any more; `moved` are instruments with a new mark, `touched` accounts
    // that another's end has cost something.
    void sweep(const Numbers &moved, const Numbers &touched);
    // An order of the machine that closes `lots` (negative: short), if engine and owner have a number.
    // Gives 0, or why none was sent.
    u8 close(u32 account, u32 market, i64 lots, i32 price, u8 why, i128 first, i128 second, u64 cause);
    void give_up(u32 handle, u8 reason, i128 first, i128 second, u32 left = 0);
    void tell(u8 reason, u32 account, u16 instrument, i128 first, i128 second) {
        events.add() = {reason, 0, instrument, account, 0, first, second};
    }
    void act(u32 place, u8 side, u32 lots, i32 price);
    // Accounts have been closed: what they owe may be another sum.
    void look_again() { shortfall_known_ = false; }
    // A message, whose signer is nullptr where nobody signed it; its struct hash says whether it is one. A wide
    // one has its second row behind it.
    void message(const Message &message, const Address *signer, const Hash &struct_hash);
    // A request of the contract's queue.
    void forced(const hawse_state_request &request);
    void cancel_forced();
    void pay(const Address &owner, u64 amount);
    // A refusal of the input that has this number.
    void note(u64 seq, u8 reason, i128 have, i128 need, u8 detail = 0);

    u64 seq; // of the last command
    bool wrong; // a message without struct that has nothing wrong: signers and messages do not fit
    List<hawse_order> rows;
    List<Sent> sent; // one for each row
    List<Refusal> refusals;
    List<Event> events;
    List<MachineInput> machine;
    List<u64> message_seqs, appointments; // of each message: of its signer's appointment, 0 for the owner or nobody
    List<u64> request_seqs;
    List<Transfer> transfers;
    // An account all of whose orders go, or all positions too, and the request that wants it.
    struct Leaving {
        u64 seq;
        u32 account;
        bool exits;
    };
    List<Leaving> leaving;
    List<Withdrawal> withdrawals; // of the batch
    i128 withdrawn;               // over all time

  private:
    void trim_all();
    void trim(u32 index, u32 market, u32 side);
    void carry_all(const Numbers &moved, const Numbers &also);
    void carry(u32 index);
    void time_out();
    bool only_closes(const Order &order);

    // Each of these says whether it went well; if not, it is refused, or an amount has left int64.
    bool is_formed(const Message &m, const Hash &struct_hash);
    bool is_good(const Message &m, const Address *signer);
    bool is_there(u32 index, u64 generation);
    bool find_window(const Message &m, const Address *signer);
    bool carry_out(const Message &m);
    bool new_order(const Message &m);
    bool has_room(const Account &account, u32 market);
    bool replace(u32 handle, const Message &m);
    bool reduce(u32 handle, u32 quantity);
    bool carries(const Order &order, u32 handle, i32 price, u32 quantity);
    bool no_mark(u32 market);
    bool may_grow(const Account &account, u32 market, u32 quantity);
    bool pays(const Order &order, i32 price, u32 quantity, i128 more, i128 free);
    bool big_enough(u32 market, u32 quantity);
    u64 lots_beside(const Order &order, u32 handle, bool reduce_only) const;
    bool is_beside(const Order &order, u32 handle, u32 other, bool reduce_only) const;
    void make_room(const Order &order, u32 handle, i64 room);
    bool cancel_all(const Message &m);
    bool set_timer(const Message &m);
    bool register_strategy(const Message &m);
    bool unregister(const Message &m);
    bool withdraw(u32 index, u64 amount);
    bool withdraw_all(u32 index);
    bool carry_out(const hawse_state_request &request);
    bool transfer(const Message &m);
    bool may_open(const Owner &owner, u16 subaccount, i64 amount);
    bool may_leave(Account &account, u64 amount);
    void take_from(u32 index, i64 amount);
    bool appoint(u32 index, const Address &agent, u64 expiry, u64 life);
    bool revoke(u32 index, const Address &agent);
    bool no_instrument(u16 number);
    bool is_open(u32 market);

    bool refuse(u8 reason, i128 have, i128 need, u8 detail = 0);
    void send(u8 opcode, u32 handle, i32 price, u32 quantity, u8 flags);
    void take(u32 handle, u32 left, u8 reason, u64 cause);
    i128 free_of(Account &account);


    static constexpr u64 AS_HE_SAYS = ~u64{0};
    Ledger *ledger_;
    u64 slot_, time_, batch_, highest_nonce_, message_seq_;
    Nonces *window_; // of who signed the message in work
    u64 life_;       // how long his commands may live, or AS_HE_SAYS
    u64 appointment_;
    i128 shortfall_;
    bool shortfall_known_;
};

// Of a message that is not well formed: what it has, what it should have, and where; false if it has nothing wrong.
struct Flaw {
    i128 have, need;
    u8 detail;
};
bool find_flaw(const Message &m, Flaw &flaw);
bool is_carried(u8 kind);

} // namespace hawse::state
