#include "distributed/weights/transfer.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>

#include "core/base/text_util.h"
#include "distributed/proto/weights.pb.h"
#include "tests/distributed/worlds.h"

namespace cohort::weights {
namespace {

using comm::Communicator;
using test::expect;
using test::fault_of;

std::unique_ptr<model::CausalLM> model_of(uint64_t seed) {
  model::Architecture a = model::architecture_preset("deepseek_v3_tiny");
  a.vocab_size = 64;
  return std::make_unique<model::CausalLM>(a, seed);
}

std::vector<TensorInfo> infos_of(const model::CausalLM& model) {
  std::vector<TensorInfo> infos;
  for (const auto& [info, values] : tensors_of(model)) infos.push_back(info);
  return infos;
}

/// Ranks below `trainers` have everything, the others want it.
std::pair<Layout, Layout> replicas(const std::vector<TensorInfo>& infos, int ranks, int trainers) {
  Layout from(static_cast<size_t>(ranks)), to(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) (rank < trainers ? from : to)[static_cast<size_t>(rank)] = whole(infos);
  return {from, to};
}

bool same(const model::CausalLM& a, const model::CausalLM& b) {
  const auto x = tensors_of(a), y = tensors_of(b);
  for (size_t i = 0; i < x.size(); ++i)
    if (!at::equal(x[i].second, y[i].second)) return false;
  return true;
}

/// Sends through another communicator (of threads), and lets `spoil` change what leaves under the label "weights".
class SpoilingTransport final : public comm::Transport {
 public:
  using Spoil = std::function<void(std::string&)>;
  SpoilingTransport(Communicator inner, Spoil spoil) : inner_(std::move(inner)), spoil_(std::move(spoil)) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  const std::string& host(int rank) const override { return inner_.host(rank); }
  void transfer(const comm::Call& call, std::span<const comm::Outgoing> outgoing, std::span<comm::Incoming> incoming) override {
    for (const auto& message : outgoing) {
      std::string payload(message.payload);
      if (call.label == "weights" && !payload.empty()) spoil_(payload);
      inner_.send(call.label, message.peer, 0, payload);
    }
    for (auto& message : incoming) message.payload = inner_.recv(call.label, message.peer, 0);
  }

 private:
  Communicator inner_;
  Spoil spoil_;
};

/// One transfer from rank 0 to rank 1, spoiled; the Fault, or "" and then the weights must have arrived. `refused` by rank 1.
std::string spoiled(const SpoilingTransport::Spoil& spoil, int64_t& refused, const std::function<void(std::vector<float>&)>& canary = {}) {
  return fault_of([&] {
    comm::run_on_threads(
        2,
        [&](Communicator world) {
          const auto source = model_of(1), model = model_of(world.rank() == 0 ? 1 : 2);
          const auto infos = infos_of(*model);
          const auto [from, to] = replicas(infos, 2, 1);
          const Communicator bad(std::make_shared<SpoilingTransport>(world, spoil));
          Transfer transfer(bad, tensors_of(*model), from, to);
          const auto version = transfer.run(world.rank() == 0 ? 7 : 0, [&] {
            auto logprobs = canary_logprobs(*model);
            if (canary && world.rank() == 1) canary(logprobs);
            return logprobs;
          });
          expect(version == 7, "the version");
          expect(same(*source, *model), "the weights");
          if (world.rank() == 1) refused = transfer.refused();
        },
        test::impatient());
  });
}

}  // namespace

TEST_CASE("every rank that rolls out gets the bits and the version of those who train") {
  test::everywhere([](Communicator world) {
    const int trainers = std::max(1, world.size() / 2);
    const bool trains = world.rank() < trainers;
    const auto source = model_of(1);
    source->router_biases().front().fill_(0.25);
    const auto model = model_of(trains ? 1 : 2);
    if (trains) model->copy_from(*source);
    const auto [from, to] = replicas(infos_of(*model), world.size(), trainers);
    Transfer transfer(world, tensors_of(*model), from, to);
    for (uint64_t version : {3U, 3U, 9U}) {
      expect(transfer.run(trains ? version : 0, [&] { return canary_logprobs(*model); }) == (trains || world.size() > 1 ? version : 0),
             "the version");
      expect(same(*source, *model), "the weights");
    }
    expect(transfer.refused() == 0, "nothing to refuse");
  });
}

TEST_CASE("trainers that share the experts out, and ranks that roll out with other shares") {
  for (const auto& [ep_from, ep_to] : {std::pair(2, 1), std::pair(1, 2), std::pair(2, 2), std::pair(4, 2)}) {
    comm::run_on_threads(
        ep_from + ep_to,
        [&](Communicator world) {
          const auto source = model_of(1);
          const auto model = model_of(1);
          const auto infos = infos_of(*model);
          Layout from(static_cast<size_t>(world.size())), to = from;
          for (int rank = 0; rank < world.size(); ++rank) {
            const bool trains = rank < ep_from;
            auto& mine = (trains ? from : to)[static_cast<size_t>(rank)] = whole(infos);
            for (size_t t = 0; t < infos.size(); ++t)
              if (infos[t].name.find("mlp.experts") != std::string::npos)
                mine[t] = trains ? rows(infos, t, rank, ep_from) : rows(infos, t, rank - ep_from, ep_to);
          }
          // What a rank does not hold, or has not got yet, is NaN.
          const auto reference = tensors_of(*source);
          auto tensors = tensors_of(*model);
          for (auto& [info, values] : tensors) values.fill_(std::numeric_limits<float>::quiet_NaN());
          for (const Slice& s : from[static_cast<size_t>(world.rank())])
            tensors[s.tensor]
                .second.view(-1)
                .narrow(0, s.begin, s.end - s.begin)
                .copy_(reference[s.tensor].second.view(-1).narrow(0, s.begin, s.end - s.begin));
          Transfer(world, tensors, from, to).run(1, [&] { return canary_logprobs(*source); });
          for (const Slice& s : to[static_cast<size_t>(world.rank())])
            expect(at::equal(tensors[s.tensor].second.view(-1).narrow(0, s.begin, s.end - s.begin),
                             reference[s.tensor].second.view(-1).narrow(0, s.begin, s.end - s.begin)),
                   infos[s.tensor].name);
        },
        test::impatient());
  }
}

TEST_CASE("fault 13: weights that do not verify are refused and asked for again") {
  int64_t refused = 0;
  int times = 0;
  const auto once = [&](const SpoilingTransport::Spoil& spoil) {
    times = 0, refused = 0;
    return spoiled([&, spoil](std::string& payload) { times++ == 0 ? spoil(payload) : void(); }, refused);
  };
  const auto flip = [](std::string& payload) { payload.back() = static_cast<char>(payload.back() ^ 1); };
  const auto truncate = [](std::string& payload) { payload.resize(payload.size() / 2); };
  const auto older = [](std::string& payload) {
    proto::WeightBucket bucket;
    bucket.ParseFromString(payload);
    bucket.set_version(6);
    payload = bucket.SerializeAsString();
  };
  const auto lose = [](std::string& payload) {
    proto::WeightBucket bucket;
    bucket.set_version(7);
    payload = bucket.SerializeAsString();
  };
  CHECK(once(flip) == "");
  CHECK(refused == 1);
  CHECK(times == 2);
  CHECK(once(truncate) == "");
  CHECK(refused == 1);
  CHECK(once(older) == "");
  CHECK(refused > 1);  // every piece of the bucket
  CHECK(once(lose) == "");
  CHECK(times == 2);
  CHECK_THAT(spoiled(flip, refused), Catch::Contains("weights of version 7 were sent 3 times and are still refused: rank 1: ") &&
                                         Catch::Contains("is not what was announced"));
  CHECK_THAT(spoiled(lose, refused), Catch::Contains("rank 1: it did not get what it asked for"));
  CHECK_THAT(spoiled(older, refused), Catch::Contains("is of version 6"));
}

TEST_CASE("weights that give other log-probabilities are refused") {
  int64_t refused = 0;
  int times = 0;
  CHECK(spoiled([](std::string&) {}, refused, [&](std::vector<float>& logprobs) { logprobs[2] += times++ == 0 ? 0.1F : 0.0F; }) == "");
  CHECK(refused == 1);
  CHECK_THAT(
      spoiled([](std::string&) {}, refused, [](std::vector<float>& logprobs) { logprobs[2] = std::numeric_limits<float>::quiet_NaN(); }),
      Catch::Contains("canary's log-probabilities are inf away"));
}

TEST_CASE("ranks with other models or versions do not pass weights on") {
  const auto fault = [](const std::function<uint64_t(int)>& version,
                        const std::function<void(int, std::vector<std::pair<TensorInfo, at::Tensor>>&)>& change) {
    return fault_of([&] {
      comm::run_on_threads(
          3,
          [&](Communicator world) {
            const auto model = model_of(1);
            auto tensors = tensors_of(*model);
            const auto [from, to] = replicas(infos_of(*model), 3, 2);
            change(world.rank(), tensors);
            Transfer transfer(world, tensors, from, to);
            for (int run = 0; run < 2; ++run) transfer.run(version(world.rank() + 10 * run), [&] { return canary_logprobs(*model); });
          },
          test::impatient());
    });
  };
  const auto keep = [](int, auto&) {};
  CHECK(fault([](int) { return 4; }, keep) == "");
  CHECK_THAT(fault([](int rank) { return rank == 1 ? 5U : 4U; }, keep), Catch::Contains("rank 0 sends version 4, rank 1 version 5"));
  CHECK_THAT(fault([](int rank) { return rank >= 10 ? 3U : 4U; }, keep), Catch::Contains("version 3 comes after version 4"));
  CHECK_THAT(fault([](int) { return 4; },
                   [](int rank, auto& tensors) {
                     if (rank == 2) tensors[3].first.name = "other";
                   }),
             Catch::Contains("another tensor"));
}

}  // namespace cohort::weights
