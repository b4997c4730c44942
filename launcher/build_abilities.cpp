#include "launcher/build_abilities.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/pipeline/recipe.h"

namespace cohort::launcher {
namespace {

/// Looks for one key in a config struct and whether it takes a value.
class KeyProbe {
 public:
  KeyProbe(std::string key, std::string word, double number) : key_(std::move(key)), word_(std::move(word)), number_(number) {}

  bool found() const { return found_; }

  void number(const char* key, double&, const config::Range& range, const char*) { take(key, range.contains(number_)); }
  void integer(const char* key, int64_t&, const config::Range& range, const char*) { take(key, range.contains(number_)); }
  void flag(const char* key, bool&, const char*) { take(key, true); }
  void text(const char* key, std::string&, const char*) { take(key, true); }
  void choice(const char* key, std::string&, const std::vector<std::string>& values, const char*) {
    take(key, std::find(values.begin(), values.end(), word_) != values.end());
  }
  template <class... Rest>
  void numbers(Rest&&...) {}
  template <class... Rest>
  void integers(Rest&&...) {}
  template <class... Rest>
  void texts(Rest&&...) {}
  template <class... Rest>
  void section(Rest&&...) {}
  template <class... Rest>
  void rule(Rest&&...) {}

 private:
  void take(const char* key, bool accepted) {
    if (key_ == key) found_ = accepted;
  }

  std::string key_, word_;
  double number_;
  bool found_ = false;
};

template <class Section>
bool accepts(const char* key, const std::string& word, double number = 0.0) {
  Section section;
  KeyProbe probe(key, word, number);
  section.visit(probe);
  return probe.found();
}

template <class Section>
Ability word_ability(const char* section, const char* key, const std::string& word) {
  return {fmt::format("{}.{}: {}", section, key, word), accepts<Section>(key, word), {}};
}

template <class Section>
Ability number_ability(const char* section, const char* key, int64_t number) {
  return {fmt::format("{}.{}: {}", section, key, number), accepts<Section>(key, "", static_cast<double>(number)), {}};
}

}  // namespace

std::vector<Ability> abilities_for(const StageWork& work, const Layout& l, const StageCost& cost) {
  using Cluster = pipeline::ClusterSection;
  using Trainer = pipeline::TrainerSection;
  std::vector<Ability> out;
  out.push_back({"tensors in device memory", false, "this build computes on CPUs, in fp32 storage"});
  out.push_back(word_ability<Cluster>("cluster", "placement", l.split() ? "split" : "colocated"));
  if (l.split()) {
    out.push_back(number_ability<Cluster>("cluster", "rollout_ranks", l.rollout_ranks));
    out.push_back(number_ability<Cluster>("cluster", "max_staleness", l.max_staleness));
  }
  if (l.expert_parallel > 1) {
    out.push_back(number_ability<Cluster>("cluster", "expert_parallel_size", l.expert_parallel));
    out.push_back({fmt::format("experts' weights and gradients divided over {} ranks", l.expert_parallel), false,
                   l.sharded_parameters
                       ? "this build divides their weights over all ranks that train, and gathers a layer's own ones; it does "
                         "not divide their gradients, and gathers all to sample"
                       : "this build divides only their work: every rank holds those of all experts"});
  }
  if (l.split() && l.rollout_expert_parallel > 1)
    out.push_back({fmt::format("rollout ranks that share experts: {}", l.rollout_expert_parallel), false, "there is no key for it"});
  if (l.zero1) out.push_back(word_ability<Trainer>("trainer", "optimizer_sharding", "zero1"));
  if (l.sharded_parameters) {
    out.push_back(word_ability<Trainer>("trainer", "parameter_sharding", "full"));
    out.push_back({fmt::format("gradients divided over {} ranks", l.trainers()), false,
                   "this build divides weights and moments; every rank holds the whole gradient until it is reduced"});
  }
  if (l.recompute) out.push_back(word_ability<Trainer>("trainer", "recompute", "layer"));
  if (l.context_parallel > 1) out.push_back({fmt::format("a sequence over {} ranks", l.context_parallel), false, "there is no key for it"});
  if (l.offload) out.push_back({"idle state in host memory", false, "there is no key for it"});
  if (work.samples() && cost.decode.places < work.answers)
    out.push_back({fmt::format("{} of the {} answers to a question at a time", cost.decode.places, work.answers), false,
                   "this build decodes all answers to a question together"});
  return out;
}

}  // namespace cohort::launcher
