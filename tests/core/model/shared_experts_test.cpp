// Experts over several members, here threads of this process: the bits of each member running all of them itself.
#include "core/model/shared_experts.h"

#include <ATen/core/grad_mode.h>

#include <barrier>
#include <thread>

#include "core/model/causal_lm.h"
#include "tests/kernels/op_case.h"

namespace cohort::model {
namespace {

using kernels::test::random_ids;
using kernels::test::random_tensor;
using kernels::test::same_bits;

constexpr int64_t kExperts = 12, kWidth = 20, kInner = 9, kSlots = 3;
const std::vector<int64_t> kTokens = {7, 0, 12, 1};  // of each member

/// Where members leave what they send.
struct Board {
  explicit Board(int64_t members) : left(static_cast<size_t>(members)), meet(members) {}
  std::vector<std::vector<at::Tensor>> left;
  std::barrier<> meet;
};

class ThreadExchange final : public ExpertExchange {
 public:
  ThreadExchange(Board& board, int64_t index) : board_(board), index_(index) {}
  int64_t index() const override { return index_; }
  int64_t size() const override { return static_cast<int64_t>(board_.left.size()); }
  std::vector<at::Tensor> swap(const std::vector<at::Tensor>& to_each) override {
    board_.left[static_cast<size_t>(index_)] = to_each;
    board_.meet.arrive_and_wait();
    std::vector<at::Tensor> mine;
    for (const auto& from : board_.left) mine.push_back(from[static_cast<size_t>(index_)]);
    board_.meet.arrive_and_wait();
    return mine;
  }
  bool any(bool) override { return false; }

 private:
  Board& board_;
  int64_t index_;
};

/// What a member gets out of one forward and backward pass over its tokens.
struct Outcome {
  at::Tensor y, dx, dweights;
  Parameter gate, up, down;
};

Parameter parameter(std::vector<int64_t> shape, uint64_t seed) {
  return {"", random_tensor(shape, seed).requires_grad_(true), at::zeros(shape, at::kFloat)};
}

/// With an exchange, or with all experts here.
Outcome run(int64_t member, ComputeType type, ExpertExchange* exchange) {
  const int64_t n = kTokens[static_cast<size_t>(member)];
  const uint64_t seed = 10 * static_cast<uint64_t>(member);
  Outcome out{{},
              {},
              {},
              parameter({kExperts, kInner, kWidth}, 1),
              parameter({kExperts, kInner, kWidth}, 2),
              parameter({kExperts, kWidth, kInner}, 3)};
  const at::Tensor x = random_tensor({n, kWidth}, seed + 4).requires_grad_(true),
                   weights = random_tensor({n, kSlots}, seed + 5).requires_grad_(true),
                   experts = random_ids({n, kSlots}, kExperts, seed + 6);
  const auto forward = [&] {
    return exchange ? run_shared_experts(x, experts, weights, out.gate, out.up, out.down, type, *exchange)
                    : run_experts(x, experts, weights, out.gate, out.up, out.down, type);
  };
  {
    const at::NoGradGuard no_grad;  // as the first pass of a layer that is recomputed
    out.y = forward();
  }
  const at::Tensor y = forward();
  if (!same_bits(y, out.y)) out.y = at::Tensor();
  (y * random_tensor({n, kWidth}, seed + 7)).sum().backward();
  out.dx = x.grad(), out.dweights = weights.grad();
  return out;
}

/// The i-th run of experts of a gradient.
at::Tensor part(const Parameter& p, int64_t i, int64_t members) { return p.grad.narrow(0, i * kExperts / members, kExperts / members); }

void check_members(int64_t members, ComputeType type) {
  Board board(members);
  std::vector<Outcome> shared(static_cast<size_t>(members)), alone;
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < members; ++i)
    threads.emplace_back([&, i] {
      ThreadExchange exchange(board, i);
      shared[static_cast<size_t>(i)] = run(i, type, &exchange);
    });
  for (auto& thread : threads) thread.join();
  for (int64_t i = 0; i < members; ++i) alone.push_back(run(i, type, nullptr));
  for (int64_t i = 0; i < members; ++i) {
    CAPTURE(members, i);
    const Outcome &got = shared[static_cast<size_t>(i)], &wanted = alone[static_cast<size_t>(i)];
    REQUIRE(got.y.defined());
    CHECK(same_bits(got.y, wanted.y));
    CHECK(same_bits(got.dx, wanted.dx));
    CHECK(same_bits(got.dweights, wanted.dweights));
    for (int64_t source = 0; source < members; ++source) {  // my experts by the tokens of each member
      const Outcome& theirs = alone[static_cast<size_t>(source)];
      CHECK(same_bits(part(got.gate, source, members), part(theirs.gate, i, members)));
      CHECK(same_bits(part(got.up, source, members), part(theirs.up, i, members)));
      CHECK(same_bits(part(got.down, source, members), part(theirs.down, i, members)));
    }
  }
  CHECK(alone.front().gate.grad.abs().max().item<double>() > 0.0);
}

}  // namespace

TEST_CASE("experts shared by 1, 2, 3 and 4 members give the bits of all experts in one place, forward and backward") {
  for (int64_t members : {1, 2, 3, 4})
    for (ComputeType type : {ComputeType::kFloat32, ComputeType::kBFloat16}) check_members(members, type);
}

TEST_CASE("a model shares its experts with a number of members that divides them; a dense model has none to share") {
  Board three(3);
  ThreadExchange exchange(three, 0);
  Architecture a = architecture_preset("deepseek_v3_tiny");
  a.vocab_size = 32;
  CausalLM mixture(a, 1);
  CHECK(mixture.shared_ranges().empty());
  CHECK_THROWS_WITH(mixture.share_experts(&exchange),
                    "cluster.expert_parallel_size: expected a divisor of the model's 8 routed experts, found 3");
  Board two(2);
  ThreadExchange pair(two, 0);
  mixture.share_experts(&pair);
  const auto ranges = mixture.shared_ranges();
  REQUIRE(ranges.size() == 3 * 3);  // gate, up and down of three layers
  const at::Tensor last = mixture.parameters().find("model.layers.3.mlp.experts.down_proj.weight")->grad;
  last.fill_(1.0);
  CHECK(mixture.parameters().grads().narrow(0, ranges.back().first, last.numel()).eq(1.0).all().item<bool>());
  CHECK(ranges.back().second - ranges.back().first == last.numel());
  a = architecture_preset("dense_tiny"), a.vocab_size = 32;
  CausalLM dense(a, 1);
  dense.share_experts(&exchange);
  CHECK(dense.shared_ranges().empty());
}

}  // namespace cohort::model
