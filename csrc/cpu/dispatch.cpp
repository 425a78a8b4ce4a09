// Chooses the widest instruction set that this CPU has.
#include <atomic>
#include <cstring>
#include <stdexcept>

#include "simd.hpp"

namespace peakrt {
namespace {

struct Choice {
  const char* name;
  const SimdKernels* kernels;
  bool (*supported)();
};

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#endif
bool always() { return true; }

const Choice kChoices[] = {
#if defined(__x86_64__)
    {"avx512", &avx512::kernels, has_avx512},
    {"avx2", &avx2::kernels, has_avx2},
#endif
    {"plain", &plain::kernels, always},
};

const Choice* widest() {
  const Choice* choice = kChoices;
  while (!choice->supported()) ++choice;
  return choice;
}

std::atomic<const Choice*> chosen{nullptr};

const Choice& choice() {
  const Choice* now = chosen.load();
  if (!now) chosen.store(now = widest());
  return *now;
}

}  // namespace

const SimdKernels& simd() { return *choice().kernels; }

const char* instruction_set() { return choice().name; }

void set_instruction_set(const char* name) {
  for (const Choice& candidate : kChoices)
    if (std::strcmp(candidate.name, name) == 0 && candidate.supported()) {
      chosen.store(&candidate);
      return;
    }
  throw std::invalid_argument(std::string("this CPU has no instruction set '") + name +
                              "'; choose among avx512, avx2 and plain as it supports them");
}

}  // namespace peakrt
