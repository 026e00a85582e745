// The C interface around one engine, which Session is.
#include "abi.h"

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>

#ifdef HAWSE_ABI_RTL
#include "rtl_session.hpp"
#else
#include "soft_session.hpp"
#endif

static_assert(sizeof(abi_new_order) == 32 && sizeof(abi_cancel) == 16 && sizeof(abi_modify) == 32, "as published");
static_assert(sizeof(abi_msg) == 40 && sizeof(abi_report) == 64, "as published");

namespace hawse {
namespace {

std::unique_ptr<Session> session;

// Exceptions must not pass into C. A session that failed is over: what it would say is worth nothing.
template <class Body> void guarded(Body body) {
    if (!session)
        return;
    try {
        body(*session);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "hawse: %s: %s\n", Session::NAME, error.what());
        session.reset();
    }
}

} // namespace
} // namespace hawse

using namespace hawse;

int engine_init(uint64_t nonce, const abi_transport *transport, void *sink) {
    session.reset();
    try {
        session = std::make_unique<Session>(nonce, *transport, sink);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "hawse: %s: %s\n", Session::NAME, error.what());
        return -1;
    }
}

void engine_shutdown(void) {
    guarded([](Session &it) {
        it.flush();
        const char *name = std::getenv("HAWSE_ABI_STATS");
        if (!name || !*name)
            return;
        if (std::FILE *file = std::fopen(name, "w")) {
            it.statistics(file);
            std::fclose(file);
        } else {
            std::perror(name);
        }
    });
    session.reset();
}

void engine_flush(void) {
    guarded([](Session &it) { it.flush(); });
}

void engine_on_new_order(const abi_new_order *message) {
    guarded([=](Session &it) { it.on_new(*message); });
}

void engine_on_cancel(const abi_cancel *message) {
    guarded([=](Session &it) { it.on_cancel(*message); });
}

void engine_on_modify(const abi_modify *message) {
    guarded([=](Session &it) { it.on_modify(*message); });
}

void engine_on_batch(const abi_msg *messages, uint32_t n) {
    guarded([=](Session &it) {
        for (uint32_t i = 0; i < n; ++i)
            switch (messages[i].type) {
            case ABI_NEW:
                it.on_new(messages[i].body.new_order);
                break;
            case ABI_CANCEL:
                it.on_cancel(messages[i].body.cancel);
                break;
            case ABI_MODIFY:
                it.on_modify(messages[i].body.modify);
                break;
            }
    });
}

int64_t engine_query_best_bid(void) {
    int64_t best = INT64_MIN;
    guarded([&](Session &it) {
        if (int32_t price; it.best(HAWSE_SIDE_BUY, price))
            best = price;
    });
    return best;
}

int64_t engine_query_best_ask(void) {
    int64_t best = INT64_MAX;
    guarded([&](Session &it) {
        if (int32_t price; it.best(HAWSE_SIDE_SELL, price))
            best = price;
    });
    return best;
}

uint64_t engine_query_depth_at(int64_t price, uint8_t side) {
    uint64_t depth = 0;
    guarded([&](Session &it) { depth = it.depth(side & 1, price); });
    return depth;
}
