// Impact prices of the book, and funding: hawse.state.funding.
#pragma once

#include "admission.hpp"

namespace hawse::state {

// Events of a slot, at most, for each instrument: two intervals have a premium, with two events each.
constexpr size_t FUNDING_EVENTS = 4;

// Integrates premiums up to a slot's beginning; each interval that has ended is told, its instrument is in `moved`.
void accrue(Ledger &ledger, Admission &admission, u64 now, Numbers &moved);
// Takes the impact prices of the books behind a slot.
void quote(Ledger &ledger, u64 now);

} // namespace hawse::state
