#include "distributed/control/pulse.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/text_util.h"

namespace cohort::control {

std::string Peer::name() const { return fmt::format("rank {} (host {}, pid {})", rank, printable(host), pid); }

std::string Finding::words() const {
  const std::string last = ", last known at " + printable(peer.doing, 180);
  switch (what) {
    case What::kLate:
      return fmt::format("straggler: {} has been silent for {:.1f} s{}", peer.name(), silent_s, last);
    case What::kBack:
      return fmt::format("{} is back after {:.1f} s of silence", peer.name(), silent_s);
    default:
      return fmt::format("lost: {} {} {:.1f} s ago{}; the job ends", peer.name(),
                         closed ? "closed its connection without a goodbye and was last heard" : "was last heard", silent_s, last);
  }
}

void Pulse::joined(Peer peer, double now) {
  left(peer.rank);
  watched_.push_back({std::move(peer), now});
}

Pulse::Watched* Pulse::find(int rank) {
  const auto found = std::find_if(watched_.begin(), watched_.end(), [&](const Watched& w) { return w.peer.rank == rank; });
  return found == watched_.end() ? nullptr : &*found;
}

void Pulse::heard(int rank, std::string doing, double now) {
  Watched* w = find(rank);
  if (w == nullptr) return;
  if (w->late) w->back = true, w->silence = now - w->heard_at;
  w->heard_at = now;
  w->peer.doing = std::move(doing);
}

void Pulse::closed(int rank, double now) {
  if (Watched* w = find(rank); w != nullptr && w->closed_at < 0.0) w->closed_at = now;
}

void Pulse::left(int rank) {
  std::erase_if(watched_, [&](const Watched& w) { return w.peer.rank == rank; });
}

std::vector<Finding> Pulse::look(double now) {
  std::vector<Finding> found;
  for (Watched& w : watched_) {
    const double silent = now - w.heard_at;
    if (w.back) found.push_back({Finding::What::kBack, w.peer, w.silence, false}), w.late = w.back = false;
    const bool closed = w.closed_at >= 0.0 && now - w.closed_at >= grace_s_;
    if (closed || silent >= timeout_s_)
      found.push_back({Finding::What::kLost, w.peer, silent, closed});
    else if (!w.late && silent >= timeout_s_ / 2)
      found.push_back({Finding::What::kLate, w.peer, silent, false}), w.late = true;
  }
  for (const Finding& f : found)
    if (f.what == Finding::What::kLost) left(f.peer.rank);
  return found;
}

}  // namespace cohort::control
