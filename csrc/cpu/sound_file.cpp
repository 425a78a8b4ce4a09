#include "peakrt/sound_file.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace peakrt {
namespace {

constexpr int kFlags = 11, kEnd = 28, kChecksum = 44;

// Bob Jenkins's lookup3 hash (public domain), which HDF5 uses for its metadata.
std::uint32_t lookup3(const std::uint8_t* data, std::uint32_t n) {
  const auto turn = [](std::uint32_t x, int k) { return (x << k) | (x >> (32 - k)); };
  const auto word = [](const std::uint8_t* at) {
    return at[0] | std::uint32_t(at[1]) << 8 | std::uint32_t(at[2]) << 16 | std::uint32_t(at[3]) << 24;
  };
  std::uint32_t a, b, c;
  a = b = c = 0xdeadbeef + n;
  for (; n > 12; n -= 12, data += 12) {
    a += word(data), b += word(data + 4), c += word(data + 8);
    a -= c, a ^= turn(c, 4), c += b;
    b -= a, b ^= turn(a, 6), a += c;
    c -= b, c ^= turn(b, 8), b += a;
    a -= c, a ^= turn(c, 16), c += b;
    b -= a, b ^= turn(a, 19), a += c;
    c -= b, c ^= turn(b, 4), b += a;
  }
  std::uint8_t rest[12] = {};
  std::memcpy(rest, data, n);
  a += word(rest), b += word(rest + 4), c += word(rest + 8);
  c ^= b, c -= turn(b, 14);
  a ^= c, a -= turn(c, 11);
  b ^= a, b -= turn(a, 25);
  c ^= b, c -= turn(b, 16);
  a ^= c, a -= turn(c, 4);
  b ^= a, b -= turn(a, 14);
  c ^= b, c -= turn(b, 24);
  return c;
}

void put_word(std::uint8_t* at, std::uint64_t value, int bytes) {
  for (int k = 0; k < bytes; ++k) at[k] = std::uint8_t(value >> (8 * k));
}

std::int64_t end_of_file(const std::uint8_t* superblock) {
  std::int64_t end = 0;
  for (int k = 7; k >= 0; --k) end = end << 8 | superblock[kEnd + k];
  return end;
}

}  // namespace

SoundFile::SoundFile(int descriptor) : descriptor_(descriptor) {
  struct stat about;
  if (fstat(descriptor, &about) != 0) throw std::invalid_argument(std::strerror(errno));
  size_ = about.st_size;
  read(0, superblock_, kSuperblock);
  const bool whole = size_ >= kSuperblock && std::memcmp(superblock_, "\x89HDF\r\n\x1a\n", 8) == 0;
  if (!whole || superblock_[8] != 3 || superblock_[9] != 8)
    throw std::invalid_argument("not an HDF5 file with a superblock of version 3");
  put_superblock(end_of_file(superblock_));
}

void SoundFile::read(std::int64_t at, std::uint8_t* data, std::int64_t n) const {
  while (n > 0) {
    const ssize_t got = pread(descriptor_, data, std::size_t(n), at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    at += got, data += got, n -= got;
  }
  if (n > 0) std::memset(data, 0, std::size_t(n));
}

void SoundFile::write(std::int64_t at, const std::uint8_t* data, std::int64_t n) {
  if (at == 0 && n >= kSuperblock) {
    std::memcpy(superblock_, data, kSuperblock);
    put(kSuperblock, data + kSuperblock, n - kSuperblock);
    size_ = std::max(size_, n);
    const std::int64_t end = std::max(size_, end_of_file(superblock_));
    if (end > size_) truncate(end);
    put_superblock(end);
    return;
  }
  if (at < end_ && size_ > end_) put_superblock(size_);
  put(at, data, n);
  size_ = std::max(size_, at + n);
}

void SoundFile::truncate(std::int64_t size) {
  if (size < end_) put_superblock(size);
  if (error_ == 0 && ftruncate(descriptor_, size) != 0) error_ = errno;
  size_ = size;
}

void SoundFile::put(std::int64_t at, const std::uint8_t* data, std::int64_t n) {
  while (n > 0 && error_ == 0) {
    const ssize_t done = pwrite(descriptor_, data, std::size_t(n), at);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) {
      error_ = done < 0 ? errno : ENOSPC;
      break;
    }
    at += done, data += done, n -= done;
  }
}

void SoundFile::put_superblock(std::int64_t end) {
  superblock_[kFlags] = 0;
  put_word(superblock_ + kEnd, std::uint64_t(end), 8);
  put_word(superblock_ + kChecksum, lookup3(superblock_, kChecksum), 4);
  put(0, superblock_, kSuperblock);
  end_ = end;
}

}  // namespace peakrt
