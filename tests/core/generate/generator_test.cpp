#include "core/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <set>

#include "core/base/error.h"
#include "core/model/functions.h"
#include "core/model/logprobs.h"

namespace cohort::generate {
namespace {

using records::Group;
using records::Sample;

const std::vector<std::string> kFamilies = {"deepseek_v3_tiny", "dense_tiny"};

/// 13 tokens: the end comes soon enough for both finish reasons.
const text::CharTokenizer& tokenizer() {
  static const text::CharTokenizer t("0123456789+=");
  return t;
}

std::unique_ptr<model::CausalLM> make_model(const std::string& family, int64_t positions = 64) {
  model::Architecture a = model::architecture_preset(family);
  a.vocab_size = 16;  // three more than the tokenizer has
  a.max_position_embeddings = positions;
  a.initializer_range = 0.2;  // far from uniform
  return std::make_unique<model::CausalLM>(a, 5);
}

RolloutConfig config(int64_t n = 4) {
  RolloutConfig c;
  c.n = n, c.max_response_length = 20;
  return c;
}

/// Groups with ids 100, 101, … and prompts of different lengths.
std::vector<Group> questions(int64_t count) {
  std::vector<Group> groups;
  for (int64_t i = 0; i < count; ++i) {
    Group g;
    g.set_id(static_cast<uint64_t>(100 + i));
    for (int64_t t = 0; t <= (3 * i) % 7; ++t) g.add_prompt_ids(static_cast<int32_t>((5 * i + t) % 12));
    groups.push_back(g);
  }
  return groups;
}

const SampleKey kKey = {17, "zero", 3};

std::vector<Group> generated(model::CausalLM& model, const RolloutConfig& c, std::vector<Group> groups, const SampleKey& key = kKey) {
  Generator(model, tokenizer(), c).generate(groups, key, {9, 4});
  return groups;
}

/// Serialised, so that tokens, log-probabilities and finish reasons are compared to the bit.
std::map<uint64_t, std::string> by_id(const std::vector<Group>& groups) {
  std::map<uint64_t, std::string> out;
  for (const Group& g : groups) out[g.id()] = g.SerializeAsString();
  return out;
}

std::vector<int32_t> ids_of(const Sample& s) { return {s.response_ids().begin(), s.response_ids().end()}; }

std::vector<int32_t> all_ids(const std::vector<Group>& groups) {
  std::vector<int32_t> out;
  for (const Group& g : groups)
    for (const Sample& s : g.samples()) out.insert(out.end(), s.response_ids().begin(), s.response_ids().end());
  return out;
}

int count(const std::vector<Group>& groups, records::FinishReason reason) {
  int total = 0;
  for (const Group& g : groups)
    for (const Sample& s : g.samples()) total += s.finish_reason() == reason ? 1 : 0;
  return total;
}

}  // namespace

TEST_CASE("an id without token is never sampled, and the trainer agrees", "[generate]") {
  model::Architecture architecture = model::architecture_preset("calibration_a");
  architecture.vocab_size = 24;
  const auto model = std::make_unique<model::CausalLM>(architecture, 3);
  const auto logits = [&] { return model->logits(at::ones({2, model->architecture().hidden_size})); };
  const at::Tensor before = logits();
  const auto best = static_cast<int32_t>(before.select(0, 0).argmax().item<int64_t>());
  model->set_missing_tokens({best, 1 << 20});
  const at::Tensor after = logits();
  CHECK(after.select(0, 0).argmax().item<int64_t>() != best);
  CHECK(at::softmax(after, 1).select(1, best).sum().item<float>() == 0.0f);
  const at::Tensor ids = at::full({2}, best == 0 ? 1 : 0, at::kLong);
  const auto out = model::token_logprob(after, ids, 0.5, model->architecture().vocab_size);
  CHECK(at::isfinite(out.logprob_N).all().item<bool>());
  CHECK(at::isfinite(out.entropy_N).all().item<bool>());
  CHECK(at::allclose(out.logprob_N, at::log_softmax(after.to(at::kDouble) / 0.5, 1).gather(1, ids.unsqueeze(1)).squeeze(1).to(at::kFloat),
                     1e-5));
  model->set_missing_tokens({});
  CHECK(at::equal(logits(), before));
}

TEST_CASE("every group gets n samples that end for a reason") {
  const std::string family = GENERATE(from_range(kFamilies));
  CAPTURE(family);
  auto model = make_model(family);
  const auto groups = generated(*model, config(), questions(6));
  for (const Group& g : groups) {
    REQUIRE(g.samples_size() == 4);
    for (int i = 0; i < 4; ++i) {
      const Sample& s = g.samples(i);
      CHECK(s.index() == static_cast<uint32_t>(i));
      CHECK(s.policy_version() == 9);
      CHECK(s.logprobs_size() == s.response_ids_size());
      const auto end = std::find(s.response_ids().begin(), s.response_ids().end(), tokenizer().end_id());
      if (s.finish_reason() == records::STOP) {
        CHECK(end == s.response_ids().end() - 1);
      } else {
        CHECK(s.finish_reason() == records::LENGTH);
        CHECK(end == s.response_ids().end());
        CHECK(s.response_ids_size() == 20);
      }
    }
  }
  CHECK(count(groups, records::STOP) > 0);
  CHECK(count(groups, records::LENGTH) > 0);
  const auto ids = all_ids(groups);
  CHECK(*std::max_element(ids.begin(), ids.end()) < tokenizer().vocabulary_size());  // tokens that the tokenizer lacks are not sampled
  CHECK(std::set<int32_t>(ids.begin(), ids.end()).size() > 6);
}

TEST_CASE("an end token in the last place is STOP, and a shorter limit cuts the same answer") {
  auto model = make_model("dense_tiny");
  const auto groups = generated(*model, config(), questions(6));
  bool found = false;
  for (size_t g = 0; g < groups.size(); ++g)
    for (int i = 0; i < 4; ++i) {
      const Sample& s = groups[g].samples(i);
      if (found || s.finish_reason() != records::STOP || s.response_ids_size() < 2) continue;
      found = true;
      RolloutConfig c = config();
      c.max_response_length = s.response_ids_size();
      const Sample same = generated(*model, c, questions(6))[g].samples(i);
      CHECK(ids_of(same) == ids_of(s));
      CHECK(same.finish_reason() == records::STOP);
      c.max_response_length = s.response_ids_size() - 1;
      const Sample cut = generated(*model, c, questions(6))[g].samples(i);
      const auto ids = ids_of(s);
      CHECK(ids_of(cut) == std::vector<int32_t>(ids.begin(), ids.end() - 1));
      CHECK(cut.finish_reason() == records::LENGTH);
    }
  CHECK(found);
}

TEST_CASE("samples do not depend on how many run together, on the order of the groups, or on which groups there are") {
  const std::string family = GENERATE(from_range(kFamilies));
  CAPTURE(family);
  auto model = make_model(family);
  const auto wanted = by_id(generated(*model, config(), questions(7)));
  for (const int64_t together : {1, 4, 7, 8, 13, 512}) {
    CAPTURE(together);
    RolloutConfig c = config();
    c.max_num_seqs = together;
    CHECK(by_id(generated(*model, c, questions(7))) == wanted);
  }
  RolloutConfig small = config();
  small.kv_cache_gb = 0.0;  // room for the answers to one question
  CHECK(by_id(generated(*model, small, questions(7))) == wanted);
  auto reversed = questions(7);
  std::reverse(reversed.begin(), reversed.end());
  CHECK(by_id(generated(*model, config(), reversed)) == wanted);
  for (const auto& [id, bytes] : by_id(generated(*model, config(), {questions(7)[5], questions(7)[2]}))) CHECK(bytes == wanted.at(id));
}

TEST_CASE("the first samples of a group are the same whatever n is") {
  auto model = make_model("deepseek_v3_tiny");
  const auto four = generated(*model, config(4), questions(3)), two = generated(*model, config(2), questions(3));
  for (size_t g = 0; g < 3; ++g)
    for (int i = 0; i < 2; ++i) CHECK(four[g].samples(i).SerializeAsString() == two[g].samples(i).SerializeAsString());
}

TEST_CASE("recorded log-probabilities are the trainer's to the bit, in any batch") {
  const std::string family = GENERATE(from_range(kFamilies));
  const double temperature = GENERATE(1.0, 0.6);
  CAPTURE(family, temperature);
  auto model = make_model(family);
  RolloutConfig c = config();
  c.temperature = temperature;
  c.top_p = temperature < 1.0 ? 0.9 : 1.0;
  std::vector<model::Completion> completions;
  std::vector<float> recorded;
  for (const Group& g : generated(*model, c, questions(6)))
    for (const Sample& s : g.samples()) {
      completions.push_back({{g.prompt_ids().begin(), g.prompt_ids().end()}, ids_of(s)});
      recorded.insert(recorded.end(), s.logprobs().begin(), s.logprobs().end());
    }
  const auto trained = [&](size_t begin, size_t end) {
    const std::vector<model::Completion> batch(completions.begin() + static_cast<std::ptrdiff_t>(begin),
                                               completions.begin() + static_cast<std::ptrdiff_t>(end));
    const at::Tensor t = model::completion_logprobs(*model, batch, temperature, tokenizer().vocabulary_size()).logprob_N.detach();
    return std::vector<float>(t.data_ptr<float>(), t.data_ptr<float>() + t.numel());
  };
  CHECK(trained(0, completions.size()) == recorded);
  std::vector<float> one_by_one;
  for (size_t i = 0; i < completions.size(); ++i)
    for (float x : trained(i, i + 1)) one_by_one.push_back(x);
  CHECK(one_by_one == recorded);
  const at::NoGradGuard no_grad;
  CHECK(trained(0, completions.size()) == recorded);
  CHECK(*std::max_element(recorded.begin(), recorded.end()) <= 0.0f);
}

TEST_CASE("seed, stage, step, group and sample each change what is drawn") {
  auto model = make_model("dense_tiny");
  const auto run = [&](const SampleKey& key) { return all_ids(generated(*model, config(), questions(2), key)); };
  const auto base = run(kKey);
  CHECK(run(kKey) == base);
  CHECK(run({18, "zero", 3}) != base);
  CHECK(run({17, "r1", 3}) != base);
  CHECK(run({17, "zero", 4}) != base);
  auto twins = questions(1);
  twins.push_back(twins[0]);
  twins[1].set_id(7);
  twins = generated(*model, config(), twins);
  CHECK(ids_of(twins[0].samples(0)) != ids_of(twins[1].samples(0)));
  CHECK(ids_of(twins[0].samples(0)) != ids_of(twins[0].samples(1)));
}

TEST_CASE("temperature 0 gives every sample the same answer, that of the largest logits") {
  auto model = make_model("dense_tiny");
  RolloutConfig c = config(3);
  c.temperature = 0.0;
  const auto g = generated(*model, c, questions(2))[1];
  CHECK(g.samples(0).response_ids_size() > 1);
  for (int i = 1; i < 3; ++i) CHECK(ids_of(g.samples(i)) == ids_of(g.samples(0)));
  const at::NoGradGuard no_grad;
  std::vector<int32_t> tokens(g.prompt_ids().begin(), g.prompt_ids().end());
  for (const int32_t id : g.samples(0).response_ids()) {
    const at::Tensor hidden = model->hidden(model::pack({tokens}));
    CHECK(model->logits(hidden.narrow(0, hidden.size(0) - 1, 1)).narrow(1, 0, tokenizer().vocabulary_size()).argmax().item<int32_t>() ==
          id);
    tokens.push_back(id);
  }
}

TEST_CASE("every token is announced once, after it was added, and those of a sample in order") {
  auto model = make_model("dense_tiny");
  auto groups = questions(5);
  RolloutConfig c = config();
  c.max_num_seqs = 8;
  std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> heard;
  Generator(*model, tokenizer(), c).generate(groups, kKey, {}, [&](const Group& g, const Sample& s, int32_t id) {
    auto& ids = heard[{g.id(), s.index()}];
    ids.push_back(id);
    CHECK(ids_of(s) == ids);
    CHECK((s.finish_reason() == records::STOP) == (id == tokenizer().end_id()));
  });
  CHECK(heard.size() == 20);
  for (const Group& g : groups)
    for (const Sample& s : g.samples()) CHECK(heard.at({g.id(), s.index()}) == ids_of(s));
  CHECK(by_id(groups).size() == 5);
}

TEST_CASE("earlier samples are replaced, and no groups are no work") {
  auto model = make_model("dense_tiny");
  auto groups = questions(2);
  groups[0].add_samples()->add_response_ids(3);
  const auto fresh = by_id(generated(*model, config(), questions(2)));
  CHECK(by_id(generated(*model, config(), groups)) == fresh);
  CHECK(generated(*model, config(), {}).empty());
}

TEST_CASE("a prompt that leaves too little room is an input error before anything runs") {
  auto model = make_model("dense_tiny", 24);
  auto groups = questions(3);
  CHECK(groups[2].prompt_ids_size() == 7);
  RolloutConfig c = config();
  c.max_response_length = 17;
  CHECK(generated(*model, c, groups)[2].samples_size() == 4);  // exactly full
  c.max_response_length = 18;
  CHECK_THROWS_AS(Generator(*model, tokenizer(), c).generate(groups, kKey, {}), InputError);
  CHECK_THROWS_WITH(Generator(*model, tokenizer(), c).generate(groups, kKey, {}),
                    Catch::Contains("rollout.max_response_length") && Catch::Contains("24 positions, found 7 + 18"));
  CHECK(groups[0].samples_size() == 0);
}

TEST_CASE("an answer that is interrupted and goes on with the same weights has the bits of one that is not") {
  const std::string family = GENERATE(from_range(kFamilies));
  const int64_t piece = GENERATE(1, 3, 7, 19, 20, 50);
  CAPTURE(family, piece);
  auto model = make_model(family);
  const auto whole = by_id(generated(*model, config(), questions(7)));
  for (const int64_t together : {4, 8, 512}) {
    CAPTURE(together);
    RolloutConfig c = config();
    c.max_num_seqs = together;
    auto groups = questions(7);
    int64_t rounds = 0;
    for (bool open = true; open; ++rounds) {
      const auto before = groups;
      Generator(*model, tokenizer(), c).advance(groups, kKey, {9, 4}, piece);
      open = false;
      for (size_t g = 0; g < groups.size(); ++g)
        for (int i = 0; i < 4; ++i) {
          const Sample& s = groups[g].samples(i);
          const int had = before[g].samples().empty() ? 0 : before[g].samples(i).response_ids_size();
          const bool done = s.finish_reason() != records::FINISH_REASON_UNSPECIFIED;
          open = open || !done;
          CHECK(s.response_ids_size() <= had + piece);
          if (!done) CHECK(s.response_ids_size() == had + piece);
        }
      std::reverse(groups.begin(), groups.end());  // another order, as another rank would see them
    }
    CHECK(by_id(groups) == whole);
    CHECK(rounds == (20 + piece - 1) / piece);
  }
}

TEST_CASE("an answer goes on with other weights: what it has stays, what comes is theirs to the bit, and each token has its version") {
  const std::string family = GENERATE(from_range(kFamilies));
  CAPTURE(family);
  auto old_model = make_model(family), new_model = make_model(family);
  new_model->parameters().values().mul_(1.25);
  auto groups = questions(7);
  Generator(*old_model, tokenizer(), config()).advance(groups, kKey, {9, 4}, 5);
  const auto before = groups;
  Generator(*new_model, tokenizer(), config()).advance(groups, {17, "zero", 3}, {12, 5}, 20);
  const auto logprobs = [&](model::CausalLM& model, const Group& g, const Sample& s) {
    const at::Tensor t =
        model::completion_logprobs(model, {{{g.prompt_ids().begin(), g.prompt_ids().end()}, ids_of(s)}}, 1.0, tokenizer().vocabulary_size())
            .logprob_N.detach();
    return std::vector<float>(t.data_ptr<float>(), t.data_ptr<float>() + t.numel());
  };
  int mixed = 0;
  for (size_t g = 0; g < groups.size(); ++g)
    for (int i = 0; i < 4; ++i) {
      const Sample &s = groups[g].samples(i), &was = before[g].samples(i);
      CHECK(s.finish_reason() != records::FINISH_REASON_UNSPECIFIED);
      CHECK_NOTHROW(require_version_runs(groups[g]));
      if (was.finish_reason() != records::FINISH_REASON_UNSPECIFIED) {
        CHECK(s.SerializeAsString() == was.SerializeAsString());
        continue;
      }
      ++mixed;
      REQUIRE(s.runs_size() == 2);
      CHECK(s.runs(0).tokens() == 5);
      CHECK(age_of(s.runs(1)) == PolicyAge{12, 5});
      CHECK(s.policy_version() == 9);
      const auto of_old = logprobs(*old_model, groups[g], s), of_new = logprobs(*new_model, groups[g], s);
      CHECK(ids_of(was) == std::vector<int32_t>(s.response_ids().begin(), s.response_ids().begin() + 5));
      for (int t = 0; t < s.logprobs_size(); ++t) {
        CHECK(s.logprobs(t) == (t < 5 ? of_old : of_new)[static_cast<size_t>(t)]);
        CHECK(of_old[static_cast<size_t>(t)] != of_new[static_cast<size_t>(t)]);
      }
    }
  CHECK(mixed > 10);
  auto again = before;
  CHECK_THROWS_WITH(Generator(*new_model, tokenizer(), config()).advance(again, kKey, {8, 3}, 5), Catch::Contains("come after tokens"));
}

TEST_CASE("the step that asked first keys a group that goes on in another step") {
  auto model = make_model("dense_tiny");
  const auto whole = generated(*model, config(), questions(3));
  auto groups = questions(3);
  for (Group& g : groups) g.set_asked_step(kKey.step);
  Generator(*model, tokenizer(), config()).advance(groups, kKey, {9, 4}, 4);
  Generator(*model, tokenizer(), config()).advance(groups, {kKey.seed, kKey.stage, kKey.step + 1}, {9, 4}, 20);
  CHECK(all_ids(groups) == all_ids(whole));
  CHECK_THROWS_AS(Generator(*model, tokenizer(), config()).advance(groups, kKey, {9, 4}, 0), Fault);
}

TEST_CASE("a group without a prompt is a fault") {
  auto model = make_model("dense_tiny");
  auto groups = questions(1);
  groups[0].clear_prompt_ids();
  CHECK_THROWS_AS(Generator(*model, tokenizer(), config()).generate(groups, kKey, {}), Fault);
}

TEST_CASE("groups that come while others are decoded are answered with the same bits, and only as many as there is room for") {
  for (const auto& family : kFamilies) {
    const auto model = make_model(family);
    RolloutConfig c = config();
    const auto expected = by_id(generated(*model, c, questions(9)));
    for (const int64_t room : {int64_t{1}, int64_t{3}}) {
      c.max_num_seqs = room * c.n;
      auto waiting = questions(9);
      std::reverse(waiting.begin(), waiting.end());
      std::vector<Group> groups;
      groups.reserve(9);
      GroupSource source{9, 7, [&](int64_t count, std::vector<Group>& into) {
                           CHECK((count >= 1 && count <= room));
                           for (; count > 0 && !waiting.empty(); --count) into.push_back(waiting.back()), waiting.pop_back();
                         }};
      Generator(*model, tokenizer(), c).generate_from(source, groups, kKey, {9, 4});
      CHECK(by_id(groups) == expected);
    }
  }
}

TEST_CASE("a source without groups is no error; one that moves groups is a Fault") {
  const auto model = make_model("dense_tiny");
  std::vector<Group> groups;
  Generator(*model, tokenizer(), config()).generate_from({0, 0, [](int64_t, std::vector<Group>&) {}}, groups, kKey, {9, 4});
  CHECK(groups.empty());
  const GroupSource moving{4, 7, [](int64_t, std::vector<Group>& into) { into.push_back(questions(1)[0]); }};
  CHECK_THROWS_AS(Generator(*model, tokenizer(), config()).generate_from(moving, groups, kKey, {9, 4}), Fault);
}

TEST_CASE("without a tokenizer every id may be sampled, and an answer ends at any of the end tokens") {
  const auto model = make_model("dense_tiny");
  RolloutConfig c = config(1);
  c.temperature = 0.0;
  std::vector<Group> endless = questions(3);
  Generator(*model, nullptr, {}, c).generate(endless, kKey, {9, 4});
  for (const Group& g : endless) {
    CHECK(g.samples(0).response_ids_size() == 20);
    CHECK(g.samples(0).finish_reason() == records::LENGTH);
  }
  // The first end token does not come; the second ends the answer where it comes first, and what is before stays as it was.
  const std::vector<int32_t> whole = ids_of(endless[0].samples(0));
  int32_t absent = 0;
  while (std::count(whole.begin(), whole.end(), absent) > 0) ++absent;
  REQUIRE(absent < 16);
  std::vector<Group> ended = questions(3);
  Generator(*model, nullptr, {absent, whole[5]}, c).generate(ended, kKey, {9, 4});
  CHECK(ids_of(ended[0].samples(0)) == std::vector<int32_t>(whole.begin(), std::find(whole.begin(), whole.end(), whole[5]) + 1));
  CHECK(ended[0].samples(0).finish_reason() == records::STOP);

  std::set<int32_t> sampled;
  c.temperature = 100.0, c.n = 64;
  std::vector<Group> wild = questions(1);
  Generator(*model, nullptr, {}, c).generate(wild, kKey, {9, 4});
  for (const Sample& s : wild[0].samples()) sampled.insert(s.response_ids().begin(), s.response_ids().end());
  CHECK(sampled.size() == 16);
}

}  // namespace cohort::generate
