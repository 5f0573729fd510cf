// Devices by name.
#pragma once

#include <c10/core/Device.h>

#include <string>

namespace oasis {

// "cpu", "cuda" or "auto" (CUDA when there is a GPU). The CUDA library is loaded here, the first
// time it is asked for. Throws Error (bad input) saying what is missing.
c10::Device resolve_device(const std::string& name);

// The GPU's name and memory ("NVIDIA H200, 139.8 GiB"), or "" on the CPU.
std::string device_description(const c10::Device& device);

// Peak bytes in use on a CUDA device since the start; on the CPU the process's peak resident size.
int64_t peak_memory(const c10::Device& device);

// Repeatable results: deterministic operators where a choice exists.
void make_deterministic();

}  // namespace oasis
