// Products of warpgroups on compute capability 9.0. A block holds 128 rows of outputs, 64 to each
// of two warpgroups; one more thread has the copy engine fetch 128 inputs of rows and columns at a
// time, running ahead into the next outputs while sums are scaled and stored. Blocks stay and take
// outputs in turn. Large products run in clusters of two blocks, which share their columns: each
// block fetches half of them for both.
#include <algorithm>

#include "kernels/cuda/barrier.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/early_launch.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/integer_linear/column_constants.cuh"
#include "kernels/integer_linear/integer_warpgroup_mma.cuh"

namespace oasis::cuda {
namespace {

constexpr const char* kWhat = "oasis::integer_linear";
constexpr int kRows = 128;    // of a block
constexpr int kInputs = 128;  // of a stage, in bytes
constexpr int kGroups = 2;    // warpgroups that compute
constexpr int kGroupThreads = 128;
constexpr int kRowBytes = kRows * kInputs;
constexpr int kBand =
    16;  // row tiles that are neighbours in time, to share columns in the L2 cache

struct Arguments {
  IntegerProduct p;
  CUtensorMap x, w;
  int row_tiles, column_tiles;  // of clusters
};

template <int kColumnsValue, int kStagesValue, int kClusterValue, int kBlocksValue,
          bool kGroupedValue>
struct Config {
  static constexpr int kColumns = kColumnsValue;
  static constexpr int kStages = kStagesValue;
  static constexpr int kCluster = kClusterValue;
  static constexpr int kBlocks = kBlocksValue;  // on a multiprocessor
  static constexpr bool kGrouped = kGroupedValue;
  static constexpr int kColumnBytes = kColumns * kInputs;
  static constexpr int kStageBytes = kRowBytes + kColumnBytes;
  static constexpr int kBarriers = kStages * kStageBytes;  // where they lie
  static constexpr int kConstants = kBarriers + 2 * kStages * 8;
  // Of each warpgroup: this tile's and the next one's, and those of the groups under way.
  static constexpr int kGroupRing = kGrouped ? 8 : 0;
  static constexpr int kGroupBytes =
      2 * sizeof(ColumnConstants<kColumns>) + kGroupRing * sizeof(GroupConstants<kColumns>);
  static constexpr int kMemory = kConstants + kGroups * kGroupBytes;
  static constexpr int kSums = kColumns / 2;
  // Alone on a multiprocessor, a third warpgroup leaves the others its registers.
  static constexpr bool kGivesRegisters = kBlocks == 1;
  static constexpr int kThreads = kGroups * kGroupThreads + (kGivesRegisters ? kGroupThreads : 32);
};

#ifdef OASIS_WARPGROUP_MMA

constexpr int kStepInputs = 32;
constexpr int kGroupRows = kRows / kGroups;

// Places of the tile of outputs that a cluster takes after `index` others.
struct Place {
  int row, column;  // tiles

  __device__ Place(int index, int row_tiles, int column_tiles) {
    const int band_tiles = kBand * column_tiles;
    const int band = index / band_tiles;
    const int height = min(kBand, row_tiles - band * kBand);
    const int within = index - band * band_tiles;
    row = band * kBand + within % height;
    column = within / height;
  }
};

// Which buffer comes next, and how often it came before.
template <int kStages>
struct Turn {
  int stage = 0;
  unsigned parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Sixteen bytes of eight neighbouring columns, from pairs: lane i of four holds pair i of each of
// four runs of columns, and receives run i.
__device__ uint4 gather_runs(std::uint32_t (&pairs)[4]) {
  const int lane = threadIdx.x % 4;
  const auto exchange = [&](std::uint32_t& low, std::uint32_t& high, int bit) {
    const bool upper = (lane & bit) != 0;
    const std::uint32_t other = __shfl_xor_sync(0xffffffffu, upper ? low : high, bit);
    (upper ? low : high) = other;
  };
  exchange(pairs[0], pairs[1], 1);
  exchange(pairs[2], pairs[3], 1);
  exchange(pairs[0], pairs[2], 2);
  exchange(pairs[1], pairs[3], 2);
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}

// Values [kSums] of a warpgroup's rows from `row` on, as sums are distributed. kWide: rows of y
// begin at multiples of 16 bytes.
template <class C, class T, bool kWide, class Value>
__device__ void store_outputs(const IntegerProduct& p, const Value (&values)[C::kSums],
                              const ColumnConstants<C::kColumns>& columns, int row, int column) {
  const int lane = threadIdx.x % 32;
  const int m = row + threadIdx.x % kGroupThreads / 32 * 16 + lane / 4;
  const float scale[2] = {row_scale(p, m), row_scale(p, m + 8)};
  T* const y = static_cast<T*>(p.y) + static_cast<long long>(m) * p.N + column + lane % 4 * 8;
  const int left[2] = {m < p.M ? p.N - column - lane % 4 * 8 : 0,
                       m + 8 < p.M ? p.N - column - lane % 4 * 8 : 0};  // columns to write
#pragma unroll
  for (int run = 0; run < C::kColumns / 8; run += 4) {
    float out[2][4][2];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const ColumnPair pair = columns.pair((run + j) * 8 + lane % 4 * 2, p.zero);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[i / 2][j][i % 2] = output_of(values[(run + j) * 4 + i], scale[i / 2], pair, i % 2);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (kWide) {
        std::uint32_t pairs[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) pairs[j] = pack<T>(out[half][j][0], out[half][j][1]);
        const uint4 eight = gather_runs(pairs);
        if (run * 8 < left[half]) {
          *reinterpret_cast<uint4*>(y + static_cast<long long>(8 * half) * p.N + run * 8) = eight;
        }
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          store_pair<T>(p, m + 8 * half, column + (run + j) * 8 + lane % 4 * 2, out[half][j][0],
                        out[half][j][1]);
        }
      }
    }
  }
}

template <class C, class T, class Value>
__device__ void store_outputs(const IntegerProduct& p, const Value (&values)[C::kSums],
                              const ColumnConstants<C::kColumns>& columns, int row, int column) {
  if constexpr (sizeof(T) == 2) {
    if (p.N % 8 == 0) return store_outputs<C, T, true>(p, values, columns, row, column);
  }
  store_outputs<C, T, false>(p, values, columns, row, column);
}

#endif

template <class C, class T>
__global__ void __launch_bounds__(C::kThreads, C::kBlocks)
    warpgroup_kernel(const __grid_constant__ Arguments arguments) {
#ifdef OASIS_WARPGROUP_MMA
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const auto& p = arguments.p;
  const std::uint32_t base = shared_address(memory);
  const auto full = [&](int stage) { return base + C::kBarriers + stage * 8; };
  const auto empty = [&](int stage) { return full(C::kStages + stage); };
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < C::kStages; ++stage) {
      init_barrier(full(stage), 1);
      init_barrier(empty(stage), C::kCluster * kGroups * kGroupThreads / 32);
    }
    show_barriers();
  }
  meet<C::kCluster>();
  let_later_kernels_start();
  wait_for_earlier_kernels();

  const int rank = cluster_rank<C::kCluster>();
  const int tiles = arguments.row_tiles * arguments.column_tiles;
  const int stages = (p.K + kInputs - 1) / kInputs;
  const int clusters = gridDim.x / C::kCluster;
  Turn<C::kStages> turn;

  if (threadIdx.x >= kGroups * kGroupThreads) {
    if constexpr (C::kGivesRegisters) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == kGroups * kGroupThreads) {
      for (int i = blockIdx.x / C::kCluster; i < tiles; i += clusters) {
        const Place place(i, arguments.row_tiles, arguments.column_tiles);
        const int row = (place.row * C::kCluster + rank) * kRows;
        const int column = place.column * C::kColumns;
        for (int k = 0; k < stages; ++k, turn.advance()) {
          const std::uint32_t rows = base + turn.stage * C::kStageBytes;
          const std::uint32_t columns = rows + kRowBytes;
          const std::uint32_t barrier = full(turn.stage);
          wait(empty(turn.stage), turn.parity ^ 1);
          arrive_and_expect(barrier, C::kStageBytes);
          load_box(rows, arguments.x, k * kInputs, row, barrier);
          if constexpr (C::kCluster == 1) {
            load_box(columns, arguments.w, k * kInputs, column, barrier);
          } else {
            load_box_for_both(columns + rank * (C::kColumnBytes / 2), arguments.w, k * kInputs,
                              column + rank * (C::kColumns / 2), barrier);
          }
        }
      }
    }
  } else {
    if constexpr (C::kGivesRegisters) asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = threadIdx.x / kGroupThreads;
    const auto release = [&](int stage) {
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive_everywhere<C::kCluster>(empty(stage));
    };
    // Steps [first, last) of a stage.
    const auto multiply = [&](int(&sums)[C::kSums], int stage, int first, int last, bool add) {
      const std::uint32_t rows = base + stage * C::kStageBytes;
      const auto a = matrix_descriptor(rows + group * kGroupRows * kInputs);
      const auto b = matrix_descriptor(rows + kRowBytes);
#pragma unroll
      for (int step = first; step < last; ++step) {
        constexpr int kStep = kStepInputs >> 4;
        warpgroup_multiply_add<C::kColumns>(sums, a + step * kStep, b + step * kStep,
                                            add || step > first);
      }
    };
    constexpr int kSteps = kInputs / kStepInputs;
    const int thread = threadIdx.x % kGroupThreads;
    auto* constants = reinterpret_cast<ColumnConstants<C::kColumns>*>(memory + C::kConstants +
                                                                      group * C::kGroupBytes);
    int parity = 0;
    for (int i = blockIdx.x / C::kCluster; i < tiles; i += clusters, parity ^= 1) {
      const Place place(i, arguments.row_tiles, arguments.column_tiles);
      const int row = (place.row * C::kCluster + rank) * kRows + group * kGroupRows;
      const int column = place.column * C::kColumns;
      constants[parity].fetch(p, column, thread, kGroupThreads);
      int sums[C::kSums];
      if constexpr (!C::kGrouped) {
        commit_copies();
        int before = -1;
        for (int k = 0; k < stages; ++k, turn.advance()) {
          wait(full(turn.stage), turn.parity);
          warpgroup_begin();
          pin(sums);
          multiply(sums, turn.stage, 0, kSteps, k > 0);
          warpgroup_commit();
          if (before >= 0) {
            warpgroup_wait<1>();
            pin(sums);
            release(before);
          }
          before = turn.stage;
        }
        warpgroup_wait<0>();
        pin(sums);
        release(before);
        wait_for_copies<0>();
        meet_group(group);
        store_outputs<C, T>(p, sums, constants[parity], row, column);
      } else {
        // Constants of two groups a stage, fetched two stages ahead.
        auto* ring = reinterpret_cast<GroupConstants<C::kColumns>*>(constants + 2);
        const auto fetch_groups = [&](int k) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int scale_group = 2 * k + half;
            ring[scale_group % C::kGroupRing].fetch(p, scale_group, column, thread, kGroupThreads);
          }
          commit_copies();
        };
        float totals[C::kSums] = {};
        meet_group(group);  // before the ring is written again
        fetch_groups(0);
        fetch_groups(1);
        for (int k = 0; k < stages; ++k, turn.advance()) {
          fetch_groups(k + 2);
          wait_for_copies<2>();
          meet_group(group);
          wait(full(turn.stage), turn.parity);
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const int scale_group = 2 * k + half;
            if (scale_group * kScaleGroup >= p.K) break;
            warpgroup_begin();
            pin(sums);
            multiply(sums, turn.stage, half * kSteps / 2, (half + 1) * kSteps / 2, false);
            warpgroup_commit();
            warpgroup_wait<0>();
            pin(sums);
            ring[scale_group % C::kGroupRing].add(totals, sums, p.zero);
          }
          release(turn.stage);
        }
        store_outputs<C, T>(p, totals, constants[parity], row, column);
      }
    }
  }
  // A block's memory lasts until the others no longer write to it.
  if constexpr (C::kCluster > 1) meet<C::kCluster>();
#endif
}

CUtensorMap code_map(const void* data, int rows, int columns, int stride, int box_rows) {
  const std::uint64_t sizes[2] = {static_cast<std::uint64_t>(columns),
                                  static_cast<std::uint64_t>(rows)};
  const std::uint64_t strides[1] = {static_cast<std::uint64_t>(stride)};
  const std::uint32_t box[2] = {kInputs, static_cast<std::uint32_t>(box_rows)};
  return encode_tensor_map(kWhat, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, data, sizes, strides, box);
}

int divided_up(int a, int b) {
  return (a + b - 1) / b;
}

template <class C, class T>
void launch(const IntegerProduct& p) {
  Arguments arguments{p, code_map(p.x, p.M, p.K, p.x_stride, kRows),
                      code_map(p.w, p.N, p.K, p.w_stride, C::kColumns / C::kCluster),
                      divided_up(p.M, kRows * C::kCluster), divided_up(p.N, C::kColumns)};
  const auto kernel = warpgroup_kernel<C, T>;
  static const bool allowed = [&] {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kMemory),
          kWhat);
    return true;
  }();
  static_cast<void>(allowed);
  const int slots = multiprocessors() * C::kBlocks / C::kCluster;
  const int clusters = std::min(slots, arguments.row_tiles * arguments.column_tiles);
  launch_early(kernel,
               {.grid = dim3(C::kCluster * clusters),
                .block = dim3(C::kThreads),
                .shared_bytes = C::kMemory,
                .cluster = C::kCluster},
               p.stream, kWhat, arguments);
}

using Wide = Config<256, 4, 2, 1, false>;
using Middle = Config<128, 6, 1, 1, false>;
using Narrow = Config<96, 3, 1, 2, false>;
using Grouped = Config<128, 5, 1, 1, true>;

// Cycles that a product takes, roughly: the last wave counts whole. A stage takes as long as its
// products, its copies (48 bytes a cycle when all multiprocessors copy) or what the copies' latency
// leaves of it. Blocks that share a multiprocessor hide each other's stores, one alone does not.
template <class C>
double cost(const IntegerProduct& p) {
  const double tiles = static_cast<double>(divided_up(p.M, kRows * C::kCluster)) *
                       divided_up(p.N, C::kColumns) * C::kCluster;
  const double busy = std::min(1.0, tiles / multiprocessors());
  const double waves = std::ceil(tiles / multiprocessors());
  const double products = 4.0 * C::kColumns;
  const double copies = busy * (kRowBytes + C::kColumnBytes / C::kCluster) / 48.0;
  const double latency = 2000.0 / (C::kStages * std::min<double>(C::kBlocks, waves));
  const double stages = divided_up(p.K, kInputs) * std::max({products, copies, latency});
  const double stores = 10.0 * C::kColumns + 500;
  return waves * (C::kBlocks > 1 ? std::max(stages, stores) : stages + stores);
}

template <class T>
void launch_best(const IntegerProduct& p) {
  if (p.grouped) return launch<Grouped, T>(p);
  const double wide = cost<Wide>(p), middle = cost<Middle>(p), narrow = cost<Narrow>(p);
  if (wide <= middle && wide <= narrow) return launch<Wide, T>(p);
  if (middle <= narrow) return launch<Middle, T>(p);
  launch<Narrow, T>(p);
}

}  // namespace

bool has_warpgroup_product() {
  // Code for compute capability 9.0 proper, rather than made from that of an older one.
  cudaFuncAttributes attributes{};
  if (!has_copy_engine()) return false;
  check(cudaFuncGetAttributes(&attributes, warpgroup_kernel<Wide, float>), kWhat);
  return attributes.binaryVersion == 90 && attributes.ptxVersion == 90;
}

void warpgroup_product(const IntegerProduct& p) {
  with_output_type(p, [&]<class T>(T) { launch_best<T>(p); });
}

}  // namespace oasis::cuda
