#pragma once
/// pipeline::Team over a Communicator: one member per rank. Rank 0 coordinates: it keeps the ledger, and in placement colocated it deals
/// out the groups. In placement split the first rank that rolls out deals them, so that no rollout waits for a rank that trains; the ledger
/// learns of it in exchange. With tickets (deal_by) nobody deals: members take groups from a counter, and the table of who took what is
/// gathered, checked and recorded at the end of the round.
///
/// Consumes: group ids from the stage, groups rolled out by this rank. Waits for: the assignment; all other ranks in exchange. Unblocked
/// by: the slowest rank, or its deadline.
///
/// Rules the stage must keep (each broken one is a Fault naming group, step and rank):
/// * all members that roll out call assign or deal with the same step and ids;
/// * after assign or deal, maybe several times in one step, one exchange brings back every group that was assigned since the last exchange,
/// each by
///   the member it was assigned to, with Group.step as assigned. Groups to be dropped are dropped after the exchange;
/// * a group id is used once per stage (begin_stage starts the count again), or again after put_back, which takes it out of that exchange.
/// Work that is not trained on (evaluation) is divided by index() and size(), not by assign.
///
/// sum, reduce_scatter and all_gather also take contiguous fp32 or bf16 tensors on a CUDA device, and then work there (comm/nccl_group.h
/// has the order of additions), on the device's default stream. The first such tensor starts NCCL; all later ones are on the same device.

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/pipeline/team.h"
#include "distributed/comm/communicator.h"
#include "distributed/comm/nccl_group.h"
#include "distributed/control/tickets.h"
#include "distributed/parallel/rank_expert_exchange.h"
#include "distributed/parallel/rank_parameter_sharding.h"
#include "distributed/roles/coordinator.h"
#include "distributed/weights/transfer.h"

namespace cohort::roles {

class RankTeam final : public pipeline::Team {
 public:
  /// The last `rollout_ranks` ranks only roll out, the others only train; 0: every rank does both. Of the ranks that train,
  /// `expert_parallel_size` neighbours share the experts while training (mesh.h; InputError unless it divides their number). Collective
  /// where one of the two is not the default.
  explicit RankTeam(comm::Communicator communicator, int rollout_ranks = 0, int64_t expert_parallel_size = 1,
                    const comm::NcclOptions& nccl = {});

  /// From now on groups are dealt out by these tickets, as members have room for them; before, in equal shares. They must outlive the
  /// team. Not blocking, but called by every member.
  void deal_by(control::Tickets* tickets) { tickets_ = tickets; }

  Team* trainers() override { return split() ? trainers_.get() : this; }
  Team* rollouts() override { return split() ? rollouts_.get() : this; }
  int trainer_count() const override { return trainer_count_; }
  uint64_t publish(model::CausalLM& model, uint64_t version) override;

  /// Forgets which groups were trained: ids start again. Fault when a round is open. Sends nothing, but every member must call it.
  void begin_stage() override;

  int index() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::vector<uint64_t> assign(uint64_t step, const std::vector<uint64_t>& group_ids) override;
  std::unique_ptr<pipeline::Deal> deal(uint64_t step, const std::vector<uint64_t>& group_ids) override;
  void put_back(const std::vector<uint64_t>& group_ids) override;
  std::vector<records::Group> exchange(std::vector<records::Group> mine, const std::function<int(uint64_t group_id)>& owner) override;
  std::vector<std::string> gather(const std::string& mine) override;
  void sum(at::Tensor flat) override;
  at::Tensor tensor_for_sums(int64_t length) override;
  void reduce_scatter(at::Tensor flat) override;
  void all_gather(at::Tensor flat) override;
  model::ExpertExchange* expert_exchange() override { return experts_.get(); }
  model::ParameterSharding* parameter_sharding() override { return &sharding_; }
  bool any(bool mine) override;
  void barrier(const char* label) override;

 private:
  class TicketDeal;
  using Owner = std::function<int(uint64_t group_id)>;

  bool split() const { return trainer_count_ < size(); }
  int first_rollout_rank() const { return split() ? trainer_count_ : 0; }
  comm::Communicator& dealt_among() { return split() ? rollouts_->communicator_ : communicator_; }
  /// Every member knows who rolls out what from here on; the ledger too, where rank 0 rolls out.
  void record(const records::Assignment& assignment);
  /// Placement split, collective: how the trainers' weights get to the rollout ranks. Of a sharded model each trainer sends its slice.
  std::unique_ptr<weights::Transfer> make_transfer(const model::CausalLM& model);
  /// Placement split: every rank, and the ledger, learns which rank rolled out what.
  void learn_round();
  /// My groups as bytes for each member. Fault unless they are exactly those I was assigned.
  std::vector<std::string> pack(const std::vector<records::Group>& mine, const Owner& owner) const;
  /// The groups in what each member sent. Fault unless they are exactly those of the round that I own.
  std::vector<records::Group> unpack(const std::vector<std::string>& received, const Owner& owner) const;
  void read_groups(int from, const std::string& bytes, std::map<uint64_t, records::Group>& groups) const;
  /// Tells the coordinator what was rolled out and what will be trained, for the ledger.
  void settle(const std::vector<records::Group>& mine, const std::vector<records::Group>& received);
  /// Fault unless it is a contiguous fp32 tensor on the CPU.
  std::span<float> floats_of(const at::Tensor& flat, const char* operation) const;
  /// Fault unless it is a contiguous fp32 or bf16 tensor on a CUDA device.
  comm::DeviceArray device_array_of(const at::Tensor& flat, const char* operation) const;
  /// The group in the memory of this device. Collective at the first call.
  comm::NcclGroup& device_group(int device);
  int owner_of(const Owner& owner, uint64_t group_id) const;

  comm::Communicator communicator_;
  int trainer_count_;
  std::unique_ptr<RankTeam> trainers_, rollouts_;  // placement split: the one that this rank belongs to
  std::unique_ptr<weights::Transfer> transfer_;    // of the model that was published last
  const void* transferred_ = nullptr;
  std::unique_ptr<parallel::RankExpertExchange> experts_;
  control::Tickets* tickets_ = nullptr;
  uint64_t deals_ = 0;  // by tickets
  parallel::RankParameterSharding sharding_;
  uint64_t step_ = 0;
  std::map<uint64_t, int> round_;  // group id → rank that rolls it out; every member knows all
  Ledger ledger_;                  // on the coordinator only
  comm::NcclOptions nccl_;
  std::unique_ptr<comm::NcclGroup> device_group_;  // null until the first tensor in device memory
};

}  // namespace cohort::roles
