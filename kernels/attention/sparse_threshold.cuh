// The thresholds of sparsemax and 1.5-entmax for a warp's rows.
//
// A row's threshold is where f, the sum of its weights p, is 1. With e = product·unit − threshold,
// Σ 1, Σ e and Σ e² over e > 0 give f, its slope and how fast that changes; the power law
// f ∝ (end − threshold)^power with the same three predicts the root, exactly where all products lie
// above the threshold and are equal, or are spread like any power of the distance to the largest.
// In a first pass over the keys the law also says what the sums so far come to at a threshold that
// was raised since; further passes take them exactly.
#pragma once

#include "kernels/attention/sparse_attention.cuh"

namespace oasis::cuda {

// Over products with e > 0.
template <SparseNormalizer kNormalizer>
struct RootSums {
  static constexpr bool kSquares = kNormalizer == SparseNormalizer::kEntmax15;

  float count = 0;
  float first = 0;
  float second = 0;

  // In [0, 1].
  __device__ void add(float e) {
    count += one_if_positive(e);
    first += e;
    second = fmaf(e, e, second);
  }

  __device__ float mass() const { return kSquares ? second : first; }

  // Newton's step towards the root.
  __device__ float newton() const {
    return newton_step<kNormalizer>(mass(), kSquares ? first : count);
  }

  // Over the four lanes that share a row.
  __device__ RootSums total() const {
    RootSums sums = *this;
#pragma unroll
    for (int lane = 1; lane <= 2; lane *= 2) {
      sums.count += __shfl_xor_sync(kFullWarp, sums.count, lane);
      sums.first += __shfl_xor_sync(kFullWarp, sums.first, lane);
      sums.second += __shfl_xor_sync(kFullWarp, sums.second, lane);
    }
    return sums;
  }
};

// f ∝ (threshold + reach − x)^power as a function of x, near the threshold of the sums.
template <SparseNormalizer kNormalizer>
struct PowerLaw {
  using Sums = RootSums<kNormalizer>;

  float power;
  float reach;

  __device__ explicit PowerLaw(const Sums& sums) {
    const float mean = __fdividef(sums.first, sums.count);
    const float square = __fdividef(sums.second, sums.first);
    // 1 where all e are equal, 2 where they fall off exponentially.
    const float dispersion = fminf(fmaxf(__fdividef(square, mean), 1), 1.9f);
    const float inverse = __fdividef(1, 2 - dispersion);
    power = Sums::kSquares ? 2 * inverse : dispersion * inverse;
    reach = Sums::kSquares ? square * inverse : mean * power;
  }

  // How far above the threshold f is 1.
  __device__ float root(float mass) const {
    return reach * (1 - exp2_fast(-__fdividef(__log2f(mass), power)));
  }

  // What sums become when the threshold rises.
  __device__ void move(Sums& sums, float rise) const {
    const float left = fmaxf(1 - __fdividef(rise, reach), 1e-3f);
    const float f = exp2_fast(power * __log2f(left));
    const float by = __fdividef(1, left);
    if constexpr (Sums::kSquares) {
      sums.second *= f;
      sums.first *= f * by;
      sums.count *= f * by * by;
    } else {
      sums.second *= f * left;
      sums.first *= f;
      sums.count *= f * by;
    }
  }
};

// Of a lane's two rows, lane/4 and eight below, each shared with three other lanes.
template <SparseNormalizer kNormalizer>
class Thresholds {
 public:
  using Sums = RootSums<kNormalizer>;

  float largest[2] = {-INFINITY, -INFINITY};  // product
  float threshold[2];

  __device__ Thresholds(const Weights& weights, int length)
      : unit_(weights.unit), least_(Sums::kSquares ? rsqrtf(length) : 1.0f / length) {}

  // One tile of the first pass. Returns whether the lane met products that may have weights.
  __device__ bool add(const Products& products) {
    bool above = false;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float here = products[0][2 * r];
#pragma unroll
      for (int n = 0; n < kTileColumns; ++n) {
        here = max_or_nan(here, products[n][2 * r]);
        here = max_or_nan(here, products[n][2 * r + 1]);
      }
      largest[r] = max_or_nan(largest[r], here);
      above = above || !(fmaf(here, unit_, -floor_[r]) < 0);
    }
    if (tiles_ == 0) {
      start(products);
    } else {
      add_exactly(products);
    }
    ++tiles_;
    if (tiles_ == next_update_) update();
    return above;
  }

  __device__ void clear() {
    sums_[0] = {};
    sums_[1] = {};
  }

  __device__ void add_exactly(const Products& products) {
#pragma unroll
    for (int n = 0; n < kTileColumns; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums_[i / 2].add(saturated_fma(products[n][i], unit_, -threshold[i / 2]));
      }
    }
  }

  // After the first pass.
  __device__ void finish() {
    update();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      // A NaN or an infinity spoils its whole row.
      if (!(fabsf(largest[r]) < INFINITY)) {
        largest[r] = NAN;
        threshold[r] = NAN;
        floor_[r] = NAN;
      }
    }
  }

  // After a pass of add_exactly(): a step towards the root. Returns whether it was a small one.
  __device__ bool step() {
    bool small = true;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Sums sums = sums_[r].total();
      const float mass = sums.mass();
      const bool near = mass > 1 / kSmallStep && mass < kSmallStep;
      // Newton's method ends at or below the root, so that later steps rise.
      const float rise = near ? sums.newton() : PowerLaw<kNormalizer>(sums).root(mass);
      threshold[r] = limited(r, threshold[r] + rise);
      small = small && (near || isnan(largest[r]));
    }
    return small;
  }

 private:
  static constexpr float kSmallStep = 1.3f;  // of f

  // Neither so low that the largest weight is above 1, nor so high that it is below an equal share.
  __device__ float limited(int row, float wanted) const {
    const float top = largest[row] * unit_;
    return fminf(fmaxf(wanted, top - 1), top - fmaxf(least_, 1e-6f * fabsf(top)));
  }

  __device__ void share_largest() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      largest[r] = max_or_nan(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 1));
      largest[r] = max_or_nan(largest[r], __shfl_xor_sync(kFullWarp, largest[r], 2));
      const float top = largest[r] * unit_;
      floor_[r] = top - 1 - 1e-6f * fabsf(top);
    }
  }

  __device__ void start(const Products& products) {
    share_largest();
#pragma unroll
    for (int r = 0; r < 2; ++r) threshold[r] = limited(r, -INFINITY);
#pragma unroll 1
    for (int i = 0; i < kFirstSteps; ++i) {
      clear();
      add_exactly(products);
      if (i + 1 < kFirstSteps) step();
    }
  }

  __device__ void update() {
    next_update_ *= 2;
    share_largest();
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Sums sums = sums_[r].total();
      const PowerLaw<kNormalizer> law(sums);
      const float wanted = limited(r, threshold[r] + law.root(sums.mass()));
      law.move(sums_[r], wanted - threshold[r]);
      threshold[r] = wanted;
    }
  }

  static constexpr int kFirstSteps = 2;

  float unit_;
  float least_;
  float floor_[2] = {-INFINITY, -INFINITY};
  Sums sums_[2];
  int tiles_ = 0;
  int next_update_ = 1;
};

}  // namespace oasis::cuda
