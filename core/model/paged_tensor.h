#pragma once
/// Flat fp32 tensors whose memory is given back and taken again page by page, while their addresses stay.
///
/// Views into such a tensor, also those that autograd has saved, are valid throughout; what is not there must not be read. On a device the
/// same is done with mapped address ranges (cuMemMap).

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace cohort::model {

/// `numbers` zeros on pages of their own. A page takes memory once it is written.
at::Tensor paged_zeros(int64_t numbers);

/// Tells the kernel to back `flat`, a tensor of paged_zeros that is about to be written whole, with huge pages where it can: far fewer
/// page faults. keep_pages_small() takes it back.
void prefer_large_pages(const at::Tensor& flat);

/// Tells the kernel not to join pages of `flat` to huge ones, which could only be given back together. Before the first close_pages.
void keep_pages_small(const at::Tensor& flat);

/// Gives back the pages that hold nothing but numbers [begin, end) of `flat`, a tensor of paged_zeros. Reading or writing them ends the
/// process (SIGSEGV), so that nobody goes on with wrong numbers, until open_pages; what they held is lost. Numbers on pages that reach
/// beyond the range stay. Never a Fault, as it runs where memory goes out of use: where the kernel refuses (vm.max_map_count), a warning
/// is logged once and pages stay, or stay readable.
void close_pages(const at::Tensor& flat, int64_t begin, int64_t end);

/// Numbers [begin, end) may be written again; those that were given back are 0. Fault where the kernel refuses.
void open_pages(const at::Tensor& flat, int64_t begin, int64_t end);

/// Gives back all pages; the tensor, of which none may be closed, is 0, also where the kernel keeps them.
void clear_pages(const at::Tensor& flat);

/// Bytes of the pages of `flat` that take memory.
int64_t resident_bytes(const at::Tensor& flat);

}  // namespace cohort::model
