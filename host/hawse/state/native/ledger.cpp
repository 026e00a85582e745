#include "ledger.hpp"

namespace hawse::state {

u8 Nonces::take(u64 nonce, u64 highest, u64 &limit) {
    if (nonce >= floor && !(count && nonce <= at(count - 1))) {
        if (nonce > highest) {
            limit = highest;
            return HAWSE_REASON_NONCE_AHEAD;
        }
        if (count == WINDOW)
            memmove(used, used + 6, 6 * --count);
        put(count++, nonce);
        return 0;
    }
    limit = most(floor, count == WINDOW ? at(0) : 0);
    if (nonce < limit)
        return HAWSE_REASON_NONCE_LOW;
    u32 low = 0, high = count;
    while (low < high) {
        const u32 middle = (low + high) / 2;
        if (at(middle) < nonce)
            low = middle + 1;
        else
            high = middle;
    }
    if (at(low) == nonce) {
        limit = at(count - 1) + 1;
        return HAWSE_REASON_NONCE_USED;
    }
    if (count == WINDOW) // the lowest is forgotten; it is not the new one, which is above it
        memmove(used, used + 6, 6 * --low);
    else
        memmove(used + 6 * (low + 1), used + 6 * low, 6 * (count++ - low));
    put(low, nonce);
    return 0;
}

bool Rules::read(const u8 *body, size_t size) {
    Reader from(body, size);
    number = from.get<u32>();
    const u8 must = from.get<u8>();
    lots = from.get<u64>(), barred_count = from.get<u16>();
    listed = must;
    barred = from.take(2 * size_t(barred_count));
    if (!from.done() || !number || must > 1)
        return false;
    for (u32 n = 1; n < barred_count; ++n)
        if (memcmp(barred + 2 * n - 2, barred + 2 * n, 2) >= 0)
            return false;
    return true;
}

u8 Rules::broken(u32 flags, i128 could_hold, i128 &has) const {
    enum : u8 { ALLOW_LIST = 1, JURISDICTION = 2, POSITION = 3 };
    has = flags;
    if (listed && !(flags & ALLOWED))
        return ALLOW_LIST;
    const u32 jurisdiction = flags >> 16;
    u32 low = 0, high = barred_count;
    const auto at = [&](u32 n) { return u32(barred[2 * n]) << 8 | barred[2 * n + 1]; };
    while (low < high) {
        const u32 middle = (low + high) / 2;
        if (at(middle) < jurisdiction)
            low = middle + 1;
        else
            high = middle;
    }
    has = jurisdiction;
    if (low < barred_count && at(low) == jurisdiction)
        return JURISDICTION;
    has = could_hold;
    return flags & BOUND && could_hold > i128(lots) ? POSITION : 0;
}

void Ledger::make(Arena &arena, const Config &of, const Capacity &capacity, const Seed &seed) {
    config = &of;
    seed_ = seed;
    const size_t most_accounts = capacity.accounts, most_sent = capacity.messages + 4 * size_t(of.orders);
    markets = arena.make<Market>(of.instruments);
    feeds = arena.make<Feed>(of.underlying_count);
    accounts = arena.make<Account>(most_accounts);
    owners = arena.make<Owner>(most_accounts);
    agents_ = arena.make<Agent>(Agent::MOST * most_accounts);
    free_owners_ = arena.make<u32>(most_accounts);
    waits = arena.make<u64>(most_accounts);
    rules_body = arena.make<u8>(Rules::LONGEST);
    orders = arena.make<Order>(of.orders);
    tag_owners = arena.make<u32>(of.tags());
    most_fills = u32(2 * most_sent);
    fill_fees = arena.make<i64>(most_fills);
    holdings_ = arena.make<Holding>(most_accounts * of.position_quota + MOST_HELD); // insurance has no quota
    for (u32 side = 0; side < 2; ++side) {
        levels_[side] = arena.make<u64>(of.pool);
        taken_[side].make(arena, of.pool);
    }
    freed_ = arena.make<u32>(of.orders);
    left_ = arena.make<u32>(of.orders);
    strategies = arena.make<Strategy>(of.orders);
    planning.make(arena, of.orders);
    places.make(arena, of.orders);
    planned.make(arena, of.orders);
    idle_ = arena.make<u32>(most_sent);
    by_owner_.make(arena, most_accounts);
    by_account_.make(arena, most_accounts);
    by_client_.make(arena, of.orders);
    handles.make(arena, of.orders);
    tags.make(arena, of.tags());
    Numbers *const of_accounts[] = {&trading, &reducing, &timed, &waiting, &unhealthy, &changed, &signed_, &waited};
    for (Numbers *set : of_accounts)
        set->make(arena, most_accounts);
    moved.make(arena, of.orders);
    priced.make(arena, of.instruments);
    observed.make(arena, of.underlying_count);
    tagged.make(arena, of.tags());
    if (arena.counts() || !arena.enough())
        return;
    free_holdings_ = NONE;
    used_holdings_ = left_count_ = freed_count_ = idle_count_ = fill_count = account_count = owner_count = 0;
    free_owner_count_ = ripe_ = rules_size = 0;
    rules = {};
    free_handles = of.orders, free_tags = of.tags() - 1;
    for (u32 n = 0; n < of.orders; ++n)
        handles.insert(n), places.insert(n);
    for (u32 tag = 1; tag < of.tags(); ++tag)
        tags.insert(tag);
    for (u32 n = 0; n < of.instruments; ++n) {
        markets[n].mark = of.terms[n].first_mark, markets[n].status = HAWSE_INSTRUMENT_STATE_OPEN;
        markets[n].funding.index = 1;
        priced.insert(n);
    }
    for (u32 n = 0; n < of.underlying_count; ++n)
        observed.insert(n);
    open_account({}, 0, 0, 0); // the venue's own, which nobody finds by its owner
}

u64 Ledger::hash_of(const Address &address) const {
    u64 words[3] = {};
    memcpy(words, address.bytes, 20);
    return keyed_hash(seed_, words, 3);
}

u64 Ledger::hash_of(u32 account, u64 client_id) const {
    const u64 words[2] = {account, client_id};
    return keyed_hash(seed_, words, 2);
}

u32 Ledger::owner_at(const Address &address) const {
    return by_owner_.find(hash_of(address), [&](u32 owner) { return owners[owner].address == address; });
}

u32 Ledger::order_at(u32 account, u64 client_id) const {
    return by_client_.find(hash_of(account, client_id), [&](u32 handle) {
        return orders[handle].account == account && orders[handle].client_id == client_id;
    });
}

void Ledger::prefetch_account(u32 index, u64 client_id) const {
    if (index >= account_count)
        return;
    const u8 *const at = reinterpret_cast<const u8 *>(accounts + index);
    for (size_t line = 0; line < sizeof(Account); line += 64)
        __builtin_prefetch(at + line, 1);
    if (client_id)
        by_client_.prefetch(hash_of(index, client_id));
}

void Ledger::prefetch_orders(u32 index, u64 client_id) const {
    if (index >= account_count)
        return;
    const Account &account = accounts[index];
    __builtin_prefetch(owners + account.owner, 1);
    if (account.holdings != NONE) {
        const u8 *const at = reinterpret_cast<const u8 *>(holdings_ + account.holdings);
        __builtin_prefetch(at, 1);
        __builtin_prefetch(at + 64, 1);
    }
    if (account.newest != NONE)
        __builtin_prefetch(orders + account.newest, 1);
    const u32 likely = client_id ? by_client_.find(hash_of(index, client_id), [](u32) { return true; }) : NONE;
    if (likely != NONE)
        __builtin_prefetch(orders + likely, 1);
}

u32 Ledger::account_at(const Address &address, u16 subaccount) const {
    const u32 owner = owner_at(address);
    if (owner == NONE || !subaccount)
        return owner == NONE ? NONE : owners[owner].account;
    return by_account_.find(hash_of_account(owner, subaccount), [&](u32 index) {
        return accounts[index].owner == owner && accounts[index].subaccount == subaccount;
    });
}

// The owner of this address, known or new.
u32 Ledger::owner_for(const Address &address) {
    const u32 known = account_count == INSURANCE ? NONE : owner_at(address);
    if (known != NONE)
        return known;
    const u32 owner = free_owner_count_ ? free_owners_[--free_owner_count_] : owner_count++;
    owners[owner] = {address, NONE, NONE, 0, 0, 0};
    if (account_count != INSURANCE)
        by_owner_.insert(hash_of(address), owner);
    return owner;
}

u32 Ledger::open_account(const Address &address, u64 generation, u16 subaccount, u64 batch) {
    const u32 index = given_again(batch);
    const u32 number = owner_for(address); // behind it, for who had the index may be gone
    account_count = most(account_count, index + 1);
    Owner &owner = owners[number];
    Account &account = accounts[index];
    account = {};
    account.owner = number;
    account.holdings = account.newest = account.strategy = NONE;
    account.generation = generation;
    account.subaccount = subaccount;
    account.flags = owner.account == NONE ? 0 : accounts[owner.account].flags;
    account.next = owner.first;
    owner.first = index;
    ++owner.accounts;
    if (!subaccount)
        owner.account = index;
    else
        by_account_.insert(hash_of_account(number, subaccount), index);
    changed.insert(index);
    signed_.insert(index);
    return index;
}

// The index of a new account; the empty one that has it is nobody's from now on. Within a slot none begins to wait,
// and one that is not empty stays so: what waits is looked through once, however many accounts are opened.
u32 Ledger::given_again(u64 batch) {
    u32 index = ripe_;
    do {
        index = waiting.behind(index);
        if (index == NONE)
            return account_count;
        ripe_ = index;
    } while (waits[index] > batch || !is_empty(index));
    wait_no_more(index);
    timed.erase(index);
    Account &gone = accounts[index];
    while (gone.strategies)
        unregister(gone.strategy);
    Owner &owner = owners[gone.owner];
    u32 *link = &owner.first;
    while (*link != index)
        link = &accounts[*link].next;
    *link = gone.next;
    if (gone.subaccount)
        by_account_.erase(hash_of_account(gone.owner, gone.subaccount), index);
    if (--owner.accounts) {
        changed.insert(owner.account); // it may be the owner's last
        return index;
    }
    by_owner_.erase(hash_of(owner.address), gone.owner);
    owner.account = NONE;
    free_owners_[free_owner_count_++] = gone.owner;
    return index;
}

void Ledger::credit(u32 index, i128 amount) {
    accounts[index].collateral = i64(accounts[index].collateral + amount);
    changed.insert(index);
    wait_no_more(index);
}

void Ledger::set_flags(u32 owner, u32 flags) {
    for (u32 at = owners[owner].first; at != NONE; at = accounts[at].next) {
        accounts[at].flags = flags;
        changed.insert(at);
    }
}

void Ledger::set_rules(const u8 *body, u32 size, u64 slot) {
    memcpy(rules_body, body, size);
    rules_size = size;
    rules.read(rules_body, size);
    rules.from = slot;
}

i128 Ledger::could_hold(u32 owner, u32 market) const {
    i128 total = 0;
    for (u32 at = owners[owner].first; at != NONE; at = accounts[at].next)
        if (const Holding *h = holding(accounts[at], market))
            total += worst_of_three(h->size, h->lots[0], h->lots[1]);
    return total;
}

// A main account has to outlast its owner's others.
bool Ledger::is_empty(u32 index) const {
    const Account &a = accounts[index];
    if (a.collateral || a.orders || (!a.subaccount && owners[a.owner].accounts != 1))
        return false;
    bool flat = true;
    each_holding(a, [&](const Holding &h) { flat &= !h.size; });
    return flat;
}

void Ledger::wait_no_more(u32 index) {
    if (!waiting.has(index))
        return;
    waiting.erase(index);
    waited.insert(index);
}

void Ledger::let_wait(u32 index, u64 until) {
    if (index == INSURANCE)
        return;
    if (!is_empty(index)) {
        wait_no_more(index);
    } else if (!waiting.has(index)) {
        waits[index] = until;
        waiting.insert(index);
        waited.insert(index);
    }
}

// Indices of accounts that the slot has emptied wait; those of accounts in use do not.
void Ledger::let_wait(u64 batch) {
    const u64 until = batch + config->reuse_batches;
    changed.each([&](u32 index) { let_wait(index, until); });
    signed_.each([&](u32 index) { let_wait(index, until); });
    moved.each([&](u32 handle) { let_wait(orders[handle].account, until); });
}

// Agents

Agent *Ledger::agent_at(u32 index, const Address &address) const {
    Agent *const agents = agents_of(index);
    for (u32 n = 0; n < accounts[index].agents; ++n)
        if (agents[n].address == address)
            return agents + n;
    return nullptr;
}

// One that is appointed anew keeps its nonces, and the longer of both lives. The nonces of one that is not known
// begin a usual life ago, above all that one used who was forgotten.
bool Ledger::appoint(u32 index, const Address &address, u64 expiry, u32 max_life, u64 seq, u64 time) {
    Agent *const agents = agents_of(index);
    u8 &count = accounts[index].agents;
    Agent agent{};
    if (Agent *known = agent_at(index, address)) {
        agent = *known;
        memmove(known, known + 1, size_t(agents + --count - known) * sizeof(Agent));
    } else {
        forget_agents(index, time);
        if (count >= Agent::MOST)
            return false;
        agent.address = address;
        agent.nonces.floor = time < Agent::USUAL_LIFE ? 0 : time - Agent::USUAL_LIFE;
    }
    agent.expiry = expiry, agent.appointed = seq;
    agent.max_life = most(agent.max_life, max_life);
    agents[count++] = agent;
    return true;
}

// Free the places of agents whose time is over, and of whom no command could come a second time.
void Ledger::forget_agents(u32 index, u64 time) {
    Agent *const agents = agents_of(index);
    u8 &count = accounts[index].agents;
    u8 kept = 0;
    for (u32 n = 0; n < count; ++n)
        if (agents[n].expiry >= time || agents[n].last() >= time)
            agents[kept++] = agents[n];
    count = kept;
}

// Holdings

Holding *Ledger::holding(const Account &account, u32 market) const {
    for (u32 at = account.holdings; at != NONE && holdings_[at].market <= market; at = holdings_[at].next)
        if (holdings_[at].market == market)
            return &holdings_[at];
    return nullptr;
}

u32 Ledger::lowest_market(const Account &account, u32 market) const {
    for (u32 at = account.holdings; at != NONE; at = holdings_[at].next)
        if (holdings_[at].market >= market)
            return holdings_[at].market;
    return NONE;
}

Holding &Ledger::holding_for(Account &account, u32 market) {
    u32 *link = &account.holdings;
    while (*link != NONE && holdings_[*link].market < market)
        link = &holdings_[*link].next;
    if (*link != NONE && holdings_[*link].market == market)
        return holdings_[*link];
    u32 at = free_holdings_;
    if (at == NONE)
        at = used_holdings_++;
    else
        free_holdings_ = holdings_[at].next;
    holdings_[at] = {};
    holdings_[at].market = market;
    holdings_[at].next = *link;
    *link = at;
    ++account.touched;
    return holdings_[at];
}

void Ledger::drop_if_empty(Account &account, u32 market) {
    u32 *link = &account.holdings;
    while (holdings_[*link].market != market)
        link = &holdings_[*link].next;
    const u32 at = *link;
    if (holdings_[at].size || holdings_[at].open())
        return;
    *link = holdings_[at].next;
    holdings_[at].next = free_holdings_;
    free_holdings_ = at;
    --account.touched;
}

void Ledger::set_position(Account &account, u32 market, i64 size, i128 entry, i64 funding) {
    Holding &h = holding_for(account, market);
    h.size = size, h.entry = entry, h.funding = funding;
    drop_if_empty(account, market);
}

i64 Ledger::unrealised_of(const Holding &h) {
    return h.size ? unrealised(config->terms[h.market], h.size, h.entry, markets[h.market].mark, overflow) : 0;
}

i64 Ledger::equity(const Account &account) {
    i128 sum = account.collateral;
    each_holding(account, [&](const Holding &h) { sum += unrealised_of(h) - unpaid(h); });
    return overflow.money(sum);
}

// What an instrument holds of free collateral, with one more order if there are lots.
i64 Ledger::requirement(const Holding *h, u32 market, u32 side, i32 price, u32 lots) {
    static constexpr Holding NOTHING{};
    const Holding &has = h ? *h : NOTHING;
    const Weight more = order_weight(side, price, lots, markets[market].mark);
    const i64 buy = has.lots[0] + (side ? 0 : lots), sell = has.lots[1] + (side ? lots : 0);
    return state::requirement(config->terms[market], markets[market].mark, has.size, buy, sell,
                              has.loss + more.loss, has.basis + more.basis, overflow);
}

i64 Ledger::free_collateral(const Account &account) {
    const i64 has = equity(account);
    i128 held = 0;
    each_holding(account, [&](const Holding &h) { held += requirement(&h, h.market); });
    return overflow.money(has - held);
}

i128 Ledger::solvency(const Account &account, i128 free) {
    each_holding(account, [&](const Holding &h) {
        const i128 worst = worst_of_three(h.size, h.lots[0], h.lots[1]);
        free += initial_margin(config->terms[h.market], markets[h.market].mark, worst, overflow);
    });
    return free;
}

i128 Ledger::withdrawable(const Account &account, i128 free) {
    each_holding(account, [&](const Holding &h) { free -= most<i128>(0, unrealised_of(h) - unpaid(h)); });
    return unmarked(account) != NONE ? 0 : most<i128>(0, least<i128>(account.collateral, free));
}

u32 Ledger::unmarked(const Account &account) const {
    for (u32 at = account.holdings; at != NONE; at = holdings_[at].next)
        if (holdings_[at].size && !is_valid(holdings_[at].market))
            return holdings_[at].market;
    return NONE;
}

i128 Ledger::shortfall() {
    i128 owed = 0;
    for (u32 n = 0; n < account_count; ++n)
        owed += most<i128>(0, -i128(equity(accounts[n])));
    return owed;
}

// Lots of a position that orders on `side` could still close; negative, if there are too many.
i64 Ledger::room_to_close(const Account &account, u32 market, u32 side) const {
    const Holding *h = holding(account, market);
    if (!h)
        return 0;
    const bool closes = h->size && (h->size > 0) == bool(side);
    return (closes ? magnitude(h->size) : 0) - h->lots[side];
}

u32 Ledger::strategy_at(u32 account, u64 client_id) const {
    u32 at = accounts[account].strategies ? accounts[account].strategy : NONE;
    while (at != NONE && strategies[at].client_id != client_id)
        at = strategies[at].other;
    return at;
}

void Ledger::register_strategy(u32 place, const Strategy &strategy) {
    Account &account = accounts[strategy.account];
    places.erase(place);
    planning.insert(place);
    planned.insert(place);
    strategies[place] = strategy;
    strategies[place].other = account.strategies++ ? account.strategy : NONE;
    account.strategy = place;
}

// Its place comes free with the slot's end.
void Ledger::unregister(u32 place) {
    Account &account = accounts[strategies[place].account];
    u32 *link = &account.strategy;
    while (*link != place)
        link = &strategies[*link].other;
    *link = strategies[place].other;
    --account.strategies;
    planning.erase(place);
    planned.insert(place);
    left_[left_count_++] = place;
}

void Ledger::set_timer(u32 account, u64 time) {
    accounts[account].timer = time;
    if (time)
        timed.insert(account);
    else
        timed.erase(account);
    signed_.insert(account);
}

void Ledger::set_mark(u32 market, i32 mark, u64 time) {
    markets[market].mark = mark, markets[market].mark_time = time;
    priced.insert(market);
    trading.each([&](u32 index) {
        const Account &account = accounts[index];
        Holding *h = holding(account, market);
        if (!h || !h->open())
            return;
        h->loss = h->basis = 0;
        for (u32 at = account.newest; at != NONE; at = orders[at].older) {
            const Order &o = orders[at];
            if (o.market != market)
                continue;
            const Weight weight = order_weight(o.side, o.price, o.held, mark);
            h->loss += weight.loss, h->basis += weight.basis;
        }
    });
}

// Orders

// Count so many more lots of an order at `price` (negative: fewer) in its account's exposure.
void Ledger::hold(const Order &order, i32 price, i64 lots) {
    if (!lots)
        return;
    Account &account = accounts[order.account];
    Holding &h = holding_for(account, order.market);
    const Weight weight = order_weight(order.side, price, u32(magnitude(lots)), markets[order.market].mark);
    h.lots[order.side] += lots;
    h.loss = lots < 0 ? h.loss - weight.loss : h.loss + weight.loss;
    h.basis = lots < 0 ? h.basis - weight.basis : h.basis + weight.basis;
    if (!h.open()) {
        h.loss = h.basis = 0;
        drop_if_empty(account, order.market);
    }
}

void Ledger::count(u32 handle, u32 held) {
    Order &order = orders[handle];
    hold(order, order.price, i64(held) - order.held);
    order.held = held;
}

// Into its account's list, which is by queue, the newest first.
void Ledger::link(u32 handle) {
    Order &order = orders[handle];
    u32 newer = NONE, older = accounts[order.account].newest;
    while (older != NONE && orders[older].queue > order.queue)
        newer = older, older = orders[older].older;
    order.newer = newer, order.older = older;
    (newer == NONE ? accounts[order.account].newest : orders[newer].older) = handle;
    if (older != NONE)
        orders[older].newer = handle;
}

void Ledger::unlink(u32 handle) {
    const Order &order = orders[handle];
    (order.newer == NONE ? accounts[order.account].newest : orders[order.newer].older) = order.older;
    if (order.older != NONE)
        orders[order.older].newer = order.newer;
}

void Ledger::give_tag(u32 owner, u32 tag) {
    tags.erase(tag);
    --free_tags;
    owners[owner].tag = tag;
    tag_owners[tag] = owner;
    tagged.insert(tag);
}

// An order, of which the caller has filled in what it is, is on its way to the engine.
void Ledger::add(u32 handle) {
    Order &order = orders[handle];
    Account &account = accounts[order.account];
    handles.erase(handle);
    --free_handles;
    if (!order.why) {
        by_client_.insert(hash_of(order.account, order.client_id), handle);
        link(handle);
        if (!account.orders++)
            trading.insert(order.account);
    }
    if (order.reduce_only && !account.reducing++)
        reducing.insert(order.account);
    Owner &owner = owners[account.owner];
    if (!owner.tag)
        give_tag(account.owner, tags.first());
    ++owner.orders;
    count(handle, order.remaining);
    order.peak = order.remaining;
}

void Ledger::rest(u32 handle) {
    orders[handle].resting = true;
    stack(orders[handle], orders[handle].remaining);
    moved.insert(handle);
}

void Ledger::stack(const Order &order, i64 lots) {
    const Terms &terms = config->terms[order.market];
    if (!terms.impact_notional)
        return;
    const u32 level = level_of(terms, order.side, order.price);
    u64 &rests = levels_[order.side][level];
    if (!rests)
        taken_[order.side].insert(level);
    rests += u64(lots);
    if (!rests)
        taken_[order.side].erase(level);
}

void Ledger::replace(u32 handle, i32 price, u32 quantity, u64 queue) {
    Order &order = orders[handle];
    stack(order, -i64(order.remaining));
    order.resting = false;
    moved.insert(handle);
    count(handle, 0);
    unlink(handle);
    order.price = price, order.remaining = quantity, order.queue = queue;
    link(handle);
    count(handle, quantity);
}

void Ledger::trim(u32 handle, u32 left) {
    count(handle, left);
    orders[handle].peak = left;
    orders[handle].dropped = !left;
}

void Ledger::end(u32 handle) {
    Order &order = orders[handle];
    Account &account = accounts[order.account];
    if (order.resting) {
        stack(order, -i64(order.remaining));
        order.resting = false;
        moved.insert(handle);
    }
    count(handle, 0);
    if (!order.why) {
        by_client_.erase(hash_of(order.account, order.client_id), handle);
        unlink(handle);
        if (!--account.orders)
            trading.erase(order.account);
    }
    if (order.reduce_only && !--account.reducing)
        reducing.erase(order.account);
    order.remaining = 0;
    freed_[freed_count_++] = handle;
    if (!--owners[account.owner].orders)
        idle_[idle_count_++] = account.owner;
}

void Ledger::shrink(u32 handle, u32 remaining) {
    Order &order = orders[handle];
    if (order.resting) {
        stack(order, i64(remaining) - order.remaining);
        moved.insert(handle);
    }
    order.remaining = order.peak = remaining;
    count(handle, remaining);
}

void Ledger::end_slot(u64 batch) {
    ripe_ = 0;
    let_wait(batch);
    free_handles += freed_count_;
    while (freed_count_)
        handles.insert(freed_[--freed_count_]);
    while (left_count_)
        places.insert(left_[--left_count_]);
    while (idle_count_) {
        Owner &owner = owners[idle_[--idle_count_]];
        tags.insert(owner.tag);
        ++free_tags;
        tagged.insert(owner.tag);
        owner.tag = 0;
    }
}

// Trades

namespace {

i64 lots_held(i128 size, Overflow &overflow) {
    return size == -i128(MONEY_MAX) - 1 ? overflow.money(size - 1) : overflow.money(size);
}

} // namespace

i64 Ledger::fill(u32 index, u32 market, i64 quantity, i32 price, u32 rate) {
    Account &account = accounts[index];
    const i128 fee = i128(share(config->terms[market], product(price, quantity), rate));
    slot_fees += fee;
    fill_fees[fill_count++] = i64(fee);
    account.collateral = overflow.money(account.collateral - fee + move(account, market, quantity, price));
    markets[market].last_trade = price, markets[market].trade_time = time;
    changed.insert(index);
    priced.insert(market);
    return i64(fee);
}

i64 Ledger::close(u32 index, u32 market, i64 quantity, i32 price, u8 why) {
    const Terms &terms = config->terms[market];
    const u32 rate = why == HAWSE_REASON_LIQUIDATE ? config->liquidation.fee_ppm
                     : why == HAWSE_REASON_FORCED  ? terms.taker_fee_ppm
                                                   : 0;
    settle(index, market, quantity, price);
    const i128 due = i128(share(terms, product(price, quantity), rate));
    const i64 fee = i64(least(due, most<i128>(0, health(index).equity)));
    Account &account = accounts[index];
    account.collateral = overflow.money(i128(account.collateral) - fee);
    fill_fees[fill_count++] = fee;
    if (why != HAWSE_REASON_LIQUIDATE) {
        slot_fees += fee;
        return fee;
    }
    Account &venue = accounts[INSURANCE];
    venue.collateral = overflow.money(i128(venue.collateral) + fee);
    changed.insert(INSURANCE);
    return fee;
}

void Ledger::settle(u32 index, u32 market, i64 quantity, i32 price) {
    Account &account = accounts[index];
    account.collateral = overflow.money(account.collateral + move(account, market, quantity, price));
    account.free_slot = 0;
    changed.insert(index);
    priced.insert(market);
}

Health Ledger::health(u32 index) const {
    Health has{accounts[index].collateral, 0};
    each_holding(accounts[index], [&](const Holding &h) {
        if (!h.size)
            return;
        const Terms &terms = config->terms[h.market];
        const i32 mark = markets[h.market].mark;
        has.equity += unrealised_exactly(terms, h.size, h.entry, mark) - unpaid(h);
        has.maintenance += i128(scaled(u128(initial_exactly(terms, mark, h.size)), terms.maintenance_ppm, PPM, true));
    });
    if (index == INSURANCE)
        has.maintenance = 0;
    return has;
}

void Ledger::check(u32 index) {
    if (!health(index).good()) {
        unhealthy.insert(index);
        return;
    }
    if (unhealthy.has(index))
        unhealthy.erase(index);
    if (accounts[index].step) {
        accounts[index].step = 0;
        signed_.insert(index);
    }
}

bool Ledger::holds_any(const Account &account, const Numbers &of) const {
    for (u32 at = account.holdings; at != NONE; at = holdings_[at].next)
        if (holdings_[at].size && of.has(holdings_[at].market))
            return true;
    return false;
}

// What a position owes goes to the other side, and what rounding adds to dust; gives the quanta.
i128 Ledger::pay_funding(Holding &h) {
    Market &market = markets[h.market];
    const Terms &terms = config->terms[h.market];
    const i128 change = i128(market.funding.cumulative) - h.funding, paid = unpaid(h);
    h.funding = market.funding.cumulative;
    if (change) // modulo 2**128, which what remains is far below
        market.funding_dust += (u128(paid) * terms.denominator << FUNDING_BITS) - u128(i128(h.size)) * u128(change) * terms.numerator;
    return overflow.money(paid);
}

// Moves the position; gives the profit that is realised, less the funding that was owed until now.
i128 Ledger::move(Account &account, u32 number, i64 quantity, i32 price) {
    Market &market = markets[number];
    const Terms &terms = config->terms[number];
    Holding &h = holding_for(account, number);
    const i64 before = h.size;
    const i128 paid = pay_funding(h);
    const bool grows = !before || (before > 0) == (quantity > 0);
    const i128 exact = i128(before) + quantity;
    const i64 size = grows ? lots_held(exact, overflow) : i64(exact);
    market.open_interest += u64(most<i64>(size, 0)) - u64(most<i64>(before, 0));
    h.size = size;
    if (grows) {
        h.entry += i128(quantity) * price;
        return -paid;
    }
    i64 closed = before;
    i128 gone = h.entry;
    if (size && (size > 0) == (before > 0)) {
        // Rounded up to a tick·lot; what goes too much, the part that stays has less.
        closed = -quantity;
        u64 rest;
        gone = -floored(-h.entry * magnitude(closed), u64(magnitude(before)), rest);
        h.entry -= gone;
    } else {
        h.entry = i128(size) * price;
    }
    u64 rest;
    const i128 profit = floored((i128(closed) * price - gone) * terms.numerator, terms.denominator, rest);
    market.dust += rest;
    if (!size)
        drop_if_empty(account, number);
    return profit - paid;
}

} // namespace hawse::state
