// From signed observations to indices and marks: hawse.state.feeds and hawse.state.marks.
#pragma once

#include "ledger.hpp"
#include "state.h"

namespace hawse::state {

constexpr u64 MARK_INTERVAL = 250;
constexpr i64 MOST_INDEX = i64{1} << 30;

// Whether a slot at `now` may hold these.
bool good_observations(const Ledger &ledger, const hawse_state_observation *said, u64 count, u64 now);
// The index at a time, by what is known now; 0 without a quorum.
i64 index_at(const Underlying &about, const Feed &feed, u64 time);
// Takes them in, reckons indices and marks; into `moved` the instruments whose mark did.
void take_in(Ledger &ledger, const hawse_state_observation *said, u64 count, u64 now, Numbers &moved);

} // namespace hawse::state
