#include "core/model/safetensors.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/text_util.h"

namespace cohort::model {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and read without swapping");

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDims = 8;
constexpr int kMaxHeaderDepth = 4;  // object of tensors, tensor, array: three, and one to spare
constexpr uint64_t kMaxReadBytes = uint64_t{1} << 30;
constexpr uint64_t kParsedBytes = 100;                // of one value of the header, as parsed: its node, its key, its own memory
constexpr uint64_t kParsedFree = uint64_t{64} << 20;  // so much a header may take, however small the file
constexpr const char* kMetadataKey = "__metadata__";

struct Dtype {
  const char* name;
  at::ScalarType type;
  uint64_t bytes;
};

/// In the order in which the writer lays them out: that of the reference implementation, from its last dtype to its first.
constexpr std::array<Dtype, 15> kDtypes = {{{"U64", at::kUInt64, 8},
                                            {"I64", at::kLong, 8},
                                            {"F64", at::kDouble, 8},
                                            {"F32", at::kFloat, 4},
                                            {"U32", at::kUInt32, 4},
                                            {"I32", at::kInt, 4},
                                            {"BF16", at::kBFloat16, 2},
                                            {"F16", at::kHalf, 2},
                                            {"U16", at::kUInt16, 2},
                                            {"I16", at::kShort, 2},
                                            {"F8_E4M3", at::kFloat8_e4m3fn, 1},
                                            {"F8_E5M2", at::kFloat8_e5m2, 1},
                                            {"I8", at::kChar, 1},
                                            {"U8", at::kByte, 1},
                                            {"BOOL", at::kBool, 1}}};

std::string dtype_names() {
  std::vector<std::string> names;
  for (const Dtype& dtype : kDtypes) names.emplace_back(dtype.name);
  return join(names);
}

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& found) {
  throw InputError(where + ": expected " + expected + ", found " + found);
}

std::string tensor_place(const std::string& path, const std::string& name) { return path + ": tensor '" + printable(name) + "'"; }

std::string shape_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> dims;
  for (const int64_t dim : shape) dims.push_back(std::to_string(dim));
  return "[" + join(dims) + "]";
}

const Dtype& parse_dtype(const nlohmann::json& value, const std::string& where) {
  if (!value.is_string()) refuse(where + ": dtype", "a string", value.type_name());
  const auto& name = value.get_ref<const std::string&>();
  for (const Dtype& dtype : kDtypes) {
    if (name == dtype.name) return dtype;
  }
  refuse(where + ": dtype", "one of " + dtype_names(), "'" + printable(name) + "'");
}

/// A JSON integer that is neither negative nor written as a fraction or with an exponent.
uint64_t parse_count(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    refuse(where, "an integer from 0 to 2^63 - 1", value.is_number() ? printable(value.dump()) : value.type_name());
  }
  return value.get<uint64_t>();
}

std::vector<int64_t> parse_shape(const nlohmann::json& value, const std::string& where) {
  if (!value.is_array()) refuse(where, "an array", value.type_name());
  if (value.size() > kMaxDims) refuse(where, "at most " + std::to_string(kMaxDims) + " dimensions", std::to_string(value.size()));
  std::vector<int64_t> shape;
  for (const nlohmann::json& dim : value) shape.push_back(static_cast<int64_t>(parse_count(dim, where)));
  return shape;
}

/// Bytes of a tensor. Zero dimensions count as one in the overflow check, because strides are products of the other dimensions.
uint64_t checked_bytes(const std::vector<int64_t>& shape, uint64_t element_bytes, const std::string& where) {
  int64_t product = static_cast<int64_t>(element_bytes);
  bool empty = false;
  for (const int64_t dim : shape) {
    empty = empty || dim == 0;
    if (__builtin_mul_overflow(product, std::max<int64_t>(dim, 1), &product)) {
      refuse(where + ": shape", "fewer than 2^63 bytes", shape_text(shape));
    }
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

TensorInfo parse_tensor(const nlohmann::json& value, const std::string& where) {
  if (!value.is_object()) refuse(where, "an object", value.type_name());
  for (const auto& [key, unused] : value.items()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") refuse(where, "dtype, shape, data_offsets", "'" + printable(key) + "'");
  }
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(key)) refuse(where, key, "none");
  }
  const Dtype& dtype = parse_dtype(value["dtype"], where);
  const nlohmann::json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) refuse(where + ": data_offsets", "two integers", printable(offsets.dump()));
  TensorInfo info{dtype.type, parse_shape(value["shape"], where + ": shape"), parse_count(offsets[0], where + ": data_offsets"),
                  parse_count(offsets[1], where + ": data_offsets")};
  const uint64_t bytes = checked_bytes(info.shape, dtype.bytes, where);
  if (info.end < info.begin || info.end - info.begin != bytes) {
    refuse(where + ": data_offsets", std::to_string(bytes) + " bytes for " + dtype.name + " " + shape_text(info.shape),
           "[" + std::to_string(info.begin) + ", " + std::to_string(info.end) + ")");
  }
  return info;
}

std::map<std::string, std::string> parse_metadata(const nlohmann::json& value, const std::string& where) {
  if (!value.is_object()) refuse(where, "an object", value.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) refuse(where + ": '" + printable(key) + "'", "a string", text.type_name());
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

/// Ranges in ascending order must follow each other without hole or overlap and end with the file: otherwise a small file could declare
/// many tensors over the same bytes, or carry bytes that nobody looks at.
void check_layout(const std::map<std::string, TensorInfo>& tensors, uint64_t data_bytes, const std::string& path) {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  for (const auto& entry : tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t next = 0;
  for (const auto* entry : order) {
    const auto& [name, info] = *entry;
    if (info.begin != next) {
      refuse(tensor_place(path, name) + ": data_offsets", "begin " + std::to_string(next) + " (no gap, no overlap)",
             std::to_string(info.begin));
    }
    if (info.end > data_bytes) {
      refuse(tensor_place(path, name) + ": data_offsets", "end at most " + std::to_string(data_bytes) + " (the end of the file)",
             std::to_string(info.end));
    }
    next = info.end;
  }
  if (next != data_bytes) {
    const std::string last = order.empty() ? path : tensor_place(path, order.back()->first);
    refuse(last, "the data to end at the end of the file", std::to_string(data_bytes - next) + " more bytes");
  }
}

/// Each value but the first stands behind one of these; those inside strings only make the estimate larger.
void check_parsed_size(const std::string& text, uint64_t file_bytes, const std::string& path) {
  const auto values =
      static_cast<uint64_t>(std::count_if(text.begin(), text.end(), [](char c) { return c == ',' || c == ':' || c == '['; }));
  const uint64_t most = (file_bytes + kParsedFree) / kParsedBytes;
  if (values > most)
    refuse(path + ": header", "at most " + std::to_string(most) + " values in a file of this size", std::to_string(values));
}

const Dtype* find_dtype(at::ScalarType type) {
  const auto* found = std::find_if(kDtypes.begin(), kDtypes.end(), [type](const Dtype& dtype) { return dtype.type == type; });
  return found == kDtypes.end() ? nullptr : found;
}

const Dtype& writable_dtype(const LazyTensor& tensor) {
  const Dtype* dtype = find_dtype(tensor.dtype);
  if (dtype == nullptr)
    throw Fault("write_safetensors: tensor '" + tensor.name + "': dtype " + at::toString(tensor.dtype) + " is not one of " + dtype_names());
  return *dtype;
}

/// Text inside our own header: what we write, we must be able to read.
std::string quoted(const std::string& text) {
  if (first_invalid_utf8(text) != text.size()) throw Fault("write_safetensors: '" + printable(text) + "' is not UTF-8");
  return nlohmann::json(text).dump();
}

struct Entry {
  const LazyTensor* tensor;
  const Dtype* dtype;
};

std::vector<Entry> file_order(const std::vector<LazyTensor>& tensors) {
  std::vector<Entry> entries;
  std::set<std::string> seen;
  for (const LazyTensor& tensor : tensors) {
    if (tensor.name == kMetadataKey || !seen.insert(tensor.name).second)
      throw Fault("write_safetensors: tensor '" + tensor.name + "' is given twice or reserved");
    entries.push_back({&tensor, &writable_dtype(tensor)});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.dtype != b.dtype ? a.dtype < b.dtype : a.tensor->name < b.tensor->name; });
  return entries;
}

std::string header_text(const std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> items;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(quoted(key) + ":" + quoted(value));
    items.push_back(quoted(kMetadataKey) + ":{" + join(pairs, ",") + "}");
  }
  uint64_t begin = 0;
  for (const Entry& entry : entries) {
    const uint64_t end = begin + entry.tensor->bytes();
    std::vector<std::string> dims;
    for (const int64_t dim : entry.tensor->shape) dims.push_back(std::to_string(dim));
    items.push_back(quoted(entry.tensor->name) + ":{\"dtype\":\"" + entry.dtype->name + "\",\"shape\":[" + join(dims, ",") +
                    "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}");
    begin = end;
  }
  std::string header = "{" + join(items, ",") + "}";
  header.append((kLengthBytes - header.size() % kLengthBytes) % kLengthBytes, ' ');  // so that the data start aligned
  if (header.size() > kMaxHeaderBytes)
    throw Fault("write_safetensors: the header is longer than " + std::to_string(kMaxHeaderBytes) + " bytes");
  return header;
}

}  // namespace

const char* safetensors_dtype_name(at::ScalarType type) {
  const Dtype* dtype = find_dtype(type);
  return dtype == nullptr ? nullptr : dtype->name;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must not wait for its other end; it is refused as not a regular file.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) refuse(path, "a readable file", std::strerror(errno));
  open_header();
}

SafetensorsFile::SafetensorsFile(const Folder& folder, const std::string& name)
    : path_(folder.place(name)), descriptor_(folder.open(name)) {
  open_header();
}

void SafetensorsFile::open_header() {
  try {
    read_header();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() { ::close(descriptor_); }

void SafetensorsFile::read_header() {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) refuse(path_, "a readable file", std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse(path_, "a regular file", "another kind");
  const auto file_bytes = static_cast<uint64_t>(status.st_size);
  if (file_bytes < kLengthBytes) refuse(path_, "at least 8 bytes", std::to_string(file_bytes));
  uint64_t header_bytes = 0;
  read_bytes(0, kLengthBytes, &header_bytes);
  const uint64_t limit = std::min(kMaxHeaderBytes, file_bytes - kLengthBytes);
  if (header_bytes < 2 || header_bytes > limit) {
    refuse(path_ + ": header length", "2 to " + std::to_string(limit), std::to_string(header_bytes));
  }
  std::string text(header_bytes, '\0');
  read_bytes(kLengthBytes, header_bytes, text.data());
  if (text[0] != '{') refuse(path_ + ": header", "'{' first", "'" + printable(text.substr(0, 1)) + "'");
  // JSON has no zero bytes, but nlohmann's lexer takes one for the end of its input and would not see what follows.
  if (text.find('\0') != std::string::npos) refuse(path_ + ": header", "JSON", "a zero byte at " + std::to_string(text.find('\0')));
  check_parsed_size(text, file_bytes, path_);
  data_start_ = kLengthBytes + header_bytes;

  const nlohmann::json header = parse_json(text, path_ + ": header", kMaxHeaderDepth);
  for (const auto& [name, value] : header.items()) {
    if (name == kMetadataKey) {
      metadata_ = parse_metadata(value, path_ + ": " + kMetadataKey);
    } else {
      tensors_.emplace(name, parse_tensor(value, tensor_place(path_, name)));
    }
  }
  check_layout(tensors_, file_bytes - data_start_, path_);
}

void SafetensorsFile::read_bytes(uint64_t offset, uint64_t count, void* out) const {
  auto* bytes = static_cast<char*>(out);
  for (uint64_t done = 0; done < count;) {
    const ssize_t got = ::pread(descriptor_, bytes + done, std::min(count - done, kMaxReadBytes), static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse(path_, "a readable file", std::strerror(errno));
    if (got == 0) refuse(path_, std::to_string(offset + count) + " bytes", "a file that was cut to " + std::to_string(offset + done));
    done += static_cast<uint64_t>(got);
  }
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) refuse(tensor_place(path_, name), "a tensor of this name", "none");
  return found->second;
}

void SafetensorsFile::read_elements(const TensorInfo& info, int64_t begin, int64_t end, void* out) const {
  const uint64_t width = find_dtype(info.dtype)->bytes;
  if (begin < 0 || end < begin || static_cast<uint64_t>(end) > (info.end - info.begin) / width)
    throw Fault(path_ + ": elements " + std::to_string(begin) + " to " + std::to_string(end) + " of a tensor that has fewer");
  const uint64_t count = static_cast<uint64_t>(end - begin) * width;
  if (count == 0) return;
  read_bytes(data_start_ + info.begin + static_cast<uint64_t>(begin) * width, count, out);
  bytes_read_ += count;
}

at::Tensor SafetensorsFile::load_rows(const std::string& name, int64_t begin, int64_t end) const {
  const TensorInfo& tensor_info = info(name);
  if (tensor_info.shape.empty() || begin < 0 || end < begin || end > tensor_info.shape[0])
    throw Fault(path_ + ": rows " + std::to_string(begin) + " to " + std::to_string(end) + " of shape " + shape_text(tensor_info.shape));
  std::vector<int64_t> shape = tensor_info.shape;
  shape[0] = end - begin;
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(tensor_info.dtype));
  const int64_t row = shape[0] == 0 ? 0 : tensor.numel() / shape[0];
  read_elements(tensor_info, begin * row, end * row, tensor.data_ptr());
  return tensor;
}

at::Tensor SafetensorsFile::load(const std::string& name) const {
  const TensorInfo& tensor_info = info(name);
  at::Tensor tensor = at::empty(tensor_info.shape, at::TensorOptions().dtype(tensor_info.dtype));
  read_elements(tensor_info, 0, tensor.numel(), tensor.data_ptr());
  if (tensor_info.dtype == at::kBool) {
    const auto* bytes = static_cast<const uint8_t*>(tensor.data_ptr());
    const auto* end = bytes + tensor.numel();
    const auto* bad = std::find_if(bytes, end, [](uint8_t byte) { return byte > 1; });
    if (bad != end) refuse(tensor_place(path_, name), "BOOL bytes 0 or 1", std::to_string(*bad));
  }
  return tensor;
}

std::map<std::string, at::Tensor> read_safetensors(const std::string& path) {
  const SafetensorsFile file(path);
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, unused] : file.tensors()) tensors.emplace(name, file.load(name));
  return tensors;
}

uint64_t LazyTensor::bytes() const { return checked_bytes(shape, c10::elementSize(dtype), "tensor '" + name + "'"); }

WrittenFile write_lazy_safetensors(const std::string& path, const std::vector<LazyTensor>& tensors,
                                   const std::map<std::string, std::string>& metadata) {
  const std::vector<Entry> entries = file_order(tensors);
  const std::string header = header_text(entries, metadata);
  const uint64_t header_bytes = header.size();
  FileWriter writer(path);
  writer.write({reinterpret_cast<const char*>(&header_bytes), kLengthBytes});
  writer.write(header);
  for (const Entry& entry : entries) {
    const at::Tensor values = entry.tensor->values().detach().cpu().contiguous();
    if (values.scalar_type() != entry.tensor->dtype || values.sizes() != at::IntArrayRef(entry.tensor->shape))
      throw Fault("write_safetensors: tensor '" + entry.tensor->name + "' is not as it was announced");
    if (values.numel() > 0) writer.write({static_cast<const char*>(values.data_ptr()), static_cast<size_t>(values.nbytes())});
  }
  const uint64_t bytes = writer.bytes();
  return {bytes, writer.close()};
}

WrittenFile write_safetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata) {
  std::vector<LazyTensor> lazy;
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.defined()) throw Fault("write_safetensors: tensor '" + name + "' is undefined");
    lazy.push_back({name, tensor.scalar_type(), tensor.sizes().vec(), [tensor = tensor] { return tensor; }});
  }
  return write_lazy_safetensors(path, lazy, metadata);
}

}  // namespace cohort::model
