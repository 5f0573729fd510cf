// What is known about this machine and this build without Torch.
#pragma once

#include <string>

#include "results/store.h"

namespace oasis {

// Everything but `gpu`, `driver` and the versions of libraries above this one (Torch, CUDA).
Environment host_environment(int argc, const char* const* argv);

std::string source_revision();  // commit that was built, "unknown" outside a checkout
bool source_dirty();            // tracked files differed from it when built
std::string build_type();       // CMake's

// "2026-05-17T12:34:56.789012Z": fine enough that what is stored later is later
std::string utc_now();

// Names this process for as long as the machine runs: boot, process id, start time. Another process
// tells by it whether this one is still alive.
std::string this_process();
bool process_lives(const std::string& process);

}  // namespace oasis
