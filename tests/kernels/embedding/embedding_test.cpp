#include "kernels/embedding/embedding.h"

#include "tests/kernels/op_case.h"

namespace cohort::kernels {
namespace {

using test::random_ids;
using test::random_tensor;
using test::Tensors;

}  // namespace

TEST_CASE("embedding and its gradient equal the formula") {
  test::check_ops({{.name = "embedding",
                    .inputs = {random_ids({40}, 7, 1), random_tensor({7, 12}, 2)},  // every row many times
                    .forward = [](const Tensors& in) { return Tensors{kernels::embedding(in[0], in[1])}; },
                    .backward =
                        [](const Tensors& in, const Tensors& g) {
                          const at::Tensor grad = at::zeros_like(in[1]);
                          kernels::embedding_backward(g[0], in[0], grad);
                          return Tensors{grad};
                        },
                    .reference = [](const Tensors& in) { return Tensors{in[1].index_select(0, in[0])}; }}});
}

TEST_CASE("the gradient of an embedding is added, and rows in several calls give the bits of one") {
  const at::Tensor ids = random_ids({30}, 4, 1), dy = random_tensor({30, 9}, 2);
  const at::Tensor whole = random_tensor({4, 9}, 3), parts = whole.clone();
  kernels::embedding_backward(dy, ids, whole);
  kernels::embedding_backward(dy.narrow(0, 0, 11), ids.narrow(0, 0, 11), parts);
  kernels::embedding_backward(dy.narrow(0, 11, 19), ids.narrow(0, 11, 19), parts);
  CHECK(test::same_bits(whole, parts));
}

TEST_CASE("an id outside the table is refused") {
  const at::Tensor table = random_tensor({5, 2}, 1);
  CHECK_THROWS_WITH(kernels::embedding(at::tensor(std::vector<int64_t>{0, 5}), table),
                    Catch::Contains("embedding: id 5 outside a table of 5"));
  CHECK_THROWS_WITH(kernels::embedding(at::tensor(std::vector<int64_t>{-1}), table), Catch::Contains("embedding: id -1"));
  CHECK_THROWS_WITH(kernels::embedding(at::tensor(std::vector<int32_t>{1}), table),
                    Catch::Contains("embedding: ids: expected contiguous int64"));
}

}  // namespace cohort::kernels
