#include "distributed/parallel/rank_expert_exchange.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <string>

#include "core/base/error.h"

namespace cohort::parallel {
namespace {

/// Rows like those of `like`.
at::Tensor to_rows(const std::string& bytes, const at::Tensor& like, int from) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[0] = 1;
  const size_t width = like.element_size() * static_cast<size_t>(c10::multiply_integers(shape));
  if (bytes.size() % width != 0)
    throw Fault(fmt::format("expert rows: member {} sent {} bytes, which are not rows of {} bytes", from, bytes.size(), width));
  shape[0] = static_cast<int64_t>(bytes.size() / width);
  at::Tensor rows = at::empty(shape, like.options());
  if (!bytes.empty()) std::memcpy(rows.data_ptr(), bytes.data(), bytes.size());
  return rows;
}

}  // namespace

RankExpertExchange::RankExpertExchange(comm::Communicator group) : group_(std::move(group)) {}

std::vector<at::Tensor> RankExpertExchange::swap(const std::vector<at::Tensor>& to_each) {
  const size_t self = static_cast<size_t>(group_.rank());
  std::vector<std::string> bytes(to_each.size());
  for (size_t i = 0; i < to_each.size(); ++i)
    if (i != self) bytes[i].assign(static_cast<const char*>(to_each[i].data_ptr()), to_each[i].nbytes());
  const std::vector<std::string> received = group_.all_to_all("expert rows", bytes);
  std::vector<at::Tensor> rows;
  for (size_t i = 0; i < received.size(); ++i)
    rows.push_back(i == self ? to_each[i] : to_rows(received[i], to_each[self], static_cast<int>(i)));
  return rows;
}

bool RankExpertExchange::any(bool mine) { return group_.any("expert pass", mine); }

}  // namespace cohort::parallel
