#include "distributed/weights/transfer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/model/logprobs.h"
#include "distributed/proto/weights.pb.h"

namespace cohort::weights {
namespace {

constexpr int64_t kCanaryTokens = 12;

proto::WeightTensor to_record(const TensorInfo& info) {
  proto::WeightTensor record;
  record.set_name(info.name), record.set_dtype(info.dtype);
  for (int64_t size : info.shape) record.add_shape(size);
  return record;
}

TensorInfo from_record(const proto::WeightTensor& record) {
  return {record.name(), record.dtype(), {record.shape().begin(), record.shape().end()}};
}

std::vector<TensorInfo> infos_of(const std::vector<std::pair<TensorInfo, at::Tensor>>& tensors) {
  std::vector<TensorInfo> infos;
  for (const auto& [info, values] : tensors) infos.push_back(info);
  return infos;
}

template <class Message>
Message parse(const std::string& bytes, int from) {
  Message message;
  if (!message.ParseFromString(bytes))
    throw Fault(fmt::format("weights: rank {} sent something that is not a {}", from, message.GetTypeName()));
  return message;
}

}  // namespace

std::vector<std::pair<TensorInfo, at::Tensor>> tensors_of(const model::CausalLM& model) {
  std::vector<std::pair<TensorInfo, at::Tensor>> tensors;
  const auto add = [&](const std::string& name, const at::Tensor& values) {
    if (values.scalar_type() != at::kFloat || !values.is_contiguous()) throw Fault("weights: " + name + " is not contiguous fp32");
    tensors.push_back({{name, "F32", values.sizes().vec()}, values.detach()});
  };
  for (const model::Parameter& p : model.parameters().all()) add(p.name, p.value);
  const auto biases = model.router_biases();
  for (size_t i = 0; i < biases.size(); ++i) add(fmt::format("router_bias.{}", i), biases[i]);
  return tensors;
}

std::vector<float> canary_logprobs(model::CausalLM& model) {
  const at::NoGradGuard no_grad;
  const int64_t vocabulary = model.architecture().vocab_size;
  model::Completion canary;
  canary.prompt = {0};
  for (int64_t i = 1; i < kCanaryTokens; ++i) canary.completion.push_back(static_cast<int32_t>(i * 7919 % vocabulary));
  const at::Tensor logprobs = model::completion_logprobs(model, {canary}, 1.0, vocabulary).logprob_N.contiguous();
  return {logprobs.data_ptr<float>(), logprobs.data_ptr<float>() + logprobs.numel()};
}

Transfer::Transfer(comm::Communicator group, std::vector<std::pair<TensorInfo, at::Tensor>> tensors, const Layout& from, const Layout& to)
    : group_(std::move(group)), tensors_(std::move(tensors)), moves_(plan_transfer(infos_of(tensors_), from, to)), hashes_(moves_.size()) {
  std::set<int> senders;
  for (const Move& m : moves_) senders.insert(m.from);
  senders_.assign(senders.begin(), senders.end());
}

bool Transfer::sends() const { return std::binary_search(senders_.begin(), senders_.end(), group_.rank()); }

std::string_view Transfer::bytes_of(const Move& m) const {
  const char* values = static_cast<const char*>(tensors_[m.tensor].second.data_ptr());
  return {values + static_cast<size_t>(m.begin) * sizeof(float), static_cast<size_t>(m.end - m.begin) * sizeof(float)};
}

uint64_t Transfer::run(uint64_t version, const Canary& canary, double tolerance) {
  if (moves_.empty()) return version;
  announce(version, canary);
  missing_.clear();
  for (size_t i = 0; i < moves_.size(); ++i)
    if (moves_[i].to == group_.rank()) missing_.insert(static_cast<uint32_t>(i));
  const std::set<uint32_t> all = missing_;
  problem_.clear();
  for (int attempt = 0;; ++attempt) {
    const auto wanted = ask();
    if (std::all_of(wanted.begin(), wanted.end(), [](const auto& moves) { return moves.empty(); })) return version_;
    if (attempt == kAttempts)
      throw Fault(fmt::format("weights of version {} were sent {} times and are still refused: {}", version_, kAttempts, reported_));
    problem_.clear();
    serve(wanted);
    if (all.empty() || !missing_.empty()) continue;
    const std::vector<float> mine = canary();
    double worst = mine.size() == canary_.size() ? 0.0 : INFINITY;
    for (size_t i = 0; i < std::min(mine.size(), canary_.size()); ++i) {
      const double difference = std::abs(mine[i] - canary_[i]);
      worst = std::isnan(difference) ? INFINITY : std::max(worst, difference);
    }
    if (worst <= tolerance) continue;
    problem_ = fmt::format("their canary's log-probabilities are {} away from the sender's", worst);
    log_warn("weights of version {}: {}", version_, problem_);
    missing_ = all, ++refused_;
  }
}

/// Everybody learns what is going to be sent.
void Transfer::announce(uint64_t version, const Canary& canary) {
  proto::WeightManifest mine;
  if (sends()) {
    mine.set_version(version);
    for (const auto& [info, values] : tensors_) *mine.add_tensors() = to_record(info);
    std::map<std::tuple<size_t, int64_t, int64_t>, std::string> known;  // several ranks get the same piece
    for (const Move& m : moves_) {
      if (m.from != group_.rank()) continue;
      std::string& hash = known[{m.tensor, m.begin, m.end}];
      if (hash.empty()) hash = xxh3_128_hex(bytes_of(m));
      auto* piece = mine.add_pieces();
      piece->set_tensor(static_cast<uint32_t>(m.tensor)), piece->set_begin(m.begin), piece->set_end(m.end);
      piece->set_owner(static_cast<uint32_t>(m.from)), piece->set_xxh3(hash);
    }
    if (group_.rank() == senders_.front())
      for (float x : canary()) mine.add_canary(x);
  }
  const uint64_t before = version_;
  bool first = true;
  const auto manifests = group_.all_gather("weight manifest", sends() ? mine.SerializeAsString() : "");
  for (int rank : senders_) {
    const auto manifest = parse<proto::WeightManifest>(manifests[static_cast<size_t>(rank)], rank);
    if (!first && manifest.version() != version_)
      throw Fault(
          fmt::format("weights: rank {} sends version {}, rank {} version {}", senders_.front(), version_, rank, manifest.version()));
    version_ = manifest.version(), first = false;
    take_manifest(manifests[static_cast<size_t>(rank)], rank);
  }
  if (version_ < before) throw Fault(fmt::format("weights: version {} comes after version {}", version_, before));
}

void Transfer::take_manifest(const std::string& bytes, int rank) {
  const auto manifest = parse<proto::WeightManifest>(bytes, rank);
  if (manifest.tensors_size() != static_cast<int>(tensors_.size()))
    throw Fault(
        fmt::format("weights: rank {} has {} tensors, rank {} has {}", rank, manifest.tensors_size(), group_.rank(), tensors_.size()));
  for (int t = 0; t < manifest.tensors_size(); ++t) {
    const TensorInfo& mine = tensors_[static_cast<size_t>(t)].first;
    if (from_record(manifest.tensors(t)) != mine)
      throw Fault(
          fmt::format("weights: rank {} has another tensor {} than {}, {}", rank, manifest.tensors(t).name(), group_.rank(), mine.name));
  }
  int next = 0;
  for (size_t i = 0; i < moves_.size(); ++i) {
    const Move& m = moves_[i];
    if (m.from != rank) continue;
    const bool there = next < manifest.pieces_size();
    const proto::WeightPiece piece = there ? manifest.pieces(next++) : proto::WeightPiece();
    if (!there || piece.tensor() != m.tensor || piece.begin() != m.begin || piece.end() != m.end || static_cast<int>(piece.owner()) != rank)
      throw Fault(
          fmt::format("weights: rank {} plans another transfer of {} than rank {}", rank, tensors_[m.tensor].first.name, group_.rank()));
    hashes_[i] = piece.xxh3();
  }
  if (rank == senders_.front()) canary_.assign(manifest.canary().begin(), manifest.canary().end());
}

/// What every rank still lacks; only moves that are really meant for it are served.
std::vector<std::vector<uint32_t>> Transfer::ask() {
  proto::WeightRequest mine;
  for (uint32_t move : missing_) mine.add_moves(move);
  mine.set_problem(problem_);
  reported_.clear();
  std::vector<std::vector<uint32_t>> wanted;
  const auto requests = group_.all_gather("weights wanted", mine.SerializeAsString());
  for (size_t rank = 0; rank < requests.size(); ++rank) {
    const auto request = parse<proto::WeightRequest>(requests[rank], static_cast<int>(rank));
    for (uint32_t move : request.moves())
      if (move >= moves_.size() || moves_[move].to != static_cast<int>(rank))
        throw Fault(fmt::format("weights: rank {} asks for another rank's", rank));
    if (reported_.empty() && !request.moves().empty())
      reported_ = fmt::format("rank {}: {}", rank, request.problem().empty() ? "it did not get what it asked for" : request.problem());
    wanted.emplace_back(request.moves().begin(), request.moves().end());
  }
  return wanted;
}

/// Rounds of buckets until all that was asked for is sent. Every rank knows all requests, so all count the same rounds.
void Transfer::serve(const std::vector<std::vector<uint32_t>>& wanted) {
  const size_t ranks = wanted.size();
  std::vector<std::vector<size_t>> next(ranks, std::vector<size_t>(ranks, 0));  // [from][to]: position in wanted[to]
  const auto left = [&](size_t from, size_t to) {
    size_t& at = next[from][to];
    while (at < wanted[to].size() && moves_[wanted[to][at]].from != static_cast<int>(from)) ++at;
    return at < wanted[to].size();
  };
  while (true) {
    std::vector<std::string> to_each(ranks);
    bool more = false;
    for (size_t from = 0; from < ranks; ++from)
      for (size_t to = 0; to < ranks; ++to) {
        if (!left(from, to)) continue;
        more = true;
        size_t bytes = 0;
        const size_t first = next[from][to];
        for (; left(from, to) && (bytes == 0 || bytes + bytes_of(moves_[wanted[to][next[from][to]]]).size() <= kBucketBytes);
             ++next[from][to])
          bytes += bytes_of(moves_[wanted[to][next[from][to]]]).size();
        if (static_cast<int>(from) != group_.rank()) continue;
        proto::WeightBucket bucket;
        bucket.set_version(version_);
        bucket.mutable_data()->reserve(bytes);
        for (size_t i = first; i < next[from][to]; ++i) {
          const Move& m = moves_[wanted[to][i]];
          if (m.from == group_.rank()) bucket.add_moves(wanted[to][i]), bucket.mutable_data()->append(bytes_of(m));
        }
        to_each[to] = bucket.SerializeAsString();
      }
    if (!more) return;
    const auto received = group_.all_to_all("weights", to_each);
    for (size_t from = 0; from < ranks; ++from)
      if (static_cast<int>(from) != group_.rank() && !received[from].empty()) take_bucket(received[from], static_cast<int>(from));
  }
}

void Transfer::take_bucket(const std::string& bytes, int from) {
  proto::WeightBucket bucket;
  const auto refuse = [&](const std::string& problem) {
    problem_ = problem, ++refused_;
    log_warn("weights of version {}: {}; asking again", version_, problem_);
  };
  if (!bucket.ParseFromString(bytes)) return refuse(fmt::format("rank {} sent something that is no bucket", from));
  size_t at = 0;
  for (uint32_t index : bucket.moves()) {
    if (index >= moves_.size() || moves_[index].from != from || moves_[index].to != group_.rank())
      return refuse(fmt::format("rank {} sent what is not for this rank", from));
    const Move& m = moves_[index];
    const std::string_view place = bytes_of(m);
    const std::string_view piece = std::string_view(bucket.data()).substr(std::min(at, bucket.data().size()), place.size());
    at += place.size();
    const std::string& name = tensors_[m.tensor].first.name;
    if (bucket.version() != version_) {
      refuse(fmt::format("{} from rank {} is of version {}", name, from, bucket.version()));
    } else if (piece.size() != place.size() || xxh3_128_hex(piece) != hashes_[index]) {
      refuse(fmt::format("{} from rank {}, elements {} to {}, is not what was announced", name, from, m.begin, m.end));
    } else {
      char* values = static_cast<char*>(tensors_[m.tensor].second.data_ptr());
      std::memcpy(values + static_cast<size_t>(m.begin) * sizeof(float), piece.data(), piece.size());
      missing_.erase(index);
    }
  }
}

}  // namespace cohort::weights
