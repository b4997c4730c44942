#pragma once
/// Waiting by polls, for what has no blocking call that could be left at a deadline.

namespace cohort::comm {

/// Between polls of something that is not yet done: spin, yield, then sleep longer and longer (≤ 0.5 ms). `idle` counts from 0. So ranks
/// that share a core do not take it from the one they wait for.
void back_off(int idle);

}  // namespace cohort::comm
