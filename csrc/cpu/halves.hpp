// Work on a list by two threads, where it is long enough to be worth a thread.
#pragma once
#include <cstddef>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace peakrt {

// Things of a list that take about a millisecond, twenty times as long as to start a thread.
constexpr std::size_t kWorthAThread = 512;

// Whether this process may use more than one processor: a rank that is bound to its own may not.
inline bool has_processors_to_spare() {
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed) > 1;
#endif
  return std::thread::hardware_concurrency() > 1;
}

// Calls body(first, end) for the list from 0 to n, or for its halves side by side. body must not throw.
template <class Body>
void in_halves(std::size_t n, Body&& body) {
  if (n >= kWorthAThread && has_processors_to_spare()) {
    std::thread other;
    try {
      other = std::thread([&body, n] { body(n / 2, n); });
    } catch (const std::system_error&) {  // no thread is to be had
      body(std::size_t(0), n);
      return;
    }
    body(std::size_t(0), n / 2);
    other.join();
    return;
  }
  body(std::size_t(0), n);
}

}  // namespace peakrt
