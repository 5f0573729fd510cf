#include "kernels/normalizer/normalizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "kernels/normalizer/composed.h"
#include "kernels/normalizer/normalizer_reference.h"
#include "kernels/normalizer/row.h"

namespace oasis {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

const NormalizerSpec kSpecs[] = {{Normalizer::kSoftmax},
                                 {Normalizer::kSoftmax1},
                                 {Normalizer::kClippedSoftmax, 1.0, -0.03},
                                 {Normalizer::kClippedSoftmax, 1.1, -0.2},
                                 {Normalizer::kSparsemax},
                                 {Normalizer::kEntmax15}};

std::vector<double> normal(std::size_t n, double scale, double centre, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> distribution(centre, scale);
  std::vector<double> values(n);
  // Representable in float32, so that both types see the same logits.
  for (double& value : values) value = static_cast<float>(distribution(engine));
  return values;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

double norm(const std::vector<double>& a) {
  return distance(a, std::vector<double>(a.size()));
}

template <class T>
std::vector<T> as(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

template <class T>
struct Rows {
  Rows(const NormalizerSpec& spec, const std::vector<double>& logits_in,
       const std::vector<double>& grad_in, double grad_null) {
    const auto logits = as<T>(logits_in);
    const auto grad = as<T>(grad_in);
    const auto n = static_cast<std::int64_t>(logits.size());
    std::vector<T> p(logits.size());
    std::vector<T> g(logits.size());
    null_posterior = normalize_row(spec, logits.data(), p.data(), n);
    normalize_row_backward(spec, logits.data(), p.data(), grad.data(), static_cast<T>(grad_null),
                           g.data(), n);
    probs.assign(p.begin(), p.end());
    grad_logits.assign(g.begin(), g.end());

    // In place from the statistic, as attention does.
    p = logits;
    g = grad;
    const auto statistic = normalize_row_with_statistic(spec, p.data(), p.data(), n);
    p = logits;
    recompute_row_backward(spec, statistic, p.data(), g.data(), static_cast<T>(grad_null), n);
    recomputed_probs.assign(p.begin(), p.end());
    recomputed_grad.assign(g.begin(), g.end());
  }

  std::vector<double> probs, grad_logits, recomputed_probs, recomputed_grad;
  double null_posterior;
};

template <class T>
void expect_reference(const NormalizerSpec& spec, const std::vector<double>& logits,
                      double tolerance) {
  const auto grad = normal(logits.size(), 1, 0, 99);
  const double grad_null = 0.5F;
  const auto expected = reference::normalize(spec, logits);
  const auto expected_grad = reference::normalize_backward(spec, logits, grad, grad_null);
  const Rows<T> found(spec, logits, grad, grad_null);
  SCOPED_TRACE(testing::Message() << normalizer_name(spec.kind) << " n " << logits.size());
  // Clipped weights are differences from γ.
  const double offset = spec.gamma * std::sqrt(static_cast<double>(logits.size()));
  const double weight = std::max(norm(expected.probs) - offset, 1e-30);
  EXPECT_LE(distance(found.probs, expected.probs), tolerance * weight);
  EXPECT_LE(distance(found.recomputed_probs, expected.probs), tolerance * weight);
  EXPECT_LE(std::abs(found.null_posterior - expected.null_posterior),
            tolerance * expected.null_posterior);
  // Entries of the gradient are differences of terms as large as the upstream gradient.
  const double gradient = tolerance * std::max(1.0, norm(grad) * norm(expected.probs));
  EXPECT_LE(distance(found.grad_logits, expected_grad), gradient);
  EXPECT_LE(distance(found.recomputed_grad, expected_grad), gradient);
}

TEST(NormalizerTest, RowsMatchTheReferenceForwardAndBackward) {
  for (const auto& spec : kSpecs) {
    for (const std::size_t n : {1, 2, 7, 31, 130, 1000}) {
      for (const double scale : {0.0, 0.3, 2.0, 20.0}) {
        for (const double centre : {0.0, -3.0, 3.0}) {
          expect_reference<double>(spec, normal(n, scale, centre, 7), 1e-13);
          expect_reference<float>(spec, normal(n, scale, centre, 7), 1e-6);
        }
      }
    }
  }
}

TEST(NormalizerTest, LargeLogitsLoseNothing) {
  for (const auto& spec : kSpecs) {
    for (const double centre : {-1e4, 1e4}) {
      for (const std::size_t n : {1, 7, 130}) {
        expect_reference<double>(spec, normal(n, 2, centre, 3), 1e-13);
        expect_reference<float>(spec, normal(n, 2, centre, 3), 1e-6);
      }
    }
  }
}

// Over many rows: the error of one is luck, above all where one weight is nearly all of it.
TEST(NormalizerTest, Float32SoftmaxIsAsExactAsLibTorch) {
  for (const double scale : {0.5, 3.0, 30.0}) {
    double ours_lost = 0, library_lost = 0;
    for (unsigned seed = 0; seed < 32; ++seed) {
      auto logits = normal(512, scale, 0, seed);
      const auto expected = reference::normalize({Normalizer::kSoftmax}, logits).probs;
      const auto theirs =
          at::softmax(at::from_blob(logits.data(), {512}, at::kDouble).to(at::kFloat), -1)
              .to(at::kDouble);
      const std::vector<double> library(theirs.data_ptr<double>(), theirs.data_ptr<double>() + 512);
      const Rows<float> ours({Normalizer::kSoftmax}, logits, logits, 0);
      ours_lost += distance(ours.probs, expected);
      library_lost += distance(library, expected);
    }
    EXPECT_LE(ours_lost, 2 * library_lost) << scale;
  }
}

TEST(NormalizerTest, NullPosteriorIsLargeWhereFewKeysScoreLow) {
  const std::vector<float> logits = {-3.0F, -3.0F};
  std::vector<float> probs(2);
  const float null = normalize_row({Normalizer::kSoftmax1}, logits.data(), probs.data(), 2);
  EXPECT_NEAR(null, 1 / (1 + 2 * std::exp(-3.0)), 1e-7);
  EXPECT_NEAR(probs[0] + probs[1] + null, 1, 1e-7);
}

TEST(NormalizerTest, NullPosteriorAtTheExtremes) {
  for (const auto& [logit, expected] : {std::pair{-1e4F, 1.0F}, std::pair{1e4F, 0.0F}}) {
    float prob = 0;
    EXPECT_EQ(normalize_row({Normalizer::kSoftmax1}, &logit, &prob, 1), expected);
    EXPECT_EQ(prob, 1 - expected);
  }
}

TEST(NormalizerTest, OnlySoftmax1HasANull) {
  for (const auto& spec : kSpecs) {
    const float logits[] = {-3, -4};
    float probs[2];
    const float null = normalize_row(spec, logits, probs, 2);
    EXPECT_EQ(null > 0, spec.kind == Normalizer::kSoftmax1) << normalizer_name(spec.kind);
  }
}

TEST(NormalizerTest, SparsemaxSplitsTiesEvenlyAndExcludesTheBound) {
  const double tied[] = {1, 1, 1, -5};
  double probs[4];
  normalize_row<double>({Normalizer::kSparsemax}, tied, probs, 4);
  for (int j = 0; j < 3; ++j) EXPECT_NEAR(probs[j], 1.0 / 3, 1e-16);
  EXPECT_EQ(probs[3], 0);

  // 0 stands exactly at the threshold of {1}: weight 0, and no part in the gradient.
  const double bound[] = {1, 0};
  const double grad_probs[] = {0.5, 2};
  double grad[2];
  normalize_row<double>({Normalizer::kSparsemax}, bound, probs, 2);
  EXPECT_EQ(probs[0], 1);
  EXPECT_EQ(probs[1], 0);
  normalize_row_backward<double>({Normalizer::kSparsemax}, bound, probs, grad_probs, 0, grad, 2);
  EXPECT_EQ(grad[0], 0);
  EXPECT_EQ(grad[1], 0);
}

TEST(NormalizerTest, ClippedGradientPassesAtTheBound) {
  // softmax = (1/2, 1/2); ζ and γ put the unclipped value exactly at 1.
  const NormalizerSpec spec{Normalizer::kClippedSoftmax, 2.0, 0.0};
  const double logits[] = {0, 0};
  const double grad_probs[] = {1, 0};
  double probs[2];
  double grad[2];
  normalize_row(spec, logits, probs, 2);
  EXPECT_EQ(probs[0], 1);
  normalize_row_backward(spec, logits, probs, grad_probs, 0.0, grad, 2);
  EXPECT_DOUBLE_EQ(grad[0], 0.5);
  EXPECT_DOUBLE_EQ(grad[1], -0.5);
}

TEST(NormalizerTest, NanSpoilsTheWholeRow) {
  for (const auto& spec : kSpecs) {
    for (const int where : {0, 6, 11}) {
      std::vector<double> logits = normal(12, 1, 0, 1);
      logits[where] = kNan;
      double probs[12];
      normalize_row(spec, logits.data(), probs, 12);
      EXPECT_TRUE(std::all_of(probs, probs + 12, [](double p) { return std::isnan(p); }))
          << normalizer_name(spec.kind) << " at " << where;
    }
  }
}

TEST(NormalizerTest, ExponentialIsWithinTwoUlp) {
  double worst = 0;
  for (int i = -86 * 256; i < 88 * 256; ++i) {
    const float x = static_cast<float>(i) / 256;
    const double exact = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(vector_exp(x) - exact) / exact);
  }
  EXPECT_LT(worst, 2 * 1.2e-7);
  EXPECT_EQ(vector_exp(-1e4F), 0);
  EXPECT_EQ(vector_exp(0.0F), 1);
  EXPECT_TRUE(std::isinf(vector_exp(100.0F)));
  EXPECT_TRUE(std::isnan(vector_exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(NormalizerTest, CompositionAgreesWithRows) {
  for (const auto& spec : kSpecs) {
    for (const double scale : {0.0, 0.3, 3.0, 1e3}) {
      auto logits = normal(64, scale, scale > 100 ? 0 : -2, 11);
      auto grad = normal(64, 1, 0, 12);
      const Rows<double> expected(spec, logits, grad, 0.5);
      const auto x = at::from_blob(logits.data(), {1, 64}, at::kDouble);
      const auto g = at::from_blob(grad.data(), {1, 64}, at::kDouble);
      const auto statistic = composed::row_statistic(spec, x);
      const auto probs = composed::apply_statistic(spec, statistic, x);
      const auto grad_logits = composed::normalize_backward(
          spec, statistic, x, probs, g, at::tensor({0.5}, at::kDouble).unsqueeze(-1));
      for (int j = 0; j < 64; ++j) {
        EXPECT_NEAR(probs.data_ptr<double>()[j], expected.probs[j], 1e-13)
            << normalizer_name(spec.kind) << " scale " << scale;
        EXPECT_NEAR(grad_logits.data_ptr<double>()[j], expected.grad_logits[j], 1e-12);
      }
      EXPECT_NEAR(composed::null_posterior(spec, statistic).item<double>(), expected.null_posterior,
                  1e-15);
    }
  }
}

TEST(NormalizerTest, NamesRoundTripAndWrongOnesAreRefused) {
  for (const auto& spec : kSpecs) {
    EXPECT_EQ(parse_normalizer(normalizer_name(spec.kind)).kind, spec.kind);
  }
  EXPECT_THROW(parse_normalizer("softmx"), c10::Error);
  EXPECT_THROW(parse_normalizer("clipped_softmax", 0.0, 0.5), c10::Error);
  EXPECT_THROW(normalize(at::tensor({1, 2}), {Normalizer::kSoftmax}), c10::Error);
}

}  // namespace
}  // namespace oasis
