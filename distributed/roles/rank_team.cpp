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

RankTeam::RankTeam(comm::Communicator communicator, int rollout_ranks, int64_t expert_parallel_size, const comm::NcclOptions& nccl)
    : communicator_(std::move(communicator)), trainer_count_(communicator_.size() - rollout_ranks), sharding_(communicator_), nccl_(nccl) {
  if (rollout_ranks > 0) {
    const bool rolls_out = roles_of(index(), size(), rollout_ranks).rollout;
    auto& mine = rolls_out ? rollouts_ : trainers_;
    mine = std::make_unique<RankTeam>(communicator_.split("roles", rolls_out ? 1 : 0), 0, rolls_out ? 1 : expert_parallel_size, nccl);
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
  comm::Communicator& among = dealt_among();
  std::string bytes;
  if (among.rank() == 0) bytes = assign_groups(step, group_ids, among.size()).SerializeAsString();
  const records::Assignment assignment = parse_assignment(among.broadcast("assignment", std::move(bytes)), step, among.size());
  std::vector<uint64_t> asked = group_ids;
  std::sort(asked.begin(), asked.end());
  if (!std::equal(asked.begin(), asked.end(), assignment.group_ids().begin(), assignment.group_ids().end())) {
    throw Fault(fmt::format("step {}: rank {} asks for {} groups that are not the {} the coordinator assigned", step, index(), asked.size(),
                            assignment.group_ids_size()));
  }
  record(assignment);
  std::vector<uint64_t> mine;
  for (int i = 0; i < assignment.group_ids_size(); ++i)
    if (static_cast<int>(assignment.ranks(i)) == among.rank()) mine.push_back(assignment.group_ids(i));
  return mine;
}

void RankTeam::record(const records::Assignment& assignment) {
  if (leads() && !split()) ledger_.assign(assignment);
  step_ = assignment.step();
  for (int i = 0; i < assignment.group_ids_size(); ++i)
    round_.emplace(assignment.group_ids(i), first_rollout_rank() + static_cast<int>(assignment.ranks(i)));
}

/// Tickets are places in the round's order, which is the same on all members.
class RankTeam::TicketDeal final : public pipeline::Deal {
 public:
  TicketDeal(RankTeam& team, uint64_t step, const std::vector<uint64_t>& ids) : team_(team), ids_(ids), round_(++team.deals_) {
    taken_.set_step(step);
  }

  std::vector<uint64_t> take(size_t most) override {
    const control::TicketRange range = team_.tickets_->take(round_, ids_.size(), most);
    const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(range.first);
    const std::vector<uint64_t> taken(first, first + static_cast<std::ptrdiff_t>(range.count));
    for (uint64_t id : taken) taken_.add_group_ids(id);
    return taken;
  }

  void close() override {
    comm::Communicator& among = team_.dealt_among();
    const auto all = among.all_gather("taken", taken_.SerializeAsString());
    std::vector<std::pair<uint64_t, uint32_t>> table;
    for (size_t rank = 0; rank < all.size(); ++rank) {
      records::Assignment theirs;
      if (!theirs.ParseFromString(all[rank]) || theirs.step() != taken_.step())
        throw Fault(
            fmt::format("step {}: what rank {} took is not readable", taken_.step(), team_.first_rollout_rank() + static_cast<int>(rank)));
      for (uint64_t id : theirs.group_ids()) table.emplace_back(id, static_cast<uint32_t>(rank));
    }
    team_.record(checked(std::move(table)));
  }

 private:
  /// Fault unless the ids are those of the round, each once.
  records::Assignment checked(std::vector<std::pair<uint64_t, uint32_t>> table) const {
    std::sort(table.begin(), table.end());
    std::vector<uint64_t> asked = ids_, got;
    std::sort(asked.begin(), asked.end());
    records::Assignment assignment;
    assignment.set_step(taken_.step());
    for (const auto& [id, rank] : table) got.push_back(id), assignment.add_group_ids(id), assignment.add_ranks(rank);
    if (got != asked) {
      throw Fault(fmt::format("step {}: {} groups were taken where the round has {}, or not these, or one twice", taken_.step(), got.size(),
                              asked.size()));
    }
    return assignment;
  }

  RankTeam& team_;
  std::vector<uint64_t> ids_;
  uint64_t round_;
  records::Assignment taken_;
};

std::unique_ptr<pipeline::Deal> RankTeam::deal(uint64_t step, const std::vector<uint64_t>& group_ids) {
  if (split() && !rollouts_) throw Fault(fmt::format("step {}: rank {} does not roll out", step, index()));
  if (tickets_ == nullptr || dealt_among().size() == 1) return Team::deal(step, group_ids);
  return std::make_unique<TicketDeal>(*this, step, group_ids);
}

void RankTeam::put_back(const std::vector<uint64_t>& group_ids) {
  for (uint64_t id : group_ids)
    if (round_.erase(id) == 0) throw Fault(fmt::format("step {}: group {} is put back, which was not assigned", step_, id));
  if (leads() && !split()) ledger_.put_back(group_ids);  // in placement split it learns only of what is exchanged
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

comm::DeviceArray RankTeam::device_array_of(const at::Tensor& flat, const char* operation) const {
  const bool is_fp32 = flat.scalar_type() == at::kFloat;
  if (!flat.is_contiguous() || !(is_fp32 || flat.scalar_type() == at::kBFloat16)) {
    throw Fault(fmt::format("rank {}: {} takes a contiguous fp32 or bf16 tensor on a device, not {}", index(), operation, flat.toString()));
  }
  return {flat.data_ptr(), static_cast<size_t>(flat.numel()), is_fp32 ? comm::Element::kFloat32 : comm::Element::kBfloat16};
}

at::Tensor RankTeam::tensor_for_sums(int64_t length) {
  std::shared_ptr<float[]> floats = communicator_.floats_for_sums("sums", static_cast<size_t>(length));
  float* data = floats.get();
  return at::from_blob(
      data, {length}, [floats = std::move(floats)](void*) {}, at::kFloat);
}

comm::NcclGroup& RankTeam::device_group(int device) {
  if (!device_group_) device_group_ = std::make_unique<comm::NcclGroup>(communicator_, device, nccl_);
  if (device_group_->device() != device)
    throw Fault(fmt::format("rank {}: a tensor is on device {}, earlier ones were on {}", index(), device, device_group_->device()));
  return *device_group_;
}

void RankTeam::sum(at::Tensor flat) {
  if (!flat.is_cuda()) return communicator_.sum("tensor", floats_of(flat, "sum"));
  const comm::DeviceArray values = device_array_of(flat, "sum");
  device_group(flat.get_device()).sum("tensor", values);
}

void RankTeam::reduce_scatter(at::Tensor flat) {
  if (!flat.is_cuda()) return communicator_.reduce_scatter("tensor", floats_of(flat, "reduce_scatter"));
  const comm::DeviceArray values = device_array_of(flat, "reduce_scatter");
  device_group(flat.get_device()).reduce_scatter("tensor", values);
}

void RankTeam::all_gather(at::Tensor flat) {
  if (!flat.is_cuda()) return communicator_.all_gather_slices("tensor", floats_of(flat, "all_gather"));
  const comm::DeviceArray values = device_array_of(flat, "all_gather");
  device_group(flat.get_device()).all_gather_slices("tensor", values);
}

bool RankTeam::any(bool mine) { return communicator_.any("any", mine); }

void RankTeam::barrier(const char* label) { communicator_.barrier(label); }

}  // namespace cohort::roles
