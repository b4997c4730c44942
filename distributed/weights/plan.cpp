#include "distributed/weights/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "core/base/error.h"

namespace cohort::weights {
namespace {

/// For one tensor: the points where some slice begins or ends. Between two neighbours every slice is there wholly or not at all.
std::vector<int64_t> cuts_of(size_t tensor, int64_t elements, const Layout& from, const Layout& to) {
  std::set<int64_t> cuts = {0, elements};
  for (const Layout* layout : {&from, &to})
    for (const auto& slices : *layout)
      for (const Slice& s : slices)
        if (s.tensor == tensor) cuts.insert({s.begin, s.end});
  return {cuts.begin(), cuts.end()};
}

bool holds(const std::vector<Slice>& slices, size_t tensor, int64_t begin, int64_t end) {
  return std::any_of(slices.begin(), slices.end(), [&](const Slice& s) { return s.tensor == tensor && s.begin <= begin && end <= s.end; });
}

void check_layout(const std::vector<TensorInfo>& tensors, const Layout& layout) {
  for (size_t rank = 0; rank < layout.size(); ++rank)
    for (const Slice& s : layout[rank])
      if (s.tensor >= tensors.size() || s.begin < 0 || s.begin > s.end || s.end > tensors[s.tensor].elements())
        throw Fault(
            fmt::format("weight plan: rank {} holds elements {} to {} of tensor {}, which has no such", rank, s.begin, s.end, s.tensor));
}

}  // namespace

int64_t TensorInfo::elements() const { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

std::vector<Slice> whole(const std::vector<TensorInfo>& tensors) {
  std::vector<Slice> slices;
  for (size_t t = 0; t < tensors.size(); ++t) slices.push_back({t, 0, tensors[t].elements()});
  return slices;
}

Slice rows(const std::vector<TensorInfo>& tensors, size_t t, int64_t part, int64_t parts) {
  const int64_t count = tensors[t].shape.at(0), length = count == 0 ? 0 : tensors[t].elements() / count;
  return {t, count * part / parts * length, count * (part + 1) / parts * length};
}

std::vector<Slice> flat_slice(const std::vector<TensorInfo>& tensors, size_t count, int64_t part, int64_t parts) {
  int64_t length = 0, offset = 0;
  for (size_t t = 0; t < count; ++t) length += tensors[t].elements();
  const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
  std::vector<Slice> slices;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const int64_t elements = tensors[t].elements();
    const int64_t first = t < count ? std::clamp<int64_t>(begin - offset, 0, elements) : 0;
    const int64_t last = t < count ? std::clamp<int64_t>(end - offset, 0, elements) : elements;
    if (first < last) slices.push_back({t, first, last});
    offset += elements;
  }
  return slices;
}

std::vector<Move> plan_transfer(const std::vector<TensorInfo>& tensors, const Layout& from, const Layout& to) {
  if (from.size() != to.size()) throw Fault(fmt::format("weight plan: layouts of {} and {} ranks", from.size(), to.size()));
  check_layout(tensors, from), check_layout(tensors, to);
  std::vector<int64_t> load(from.size(), 0);
  std::vector<Move> moves;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const std::vector<int64_t> cuts = cuts_of(t, tensors[t].elements(), from, to);
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const int64_t begin = cuts[i], end = cuts[i + 1];
      std::vector<int> owners;
      for (size_t rank = 0; rank < from.size(); ++rank)
        if (holds(from[rank], t, begin, end)) owners.push_back(static_cast<int>(rank));
      for (size_t rank = 0; rank < to.size(); ++rank) {
        if (!holds(to[rank], t, begin, end) || holds(from[rank], t, begin, end)) continue;
        if (owners.empty()) throw Fault(fmt::format("weight plan: nobody holds elements {} to {} of {}", begin, end, tensors[t].name));
        const int owner = *std::min_element(owners.begin(), owners.end(),
                                            [&](int a, int b) { return load[static_cast<size_t>(a)] < load[static_cast<size_t>(b)]; });
        load[static_cast<size_t>(owner)] += end - begin;
        moves.push_back({t, begin, end, owner, static_cast<int>(rank)});
      }
    }
  }
  std::stable_sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) { return a.to < b.to; });
  std::vector<Move> joined;
  for (const Move& m : moves) {
    const bool follows = !joined.empty() && joined.back().to == m.to && joined.back().from == m.from && joined.back().tensor == m.tensor &&
                         joined.back().end == m.begin;
    if (follows) {
      joined.back().end = m.end;
    } else {
      joined.push_back(m);
    }
  }
  return joined;
}

}  // namespace cohort::weights
