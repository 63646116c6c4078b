// Experts whose weights come from a user-defined source. L experts, D width, F hidden, O output
// width.
#include <memory>
#include <tests/experts/fixtures.h>
#include <tests/support/compare.h>
#include <tests/support/gradcheck.h>
#include <tests/support/modules.h>
#include <vector>

#include <moe/experts/stacked.h>

namespace moe::experts::source_test {

namespace {

using moe::test::expect_identical;
using moe::test::normal;
using moe::test::experts::ids;
using moe::test::experts::some_rows;

const ExpertsShape kShape = {.d_model = 5, .d_ff = 3, .d_out = 4, .num_experts = 4};

std::shared_ptr<MlpExperts> make(const std::string& kind) {
  auto experts = std::dynamic_pointer_cast<MlpExperts>(expert_kinds().at(kind).make(kShape, {}));
  moe::test::randomise(*experts, 1);
  experts->to(at::kFloat);
  return experts;
}

/// Reads the weights of active experts anew for every pass, as a cache in front of a file would.
class ReadingSource final : public ExpertSource {
 public:
  ReadingSource(const Tensor& w_in, const Tensor& w_out)
      : w_in_(w_in.detach().clone()), w_out_(w_out.detach().clone()) {}

  ExpertTables tables(const ExpertRows& rows) override {
    ++passes;
    return {read(w_in_, rows.offsets_L), read(w_out_, rows.offsets_L)};
  }

  int passes = 0;
  std::vector<std::weak_ptr<const void>> given;

 private:
  ops::ExpertTable read(const Tensor& stack, const Tensor& offsets_L) {
    const int64_t rows = stack.size(1), columns = stack.size(2);
    const auto memory = std::make_shared<std::vector<std::vector<float>>>();
    std::vector<ops::Matrix> matrices;
    for (int64_t e = 0; e < stack.size(0); ++e) {
      const bool active = offsets_L[e].item<int64_t>() < offsets_L[e + 1].item<int64_t>();
      const float* const data = stack[e].const_data_ptr<float>();
      memory->emplace_back(data, data + (active ? rows * columns : 0));
      matrices.push_back({ops::NumberFormat::kFloat32, active ? memory->back().data() : nullptr,
                          columns * static_cast<int64_t>(sizeof(float))});
    }
    given.push_back(memory);
    return {rows, columns, matrices, memory};
  }

  Tensor w_in_, w_out_;
};

Tensor parameter(const Experts& experts, const char* name) {
  return *experts.named_parameters().find(name);
}

TEST(ExpertSource, ServesTheForwardAndTheBackwardPass) {
  for (const char* kind : {"ffn", "gated"})
    for (const bool combined : {false, true}) {
      SCOPED_TRACE(concat(kind, combined ? ", combined" : ""));
      std::vector<Tensor> found;
      const auto resident = make(kind), experts = make(kind);
      const auto source = std::make_shared<ReadingSource>(parameter(*experts, "w_in"),
                                                          parameter(*experts, "w_out"));
      experts->use_source(source);
      for (const auto& module : {resident, experts}) {
        const Tensor x_SD = normal({6, 5}, 2).to(at::kFloat).detach().requires_grad_(true);
        const ExpertRows rows = some_rows(x_SD);
        const ops::Combination pairs = {ids({6, 5, 4, 3, 2, 1, 0}), {}, ids({0, 2, 4, 6, 7})};
        const Tensor out = combined ? module->forward_combined(rows, pairs, {})
                                    : module->forward(rows, {}).slice(0, 0, 7);
        out.backward(normal(out.sizes(), 3).to(at::kFloat));
        found.insert(found.end(), {out.detach(), x_SD.grad()});
      }
      expect_identical(found[2], found[0]);
      expect_identical(found[3], found[1]);
      EXPECT_EQ(source->passes, 1);
      for (const auto& memory : source->given) EXPECT_TRUE(memory.expired()) << "kept for ever";
      EXPECT_TRUE(parameter(*resident, "w_in").grad().defined());
      EXPECT_FALSE(parameter(*experts, "w_in").grad().defined());
    }
}

TEST(ExpertSource, ItsMemoryLivesUntilTheBackwardPass) {
  const auto experts = make("gated");
  const auto source =
      std::make_shared<ReadingSource>(parameter(*experts, "w_in"), parameter(*experts, "w_out"));
  experts->use_source(source);
  const Tensor x_SD = normal({6, 5}, 2).to(at::kFloat).detach().requires_grad_(true);
  {
    const Tensor out = experts->forward(some_rows(x_SD), {}).slice(0, 0, 7);
    EXPECT_FALSE(source->given[0].expired());
    out.backward(normal(out.sizes(), 3).to(at::kFloat));
  }
  for (const auto& memory : source->given) EXPECT_TRUE(memory.expired());
  const at::NoGradGuard no_grad;
  experts->forward(some_rows(x_SD), {});
  for (const auto& memory : source->given) EXPECT_TRUE(memory.expired()) << "without a graph";
}

}  // namespace

}  // namespace moe::experts::source_test
