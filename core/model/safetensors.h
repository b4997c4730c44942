#pragma once
/// Files of tensors in the safetensors format (https://github.com/huggingface/safetensors, format description in its README).
///
/// Layout: 8 bytes little-endian length N; N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end)}, …} with an optional
/// "__metadata__" of strings; then the data, row-major and little-endian. Offsets count from the end of the header.
///
/// The reader trusts nothing. It refuses what the reference implementation refuses (header over 100,000,000 bytes or outside the file, not
/// a JSON object in valid UTF-8, duplicate names, unknown dtypes, a shape whose byte count overflows or differs from its range, ranges that
/// overlap, leave holes or do not end exactly at the end of the file) and also unknown keys, more than eight dimensions, BOOL bytes other
/// than 0 and 1, dtypes that LibTorch has no use for here (complex, 4 and 6 bits, F8_E8M0), and headers whose parsed form would take more
/// memory than the file itself and 64 MiB. Every refusal is an InputError "PATH: tensor 'NAME': expected …, found …". Calls block; nothing
/// here is collective.

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cohort {
class Folder;
}

namespace cohort::model {

/// One tensor as the header declares it, already checked against the file.
struct TensorInfo {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  ///< first byte, counted from the end of the header
  uint64_t end = 0;    ///< one past the last byte
};

/// An open file. The constructor reads and checks the header only, so names, shapes and dtypes can be compared with a model's before any
/// tensor takes memory, however large the file claims to be. Tensors, or parts of them, are read with pread(2) when asked for. Not a
/// mapping, for three reasons: a file cut short meanwhile is an InputError, where a mapping would end the process with SIGBUS; pread goes
/// straight to where the bytes are needed, or through a buffer that stays in the processor's cache when they are converted, which is
/// faster than the page faults of a mapping; and on network file systems it asks for large blocks. Reading from several threads is safe.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  /// A file of a folder that came from elsewhere: nothing outside is opened (core/base/folder.h).
  SafetensorsFile(const Folder& folder, const std::string& name);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// InputError when there is no tensor of that name.
  const TensorInfo& info(const std::string& name) const;

  /// A contiguous CPU tensor that owns its memory, in the file's dtype. InputError when there is no tensor of that name.
  at::Tensor load(const std::string& name) const;
  /// Rows [begin, end) of its first dimension; nothing else is read. Fault when it has no such rows.
  at::Tensor load_rows(const std::string& name, int64_t begin, int64_t end) const;
  /// Elements [begin, end) in row-major order, as they are in the file, to `out`. Fault when it has no such elements.
  void read_elements(const TensorInfo& info, int64_t begin, int64_t end, void* out) const;

  /// Bytes of tensors read so far, by all threads.
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  void open_header();
  void read_header();
  void read_bytes(uint64_t offset, uint64_t count, void* out) const;

  std::string path_;
  int descriptor_ = -1;
  uint64_t data_start_ = 0;  ///< file offset of the first data byte
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  mutable std::atomic<uint64_t> bytes_read_ = 0;
};

/// All tensors of a file. For files whose size is not known to fit memory, open a SafetensorsFile and look first.
std::map<std::string, at::Tensor> read_safetensors(const std::string& path);

/// What a written file can be verified by later.
struct WrittenFile {
  uint64_t bytes = 0;
  std::string hash;  ///< XXH3-128 of the whole file, 32 hex digits
};

/// What the format calls a dtype, e.g. "BF16"; null for one that it lacks or that is not read here.
const char* safetensors_dtype_name(at::ScalarType type);

/// A tensor that is made when its turn comes to be written, so that only one takes memory at a time.
struct LazyTensor {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> values;  ///< of that dtype and shape, any strides and device

  uint64_t bytes() const;
};

/// Writes the tensors and makes the file durable (fsync). The bytes depend only on names and values, not on the order of `tensors`: widest
/// dtypes first, then by name, as the reference implementation orders them, so every tensor is aligned and both write identical files.
/// The file is complete only when this returns: write into a folder that is renamed into place afterwards. Fault on a name given twice, a
/// name that is not UTF-8, a dtype that the format lacks, or a failing disk.
WrittenFile write_lazy_safetensors(const std::string& path, const std::vector<LazyTensor>& tensors,
                                   const std::map<std::string, std::string>& metadata = {});
WrittenFile write_safetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                              const std::map<std::string, std::string>& metadata = {});

}  // namespace cohort::model
