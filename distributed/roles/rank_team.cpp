#include "distributed/roles/rank_team.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/util/delimited_message_util.h>

#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/model/causal_lm.h"
#include "distributed/mesh/mesh.h"
#include "distributed/roles/role.h"

namespace cohort::roles {
namespace {

using google::protobuf::io::ArrayInputStream;
using google::protobuf::io::StringOutputStream;
using google::protobuf::util::ParseDelimitedFromZeroCopyStream;
using google::protobuf::util::SerializeDelimitedToZeroCopyStream;

constexpr size_t kProtobufLimit = std::numeric_limits<int>::max();  // of one message and of one input stream

records::Assignment ids_of(uint64_t step, const std::vector<records::Group>& groups, int rank) {
  records::Assignment ids;
  ids.set_step(step);
  for (const records::Group& group : groups) {
    ids.add_group_ids(group.id());
    ids.add_ranks(static_cast<uint32_t>(rank));
  }
  return ids;
}

}  // namespace

RankTeam::RankTeam(comm::Communicator communicator, int rollout_ranks, int64_t expert_parallel_size)
    : communicator_(std::move(communicator)), trainer_count_(communicator_.size() - rollout_ranks), sharding_(communicator_) {
  if (rollout_ranks > 0) {
    const bool rolls_out = roles_of(index(), size(), rollout_ranks).rollout;
    auto& mine = rolls_out ? rollouts_ : trainers_;
    mine = std::make_unique<RankTeam>(communicator_.split("roles", rolls_out ? 1 : 0), 0, rolls_out ? 1 : expert_parallel_size);
  } else if (expert_parallel_size > 1) {
    const mesh::Mesh mesh = mesh::make_mesh(size(), static_cast<int>(expert_parallel_size));
    experts_ = std::make_unique<parallel::RankExpertExchange>(mesh::make_groups(communicator_, mesh).ep);
  }
}

void RankTeam::begin_stage() {
  if (!round_.empty()) {
    const auto& [id, rank] = *round_.begin();
    throw Fault(fmt::format("step {}: group {}, assigned to rank {}, was never exchanged, and a new stage begins", step_, id, rank));
  }
  ledger_ = Ledger();
  transfer_.reset();
}

std::vector<uint64_t> RankTeam::assign(uint64_t step, const std::vector<uint64_t>& group_ids) {
  if (split() && !rollouts_) throw Fault(fmt::format("step {}: rank {} does not roll out", step, index()));
  comm::Communicator& dealt_among = split() ? rollouts_->communicator_ : communicator_;
  std::string bytes;
  if (dealt_among.rank() == 0) {
    const records::Assignment assignment = assign_groups(step, group_ids, dealt_among.size());
    if (!split()) ledger_.assign(assignment);
    bytes = assignment.SerializeAsString();
  }
  const records::Assignment assignment = parse_assignment(dealt_among.broadcast("assignment", std::move(bytes)), step, dealt_among.size());
  std::vector<uint64_t> asked = group_ids;
  std::sort(asked.begin(), asked.end());
  if (!std::equal(asked.begin(), asked.end(), assignment.group_ids().begin(), assignment.group_ids().end())) {
    throw Fault(fmt::format("step {}: rank {} asks for {} groups that are not the {} the coordinator assigned", step, index(), asked.size(),
                            assignment.group_ids_size()));
  }
  step_ = step;
  std::vector<uint64_t> mine;
  for (int i = 0; i < assignment.group_ids_size(); ++i) {
    const int rank = first_rollout_rank() + static_cast<int>(assignment.ranks(i));
    round_.emplace(assignment.group_ids(i), rank);
    if (rank == index()) mine.push_back(assignment.group_ids(i));
  }
  return mine;
}

void RankTeam::learn_round() {
  std::string bytes;
  if (index() == first_rollout_rank()) {
    records::Assignment dealt;
    dealt.set_step(step_);
    for (const auto& [id, rank] : round_) dealt.add_group_ids(id), dealt.add_ranks(static_cast<uint32_t>(rank));
    bytes = dealt.SerializeAsString();
  }
  bytes = communicator_.broadcast("dealt", std::move(bytes), first_rollout_rank());
  records::Assignment dealt;
  dealt.ParseFromString(bytes);  // only for its step: a trainer does not know which one comes
  dealt = parse_assignment(bytes, rollouts_ ? step_ : dealt.step(), size());
  std::map<uint64_t, int> round;
  for (int i = 0; i < dealt.group_ids_size(); ++i) {
    const int rank = static_cast<int>(dealt.ranks(i));
    if (rank < first_rollout_rank())
      throw Fault(fmt::format("step {}: group {} was dealt to rank {}, which trains", dealt.step(), dealt.group_ids(i), rank));
    round.emplace(dealt.group_ids(i), rank);
  }
  if (rollouts_ && round != round_) throw Fault(fmt::format("step {}: rank {} knows another assignment", step_, index()));
  step_ = dealt.step();
  round_ = std::move(round);
  if (leads()) ledger_.assign(dealt);
}

uint64_t RankTeam::publish(model::CausalLM& model, uint64_t version) {
  if (!split()) return version;
  if (!transfer_ || transferred_ != model.parameters().values().data_ptr()) {  // a stage has one model
    transferred_ = model.parameters().values().data_ptr();
    transfer_ = make_transfer(model);
  }
  if (!model.sharded()) return transfer_->run(version, [&] { return weights::canary_logprobs(model); });
  std::vector<float> canary;
  {
    const auto in_use = model.use_layers();  // a pass that all trainers make
    canary = weights::canary_logprobs(model);
  }
  return transfer_->run(version, [&] { return canary; });
}

std::unique_ptr<weights::Transfer> RankTeam::make_transfer(const model::CausalLM& model) {
  const bool sharded = any(model.sharded());  // on the trainers, as a rollout rank must know
  auto tensors = weights::tensors_of(model);
  std::vector<weights::TensorInfo> infos;
  for (const auto& [info, values] : tensors) infos.push_back(info);
  weights::Layout from(static_cast<size_t>(size())), to(static_cast<size_t>(size()));
  for (int rank = 0; rank < trainer_count_; ++rank)
    from[static_cast<size_t>(rank)] =
        sharded ? weights::flat_slice(infos, model.parameters().all().size(), rank, trainer_count_) : weights::whole(infos);
  for (int rank = trainer_count_; rank < size(); ++rank) to[static_cast<size_t>(rank)] = weights::whole(infos);
  return std::make_unique<weights::Transfer>(communicator_, std::move(tensors), from, to);
}

std::vector<records::Group> RankTeam::exchange(std::vector<records::Group> mine, const Owner& owner) {
  if (split()) learn_round();
  std::vector<records::Group> received = unpack(communicator_.all_to_all("groups", pack(mine, owner)), owner);
  settle(mine, received);
  round_.clear();
  return received;
}

int RankTeam::owner_of(const Owner& owner, uint64_t group_id) const {
  const int rank = owner(group_id);
  if (rank < 0 || rank >= size()) throw Fault(fmt::format("step {}: group {} is owned by rank {} of {}", step_, group_id, rank, size()));
  return rank;
}

std::vector<std::string> RankTeam::pack(const std::vector<records::Group>& mine, const Owner& owner) const {
  Ledger ledger;  // the coordinator's rules, applied to my share before anything is sent
  records::Assignment share;
  share.set_step(step_);
  for (const auto& [id, rank] : round_) {
    if (rank != index()) continue;
    share.add_group_ids(id);
    share.add_ranks(static_cast<uint32_t>(rank));
  }
  ledger.assign(share);
  std::vector<std::string> to_each(static_cast<size_t>(size()));
  for (const records::Group& group : mine) {
    ledger.rolled_out(index(), {group.id()});
    ledger.trained(index(), {group.id()});
    if (group.step() != step_) {
      throw Fault(fmt::format("step {}: rank {} brings group {} of step {}", step_, index(), group.id(), group.step()));
    }
    StringOutputStream stream(&to_each[static_cast<size_t>(owner_of(owner, group.id()))]);
    if (group.ByteSizeLong() > kProtobufLimit || !SerializeDelimitedToZeroCopyStream(group, &stream)) {
      throw Fault(fmt::format("step {}: rank {} cannot write group {} of {} bytes", step_, index(), group.id(), group.ByteSizeLong()));
    }
  }
  ledger.close_round();
  return to_each;
}

void RankTeam::read_groups(int from, const std::string& bytes, std::map<uint64_t, records::Group>& groups) const {
  if (bytes.size() > kProtobufLimit) throw Fault(fmt::format("step {}: rank {} sent {} bytes of groups", step_, from, bytes.size()));
  ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()));
  while (true) {
    records::Group group;
    bool clean_end = false;
    if (!ParseDelimitedFromZeroCopyStream(&group, &stream, &clean_end)) {
      if (clean_end) return;
      throw Fault(fmt::format("step {}: groups from rank {} are not readable at byte {}", step_, from, stream.ByteCount()));
    }
    const uint64_t id = group.id();
    const auto assigned = round_.find(id);
    if (assigned == round_.end() || assigned->second != from) {
      throw Fault(fmt::format("step {}: rank {} sent group {}, which was not assigned to it", step_, from, id));
    }
    if (group.step() != step_) throw Fault(fmt::format("step {}: rank {} sent group {} of step {}", step_, from, id, group.step()));
    for (const records::Sample& sample : group.samples()) {
      if (sample.logprobs_size() == sample.response_ids_size()) continue;
      throw Fault(fmt::format("step {}: group {} from rank {}: sample {} has {} tokens and {} log-probabilities", step_, id, from,
                              sample.index(), sample.response_ids_size(), sample.logprobs_size()));
    }
    if (!groups.emplace(id, std::move(group)).second) throw Fault(fmt::format("step {}: rank {} sent group {} twice", step_, from, id));
  }
}

std::vector<records::Group> RankTeam::unpack(const std::vector<std::string>& received, const Owner& owner) const {
  std::map<uint64_t, records::Group> groups;
  for (size_t from = 0; from < received.size(); ++from) read_groups(static_cast<int>(from), received[from], groups);
  std::vector<records::Group> result;
  for (const auto& [id, rank] : round_) {
    const auto group = groups.find(id);
    const bool is_mine = owner_of(owner, id) == index();
    if (is_mine && group == groups.end()) {
      throw Fault(fmt::format("step {}: group {} from rank {} is missing on rank {}, its owner", step_, id, rank, index()));
    }
    if (!is_mine && group != groups.end()) {
      throw Fault(fmt::format("step {}: group {} from rank {} came to rank {}, which does not own it", step_, id, rank, index()));
    }
    if (is_mine) result.push_back(std::move(group->second));
  }
  return result;
}

void RankTeam::settle(const std::vector<records::Group>& mine, const std::vector<records::Group>& received) {
  const auto rolled_out = communicator_.gather("rolled out", ids_of(step_, mine, index()).SerializeAsString());
  const auto trained = communicator_.gather("to train", ids_of(step_, received, index()).SerializeAsString());
  if (!leads()) return;
  const auto read = [&](const std::vector<std::string>& reports, size_t rank) {
    records::Assignment ids;
    if (!ids.ParseFromString(reports[rank]) || ids.step() != step_) {
      throw Fault(fmt::format("step {}: the report of rank {} is not readable", step_, rank));
    }
    return std::vector<uint64_t>(ids.group_ids().begin(), ids.group_ids().end());
  };
  for (size_t rank = 0; rank < rolled_out.size(); ++rank) ledger_.rolled_out(static_cast<int>(rank), read(rolled_out, rank));
  for (size_t rank = 0; rank < trained.size(); ++rank) ledger_.trained(static_cast<int>(rank), read(trained, rank));
  ledger_.close_round();
}

std::vector<std::string> RankTeam::gather(const std::string& mine) { return communicator_.all_gather("gather", mine); }

std::span<float> RankTeam::floats_of(const at::Tensor& flat, const char* operation) const {
  if (!flat.is_cpu() || !flat.is_contiguous() || flat.scalar_type() != at::kFloat) {
    throw Fault(fmt::format("rank {}: {} takes a contiguous fp32 tensor on the CPU, not {}", index(), operation, flat.toString()));
  }
  return {flat.data_ptr<float>(), static_cast<size_t>(flat.numel())};
}

void RankTeam::sum(at::Tensor flat) { communicator_.sum("tensor", floats_of(flat, "sum")); }

void RankTeam::reduce_scatter(at::Tensor flat) { communicator_.reduce_scatter("tensor", floats_of(flat, "reduce_scatter")); }

void RankTeam::all_gather(at::Tensor flat) { communicator_.all_gather_slices("tensor", floats_of(flat, "all_gather")); }

at::Tensor RankTeam::gather_slices(const at::Tensor& mine, int64_t length) {
  const std::span<float> values = floats_of(mine, "gather_slices");
  const auto all = communicator_.gather("slices", {reinterpret_cast<const char*>(values.data()), values.size_bytes()});
  if (!leads()) return {};
  at::Tensor whole = at::empty({length}, at::kFloat);
  char* next = reinterpret_cast<char*>(whole.data_ptr<float>());
  for (int rank = 0; rank < size(); ++rank) {
    const std::string& bytes = all[static_cast<size_t>(rank)];
    const size_t expected = comm::slice_of(static_cast<size_t>(length), rank, size()).second * sizeof(float);
    if (bytes.size() != expected) {
      throw Fault(fmt::format("slices of {} numbers: rank {} sent {} bytes, expected {}", length, rank, bytes.size(), expected));
    }
    next = std::copy(bytes.begin(), bytes.end(), next);
  }
  return whole;
}

bool RankTeam::any(bool mine) {
  const auto all = communicator_.all_gather("any", mine ? "1" : "0");
  return std::find(all.begin(), all.end(), "1") != all.end();
}

void RankTeam::barrier(const char* label) { communicator_.barrier(label); }

}  // namespace cohort::roles
