// Random numbers by counting: Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
// Free of Torch; constexpr, so that CPU and GPU share it.
#pragma once

#include <array>
#include <cstdint>

namespace oasis {

using PhiloxBlock = std::array<std::uint32_t, 4>;

// Four words from 128 bits of counter and 64 bits of key.
constexpr PhiloxBlock philox(PhiloxBlock counter, std::uint64_t key) {
  std::uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53U} * c0, b = std::uint64_t{0xCD9E8D57U} * c2;
    c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<std::uint32_t>(b);
    c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<std::uint32_t>(a);
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {c0, c1, c2, c3};
}

// In (0, 1), both ends excluded, exactly representable as float.
constexpr float open_uniform(std::uint32_t word) {
  return (static_cast<float>(word >> 9) + 0.5F) * 0x1p-23F;
}

// What sample_token draws for a token: the same for the same arguments, whatever the batch.
constexpr float token_uniform(std::uint64_t seed, std::uint64_t stream, std::uint32_t position,
                              std::uint32_t token) {
  const auto block = philox({token / 4, position, static_cast<std::uint32_t>(stream),
                             static_cast<std::uint32_t>(stream >> 32)},
                            seed);
  return open_uniform(block[token % 4]);
}

}  // namespace oasis
